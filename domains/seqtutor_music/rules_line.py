"""Rules of the melodic line: intervals, leaps, outlines, the climax, repetition of notes."""

from __future__ import annotations

import numpy as np

from seqtutor_music.note_table import Bools, NoteTable
from seqtutor_music.rule import Check, MelodyRule, degree_name, interval_name, name

WIDEST, FAR = 16, 10  # semitones
_TRIAD_SHAPES = np.zeros(4096, bool)  # by a bit mask of pitch classes: those inside some major or minor triad
for _root in range(12):
    for _shape in ((0, 4, 7), (0, 3, 7)):
        for _missing in (None, 0, 1, 2):
            _bits = sum(1 << (_root + s) % 12 for i, s in enumerate(_shape) if i != _missing)
            _TRIAD_SHAPES[_bits] = True


def _range(t: NoteTable) -> Check:
    span = t.per_melody(np.maximum, t.pitch) - t.per_melody(np.minimum, t.pitch)
    return Check(t.highest, t.highest & (span > WIDEST)[t.melody])


def _tessitura(t: NoteTable) -> Check:
    return Check(np.ones(len(t), bool), np.abs(t.pitch - medians(t)[t.melody]) > FAR)


def medians(t: NoteTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The median pitch of each melody, [melodies]."""
    order = np.lexsort((t.pitch, t.melody))
    counts = np.diff(t.offsets)
    low = np.minimum(t.offsets[:-1] + np.maximum(counts - 1, 0) // 2, max(len(t) - 1, 0))
    high = np.minimum(t.offsets[:-1] + counts // 2, max(len(t) - 1, 0))
    if not len(t):
        return np.zeros(len(counts))
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = (t.pitch[order][low] + t.pitch[order][high]) / 2
    return found


def step_share(t: NoteTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The share of moves (repeated notes left out) of one or two semitones, [melodies]."""
    moves = t.count(t.step != 0)
    return t.count((np.abs(t.step) <= 2) & (t.step != 0)) / np.maximum(moves, 1)


def _steps_share(t: NoteTable) -> Check:
    share = step_share(t)
    enough = (t.count(t.step != 0) >= 4)[t.melody] & t.last
    return Check(enough, enough & ((share < .45) | (share > .85))[t.melody])


def _steps_words(t: NoteTable, i: int) -> tuple[str, str]:
    share = float(step_share(t)[t.melody[i]])
    return (f"{share:.0%} of the moves are steps; singable melodies keep to 45 to 85 %",
            "fill some leaps with passing notes" if share < .45 else "let a leap open some phrases")


def _forbidden(t: NoteTable) -> Check:
    return Check(t.has_before, np.isin(np.abs(t.step), (6, 10, 11)) | (np.abs(t.step) > 12))


def _recovery(t: NoteTable) -> Check:
    leap = (np.abs(t.step) >= 5) & t.has_after
    return Check(leap, leap & (np.sign(t.next_step) == np.sign(t.step)))


def _gap_fill(t: NoteTable) -> Check:
    leap = (np.abs(t.step) >= 7) & t.has_after
    filled = (np.sign(t.next_step) == -np.sign(t.step)) & (np.abs(t.next_step) <= 4)
    return Check(leap, leap & ~filled)


def _consecutive(t: NoteTable) -> Check:
    pair = t.has(1, 1) & (np.abs(t.step) >= 3) & (np.abs(t.next_step) >= 3) & (np.sign(t.step) == np.sign(t.next_step))
    distinct = np.zeros(len(t), np.int64)
    for p in (t.earlier(t.pitch), t.pitch, t.later(t.pitch)):
        distinct |= 1 << (p % 12)
    return Check(pair, pair & ~_TRIAD_SHAPES[distinct])


def outline(t: NoteTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """At each turning point the semitones from the turning point before, else 0; int64 [notes].

    Outlines are runs of at least two moves in one direction: bare leaps have a rule of their own.
    """
    found = np.zeros(len(t), np.int64)
    for a, b in zip(t.offsets[:-1].tolist(), t.offsets[1:].tolist(), strict=True):
        pitch = t.pitch[a:b]
        moves = np.sign(np.diff(pitch))
        turns = [i + 1 for i in np.nonzero(moves[1:] * moves[:-1] <= 0)[0].tolist()] + [b - a - 1]
        last = 0
        for turn in turns:
            if turn - last >= 2 and moves[last] != 0:
                found[a + turn] = pitch[turn] - pitch[last]
            last = turn
    return found


def _tritone_outline(t: NoteTable) -> Check:
    size = np.abs(outline(t))
    return Check(size > 0, size == 6)


def _seventh_outline(t: NoteTable) -> Check:
    size = np.abs(outline(t))
    return Check(size > 0, np.isin(size, (10, 11)))


def _outline_words(t: NoteTable, i: int) -> tuple[str, str]:
    size = int(outline(t)[i])
    return f"the line runs a {interval_name(size)} to {name(t, i)} without turning", "turn one note earlier or later"


def _climax_count(t: NoteTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    fresh = (t.pitch == t.per_melody(np.maximum, t.pitch)[t.melody]) & ~(t.has_before & (t.step == 0))
    return t.count(fresh)


def _one_climax(t: NoteTable) -> Check:
    return Check(t.highest, t.highest & (_climax_count(t) > 1)[t.melody])


def _climax_leading(t: NoteTable) -> Check:
    return Check(t.highest, t.highest & (t.rel == 11))


def _climax_place(t: NoteTable) -> Check:
    enough = t.highest & (np.diff(t.offsets) >= 8)[t.melody]
    return Check(enough, enough & (t.first | t.last))


def _repeated(t: NoteTable) -> Check:
    run: Bools = t.has(4, 0)
    for n in range(4):
        run = run & (t.earlier(t.step, n) == 0 if n else t.step == 0)
    return Check(t.has_before, run)


def _oscillation(t: NoteTable) -> Check:
    possible = t.has(5, 0)
    swing = possible & (t.step != 0)
    for n in range(2, 6):
        swing = swing & (t.earlier(t.pitch, n) == (t.pitch if n % 2 == 0 else t.earlier(t.pitch)))
    return Check(possible, swing)


RULES = (
    MelodyRule("range", "the melody spans at most 16 semitones", 40, _range, lambda t, i: (
        f"the highest note {name(t, i)} lies more than {WIDEST} semitones above the lowest",
        "bring the outlying notes in by an octave")),
    MelodyRule("tessitura", "notes lie within 10 semitones of the median", 25, _tessitura, lambda t, i: (
        f"{name(t, i)} lies far from where the melody lives", "move it by an octave")),
    MelodyRule("step-share", "45 to 85 % of the moves are steps", 30, _steps_share, _steps_words),
    MelodyRule("forbidden-leap", "no tritones, sevenths or leaps beyond the octave", 60, _forbidden, lambda t, i: (
        f"a {interval_name(int(t.step[i]))} to {name(t, i)} is hard to sing",
        f"try {degree_name(t, i, int(t.degree[i - 1]) or 1)} or a note between"), before=1),
    MelodyRule("leap-recovery", "a leap of a fourth or more is not continued in its direction", 35, _recovery,
               lambda t, i: (f"the {interval_name(int(t.step[i]))} to {name(t, i)} goes on in its direction",
                             "turn back after the leap"), before=1, after=1),
    MelodyRule("gap-fill", "a leap of a fifth or more is followed back inside by a step or third", 20, _gap_fill,
               lambda t, i: (f"the gap of the {interval_name(int(t.step[i]))} to {name(t, i)} is not filled",
                             "step back into the gap"), before=1, after=1),
    MelodyRule("consecutive-leaps", "two leaps in one direction outline a triad", 40, _consecutive, lambda t, i: (
        f"two leaps in a row through {name(t, i)} outline no triad", "make one of them a step"), before=1, after=1),
    MelodyRule("tritone-outline", "no run from turn to turn spans a tritone", 30, _tritone_outline, _outline_words),
    MelodyRule("seventh-outline", "no run from turn to turn spans a seventh", 25, _seventh_outline, _outline_words),
    MelodyRule("one-climax", "the highest note comes once", 15, _one_climax, lambda t, i: (
        f"the highest note {name(t, i)} comes {int(_climax_count(t)[t.melody[i]])} times",
        "lower all but the best placed of them")),
    MelodyRule("climax-not-leading", "the highest note is not the leading tone", 35, _climax_leading, lambda t, i: (
        f"the climax {name(t, i)} is the leading tone, which asks to go higher",
        f"go on to {degree_name(t, i, 1)}")),
    MelodyRule("climax-inside", "the highest note is neither the first nor the last", 15, _climax_place, lambda t, i: (
        f"the highest note {name(t, i)} is the {'first' if t.first[i] else 'last'} note", "give the middle a peak")),
    MelodyRule("repeated-notes", "at most four equal notes in a row", 40, _repeated, lambda t, i: (
        f"{name(t, i)} comes at least five times in a row", "vary one by a neighbour note"), before=4),
    MelodyRule("oscillation", "no swinging between two notes for six notes or more", 30, _oscillation, lambda t, i: (
        f"the line swings between {name(t, i - 1)} and {name(t, i)}", "let it move on after the second swing"),
        before=5),
)
