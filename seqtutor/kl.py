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

_AHEAD = 20  # steps over which the KL is expected to go on as it does
_NEARLY = 0.98  # of the budget; the next batch may lie above the mean


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
    ahead: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.least = self.least or self.beta

    def observe(self, kl: float) -> None:
        """Takes in the mean KL of a batch of fresh samples (nats a sequence) and moves β."""
        before = self.running
        self.seen = self.memory * self.seen + 1 - self.memory
        self.running += (1 - self.memory) / self.seen * (kl - self.running)
        if self.mode == "adaptive":
            self.beta *= math.exp(self.rate / 2 * _clip(self.running / self.kl - 1, 0.5))
        elif self.mode == "budget":  # aims 10 % below and looks ahead: the estimate is noisy, the policy answers late
            self.ahead = self.running + _AHEAD * (self.running - before)
            past = _clip(self.ahead / (0.9 * self.kl) - 1, 1)
            self.beta = max(self.least, self.beta * math.exp(2 * self.rate * past))

    @property
    def within(self) -> bool:
        """Whether the KL is within the budget and not about to leave it: such a policy is safe to come back to."""
        return max(self.running, self.ahead) <= _NEARLY * self.kl

    @property
    def exceeded(self) -> bool:
        """Whether the budget is as good as spent, so that the last safe policy is to be taken up again."""
        return self.mode == "budget" and self.running > _NEARLY * self.kl

    def go_back(self, kl: float) -> None:
        """The policy was set back to one whose running KL was ``kl``; it is held harder from there."""
        self.running, self.ahead, self.beta = kl, kl, 1.25 * self.beta

    def state(self) -> dict[str, Any]:
        """JSON-able; ``BetaControl(**state)`` goes on."""
        return dict(vars(self))


class RateControl:
    """Multipliers λ (nats per unit of the rule) such that E_π[f_i] = target_i at the least KL: π ∝ p·exp(Σ λ_i f_i)
    (Khalifa, Elsahar, Dymetman 2021, moment constraints), by stochastic dual ascent.

    The dual's gradient is the gap target − E_π[f] and its Hessian minus the covariance of f, so Newton's step is
    covariance⁻¹·gap; ``rate`` of it is taken, since the policy answers late. A rule that does not come to its target
    although its λ has become worth ``limit`` nats (for a change of one deviation, or of the whole gap) is given up, its
    λ 0 again, and named in :attr:`unreachable`.
    """

    def __init__(self, targets: dict[str, float], rate: float = 0.05, limit: float = 10.0):
        self.names, self.rate, self.limit = list(targets), rate, limit
        self.targets = np.array([targets[name] for name in self.names], np.float64)
        n = len(self.names)
        self.multipliers = np.zeros(n)
        self.means = np.full(n, np.nan)
        self.covariance = np.zeros((n, n))
        self.spread = np.zeros(n)  # the prior's standard deviations, the units of ``limit``
        self.stuck = np.zeros(n, bool)

    def observe(self, features: NDArray[np.floating], pace: float = 1.0, memory: float = 0.8) -> None:
        """``features``: float [n, rules] of fresh samples of the policy; ``pace``: of the policy, 1 falling to 0."""
        if not self.names or not len(features):
            return
        mean, covariance = features.mean(0, np.float64), np.cov(features.T, ddof=0).reshape(self.covariance.shape)
        if np.isnan(self.means).all():  # the first samples are the prior's
            self.covariance, self.spread = covariance, np.sqrt(covariance.diagonal())
            self.means = mean
        self.means = memory * self.means + (1 - memory) * mean
        self.covariance = memory * self.covariance + (1 - memory) * covariance
        gap = self.targets - self.means
        unit = np.maximum(np.maximum(np.sqrt(self.covariance.diagonal()), 0.3 * self.spread), 1e-3)
        step = np.linalg.solve(self.covariance + np.diag(0.1 * unit**2), gap)
        largest = 0.5 / np.maximum(unit, np.abs(gap))  # half a nat for a change of one deviation, or of the whole gap
        step = np.clip(self.rate * step, -largest, largest)
        still = self.stuck | self._constant  # what never varied moves nothing, and its λ would run away
        self.multipliers += np.where(still, 0.0, pace * step)
        self.stuck |= np.abs(self.multipliers) * np.maximum(self.spread, np.abs(gap)) > self.limit
        self.multipliers[self.stuck] = 0.0

    @property
    def _constant(self) -> NDArray[np.bool_]:
        """Which features have been the same in every sample so far."""
        return np.asarray(self.covariance.diagonal() == 0)

    @property
    def unreachable(self) -> list[str]:
        """One line for each target that the prior cannot be brought to."""
        off = self.stuck | (self._constant & (np.abs(self.means - self.targets) > 1e-6))
        return [f"{name} stays at {mean:.3g} and does not reach {target:.3g}: the prior hardly writes such sequences"
                for name, mean, target, lost in zip(self.names, self.means, self.targets, off, strict=True) if lost]

    def state(self) -> dict[str, Any]:
        """JSON-able, for :meth:`load`."""
        return {name: getattr(self, name).tolist() for name in _STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`."""
        for name in _STATE:
            setattr(self, name, np.array(state[name], getattr(self, name).dtype).reshape(getattr(self, name).shape))


_STATE = ("multipliers", "means", "covariance", "spread", "stuck")


def _clip(x: float, most: float) -> float:
    return max(-most, min(most, x))

