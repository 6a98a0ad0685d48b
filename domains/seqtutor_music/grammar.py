"""The finite automaton behind every sample: bars are full, holds follow notes, the end is a bar line.

States are numbered start, one after each metre, the end, one after each metre and mode, and then for every metre and
mode a block [count, place 0…bar + 2, sounding 0/1]. Count 0 is the upbeat, the others are what can stand behind a bar
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Grammar, UsageError
from seqtutor.vocabulary import EOS
from seqtutor_music.keys import MODES, find_mode
from seqtutor_music.meter import parse_meter
from seqtutor_music.tokens import (
    BAR,
    END,
    HIGH,
    HOLD,
    LOW,
    MAX_BARS,
    METERS,
    PITCH_OF,
    PITCHES,
    REST,
    check_meter,
    left_token,
)


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
    modes = [form.mode] if form.mode else [mode for mode in MODES if mode in column]
    pairs = [(meter, mode) for meter in meters for mode in modes]
    counts = len(_counts(form.bars))
    finished = 1 + len(meters)
    first = finished + 1 + len(pairs)
    sizes = [(counts + 1) * (parse_meter(meter).steps + 3) * 2 for meter, _ in pairs]
    table = np.full((first + sum(sizes), len(vocabulary)), -1, dtype=np.int32)
    table[finished, EOS] = finished
    for i, meter in enumerate(meters):
        table[0, column[meter]] = 1 + i
    base = first
    for i, (meter, mode) in enumerate(pairs):
        table[1 + meters.index(meter), column[mode]] = finished + 1 + i
        steps = parse_meter(meter).steps
        block = base + np.arange(sizes[i], dtype=np.int32).reshape(counts + 1, steps + 3, 2)
        base += sizes[i]
        _fill(table, block, column, form, finished, column[mode])
        begin = table[finished + 1 + i]
        if form.upbeat in (None, 0):
            begin[column[BAR]] = block[0, -2, 0]
        for upbeat in range(1, steps):
            if form.upbeat in (None, upbeat) and f"^{upbeat}" in column:
                begin[column[f"^{upbeat}"]] = block[0, steps - upbeat, 0]
    return Grammar(table)


def _counts(bars: int | None) -> list[tuple[str, list[int]]]:
    """What can stand behind a bar line: [0] the upbeat, then (token, the entries that may follow it)."""
    if bars:
        return [(left_token(bars - i), [i + 2]) for i in range(bars - 1)] + [("1", [])]
    last = [(str(n), [9 - n + 1] if n > 1 else []) for n in range(8, 0, -1)]  # entries 1…8
    return last + [(f"{n}+", [8 + 9 - n + 1] if n > 1 else [9, 1]) for n in range(8, 0, -1)]  # entries 9…16


def _fill(table: NDArray[np.int32], block: NDArray[np.int32], column: dict[str, int], form: Form,
          finished: int, mode: int) -> None:
    """The transitions inside the ``block`` of a metre and a mode, states [entry of the count, place, sounding]. The
    last three places are the full bar, that behind its bar line, where the next count stands, and that behind the
    bar's own count, where the mode stands."""
    counts = _counts(form.bars)
    pitches = [column[name] for name in PITCHES if name in column and form.low <= PITCH_OF[name] <= form.high]
    before, after = block[:, :-3], block[:, 1:-2]
    table[block[:, -1], mode] = block[:, 0]
    for pitch in pitches:
        table[before, pitch] = after[:, :, 1:]
    table[before, column[REST]] = after[:, :, :1]
    table[before[:, :, 1], column[HOLD]] = after[:, :, 1]
    first = [1] if form.bars else list(range(1, len(counts) + 1))
    for entry, follows in enumerate([first, *(follows for _, follows in counts)]):
        for sounding in (0, 1):
            if not follows:
                table[block[entry, -3, sounding], column[END]] = finished
                continue
            table[block[entry, -3, sounding], column[BAR]] = block[entry, -2, sounding]
            for n in follows:
                if counts[n - 1][0] in column:
                    table[block[entry, -2, sounding], column[counts[n - 1][0]]] = block[n, -1, sounding]
