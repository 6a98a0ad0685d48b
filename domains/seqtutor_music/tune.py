"""A tune as written: measures with repeats, in exact fractions of a whole note; what every notation is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from seqtutor_music.keys import Key
from seqtutor_music.meter import Meter
from seqtutor_music.repeats import Measure, unfold


@dataclass
class Event:
    """A note (``pitch``: MIDI number) or rest (None) of ``duration`` whole notes; ``tied`` to the next note."""

    pitch: int | None
    duration: Fraction
    tied: bool = False


@dataclass
class Tune:
    """One tune: its first key, metre and tempo (quarter notes a minute), its measures, its changes of metre inside."""

    title: str = ""
    number: str = ""
    key: Key | None = None
    meter: Meter | None = None
    tempo: float | None = None
    measures: list[Measure[Event]] = field(default_factory=list)
    meter_changes: int = 0

    def events(self, repeats: bool = True) -> tuple[list[Event], list[Fraction]]:
        """The events as played, ties joined, and the times of the bar lines passed (whole notes).

        With ``repeats`` false every section is played once, with its last ending.
        """
        events: list[Event] = []
        lines: list[Fraction] = []
        now = Fraction(0)
        for measure in unfold(self.measures, repeats):
            for event in measure.items:
                now += event.duration
                last = events[-1] if events else None
                if last and last.tied and last.pitch == event.pitch:
                    last.duration += event.duration
                    last.tied = event.tied
                else:
                    events.append(Event(event.pitch, event.duration, event.tied))
            lines.append(now)
        return events, lines
