"""How hard the policy is held to the prior: β (reward units per nat), fixed or following the KL; multipliers of rates.

β and the multipliers λ are the dual variables of constraints on the policy's expectations, and move by the same rule:
a step on the dual in the direction in which its constraint is violated (stochastic dual ascent).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class BetaControl:
    """β over a run. ``fixed`` keeps it; ``adaptive`` steers the KL to ``kl`` nats a sequence (Ziegler et al. 2019);
    ``budget`` lets β fall to the one asked for while the KL is below ``kl`` and raises it as the KL comes near.

    ``running`` is the exponential mean of the KL of fresh samples, over about 1 / (1 − ``memory``) steps.
    """

    mode: str  # "fixed", "adaptive" or "budget"
    beta: float
    kl: float = math.inf
    rate: float = 0.1
    memory: float = 0.8
    running: float = field(default=0.0)
    seen: float = field(default=0.0)
    least: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.least = self.least or self.beta

    def observe(self, kl: float) -> None:
        """Takes in the mean KL of a batch of fresh samples (nats a sequence) and moves β."""
        self.seen = self.memory * self.seen + 1 - self.memory
        self.running += (1 - self.memory) / self.seen * (kl - self.running)
        if self.mode == "adaptive":
            self.beta *= math.exp(self.rate * _clip(self.running / self.kl - 1, 0.5))
        elif self.mode == "budget":  # aims 10 % below: the estimate is noisy and the policy answers late
            past = _clip(self.running / (0.9 * self.kl) - 1, 1)
            self.beta = max(self.least, self.beta * math.exp(2 * self.rate * past))

    @property
    def exceeded(self) -> bool:
        """Whether the budget is passed, so that the last safe policy is to be taken up again."""
        return self.mode == "budget" and self.running > self.kl

    def go_back(self, kl: float) -> None:
        """The policy was set back to one whose running KL was ``kl``; it is held harder from there."""
        self.running, self.beta = kl, 1.25 * self.beta

    def state(self) -> dict[str, Any]:
        """JSON-able; ``BetaControl(**state)`` goes on."""
        return dict(vars(self))


class RateControl:
    """Multipliers λ (nats per unit of the rule) such that E_π[rule_i] = target_i at the least KL: π ∝ p·exp(Σ λ_i f_i)
    (Khalifa, Elsahar, Dymetman 2021, moment constraints), by stochastic dual ascent.

    A step is (target − mean) / variance, Newton's for one rule, times ``rate``. A rule that does not come to its target
    although its λ runs away is given up and named in :attr:`unreachable`.
    """

    def __init__(self, targets: dict[str, float], rate: float = 0.1, limit: float = 50.0):
        self.names, self.rate, self.limit = list(targets), rate, limit
        self.targets = np.array([targets[name] for name in self.names], np.float64)
        self.multipliers = np.zeros(len(self.names))
        self.means = np.full(len(self.names), np.nan)
        self.spread = np.full(len(self.names), np.nan)  # the prior's standard deviation, the unit of ``limit``
        self.stuck = [False] * len(self.names)

    def observe(self, features: NDArray[np.floating], memory: float = 0.7) -> None:
        """``features``: float [n, rules] of fresh samples of the policy."""
        if not self.names or not len(features):
            return
        found = features.astype(np.float64)
        mean, deviation = np.nanmean(found, 0), np.nanstd(found, 0)
        first = np.isnan(self.spread)
        self.spread[first] = deviation[first]
        self.means = np.where(np.isnan(self.means), mean, memory * self.means + (1 - memory) * mean)
        unit = np.maximum(np.maximum(deviation, 0.3 * self.spread), 1e-3)
        step = self.rate * (self.targets - self.means) / unit**2
        largest = 0.5 / unit  # half a nat for a change of one deviation
        self.multipliers += np.where(self.stuck, 0.0, np.clip(step, -largest, largest))
        away = np.abs(self.multipliers) * np.maximum(self.spread, 1e-3) > self.limit
        self.stuck = [bool(s or a) for s, a in zip(self.stuck, away, strict=True)]

    @property
    def unreachable(self) -> list[str]:
        """One line for each target that the prior cannot be brought to."""
        return [f"{name} stays at {mean:.3g} and does not reach {target:.3g}: the prior hardly writes such sequences"
                for name, mean, target, stuck in zip(self.names, self.means, self.targets, self.stuck, strict=True)
                if stuck]

    def state(self) -> dict[str, Any]:
        """JSON-able, for :meth:`load`."""
        return {"multipliers": self.multipliers.tolist(), "means": self.means.tolist(), "spread": self.spread.tolist(),
                "stuck": list(self.stuck)}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`."""
        self.multipliers, self.means, self.spread = (np.array(state[k], np.float64)
                                                     for k in ("multipliers", "means", "spread"))
        self.stuck = list(state["stuck"])


def _clip(x: float, most: float) -> float:
    return max(-most, min(most, x))

