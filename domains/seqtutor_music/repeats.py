"""Repeats and endings: the measures of a tune in the order in which they are played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
LONGEST = 4  # a tune as played has at most this many times the measures it is written in


@dataclass
class Measure(Generic[Item]):
    """What stands between two bar lines.

    ``opens``/``closes``: a repeat begins before or ends after it; ``endings``: the passes that its ending is for,
    empty outside endings; ``final``: a double bar or repeat sign follows, which ends an ending.
    """

    items: list[Item] = field(default_factory=list)
    opens: bool = False
    closes: bool = False
    final: bool = False
    endings: frozenset[int] = frozenset()


def spread_endings(measures: Sequence[Measure[Item]]) -> list[frozenset[int]]:
    """For each measure the passes it is played in, an ending lasting to its double bar; empty means every pass."""
    spread: list[frozenset[int]] = []
    current: frozenset[int] = frozenset()
    for measure in measures:
        if measure.opens:
            current = frozenset()
        current = measure.endings or current
        spread.append(current)
        if measure.final:
            current = frozenset()
    return spread


def unfold(measures: Sequence[Measure[Item]], repeats: bool = True) -> Iterator[Measure[Item]]:
    """The measures as played; with ``repeats`` false each section once, with its last ending."""
    passes = spread_endings(measures)
    if not repeats:
        for i, measure in enumerate(measures):
            followed = passes[i] and any(p and p != passes[i] and min(p) > max(passes[i]) for p in _next(passes, i))
            if not followed:
                yield measure
        return
    i, start, turn, played = 0, 0, 1, 0
    while i < len(measures) and played < LONGEST * len(measures):
        measure, mine = measures[i], passes[i]
        if measure.opens and i != start:
            start, turn = i, 1
        if mine and turn not in mine and any(turn in p for p in passes[i:]):
            i += 1
            continue
        played += 1
        yield measure
        last = max((max(p) for p in _group(passes, start)), default=2)
        if measure.closes and turn < last and not (mine and turn == last):
            turn, i = turn + 1, start
            continue
        i += 1
        if measure.closes or (mine and turn == last and measure.final):
            while mine and i < len(measures) and passes[i]:  # endings of earlier passes that stand behind this one
                i += 1
            start, turn = i, 1


def _next(passes: Sequence[frozenset[int]], i: int) -> list[frozenset[int]]:
    """The endings of the group that ``i`` belongs to, from ``i`` on."""
    stop = next((j for j in range(i, len(passes)) if not passes[j]), len(passes))
    return list(passes[i:stop])


def _group(passes: Sequence[frozenset[int]], start: int) -> list[frozenset[int]]:
    """The endings of the section that begins at ``start``: the first run of endings after it."""
    first = next((j for j in range(start, len(passes)) if passes[j]), len(passes))
    return _next(passes, first) if first < len(passes) else []
