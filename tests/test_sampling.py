"""The sampler draws from the model's own distribution, whatever the batch, the precision or the conditions."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from seqtutor import steps
from seqtutor.domain import Grammar, UsageError
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig, choose
from seqtutor.steps import FusedStep, PlainStep, keeps_distribution, make_step
from seqtutor.vocabulary import BOS, EOS, Vocabulary

LONGEST = 4


def small_model(depth: int = 1, width: int = 16, tokens: str = "abc", scale: float = 3.0,
                readouts: int = 0) -> SequenceModel:
    torch.manual_seed(depth)
    config = ModelConfig(width=width, depth=depth, embedding=8, readouts=readouts)
    model = SequenceModel(Vocabulary(tuple(tokens)), "toy", config).eval()
    with torch.no_grad():
        for readout in model.readouts:
            torch.nn.init.normal_(readout.head.weight, std=0.2)
            readout.strength.fill_(1.0)
        for parameter in model.parameters():  # far from uniform, so that a wrong sampler shows
            parameter.mul_(scale)
    return model


@torch.no_grad()
def exact(model: SequenceModel, config: SamplingConfig, grammar: Grammar | None = None,
          prefix: tuple[int, ...] = ()) -> dict[tuple[int, ...], float]:
    """Probability of every sequence, by walking the whole tree one token at a time with nn.LSTM."""
    result: dict[tuple[int, ...], float] = {}

    def walk(ids: tuple[int, ...], p: float) -> None:
        if ids and (ids[-1] == EOS or len(ids) == config.max_length):
            result[ids] = result.get(ids, 0.0) + p
            return
        logits = model(torch.tensor([[BOS, *ids]]))[0][0, -1].double()
        logits[:EOS] = -torch.inf
        if grammar is not None:
            state = grammar.start
            for i in ids:
                state = int(grammar.next_state[state, i])
            for token in range(len(logits)):
                if grammar.next_state[state, token] < 0:
                    logits[token] = -torch.inf
        q = torch.softmax(logits / config.temperature, 0)
        if config.top_k:
            q[q < q.sort(descending=True).values[config.top_k - 1]] = 0
        if config.top_p < 1:
            order, kept = q.argsort(descending=True).tolist(), 0.0
            for token in order:
                if kept >= config.top_p:
                    q[token] = 0
                kept += float(q[token])
        q = q / q.sum()
        for token, share in enumerate(q.tolist()):
            if share > 0:
                walk((*ids, token), p * share)

    walk(prefix, 1.0)
    return result


def distance(samples: list[list[int]], probabilities: dict[tuple[int, ...], float]) -> float:
    """Total variation between the samples and the exact distribution."""
    counts = Counter(map(tuple, samples))
    keys = set(counts) | set(probabilities)
    return 0.5 * sum(abs(counts[k] / len(samples) - probabilities.get(k, 0.0)) for k in keys)


def surprise(samples: list[list[int]], probabilities: dict[tuple[int, ...], float]) -> float:
    """Pearson's χ² in standard deviations above its mean (sequences expected fewer than five times are pooled)."""
    counts, n = Counter(map(tuple, samples)), len(samples)
    cells = [(counts[k], n * p) for k, p in probabilities.items() if n * p >= 5]
    rest = n - sum(c for c, _ in cells), n - sum(e for _, e in cells)
    cells += [rest] if rest[1] > 1 else []
    chi2, df = sum((c - e) ** 2 / e for c, e in cells), len(cells) - 1
    return (chi2 - df) / (2 * df) ** 0.5


