"""The tutor reaches the optimum of small domains, which dynamic programming over the tree knows.

Width 64 is more than the 30 states, so V, which is linear in the network's state, can be any function of them.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from enumerable import OBJECTIVE, Letters, Tree, distance, logsumexp, make_prior, rewarder

from seqtutor import checkpoint, tutor
from seqtutor.domain import UsageError
from seqtutor.kl import BetaControl
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor
from seqtutor.vocabulary import EOS

BETA = 0.4
BOOTSTRAP = {"target_rate": 0.5, "lam": 0.9}
CRITIC = {"critic_rate": 1e-2, "critic_steps": 20, "target_rate": 0.1, "steps": 600}


def make_tutor(method: str = "path", grammar: bool = True, objective: str = OBJECTIVE,
               targets: dict[str, float] | None = None, prior: SequenceModel | None = None,
               **settings: Any) -> tuple[Tutor, Tree]:
    """``grammar``: texts of up to four letters that all end; otherwise whatever three tokens make, some cut off."""
    domain, prior = Letters(), prior or make_prior()
    automaton = domain.grammar(prior.vocabulary.all) if grammar else None
    longest = 5 if grammar else 3
    config = TuneConfig(**{"method": method, "beta": BETA, "batch": 64, "learning_rate": 5e-3, "critic_ridge": 1e-3,
                           "max_length": longest, "steps": 200, **settings})
    if targets is None:
        rewards = rewarder(objective)
    else:
        terms = [{"rule": rule, "target": target} for rule, target in targets.items()]
        rewards = Rewarder(domain, Objective.from_dict({"terms": terms}, domain))
    return Tutor(domain, prior, rewards, config, grammar=automaton, targets=targets), Tree(prior, longest, automaton)


def policy(tutor: Tutor, tree: Tree) -> np.ndarray:
    """The probability of every leaf."""
    return tree.probabilities(tree.log_policy(tutor.policy))


def run(tutor: Tutor, steps: int | None = None) -> list[dict[str, float]]:
    return [tutor.step() for _ in range(steps or tutor.config.steps)]


def check_at_optimum(t: Tutor, tree: Tree) -> None:
    """π within .01 of p·exp(R/β)/Z and V(root) of log Z, both by two ways of summing."""
    psi = tree.solve(BETA)
    log_z = logsumexp(psi[()].values())
    best = tree.probabilities(tree.log_p) * np.exp(tree.totals() / BETA)
    assert math.log(best.sum()) == pytest.approx(log_z, abs=1e-5)
    assert tree.probabilities(psi) == pytest.approx(best / best.sum(), abs=1e-5)
    assert distance(best / best.sum(), tree.probabilities(tree.log_p)) > 0.3  # far from where it began
    assert distance(policy(t, tree), best / best.sum()) < 0.01
    assert t.log_z() == pytest.approx(log_z, abs=0.01)


@pytest.mark.parametrize(("method", "grammar", "settings"), [
    ("path", True, {}), ("path", False, {}), ("psi", True, BOOTSTRAP), ("g", False, BOOTSTRAP),
    ("soft-q", True, CRITIC),
    *[pytest.param(*case, marks=pytest.mark.slow) for case in [
        ("path", True, {"lam": 1.0}), ("path", False, {"lam": 1.0}), ("psi", False, BOOTSTRAP), ("g", True, BOOTSTRAP),
        ("psi", True, {"target_rate": 1.0, "n_step": 4}), ("soft-q", False, CRITIC),
        ("soft-q", True, {**CRITIC, "lam": 0.5})]]])
def test_reaches_the_optimum(method: str, grammar: bool, settings: dict[str, Any]):
    t, tree = make_tutor(method, grammar, **settings)
    before = {name: tensor.clone() for name, tensor in t.prior.state_dict().items()}
    figures = run(t)
    check_at_optimum(t, tree)
    assert all(torch.equal(tensor, before[name]) for name, tensor in t.prior.state_dict().items())
    # what is reported is the KL of sequences, exact by token and by samples
    p, pi = tree.probabilities(tree.log_p), policy(t, tree)
    for name, noise in (("kl", 0.05), ("kl_sampled", 0.1)):
        assert np.mean([f[name] for f in figures[-20:]]) == pytest.approx(float(np.sum(pi * np.log(pi / p))), abs=noise)


def test_a_tuned_policy_is_a_prior_like_any_other():
    """A second stage: the readout of the first is part of p, and keeps its bits behind the second's."""
    tuned = make_prior().with_readout(longest=5)
    torch.nn.init.normal_(tuned.readouts[0].head.weight, std=0.3)
    tuned.readouts[0].strength.fill_(2.0)
    plain, improved = Tree(make_prior(), 3), Tree(tuned, 3)
    assert distance(plain.probabilities(plain.log_p), improved.probabilities(improved.log_p)) > 0.05
    t, tree = make_tutor("soft-q", prior=tuned, **CRITIC)
    run(t)
    check_at_optimum(t, tree)
    for name, tensor in tuned.state_dict().items():
        assert torch.equal(tensor, t.policy.state_dict()[name]), name


