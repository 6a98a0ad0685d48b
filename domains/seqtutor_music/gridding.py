"""From a tune as written to a melody on the grid of sixteenths."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from seqtutor.domain import SeqtutorError
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody, Note, monophonic
from seqtutor_music.meter import STEPS_PER_WHOLE, Meter, bar_length
from seqtutor_music.tune import Tune

MAX_STEPS = 200_000


@dataclass(frozen=True)
class Gridded:
    """``exact``: every note began and ended on a sixteenth; ``aligned``: the share of its bar lines that stand where
    bars of full length put them (repeats with upbeats move some)."""

    melody: Melody
    exact: bool
    aligned: float


def melody_of(tune: Tune, repeats: bool = True) -> Gridded:
    """``tune`` on the grid, times rounded to the nearest sixteenth. Raises SeqtutorError when it has no notes."""
    events, lines = tune.events(repeats)
    meter = tune.meter or Meter(4, 4)
    if sum((event.duration for event in events), Fraction(0)) * STEPS_PER_WHOLE > MAX_STEPS:
        raise SeqtutorError(f"tune {tune.number or '?'} is longer than {MAX_STEPS} sixteenths")
    notes: list[Note] = []
    now, exact = Fraction(0), True
    for event in events:
        start, now = now * STEPS_PER_WHOLE, now + event.duration
        exact = exact and (start.denominator, (now * STEPS_PER_WHOLE).denominator) == (1, 1)
        if event.pitch is not None:
            begin, end = round(start), round(now * STEPS_PER_WHOLE)
            notes.append(Note(event.pitch, begin, max(1, end - begin)))
    if not notes:
        raise SeqtutorError(f"tune {tune.number or '?'} has no notes")
    bar = bar_length(meter)
    first = lines[0] % bar if lines else Fraction(0)
    upbeat = round(first * STEPS_PER_WHOLE) if len(lines) > 1 and lines[0] < bar else 0
    aligned = sum((line - first) % bar == 0 for line in lines) / max(1, len(lines))
    line = monophonic(notes)
    length = max(round(now * STEPS_PER_WHOLE), line[-1].end)
    melody = Melody(line, length, meter, tune.key or Key("C"), min(upbeat, length), tune.tempo or 120.0, tune.title)
    return Gridded(melody, exact, aligned)
