"""A Gaussian process of the scores so far, which tells the promising among candidates before they are scored.

    surrogate = Surrogate(domain.features)
    surrogate.fit(texts, scores)
    mean, deviation = surrogate.predict(candidates)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtutor.domain import Domain

Features = Callable[[Sequence[str]], tuple[NDArray[np.uint8], NDArray[np.float32]]]

#: Share of Tanimoto's kernel on the bits (Ralaivola et al. 2005); the rest is a Gaussian kernel on the numbers.
_BITS = 0.7
#: Length scale of the Gaussian kernel, in standard deviations of the numbers.
_LENGTH = 3.0
#: Variance of the noise, as a share of that of the scores: what no kernel of this kind can tell.
_NOISE = 0.02


class Surrogate:
    """Both kernels have a fixed scale and scores are standardised, so nothing is fitted but the posterior itself
    (Rasmussen & Williams 2006, algorithm 2.1); a fit takes time with the cube of the texts."""

    def __init__(self, features: Features):
        self._features = features
        self._known: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]] = {}  # packed bits, numbers

    def fit(self, texts: Sequence[str], scores: Sequence[float]) -> None:
        """Learns the scores of ``texts``, finite, at least two."""
        self._known = {text: self._known[text] for text in texts if text in self._known}
        y = torch.tensor(scores, dtype=torch.float64)
        self._mean, self._deviation = y.mean(), y.std().clamp_min(1e-6)
        self._bits, self._numbers = self._of(texts)
        self._scale = self._numbers.std(0).clamp_min(0.3) * _LENGTH
        kernel = self._kernel(self._bits, self._numbers).double()
        kernel.diagonal().add_(_NOISE)
        factor = torch.linalg.cholesky(kernel)
        self._weights = torch.cholesky_solve(((y - self._mean) / self._deviation)[:, None], factor)[:, 0].float()
        self._factor = factor.float()

    def predict(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of what each of the ``texts`` would score; float64 [n] each."""
        kernel = self._kernel(*self._of(texts))
        explained = torch.linalg.solve_triangular(self._factor, kernel.T, upper=False).square().sum(0)
        deviation = (1 - explained).clamp_min(1e-6).sqrt() * self._deviation
        return (kernel @ self._weights * self._deviation + self._mean).double().numpy(), deviation.double().numpy()

    def _kernel(self, bits: Tensor, numbers: Tensor) -> Tensor:
        """float32 [n, texts fitted]."""
        shared = bits @ self._bits.T
        tanimoto = shared / (bits.sum(1)[:, None] + self._bits.sum(1) - shared).clamp_min(1)
        distance = torch.cdist(numbers / self._scale, self._numbers / self._scale)
        return _BITS * tanimoto + (1 - _BITS) * torch.exp(-0.5 * distance.square())

    def _of(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Bits and numbers as float32 [n, …]; those of a text are computed once as long as it is in use."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            bits, numbers = self._features(new)
            packed = np.packbits(bits, axis=1)
            self._known.update((text, (packed[i], numbers[i])) for i, text in enumerate(new))
        rows: list[Any] = [self._known[text] for text in texts]
        return (torch.from_numpy(np.unpackbits(np.stack([bits for bits, _ in rows]), axis=1)).float(),
                torch.from_numpy(np.stack([numbers for _, numbers in rows])))


#: Scores that the surrogate is fitted to at most, and how often the edits of what it prefers are edited again.
_FITTED, _GENERATIONS = 800, 2
#: Between these, evenly by logarithm, lies κ of a step: candidates are preferred by mean + κ·deviation (the upper
#: confidence bound of Srinivas et al. 2010), so that some steps use what is known and some look around.
_KAPPA = (0.1, 2.0)


class Screen:
    """Chooses among candidates by a :class:`Surrogate`, of those that ``accepted`` lets pass. Nothing is kept from one
    step to the next but features, so a run that is gone on with chooses the same."""

    def __init__(self, domain: Domain, accepted: Callable[[Sequence[str]], list[str]] = list):
        domain.features(())  # refuses where there are none
        self._domain, self._accepted, self._surrogate = domain, accepted, Surrogate(domain.features)

    def __call__(self, candidates: Sequence[str], scored: Mapping[str, float], n: int, rng: Random) -> list[str]:
        """The ``n`` most promising of the ``candidates`` and of their edits that are not in ``scored`` (canonical text
        → score); by chance while fewer than 2·``n`` are scored, or all scored the same."""
        pool = self._accepted([text for text in dict.fromkeys(candidates) if text not in scored])
        if len(scored) < 2 * n or not pool or len(set(scored.values())) == 1:
            return rng.sample(pool, min(n, len(pool)))
        kappa = math.exp(rng.uniform(*map(math.log, _KAPPA)))
        fitted = _spread(scored, _FITTED, rng)
        self._surrogate.fit(fitted, [scored[text] for text in fitted])

        def promise(texts: Sequence[str]) -> NDArray[np.float64]:
            mean, deviation = self._surrogate.predict(texts)
            return mean + kappa * deviation

        promises = dict(zip(pool, promise(pool), strict=True))
        for _ in range(_GENERATIONS):
            parents = heapq.nlargest(2 * n, promises, key=promises.__getitem__)
            edits = self._domain.edits(parents, n, rng)
            new = self._accepted([text for text in edits if text not in scored and text not in promises])
            if new:
                promises |= dict(zip(new, promise(new), strict=True))
        return heapq.nlargest(n, promises, key=promises.__getitem__)


def _spread(scored: Mapping[str, float], n: int, rng: Random) -> list[str]:
    """Up to ``n`` of the ``scored`` (oldest first): three fifths the best, a quarter the latest, the rest by chance."""
    if len(scored) <= n:
        return list(scored)
    chosen = dict.fromkeys(heapq.nlargest(n * 3 // 5, scored, key=scored.__getitem__))
    chosen |= dict.fromkeys(list(scored)[-n // 4:])
    others = [text for text in scored if text not in chosen]
    return [*chosen, *rng.sample(others, n - len(chosen))]
