"""What the optimum of the paper's objective looks like, found by search instead of learning.

The optimum is π*(x) ∝ p(x)·exp(R(x)/c), so s(x) = log p(x) + R(x)/c says which pieces it writes: one whose s is d nats
lower is e^d times rarer. Coordinate ascent from a tuned policy's pieces looks for the best one of all, and for the best
ones among those that start with the tonic or whose highest and lowest notes are unique: lower bounds all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from note_rnn import CLASSES, STEPS, TONIC
from numpy.typing import NDArray

from seqtutor.model import SequenceModel
from seqtutor.vocabulary import BOS, SPECIALS
from seqtutor_music import sequence_tutor

Pieces = NDArray[np.int64]
Keep = Callable[[Pieces], NDArray[np.bool_]]


def _tonic(x: Pieces) -> NDArray[np.bool_]:
    return np.asarray(x[:, 1] == TONIC)


def _unique(x: Pieces) -> NDArray[np.bool_]:
    high, low = sequence_tutor.unique_high_low(x[:, 1:])
    return high & low


KINDS: dict[str, Keep] = {
    "any piece": lambda x: np.ones(len(x), bool), "starting with tonic": _tonic, "unique max and min note": _unique,
    "both": lambda x: _tonic(x) & _unique(x)}


@torch.no_grad()
def score(prior: SequenceModel, x: Pieces, c: float) -> NDArray[np.float64]:
    """log p(x | primer) + R(x)/c in nats, float64 [pieces]; ``x``: int [pieces, 33], the primer first."""
    ids = torch.from_numpy(np.concatenate([np.full((len(x), 1), BOS), x + len(SPECIALS)], 1))
    log_p = prior.log_probs(ids)[:, 1:].double().sum(1).numpy()
    total = np.sum([rule.sum(1) for rule in sequence_tutor.rewards(x[:, 1:]).values()], axis=0)
    return np.asarray(log_p + total / c)


def climb(prior: SequenceModel, x: Pieces, keep: Keep, c: float, rng: np.random.Generator,
          sweeps: int = 20) -> tuple[Pieces, float]:
    """Changes one class at a time for the better, in random orders of the steps, until none is better; int [33]."""
    best = float(score(prior, x[None], c)[0])
    for _ in range(sweeps):
        before = best
        for places in np.array_split(1 + rng.permutation(STEPS), 4):
            tried = np.repeat(x[None], len(places) * CLASSES, 0)
            tried[np.arange(len(tried)), np.repeat(places, CLASSES)] = np.tile(np.arange(CLASSES), len(places))
            tried = tried[keep(tried)]
            scores = score(prior, tried, c)
            if scores.max() > best + 1e-3:  # the same piece in another batch may differ in fp32
                best, x = float(scores.max()), tried[scores.argmax()]
        if best == before:
            break
    return x, best


def beginnings(x: Pieces) -> Pieces:
    """Pieces near those of ``x``, int [n, 33], of every kind: as they are, and begun later, their end what stood a
    motif before; the same with the tonic first; all these with a new highest and lowest note near the ends."""
    found = [x]
    for shift in range(1, sequence_tutor.MOTIF):
        tail = x[:, STEPS + 1 - sequence_tutor.MOTIF:][:, :shift]
        found.append(np.concatenate([x[:, :1], x[:, 1 + shift:], tail], 1))
    found += [np.concatenate([y[:, :1], np.full((len(y), 1), TONIC), y[:, 2:]], 1) for y in found]
    shifted = np.concatenate(found)
    for above, below in ((2, STEPS), (STEPS, 2), (STEPS, STEPS - 1)):
        y = shifted.copy()
        pitches = np.where(y >= sequence_tutor.FIRST_PITCH, y, TONIC)[:, 1:]
        y[:, above] = np.minimum(pitches.max(1) + 1, CLASSES - 1)
        y[:, below] = np.maximum(pitches.min(1) - 1, sequence_tutor.FIRST_PITCH)
        found.append(y)
    return np.unique(np.concatenate(found), axis=0)


def best_pieces(prior: SequenceModel, x: Pieces, c: float, seed: int = 0) -> dict[str, tuple[Pieces, float]]:
    """The best piece found of each of :data:`KINDS`, from the best of ``x``, int [pieces, 33], all after its primer."""
    rng = np.random.default_rng(seed)
    x = np.unique(x, axis=0)
    x = x[np.argsort(-score(prior, x, c))[:8]]
    x[:, 0] = x[0, 0]
    near = beginnings(x)
    scores = score(prior, near, c)
    found = {}
    for kind, keep in KINDS.items():
        places = np.flatnonzero(keep(near))
        places = places[np.argsort(-scores[places])[:3]]
        found[kind] = max((climb(prior, near[i], keep, c, rng) for i in places), key=lambda pair: pair[1])
    return found


def print_best(found: dict[str, tuple[Pieces, float]]) -> None:
    """A table of them, with how much rarer than the best each is under the optimum."""
    print("\nThe best pieces that a search finds; s = log p + R/c, the optimum writes each with chance ∝ exp s.\n\n"
          "| | s, nats | below the best | classes |\n|" + " --- |" * 4)
    top = found["any piece"][1]
    for kind, (piece, value) in found.items():
        print(f"| {kind} | {value:.1f} | {top - value:.1f} | {' '.join(map(str, piece[1:]))} |")
