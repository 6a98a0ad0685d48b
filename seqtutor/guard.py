"""Watches a tuning run for collapse and for rewards that are gained at the cost of everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: figure → the share of what the prior had below which the run counts as collapsed, and the words for it
LIMITS = {"valid": (0.5, "most samples are invalid"), "unique": (0.5, "it writes the same few sequences"),
          "entropy": (0.1, "the policy has become nearly deterministic")}


@dataclass
class Guard:
    """Says when a run is to stop. The first ``begin`` steps tell how the prior is; later ones are smoothed.

    ``heldout``: rules that the objective does not reward, each with the sign of good (+1 higher, −1 lower). When the
    reward has risen by one of its own deviations over sequences while such a rule has fallen by ``fall`` of its own,
    the reward is being gamed (Gao et al. 2022: proxy and gold reward part).
    """

    heldout: dict[str, int] = field(default_factory=dict)
    begin: int = 5
    fall: float = 1.5
    memory: float = 0.9
    steps: int = 0
    first: dict[str, list[float]] = field(default_factory=dict)  # name → [mean, mean square], over the first steps
    now: dict[str, float] = field(default_factory=dict)

    def observe(self, figures: Mapping[str, float], rewards: NDArray[np.floating],
                values: Mapping[str, NDArray[np.floating]]) -> str:
        """Takes in one step; returns why the run is to stop, or "".

        figures: valid, unique, entropy; rewards: [n] of the fresh samples; values: rule → [n].
        """
        self.steps += 1
        batches = {"reward": rewards, **{name: values[name] for name in self.heldout if name in values}}
        means = {name: figures[name] for name in LIMITS}
        for name, batch in batches.items():
            known = batch[~np.isnan(batch)]
            if len(known):
                means[name] = float(known.mean())
                if self.steps <= self.begin:
                    first = self.first.setdefault(name, [0.0, 0.0])
                    first[0] += means[name] / self.begin
                    first[1] += float(np.square(known).mean()) / self.begin
        for name, value in means.items():
            if self.steps <= self.begin and name in LIMITS:
                self.first.setdefault(name, [0.0, 0.0])[0] += value / self.begin
            self.now[name] = self.memory * self.now.get(name, value) + (1 - self.memory) * value
        return self._verdict() if self.steps > self.begin else ""

    def _verdict(self) -> str:
        for name, (share, words) in LIMITS.items():
            if self.now[name] < share * self.first[name][0]:
                return f"{words} ({name} {self.now[name]:.3g}, the prior's {self.first[name][0]:.3g}); " \
                       "a higher --beta or a lower --learning-rate keeps it nearer to the prior"
        if self._moved("reward") > 1:
            for name, good in self.heldout.items():
                if name in self.now and good * self._moved(name) < -self.fall:
                    return f"the reward is being gamed: it rose to {self.now['reward']:.3g} while {name}, which it " \
                           f"does not count, went from {self.first[name][0]:.3g} to {self.now[name]:.3g}; " \
                           f"add {name} to the objective, or raise --beta"
        return ""

    def _moved(self, name: str) -> float:
        """How far a mean has moved from the prior's, in standard deviations over the prior's sequences."""
        mean, square = self.first.get(name, [math.nan, math.nan])
        return (self.now.get(name, math.nan) - mean) / max(1e-6, math.sqrt(max(0.0, square - mean * mean)))

    def state(self) -> dict[str, Any]:
        """JSON-able; ``Guard(**state)`` goes on."""
        return dict(vars(self))
