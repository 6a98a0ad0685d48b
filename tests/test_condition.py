"""Conditioning reaches p(x | x is valid) exactly on a domain that can be enumerated, and leaves the prior alone."""

from __future__ import annotations

import math

import pytest
import torch

from seqtutor.condition import ConditionConfig, condition_on_validity
from seqtutor.domain import Domain, UsageError
from seqtutor.losses import log_variance
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.vocabulary import BOS, EOS, Vocabulary

LONGEST = 4  # letters


class Balanced(Domain):
    """Up to four letters a and b; valid when there are as many of one as of the other."""

    name, tokens = "balanced", ("a", "b")

    def split(self, text):
        return list(text)

    def canonical(self, text):
        return text if text and text.count("a") == text.count("b") else None


def short_model() -> SequenceModel:
    torch.manual_seed(1)
    model = SequenceModel(Vocabulary(("a", "b")), "balanced", ModelConfig(width=24, embedding=8)).eval()
    with torch.no_grad():
        model.head.bias[:EOS] = -30  # a trained model never writes pad or bos
        model.head.bias[EOS] += 1.0
    return model


@torch.no_grad()
def tree(model: SequenceModel) -> dict[str, float]:
    """Probability of every text of at most LONGEST letters, given that it ends there."""
    found: dict[str, float] = {}

    def walk(ids: list[int], log_p: float) -> None:
        logits = model(torch.tensor([[BOS, *ids]]))[0][0, -1].double()
        logits[:EOS] = -math.inf
        q = logits.log_softmax(0)
        text = "".join(model.vocabulary.decode(ids))
        found[text] = math.exp(log_p + float(q[EOS]))
        if len(ids) < LONGEST:
            for token in (3, 4):
                walk([*ids, token], log_p + float(q[token]))

    walk([], 0.0)
    total = sum(found.values())
    return {text: p / total for text, p in found.items()}


def test_log_variance_is_zero_only_at_the_optimum():
    log_p = torch.randn(64).double() - 5
    reward = torch.randn(64).double()
    optimum = log_p + reward - 0.7  # any log Z
    assert log_variance(optimum, log_p, reward).item() == pytest.approx(0, abs=1e-12)
    assert log_variance(log_p, log_p, reward).item() == pytest.approx(reward.var(unbiased=False).item())


def test_conditioning_reaches_the_exact_distribution():
    domain, prior = Balanced(), short_model()
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    config = ConditionConfig(rounds=80, samples=384, used=384, batch_size=64, learning_rate=2e-2, penalty=4.0,
                             blend=1.0, max_length=LONGEST + 1)
    policy, figures = condition_on_validity(domain, prior, config)
    p, q = tree(prior), tree(policy)
    weight = {text: p[text] * (1 if domain.valid(text) else math.exp(-config.penalty)) for text in p}
    expected = {text: w / sum(weight.values()) for text, w in weight.items()}
    assert 0.5 * sum(abs(p[t] - expected[t]) for t in p) > 0.15  # there was a way to go
    assert 0.5 * sum(abs(q[t] - expected[t]) for t in p) < 0.02
    assert figures["last"]["valid"] > figures["first"]["valid"] + 0.3
    assert all(torch.equal(before[name], tensor) for name, tensor in prior.state_dict().items())


def test_conditioning_is_deterministic():
    domain = Balanced()
    config = ConditionConfig(rounds=3, samples=64, used=64, batch_size=32, max_length=LONGEST + 1, seed=5)
    one, two = (condition_on_validity(domain, short_model(), config)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_bad_settings_are_refused():
    for wrong in ({"rounds": -1}, {"samples": 100}, {"batch_size": 1}, {"penalty": 0.0}, {"blend": 0.0}, {"blend": 1.5},
                  {"learning_rate": -1.0}):
        with pytest.raises(UsageError):
            ConditionConfig(**wrong)
