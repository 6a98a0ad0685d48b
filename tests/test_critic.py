"""V is a ridge regression on what the levels leave; Q learns the mean return of every action in every state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from enumerable import make_prior
from torch import nn

from seqtutor.critic import Critic, QCritic
from seqtutor.model import Readout
from seqtutor.settings import TuneConfig
from seqtutor.vocabulary import BOS

WIDTH, LONGEST = 5, 7


def batch(seed: int, rows: int = 20, length: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mask = np.arange(length)[None] < rng.integers(1, length + 1, rows)[:, None]
    hidden, returns = rng.normal(size=(rows, length, WIDTH)), rng.normal(3, 1, (rows, length))
    return (torch.tensor(hidden, dtype=torch.float32), torch.tensor(returns, dtype=torch.float32),
            torch.tensor(mask))


def test_refit_is_a_weighted_ridge_regression():
    """Three fits of a batch each, against numpy's least squares on all rows above today's levels, older ones weighted
    less."""
    memory, ridge = 0.8, 0.01
    critic = Critic(WIDTH, LONGEST, memory, ridge, level_rate=0.5)
    rows, levels = [], np.zeros(LONGEST)
    for number in range(3):
        hidden, returns, mask = batch(number)
        for half in (slice(0, 10), slice(10, 20)):  # in two parts, as chunks of one update come
            critic.observe(hidden[half], returns[half], mask[half])
        critic.refit()
        for t in range(returns.shape[1]):
            n = int(mask[:, t].sum())
            levels[t] += 0.5 * sum(returns[i, t].item() - levels[t] for i in range(20) if mask[i, t]) / max(4, n)
        rows = [(memory * weight, *row) for weight, *row in rows]
        rows += [(1.0, np.array([*hidden[i, t].tolist(), 1.0]), returns[i, t].item(), t)
                 for i, t in mask.nonzero().tolist()]
        x = np.stack([np.sqrt(weight) * x for weight, x, _, _ in rows])
        y = np.array([np.sqrt(weight) * (y - levels[t]) for weight, _, y, t in rows])
        shrink = np.sqrt(ridge * np.mean(np.sum(x**2, 0)))
        expected = np.linalg.lstsq(np.vstack([x, shrink * np.eye(WIDTH + 1)]), np.append(y, np.zeros(WIDTH + 1)))[0]
        assert critic.weights.numpy() == pytest.approx(expected, abs=1e-4)
        assert critic.levels.numpy() == pytest.approx(levels, abs=1e-5)
    value = critic(hidden)
    slow = levels[3] + hidden[2, 3].numpy() @ expected[:-1] + expected[-1]
    assert value[2, 3].item() == pytest.approx(slow, abs=1e-4)


def test_finds_a_linear_value_and_its_levels():
    """What is a level for each position plus a linear function comes out, if the fit is repeated."""
    critic = Critic(WIDTH, LONGEST, ridge=1e-4)
    truth = 0.1 * torch.linspace(-1, 1, WIDTH)
    for seed in range(20):
        hidden, _, mask = batch(seed, rows=200)
        critic.observe(hidden, hidden @ truth + torch.arange(6) ** 2, mask)
        critic.refit(1.0 if seed == 0 else None)
    assert (hidden @ truth)[mask].abs().max() > 0.3
    assert (critic(hidden) - hidden @ truth - torch.arange(6) ** 2)[mask].abs().max() < 0.03


def test_gives_no_gradient_and_ignores_what_is_masked():
    critic, other = Critic(WIDTH, LONGEST), Critic(WIDTH, LONGEST)
    hidden, returns, mask = batch(0)
    critic.observe(hidden.requires_grad_(), returns, mask)
    other.observe(torch.where(mask[..., None], hidden, 99.0), torch.where(mask, returns, 1e6), mask)
    critic.refit()
    other.refit()
    assert critic.weights.abs().max() > 0.01
    assert torch.equal(critic.weights, other.weights)
    assert torch.equal(critic.levels, other.levels)
    assert not critic(hidden).requires_grad


def test_follows_and_goes_on_from_its_state():
    critic, slow = Critic(WIDTH, LONGEST), Critic(WIDTH, LONGEST)
    critic.observe(*batch(0))
    critic.refit()
    slow.follow(critic, 0.25)
    assert torch.allclose(slow(batch(1)[0]), 0.25 * critic(batch(1)[0]), atol=1e-5)
    other = Critic(WIDTH, LONGEST)
    other.load(critic.state())
    for c in (critic, other):
        c.observe(*batch(2))
        c.refit()
    for name, tensor in critic.state().items():
        assert torch.equal(tensor, other.state()[name])


@pytest.mark.parametrize("replay", [0, 2])
def test_q_is_the_mean_return_of_each_action_in_its_state(replay: int):
    """Returns with chance in them: after two letters of three each, the table of means is the slow reference."""
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, (3, 3))  # of the second letter after the first
    prior = make_prior()
    critic = QCritic(Readout(64, 6, longest=8), longest=8, rate=1e-2, precision="fp32")

    def states(ids):
        return prior.lstm(prior.embedding(ids))[0].detach()

    steps = 300
    for step in range(steps):
        letters = rng.integers(0, 3, (64, 2))
        returns = np.stack([truth.mean(1)[letters[:, 0]], truth[letters[:, 0], letters[:, 1]]], 1)
        returns += rng.normal(0, 1, returns.shape)
        mask = torch.ones(64, 2, dtype=torch.bool)
        ids = torch.cat([torch.full((64, 1), BOS), torch.tensor(letters + 3)], 1)
        critic.learn(ids, states(ids[:, :-1]), torch.tensor(returns, dtype=torch.float32), mask, pace=1 - step / steps)
        critic.relearn(replay, 1 - step / steps)
        critic.follow(0.1)
    for first in range(3):
        found = critic(states(torch.tensor([[BOS, first + 3]])))[0, :, 3:]
        assert found[0, first].item() == pytest.approx(truth[first].mean(), abs=0.25)
        assert found[1].numpy() == pytest.approx(truth[first], abs=0.35)


def test_what_q_learns_from_again_goes_on_from_its_state():
    """The prior's states are read anew, so that a checkpoint need not hold them."""
    prior, rng = make_prior(), np.random.default_rng(0)

    def states(ids: torch.Tensor) -> torch.Tensor:
        return prior.lstm(prior.embedding(ids))[0].detach()

    def learn(critic: QCritic) -> None:
        ids = torch.tensor(rng.integers(3, 6, (4, 1 + rng.integers(1, 4))))
        mask = torch.ones(4, ids.shape[1] - 1, dtype=torch.bool)
        critic.learn(ids, states(ids[:, :-1]), torch.tensor(rng.normal(size=mask.shape), dtype=torch.float32), mask)
        critic.relearn(2)

    critic, other = (QCritic(Readout(64, 6, longest=8), longest=8, rate=1e-2, precision="fp32") for _ in range(2))
    for _ in range(20):
        learn(critic)
    kept = {name: tensor.clone() for name, tensor in critic.state().items()}
    assert sum(name.endswith("/ids") for name in kept) == 16
    other.load(kept, states)
    for network in (critic, other):
        rng = np.random.default_rng(1)
        learn(network)
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in critic.state().items())


