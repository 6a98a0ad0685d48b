"""Rules of rhythm and metre."""

from __future__ import annotations

import numpy as np

from seqtutor_music.note_table import Bools, NoteTable
from seqtutor_music.rule import Check, MelodyRule, name


def _final_strong(t: NoteTable) -> Check:
    return Check(t.last, t.last & (t.accent < 2))


def _final_long(t: NoteTable) -> Check:
    return Check(t.last, t.last & (t.duration * 2 < t.beat_steps[t.melody]))


def _struck_bars(t: NoteTable) -> Check:
    """Bars without an onset on their downbeat, held against the first note of the bar."""
    return Check(t.bar_starts, t.bar_starts & (t.position > 0))


def _variety(t: NoteTable) -> Check:
    values = np.zeros(len(t.melodies), np.int64)
    pairs = np.unique(np.stack([t.melody, np.minimum(t.duration, 999)], 1), axis=0)
    np.add.at(values, pairs[:, 0], 1)
    enough = t.last & (np.diff(t.offsets) >= 8)[t.melody]
    return Check(enough, enough & (values < 2)[t.melody])


def _lonely_sixteenth(t: NoteTable) -> Check:
    short = (t.duration == 1) & t.has(1, 1)
    company = (t.earlier(t.duration) == 1) | (t.later(t.duration) == 1) | (t.earlier(t.duration) % 4 == 3)
    snap = (t.later(t.duration) % 4 == 3) & (t.position % 2 == 0)
    return Check(short, short & ~(company | snap))


def _syncopation(t: NoteTable) -> Check:
    """A note off the beat that is held over a stronger place than its own."""
    weak = t.accent <= 1
    beat = t.beat_steps[t.melody]
    next_beat = beat - t.position % beat
    return Check(weak, weak & (t.duration > next_beat))


def _over_bar(t: NoteTable) -> Check:
    left = t.bar_steps[t.melody] - t.position
    return Check(~t.last, ~t.last & (t.duration > left))


def _silence(t: NoteTable) -> Check:
    gap = silence_after(t)
    return Check(t.has_after, t.has_after & (gap > t.bar_steps[t.melody] // 2))


def silence_after(t: NoteTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Steps of silence between each note and the next, 0 after the last; int64 [notes]."""
    return np.where(t.has_after, t.later(t.start) - t.start - t.duration, 0)


def _density(t: NoteTable) -> Check:
    """Bars with more than four times as many onsets as the melody's median bar."""
    notes = np.bincount(t.bar_index[t.bar_index >= 0], minlength=int(t.bar_starts.sum()))
    owners = t.melody[t.bar_starts]
    usual = np.ones(len(t.melodies))
    for i in np.unique(owners).tolist():
        usual[i] = np.median(notes[owners == i])
    crowded: Bools = np.zeros(len(t), bool)
    crowded[t.bar_starts] = notes > 2.5 * usual[owners]
    return Check(t.bar_starts, crowded)


RULES = (
    MelodyRule("final-on-beat", "the last note begins on a beat", 30, _final_strong, lambda t, i: (
        f"the last note {name(t, i)} begins off the beat", "move it to the downbeat")),
    MelodyRule("final-long", "the last note lasts at least half a beat", 25, _final_long, lambda t, i: (
        f"the last note {name(t, i)} is cut short", "hold it for a beat or more")),
    MelodyRule("downbeats", "every bar begins with an onset", 20, _struck_bars, lambda t, i: (
        f"nothing begins on the downbeat of bar {int(t.bar[i])}", f"begin {name(t, i)} on the downbeat")),
    MelodyRule("value-variety", "at least two note values", 20, _variety, lambda t, i: (
        f"all notes last {int(t.duration[i])} sixteenths", "join two of them where a phrase ends")),
    MelodyRule("paired-sixteenths", "sixteenths come in company or beside a dotted note", 25, _lonely_sixteenth,
               lambda t, i: (f"the sixteenth {name(t, i)} stands alone", "join it to its neighbour or add another"),
               before=1, after=1),
    MelodyRule("syncopation", "notes that begin off the beat end by the next beat", 10, _syncopation, lambda t, i: (
        f"{name(t, i)} begins off the beat and is held over the next", "begin it on the beat or shorten it")),
    MelodyRule("over-the-bar", "no note but the last is held over a bar line", 10, _over_bar, lambda t, i: (
        f"{name(t, i)} is held over the bar line", "end it with the bar")),
    MelodyRule("silence", "no silence longer than half a bar inside", 20, _silence, lambda t, i: (
        f"silence of {int(silence_after(t)[i])} sixteenths after {name(t, i)}", "hold the note or fill the gap")),
    MelodyRule("even-density", "no bar has over two and a half times the usual number of notes", 20, _density,
               lambda t, i: (f"bar {int(t.bar[i])} is crowded beside the others", "thin it out to main notes")),
)
