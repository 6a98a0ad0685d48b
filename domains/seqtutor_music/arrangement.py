"""A melody as it is performed: loudness of each note, chords under it, an instrument."""

from __future__ import annotations

from dataclasses import dataclass

from seqtutor_music.melody import Melody

VELOCITY = 90


@dataclass(frozen=True)
class Chord:
    """A chord from step ``start`` for ``duration`` steps: ``pitches`` (MIDI numbers, lowest first) and its ``symbol``
    ("Dm")."""

    start: int
    duration: int
    pitches: tuple[int, ...]
    symbol: str


@dataclass(frozen=True)
class Arrangement:
    """``velocities``: one MIDI velocity (1…127) a note, empty for an even :data:`VELOCITY`; ``program``: General MIDI's
    number, 0…127."""

    melody: Melody
    velocities: tuple[int, ...] = ()
    chords: tuple[Chord, ...] = ()
    program: int = 0
    chord_program: int = 0

    def velocity(self, i: int) -> int:
        """The velocity of note ``i``."""
        return self.velocities[i] if self.velocities else VELOCITY
