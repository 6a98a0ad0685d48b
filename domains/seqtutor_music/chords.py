"""A plain accompaniment by rule: one diatonic chord a bar that fits the melody, close to the chord before."""

from __future__ import annotations

from seqtutor_music.arrangement import Chord
from seqtutor_music.keys import Key, pitch_name
from seqtutor_music.melody import Melody

CENTER = 53  # the chords' roots lie within half an octave of F3
TONIC, SUBDOMINANT, DOMINANT = 0, 3, 4
#: how gladly a chord follows another: by root movement in degrees upward
_MOVES = {0: -.2, 1: .0, 2: -.3, 3: .3, 4: .3, 5: .1, 6: -.1}
_PLAIN = (.5, .1, -.2, .4, .4, .2, 0)
_DIMINISHED = -1.2


def fit(melody: Melody) -> list[int]:
    """The root degree (0…6) of each whole bar, found by dynamic programming: notes weigh by duration and accent,
    progressions by habit, the last bar by its cadence."""
    scores = [_bar_scores(melody, bar) for bar in range(1, melody.bars + 1)]
    if not scores:
        return []
    scores[0][TONIC] += .5
    home = bool(melody.notes) and melody.key.degree(melody.notes[-1].pitch) == 1
    scores[-1][TONIC] += 3.0 if home else 1.0
    best, back = scores[0], []
    for now in scores[1:]:
        choice = [max(range(7), key=lambda a, b=b: best[a] + _MOVES[(b - a) % 7]) for b in range(7)]  # type: ignore[misc]
        best = [now[b] + best[choice[b]] + _MOVES[(b - choice[b]) % 7] for b in range(7)]
        back.append(choice)
    path = [max(range(7), key=lambda b: best[b])]
    for choice in reversed(back):
        path.append(choice[path[-1]])
    return path[::-1]


def _bar_scores(melody: Melody, bar: int) -> list[float]:
    begin = melody.upbeat + (bar - 1) * melody.meter.steps
    end = begin + melody.meter.steps
    scores, total = [p + _DIMINISHED * triad(melody.key, i)[1].endswith("dim") for i, p in enumerate(_PLAIN)], 0.0
    for note in melody.notes:
        length = min(note.end, end) - max(note.start, begin)
        degree = 7 if _raised(melody.key, note.pitch) else melody.key.degree(note.pitch)
        if length > 0 and degree:
            weight = length * (1 + melody.meter.accent(melody.position(max(note.start, begin))))
            total += weight
            for root in (DOMINANT,) if _raised(melody.key, note.pitch) else range(7):
                scores[root] += 4 * weight * ((degree - 1 - root) % 7 in (0, 2, 4)) / melody.meter.steps / 3
    return scores if total else [s + (1.0 if i == TONIC else 0) for i, s in enumerate(scores)]


def _raised(key: Key, pitch: int) -> bool:
    """Whether ``pitch`` is the raised seventh of a minor key."""
    return key.mode == "aeolian" and (pitch - key.pitch_class) % 12 == 11


def triad(key: Key, root: int, natural: bool = False) -> tuple[tuple[int, ...], str]:
    """(pitches, symbol) of the diatonic triad on degree ``root`` (0…6); in minor keys the dominant is major, unless
    the ``natural`` seventh sounds with it."""
    classes = [key.scale[(root + i) % 7] for i in (0, 2, 4)]
    if root == DOMINANT and key.mode == "aeolian" and not natural:
        classes[1] = (classes[1] + 1) % 12
    low = min(range(CENTER - 6, CENTER + 6), key=lambda p: (p % 12 != classes[0], abs(p - CENTER)))
    third, fifth = ((c - classes[0]) % 12 for c in classes[1:])
    quality = {(4, 7): "", (3, 7): "m", (3, 6): "dim"}.get((third, fifth), "")
    return (low, low + third, low + fifth), pitch_name(low, key).rstrip("-0123456789") + quality


def accompany(melody: Melody) -> tuple[Chord, ...]:
    """One chord for every whole bar; it is silent in the upbeat."""
    found, steps = [], melody.meter.steps
    for bar, root in enumerate(fit(melody)):
        begin = melody.upbeat + bar * steps
        inside = [note.pitch for note in melody.notes if note.start < begin + steps and note.end > begin]
        pitches, symbol = triad(melody.key, root, any(melody.key.degree(pitch) == 7 for pitch in inside))
        found.append(Chord(begin, steps, pitches, symbol))
    return tuple(found)
