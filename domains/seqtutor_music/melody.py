"""A melody: single notes on a grid of sixteenth steps, with its key, metre and tempo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from seqtutor_music.keys import Key, key_of
from seqtutor_music.meter import Meter


@dataclass(frozen=True)
class Note:
    """``pitch``: MIDI number; ``start`` and ``duration``: sixteenth steps (duration ≥ 1)."""

    pitch: int
    start: int
    duration: int

    @property
    def end(self) -> int:
        return self.start + self.duration


@dataclass(frozen=True)
class Melody:
    """Notes in order of time, none overlapping. Step 0 is the first downbeat less ``upbeat`` steps.

    ``length`` counts all steps, ``upbeat`` (0 ≤ upbeat < bar) those before the first bar line; ``tempo`` is in quarter
    notes a minute.
    """

    notes: tuple[Note, ...]
    length: int
    meter: Meter = Meter(4, 4)  # noqa: RUF009 - frozen
    key: Key = Key("C")  # noqa: RUF009 - frozen
    upbeat: int = 0
    tempo: float = 120.0
    title: str = ""

    @property
    def bars(self) -> int:
        """Whole bars, the upbeat not counted."""
        return (self.length - self.upbeat) // self.meter.steps

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.length * 60.0 / self.tempo / 4

    def bar(self, step: int) -> int:
        """The number of the bar that ``step`` lies in: 1, 2, …; 0 is the upbeat."""
        return (step - self.upbeat) // self.meter.steps + 1

    def position(self, step: int) -> int:
        """``step``'s place in its bar, in steps from the bar line."""
        return (step - self.upbeat) % self.meter.steps

    def beat(self, step: int) -> float:
        """``step``'s beat as musicians count it, from 1."""
        return self.meter.beat(self.position(step))

    def transposed(self, semitones: int, key: Key | None = None) -> Melody:
        """The melody ``semitones`` higher; in ``key`` or the transposed key with the fewest accidentals."""
        notes = tuple(replace(note, pitch=note.pitch + semitones) for note in self.notes)
        return replace(self, notes=notes, key=key or key_of(self.key.pitch_class + semitones, self.key.mode))

    def in_key(self, key: Key) -> Melody:
        """The melody moved the shortest way (−6…5 semitones) so that its tonic is ``key``'s."""
        return self.transposed((key.pitch_class - self.key.pitch_class + 6) % 12 - 6, key)

    def padded(self) -> Melody:
        """The melody with its last bar filled up by silence."""
        missing = -(self.length - self.upbeat) % self.meter.steps
        return replace(self, length=self.length + missing)


def monophonic(notes: Iterable[Note]) -> tuple[Note, ...]:
    """``notes`` as one line: of notes that start together the highest stays, and each ends where the next begins."""
    line: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start, -n.pitch)):
        if line and note.start == line[-1].start:
            continue
        if line and note.start < line[-1].end:
            line[-1] = replace(line[-1], duration=note.start - line[-1].start)
        line.append(note)
    return tuple(line)
