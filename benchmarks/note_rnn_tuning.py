"""The columns of Table 1: the Note RNN tuned with each method at equal cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from note_rnn import DOMAIN, make_primer_uniform
from timed_run import finished, run_for

from seqtutor.domain import nearest
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.tutor import TuneConfig, Tutor

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
    "path+targets": _PATH,
}
#: rates that the paper's table has and the optimum of its reward has not; a little above what is to be reached
TARGETS = {"tonic-start": 0.30, "unique-high": 0.67, "unique-low": 0.67}


def tuned(method: str, prior: SequenceModel, seconds: float, out: Path) -> SequenceModel:
    """The Note RNN after ``seconds`` of ``method``; taken, or gone on with, from ``out/method`` if it is there."""
    if method not in METHODS:
        raise nearest(method, METHODS, "method")
    folder = out / method
    if model := finished(folder, seconds):
        return model
    terms: list[Any] = ["nine"]
    if method == "path+targets":
        terms += [{"rule": rule, "target": rate} for rule, rate in TARGETS.items()]
    objective = Objective.from_dict({**DOMAIN.presets["sequence-tutor"], "terms": terms}, DOMAIN)
    tutor = Tutor(DOMAIN, prior, Rewarder(DOMAIN, objective), METHODS[method],
                  grammar=DOMAIN.grammar(prior.vocabulary.all), targets=objective.targets)
    return run_for(tutor, seconds, folder, before=make_primer_uniform, words=_progress)


def _progress(figures: Mapping[str, float]) -> str:
    rates = "".join(f", {name} {100 * figures[name]:.1f} % (λ {figures['λ ' + name]:.1f})" for name in TARGETS
                    if name in figures)
    return f"R {figures['reward']:.1f}, KL {figures['kl']:.1f}, J {figures['reward'] / C - figures['kl']:.1f}{rates}"
