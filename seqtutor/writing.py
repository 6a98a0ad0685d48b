"""A model that goes on from texts and weighs them: what a domain's proposer works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from seqtutor.domain import Domain, Proposer, SeqtutorError, UnknownToken
from seqtutor.machine import autocasting
from seqtutor.policy import Permitted, chosen, log_probs, padded
from seqtutor.sampling import Sampler
from seqtutor.vocabulary import EOS

_CHUNK = 256  # texts that run through the network together


def proposed(domain: Domain, sampler: Sampler, propose: Proposer, seed: int) -> Iterator[tuple[list[int], int]]:
    """Samples as a domain puts them together, without end: the ids of each as :meth:`Sampler.sample_ids` has them, and
    how many leading ones were given. Raises :class:`SeqtutorError` where the domain has nothing to propose."""
    writer, rng = ModelWriter(domain, sampler), Random(seed)
    while pairs := propose(writer, sampler.config.batch, rng):
        for beginning, text in pairs:
            yield [*writer.ids(text), EOS][:sampler.config.max_length], len(writer.ids(beginning))
    raise SeqtutorError("there is no way to write what is to be kept with the tokens of this model")


class ModelWriter:
    """The :class:`seqtutor.domain.Writer` that a sampler makes of its model."""

    def __init__(self, domain: Domain, sampler: Sampler):
        self._domain, self._sampler, self._model = domain, sampler, sampler.model
        self._autocast = autocasting("auto", self._model.head.weight.device)
        self._permitted = Permitted(len(self._model.vocabulary), sampler.grammar)

    def knows(self, text: str) -> bool:
        """Whether all tokens of ``text`` are in the vocabulary."""
        try:
            return all(token in self._model.vocabulary for token in self._domain.split(text))
        except UnknownToken:
            return False

    def complete(self, beginnings: Sequence[str], barred: Sequence[str] = ()) -> list[str]:
        """For each of the ``beginnings`` a text that goes on from it by at least a token, the first none of ``barred``.
        Raises :class:`UnknownToken`."""
        never = [int(i) for token in barred if token in self._model.vocabulary for i in
                 self._model.vocabulary.encode([token])]
        found = self._sampler.complete([self.ids(text) for text in beginnings], never)
        return [self._domain.join(self._model.vocabulary.decode(ids)) for ids in found]

    @torch.no_grad()
    def log_prob(self, texts: Sequence[str], ended: bool = True) -> NDArray[np.float64]:
        """float64 [texts]: log p in nats, as whole texts or, where not ``ended``, as beginnings."""
        rows = [np.array(self.ids(text) + [EOS] * ended, np.int64) for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = np.zeros(len(rows))
        for start in range(0, len(order), _CHUNK):
            places = order[start:start + _CHUNK]
            x = padded([rows[i] for i in places], [0] * len(places))
            with self._autocast():
                everything, _ = log_probs(self._model, x.ids[:, :-1], self._permitted.along(x.ids[:, :-1]))
            found[places] = chosen(everything, x.actions, x.mask).sum(1).double().numpy()
        return found

    def ids(self, text: str) -> list[int]:
        """Of the tokens of ``text``. Raises :class:`UnknownToken`."""
        return list(map(int, self._model.vocabulary.encode(self._domain.split(text), self._domain.join)))
