"""The losses against loops that say what they mean, and at the optimum of a tree that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from enumerable import Letters, Tree, logsumexp, make_prior
from torch import Tensor

from seqtutor import losses
from seqtutor.policy import padded

ROWS, LONGEST = 5, 6


def case(seed: int) -> dict[str, Tensor]:
    """Random rows of unequal length, some first tokens given; padding holds numbers that must not count."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, LONGEST + 1, ROWS)
    given = [int(rng.integers(0, length)) for length in lengths]
    mask = padded([np.full(length, 3) for length in lengths], given).mask
    shape = mask.shape
    names = ("log_pi", "log_p", "value", "reward", "correction")
    numbers = {name: torch.from_numpy(rng.normal(size=shape)) for name in names}
    return {**numbers, "mask": mask, "trace": torch.from_numpy((rng.random(shape) < 0.7).astype(float))}


def slow_target(x: dict[str, Tensor], i: int, t: int, gamma: float, n: int, lam: float) -> float:
    """The n-step target of one action, or all of them mixed by λ, by recursion along the row."""
    def follows(t: int) -> bool:
        return t + 1 < x["mask"].shape[1] and bool(x["mask"][i, t + 1])

    def steps(t: int, n: int) -> float:
        reward = float(x["log_p"][i, t] + x["reward"][i, t])
        if not follows(t):
            return reward
        if n == 1 or not x["trace"][i, t + 1]:
            return reward + gamma * float(x["value"][i, t + 1])
        return reward + gamma * (steps(t + 1, n - 1) - float(x["correction"][i, t + 1]))

    if lam == 0:
        return steps(t, n)
    longest = LONGEST + 1  # from there on the targets of all lengths are the same
    mixed = (1 - lam) * sum(lam ** (k - 1) * steps(t, k) for k in range(1, longest))
    return mixed + lam ** (longest - 1) * steps(t, longest)


def targets(x: dict[str, Tensor], gamma: float = 1.0, n: int = 1, lam: float = 0.0) -> Tensor:
    return losses.targets(x["log_p"], x["reward"], x["mask"], losses.shifted(x["value"], x["mask"]), x["trace"],
                          x["correction"], gamma=gamma, n=n, lam=lam)


@pytest.mark.parametrize(("n", "lam"), [(1, 0), (2, 0), (3, 0), (99, 0), (1, 0.3), (1, 0.9), (1, 1)])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_targets_of_every_length(n: int, lam: float, gamma: float):
    for seed in range(4):
        x = case(seed)
        found = targets(x, gamma, n, lam)
        for i, t in x["mask"].nonzero().tolist():
            assert found[i, t].item() == pytest.approx(slow_target(x, i, t, gamma, n, lam), abs=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_returns_sum_what_follows(gamma: float):
    x = case(1)
    found = losses.returns(x["log_pi"], x["log_p"], x["reward"], x["mask"], gamma)
    for i, t in x["mask"].nonzero().tolist():
        slow = sum(gamma ** (k - t) * float(x["log_p"][i, k] + x["reward"][i, k] - x["log_pi"][i, k])
                   for k in range(t, LONGEST) if k < x["mask"].shape[1] and x["mask"][i, k])
        assert found[i, t].item() == pytest.approx(slow, abs=1e-12)


def test_what_does_not_count_changes_nothing():
    """Whatever stands at padding and at given tokens reaches no target, return, residual or gradient."""
    x = case(2)
    other = {name: torch.where(x["mask"], tensor, 1e6 * (1 + tensor)) if tensor.is_floating_point() else tensor
             for name, tensor in x.items()} | {"trace": x["trace"]}
    found = []
    for y in (x, other):
        log_pi = y["log_pi"].clone().requires_grad_()
        residual = losses.residuals("path", log_pi, y["log_p"], y["value"], targets(y, 0.9, lam=0.8), y["mask"])
        residual.square().sum().backward()
        returns = losses.returns(y["log_pi"], y["log_p"], y["reward"], y["mask"], 0.9)[y["mask"]]
        found.append((residual.detach(), log_pi.grad, returns))
        assert not residual[~y["mask"]].any()
        assert not log_pi.grad[~y["mask"]].any()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_psi_and_g_have_the_same_gradient():
    x = case(3)
    gradients = []
    for method in ("psi", "g"):
        log_pi = x["log_pi"].clone().requires_grad_()
        losses.residuals(method, log_pi, x["log_p"], x["value"], targets(x), x["mask"]).square().sum().backward()
        gradients.append(log_pi.grad)
    assert gradients[0].abs().max() > 0.1
    torch.testing.assert_close(*gradients)


def test_kl_and_entropy_by_token():
    rng = np.random.default_rng(5)
    logits = torch.from_numpy(rng.normal(size=(2, 3, 4, 6)))
    logits[:, 1, 2, 3:] = -torch.inf  # forbidden, to both
    log_pi, log_p = logits.log_softmax(-1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0]], dtype=torch.bool)
    kl, entropy = losses.kl_by_token(log_pi, log_p, mask), losses.entropy_by_token(log_pi, mask)
    for i in range(3):
        for t in range(4):
            pairs = [(math.exp(a), a - b, a) for a, b in zip(log_pi[i, t].tolist(), log_p[i, t].tolist(), strict=True)
                     if a > -math.inf]
            expected = (sum(p * r for p, r, _ in pairs), -sum(p * a for p, _, a in pairs)) if mask[i, t] else (0, 0)
            assert (kl[i, t].item(), entropy[i, t].item()) == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [1.0, 0.6])
