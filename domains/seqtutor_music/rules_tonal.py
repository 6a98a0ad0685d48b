"""Rules of key and harmony: leading tones, minor's sixth and seventh, chromatic notes, implied chords, cadences."""

from __future__ import annotations

import numpy as np

from seqtutor_music.note_table import TRIADS, Bools, Ints, NoteTable
from seqtutor_music.rule import Check, MelodyRule, degree_name, interval_name, name, nearest_scale_note

_CHORDS = ("the tonic chord", "the chord on 2", "the chord on 3", "the subdominant", "the dominant", "the chord on 6",
           "the chord on 7")


def _in_key(t: NoteTable) -> Check:
    return Check(np.ones(len(t), bool), (t.degree == 0) & ~_minor_raised(t))


def _minor_raised(t: NoteTable) -> Bools:
    """Raised sixths and sevenths of minor keys, which belong to the key."""
    return t.minor[t.melody] & np.isin(t.rel, (9, 11))


def _leading(t: NoteTable) -> Check:
    tone = (t.rel == 11) & t.has_after & (t.next_step != 0)
    return Check(tone, tone & (t.next_step != 1))


def _raised_up(t: NoteTable) -> Check:
    raised = _minor_raised(t) & (t.degree == 0) & t.has_after & (t.next_step != 0)
    return Check(raised, raised & (t.next_step < 0))


def _natural_down(t: NoteTable) -> Check:
    natural = t.minor[t.melody] & (t.rel == 8) & (t.degree > 0) & t.has_after & (t.next_step != 0)
    return Check(natural, natural & (t.next_step > 0))


def _augmented(t: NoteTable) -> Check:
    chance = t.has_before & t.minor[t.melody] & (np.isin(t.rel, (8, 11)))
    before = t.earlier(t.rel)
    wide = (np.abs(t.step) == 3) & (((t.rel == 11) & (before == 8)) | ((t.rel == 8) & (before == 11)))
    return Check(chance, chance & wide)


def _chromatic(t: NoteTable) -> Check:
    chance = (t.degree == 0) & ~_minor_raised(t) & t.has(1, 1)
    smooth = (np.abs(t.step) <= 2) & (np.abs(t.next_step) <= 2)
    return Check(chance, chance & ~smooth)


def _triad_of_bar(t: NoteTable) -> Bools:
    """Whether each note belongs to the triad that its bar implies; notes of an upbeat do, and a final tonic, which is
    where the harmony goes whatever else stands in its bar."""
    inside = np.ones(len(t), bool)
    told = t.bar_index >= 0
    inside[told] = TRIADS[t.harmony[t.bar_index[told]], t.degree[told] - 1] & (t.degree[told] > 0)
    inside[t.last & (t.rel == 0)] = True
    return inside


def _accented(t: NoteTable) -> Check:
    chance = (t.accent >= 3) & (t.bar_index >= 0)
    return Check(chance, chance & ~_triad_of_bar(t))


def _accented_words(t: NoteTable, i: int) -> tuple[str, str]:
    root = int(t.harmony[t.bar_index[i]])
    near = min((root + 1, (root + 2) % 7 + 1, (root + 4) % 7 + 1),
               key=lambda d: min((d - int(t.degree[i])) % 7, (int(t.degree[i]) - d) % 7))
    return (f"the accented {name(t, i)} is foreign to {_CHORDS[root]}, which the bar implies",
            f"put {degree_name(t, i, near)} on the beat")


def _opening(t: NoteTable) -> Check:
    first = t.accent == 4
    opener = np.zeros(len(t), bool)
    places = np.nonzero(first)[0]
    _, unique = np.unique(t.melody[places], return_index=True)
    opener[places[unique]] = True
    return Check(opener, opener & ~np.isin(t.degree, (1, 3, 5)))


def _ends_on_tonic(t: NoteTable) -> Check:
    return Check(t.last, t.last & (t.rel != 0))


def arrival(t: NoteTable) -> Ints:
    """For each note the first of the run of equal notes that it belongs to: tunes like to strike their last note two or
    three times, and the cadence is before them."""
    fresh = ~t.has_before | (t.step != 0)
    return np.maximum.accumulate(np.where(fresh, np.arange(len(t)), 0))


