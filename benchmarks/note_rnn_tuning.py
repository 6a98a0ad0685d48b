"""The columns of Table 1: the Note RNN tuned with each method at equal cost.

``path+prices`` is for the cells that the optimum of the paper's reward gives up (see ``optimum.py``): it goes on from
``path`` with more reward for them, and is shown pieces that have them, since the policy no longer writes any.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from note_rnn import DOMAIN, PRIMERS, STEPS, make_primer_uniform
from optimum import best_pieces
from table_1 import sample
from timed_run import finished, run_for

from seqtutor.domain import nearest
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor
from seqtutor.vocabulary import SPECIALS

C = DOMAIN.presets["sequence-tutor"]["beta"]
#: what all methods share
_COMMON = TuneConfig(beta=C, batch=128, max_length=DOMAIN.max_length, recent_size=0, best_size=0)
#: the paper's setting: γ = .5; exploration as in the paper, here in addition to sampling from the softmax
_PAPER = dataclasses.replace(_COMMON, gamma=0.5, epsilon=0.05, target_rate=0.05, learning_rate=2e-3)
_PATH = dataclasses.replace(_COMMON, method="path", learning_rate=2e-3, critic_memory=0.9)
METHODS: Mapping[str, TuneConfig] = {
    "q": dataclasses.replace(_PAPER, method="q"),
    "psi": dataclasses.replace(_PAPER, method="psi"),
    # Ψ and G are one regression here (see seqtutor.losses.residuals), so this column is Ψ's with another seed
    "g": dataclasses.replace(_PAPER, method="g", seed=1),
    "path": _PATH,
    "path+prices": dataclasses.replace(_PATH, given=48, lam=1.0),
}
#: nats paid on top for a composition that has it; more than a search finds the best such pieces to be below the best
PRICES = {"tonic-start": 40.0, "unique-high": 30.0, "unique-low": 30.0}


def tuned(method: str, prior: SequenceModel, seconds: float, out: Path) -> SequenceModel:
    """The Note RNN after ``seconds`` of ``method``; taken, or gone on with, from ``out/method`` if it is there."""
    if method not in METHODS:
        raise nearest(method, METHODS, "method")
    folder = out / method
    if model := finished(folder, seconds):
        return model
    priced = method == "path+prices"
    terms: list[Any] = ["nine"]
    if priced:
        terms += [{"rule": rule, "weight": C * price} for rule, price in PRICES.items()]
    objective = Objective.from_dict({**DOMAIN.presets["sequence-tutor"], "terms": terms}, DOMAIN)
    tutor = Tutor(DOMAIN, prior, Rewarder(DOMAIN, objective), METHODS[method],
                  grammar=DOMAIN.grammar(prior.vocabulary.all))
    if priced:
        path = tuned("path", prior, seconds, out)
        tutor.policy.load_state_dict(path.state_dict())
        written = np.array(sample(path, 200, tutor.config.seed))[:, :1 + STEPS] - len(SPECIALS)
        rare = [piece[1:].tolist() for piece, _ in list(best_pieces(prior, written, C).values())[1:]]
        tutor.give([(" ".join(map(str, [primer, *piece])), math.nan) for piece in rare for primer in range(PRIMERS)])
    return run_for(tutor, seconds, folder, before=make_primer_uniform, words=_progress)


def _progress(figures: Mapping[str, float]) -> str:
    rates = "".join(f", {name} {100 * figures[name]:.1f} %" for name in PRICES if name in figures)
    return f"R {figures['nine']:.1f}, KL {figures['kl']:.1f}, J {figures['nine'] / C - figures['kl']:.1f}{rates}"
