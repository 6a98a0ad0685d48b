"""The nine rules of Sequence Tutor, exactly as published code scores them, for a whole batch at once.

Jaques, Gu, Turner, Eck, "Tuning recurrent neural networks with reinforcement learning" (arXiv 1611.02796), and the
reward functions of magenta's rl_tuner. Melodies are arrays ``x``: int [melodies, steps] of 38 classes:
0 note off, 1 no event (hold), 2 + (pitch − 48) for MIDI 48…83. (Magenta's encoder says the opposite of 0 and 1 from
what its reward code says; this module follows the reward code, and :func:`from_stream` writes that.)

Every rule returns float64 [melodies, steps]: the reward of each step given those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_music.keys import MODES, WHITE
from seqtutor_music.tokens import BAR, END, HOLD, LEFT, LOW, METERS, PITCH_OF, REST, UPBEATS

Classes = NDArray[np.int64]
Rewards = NDArray[np.float64]
NOTE_OFF, NO_EVENT, FIRST_PITCH = 0, 1, 2
MOTIF = 8  # steps in a motif's window
ROUNDING = 1e-12  # so that a coefficient of exactly 3/20 is not above .15
FIFTH, OCTAVE = 7, 12
_WHITE = np.isin(np.arange(-FIRST_PITCH, 64) % 12, WHITE)
_PREFERENCE = np.array([0, 0, .08, 0, .09, .07, 0, .02, 0, .05, 0, -.3, 0, -1.0])  # by semitones, 13 for more


@dataclass(frozen=True)
class Center:
    """The tonal centre the rules assume. ``tonic``: pitch class, 0…11, int or int [melodies, 1]; ``third``: semitones
    above it. The published rules know only C major, the default."""

    tonic: int | Classes = 0
    third: int | Classes = 4

    def degree(self, x: Classes, semitones: int | Classes) -> NDArray[np.bool_]:
        """Where ``x`` is a pitch ``semitones`` above a tonic."""
        found: NDArray[np.bool_] = (x >= FIRST_PITCH) & ((x - FIRST_PITCH - self.tonic - semitones) % 12 == 0)
        return found


C_MAJOR = Center()


def previous_pitch(x: Classes) -> Classes:
    """The class of the nearest earlier pitch at each step, 0 where there is none."""
    places = np.where(x >= FIRST_PITCH, np.arange(x.shape[1]), -1)
    last = np.maximum.accumulate(places, axis=1)[:, :-1]
    before = np.where(last >= 0, np.take_along_axis(x[:, :-1], np.maximum(last, 0), axis=1), 0)
    return np.concatenate([np.zeros((len(x), 1), np.int64), before], axis=1)


def key(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """1. −1 for a pitch outside the key (no sharps or flats)."""
    return np.where((x >= FIRST_PITCH) & ~_WHITE[x], -1.0, 0.0)


def tonic(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """2. +3 for the tonic of octave 4 first and fourth last, a hold after that, hold or rest to the end."""
    steps = np.arange(x.shape[1])
    last = x.shape[1]
    home = x == FIRST_PITCH + OCTAVE + center.tonic
    silent = x < FIRST_PITCH
    hit = ((steps == 0) | (steps == last - 4)) & home
    hit |= (steps > 0) & (((steps == last - 3) & (x == NO_EVENT)) | ((steps > last - 3) & silent))
    return np.where(hit, 3.0, 0.0)


def excess_repetition(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """3. −100 for the third rest in a row, the sixth equal class in a row, the eighth with rests or holds between."""
    batch, steps = x.shape
    reward = np.zeros(x.shape)
    pitch, count = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    between = np.zeros(batch, bool)  # a rest or hold since the last different pitch
    offs, holds = np.zeros(batch, np.int64), np.zeros(batch, np.int64)  # since the last pitch
    for t in range(steps):
        a = x[:, t]
        off, held, sung = a == NOTE_OFF, a == NO_EVENT, a >= FIRST_PITCH
        same = sung & (a == pitch)
        times = np.where(same, count, np.where(off, offs, np.where(held, holds, 0)))
        broken = np.where(sung, between, np.where(off, holds > 0, offs > 0))
        reward[:, t] = np.where((off & (times > 1)) | (times > np.where(broken, 6, 4)), -100.0, 0.0)
        new = sung & ~same
        between = np.where(new, offs + holds > 0, between | ~sung)
        count = np.where(new, 1, count + same)
        pitch = np.where(sung, a, pitch)
        offs, holds = np.where(sung, 0, offs + off), np.where(sung, 0, holds + held)
    return reward


def autocorrelations(x: Classes) -> Rewards:
    """Coefficients of lags 1, 2, 3 of every prefix, float64 [3, melodies, steps]; nan where the prefix is constant.

    Sums of integers, so that a constant prefix is recognised exactly.
    """
    steps = x.shape[1]
    n = np.arange(1, steps + 1)
    total, squares = x.cumsum(1), (x * x).cumsum(1)
    spread = n * squares - total * total
    found = np.zeros((3, *x.shape))
    for lag in (1, 2, 3):
        if lag < steps:
            product = np.zeros_like(x)
            product[:, lag:] = (x[:, lag:] * x[:, :-lag]).cumsum(1)
            head = np.zeros_like(x)  # sum of x[:n - lag]
            head[:, lag:] = total[:, :-lag]
            first = x[:, :lag].sum(1, keepdims=True)
            ends = head + np.where(n > lag, total - first, 0)
            found[lag - 1] = n * n * product - n * total * ends + (n - lag) * total * total
        found[lag - 1][:, :lag] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            found[lag - 1] = np.where(spread == 0, np.nan, found[lag - 1] / n / np.where(spread == 0, 1, spread))
    return found


def autocorrelation(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """4. −3 × |coefficient| for each of lags 1, 2, 3 of the melody so far where it exceeds .15."""
    size = np.abs(autocorrelations(x))
    reward: Rewards = -3.0 * np.where(size > .15 + ROUNDING, size, 0.0).sum(0)
    return reward


def _windows(x: Classes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(distinct pitches, a code) of the 8 classes that end at each step, int64 [melodies, steps]; 0 and −1 before."""
    distinct, code = np.zeros_like(x), np.full_like(x, -1)
    if x.shape[1] >= MOTIF:
        view = np.lib.stride_tricks.sliding_window_view(x, MOTIF, axis=1)
        ordered = np.sort(view, axis=2)
        fresh = np.concatenate([np.ones_like(ordered[..., :1], bool), np.diff(ordered, axis=2) > 0], axis=2)
        distinct[:, MOTIF - 1:] = (fresh & (ordered >= FIRST_PITCH)).sum(2)
        code[:, MOTIF - 1:] = view @ (64 ** np.arange(MOTIF))
    return distinct, code


