"""Rules of form: phrases, repetition, development, originality."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor_music.families import interval_runs
from seqtutor_music.note_table import Bools, NoteTable
from seqtutor_music.rule import Check, MelodyRule, name
from seqtutor_music.rules_rhythm import silence_after
from seqtutor_music.rules_tonal import last_of_bar

COPY = 12  # notes that a melody may share in a row with the corpus
Codes = NDArray[np.uint64]


def _square(t: NoteTable) -> Check:
    return Check(t.last, t.last & (t.bars % 4 != 0)[t.melody])


def _breath(t: NoteTable) -> Check:
    """At the end of every fourth bar a note of at least a beat, or silence."""
    ends = np.zeros(len(t), bool)
    for bar in range(4, int(t.bars.max(initial=0)) + 1, 4):
        ends |= last_of_bar(t, bar)
    rest = t.duration + silence_after(t)
    return Check(ends, ends & (rest < np.maximum(2, t.beat_steps[t.melody] // 2)))


def _by_bar(t: NoteTable, pitches: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], Codes]:
    """(melody, bar, code) of each bar with notes."""
    return t.melody[t.bar_starts], t.bar[t.bar_starts], t.bar_codes(pitches)


def _spread(t: NoteTable, chances: Bools, broken: Bools) -> Check:
    """A check over bars as one over their first notes."""
    c, b = np.zeros(len(t), bool), np.zeros(len(t), bool)
    c[t.bar_starts], b[t.bar_starts] = chances, broken
    return Check(c, b)


def _answer(t: NoteTable) -> Check:
    """Bars 5 and 6 take up the rhythm of bars 1 and 2, one of them at least; held against bar 5."""
    owner, bar, code = _by_bar(t, pitches=False)
    rhythm = np.zeros((len(t.melodies), 7), dtype=np.uint64)
    early = bar <= 6
    rhythm[owner[early], bar[early]] = code[early]
    alike = (rhythm[:, 1] == rhythm[:, 5]) | (rhythm[:, 2] == rhythm[:, 6])
    chance = (bar == 5) & (t.bars >= 8)[owner]
    return _spread(t, chance, chance & ~alike[owner])


def _seen(owner: NDArray[np.int64], code: Codes) -> Bools:
    """Whether each bar's code occurs elsewhere in its melody."""
    both = np.stack([owner.astype(np.uint64), code], 1)
    _, inverse, counts = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    found: Bools = counts[inverse.reshape(-1)] > 1
    return found


def _development(t: NoteTable) -> Check:
    owner, _, code = _by_bar(t, pitches=False)
    chance = (t.bars >= 4)[owner]
    return _spread(t, chance, chance & ~_seen(owner, code))