@pytest.mark.parametrize("grammar", [True, False])
def test_all_residuals_are_zero_at_the_optimum(grammar: bool, gamma: float):
    """On every path of a tree, for any n and λ, and the returns are V*; Q has its own optimum, at traces cut for it."""
    prior = make_prior(8)
    tree = Tree(prior, 5 if grammar else 3, Letters().grammar(prior.vocabulary.all) if grammar else None)
    x = padded([np.array(leaf) for leaf in tree.leaves], [0] * len(tree.leaves))
    for hard in (False, True):
        best = tree.solve(0.4, gamma, hard)
        columns: dict[str, list[list[float]]] = {}
        for leaf in tree.leaves:
            states = [(leaf[:t], leaf[t]) for t in range(len(leaf))]
            soft = {state: logsumexp(best[state].values()) for state, _ in states}
            row = {"log_pi": [best[s][a] - soft[s] for s, a in states], "log_p": [tree.log_p[s][a] for s, a in states],
                   "value": [soft[s] for s, _ in states], "top": [max(best[s].values()) for s, _ in states],
                   "greedy": [float(best[s][a] == max(best[s].values())) for s, a in states],
                   "nats": [tree.reward(s, a) / 0.4 for s, a in states]}
            for name, numbers in row.items():
                columns.setdefault(name, []).append(numbers + [0.0] * (x.mask.shape[1] - len(numbers)))
        c = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in columns.items()}
        trace, correction = (c["greedy"], torch.zeros_like(c["log_pi"])) if hard else (torch.ones_like(c["log_pi"]),
                                                                                     c["log_pi"])
        following = losses.shifted(c["top" if hard else "value"], x.mask)
        for n, lam in [(1, 0), (2, 0), (5, 0), (1, 0.5), (1, 1)]:
            goal = losses.targets(c["log_p"], c["nats"], x.mask, following, trace, correction, gamma=gamma, n=n,
                                  lam=lam)
            for method in ["q"] if hard else ["path", "psi", "g"]:
                residual = losses.residuals(method, c["log_pi"], c["log_p"], c["value"], goal, x.mask)
                assert residual.abs().max().item() < 1e-5
                wrong = losses.residuals(method, c["log_pi"], c["log_p"], c["value"] + 0.1, goal, x.mask)
                assert wrong.abs().max().item() > 0.09
        if not hard:
            returns = losses.returns(c["log_pi"], c["log_p"], c["nats"], x.mask, gamma)
            assert ((returns - c["value"]) * x.mask).abs().max().item() < 1e-5