AB_ALTERNATE = Grammar(np.array([
    # pad bos eos  a   b   c
    [-1, -1, -1, 1, 2, -1],
    [-1, -1, 3, -1, 2, -1],
    [-1, -1, 3, 1, -1, -1],
    [-1, -1, -1, -1, -1, -1],
], dtype=np.int32))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize(("settings", "grammar", "prefix", "readouts"), [
    ({}, None, (), 0),
    ({"temperature": 0.7}, None, (), 0),
    ({"temperature": 1.6, "top_k": 2}, None, (), 0),
    ({"top_p": 0.6}, None, (), 0),
    ({}, AB_ALTERNATE, (), 0),
    ({"temperature": 1.3}, AB_ALTERNATE, (3, 4), 0),
    ({}, None, (5,), 0),
    ({}, AB_ALTERNATE, (3, 4), 1),
    ({}, None, (), 2),
], ids=["plain", "cold", "top-k", "top-p", "grammar", "grammar+prefix", "prefix", "readout+prefix", "readouts"])
def test_samples_follow_the_exact_distribution(precision, settings, grammar, prefix, readouts):
    if precision == "int8" and not steps.has_int8_product():
        pytest.skip("this build of torch has no int8 product")
    model = small_model(readouts=readouts)
    config = SamplingConfig(max_length=LONGEST, batch=64, precision=precision, **settings)
    n = 20_000
    samples = Sampler(model, config, seed=3, grammar=grammar, prefix=prefix).sample_ids(n)
    probabilities = exact(model, config, grammar, prefix)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert set(map(tuple, samples)) <= set(probabilities)
    if precision == "fp32":
        assert surprise(samples, probabilities) < 5
    else:  # the expected distance of n perfect samples is at most 0.4·sqrt(K/n); bf16 and int8 may move p a little
        assert distance(samples, probabilities) < 0.5 * (len(probabilities) / n) ** 0.5 + 0.012


def test_completions_follow_the_exact_distribution_after_their_prompts():
    """Two prompts of different lengths side by side; the first token is neither the end nor one that is barred."""
    model = small_model()
    config = SamplingConfig(max_length=LONGEST, batch=64, precision="fp32")
    n, prompts, barred = 20_000, [(3,), (4, 5)], [5]
    samples = Sampler(model, config, seed=3).complete(prompts * n, barred)
    assert len(samples) == 2 * n
    for i, prompt in enumerate(prompts):
        kept = {ids: p for ids, p in exact(model, config, None, prompt).items()
                if ids[len(prompt)] not in (EOS, *barred)}
        total = sum(kept.values())
        probabilities = {ids: p / total for ids, p in kept.items()}
        assert set(map(tuple, samples[i::2])) <= set(probabilities)
        assert surprise(samples[i::2], probabilities) < 5


def test_prompts_that_nothing_may_follow_are_refused():
    model = small_model()
    config = SamplingConfig(max_length=LONGEST, precision="fp32")
    sampler = Sampler(model, config, grammar=AB_ALTERNATE)
    assert all(ids[:2] == [3, 4] for ids in sampler.complete([(3, 4)] * 20))
    with pytest.raises(UsageError, match="breaks the grammar at 'a'"):
        sampler.complete([(3, 3)])
    with pytest.raises(UsageError, match="nothing may follow"):
        sampler.complete([(3,)], [4])
    with pytest.raises(UsageError, match="no room"):
        sampler.complete([(3, 4, 3, 4)])


def test_a_wrong_distribution_is_noticed():
    model = small_model()
    config = SamplingConfig(max_length=LONGEST)
    samples = Sampler(model, SamplingConfig(max_length=LONGEST, temperature=1.25, precision="fp32"), seed=3)
    assert surprise(samples.sample_ids(20_000), exact(model, config)) > 20


def test_early_samples_are_not_shorter_than_later_ones():
    """Rows are emitted in the order in which they were begun: taking them as they end would favour short ones."""
    model = small_model()
    config = SamplingConfig(max_length=30, batch=200, precision="fp32")
    firsts = [len(ids) for seed in range(60) for ids in Sampler(model, config, seed=seed).sample_ids(20)]
    stream = Sampler(model, config, seed=99).sample_ids(6000)
    everyone = [len(ids) for ids in stream]
    error = np.std(everyone) / len(firsts) ** 0.5
    assert abs(np.mean(firsts) - np.mean(everyone)) < 4 * error


@pytest.mark.parametrize("depth", [1, 2])
def test_a_sample_depends_on_seed_and_place_not_on_the_batch(depth):
    model = small_model(depth)
    wide, narrow, one = (Sampler(model, SamplingConfig(max_length=20, batch=b, precision="fp32"), seed=5)
                         .sample_ids(50) for b in (64, 7, 1))
    assert wide == narrow == one
    assert wide != Sampler(model, SamplingConfig(max_length=20, precision="fp32"), seed=6).sample_ids(50)


def test_stream_without_end_begins_like_the_one_with_an_end():
    model = small_model()
    config = SamplingConfig(max_length=20, batch=16, precision="fp32")
    endless = list(itertools.islice(Sampler(model, config, seed=1).stream(), 100))
    assert endless == list(Sampler(model, config, seed=1).stream(100))
    assert list(Sampler(model, config).stream(0)) == []