def test_a_readout_counts_and_remembers_and_does_not_see_what_comes():
    torch.manual_seed(0)
    readout = Readout(WIDTH, 6, longest=16)
    nn.init.normal_(readout.head.weight)
    states = torch.randn(3, 9, WIDTH)
    slow = []
    for t in range(9):
        sums = sum(readout.summed(states[:, k]).relu() for k in range(t + 1)) / 4
        seen = torch.stack([readout.seen(states[:, k]).relu() for k in range(t + 1)]).amax(0)
        slow.append(readout.head(readout.join(torch.cat([states[:, t], sums, seen], -1)).relu()))
    assert torch.allclose(readout(states)[0], torch.stack(slow, 1), atol=1e-5)


def test_masked_actions_teach_q_nothing():
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    critic = QCritic(Readout(64, 6, longest=8), longest=8, rate=1e-2)
    before = [parameter.clone() for parameter in critic.network.parameters()]
    critic.learn(torch.tensor([[BOS, 3, 4]]), torch.randn(1, 2, 64), torch.tensor([[1.0, 9.0]]), nothing)
    critic.relearn(1)
    assert critic.steps == 0
    assert all(torch.equal(a, b) for a, b in zip(before, critic.network.parameters(), strict=True))


def test_returns_that_differ_only_later_are_learnt():
    """As with rates alone, whose multipliers begin at 0: at first every sequence earns the same."""
    critic = QCritic(Readout(64, 6, longest=8), longest=8, rate=1e-2, precision="fp32", nat=1.0)
    states, mask = make_prior().lstm(make_prior().embedding(torch.full((2, 1), BOS)))[0].detach(), torch.ones(2, 1) > 0
    ids = torch.tensor([[BOS, 3], [BOS, 4]])
    for step in range(200):
        returns = torch.tensor([[2.0], [-2.0]]) * (step >= 20)
        critic.learn(ids, states, returns, mask, 1 - step / 200)
        critic.follow(0.2)
    assert critic(states)[0, 0, 3:5].tolist() == pytest.approx([2, -2], abs=0.1)


def test_a_setting_left_out_is_what_suits_the_method():
    assert TuneConfig(method="soft-q").settled().cooling == 10
    assert TuneConfig(method="psi").settled().lam == 0
    assert TuneConfig(method="soft-q", lam=0.5, target_rate=0.2).settled().lam == 0.5
    assert TuneConfig(method="path").settled() == TuneConfig(method="path").settled().settled()
