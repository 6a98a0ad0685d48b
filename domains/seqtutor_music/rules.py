"""All rules of melody by name: values for a batch, findings for one melody, and what human melodies do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import nearest
from seqtutor_music import rules_form, rules_line, rules_rhythm, rules_tonal
from seqtutor_music.melody import Melody
from seqtutor_music.note_table import NoteTable
from seqtutor_music.rule import MelodyFinding, MelodyRule

RULES: tuple[MelodyRule, ...] = (*rules_line.RULES, *rules_tonal.RULES, *rules_rhythm.RULES, *rules_form.RULES)
BY_NAME = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class HumanRate:
    """What the corpus does: ``mean`` value of a rule (0…1) and the tenth and ninetieth percentiles over tunes."""

    mean: float
    low: float
    high: float
    tunes: int


def find(name: str) -> MelodyRule:
    """The rule called ``name``. Raises UsageError with the nearest name."""
    if name not in BY_NAME:
        raise nearest(name, BY_NAME, "rule of melody")
    return BY_NAME[name]


@cache
def human_rates() -> dict[str, HumanRate]:
    """Measured on the corpus by ``python benchmarks/music.py rates``; empty before that has run."""
    path = Path(__file__).with_name("human_rates.json")
    if not path.exists():
        return {}
    return {name: HumanRate(**rate) for name, rate in json.loads(path.read_text())["rates"].items()}


def values(melodies: Sequence[Melody]) -> dict[str, NDArray[np.float64]]:
    """The value of every rule for every melody, float64 [melodies] in 0…1, nan where a rule has no say."""
    table = NoteTable(melodies)
    return {rule.name: rule.values(table) for rule in RULES}


def measure(melodies: Sequence[Melody]) -> dict[str, HumanRate]:
    """The rates of ``melodies``; rules that have no say in any are left out."""
    rates = {}
    for name, found in values(melodies).items():
        told = found[~np.isnan(found)]
        if len(told):
            mean, low, high = (round(float(value), 6) for value in (told.mean(), *np.percentile(told, [10, 90])))
            rates[name] = HumanRate(mean, low, high, len(told))
    return rates


@lru_cache(maxsize=64)
def findings(melody: Melody) -> tuple[MelodyFinding, ...]:
    """Every place where ``melody`` breaks a rule, in order of time, the gravest first at each."""
    table = NoteTable([melody])
    found = [finding for rule in RULES for finding in rule.findings(table)[0]]
    return tuple(sorted(found, key=lambda f: (f.start, -f.severity, f.rule)))


def verdict(name: str, value: float) -> str:
    """How ``value`` stands to the human range: "below", "within" or "above"; "kept" or "broken" where there is none,
    "no say" for nan."""
    rate = human_rates().get(name)
    if np.isnan(value):
        return "no say"
    if rate is None:
        return "kept" if value == 1 else "broken"
    if value < rate.low:
        return "below"
    return "within" if value <= rate.high else "above"


def penalties(melodies: Sequence[Melody]) -> NDArray[np.float64]:
    """How far each melody falls below human habit, float64 [melodies]: the sum over rules of severity times the
    shortfall of its value below the human mean, in units of 100. 0 is as good as people on every rule."""
    total = np.zeros(len(melodies))
    rates = human_rates()
    for name, found in values(melodies).items():
        usual = rates[name].mean if name in rates else 1.0
        total += BY_NAME[name].severity / 100 * np.nan_to_num(np.maximum(usual - found, 0))
    return total


def quality(melodies: Sequence[Melody]) -> NDArray[np.float64]:
    """One number in 0…1 a melody: the mean of all rules that have a say, weighted by severity, each against the
    human mean (1 is as good as people or better)."""
    rates = human_rates()
    total, weight = np.zeros(len(melodies)), np.zeros(len(melodies))
    for name, found in values(melodies).items():
        usual = max(rates[name].mean if name in rates else 1.0, 1e-6)
        told = ~np.isnan(found)
        total += np.where(told, BY_NAME[name].severity * np.minimum(np.nan_to_num(found) / usual, 1), 0)
        weight += BY_NAME[name].severity * told
    scored: NDArray[np.float64] = np.where(weight > 0, total / np.maximum(weight, 1), np.nan)
    return scored
