"""Finds the key of a melody whose file does not say it, or says it only half."""

from __future__ import annotations

from collections.abc import Sequence

from seqtutor_music.keys import MODES, Key, key_of
from seqtutor_music.melody import Note

#: how common each mode is, in units of the share of scale notes
HABIT = {"ionian": .06, "aeolian": .05, "dorian": .02, "mixolydian": .02}
FINAL, OPENING, WEIGHT, SIGNATURE = .15, .04, .3, .08
RAISED = .7  # a raised seventh counts so far as a scale note in aeolian


def find_key(notes: Sequence[Note], fifths: int | None = None) -> Key:
    """The key whose scale holds most of the time, whose tonic ends, begins and carries the melody.

    ``fifths``: the signature that the file gives, a hint only: sequencers write C major by default.
    """
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += note.duration
    total = sum(weights) or 1.0

    def score(key: Key) -> float:
        inside = sum(weights[p] for p in key.scale)
        if key.mode == "aeolian":
            inside += RAISED * weights[(key.pitch_class - 1) % 12]
        value = inside / total + HABIT.get(key.mode, 0.0) + WEIGHT * weights[key.pitch_class] / total
        if notes:
            value += FINAL * (notes[-1].pitch % 12 == key.pitch_class)
            value += OPENING * (notes[0].pitch % 12 in (key.scale[0], key.scale[4]))
        return value + (SIGNATURE if key.fifths == fifths else 0.0)

    return max((key_of(pitch_class, mode) for mode in MODES for pitch_class in range(12)), key=score)


def key_with_signature(fifths: int, tonic: int, mode: str | None = None) -> Key:
    """The key with that signature on pitch class ``tonic`` (or in ``mode``); major if the tonic has no place in it."""
    for candidate in [mode] if mode else MODES:
        for pitch_class in range(12):
            key = key_of(pitch_class, candidate)
            if key.fifths == fifths and (mode or pitch_class == tonic):
                return key
    return next(key for p in range(12) for key in [key_of(p, "ionian")] if (key.fifths - fifths) % 12 == 0)