def motif(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """5. +3 when the last 8 steps hold 3 distinct pitches, +0.3 for each further one."""
    distinct, _ = _windows(x)
    return np.where(distinct >= 3, 3 + 0.3 * (distinct - 3), 0.0)


def repeated_motif(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """6. +4 when such 8 steps have occurred before without overlap, +1 for each distinct pitch beyond 3."""
    distinct, code = _windows(x)
    repeated = np.zeros(x.shape, bool)
    for lag in range(MOTIF, x.shape[1] - MOTIF + 1):
        repeated[:, lag:] |= (code[:, lag:] == code[:, :-lag]) & (code[:, :-lag] >= 0)
    return np.where(repeated & (distinct >= 3), 4.0 + (distinct - 3), 0.0)


def preferred_intervals(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """7. Five times a value for each interval: thirds, fourths and fifths from the triad please, sevenths do not."""
    before = previous_pitch(x)
    triad = center.degree(before, 0) | center.degree(before, 7)
    size = np.minimum(np.abs(x - before), 13)
    value = _PREFERENCE[size]
    value = np.where((size == 4) & (center.degree(before, 0) | center.degree(before, center.third)), .15, value)
    value = np.where((size == 7) & triad, .1, value)
    value = np.where(x == NO_EVENT, np.where(triad, .3, .075), value)
    value = np.where(x == NOTE_OFF, np.where(triad, .15, .05), value)
    return np.where(before > 0, 5.0 * value, 0.0)


def leaps(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """8. +5 when a leap of a fifth or more is resolved (the line comes back to where it leapt from, or leaps back after
    more than six steps), −5 when it is followed by another in its direction."""
    before = previous_pitch(x)
    reward = np.zeros(x.shape)
    direction, origin, since = (np.zeros(len(x), np.int64) for _ in range(3))
    for t in range(1, x.shape[1]):
        a, prev = x[:, t], before[:, t]
        sung = a >= FIRST_PITCH
        leap = sung & (prev > 0) & (np.abs(a - prev) >= FIFTH)
        step = sung & ~leap
        way = np.where(a > prev, 1, -1)
        doubled, turned = leap & (direction == way), leap & (direction == -way)
        back = step & (((direction == 1) & (a <= origin)) | ((direction == -1) & (a >= origin)))
        reward[:, t] = np.where((turned & (since > 6)) | back, 5.0, np.where(doubled, -5.0, 0.0))
        fresh = leap & (direction == 0)
        direction = np.where(fresh, way, np.where(turned | back, 0, direction))
        origin = np.where(fresh, prev, origin)
        since = np.where(leap, 0, since + 1)
    return reward


def unique_extremes(x: Classes, center: Center = C_MAJOR) -> Rewards:
    """9. At the last step, +3 when the highest class occurs once and +3 when the lowest pitch does."""
    high, low = unique_high_low(x)
    reward = np.zeros(x.shape)
    reward[:, -1:] = 3.0 * (high.astype(float) + low)[:, None]
    return reward


def unique_high_low(x: Classes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the highest class and the lowest pitch occur once, bool [melodies] each."""
    pitches = np.where(x >= FIRST_PITCH, x, 10_000)
    lowest = pitches.min(1, keepdims=True)
    return (x == x.max(1, keepdims=True)).sum(1) == 1, ((pitches == lowest).sum(1) == 1) & (lowest[:, 0] < 10_000)


#: name → rule, in the order of the paper's text
RULES: dict[str, Callable[..., Rewards]] = {
    "key": key, "tonic": tonic, "excess-repetition": excess_repetition, "autocorrelation": autocorrelation,
    "motif": motif, "repeated-motif": repeated_motif, "preferred-intervals": preferred_intervals, "leaps": leaps,
    "unique-extremes": unique_extremes,
}


def rewards(x: Classes, center: Center = C_MAJOR) -> dict[str, Rewards]:
    """All nine rules on a batch; their plain sum is the paper's r_MT (before division by c)."""
    return {name: rule(x, center) for name, rule in RULES.items()}


def metrics(x: Classes) -> dict[str, NDArray[np.float64]]:
    """The counts and statistics of Table 1 for each melody, float64 [melodies], named as rl_tuner names them.

    Interval counts follow rl_tuner to the letter: holds and in-key thirds are not counted.
    """
    high, low = unique_high_low(x)
    outcome = leaps(x)
    found: dict[str, NDArray[Any]] = {
        f"autocorrelation{lag + 1}": values[:, -1] for lag, values in enumerate(autocorrelations(x))}
    found |= {
        "notes_not_in_key": (key(x) < 0).sum(1), "notes_in_motif": (motif(x) > 0).sum(1),
        "notes_in_repeated_motif": (repeated_motif(x) > 0).sum(1),
        "num_starting_tonic": x[:, 0] == FIRST_PITCH + OCTAVE, "num_repeated_notes": (excess_repetition(x) < 0).sum(1),
        **_interval_counts(x), "num_resolved_leaps": (outcome > 0).sum(1), "num_leap_twice": (outcome < 0).sum(1),
        "num_high_unique": high, "num_low_unique": low,
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


def _interval_counts(x: Classes) -> dict[str, NDArray[np.int64]]:
    before, center = previous_pitch(x), C_MAJOR
    heard = before > 0
    triad = center.degree(before, 0) | center.degree(before, 7)
    size = np.where(heard & (x >= FIRST_PITCH), np.abs(x - before), 0)
    fifth = (size == 7) & triad
    third = (size == 4) & (center.degree(before, 0) | center.degree(before, 4))
    rest = heard & (x == NOTE_OFF)
    plain = {"num_fifths": (size == 7) & ~fifth, "num_thirds": (size == 4) & ~third, "num_sixths": size == 9,
             "num_seconds": size == 2, "num_fourths": size == 5, "num_sevenths": size == 11}
    return {"num_octave_jumps": (size > OCTAVE).sum(1), **{name: hit.sum(1) for name, hit in plain.items()},
            "num_rest_intervals": (rest & ~triad).sum(1), "num_special_rest_intervals": (rest & triad).sum(1),
            "num_in_key_preferred_intervals": fifth.sum(1)}


# -- from the domain's streams ---------------------------------------------------------------------------------------

#: token → class; of the rests in a row only the first stays a note-off, see :func:`from_stream`
_CLASS = {**{name: pitch - LOW + FIRST_PITCH for name, pitch in PITCH_OF.items()}, HOLD: NO_EVENT, REST: NOTE_OFF}
_SILENT = frozenset((*METERS, *MODES, *UPBEATS, *LEFT, BAR, END))


def from_stream(tokens: Sequence[str]) -> tuple[list[int], list[int]]:
    """(classes, places): the class of each sixteenth step and its place among the tokens of a stream.

    The first rest after a note is a note-off, further rests are no event, as the encoding has it.
    """
    places = [i for i, token in enumerate(tokens) if token not in _SILENT]
    classes = [_CLASS[tokens[i]] for i in places]
    sounding = False
    for i, value in enumerate(classes):
        if value == NOTE_OFF:
            classes[i] = NOTE_OFF if sounding else NO_EVENT
        sounding = value != NOTE_OFF
    return classes, places
