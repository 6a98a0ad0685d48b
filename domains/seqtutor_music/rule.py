"""What a rule of melody is: a predicate over notes, with words for the places where it is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Finding
from seqtutor_music.keys import pitch_name
from seqtutor_music.melody import Melody
from seqtutor_music.note_table import Bools, NoteTable


class Check(NamedTuple):
    """bool [notes] each: where the rule had something to say, and where it was broken (a subset)."""

    chances: Bools
    broken: Bools


@dataclass(frozen=True)
class MelodyFinding(Finding):
    """A finding with its place in music. ``start`` and ``end`` are steps in a melody, token positions in a stream."""

    bar: int = 0
    beat: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MelodyRule:
    """``check`` runs on a batch; ``words(table, i)`` says of note ``i`` what is broken and how to mend it ("" if there
    is no plain way). ``before`` and ``after``: how many neighbours belong to the finding. ``severity``: 0…100."""

    name: str
    about: str
    severity: float
    check: Callable[[NoteTable], Check]
    words: Callable[[NoteTable, int], tuple[str, str]]
    before: int = 0
    after: int = 0

    def values(self, table: NoteTable) -> NDArray[np.float64]:
        """The share of chances kept, 0 to 1, float64 [melodies]; nan where there was none."""
        chances, broken = self.check(table)
        total = table.count(chances)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, 1 - table.count(broken) / np.maximum(total, 1), np.nan)

    def findings(self, table: NoteTable) -> list[list[MelodyFinding]]:
        """For each melody the places where the rule is broken, in order of time."""
        found: list[list[MelodyFinding]] = [[] for _ in table.melodies]
        for i in np.nonzero(self.check(table).broken)[0].tolist():
            owner = int(table.melody[i])
            melody = table.melodies[owner]
            first = max(int(table.offsets[owner]), i - self.before)
            last = min(int(table.offsets[owner + 1]) - 1, i + self.after)
            words, fix = self.words(table, i)
            notes = tuple(name(table, j) for j in range(first, last + 1))
            start, end = int(table.start[first]), int(table.start[last] + table.duration[last])
            at = int(table.start[i])
            found[owner].append(MelodyFinding(self.name, start, end, self.severity, words, fix, melody.bar(at),
                                              melody.beat(at), notes))
        return found

    def __call__(self, melody: Melody) -> float:
        """The value for one melody."""
        return float(self.values(NoteTable([melody]))[0])


def name(table: NoteTable, i: int) -> str:
    """Note ``i`` as musicians write it in its melody's key."""
    return pitch_name(int(table.pitch[i]), table.melodies[int(table.melody[i])].key)


def degree_name(table: NoteTable, i: int, degree: int) -> str:
    """The nearest pitch to note ``i`` that is scale degree ``degree`` (1…7), as musicians write it."""
    key = table.melodies[int(table.melody[i])].key
    pitch = int(table.pitch[i])
    near = min(range(pitch - 6, pitch + 7), key=lambda p: (p % 12 != key.scale[degree - 1], abs(p - pitch)))
    return pitch_name(near, key)


def nearest_scale_note(table: NoteTable, i: int) -> str:
    """The nearest pitch to note ``i`` inside the scale, as musicians write it."""
    key = table.melodies[int(table.melody[i])].key
    pitch = int(table.pitch[i])
    near = min(range(pitch - 2, pitch + 3), key=lambda p: (key.degree(p) is None, abs(p - pitch)))
    return pitch_name(near, key)


INTERVALS = ("repeated note", "minor second", "major second", "minor third", "major third", "fourth", "tritone",
             "fifth", "minor sixth", "major sixth", "minor seventh", "major seventh", "octave")


def interval_name(semitones: int) -> str:
    """ "fifth up", "minor third down", "leap of 15 semitones up"."""
    size = abs(semitones)
    what = INTERVALS[size] if size <= 12 else f"leap of {size} semitones"
    return what if not size else f"{what} {'up' if semitones > 0 else 'down'}"