def _ends_by_step(t: NoteTable) -> Check:
    at = arrival(t)
    chance = t.last & t.has_before[at]
    return Check(chance, chance & (np.abs(t.step[at]) > 2))


def last_of_bar(t: NoteTable, bar: int) -> Bools:
    """The last note that begins in ``bar`` (1, 2, …) of each melody."""
    inside = t.bar == bar
    after = np.concatenate([inside[1:] & (t.melody[1:] == t.melody[:-1]), [False]]) if len(t) else inside
    found: Bools = inside & ~after
    return found


def _half_cadence(t: NoteTable) -> Check:
    chance = last_of_bar(t, 4) & (t.bars >= 8)[t.melody]
    return Check(chance, chance & ~np.isin(t.degree, (2, 5, 7)))


def _full_cadence(t: NoteTable) -> Check:
    at = arrival(t)
    chance = t.last & t.has_before[at]
    return Check(chance, chance & ~((t.degree == 1) & np.isin(t.earlier(t.degree)[at], (2, 5, 7, 0))))


RULES = (
    MelodyRule("in-key", "no notes foreign to the key", 35, _in_key, lambda t, i: (
        f"{name(t, i)} is foreign to {t.melodies[t.melody[i]].key.name}", f"try {nearest_scale_note(t, i)}")),
    MelodyRule("leading-tone", "the leading tone goes on to the tonic", 20, _leading, lambda t, i: (
        f"the leading tone {name(t, i)} does not rise to the tonic", f"go on to {degree_name(t, i, 1)}"), after=1),
    MelodyRule("raised-upward", "raised sixths and sevenths in minor go up", 35, _raised_up, lambda t, i: (
        f"the raised {name(t, i)} goes down", f"take {nearest_scale_note(t, i)} on the way down"), after=1),
    MelodyRule("natural-downward", "the natural sixth in minor goes down", 20, _natural_down, lambda t, i: (
        f"the natural sixth {name(t, i)} goes up", "raise it on the way up, or turn down"), after=1),
    MelodyRule("augmented-second", "no augmented seconds in minor", 50, _augmented, lambda t, i: (
        f"an augmented second to {name(t, i)}", "raise the sixth going up or lower the seventh going down"), before=1),
    MelodyRule("chromatic-passing", "chromatic notes come and go by step", 45, _chromatic, lambda t, i: (
        f"the chromatic {name(t, i)} is neither a neighbour nor a passing note: {interval_name(int(t.step[i]))}, then "
        f"{interval_name(int(t.next_step[i]))}", f"try {nearest_scale_note(t, i)}"), before=1, after=1),
    MelodyRule("accents-in-harmony", "accented notes belong to the chord that their bar implies", 15, _accented,
               _accented_words),
    MelodyRule("opening-chord", "the first downbeat is a note of the tonic chord", 15, _opening, lambda t, i: (
        f"the first downbeat {name(t, i)} is no note of the tonic chord", f"try {degree_name(t, i, 1)}")),
    MelodyRule("ends-on-tonic", "the last note is the tonic", 50, _ends_on_tonic, lambda t, i: (
        f"the melody ends on {name(t, i)}, not on its tonic", f"end on {degree_name(t, i, 1)}")),
    MelodyRule("ends-by-step", "the last note is reached by step", 15, _ends_by_step, lambda t, i: (
        f"the last note {name(t, i)} is reached by a {interval_name(int(t.step[arrival(t)[i]]))}",
        "come to it from a neighbour"),
        before=1),
    MelodyRule("half-cadence", "bar 4 of eight or more closes on the dominant (2, 5 or 7)", 10, _half_cadence,
               lambda t, i: (f"bar 4 closes on {name(t, i)}, outside the dominant",
                             f"close it on {degree_name(t, i, 2)} or {degree_name(t, i, 5)}")),
    MelodyRule("full-cadence", "the end is 2–1, 7–1 or 5–1", 25, _full_cadence, lambda t, i: (
        f"no cadence to the tonic at the end ({name(t, int(arrival(t)[i]) - 1)}–{name(t, i)})",
        f"end {degree_name(t, i, 2)}–{degree_name(t, i, 1)} or {degree_name(t, i, 7)}–{degree_name(t, i, 1)}"),
        before=1),
)