@pytest.mark.parametrize(("method", "settings"), [
    ("path", {"lam": 1.0}), ("psi", BOOTSTRAP), ("g", BOOTSTRAP), ("soft-q", CRITIC)])
def test_reaches_the_optimum_from_a_fixed_set(method: str, settings: dict[str, Any]):
    """Every text once an update, none of them the policy's own."""
    t, tree = make_tutor(method, **{"batch": 0, "given": 29, "critic_ridge": 1e-4, **settings})
    t.give([(tree.text(leaf), math.nan) for leaf in tree.leaves])
    figures = run(t)
    check_at_optimum(t, tree)
    for name in ("kl", "kl_sampled", "entropy", "reward", "valid", "unique"):
        assert math.isnan(figures[-1][name])


@pytest.mark.parametrize(("method", "settings"), [
    ("psi", {"target_rate": 0.5}), ("g", {"target_rate": 0.5}), ("path", {})])
def test_a_discount_has_its_own_fixed_point(method: str, settings: dict[str, Any]):
    """γ = 0.8: Ψ(s, a) = log p + r/β + γ·logsumexp Ψ(s'), which is no longer the optimum over sequences."""
    t, tree = make_tutor(method, gamma=0.8, steps=300, batch=0, given=29, critic_ridge=1e-4, **settings)
    t.give([(tree.text(leaf), math.nan) for leaf in tree.leaves])
    run(t)
    psi = tree.solve(BETA, gamma=0.8)
    assert distance(tree.probabilities(psi), tree.probabilities(tree.solve(BETA))) > 0.03
    assert distance(policy(t, tree), tree.probabilities(psi)) < 0.01
    assert t.log_z() == pytest.approx(logsumexp(psi[()].values()), abs=0.01)


