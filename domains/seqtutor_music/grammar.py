"""The finite automaton behind every sample: bars are full, holds follow notes, the end is a bar line.

States are numbered start, one after each metre, one after each metre and mode, one after the end, and then for every
metre a block [bars left 0…n, position 0…bar, sounding 0/1]; "bars left 0" is the upbeat, whose bar line may still name any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Grammar, UsageError
from seqtutor.vocabulary import EOS
from seqtutor_music.keys import MODES, find_mode
from seqtutor_music.meter import parse_meter
from seqtutor_music.tokens import (BARS, END, HIGH, HOLD, LOW, MAX_BARS, METERS, PITCH_OF, PITCHES, REST, UPBEATS,
                                   check_meter)


@dataclass(frozen=True)
class Form:
    """What a melody must be; None leaves the choice to the model.

    ``upbeat``: steps before the first bar line; ``low``, ``high``: MIDI numbers in the white key of the mode.
    """

    meter: str | None = None
    mode: str | None = None
    bars: int | None = None
    upbeat: int | None = None
    low: int = LOW
    high: int = HIGH

    def checked(self) -> Form:
        """The same with names as the tokens have them. Raises UsageError for what no melody can be."""
        meter = check_meter(self.meter).name if self.meter is not None else None
        mode = find_mode(self.mode) if self.mode is not None else None
        if self.bars is not None and not 1 <= self.bars <= MAX_BARS:
            raise UsageError(f"{self.bars} bars asked for; a melody has 1 to {MAX_BARS}")
        shortest = min(parse_meter(m).steps for m in ([meter] if meter else METERS))
        if self.upbeat is not None and not 0 <= self.upbeat < shortest:
            raise UsageError(f"an upbeat of {self.upbeat} steps does not fit; choose 0 to {shortest - 1}")
        if not LOW <= self.low <= self.high <= HIGH:
            raise UsageError(f"the range {self.low} to {self.high} lies outside {LOW} to {HIGH}")
        return Form(meter, mode, self.bars, self.upbeat, self.low, self.high)


@lru_cache(maxsize=8)
def build(vocabulary: tuple[str, ...], form: Form = Form()) -> Grammar:
    """The automaton of ``form`` over ``vocabulary`` (specials included; tokens it lacks are left out)."""
    form = form.checked()
    column = {token: i for i, token in enumerate(vocabulary)}
    meters = [form.meter] if form.meter else [m for m in METERS if m in column]
    modes = [column[form.mode]] if form.mode else _columns(column, MODES)
    most = form.bars or MAX_BARS
    sizes = [(most + 1) * (parse_meter(m).steps + 1) * 2 for m in meters]
    first = 2 + 2 * len(meters)
    table = np.full((first + sum(sizes), len(vocabulary)), -1, dtype=np.int32)
    finished = 1 + 2 * len(meters)
    table[finished, EOS] = finished
    for i, name in enumerate(meters):
        table[0, column[name]] = 1 + i
        table[1 + i, modes] = 1 + len(meters) + i
        base, steps = first + sum(sizes[:i]), parse_meter(name).steps
        block = base + np.arange(sizes[i], dtype=np.int32).reshape(most + 1, steps + 1, 2)
        _fill(table, block, column, form, finished)
        begin = table[1 + len(meters) + i]
        if form.upbeat in (None, 0):
            _lines(begin, block[:, 0, 0], column, form)
        for upbeat in range(1, steps):
            if form.upbeat in (None, upbeat) and f"^{upbeat}" in column:
                begin[column[UPBEATS[upbeat - 1]]] = block[0, steps - upbeat, 0]
    return Grammar(table)


def _fill(table: NDArray[np.int32], block: NDArray[np.int32], column: dict[str, int], form: Form,
          finished: int) -> None:
    """The transitions inside one metre's ``block`` of states [bars left, position, sounding]."""
    pitches = [column[name] for name in PITCHES if name in column and form.low <= PITCH_OF[name] <= form.high]
    before, after = block[:, :-1], block[:, 1:]
    for pitch in pitches:
        table[before, pitch] = after[:, :, 1:]
    table[before, column[REST]] = after[:, :, :1]
    table[before[:, :, 1], column[HOLD]] = after[:, :, 1]
    full = block[:, -1]  # [bars left, sounding]
    for left in range(2, len(block)):
        if f"|{left - 1}" in column:
            table[full[left], column[f"|{left - 1}"]] = block[left - 1, 0]
    table[full[1], column[END]] = finished
    for sounding in (0, 1):
        _lines(table[full[0, sounding]], block[:, 0, sounding], column, form)


def _lines(row: NDArray[np.int32], states: NDArray[np.int32], column: dict[str, int], form: Form) -> None:
    """The first bar line, which says how many bars there will be."""
    for left in [form.bars] if form.bars else range(1, len(states)):
        if BARS[left - 1] in column:
            row[column[BARS[left - 1]]] = states[left]


def _columns(column: dict[str, int], names: Sequence[str]) -> list[int]:
    return [column[name] for name in names if name in column]

