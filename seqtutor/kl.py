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
_NEWTON, _HALVED = 30, 6  # steps, and lengths of one
_MEANS, _COVARIANCE = 0.9, 0.97  # weights of what was seen before the last batch
_RARE = 0.3  # of the largest distance from the target


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
    (Khalifa, Elsahar, Dymetman 2021, moment constraints). They begin, where samples of the prior are shown first, at
    the optimum of the dual on those, and then follow the policy by stochastic dual ascent.

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
        self.widest = np.zeros(n)  # the largest |f − target| so far
        self.varies = np.zeros(n, bool)  # which have not been the same in every sample so far
        self.stuck = np.zeros(n, bool)
        self.shown = np.zeros((0, n + 1))  # samples of the prior: features, reward

    def prepare(self, features: NDArray[np.floating], reward: NDArray[np.floating], beta: float) -> None:
        """Further samples of the prior (features: float [n, rules]; reward: float [n], with β its reward units a nat):
        λ to the minimum of log E_p[exp(R/β + λ·(f − target))], E_p over all of them. A rule whose target asks for
        weights that few samples carry is left to :meth:`observe`."""
        self.shown = np.concatenate([self.shown, np.column_stack([features, reward])])
        f, nats = self.shown[:, :-1] - self.targets, self.shown[:, -1] / beta
        self.means, self.spread, self.widest = f.mean(0) + self.targets, f.std(0), np.abs(f).max(0)
        free = self.varies = np.ptp(f, 0) > 0
        while (worst := self._solve(f, nats, free)) is not None:
            free = free & (np.arange(len(free)) != worst)

    def _solve(self, f: NDArray[np.float64], nats: NDArray[np.float64], free: NDArray[np.bool_]) -> int | None:
        """Newton's method for the multipliers of the ``free`` rules; the others are 0. f: float [n, rules], above the
        targets; nats: float [n]. Returns the rule that is farthest from its target if it does not come to an end, since
        every longer step leaves fewer than a hundred samples, or a tenth, to carry the weights."""
        few, self.multipliers = min(100.0, 0.1 * len(f)), np.zeros(f.shape[1])
        value, weights = _tilted(nats)
        for _ in range(_NEWTON):
            mean = weights @ f
            self.covariance = (f.T * weights) @ f - np.outer(mean, mean)
            off = np.where(free, np.abs(mean) / self._unit, 0.0)
            if off.max() < 1e-3:
                return None
            step = np.zeros(len(mean))
            step[free] = np.linalg.solve(self._damped(1e-4)[np.ix_(free, free)], -mean[free])
            for share in 0.5 ** np.arange(_HALVED):
                tried, found = _tilted(nats + f @ (self.multipliers + share * step))
                if tried <= value and 1 / np.square(found).sum() >= few:
                    break
            else:
                break
            self.multipliers, value, weights = self.multipliers + share * step, tried, found
        return int(off.argmax())

    def observe(self, features: NDArray[np.floating], pace: float = 1.0) -> None:
        """``features``: float [n, rules] of fresh samples of the policy; ``pace``: of the policy, 1 falling to 0."""
        if not self.names or not len(features):
            return
        self.shown = self.shown[:0]
        mean, covariance = features.mean(0, np.float64), np.cov(features.T, ddof=0).reshape(self.covariance.shape)
        self.varies |= np.ptp(features, 0) > 0
        self.widest = np.maximum(self.widest, np.abs(features - self.targets).max(0))
        if np.isnan(self.means).all():  # the first samples are the prior's
            self.means, self.covariance, self.spread = mean, covariance, np.sqrt(covariance.diagonal())
        self.means = _MEANS * self.means + (1 - _MEANS) * mean
        self.covariance = _COVARIANCE * self.covariance + (1 - _COVARIANCE) * covariance
        gap = self.targets - self.means
        step = np.linalg.solve(self._damped(0.1), gap)
        # at most half a nat for a change of one deviation, or of the whole gap
        most = 0.5 / np.maximum(self._unit, np.abs(gap))
        step = np.clip(self.rate * step, -most, most)
        moves = self.varies & ~self.stuck  # the λ of what never varied would run away
        self.multipliers += np.where(moves, pace * step, 0.0)
        worth = np.abs(self.multipliers) * np.maximum(self.spread, np.abs(gap))
        self.stuck |= (worth > self.limit) & (np.abs(gap) > 0.2 * self.spread)
        self.multipliers[self.stuck] = 0.0

    @property
    def _unit(self) -> NDArray[np.float64]:
        """What a change of each rule is measured in: its deviation, and of a rule that few samples show (repeated
        motifs) a share of what those show: they come late, and all at once."""
        deviation = np.sqrt(self.covariance.diagonal().clip(0))
        unit: NDArray[np.float64] = np.max([deviation, 0.3 * self.spread, _RARE * self.widest,
                                            np.full(len(deviation), 1e-3)], 0)
        return unit

    def _damped(self, share: float) -> NDArray[np.float64]:
        """The covariance with ``share`` of the squared units added to its diagonal."""
        return self.covariance + np.diag(share * self._unit**2)

    @property
    def unreachable(self) -> list[str]:
        """One line for each target that the prior cannot be brought to."""
        off = self.stuck | (~self.varies & (np.abs(self.means - self.targets) > 1e-6))
        return [f"{name} stays at {round(mean, 6):.3g} and does not reach {target:.3g}: the prior hardly writes such "
                "sequences"
                for name, mean, target, lost in zip(self.names, self.means, self.targets, off, strict=True) if lost]

    def state(self) -> dict[str, Any]:
        """JSON-able, for :meth:`load`."""
        return {name: getattr(self, name).tolist() for name in _STATE}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`."""
        for name in _STATE:
            shape = (-1, len(self.names) + 1) if name == "shown" else getattr(self, name).shape
            setattr(self, name, np.array(state[name], getattr(self, name).dtype).reshape(shape))


_STATE = ("multipliers", "means", "covariance", "spread", "widest", "varies", "stuck", "shown")


def _tilted(nats: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """(log of the mean of exp(nats), the share that each sample has of it); nats: float [n]."""
    largest = nats.max()
    weights = np.exp(nats - largest)
    shares: NDArray[np.float64] = weights / weights.sum()
    return float(largest + np.log(weights.mean())), shares


def _clip(x: float, most: float) -> float:
    return max(-most, min(most, x))