def _freshness(t: NoteTable) -> Check:
    """At most half of the bars repeat an earlier one note for note; held against the first that is one too many."""
    owner, _, code = _by_bar(t, pitches=True)
    both = np.stack([owner.astype(np.uint64), code], 1)
    _, firsts = np.unique(both, axis=0, return_index=True)
    again = np.ones(len(owner), bool)
    again[firsts] = False
    allowed = (t.bars // 2)[owner]
    rank = np.cumsum(again) - np.concatenate([[0], np.cumsum(np.bincount(owner[again], minlength=len(t.melodies)))]
                                             )[owner]
    last = np.concatenate([owner[1:] != owner[:-1], [True]]) if len(owner) else again
    broken = again & (rank == allowed + 1)
    chance = broken | (last & ~np.isin(owner, owner[broken]))
    return _spread(t, chance, broken)


def _row_of(owner: NDArray[np.int64], bar: NDArray[np.int64], code: Codes, n: int) -> Bools:
    """Whether a bar and the ``n`` − 1 before it are equal."""
    equal = np.zeros(len(owner), bool)
    if len(owner) >= n:
        now = slice(n - 1, None)
        hit = np.ones(len(owner) - n + 1, bool)
        for k in range(1, n):
            before = slice(n - 1 - k, len(owner) - k)
            hit &= (owner[now] == owner[before]) & (bar[now] == bar[before] + k) & (code[now] == code[before])
        equal[now] = hit
    return equal


def _identical(t: NoteTable) -> Check:
    owner, bar, code = _by_bar(t, pitches=True)
    chance = bar >= 4
    return _spread(t, chance, chance & _row_of(owner, bar, code, 4))


def shape_codes(t: NoteTable) -> Codes:
    """A hash of each bar with notes: of its rhythm and of its degrees counted from its first note."""
    ladder = (t.pitch - t.rel) // 12 * 7 + np.maximum(t.degree, 1)
    base = ladder[t.bar_starts][np.maximum(t.bar_index, 0)] if t.bar_starts.any() else ladder
    value = (t.position * 64 + np.minimum(t.duration, 63)) * 256 + ladder - base + 128
    mixed = (value.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    codes = np.zeros(int(t.bar_starts.sum()), dtype=np.uint64)
    np.add.at(codes, t.bar_index[t.bar_index >= 0], (mixed * np.uint64(0x94D049BB133111EB))[t.bar_index >= 0])
    return codes


def _sequence(t: NoteTable) -> Check:
    """A bar's figure at most three times in a row on changing degrees (equal bars are another rule's)."""
    owner, bar, _ = _by_bar(t, pitches=True)
    chance = bar >= 4
    long = _row_of(owner, bar, shape_codes(t), 4) & ~_row_of(owner, bar, t.bar_codes(True), 4)
    return _spread(t, chance, chance & long)


@cache
def corpus_runs() -> NDArray[np.uint32]:
    """Sorted 32-bit hashes of every run of :data:`COPY` intervals in the corpus, shipped with the package."""
    path = Path(__file__).with_name("corpus_runs.npy")
    return np.load(path, allow_pickle=False) if path.exists() else np.zeros(0, np.uint32)


def copied(t: NoteTable) -> NDArray[np.int64]:
    """At each note the number of notes of the longest copy from the corpus that ends there, 0 if below 13."""
    found = np.zeros(len(t), np.int64)
    known = corpus_runs()
    if not len(known):
        return found
    for a, b in zip(t.offsets[:-1].tolist(), t.offsets[1:].tolist(), strict=True):
        runs = (interval_runs(t.pitch[a:b].tolist(), COPY) >> np.uint64(32)).astype(np.uint32)
        place = np.minimum(np.searchsorted(known, runs), len(known) - 1)
        length = 0
        for i, hit in enumerate((known[place] == runs).tolist()):
            length = (length + 1 if length else COPY + 1) if hit else 0
            found[a + COPY + i] = length
    return found


def _original(t: NoteTable) -> Check:
    """Held against the last note of each copied run."""
    length = copied(t)
    ends = (length > 0) & (t.later(length) * t.has_after == 0)
    return Check(t.last | ends, ends)


RULES = (
    MelodyRule("square-phrases", "the bars make phrases of four", 10, _square, lambda t, i: (
        f"{int(t.bars[t.melody[i]])} bars do not divide into phrases of four",
        "add or cut bars to a multiple of four")),
    MelodyRule("breath", "every fourth bar ends in at least half a beat of note or rest", 15, _breath, lambda t, i: (
        f"bar {int(t.bar[i])} runs through the end of its phrase", f"hold {name(t, i)} or rest after it")),
    MelodyRule("answering-phrase", "bar 5 or 6 answers bar 1 or 2 in its rhythm", 10, _answer, lambda t, i: (
        "bars 5 and 6 do not take up the rhythm of bars 1 and 2", "begin the answer like the question")),
    MelodyRule("motif-development", "a bar's rhythm comes again somewhere", 10, _development, lambda t, i: (
        f"the rhythm of bar {int(t.bar[i])} comes only once", "take up the rhythm of another bar")),
    MelodyRule("freshness", "at most half of the bars repeat an earlier one exactly", 25, _freshness, lambda t, i: (
        f"bar {int(t.bar[i])} is one exact repeat too many", "vary some repeats")),
    MelodyRule("identical-bars", "no four equal bars in a row", 40, _identical, lambda t, i: (
        f"bar {int(t.bar[i])} is the fourth equal bar in a row", "vary it or go elsewhere")),
    MelodyRule("sequence", "a figure is moved at most three times in a row", 20, _sequence, lambda t, i: (
        f"bar {int(t.bar[i])} moves the same figure a fourth time", "break the sequence")),
    MelodyRule("originality", f"at most {COPY} notes in a row as in the corpus", 30, _original, lambda t, i: (
        f"{int(copied(t)[i])} notes up to {name(t, i)} stand so in the corpus", "change a note or two of the run")),
)
