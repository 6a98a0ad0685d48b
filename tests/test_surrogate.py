"""The Gaussian process against textbook algebra, and what it lets through."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from conftest import ROOT

from seqtutor.domain import Domain, UsageError
from seqtutor.plugins import load_domain
from seqtutor.surrogate import Screen, Surrogate

TEXTS = ["CCO", "CCN", "c1ccccc1", "Cc1ccccc1", "CC(=O)Nc1ccc(O)cc1", "OC1CCCCC1", "CCOC(=O)c1ccccc1", "C1CCNCC1"]


@pytest.fixture(scope="module")
def molecules() -> Domain:
    return load_domain("molecules")


def test_posterior_is_the_textbook_one(molecules: Domain) -> None:
    """Mean K*(K + σ²I)⁻¹y and variance 1 − K*(K + σ²I)⁻¹K*ᵀ, with kernels written out pair by pair."""
    bits, numbers = molecules.features(TEXTS)
    known = np.array([0, 1, 2, 4, 5, 7])
    scale = np.maximum(numbers[known].std(0, ddof=1), 0.3) * 3

    def kernel(i: int, j: int) -> float:
        both, one = int((bits[i] & bits[j]).sum()), int((bits[i] | bits[j]).sum())
        return float(0.7 * both / one + 0.3 * np.exp(-0.5 * (((numbers[i] - numbers[j]) / scale) ** 2).sum()))

    y = np.array([0.1, 0.4, 0.9, 0.3, 0.5, 0.7])
    z = (y - y.mean()) / y.std(ddof=1)
    inner = np.linalg.inv(np.array([[kernel(i, j) + 0.02 * (i == j) for j in known] for i in known]))
    cross = np.array([[kernel(i, j) for j in known] for i in range(len(TEXTS))])
    surrogate = Surrogate(molecules.features)
    surrogate.fit([TEXTS[i] for i in known], y.tolist())
    mean, deviation = surrogate.predict(TEXTS)
    assert mean == pytest.approx(cross @ inner @ z * y.std(ddof=1) + y.mean(), abs=1e-4)
    variance = 1 - np.einsum("ij,jk,ik->i", cross, inner, cross)
    assert deviation == pytest.approx(np.sqrt(variance) * y.std(ddof=1), abs=1e-4)


def test_foretells_a_score_that_its_features_carry(molecules: Domain) -> None:
    rng, pool = Random(1), list(TEXTS)
    for _ in range(6):
        pool += molecules.edits(pool, 60, rng)
    texts = list(dict.fromkeys(pool))
    scores = np.array([float(v) for v in molecules.rule("logp")(texts)])
    half = len(texts) // 2
    surrogate = Surrogate(molecules.features)
    surrogate.fit(texts[:half], scores[:half].tolist())
    mean, _ = surrogate.predict(texts[half:])
    assert np.corrcoef(mean, scores[half:])[0, 1] > 0.9
    kept = Screen(molecules)(texts[half:], dict(zip(texts[:half], scores[:half].tolist(), strict=True)), 20, Random(2))
    better = np.mean([float(v) for v in molecules.rule("logp")(kept)])
    assert better > scores[half:].mean() + scores[half:].std(), "what is kept is well above what was offered"
    assert len(kept) == len(set(kept)) == 20
    assert not set(kept) & set(texts[:half])


def test_without_scores_chance_decides(molecules: Domain) -> None:
    kept = Screen(molecules)([*TEXTS, *TEXTS], {TEXTS[0]: 1.0}, 4, Random(0))
    assert len(set(kept)) == 4
    assert TEXTS[0] not in kept
    assert kept == Screen(molecules)(TEXTS, {TEXTS[0]: 1.0}, 4, Random(0))
    assert Screen(molecules)([], {}, 4, Random(0)) == []
    same = dict.fromkeys(TEXTS[:4], 0.5)  # enough scores, and nothing in them
    assert Screen(molecules)(TEXTS, same, 2, Random(0)) == Random(0).sample(TEXTS[4:], 2)


def test_what_is_not_accepted_is_never_chosen(molecules: Domain) -> None:
    """Of the candidates and of their edits; as many are chosen all the same."""
    scored = {text: float(len(text)) for text in TEXTS}

    def aromatic(texts: Sequence[str]) -> list[str]:
        return [text for text in texts if "c1" in text]

    candidates = molecules.edits(TEXTS, 40, Random(0))
    assert aromatic(candidates) != candidates
    kept = Screen(molecules, aromatic)(candidates, scored, 4, Random(3))
    assert len(kept) == 4
    assert aromatic(kept) == kept


def test_a_domain_without_features_says_so() -> None:
    with pytest.raises(UsageError, match="has no features"):
        Screen(load_domain(str(ROOT / "examples" / "peptide_domain.py")))
