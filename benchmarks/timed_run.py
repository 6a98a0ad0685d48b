"""Tutoring for so many seconds instead of so many steps, so that methods are compared at equal cost.

A run is a folder with a checkpoint, replaced as it goes on, and at the end the tuned model. The seconds are those that
the program had of the processor: with one thread on a free machine they are the clock's, and on a shared one they are
still the same for every method. Both are kept in the model's provenance.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqtutor import checkpoint
from seqtutor.domain import UsageError
from seqtutor.model import SequenceModel
from seqtutor.tutor import Tutor

SHOWN = 15.0  # seconds between lines of progress
Words = Callable[[dict[str, float]], str]


def finished(folder: Path, seconds: float) -> SequenceModel | None:
    """The tuned model of a run that has ended, if it has. Raises :class:`UsageError` if it had other ``seconds``."""
    path = folder / "model.safetensors"
    if not path.exists():
        return None
    model = SequenceModel.load(path)
    if model.provenance.get("asked_seconds") != seconds:
        raise UsageError(f"{folder} holds a run of {model.provenance.get('asked_seconds')} s, not of {seconds:g} s; "
                         "give another --out or remove it")
    return model


def run_for(tutor: Tutor, seconds: float, folder: Path, *, before: Callable[[SequenceModel], object] = bool,
            words: Words = lambda figures: f"KL {figures['kl']:.1f}") -> SequenceModel:
    """Tutors until ``seconds`` (processor time) are spent, from the checkpoint in ``folder`` if there is one, and
    returns the policy, saved as ``model.safetensors``. The cosine of the learning rate follows the time.

    ``before`` is called with the policy before each step; ``words`` makes a line of progress of a step's figures.
    Raises :class:`UsageError` if the run in ``folder`` had other settings.
    """
    # 1. Where it stopped
    place = folder / "checkpoint.safetensors"
    asked = {**dataclasses.asdict(tutor.config), "targets": dict(zip(tutor.rates.names, tutor.rates.targets.tolist(),
                                                                     strict=True)), "asked_seconds": seconds}
    asked = {name: value for name, value in asked.items() if name != "steps" and value != math.inf}
    spent = [0.0, 0.0]  # processor time, the clock's
    if place.exists():
        tensors, state = checkpoint.load(place)
        if state["asked"] != asked:
            raise UsageError(f"{folder} holds a run with other settings; give another --out or remove it")
        tutor.load(tensors, state["tutor"])
        spent = state["spent"]
    folder.mkdir(parents=True, exist_ok=True)
    config, last, shown, figures = tutor.config, _now(), -SHOWN, dict[str, float]()
    begun = saved = spent[1]
    smooth: dict[str, float] = {}
    while spent[0] < seconds:
        # 2. A step; the schedule is told how many there would be at this pace
        paced = round(tutor.done * seconds / spent[0]) if tutor.done else config.steps
        tutor.config = dataclasses.replace(config, steps=max(paced, tutor.done + 1))
        before(tutor.policy)
        figures = tutor.step()
        now = _now()
        spent = [total + new - old for total, new, old in zip(spent, now, last, strict=True)]
        last = now
        # 3. Progress and a checkpoint now and then
        smooth = {name: value + 0.9 * (smooth.get(name, value) - value) for name, value in figures.items()}
        if spent[1] - shown > SHOWN or spent[0] >= seconds:
            shown = spent[1]
            print(f"{folder.name}: {spent[0]:.0f} of {seconds:g} s, step {tutor.done}, {words(smooth)}",
                  file=sys.stderr, flush=True)
        if spent[1] - saved > config.checkpoint_seconds:
            saved = spent[1]
            _save(place, tutor, asked, spent)
    # 4. The model, with what it took
    tutor.config = config
    before(tutor.policy)
    model = tutor.policy
    if spent[1] > begun:
        _save(place, tutor, asked, spent)
    model.provenance = {**tutor.prior.provenance, **asked, "seconds": spent[1], "cpu_seconds": spent[0],
                        "tutor_steps": tutor.done,
                        "multipliers": dict(zip(tutor.rates.names, tutor.rates.multipliers.tolist(), strict=True))}
    model.save(folder / "model.safetensors")
    return model


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _save(place: Path, tutor: Tutor, asked: dict[str, Any], spent: list[float]) -> None:
    tensors, state = tutor.state()
    checkpoint.save(place, tensors, {"asked": asked, "spent": spent, "tutor": state})
