"""Memory of whole sequences with what is known of them: the recent ones and the best ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Experience:
    """One scored sequence. Nothing in it depends on the policy or on β, so nothing in it grows stale.

    ``ids``: tokens without bos, with eos unless cut off; ``given``: how many first ones were not chosen; ``log_p``: the
    prior's log-probability of each token, float32 [len(ids)], nats, 0 for given ones, computed once; ``reward``: of
    each token, float32 [len(ids)], the end's at the last; ``features``: one value for each rate target; ``canonical``:
    what it stands for, "" when it is invalid.
    """

    ids: NDArray[np.int64]
    given: int
    log_p: NDArray[np.float32]
    reward: NDArray[np.float32]
    features: NDArray[np.float32]
    canonical: str

    @property
    def total(self) -> float:
        """The score: the sum of all credited rewards."""
        return float(self.reward.sum(dtype=np.float64))


class Memory:
    """``recent``: the last sequences, in a ring. ``best``: the highest scores, each canonical form once; of equal ones
    the later are kept, so that on a plateau they move on. ``given``: those of the user, kept for good.

        memory = Memory(recent=1000, best=100)
        memory.add(experiences)
        memory.sample_best(16, np.random.default_rng(step))
    """

    def __init__(self, recent: int, best: int, rank: float = 0.01):
        self.recent_size, self.best_size, self.rank = recent, best, rank
        self.recent: list[Experience] = []
        self.best: list[Experience] = []  # highest first
        self.given: list[Experience] = []
        self.lowest = math.inf  # of the scores of all valid sequences so far

    def add(self, experiences: Iterable[Experience]) -> None:
        """Remembers them; what falls off either end is forgotten."""
        experiences = list(experiences)
        if self.recent_size:
            self.recent = (self.recent + experiences)[-self.recent_size:]
        if self.best_size:
            known, new = {e.canonical: e for e in self.best}, dict[str, Experience]()
            for e in experiences:  # spellings of one thing may differ in what their steps earn
                before = new.get(e.canonical) or known.get(e.canonical)
                if e.canonical and (before is None or e.total > before.total):
                    new[e.canonical] = e
            old = [e for text, e in known.items() if text not in new]
            self.best = sorted([*new.values(), *old], key=lambda e: -e.total)[:self.best_size]  # stable: new ones first
        self.lowest = min([self.lowest, *(e.total for e in experiences if e.canonical)])

    @property
    def leaders(self) -> list[Experience]:
        """The best, if something else is known to be worse; none while everything scored the same, since then they are
        nothing to learn from."""
        return self.best if self.best and self.best[0].total > self.lowest else []

    def sample_recent(self, n: int, rng: np.random.Generator) -> list[Experience]:
        """``n`` of the recent ones, uniformly, with repeats only when there are fewer."""
        return _draw(self.recent, n, None, rng)

    def sample_best(self, n: int, rng: np.random.Generator) -> list[Experience]:
        """``n`` of the leaders by rank: weight 1 / (κN + rank), κ = ``rank`` (Tripp et al. 2020); κ → ∞ is uniform."""
        leaders = self.leaders
        weights = 1.0 / (self.rank * len(leaders) + np.arange(len(leaders))) if leaders else None
        return _draw(leaders, n, weights, rng)

    def sample_given(self, n: int, rng: np.random.Generator) -> list[Experience]:
        """``n`` of the user's own, uniformly."""
        return _draw(self.given, n, None, rng)

    def scores(self) -> dict[str, float]:
        """Canonical form → score of all that is remembered and valid, the recent ones last."""
        return {e.canonical: e.total for e in [*self.best[::-1], *self.recent] if e.canonical}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything as flat tensors and a JSON-able part; :meth:`load` brings it back exactly."""
        both = [*self.recent, *self.best, *self.given]
        tensors = {}
        for name in ("ids", "log_p", "reward", "features"):
            arrays = [getattr(e, name) for e in both]
            tensors[name] = torch.from_numpy(np.concatenate(arrays)) if arrays else torch.zeros(0)
        return tensors, {"recent": len(self.recent), "best": len(self.best), "lengths": [len(e.ids) for e in both],
                         "given": [e.given for e in both], "canonical": [e.canonical for e in both],
                         "features": len(both[0].features) if both else 0, "lowest": self.lowest}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave."""
        found, at, width = [], 0, state["features"]
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        for i, length in enumerate(state["lengths"]):
            place = slice(at, at + length)
            found.append(Experience(arrays["ids"][place].copy(), state["given"][i], arrays["log_p"][place].copy(),
                                    arrays["reward"][place].copy(),
                                    arrays["features"][i * width:(i + 1) * width].copy(), state["canonical"][i]))
            at += length
        ends = state["recent"], state["recent"] + state["best"]
        self.recent, self.best, self.given = found[:ends[0]], found[ends[0]:ends[1]], found[ends[1]:]
        self.lowest = state["lowest"]


def _draw(source: Sequence[Experience], n: int, weights: NDArray[np.floating] | None,
          rng: np.random.Generator) -> list[Experience]:
    if not source or n <= 0:
        return []
    p = None if weights is None else weights / weights.sum()
    return [source[int(i)] for i in rng.choice(len(source), n, replace=len(source) < n, p=p)]
