"""The rules of melody as the core's rules: nine step rules of Sequence Tutor, one end rule for each rule of melody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from seqtutor.domain import Finding, Rule, RuleFamily, UsageError
from seqtutor_music import rules, sequence_tutor, tokens
from seqtutor_music.keys import MODES, WHITE, pitch_name
from seqtutor_music.melody import Melody
from seqtutor_music.note_table import NoteTable
from seqtutor_music.rule import MelodyFinding, MelodyRule

PREFIX = "st-"
_last: dict[str, tuple[tuple[str, ...], object]] = {}  # the batch seen last: rules come one after the other


def _remember(what: str, batch: tuple[str, ...], make: Callable[[], object]) -> object:
    seen = _last.get(what)
    if seen is None or seen[0] != batch:  # another thread may put its own batch there at any time
        seen = _last[what] = (batch, make())
    return seen[1]


# -- rules of melody -------------------------------------------------------------------------------------------------

def _melodies(texts: Sequence[str]) -> list[Melody | None]:
    found: list[Melody | None] = []
    for text in texts:
        try:
            found.append(tokens.parse(text))
        except UsageError:
            found.append(None)
    return found


def end_score(rule: MelodyRule) -> Callable[[Sequence[str]], list[float]]:
    """The rule's values for texts; nan where a text is no melody."""
    def score(texts: Sequence[str]) -> list[float]:
        def make() -> tuple[NoteTable, list[int]]:
            melodies = _melodies(texts)
            good = [i for i, melody in enumerate(melodies) if melody is not None]
            return NoteTable([m for m in melodies if m is not None]), good

        table, good = cast("tuple[NoteTable, list[int]]", _remember("table", tuple(texts), make))
        out = np.full(len(texts), np.nan)
        out[good] = rule.values(table)
        return [float(value) for value in out]

    return score


def _quality(texts: Sequence[str]) -> list[float]:
    melodies = _melodies(texts)
    good = [i for i, melody in enumerate(melodies) if melody is not None]
    out = np.full(len(texts), np.nan)
    out[good] = rules.quality([m for m in melodies if m is not None])
    return [float(value) for value in out]


def place(melody: Melody, step: int) -> int:
    """The token position of ``step`` in the stream of ``melody``."""
    bars = 0 if step < melody.upbeat else (step - melody.upbeat) // melody.meter.steps + 1
    return 2 + (melody.upbeat > 0) + step + 3 * bars


def in_stream(melody: Melody, finding: MelodyFinding) -> MelodyFinding:
    """``finding`` with token positions in place of steps."""
    return dataclasses.replace(finding, start=place(melody, finding.start), end=place(melody, finding.end - 1) + 1)


def end_explain(rule: MelodyRule) -> Callable[[str], list[Finding]]:
    """The rule's findings in a text."""
    def explain(text: str) -> list[Finding]:
        melody = tokens.parse(text)
        return [in_stream(melody, finding) for finding in rule.findings(NoteTable([melody]))[0]]

    return explain


def target(argument: str) -> Rule:
    """How near a rule comes to its human rate, 1 for equal, instead of the more the better. Raises UsageError for a
    rule that is none or has no human rate."""
    rule = rules.find(argument)
    if rule.name not in rules.human_rates():
        raise UsageError(f"{rule.name} has no human rate to be the target (people are what it is held against); ask "
                         f"for {rule.name} itself")
    rate = rules.human_rates()[rule.name].mean
    score = end_score(rule)
    return Rule(f"target({rule.name})", f"1 − the distance of {rule.name} from its human rate, {rate:.0%}",
                lambda texts: [1 - abs(value - rate) for value in score(texts)], low=0.0, high=1.0,
                explain=end_explain(rule))


# -- Sequence Tutor's nine -------------------------------------------------------------------------------------------

#: mode → (pitch class of its white key's tonic, semitones of its third)
_CENTERS = {mode: (WHITE[i], (WHITE[(i + 2) % 7] - WHITE[i]) % 12) for i, mode in enumerate(MODES)}


_Rows = tuple[list[int], sequence_tutor.Classes, list[list[int]], sequence_tutor.Center]


def _prepare(batch: Sequence[Sequence[str]]) -> list[_Rows]:
    """Rows of equal length together: (rows, classes [rows, steps], places in the tokens, tonal centres)."""
    groups: dict[int, list[int]] = {}
    read = [sequence_tutor.from_stream(row) for row in batch]
    for i, (classes, _) in enumerate(read):
        groups.setdefault(len(classes), []).append(i)
    prepared: list[_Rows] = []
    for length, members in groups.items():
        if length:
            centers = [_CENTERS.get(batch[i][1] if len(batch[i]) > 1 else "", (0, 4)) for i in members]
            tonic, third = (np.array([[c[k]] for c in centers], dtype=np.int64) for k in (0, 1))
            x = np.array([read[i][0] for i in members], dtype=np.int64)
            prepared.append((members, x, [read[i][1] for i in members], sequence_tutor.Center(tonic, third)))
    return prepared


