"""Neighbours of good melodies: phrases recombined and moved, answers, cadences, small variations.

An edit keeps its mother's metre, mode, upbeat and number of bars, and no note of it leaves the span of all parents: so
whatever form and range a run was asked for, the edits of its melodies have it too. A stream is written without sharps
or flats, so a melody in another key is the same stream: melodies have no other spellings (``variants``), and to
transpose is to move a phrase along the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from seqtutor_music import tokens
from seqtutor_music.keys import WHITE, white_key
from seqtutor_music.meter import parse_meter
from seqtutor_music.tokens import BAR, HIGH, HOLD, LOW, PITCH_OF, PITCHES, REST

Bar = tuple[str, ...]  # one token a step
Bars = tuple[Bar, ...]
_LADDER = [pitch for pitch in range(LOW, HIGH + 1) if pitch % 12 in WHITE]


def _ladder(by: int) -> dict[str, str]:
    """Pitch → the pitch ``by`` degrees of the scale above, chromatic ones with their alteration; none off the ends."""
    moved = {}
    for pitch, name in enumerate(PITCHES, LOW):
        sharp = int(pitch % 12 not in WHITE)
        degree = _LADDER.index(pitch - sharp) + by
        if 0 <= degree < len(_LADDER) and _LADDER[degree] + sharp <= HIGH:
            moved[name] = PITCHES[_LADDER[degree] + sharp - LOW]
    return moved


_MOVED = {by: _ladder(by) for by in (-3, -2, -1, 1, 2, 3)}


@dataclass(frozen=True)
class Parent:
    """A melody cut into bars. ``head``: metre, mode, perhaps the upbeat; ``final``: the pitch class it ends on."""

    head: tuple[str, ...]
    bars: Bars
    final: int | None

    @property
    def form(self) -> tuple[str, str, int]:
        """(metre, mode, bars): parents of one form can exchange bars at the same place."""
        return self.head[0], self.head[1], len(self.bars)


@dataclass(frozen=True)
class _Pool:
    """All parents; ``mates`` by form; ``closes`` by (metre, mode), those that end on the tonic if any do; the span."""

    parents: list[Parent]
    low: int
    high: int
    mates: dict[tuple[str, str, int], list[Parent]] = field(default_factory=dict)
    closes: dict[tuple[str, str], list[Parent]] = field(default_factory=dict)

    def holds(self, token: str) -> bool:
        return self.low <= PITCH_OF.get(token, self.low) <= self.high


def edits(texts: Sequence[str], n: int, rng: Random) -> list[str]:
    """Up to ``n`` different melodies, none in ``texts``, each one edit away from one of them; what is no melody is
    left out. The same ``rng`` gives the same."""
    pool = _pool([_read(text) for text in texts if not tokens.why_not(text)])
    known, found = set(texts), list[str]()
    for _ in range(4 * n + 16):  # a short or only melody has fewer than n
        if len(found) >= n or not pool.parents:
            break
        mother = rng.choice(pool.parents)
        bars = rng.choice(EDITS)(mother, pool, rng)
        text = _write(mother.head, bars) if bars and bars != mother.bars else ""
        if text and text not in known:
            known.add(text)
            found.append(text)
    return found


def _read(text: str) -> Parent:
    parts = tokens.split(text)
    steps = parse_meter(parts[0]).steps
    first = parts.index(BAR)
    bars = tuple(tuple(parts[i + 3:i + 3 + steps]) for i in range(first, len(parts) - 1, steps + 3))
    last = next((PITCH_OF[token] % 12 for token in reversed(parts) if token in PITCH_OF), None)
    return Parent(tuple(parts[:first]), bars, last)


def _write(head: tuple[str, ...], bars: Bars) -> str:
    """The stream; a note that a bar began by holding is silent where nothing sounds before it now."""
    parts = list(head)
    for i, bar in enumerate(bars):
        if bar[0] == HOLD and parts[-1] != HOLD and parts[-1] not in PITCH_OF:
            held = next((k for k, token in enumerate(bar) if token != HOLD), len(bar))
            bar = (REST,) * held + bar[held:]
        parts += [BAR, tokens.left_token(len(bars) - i), head[1], *bar]
    return " ".join([*parts, tokens.END])


def _pool(parents: list[Parent]) -> _Pool:
    pitches = {PITCH_OF[t] for p in parents for bar in (p.head, *p.bars) for t in bar if t in PITCH_OF} or {LOW}
    pool = _Pool(parents, min(pitches), max(pitches))
    for parent in parents:
        pool.mates.setdefault(parent.form, []).append(parent)
        pool.closes.setdefault(parent.form[:2], []).append(parent)
    for (_, mode), closing in pool.closes.items():
        closing[:] = [p for p in closing if p.final == white_key(mode).pitch_class] or closing
    return pool


def _put(bars: Bars, at: int, others: Sequence[Bar]) -> Bars:
    """``bars`` with ``others`` in the place of those from ``at`` (0, 1, …) on."""
    return (*bars[:at], *others, *bars[at + len(others):])


# -- phrases: each gives new bars, or None where it cannot -------------------------------------------------------------

def recombine(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """A phrase of 2, 4 or 8 bars (1 in short melodies) from another melody of the same form, at the same place."""
    mate = rng.choice(pool.mates[mother.form])
    size = rng.choice([s for s in (2, 4, 8) if s < len(mother.bars)] or [1])
    at = size * rng.randrange(-(-len(mother.bars) // size))
    return _put(mother.bars, at, mate.bars[at:at + size])


def transpose(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """A phrase of 1, 2 or 4 bars moved along the scale by up to three degrees."""
    size = rng.choice([s for s in (1, 2, 4) if s <= len(mother.bars)])
    at = size * rng.randrange(len(mother.bars) // size)
    moved = _MOVED[rng.choice(tuple(_MOVED))]
    phrase = [tuple(moved.get(t, "") if t in PITCH_OF else t for t in bar) for bar in mother.bars[at:at + size]]
    return _put(mother.bars, at, phrase) if all(t and pool.holds(t) for bar in phrase for t in bar) else None


def answer(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """In a period of eight bars 5 and 6 become 1 and 2; in one of four, bar 3 becomes 1."""
    period = 8 if len(mother.bars) >= 8 else 4
    if len(mother.bars) < period:
        return None
    at = period * rng.randrange(len(mother.bars) // period)
    return _put(mother.bars, at + period // 2, mother.bars[at:at + period // 4])


def close(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """The last bar or two from another melody of the metre and mode, of one that ends on the tonic if there is any."""
    mate = rng.choice(pool.closes[mother.form[:2]])
    size = min(rng.choice((1, 2)), len(mother.bars), len(mate.bars))
    return _put(mother.bars, len(mother.bars) - size, mate.bars[-size:])


def repeat(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """A bar repeated in the place of another."""
    return _put(mother.bars, rng.randrange(len(mother.bars)), [rng.choice(mother.bars)])


# -- single bars -------------------------------------------------------------------------------------------------------

def vary(mother: Parent, pool: _Pool, rng: Random) -> Bars | None:
    """One bar varied: a note split, joined to the one before, moved to a neighbour, or an even pair dotted."""
    at = rng.randrange(len(mother.bars))
    bar = list(mother.bars[at])
    onsets = [i for i, token in enumerate(bar) if token in PITCH_OF]
    if not onsets:
        return None
    rng.choice((_split, _join, _neighbour, _dot))(bar, rng.choice(onsets), rng)
    return _put(mother.bars, at, [tuple(bar)]) if all(map(pool.holds, bar)) else None


def _length(bar: Sequence[str], onset: int) -> int:
    """Steps that the note at ``onset`` sounds in its bar."""
    return next((i for i in range(onset + 1, len(bar)) if bar[i] != HOLD), len(bar)) - onset


def _beside(token: str, rng: Random) -> str:
    """The next note of the scale above or below."""
    return _MOVED[rng.choice((-1, 1))].get(token, token)


def _split(bar: list[str], onset: int, rng: Random) -> None:
    length = _length(bar, onset)
    if length % 2 == 0:
        bar[onset + length // 2] = rng.choice((bar[onset], _beside(bar[onset], rng)))


def _join(bar: list[str], onset: int, rng: Random) -> None:
    if onset and bar[onset - 1] != REST:
        bar[onset] = HOLD


def _neighbour(bar: list[str], onset: int, rng: Random) -> None:
    bar[onset] = _beside(bar[onset], rng)


def _dot(bar: list[str], onset: int, rng: Random) -> None:
    length = _length(bar, onset)
    after = onset + length
    if length % 2 == 0 and after < len(bar) and bar[after] in PITCH_OF and _length(bar, after) == length:
        half, second = length // 2, bar[after]
        bar[onset + 1:after + length] = [HOLD] * (2 * length - 1)
        bar[after + rng.choice((-half, half))] = second


#: phrases from other parents and small variations come twice as often
EDITS: tuple[Callable[[Parent, _Pool, Random], Bars | None], ...] = (
    recombine, recombine, transpose, answer, close, repeat, vary, vary)
