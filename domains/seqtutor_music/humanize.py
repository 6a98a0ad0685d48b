"""Loudness as players shade it: by metrical accent and by the arch of the phrase."""

from __future__ import annotations

import math
from random import Random

from seqtutor_music.melody import Melody

BASE, PHRASE_BARS = 78, 4
# in units of velocity: by metrical strength 0…4; a phrase's swell; a semitone above the mean; one standard deviation
ACCENT = (-8, -4, 2, 6, 12)
ARCH, CONTOUR, CHANCE = 10, 0.5, 3


def velocities(melody: Melody, rng: Random) -> tuple[int, ...]:
    """One velocity (1…127) a note: accented places and the middle of each four-bar phrase louder, high notes a little,
    and a small chance part from ``rng``."""
    if not melody.notes:
        return ()
    mean = sum(note.pitch for note in melody.notes) / len(melody.notes)
    phrase = PHRASE_BARS * melody.meter.steps
    shaded = []
    for note in melody.notes:
        accent = ACCENT[melody.meter.accent(melody.position(note.start))]
        swell = ARCH * math.sin(math.pi * ((note.start - melody.upbeat) % phrase) / phrase)
        value = BASE + accent + swell + CONTOUR * (note.pitch - mean) + rng.gauss(0, CHANCE)
        shaded.append(max(1, min(127, round(value))))
    return tuple(shaded)