def step_score(function: Callable[..., sequence_tutor.Rewards]) -> Callable[..., list[list[float]]]:
    """A rule of Sequence Tutor on token lists: its reward at each sixteenth step, 0 at other tokens."""
    def score(batch: Sequence[Sequence[str]]) -> list[list[float]]:
        prepared = _remember("classes", tuple(map(" ".join, batch)), lambda: _prepare(batch))
        out = [[0.0] * len(row) for row in batch]
        for members, x, places, center in cast("list[_Rows]", prepared):
            for i, where, values in zip(members, places, function(x, center).tolist(), strict=True):
                row = out[i]
                if where and where[-1] - where[0] == len(where) - 1:
                    row[where[0]:where[-1] + 1] = values
                else:
                    for at, value in zip(where, values, strict=True):
                        row[at] = value
        return out

    return score


_COMPLAINTS = {
    "key": "is foreign to the scale", "excess-repetition": "is one repetition too many",
    "autocorrelation": "makes the line swing or stall", "preferred-intervals": "is reached by a harsh interval",
    "leaps": "leaps on in the direction of the leap before",
}


def step_explain(name: str) -> Callable[[str], list[Finding]]:
    """The steps that a rule of Sequence Tutor punishes (autocorrelation: only by more than 1.5)."""
    function = sequence_tutor.RULES[name]

    def explain(text: str) -> list[Finding]:
        row, melody = tokens.split(text), tokens.parse(text)
        found: list[Finding] = []
        for at, value in enumerate(step_score(function)([row])[0]):
            if value < (-1.5 if name == "autocorrelation" else 0):
                step = at - 2 - (melody.upbeat > 0) - 3 * row[:at].count(tokens.BAR)
                what = row[at] if row[at] not in (tokens.HOLD, tokens.REST) else "this step"
                shown = pitch_name(tokens.PITCH_OF[what], melody.key) if what in tokens.PITCH_OF else what
                found.append(MelodyFinding(PREFIX + name, at, at + 1, min(100.0, -value * 10),
                                           f"{shown} {_COMPLAINTS.get(name, 'is punished')} (reward {value:.2f})", "",
                                           melody.bar(step), melody.beat(step), (shown,)))
        return found

    return explain


def domain_rules() -> tuple[Rule, ...]:
    """Every rule of the domain, Sequence Tutor's nine first."""
    nine = tuple(Rule(PREFIX + name, "Sequence Tutor " + (function.__doc__ or "").split("\n")[0],
                      step_score(function), when="step", explain=step_explain(name))
                 for name, function in sequence_tutor.RULES.items())
    whole = Rule("quality", "all rules of melody together, weighted by severity, 1 for as good as people", _quality,
                 low=0.0, high=1.0, explain=lambda text: [f for r in rules.RULES for f in end_explain(r)(text)])
    rates = rules.human_rates()
    others = (Rule(rule.name, rule.about, end_score(rule), low=0.0, high=1.0, explain=end_explain(rule),
                   rate=rates[rule.name].mean if rule.name in rates else None) for rule in rules.RULES)
    return (*nine, whole, *others)


TARGET = RuleFamily("target", "nearness to the human rate of a rule of melody", "rule", target)


def human_targets() -> list[str]:
    """Rules of melody whose human rate is a target: they have a say in at least half of the corpus, and people break
    them at least in one chance of twenty. Where people all but always keep a rule the prior does so too, and a
    multiplier for the rest would be fitted to a handful of tunes."""
    rates = rules.human_rates()
    most = max((rate.tunes for rate in rates.values()), default=0)
    return [name for name, rate in rates.items() if rate.tunes >= most / 2 and 0.05 < rate.mean < 0.95]


PRESETS: dict[str, dict[str, Any]] = {
    "sequence-tutor": {
        "about": "the nine rules of Sequence Tutor as published: plain sum, c = .5, γ = .5",
        "terms": [{"rule": PREFIX + name} for name in sequence_tutor.RULES],
        "aggregate": "sum", "beta": 0.5, "gamma": 0.5},
    # Rates of many melodies, not the distance of each one: a rule with one chance a melody (one-climax) is 0 or 1, and
    # the least distance from .27 would be had by breaking it always.
    "human": {"about": "as often as people do, for each rule of melody that has a right amount",
              "terms": [{"rule": name, "target": "human"} for name in human_targets()]},
    "melody": {"about": "all rules of melody together", "terms": [{"rule": "quality"}]},
}
