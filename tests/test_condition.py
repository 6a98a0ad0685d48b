"""The term for validity has the exact gradient on a domain that can be enumerated."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from seqtutor.condition import ConditionConfig, draw_invalid, validity_loss
from seqtutor.corpus import Prepared
from seqtutor.domain import Domain, UsageError
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.pretrain import PretrainConfig, pretrain
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


def share_invalid(model: SequenceModel, domain: Domain) -> torch.Tensor:
    """P(invalid) of texts that are not cut off, by walking all of them; with its gradient."""
    total = torch.zeros((), dtype=torch.float64)
    for length in range(LONGEST + 1):
        for letters in itertools.product((3, 4), repeat=length):
            if not domain.valid("".join(model.vocabulary.decode(letters))):
                total = total + model.log_probs(torch.tensor([[BOS, *letters, EOS]])).double().sum().exp()
    return total


def gradient(model: SequenceModel, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_the_gradient_is_that_of_the_share_of_invalid_texts():
    domain, model = Balanced(), short_model()
    config = ConditionConfig(weight=1.0, samples=20_000, max_length=LONGEST + 1)
    invalid, judged = draw_invalid(domain, model, config, seed=3)
    assert 0 < len(invalid) < judged <= config.samples
    assert all(ids[-1] == EOS and not domain.valid("".join(model.vocabulary.decode(ids))) for ids in invalid)
    estimate, exact = gradient(model, validity_loss(model, invalid, config.samples)), gradient(
        model, share_invalid(model, domain))
    assert len(invalid) / config.samples == pytest.approx(float(share_invalid(model, domain).detach()), abs=0.02)
    assert torch.nn.functional.cosine_similarity(estimate, exact, dim=0) > 0.98
    assert float(estimate.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


def test_beside_the_corpus_it_makes_a_model_write_fewer_invalid_texts(tmp_path: Path):
    """The corpus leaves a few letters free, and a small network cannot count: only the term tells it what is wrong."""
    texts = ["ab", "ba", "abab", "baba", "aabb", "bbaa", "abba", "baab"] * 8
    prepared = Prepared(texts, texts, {"sha256": ""})
    config = PretrainConfig(epochs=12, batch_size=16, learning_rate=1e-2, warmup=5, precision="fp32",
                            evaluate_samples=0)
    left = []
    for weight in (0.0, 5.0):
        model = pretrain(Balanced(), prepared, tmp_path / f"{weight}.safetensors", model=ModelConfig(6, 1, 4),
                         config=config, condition=ConditionConfig(weight, samples=256, max_length=LONGEST + 1))
        left.append(float(share_invalid(model, Balanced()).detach()))
    assert left[1] < 0.6 * left[0]


def test_nothing_invalid_costs_nothing():
    model = short_model()
    loss = validity_loss(model, [], 10)
    assert float(loss) == 0
    assert not loss.requires_grad


def test_the_draw_depends_on_the_seed_alone():
    domain, model = Balanced(), short_model()
    config = ConditionConfig(weight=1.0, samples=64, max_length=LONGEST + 1)
    first = draw_invalid(domain, model, config, seed=3)
    torch.manual_seed(99)
    assert draw_invalid(domain, model, config, seed=3) == first != draw_invalid(domain, model, config, seed=4)


def test_bad_settings_are_refused():
    for wrong in ({"weight": -1.0}, {"weight": math.inf}, {"weight": math.nan}, {"samples": 0}, {"every": 0},
                  {"max_length": 0}):
        with pytest.raises(UsageError):
            ConditionConfig(**wrong)
