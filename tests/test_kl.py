"""Control of β and of the multipliers of rates, on simulated policies whose answer is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from seqtutor.kl import BetaControl, RateControl


class SlowPolicy:
    """Answers β late: its KL moves towards c/β², as that of a tilted Gaussian does, by at most ``fastest`` nats a step;
    batches of it are noisy."""

    def __init__(self, seed: int, noise: float, delay: float = 0.9, fastest: float = 1.0):
        self.rng, self.noise, self.delay, self.fastest = np.random.default_rng(seed), noise, delay, fastest
        self.kl = 0.0

    def step(self, beta: float) -> float:
        """The KL of a batch, nats a sequence."""
        change = (1 - self.delay) * (0.02 / beta**2 - self.kl)
        self.kl += max(-self.fastest, min(self.fastest, change))
        return self.kl * math.exp(self.noise * self.rng.normal())


def test_fixed_stays():
    control = BetaControl("fixed", 0.3)
    for kl in (1.0, 9.0, 4.0):
        control.observe(kl)
    assert control.beta == 0.3
    assert not control.exceeded


def test_running_is_the_mean_with_fading_weights():
    control, seen = BetaControl("fixed", 1.0, memory=0.7), []
    for kl in (3.0, 1.0, 4.0, 1.0, 5.0):
        control.observe(kl)
        seen.append(kl)
        weights = [0.7 ** (len(seen) - 1 - i) for i in range(len(seen))]
        assert control.running == pytest.approx(np.average(seen, weights=weights))


@pytest.mark.parametrize("beta", [0.005, 0.05, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_adaptive_comes_to_its_kl(beta: float, noise: float):
    control, policy = BetaControl("adaptive", beta, kl=6.0), SlowPolicy(0, noise)
    seen = []
    for _ in range(400):
        control.observe(policy.step(control.beta))
        seen.append(policy.kl)
    assert np.mean(seen[-100:]) == pytest.approx(6.0, rel=0.05)
    assert np.std(seen[-100:]) < 0.6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fastest", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("delay", [0.8, 0.97])
def test_budget_is_kept(seed: int, delay: float, fastest: float):
    """The β asked for would cost 200 nats; the running estimate stays below 21 and the policy comes near to 20."""
    control, policy = BetaControl("budget", 0.01, kl=20.0), SlowPolicy(seed, 0.1, delay, fastest)
    safe, seen = (0.0, 0.0), []
    for _ in range(400):
        control.observe(policy.step(control.beta))
        seen.append(control.running)
        if control.exceeded:  # what the tutor does: back to the last policy that was within
            policy.kl, running = safe
            control.go_back(running)
        elif control.within:
            safe = policy.kl, control.running
    assert max(seen) < 1.05 * 20
    assert 16 < np.mean(seen[-100:]) < 20


def test_budget_leaves_beta_alone_where_it_is_not_reached():
    control, policy = BetaControl("budget", 0.1, kl=20.0), SlowPolicy(0, 0.1)
    for _ in range(200):
        control.observe(policy.step(control.beta))
    assert control.beta == 0.1
    assert policy.kl == pytest.approx(2.0)


@pytest.mark.parametrize("mode", ["fixed", "adaptive", "budget"])
def test_control_goes_on_from_its_state(mode: str):
    control, policy = BetaControl(mode, 0.05, kl=2.0 if mode != "fixed" else math.inf), SlowPolicy(0, 0.3)
    for _ in range(7):
        control.observe(policy.step(control.beta))
    other = BetaControl(**json.loads(json.dumps(control.state())))
    for kl in (3.0, 1.0, 2.2):
        control.observe(kl)
        other.observe(kl)
        assert other == control


# -- rates -----------------------------------------------------------------------------------------------------------

FEATURES = np.array([[a, b, a * b] for a in (0, 1) for b in (0, 1, 2)], float)  # correlated, of unlike size
PRIOR = np.array([0.5, 0.2, 0.05, 0.15, 0.07, 0.03])


def tilted(multipliers: np.ndarray) -> np.ndarray:
    weights = PRIOR * np.exp(FEATURES @ multipliers)
    return weights / weights.sum()


def run(control: RateControl, steps: int, delay: float = 0.0, batch: int = 64, seed: int = 0) -> np.ndarray:
    """Samples of a policy whose log-probabilities move towards the tilted prior; returns its probabilities."""
    rng, log_pi = np.random.default_rng(seed), np.log(PRIOR)
    for step in range(steps):
        pi = np.exp(log_pi) / np.exp(log_pi).sum()
        control.observe(FEATURES[rng.choice(len(PRIOR), batch, p=pi)], 0.5 * (1 + math.cos(math.pi * step / steps)))
        log_pi = delay * log_pi + (1 - delay) * np.log(tilted(control.multipliers))
    return np.exp(log_pi) / np.exp(log_pi).sum()


@pytest.mark.parametrize("delay", [0.0, 0.9, 0.97])
def test_rates_are_met_though_the_policy_answers_late(delay: float):
    aim = np.array([0.6, 1.1, 0.75])
    control = RateControl({"a": 0.6, "b": 1.1, "ab": 0.75})
    pi = run(control, 600, delay)
    assert np.abs(PRIOR @ FEATURES - aim).min() > 0.3
    assert pi @ FEATURES == pytest.approx(aim, abs=0.02)
    assert control.unreachable == []


def test_a_rate_out_of_reach_is_said_and_the_others_are_met():
    """What never happens under the prior has no rate to move."""
    control = RateControl({"a": 0.6, "never": 0.3})
    rng = np.random.default_rng(0)
    for _ in range(400):
        pi = np.exp(control.multipliers[0] * np.array([0, 1])) * [0.8, 0.2]
        a = rng.random(64) < pi[1] / pi.sum()
        control.observe(np.stack([a, np.zeros(64)], 1))
    assert control.means[0] == pytest.approx(0.6, abs=0.08)
    (line,) = control.unreachable
    assert line.startswith("never stays at 0 and does not reach 0.3")
    control.observe(np.zeros((4, 2)))
    assert control.multipliers[1] == 0  # given up


def test_what_never_varies_is_not_paid_for():
    """Its multiplier would run away, and the first sample that differs would be worth hundreds of nats."""
    control = RateControl({"always": 0.96})
    for _ in range(20):
        control.observe(np.ones((64, 1)))
        assert control.multipliers[0] == 0
    control.observe(np.array([[0.0]] + 63 * [[1.0]]))
    assert -20 < control.multipliers[0] <= 0
    assert control.unreachable == []


def test_multipliers_begin_at_the_optimum_on_the_priors_samples():
    """Re-weighted by the reward too: p·exp(R/β + λ·f) has the means asked for, exactly on the samples."""
    aim, reward = np.array([0.6, 1.1, 0.75]), np.array([0.0, 0.5, 1.0, 0.0, 0.2, 0.3])
    control = RateControl({"a": 0.6, "b": 1.1, "ab": 0.75})
    drawn = np.random.default_rng(0).choice(len(PRIOR), (20, 200), p=PRIOR)
    for batch in drawn:
        control.prepare(FEATURES[batch], reward[batch], 0.5)
    share = np.bincount(drawn.ravel(), minlength=len(PRIOR)) / drawn.size
    weights = share * np.exp(reward / 0.5 + FEATURES @ control.multipliers)
    assert weights @ FEATURES / weights.sum() == pytest.approx(aim, abs=2e-3)
    control.observe(FEATURES[drawn[0]])
    assert not len(control.shown)


def test_what_few_samples_show_is_left_to_the_policy():
    """Two of 2,000 samples cannot stand for three in ten; the other rule comes to its rate all the same."""
    control = RateControl({"a": 0.6, "seldom": 0.3})
    a, seldom = np.random.default_rng(0).random(2000) < 0.2, np.zeros(2000)
    seldom[:2] = 1
    control.prepare(np.stack([a, seldom], 1), np.zeros(2000), 1.0)
    assert control.multipliers[1] == 0
    weights = np.exp(control.multipliers[0] * a)
    assert weights @ a / weights.sum() == pytest.approx(0.6, abs=1e-3)


def test_what_comes_late_and_all_at_once_is_not_overpaid():
    """A piece in some hundreds is half repeated motifs. As long as the policy shows none, the rate's multiplier grows
    slowly: at its optimum such a piece is worth some nats more, not a hundred."""
    control = RateControl({"repeated": 0.004})
    f = np.zeros(9600)
    f[:40] = 0.4
    control.prepare(f[:, None], np.zeros(len(f)), 1.0)
    begun = float(control.multipliers[0])
    assert 0.4 * begun == pytest.approx(math.log(0.01 / 0.99 / (40 / 9560)), abs=0.01)
    for _ in range(500):
        control.observe(np.zeros((64, 1)), 0.05)
    assert 0 < 0.4 * (control.multipliers[0] - begun) < 4


def test_rates_go_on_from_their_state():
    before = RateControl({"a": 0.5})
    before.prepare(np.eye(4)[:, :1], np.arange(4.0), 0.7)
    after = RateControl({"a": 0.5})
    after.load(json.loads(json.dumps(before.state())))
    for control in (before, after):
        control.prepare(np.eye(3)[:, :1], np.arange(3.0), 0.7)
    assert before.state() == after.state()
    control, other = RateControl({"a": 0.5, "b": 1.0, "ab": 0.4}), RateControl({"a": 0.5, "b": 1.0, "ab": 0.4})
    run(control, 20)
    other.load(json.loads(json.dumps(control.state())))
    run(control, 5, seed=1)
    run(other, 5, seed=1)
    assert other.state() == control.state()


def test_no_targets_nothing_to_do():
    control = RateControl({})
    control.observe(np.zeros((3, 0)))
    assert control.unreachable == []
    control.load(json.loads(json.dumps(control.state())))
