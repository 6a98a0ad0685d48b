"""Neighbours of good melodies, always inside the grammar: bars exchanged, moved, repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from seqtutor.domain import UsageError
from seqtutor_music import tokens
from seqtutor_music.melody import Melody, Note


def edits(texts: Sequence[str], n: int, rng: Random) -> list[str]:
    """Up to ``n`` different melodies, none in ``texts``, each one edit away from one of them."""
    melodies = [tokens.parse(text) for text in texts]
    known, found = set(texts), list[str]()
    for _ in range(4 * n):
        if len(found) == n or not melodies:
            break
        mother = rng.choice(melodies)
        edit = rng.choice((_cross, _move, _repeat))
        try:
            text = tokens.write(edit(mother, melodies, rng))
        except UsageError:
            continue
        if text not in known:
            known.add(text)
            found.append(text)
    return found


def _with_bar(melody: Melody, bar: int, notes: Sequence[Note]) -> Melody:
    """``melody`` with ``notes`` (times from the bar line) in its bar ``bar`` (from 0)."""
    begin = melody.upbeat + bar * melody.meter.steps
    end = begin + melody.meter.steps
    before = [replace(n, duration=min(n.end, begin) - n.start) for n in melody.notes if n.start < begin]
    inside = [replace(n, start=n.start + begin, duration=min(n.duration, melody.meter.steps - n.start)) for n in notes]
    after = [n for n in melody.notes if n.start >= end]
    return replace(melody, notes=(*before, *inside, *after))


def _bar(melody: Melody, bar: int) -> list[Note]:
    begin = melody.upbeat + bar * melody.meter.steps
    return [replace(n, start=n.start - begin) for n in melody.notes if begin <= n.start < begin + melody.meter.steps]


def _cross(melody: Melody, others: Sequence[Melody], rng: Random) -> Melody:
    """A bar from another melody of the same metre and mode, at the same place."""
    mates = [m for m in others if (m.meter, m.key, m.bars) == (melody.meter, melody.key, melody.bars)]
    bar = rng.randrange(melody.bars)
    return _with_bar(melody, bar, _bar(rng.choice(mates), bar))


def _move(melody: Melody, others: Sequence[Melody], rng: Random) -> Melody:
    """A bar moved up or down by one or two degrees of the scale."""
    bar, by = rng.randrange(melody.bars), rng.choice((-2, -1, 1, 2))
    moved = []
    for note in _bar(melody, bar):
        pitch = note.pitch
        for _ in range(abs(by)):
            pitch += 1 if by > 0 else -1
            while melody.key.degree(pitch) is None:
                pitch += 1 if by > 0 else -1
        moved.append(replace(note, pitch=pitch))
    return _with_bar(melody, bar, moved)


def _repeat(melody: Melody, others: Sequence[Melody], rng: Random) -> Melody:
    """A bar repeated in place of another."""
    bar, source = rng.randrange(melody.bars), rng.randrange(melody.bars)
    return _with_bar(melody, bar, _bar(melody, source))
