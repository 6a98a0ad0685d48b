"""The KL between two models, against enumeration of everything that they can write."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from seqtutor.domain import Grammar, UsageError
from seqtutor.evaluate import Divergence, divergence
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.vocabulary import BOS, EOS, Vocabulary

V = 6  # pad, bos, eos, a, b, c
LONGEST = 4


def small(seed: int) -> SequenceModel:
    torch.manual_seed(seed)
    model = SequenceModel(Vocabulary("abc"), "tiny", ModelConfig(width=8, embedding=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def up_to_four() -> Grammar:
    """One to four letters, never "aa" and no "c" at the end."""
    table = np.full((2 + 3 * LONGEST, V), -1, dtype=np.int32)  # start, end, then (letters written, the last one)
    state = {(n, letter): 2 + 3 * (n - 1) + letter for n in range(1, LONGEST + 1) for letter in range(3)}
    table[0, 3:] = [state[1, letter] for letter in range(3)]
    for (n, letter), row in state.items():
        if letter != 2:
            table[row, EOS] = 1
        for then in range(3):
            if n < LONGEST and (letter, then) != (0, 0) and not (n + 1 == LONGEST and then == 2):
                table[row, 3 + then] = state[n + 1, then]
    return Grammar(table)


def everything(grammar: Grammar) -> list[list[int]]:
    found = []
    for length in range(1, LONGEST + 1):
        for letters in itertools.product(range(3, V), repeat=length):
            state = grammar.start
            for token in (*letters, EOS):
                state = int(grammar.next_state[state, token]) if state >= 0 else -1
            if state >= 0:
                found.append([*letters, EOS])
    return found


def log_prob(model: SequenceModel, grammar: Grammar | None, ids: list[int], given: int = 0) -> float:
    """One token at a time, in float64."""
    state, hidden, total, token = grammar.start if grammar else 0, model.initial_state(1), 0.0, BOS
    for i, then in enumerate(ids):
        logits, hidden = model.step(torch.tensor([token]), hidden)
        weights = np.exp(logits[0].detach().double().numpy())
        weights[:EOS] = 0
        if grammar:
            weights[grammar.next_state[state] < 0] = 0
            state = int(grammar.next_state[state, then])
        total += float(np.log(weights[then] / weights.sum())) if i >= given else 0.0
        token = then
    return total


def test_kl_equals_enumeration_inside_a_grammar() -> None:
    grammar, pi, p = up_to_four(), small(1), small(2)
    texts = everything(grammar)
    log_pi, log_p = (np.array([log_prob(m, grammar, ids) for ids in texts]) for m in (pi, p))
    weight = np.exp(log_pi)
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    exact = float(weight @ (log_pi - log_p))
    assert exact > .3
    found = divergence(pi, p, texts, grammar=grammar, batch=7)
    np.testing.assert_allclose(found.log_ratio, log_pi - log_p, atol=1e-5)
    np.testing.assert_allclose(found.log_p, log_p, atol=1e-5)
    assert weight @ found.kl == pytest.approx(exact, abs=1e-5)  # exact at every token, so exact over all texts
    assert weight @ found.log_ratio == pytest.approx(exact, abs=1e-5)
    assert weight @ (found.kl - exact) ** 2 < weight @ (found.log_ratio - exact) ** 2


def test_kl_from_samples_agrees_with_its_plain_estimate() -> None:
    grammar, pi, p = up_to_four(), small(1), small(2)
    texts = everything(grammar)
    log_pi, log_p = (np.array([log_prob(m, grammar, ids) for ids in texts]) for m in (pi, p))
    exact = float(np.exp(log_pi) @ (log_pi - log_p))
    ids = Sampler(pi, SamplingConfig(precision="fp32"), seed=3, grammar=grammar).sample_ids(4000)
    found = divergence(pi, p, ids, grammar=grammar)
    for values in (found.kl, found.log_ratio):
        assert abs(values.mean() - exact) < 4 * values.std() / 4000 ** .5


def test_without_a_grammar_padding_and_bos_are_never_possible() -> None:
    pi, p = small(1), small(2)
    for model in (pi, p):
        with torch.no_grad():
            model.head.bias[:EOS] = 9.0  # likely, if they counted
    ids = [[3, 4, EOS], [5, EOS], [3, 3, 3, 3]]  # the last one cut off
    found = divergence(pi, p, ids)
    for m, values in ((pi, found.log_p + found.log_ratio), (p, found.log_p)):
        np.testing.assert_allclose(values, [log_prob(m, None, row) for row in ids], atol=1e-5)


def test_given_tokens_do_not_count() -> None:
    grammar, pi, p = up_to_four(), small(1), small(2)
    texts = [ids for ids in everything(grammar) if ids[0] == 4]
    weight = np.exp([log_prob(pi, grammar, ids, given=1) for ids in texts])
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    exact = sum(w * (log_prob(pi, grammar, ids, 1) - log_prob(p, grammar, ids, 1))
                for w, ids in zip(weight, texts, strict=True))
    found = divergence(pi, p, texts, grammar=grammar, given=[1] * len(texts))
    assert weight @ found.kl == pytest.approx(exact, abs=1e-5)
    assert weight @ found.log_ratio == pytest.approx(exact, abs=1e-5)


def test_a_model_and_itself_and_no_samples() -> None:
    model = small(1)
    found = divergence(model, small(1), [[3, 4, EOS], [5, EOS]])
    assert not found.kl.any()
    assert not found.log_ratio.any()
    assert (found.log_p < 0).all()
    none = divergence(model, model, [])
    assert isinstance(none, Divergence)
    assert len(none.kl) == 0


def test_two_vocabularies_are_refused() -> None:
    other = SequenceModel(Vocabulary("abd"), "tiny", ModelConfig(width=8, embedding=4))
    with pytest.raises(UsageError, match="different vocabularies"):
        divergence(small(1), other, [[3, EOS]])
