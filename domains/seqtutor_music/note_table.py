"""The notes of many melodies in flat arrays, so that a rule reads like a sentence and runs on a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqtutor_music.melody import Melody

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: degrees of the seven diatonic triads, bool [root degree − 1, degree − 1]
TRIADS = np.array([[(degree - root) % 7 in (0, 2, 4) for degree in range(7)] for root in range(7)])
#: a bar's harmony is guessed from its notes; plain chords win ties
PLAINNESS = np.array([.3, .05, 0, .2, .25, .1, -.3])


class NoteTable:
    """One entry a note: int64 [notes] unless said otherwise, melodies one after the other.

    ``melody`` which melody; ``pitch``; ``start``, ``duration`` in steps; ``rel`` semitones above the tonic, 0…11;
    ``degree`` 1…7, 0 for a chromatic note; ``bar`` from 1 (0 upbeat); ``position`` steps from the bar line; ``accent``
    0…4; ``step`` semitones from the note before, ``next_step`` to the note after (0 at the ends: ask ``has_before``,
    ``has_after``). One entry a melody: ``bar_steps``, ``beat_steps``, ``bars``, ``minor`` (bool), ``offsets`` [+ 1].
    """

    def __init__(self, melodies: Sequence[Melody]):
        self.melodies = list(melodies)
        counts = [len(m.notes) for m in self.melodies]
        self.offsets: Ints = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.melody: Ints = np.repeat(np.arange(len(counts)), counts)
        flat = [(n.pitch, n.start, n.duration) for m in self.melodies for n in m.notes]
        notes = np.array(flat, dtype=np.int64).reshape(-1, 3)
        self.pitch, self.start, self.duration = notes.T
        self.bar_steps = self._each([m.meter.steps for m in self.melodies])
        self.beat_steps = self._each([m.meter.beat_steps for m in self.melodies])
        self.bars = self._each([m.bars for m in self.melodies])
        self.minor = self._each([m.key.minor for m in self.melodies]).astype(bool)
        upbeat = self._each([m.upbeat for m in self.melodies])[self.melody]
        tonic = self._each([m.key.pitch_class for m in self.melodies])[self.melody]
        length = self.bar_steps[self.melody]
        self.bar: Ints = (self.start - upbeat) // length + 1
        self.position: Ints = (self.start - upbeat) % length
        self.rel: Ints = (self.pitch - tonic) % 12
        self.degree: Ints = self._degrees()
        self.accent: Ints = self._accents()
        same = self.melody[1:] == self.melody[:-1]
        self.has_before: Bools = np.concatenate([[False], same]) if len(notes) else np.zeros(0, bool)
        self.has_after: Bools = np.concatenate([same, [False]]) if len(notes) else np.zeros(0, bool)
        self.step: Ints = np.where(self.has_before, self.pitch - self.earlier(self.pitch), 0)
        self.next_step: Ints = np.where(self.has_after, self.later(self.pitch) - self.pitch, 0)

    @staticmethod
    def _each(values: Sequence[int]) -> Ints:
        return np.array(values, dtype=np.int64)

    def _degrees(self) -> Ints:
        table = np.zeros((max(1, len(self.melodies)), 12), dtype=np.int64)
        for i, melody in enumerate(self.melodies):
            for degree, pitch_class in enumerate(melody.key.scale, 1):
                table[i, (pitch_class - melody.key.pitch_class) % 12] = degree
        return table[self.melody, self.rel]

    def _accents(self) -> Ints:
        tables = {m.meter: [m.meter.accent(p) for p in range(m.meter.steps)] for m in self.melodies}
        widest = max((len(t) for t in tables.values()), default=1)
        rows = np.array([tables[m.meter] + [0] * (widest - len(tables[m.meter])) for m in self.melodies] or [[0]])
        found: Ints = rows[self.melody, self.position].astype(np.int64)
        return found

    def __len__(self) -> int:
        return len(self.pitch)

    @staticmethod
    def earlier(values: Ints, n: int = 1) -> Ints:
        """``values`` of the note ``n`` before (0 past the table's edge; mind the melodies' edges yourself)."""
        return np.concatenate([np.zeros(min(n, len(values)), values.dtype), values[:-n] if len(values) > n else []]
                              ).astype(values.dtype)

    @staticmethod
    def later(values: Ints, n: int = 1) -> Ints:
        """``values`` of the note ``n`` after."""
        return np.concatenate([values[n:], np.zeros(min(n, len(values)), values.dtype)]).astype(values.dtype)

    def has(self, before: int = 0, after: int = 0) -> Bools:
        """Which notes have so many notes before and after them in their melody."""
        index = np.arange(len(self))
        return ((index - before >= self.offsets[self.melody])
                & (index + after < self.offsets[self.melody + 1]))

    @cached_property
    def first(self) -> Bools:
        """The first note of each melody."""
        return ~self.has_before

    @cached_property
    def last(self) -> Bools:
        """The last note of each melody."""
        return ~self.has_after

    @cached_property
    def highest(self) -> Bools:
        """The first of each melody's highest notes."""
        return self._first_where(self.pitch == self.per_melody(np.maximum, self.pitch)[self.melody])

    def per_melody(self, how: np.ufunc, values: NDArray[np.int64] | NDArray[np.float64]) -> Ints:
        """``values`` [notes] reduced over each melody, [melodies]; 0 where a melody has no notes."""
        found = np.zeros(len(self.melodies), dtype=values.dtype)
        filled = np.diff(self.offsets) > 0
        if len(values):
            found[filled] = how.reduceat(values, self.offsets[:-1][filled])
        return found  # type: ignore[return-value]

    def count(self, where: Bools) -> Ints:
        """How many notes of each melody are in ``where``, [melodies]."""
        return np.bincount(self.melody[where], minlength=len(self.melodies))

    def _first_where(self, where: Bools) -> Bools:
        chosen = np.zeros(len(self), bool)
        places = np.nonzero(where)[0]
        _, firsts = np.unique(self.melody[places], return_index=True)
        chosen[places[firsts]] = True
        return chosen

    # -- bars ----------------------------------------------------------------------------------------------------

    @cached_property
    def bar_starts(self) -> Bools:
        """The first note of every bar that has one (whole bars; the upbeat is none)."""
        fresh = np.ones(len(self), bool)
        fresh[1:] = (self.bar[1:] != self.bar[:-1]) | (self.melody[1:] != self.melody[:-1])
        return fresh & (self.bar >= 1)

    @cached_property
    def bar_index(self) -> Ints:
        """Which of the bars with notes a note is in, −1 in an upbeat."""
        return np.where(self.bar >= 1, np.cumsum(self.bar_starts) - 1, -1)

    def bar_codes(self, pitches: bool) -> NDArray[np.uint64]:
        """A hash of each bar with notes: of its rhythm, with ``pitches`` also of its pitches."""
        inside = self.bar_index >= 0
        value = self.position.astype(np.uint64) * np.uint64(64) + np.minimum(self.duration, 63).astype(np.uint64)
        if pitches:
            value = value * np.uint64(128) + self.pitch.astype(np.uint64)
        for _ in range(2):  # splitmix64's finaliser
            value = (value + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
            value ^= value >> np.uint64(29)
        codes = np.zeros(int(self.bar_starts.sum()), dtype=np.uint64)
        np.add.at(codes, self.bar_index[inside], value[inside])
        return codes

    @cached_property
    def harmony(self) -> Ints:
        """The root degree − 1 of the diatonic triad that fits each bar with notes best, [bars with notes]."""
        weights = np.zeros((int(self.bar_starts.sum()), 7))
        told = (self.bar_index >= 0) & (self.degree > 0)
        np.add.at(weights, (self.bar_index[told], self.degree[told] - 1),
                  (self.duration * (1 + self.accent))[told].astype(float))
        total = np.maximum(weights.sum(1, keepdims=True), 1e-9)
        found: Ints = np.argmax(weights / total @ TRIADS.T + PLAINNESS * .3, axis=1)
        return found
