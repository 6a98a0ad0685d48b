"""Length-bucketed batches whose order depends on the seed and the epoch alone, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtutor.corpus import Encoded
from seqtutor.domain import Domain, UnknownToken
from seqtutor.vocabulary import BOS, EOS, PAD, Vocabulary

_BUCKET = 50  # batches that are sorted together: long enough for little padding, short enough to stay random


def encode(domain: Domain, vocabulary: Vocabulary, texts: Sequence[str]) -> Encoded:
    """Token ids of ``texts``; raises :class:`seqtutor.domain.UnknownToken` at the first foreign symbol."""
    rows = [vocabulary.encode(domain.split(text), domain.join).astype(np.uint16) for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    return Encoded(np.concatenate(rows) if rows else np.zeros(0, np.uint16), offsets)


def epoch_batches(lengths: NDArray[np.int64], size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Every text once, in batches of ``size`` indices of like length, in an order drawn from (seed, epoch)."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = order[start:start + size * _BUCKET]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches += [bucket[i:i + size] for i in range(0, len(bucket), size)]
    rng.shuffle(batches)
    return batches


def pad(rows: Sequence[NDArray[np.integer]]) -> Tensor:
    """int64 [batch, longest + 2]: bos, the ids, eos, then padding."""
    out = np.full((len(rows), max(map(len, rows), default=0) + 2), PAD, dtype=np.int64)
    out[:, 0] = BOS
    for i, row in enumerate(rows):
        out[i, 1:1 + len(row)] = row
        out[i, 1 + len(row)] = EOS
    return torch.from_numpy(out)


def by_length(encoded: Encoded, size: int) -> Iterator[Tensor]:
    """All of ``encoded`` once, in padded batches of like length (for evaluation)."""
    order = np.argsort(encoded.lengths, kind="stable")
    for i in range(0, len(order), size):
        yield pad([encoded[int(j)] for j in order[i:i + size]])


def augmenter(domain: Domain, vocabulary: Vocabulary, texts: Sequence[str], share: float,
              ) -> Callable[[NDArray[np.int64], NDArray[np.integer], int], NDArray[np.integer]]:
    """Returns a function that replaces a text by another spelling with probability ``share`` (0 to 1), drawn from the
    epoch's key and the text's index; spellings outside the vocabulary are never used."""

    def augment(key: NDArray[np.int64], ids: NDArray[np.integer], index: int) -> NDArray[np.integer]:
        rng = Random(f"{key.tolist()} {index}")
        if rng.random() < share:
            for variant in domain.variants(texts[index], 1, rng):
                with suppress(UnknownToken):
                    return vocabulary.encode(domain.split(variant))
        return ids

    return augment
