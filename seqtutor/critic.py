"""What is to come: V(s) fitted by least squares on the policy's own states, or Q(s, a) by a readout of the prior's.

A value that is learnt by gradient inside the policy's network lags behind and disturbs the policy. So V is the least
squares fit to the last few thousand sequences, which costs a product and a solve a step and needs no learning rate
(least-squares temporal differences: Bradtke & Barto 1996); and Q is read from the prior's states, which stand still,
and from what was in them so far.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from seqtutor import checkpoint
from seqtutor.machine import autocasting
from seqtutor.model import Readout

_FEW = 4  # positions that fewer sequences reach move their level more slowly
_WARM = 50  # new batches over which the rate of Q's network rises
_EARLIER = 16  # batches that Q learns from again


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
        hidden = hidden.detach().float()
        return self.levels[:hidden.shape[1]] + hidden @ self.weights[:-1] + self.weights[-1]

    def observe(self, hidden: Tensor, returns: Tensor, mask: Tensor) -> None:
        """Takes in what V should have been; returns, mask: [batch, T]."""
        width = returns.shape[1]
        above = (returns - self.levels[:width])[mask]
        x = torch.cat([hidden.detach().float()[mask], torch.ones(len(above), 1)], 1)
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


class QCritic:
    """Q(s_t, a) = level_t + scale·f_θ(s_t, a), in units of reward: what choosing a brings, then following the policy,
    less β times the KL on the way. f_θ, a :class:`Readout`, reads the states of the prior, which never change; behind
    the prior it makes the policy, p·exp(Q/β)/Z.

        critic = QCritic(Readout(width=512, vocabulary=26), longest=128, rate=6e-3)
        q = critic(states)                                 # float [batch, T, V], of the slow network
        critic.learn(ids, states, returns, mask)           # one step of Adam on ½(return − Q(s_t, a_t))²
        critic.relearn(2)                                  # two more, on earlier batches
        critic.follow(0.05)                                # the slow network a Polyak step further

    ``level`` is the mean return at each position and ``scale`` the standard deviation of the first returns, so that the
    network learns numbers of order 1 whatever the reward; at least ``nat``, what a nat is worth (β), since the first
    returns may be all alike, as where only rates are asked for. The slow network, the one that is given, averages what
    single steps of Adam do.
    """

    def __init__(self, slow: Readout, longest: int, rate: float, precision: str = "auto", nat: float = 1e-6):
        self.slow, self.network = slow, copy.deepcopy(slow)
        self.rate, self.nat, self.steps = rate, nat, 0
        self.levels, self.scale = torch.zeros(longest), torch.zeros(())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        self._sums = torch.zeros(2, longest)  # what the returns are above Q, and how many, since the last `follow`
        self._earlier: deque[tuple[Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=_EARLIER)  # arguments of `learn`
        self._autocast = autocasting(precision, torch.device("cpu"))

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """states: float [batch, T, width], from the first position on. Returns float [batch, T, V], no gradient."""
        with self._autocast():
            found: Tensor = self.slow(states)[0]
        return self.levels[:states.shape[1], None] + self.scale * found.float()

    def learn(self, ids: Tensor, states: Tensor, returns: Tensor, mask: Tensor, pace: float = 1.0) -> Tensor:
        """ids: int64 [batch, T + 1], bos first; states: float [batch, T, width]; returns: float [batch, T], what came
        of each action, its own reward included; mask: bool [batch, T]; ``pace``: of the learning rate. Gives back what
        the returns were above Q, float [batch, T], 0 where masked."""
        width = returns.shape[1]
        if not mask.any():
            return torch.zeros_like(returns)
        if not self.steps:
            self.levels[:width] = (returns * mask).sum(0) / mask.sum(0).clamp_min(_FEW)
            self.scale = (returns - self.levels[:width])[mask].std(unbiased=False).clamp_min(self.nat)
        self.steps += 1
        above = self._fit(ids, states, returns, mask, pace)
        self._sums[0, :width] += above.sum(0)
        self._sums[1, :width] += mask.sum(0)
        self._earlier.append((ids, states, returns, mask))
        return above

    def relearn(self, times: int, pace: float = 1.0) -> None:
        """``times`` further steps, each on one of the last batches that it was shown. What came of their actions is as
        it was seen then: the policy has hardly moved since, and most of what a return is, is chance."""
        rng = np.random.default_rng(self.steps)
        for place in rng.integers(len(self._earlier), size=times if self._earlier else 0):
            self._fit(*self._earlier[place], pace)

    def _fit(self, ids: Tensor, states: Tensor, returns: Tensor, mask: Tensor, pace: float) -> Tensor:
        """One step of Adam; returns what the returns were above Q, float [batch, T], 0 where masked."""
        width = returns.shape[1]
        with self._autocast():
            found = self.network(states)[0]
        found = found.float().gather(-1, ids[:, 1:, None])[..., 0]
        above = (returns - self.levels[:width] - self.scale * found) * mask
        loss = (above / self.scale).square().sum() / mask.sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * pace * min(1.0, self.steps / _WARM)
        self.optimizer.step()
        unlearnt: Tensor = above.detach()
        return unlearnt

    @torch.no_grad()
    def follow(self, rate: float, level_rate: float = 0.2) -> None:
        """Levels and slow network take a step towards what was learnt; ``rate``: 0 to 1."""
        self.levels += level_rate * self._sums[0] / self._sums[1].clamp_min(_FEW)
        self._sums.zero_()
        for slow, quick in zip(self.slow.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(quick, rate)

    def state(self) -> dict[str, Tensor]:
        """For :meth:`load`; between two steps. The slow network is not part of it."""
        return {**checkpoint.pack("network", self.network.state_dict()),
                **checkpoint.pack("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
                "levels": self.levels, "scale": self.scale, "steps": torch.tensor(self.steps),
                **{f"earlier/{i}/{name}": tensor for i, (ids, _, returns, mask) in enumerate(self._earlier)
                   for name, tensor in (("ids", ids), ("returns", returns), ("mask", mask))}}

    def load(self, state: dict[str, Tensor], read: Callable[[Tensor], Tensor]) -> None:
        """Goes on from :meth:`state`. ``read`` gives the prior's states, [batch, T, width], from ids [batch, T]: those
        are not kept."""
        self.network.load_state_dict(checkpoint.unpack("network", state))
        checkpoint.restore_optimizer(self.optimizer, checkpoint.unpack("optimizer", state))
        self.levels, self.scale, self.steps = state["levels"].clone(), state["scale"].clone(), int(state["steps"])
        self._earlier.clear()
        for i in range(sum(name.startswith("earlier/") and name.endswith("/ids") for name in state)):
            ids, returns, mask = (state[f"earlier/{i}/{name}"] for name in ("ids", "returns", "mask"))
            self._earlier.append((ids, read(ids[:, :-1]), returns, mask))
