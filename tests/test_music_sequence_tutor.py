"""The nine rules of Sequence Tutor against golden values from outside and against slow, obvious references."""

from __future__ import annotations

import json
import time
import timeit
from pathlib import Path

import numpy as np
import pytest

from seqtutor_music import DOMAIN, sequence_tutor, tokens

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "reference" / "music_rewards.json"
PARTS = ("key", "tonic", "penalize_repeating", "penalize_autocorrelation", "motif", "repeated_motif",
         "preferred_intervals", "leap_up_back", "high_low_unique")


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, object]]:
    if not GOLDEN.exists():
        pytest.skip("the golden rewards of rl_tuner are not beside this checkout")
    cases: dict[str, dict[str, object]] = json.loads(GOLDEN.read_text())["cases"]
    return cases


def test_rewards_equal_the_golden_ones(golden: dict[str, dict[str, object]]) -> None:
    x = np.array([case["seq"] for case in golden.values()])
    found = sequence_tutor.rewards(x)
    for row, case in enumerate(golden.values()):
        for part, name in zip(PARTS, sequence_tutor.RULES, strict=True):
            want = [step[part] for step in case["steps"]]  # type: ignore[attr-defined]
            np.testing.assert_allclose(found[name][row], want, rtol=0, atol=1e-9)
            assert found[name][row].sum() == pytest.approx(case["sum"][part], abs=1e-9)  # type: ignore[index]


def test_metrics_equal_the_golden_ones(golden: dict[str, dict[str, object]]) -> None:
    x = np.array([case["seq"] for case in golden.values()])
    found = sequence_tutor.metrics(x)
    for row, case in enumerate(golden.values()):
        want = {k: np.nan if v is None else v for k, v in case["stats"].items()}  # type: ignore[attr-defined]
        assert set(want) == set(found)
        for name, value in want.items():
            np.testing.assert_allclose(found[name][row], value, rtol=0, atol=1e-9, err_msg=name)


def random_classes(rows: int, steps: int = 32, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Melodies with many repeats and holds, so that every branch is met."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 38, (rows, steps))
    stay = rng.random((rows, steps)) < .5
    few = rng.choice([0, 1, 1, 14, 16, 21, 14], (rows, steps))
    return np.where(stay, few, x)


def repetition_reference(row: list[int]) -> list[float]:
    rewards = []
    for t, a in enumerate(row):
        count, broken = 0, False
        for token in reversed(row[:t]):
            if token == a:
                count += 1
            elif token in (0, 1):
                broken = True
            else:
                break
        excess = (a == 0 and count > 1) or (not broken and count > 4) or (broken and count > 6)
        rewards.append(-100.0 if excess else 0.0)
    return rewards


def autocorrelation_reference(row: list[int]) -> list[float]:
    rewards = []
    for t in range(len(row)):
        x = np.array(row[:t + 1], dtype=float) - np.mean(row[:t + 1])
        total = 0.0
        for lag in (1, 2, 3):
            if len(x) > lag and x.var() > 1e-12:
                coefficient = (x[lag:] * x[:-lag]).sum() / len(x) / x.var()
                total -= 3 * abs(coefficient) if abs(coefficient) > .15 + 1e-12 else 0  # 3/20 is not above
        rewards.append(total)
    return rewards


def repeated_motif_reference(row: list[int]) -> list[float]:
    rewards = []
    for t in range(len(row)):
        window = row[t - 7:t + 1]
        distinct = len(set(window) - {0, 1})
        seen = t >= 7 and distinct >= 3 and any(row[s:s + 8] == window for s in range(0, t - 7 - 8 + 1))
        rewards.append(4.0 + distinct - 3 if seen else 0.0)
    return rewards


@pytest.mark.parametrize(("name", "reference"), [("excess-repetition", repetition_reference),
                                                 ("autocorrelation", autocorrelation_reference),
                                                 ("repeated-motif", repeated_motif_reference)])
def test_against_a_slow_reference(name: str, reference: object) -> None:
    x = random_classes(200)
    x[:50, 16:] = x[:50, :16]  # repeated halves for repeated motifs
    found = sequence_tutor.RULES[name](x)
    np.testing.assert_allclose(found, [reference(row) for row in x.tolist()], atol=1e-9)  # type: ignore[operator]


def test_batches_do_not_matter() -> None:
    x = random_classes(64, 48)
    together = sequence_tutor.rewards(x)
    for name, rule in sequence_tutor.RULES.items():
        np.testing.assert_array_equal(together[name], np.concatenate([rule(x[i:i + 1]) for i in range(64)]))


def test_another_mode_is_the_same_rules_moved() -> None:
    x = random_classes(50)
    x = np.where(x > 33, 14, x)
    center = sequence_tutor.Center(2, 4)  # a "D major" centre: everything two semitones up
    up = np.where(x >= 2, x + 2, x)
    for name in ("tonic", "preferred-intervals", "leaps", "motif"):
        np.testing.assert_array_equal(sequence_tutor.RULES[name](x), sequence_tutor.RULES[name](up, center))


def test_stream_convention_is_note_off_zero_no_event_one() -> None:
    classes, places = sequence_tutor.from_stream(tokens.split("3/8 ionian | 1 ionian C3 - . . B5 - ||"))
    assert classes == [2, 1, 0, 1, 37, 1]
    assert places == [5, 6, 7, 8, 9, 10]


def streams(n: int) -> list[list[str]]:
    rng = np.random.default_rng(1)
    steps = np.array([tokens.HOLD, *tokens.PITCHES])[rng.integers(0, 37, (n, 32))].tolist()
    return [["4/4", "ionian", "|", "2", "ionian", *row[:16], "|", "1", "ionian", *row[16:], "||"] for row in steps]


def test_step_rules_put_rewards_at_their_tokens() -> None:
    batch = streams(20)
    x = np.array([sequence_tutor.from_stream(row)[0] for row in batch])
    for name, function in sequence_tutor.RULES.items():
        found = np.array(DOMAIN.rule("st-" + name)(batch))
        np.testing.assert_array_equal(found[:, [*range(5, 21), *range(24, 40)]], function(x))
        assert not found[:, [0, 1, 2, 3, 4, 21, 22, 23, 40]].any()


def test_nine_rules_on_ten_thousand_melodies_in_two_seconds() -> None:
    batch = streams(10_000)

    def nine() -> None:
        for name in sequence_tutor.RULES:
            DOMAIN.rule("st-" + name)(batch)

    # the best of three, without the collector walking what other tests left: a busy machine is not what is asked
    assert min(timeit.repeat(nine, number=1, repeat=3, timer=time.process_time)) < 2.0