@pytest.mark.parametrize("fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_q_reaches_its_own_fixed_point(fresh: bool):
    """The hard maximum: another policy than π*. λ with traces cut behind what is not greedy."""
    source = {"batch": 64, "epsilon": 0.2} if fresh else {"batch": 0, "given": 29, "critic_ridge": 1e-4}
    t, tree = make_tutor("q", steps=300, target_rate=1.0, lam=0.9, **source)
    t.give([(tree.text(leaf), math.nan) for leaf in tree.leaves])
    run(t)
    q = tree.solve(BETA, hard=True)
    assert distance(tree.probabilities(q), tree.probabilities(tree.solve(BETA))) > 0.03  # not the optimum of KL control
    assert distance(policy(t, tree), tree.probabilities(q)) < 0.01
    assert t.log_z() == pytest.approx(logsumexp(q[()].values()), abs=0.02)


@pytest.mark.parametrize("settings", [{}, {"epsilon": 0.2}, {"temperature": 1.5}, {"temperature": 0.7, "epsilon": 0.1},
                                      {"temperature": 0.0, "epsilon": 0.5}])
@pytest.mark.parametrize("grammar", [True, False])
def test_the_kl_told_is_the_policys_whatever_wrote_the_samples(settings: dict[str, float], grammar: bool):
    t, tree = make_tutor(grammar=grammar, steps=40)
    run(t)  # away from the prior
    other, _ = make_tutor(grammar=grammar, batch=20_000, seed=1, steps=1, **settings)
    other.policy.load_state_dict(t.policy.state_dict())
    p, pi = tree.probabilities(tree.log_p), policy(t, tree)
    kl, entropy = float(np.sum(pi * np.log(pi / p))), -float(np.sum(pi * np.log(pi)))
    figures = other.step()
    assert kl > 0.2
    for name, expected, noise in (("kl", kl, 0.03), ("kl_sampled", kl, 0.06), ("entropy", entropy, 0.06)):
        assert figures[name] == pytest.approx(expected, abs=noise), name


def test_credited_rewards_sum_to_the_score():
    for grammar in (True, False):
        t, tree = make_tutor(grammar=grammar, batch=200)
        t.step()
        scores = dict(zip(tree.leaves, tree.totals(), strict=True))
        assert len({tuple(e.ids) for e in t.memory.recent}) > 15
        for e in t.memory.recent:
            leaf = tuple(e.ids.tolist())
            assert e.total == pytest.approx(scores[leaf], abs=1e-6)
            assert e.reward.tolist() == pytest.approx([tree.reward(leaf[:i], leaf[i]) for i in range(len(leaf))])
            log_p = [tree.log_p[leaf[:i]][leaf[i]] for i in range(len(leaf))]
            assert e.log_p.tolist() == pytest.approx(log_p, abs=1e-5)


@pytest.mark.parametrize("method", ["path", "psi", "q", "g"])
def test_one_batch_of_8_is_eight_of_1(method: str, monkeypatch: pytest.MonkeyPatch):
    found = []
    for size in (8, 1):
        monkeypatch.setattr(tutor, "_CHUNK", size)
        t, _ = make_tutor(method, batch=8, recent=8, clip=1e9)
        figures = run(t, 2)
        found.append(([p.grad for p in t.policy.parameters()], t.critic.weights, figures[-1]))
    (a, v, f), (b, w, g) = found
    assert max(float(x.abs().max()) for x in a) > 1e-3
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(v, w, rtol=1e-2, atol=1e-4)
    assert f == pytest.approx(g, rel=1e-3, nan_ok=True)


def test_each_new_sequence_is_in_one_minibatch(monkeypatch: pytest.MonkeyPatch):
    seen: list[list[Any]] = []
    update = tutor.Tutor._update

    def watched(self: Tutor, chunks: list[Any], totals: np.ndarray) -> float:
        seen.append([ids[ids > 0].tolist() for chunk in chunks for ids in chunk.x.ids])
        return update(self, chunks, totals)

    monkeypatch.setattr(tutor.Tutor, "_update", watched)
    monkeypatch.setattr(tutor, "_CHUNK", 16)
    t, _ = make_tutor(batch=42, minibatch=9)
    t.step()
    assert [len(part) for part in seen] == [9, 9, 8, 8, 8]
    written = [[tutor.BOS, *e.ids.tolist()] for e in t.memory.recent]
    assert sorted(row for part in seen for row in part) == sorted(written)
    lengths = [float(np.mean([len(row) for row in part])) for part in seen]
    assert max(lengths) - min(lengths) < 1
    state = t.optimizer.state_dict()["state"]
    assert {int(one["step"]) for one in state.values()} == {5}


def test_given_tokens_and_what_cannot_be_scored_teach_nothing(monkeypatch: pytest.MonkeyPatch):
    """Everything given, or no score at all: the policy keeps its bits and the KL is still told."""
    monkeypatch.setattr(Letters, "given", lambda self, tokens: 99)
    t, _ = make_tutor(batch=8)
    run(t, 2)
    assert all(torch.equal(a, b) for a, b in zip(t.policy.parameters(), t.prior.parameters(), strict=True))
    monkeypatch.undo()
    t, _ = make_tutor(batch=8)
    run(t, 3)
    before = copy.deepcopy(t.policy.state_dict())
    rewards = t.rewarder
    t.rewarder = lambda tokens: _unscored(rewards(tokens))  # type: ignore[assignment]
    t.rewarder.calls = 0  # type: ignore[attr-defined]
    figures = t.step()
    assert figures["kl"] > 1e-4
    assert math.isnan(figures["reward"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in t.policy.state_dict().items())


def _unscored(scores: Any) -> Any:
    scores.end[:] = math.nan
    return scores


SETTINGS = {"recent": 8, "best": 8, "given": 4, "updates": 2, "batch": 16, "steps": 20}


@pytest.mark.parametrize("settings", [
    {"method": "path", "control": "adaptive", "kl": 0.4}, {"method": "psi"}, {"method": "q", "epsilon": 0.1},
    {"method": "soft-q", "critic_steps": 2}, {"method": "soft-q", "critic_steps": 2, "minibatch": 5},
    {"minibatch": 4}, {"control": "budget", "kl": 0.1},
    {"method": "g", "targets": {"long": 0.5}}])
def test_same_seed_same_bits_and_resumed_likewise(settings: dict[str, Any], tmp_path: Path):
    def begin() -> Tutor:
        t, _ = make_tutor(**{**SETTINGS, **settings})
        t.give([("cab", 3.0), ("ba", math.nan)])
        return t

    def bits(t: Tutor) -> tuple[dict[str, bytes], str]:
        tensors, state = t.state()
        return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, json.dumps(state)

    t = begin()
    run(t, 4)
    tensors, state = t.state()
    checkpoint.save(tmp_path / "half", tensors, state)
    run(t, 4)
    again, resumed = begin(), make_tutor(**{**SETTINGS, **settings})[0]
    run(again, 8)
    assert bits(again) == bits(t)
    resumed.load(*checkpoint.load(tmp_path / "half"))
    run(resumed, 4)
    assert bits(resumed) == bits(t)
    other = make_tutor(**{**SETTINGS, **settings}, seed=1)[0]
    run(other, 1)
    assert other.state()[1]["memory"] != t.state()[1]["memory"]


# -- targets as rates, budget ----------------------------------------------------------------------------------------

AIM = {"bees": 0.7, "long": 0.5, "first b": 0.5}


def least_kl(p: np.ndarray, features: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """p·exp(λ·f)/Z with mean ``aim``: Newton on the convex dual log Z(λ) − λ·aim."""
    multipliers = np.zeros(len(aim))
    for _ in range(100):
        pi = p * np.exp(features @ multipliers)
        pi /= pi.sum()
        mean = pi @ features
        hessian = (features * pi[:, None]).T @ features - np.outer(mean, mean)
        multipliers += 0.5 * np.linalg.solve(hessian, aim - mean)
    return pi


def test_three_rates_at_once_at_the_least_kl():
    t, tree = make_tutor(targets=AIM, batch=128)
    run(t)
    texts = [tree.text(leaf) for leaf in tree.leaves]
    features = np.array([t.domain.rule(name).score(texts) for name in AIM], float).T
    p, pi, aim = tree.probabilities(tree.log_p), policy(t, tree), np.array(list(AIM.values()))
    best = least_kl(p, features, aim)
    assert best @ features == pytest.approx(aim, abs=1e-9)
    assert np.abs(p @ features - aim).min() > 0.1
    assert pi @ features == pytest.approx(aim, abs=0.01)
    assert float(np.sum(pi * np.log(pi / p))) == pytest.approx(float(np.sum(best * np.log(best / p))), abs=0.01)
    assert distance(pi, best) < 0.02
    assert t.rates.unreachable == []


def test_a_rate_out_of_reach_is_said():
    t, tree = make_tutor(targets={"long": 0.4, "rare": 0.3}, steps=150)
    run(t)
    (line,) = t.rates.unreachable
    assert line.startswith("rare stays at 0 and does not reach 0.3")
    long = np.array([len(tree.text(leaf)) == 4 for leaf in tree.leaves])
    assert policy(t, tree) @ long == pytest.approx(0.4, abs=0.03)


def test_budget_is_kept_and_used(monkeypatch: pytest.MonkeyPatch):
    """β alone would spend 0.71 nats; 0.4 are allowed. The first steps of Adam must be small beside the budget."""
    t, tree = make_tutor(control="budget", kl=0.4, learning_rate=1e-3)
    running, observe = [], BetaControl.observe

    def watched(self: BetaControl, kl: float) -> None:
        observe(self, kl)
        running.append(self.running)

    monkeypatch.setattr(BetaControl, "observe", watched)
    run(t)
    assert max(running) < 1.05 * 0.4
    p, pi = tree.probabilities(tree.log_p), policy(t, tree)
    assert 0.33 < float(np.sum(pi * np.log(pi / p))) < 0.4


# -- what is refused ---------------------------------------------------------------------------------------------------

def test_no_fresh_samples_need_something_else_to_learn_from_and_nothing_to_steer():
    with pytest.raises(UsageError, match="a batch of 0 leaves nothing to learn from; give sequences"):
        TuneConfig(batch=0)
    with pytest.raises(UsageError, match="measures no KL, so β cannot be adaptive; let it be fixed"):
        TuneConfig(batch=0, given=4, control="adaptive", kl=1.0)
    with pytest.raises(UsageError, match="targets need a batch of at least 1"):
        make_tutor(batch=0, given=4, targets={"long": 0.5})
    with pytest.raises(UsageError, match="nothing was given"):
        make_tutor(batch=0, given=4)[0].step()


def test_given_texts_that_the_policy_cannot_write_are_refused():
    t, _ = make_tutor()
    for text in ("ac", "ababa"):
        with pytest.raises(UsageError, match="leave it out"):
            t.give([(text, 1.0)])
    t.give([("cab", 3.0), ("ba", math.nan)])
    assert [e.total for e in t.memory.given] == pytest.approx([3.0, 0.8])
    assert t.memory.given[0].ids[-1] == EOS
