"""Metres: bar length, beats and accents on a grid of sixteenth steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from seqtutor.domain import UsageError

STEPS_PER_WHOLE = 16


@dataclass(frozen=True)
class Meter:
    """``beats``/``unit`` as written: 6/8 is six eighths."""

    beats: int
    unit: int

    @property
    def steps(self) -> int:
        """Sixteenth steps in a bar."""
        return self.beats * STEPS_PER_WHOLE // self.unit

    @property
    def compound(self) -> bool:
        """Whether beats fall into threes (6/8, 9/8, 12/8)."""
        return self.unit >= 8 and self.beats % 3 == 0 and self.beats > 3

    @property
    def beat_steps(self) -> int:
        """Sixteenth steps from one felt beat to the next: a quarter in 3/4, a dotted quarter in 6/8."""
        if self.beats == 3 and self.unit == 8:
            return 6
        return (3 if self.compound else 1) * STEPS_PER_WHOLE // self.unit

    @property
    def name(self) -> str:
        return f"{self.beats}/{self.unit}"

    def accent(self, position: int) -> int:
        """Metrical strength of a step in its bar: 4 downbeat, 3 middle of a bar of 2 or 4 beats, 2 any other beat,
        1 an eighth between beats, 0 a sixteenth between those."""
        if position == 0:
            return 4
        if position % self.beat_steps == 0:
            beats = self.steps // self.beat_steps
            return 3 if beats % 2 == 0 and position * 2 == self.steps else 2
        return 1 if position % 2 == 0 else 0

    def beat(self, position: int) -> float:
        """The place of a step in its bar as musicians count it, from 1: step 6 in 4/4 is beat 2.5."""
        return round(1 + position / self.beat_steps, 2)


def parse_meter(text: str) -> Meter:
    """"6/8", "C" (4/4) or "C|" (2/2) as a :class:`Meter`. Raises UsageError."""
    text = {"C": "4/4", "C|": "2/2"}.get(text.strip(), text.strip())
    found = re.fullmatch(r"(\d{1,2})\s*/\s*(\d{1,2})", text)
    if found and 1 <= int(found[1]) <= 32 and int(found[2]) in (1, 2, 4, 8, 16):
        return Meter(int(found[1]), int(found[2]))
    raise UsageError(f"{text!r} is not a metre; write beats over a note value, for example 3/4 or 6/8")


def bar_length(meter: Meter) -> Fraction:
    """The length of a bar in whole notes."""
    return Fraction(meter.beats, meter.unit)
