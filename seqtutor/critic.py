"""V(s) on the policy's own states: a level for each position and a linear function fitted by least squares.

A critic that is learnt by gradient lags behind, and its gradient in the shared network disturbs the policy. The least
squares fit of the last few thousand sequences costs a product and a solve a step and needs no learning rate
(least-squares temporal differences: Bradtke & Barto 1996).
"""

from __future__ import annotations

import torch
from torch import Tensor

_FEW = 4  # positions that fewer sequences reach move their level more slowly


class Critic:
    """V(s_t) = level_t + w·h_t + b in nats, where h_t is the network's state.

        critic = Critic(width=512, longest=128)
        value = critic(hidden)                       # float [batch, T]
        critic.observe(hidden, returns, mask)        # any number of batches
        critic.refit()

    ``memory``: the weight of a batch after another one, 0 to 1; ``ridge``: added to the diagonal, as a share of its
    mean.
    """

    def __init__(self, width: int, longest: int, memory: float = 0.95, ridge: float = 0.005, level_rate: float = 0.3):
        self.memory, self.ridge, self.level_rate = memory, ridge, level_rate
        self.levels = torch.zeros(longest)
        self.weights = torch.zeros(width + 1)
        self.gram = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self.moment = torch.zeros(width + 1, dtype=torch.float64)
        self.places = torch.zeros(longest, width + 1, dtype=torch.float64)  # gram's last row, by position
        self._sums = torch.zeros(2, longest)  # what the returns are above the level, and how many, since the last fit

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: float [batch, T, width], from the first position on. Returns float [batch, T], without gradient."""
        hidden = hidden.detach()
        return self.levels[:hidden.shape[1]] + hidden @ self.weights[:-1] + self.weights[-1]

    def observe(self, hidden: Tensor, returns: Tensor, mask: Tensor) -> None:
        """Takes in what V should have been; returns, mask: [batch, T]."""
        width = returns.shape[1]
        above = (returns - self.levels[:width])[mask]
        x = torch.cat([hidden.detach()[mask], torch.ones(len(above), 1)], 1)
        self.places.index_add_(0, mask.nonzero()[:, 1], x.double())
        self.gram += (x.T @ x).double()
        self.moment += (x.T @ above).double()
        self._sums[0, :width] += ((returns - self.levels[:width]) * mask).sum(0)
        self._sums[1, :width] += mask.sum(0)

    def refit(self, level_rate: float | None = None) -> None:
        """Fits to all that was observed, older batches counting less."""
        rate = self.level_rate if level_rate is None else level_rate
        change = rate * self._sums[0] / self._sums[1].clamp_min(_FEW)
        self.levels = self.levels + change
        self._sums.zero_()
        self.moment -= change.double() @ self.places  # as if all had been observed above the levels as they are now
        size = len(self.weights)
        scale = self.gram.diagonal().mean().clamp_min(1e-9)
        gram = self.gram + self.ridge * scale * torch.eye(size, dtype=torch.float64)
        self.weights = torch.linalg.solve(gram, self.moment).float()
        for sums in (self.gram, self.moment, self.places):
            sums *= self.memory

    def follow(self, other: Critic, rate: float) -> None:
        """A Polyak step towards ``other``."""
        self.levels.lerp_(other.levels, rate)
        self.weights.lerp_(other.weights, rate)

    def state(self) -> dict[str, Tensor]:
        """For :meth:`load`; between two steps."""
        return {name: getattr(self, name) for name in _STATE}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from :meth:`state`."""
        for name in _STATE:
            setattr(self, name, state[name].clone())


_STATE = ("levels", "weights", "gram", "moment", "places")
