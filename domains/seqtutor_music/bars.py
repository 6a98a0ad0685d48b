"""A melody cut into bars and writable note values, as both ABC and MusicXML need it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from seqtutor_music.melody import Melody
from seqtutor_music.meter import Meter

#: sixteenth steps of the values that one note head can have, dots included
VALUES = (24, 16, 12, 8, 6, 4, 3, 2, 1)


@dataclass(frozen=True)
class Piece:
    """A note head or rest: ``pitch`` None for a rest; ``note``: its index in the melody, −1 for a rest; ``tied`` to
    the next piece, ``continues`` the one before."""

    pitch: int | None
    start: int
    duration: int
    note: int = -1
    tied: bool = False
    continues: bool = False


def pieces_by_bar(melody: Melody) -> list[list[Piece]]:
    """The pieces of each bar, the upbeat first if there is one; every bar is full."""
    melody = melody.padded()
    lines = [melody.upbeat + i * melody.meter.steps for i in range(melody.bars + 1)]
    if melody.upbeat:
        lines.insert(0, 0)
    bars = []
    for begin, end in pairwise(lines):
        bars.append(_bar(melody, begin, end))
    return bars


def _bar(melody: Melody, begin: int, end: int) -> list[Piece]:
    pieces: list[Piece] = []
    now = begin
    for i, note in enumerate(melody.notes):
        if note.end <= begin or note.start >= end:
            continue
        start, stop = max(note.start, begin), min(note.end, end)
        pieces += [Piece(None, at, size) for at, size in _values(melody, now, start)]
        cuts = _values(melody, start, stop)
        for at, size in cuts:
            pieces.append(Piece(note.pitch, at, size, i, at + size < note.end, at > note.start))
        now = stop
    return pieces + [Piece(None, at, size) for at, size in _values(melody, now, end)]


def _values(melody: Melody, start: int, end: int) -> list[tuple[int, int]]:
    """(start, steps) of the note values that fill start…end without hiding a beat."""
    found = []
    while start < end:
        size = _largest(melody.meter, melody.position(start), end - start)
        found.append((start, size))
        start += size
    return found


def _largest(meter: Meter, position: int, room: int) -> int:
    beat = meter.beat_steps
    for value in VALUES:
        if value > room:
            continue
        inside = position % beat + value <= beat
        if inside or position % beat == 0 or (value <= 2 * beat and value in (2, 4, 8) and room == value):
            return value
    return 1
