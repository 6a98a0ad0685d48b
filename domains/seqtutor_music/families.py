"""Tune families: tunes that share a run of intervals are kin, whichever book they stand in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RUN = 16  # intervals in a row that make two tunes kin


def interval_runs(pitches: Sequence[int], run: int = RUN) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """A 64-bit hash of every ``run`` intervals in a row; a transposed melody has the same."""
    intervals = np.diff(np.asarray(pitches, dtype=np.int64)).astype(np.uint64)
    if len(intervals) < run:
        return np.zeros(0, dtype=np.uint64)
    hashed = np.zeros(len(intervals) - run + 1, dtype=np.uint64)
    for i in range(run):
        hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + intervals[i:i + len(hashed)] + np.uint64(1)
        hashed ^= hashed >> np.uint64(29)
    return hashed


def families(melodies: Sequence[Sequence[int]], run: int = RUN) -> list[int]:
    """For each melody (its pitches) the smallest index of its family: the transitive closure of sharing a run."""
    parent = list(range(len(melodies)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    seen: dict[int, int] = {}
    for i, pitches in enumerate(melodies):
        for value in set(interval_runs(pitches, run).tolist()):
            j = root(seen.setdefault(value, i))
            k = root(i)
            parent[max(j, k)] = min(j, k)
    return [root(i) for i in range(len(melodies))]
