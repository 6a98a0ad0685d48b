"""Tokens to ids and back: 0 is padding, 1 begins and 2 ends a sequence, the domain's tokens follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Domain, UnknownToken, UsageError

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ("<pad>", "<bos>", "<eos>")


class Vocabulary:
    """An ordered set of tokens. ``tokens`` excludes the three specials; ``len`` includes them."""

    def __init__(self, tokens: Sequence[str]):
        tokens = tuple(tokens)
        if len(set(tokens)) != len(tokens) or set(tokens) & set(SPECIALS) or "" in tokens:
            raise UsageError("a vocabulary holds every token once, no empty one and none of " + ", ".join(SPECIALS))
        self.tokens = tokens
        self.all = SPECIALS + self.tokens
        self._id = {token: i for i, token in enumerate(self.all)}

    def __len__(self) -> int:
        return len(self.all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._id

    def encode(self, tokens: Sequence[str], join: Callable[[Sequence[str]], str] = "".join) -> NDArray[np.int64]:
        """Ids of ``tokens``, without bos and eos. Raises :class:`UnknownToken`, with its place in the text that
        ``join`` (the domain's) makes of the tokens; nothing is dropped."""
        try:
            return np.fromiter((self._id[token] for token in tokens), dtype=np.int64, count=len(tokens))
        except KeyError:
            i = next(i for i, token in enumerate(tokens) if token not in self._id)
            place = len(join(tokens[:i + 1])) - len(tokens[i])
            raise UnknownToken(tokens[i], place, join(tokens), self.tokens) from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of ``ids``, up to the first eos; padding and bos are skipped."""
        tokens = []
        for i in ids:
            if i == EOS:
                break
            if i > EOS:
                tokens.append(self.all[i])
        return tokens

    def check_speaks(self, domain: Domain) -> None:
        """Raises :class:`UsageError` unless every token survives the domain's own split and join."""
        for token in self.tokens:
            try:
                if domain.split(domain.join([token])) == [token]:
                    continue
            except UnknownToken:
                pass
            raise UsageError(f"token {token!r} of this vocabulary is not a token of the domain {domain.name!r}")
