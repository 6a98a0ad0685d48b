"""What is remembered, what is forgotten, and how often each is drawn."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seqtutor import checkpoint
from seqtutor.memory import Experience, Memory


def experience(total: float, canonical: str = "", length: int = 3, seed: int = 0) -> Experience:
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=length).astype(np.float32)
    reward[-1] += total - reward.sum()
    log_p, features = rng.normal(size=length).astype(np.float32), rng.normal(size=2).astype(np.float32)
    return Experience(rng.integers(2, 9, length), int(rng.integers(0, length)), log_p, reward, features, canonical)


def test_best_holds_the_highest_score_of_each_thing():
    """Against sorting all that was ever seen; two spellings of one thing may earn differently."""
    rng = np.random.default_rng(1)
    memory, seen = Memory(recent=0, best=5), {}
    for _ in range(30):
        batch = [experience(float(rng.integers(0, 40)), f"x{rng.integers(0, 12)}", seed=int(rng.integers(99)))
                 for _ in range(4)] + [experience(100.0, "")]  # the last is invalid
        memory.add(batch)
        for e in batch:
            if e.canonical:
                seen[e.canonical] = max(seen.get(e.canonical, -np.inf), e.total)
        expected = sorted(seen.values(), reverse=True)[:5]
        assert [e.total for e in memory.best] == expected
        assert len({e.canonical for e in memory.best}) == len(memory.best)
        assert all(e.total == seen[e.canonical] for e in memory.best)
    assert memory.recent == []


def test_of_equal_scores_the_later_stay():
    """So that on a plateau the best move on; the same thing again is not later."""
    memory = Memory(recent=0, best=2)
    memory.add([experience(1.0, "a"), experience(0.0, "b")])
    memory.add([experience(1.0, "c"), experience(1.0, "a", seed=5)])
    assert [e.canonical for e in memory.best] == ["c", "a"]
    memory.add([experience(1.0, "d")])
    assert [e.canonical for e in memory.best] == ["d", "c"]
    memory.add([experience(1.5, "c")])
    assert [e.canonical for e in memory.best] == ["c", "d"]


def test_nothing_leads_while_everything_scored_the_same():
    memory, rng = Memory(recent=4, best=2), np.random.default_rng(0)
    assert memory.leaders == []
    memory.add([experience(0.5, "a"), experience(0.5, "b"), experience(0.0, "")])  # what is invalid is no measure
    assert len(memory.best) == 2
    assert memory.leaders == memory.sample_best(3, rng) == []
    memory.add([experience(0.25, "c")])  # too bad to be remembered
    assert [e.canonical for e in memory.leaders] == ["a", "b"]
    other = Memory(recent=4, best=2)
    other.load(*memory.state())
    assert [e.canonical for e in other.leaders] == ["a", "b"]
    assert len(other.sample_best(3, rng)) == 3


def test_recent_is_a_ring():
    memory = Memory(recent=4, best=0)
    all_of_them = [experience(i, f"x{i}") for i in range(7)]
    memory.add(all_of_them[:3])
    memory.add(iter(all_of_them[3:]))
    assert memory.recent == all_of_them[3:]
    assert memory.best == []


@pytest.mark.parametrize("rank", [0.001, 0.1, 1e6])
def test_best_are_drawn_by_rank(rank: float):
    """Weight 1 / (κN + rank): the share of each over many draws."""
    memory = Memory(recent=0, best=6, rank=rank)
    memory.add(experience(10.0 - i, f"x{i}") for i in range(6))
    weights = np.array([1 / (rank * 6 + i) for i in range(6)])
    drawn = Counter(memory.sample_best(1, np.random.default_rng(seed))[0].canonical for seed in range(4000))
    shares = np.array([drawn[f"x{i}"] / 4000 for i in range(6)])
    assert np.abs(shares - weights / weights.sum()).max() < 0.03
    assert (shares[0] > shares[-1] + 0.1) == (rank < 1)


def test_draws_repeat_only_what_is_too_few():
    memory = Memory(recent=8, best=8)
    assert memory.sample_recent(3, np.random.default_rng(0)) == []
    assert memory.sample_best(3, np.random.default_rng(0)) == []
    memory.add(experience(i, f"x{i}") for i in range(5))
    memory.given = [experience(0, "mine")]
    for draw in (memory.sample_recent, memory.sample_best):
        assert len({e.canonical for e in draw(5, np.random.default_rng(0))}) == 5
        assert len(draw(9, np.random.default_rng(0))) == 9
        assert draw(0, np.random.default_rng(0)) == []
        assert [e.canonical for e in draw(4, np.random.default_rng(3))] == \
            [e.canonical for e in draw(4, np.random.default_rng(3))]
    assert [e.canonical for e in memory.sample_given(2, np.random.default_rng(0))] == ["mine", "mine"]


@pytest.mark.parametrize("n", [0, 6])
def test_state_goes_through_a_file_bit_for_bit(tmp_path: Path, n: int):
    memory = Memory(recent=4, best=3)
    memory.add(experience(i / 3, f"x{i}", length=1 + i, seed=i) for i in range(n))
    memory.given = [experience(7, "é", length=2, seed=9)] if n else []
    tensors, state = memory.state()
    checkpoint.save(tmp_path / "memory", tensors, state)
    other = Memory(recent=4, best=3)
    other.load(*checkpoint.load(tmp_path / "memory"))
    assert json.dumps(other.state()[1]) == json.dumps(state)
    assert [len(other.recent), len(other.best), len(other.given)] == ([4, 3, 1] if n else [0, 0, 0])
    for kind in ("recent", "best", "given"):
        for a, b in zip(getattr(memory, kind), getattr(other, kind), strict=True):
            assert (a.given, a.canonical, a.total) == (b.given, b.canonical, b.total)
            for name in ("ids", "log_p", "reward", "features"):
                assert getattr(a, name).dtype == getattr(b, name).dtype
                assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