def test_greedy_takes_the_likeliest():
    model = small_model()
    greedy = Sampler(model, SamplingConfig(temperature=0, max_length=6, precision="fp32")).sample_ids(3)
    ids = [BOS]
    while ids[-1] != EOS and len(ids) <= 6:
        logits = model(torch.tensor([ids]))[0][0, -1]
        logits[:EOS] = -torch.inf
        ids.append(int(logits.argmax()))
    assert greedy == [ids[1:]] * 3


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain fallback"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-6), ("bf16", 0.03), ("int8", 0.06)])
@torch.no_grad()
def test_fused_steps_equal_the_plain_step(depth, packed, precision, tolerance):
    if precision == "int8" and packed and not steps.has_int8_product():
        pytest.skip("this build of torch has no int8 product")
    model = small_model(depth, width=64, scale=1.5)
    plain, fused = PlainStep(model), FusedStep(model, precision, packed=packed)
    a, b = plain.begin(9), fused.begin(9)
    for _ in range(25):
        ids = torch.randint(3, 6, (9,))
        assert torch.allclose(plain(ids, a), fused(ids, b), atol=tolerance)


def test_private_ops_may_be_missing(monkeypatch):
    model = small_model()
    expected = Sampler(model, SamplingConfig(max_length=20, precision="fp32"), seed=1).sample_ids(30)
    monkeypatch.setattr(steps, "has_packed_product", lambda kind: False)
    monkeypatch.setattr(steps, "has_int8_product", lambda: False)
    assert Sampler(model, SamplingConfig(max_length=20, precision="fp32"), seed=1).sample_ids(30) == expected
    assert make_step(model, "bf16").precision == "bf16"
    assert make_step(model, "auto").precision in ("bf16", "fp32")
    with pytest.raises(UsageError, match="no int8 product"):
        make_step(model, "int8")


def test_auto_takes_only_what_keeps_the_distribution(monkeypatch):
    model = small_model(width=64, scale=1.5)
    monkeypatch.setattr(steps, "has_fast_int8", lambda: True)
    monkeypatch.setattr(steps, "has_int8_product", lambda: True)
    monkeypatch.setattr(steps, "has_fast_bf16", lambda device: True)
    assert make_step(model, "auto").precision == "int8"
    monkeypatch.setattr(steps, "keeps_distribution", lambda model, step: step.precision != "int8")
    assert make_step(model, "auto").precision == "bf16"
    monkeypatch.setattr(steps, "keeps_distribution", lambda model, step: False)
    assert make_step(model, "auto").precision == "fp32"


def test_keeps_distribution_notices_a_spoilt_step():
    model = small_model(width=32)
    assert keeps_distribution(model, FusedStep(model, "fp32"), limit=1e-9)
    spoilt = FusedStep(model, "fp32")
    spoilt._table[4] += 0.5
    assert not keeps_distribution(model, spoilt)


def test_choose_by_inverse_cdf():
    p = torch.tensor([[0.0, 0.0, 0.5, 0.25, 0.0, 0.25]])
    config = SamplingConfig()
    for u, expected in ((0.0, 2), (0.49, 2), (0.51, 3), (0.74, 3), (0.76, 5), (1 - 2**-24, 5)):
        assert choose(p.log(), torch.tensor([u]), config).item() == expected
    # the last token with any probability is never overshot, and forbidden ones are never taken
    logits = torch.randn(1000, 40)
    logits[:, 20:] = -torch.inf
    assert int(choose(logits, torch.full((1000,), 1 - 2**-24), config).max()) < 20
    assert int(choose(torch.randn(1000, 40), torch.zeros(1000), config).min()) >= EOS


@pytest.mark.parametrize("settings", [
    {"temperature": -1.0}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1}, {"top_p": 0.0},
    {"top_p": 1.1}, {"batch": 0}, {"max_length": 0}, {"precision": "fp8"},
])
def test_bad_settings_are_refused(settings):
    with pytest.raises(UsageError):
        SamplingConfig(**settings)


def test_a_prefix_must_fit_the_grammar_and_the_length():
    model = small_model()
    with pytest.raises(UsageError, match="breaks the grammar"):
        Sampler(model, grammar=AB_ALTERNATE, prefix=(3, 3))
    with pytest.raises(UsageError, match="leaves no room"):
        Sampler(model, SamplingConfig(max_length=2), prefix=(3, 3))
    with pytest.raises(UsageError, match="grammar knows"):
        Sampler(model, grammar=Grammar(np.zeros((2, 9), dtype=np.int32)))
