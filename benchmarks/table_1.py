"""Table 1 of Sequence Tutor (arXiv 1611.02796): its lines as published, and those of a policy."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from note_rnn import DOMAIN, STEPS, classes, make_primer_uniform
from numpy.typing import NDArray

from seqtutor_music import sequence_tutor

if TYPE_CHECKING:
    from seqtutor.model import SequenceModel

C: float = DOMAIN.presets["sequence-tutor"]["beta"]  # the paper's c: reward units per nat
CHUNK = 10_000  # pieces whose rules are computed together
Figure = tuple[float, float]  # (value, standard error)


@dataclass(frozen=True)
class Row:
    """One line of Table 1. ``published``: its columns as printed, percentages as shares."""

    name: str
    percent: bool
    published: Mapping[str, float]


def _row(name: str, percent: bool, *published: float) -> Row:
    return Row(name, percent, dict(zip(("note rnn", "q", "psi", "g"), published, strict=True)))


#: Table 1 as published, columns Note RNN, Q, Ψ, G (100,000 compositions each). G's lag 3 is printed as "17".
ROWS = (
    _row("Notes excessively repeated", True, .633, .0, .0002, .0003),
    _row("Mean autocorrelation, lag 1", False, -.16, -.11, -.10, .55),
    _row("Mean autocorrelation, lag 2", False, .14, .03, -.01, .31),
    _row("Mean autocorrelation, lag 3", False, -.13, .03, .01, .17),
    _row("Notes not in key", True, .001, .01, .006, .287),
    _row("Compositions starting with tonic", True, .009, .288, .287, .0),
    _row("Leaps resolved", True, .772, .911, .900, .522),
    _row("Compositions with unique max note", True, .647, .564, .594, .371),
    _row("Compositions with unique min note", True, .494, .519, .583, .565),
    _row("Notes in motif", True, .059, .757, .738, .693),
    _row("Notes in repeated motif", True, .00007, .0011, .0009, .0001),
)
#: the Note RNN's cells that look exchanged in the paper
EXCHANGED = ("Notes not in key", "Compositions starting with tonic")
#: how note_rnn_baseline.json names them
REFERENCE = dict(zip([row.name for row in ROWS], ("rep", "ac1", "ac2", "ac3", "notkey", "tonic", "leaps", "hi", "lo",
                                                  "motif", "rmotif"), strict=True))

# -- figures ---------------------------------------------------------------------------------------------------------


def mean(values: NDArray[np.float64]) -> Figure:
    """Mean and standard error, nan left out."""
    values = values[~np.isnan(values)]
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def ratio(hits: NDArray[np.float64], of: NDArray[np.float64]) -> Figure:
    """Σ hits / Σ of over pieces, its standard error by the delta method; nan where there is nothing to count."""
    if not of.sum():
        return math.nan, math.nan
    share = float(hits.sum() / of.sum())
    return share, float((hits - share * of).std() / of.mean() / math.sqrt(len(of)))


def rewards(x: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """What each of the nine rules gives each of the compositions ``x``, int [pieces, 32]; together the paper's r_MT."""
    return {name: np.concatenate([rule(x[i:i + CHUNK]).sum(1) for i in range(0, len(x), CHUNK)])
            for name, rule in sequence_tutor.RULES.items()}


def table_1(x: NDArray[np.int64]) -> dict[str, Figure]:
    """The lines of Table 1 for compositions ``x``, int [pieces, 32]."""
    parts = [sequence_tutor.metrics(x[i:i + CHUNK]) for i in range(0, len(x), CHUNK)]
    m = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    figures = (mean(m["num_repeated_notes"] / STEPS), *(mean(m[f"autocorrelation{lag}"]) for lag in (1, 2, 3)),
               mean(m["notes_not_in_key"] / STEPS), mean(m["num_starting_tonic"]),
               ratio(m["num_resolved_leaps"], m["num_resolved_leaps"] + m["num_leap_twice"]),
               mean(m["num_high_unique"]), mean(m["num_low_unique"]), mean(m["notes_in_motif"] / STEPS),
               mean(m["notes_in_repeated_motif"] / STEPS))
    return dict(zip([row.name for row in ROWS], figures, strict=True))


# -- policies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """What one policy does. ``reward``: E[R]; ``kl``, ``objective``, ``parts`` (E[r_i]/c of each rule): nats a piece;
    ``log_p``: under the Note RNN, nats a class; ``provenance``: of its model, with what its tuning took."""

    name: str
    figures: Mapping[str, Figure]
    reward: Figure
    kl: Figure
    objective: Figure
    log_p: Figure
    parts: Mapping[str, Figure]
    provenance: Mapping[str, Any]


def sample(model: SequenceModel, pieces: int, seed: int) -> list[list[int]]:
    """Ids of ``pieces`` sequences in fp32, each after a uniform primer."""
    from seqtutor.sampling import Sampler, SamplingConfig

    make_primer_uniform(model)
    config = SamplingConfig(precision="fp32", max_length=DOMAIN.max_length, batch=1024)
    return Sampler(model, config, seed=seed, grammar=DOMAIN.grammar(model.vocabulary.all)).sample_ids(pieces)


def measure(name: str, model: SequenceModel, prior: SequenceModel, *, pieces: int,
            seed: int) -> tuple[Column, NDArray[np.int64]]:
    """Samples ``model``, holds it against the Note RNN ``prior``; returns its compositions too, int [pieces, 32]."""
    from seqtutor.evaluate import divergence

    ids = sample(model, pieces, seed)
    x = classes([model.vocabulary.decode(row) for row in ids])
    far = divergence(model, prior, ids, grammar=DOMAIN.grammar(model.vocabulary.all), given=[1] * pieces, batch=512)
    parts = rewards(x)
    reward = np.sum(list(parts.values()), axis=0)
    return Column(name, table_1(x), mean(reward), mean(far.kl), mean(reward / C - far.kl), mean(far.log_p / STEPS),
                  {rule: mean(part / C) for rule, part in parts.items()}, model.provenance), x


# -- out -------------------------------------------------------------------------------------------------------------


def shown(figure: Figure, percent: bool = False) -> str:
    """``63.5 ± 0.1 %``: as many decimals as the standard error has something to say about."""
    value, error = (100 * part if percent else part for part in figure)
    decimals = min(4, max(1, math.ceil(-math.log10(error)))) if error > 0 else 2
    return "none" if math.isnan(value) else f"{value:.{decimals}f} ± {error:.{decimals}f}" + " %" * percent


def printed(value: float | None, percent: bool) -> str:
    """A published number as the paper prints it, or a reference's."""
    return "" if value is None else f"{100 * value:.4g} %" if percent else f"{value:.3g}"


def print_columns(columns: Sequence[Column]) -> None:
    """Table 1 with what each policy reached, ours beside the published column of the same name if there is one."""
    heads: list[str] = []
    for c in columns:
        heads += [c.name, *([f"{c.name}, published"] if c.name in ROWS[0].published else [])]
    print("| | " + " | ".join(heads) + " |\n|" + " --- |" * (len(heads) + 1))
    for row in ROWS:
        cells: list[str] = []
        for c in columns:
            cells.append(shown(c.figures[row.name], row.percent))
            if c.name in row.published:
                cells.append(printed(row.published[c.name], row.percent))
        print(f"| {row.name} | " + " | ".join(cells) + " |")
    for what, values in {
        "Mean total reward E[R]": [shown(c.reward) for c in columns],
        "KL to the Note RNN, nats": [shown(c.kl) for c in columns],
        f"J = E[R]/{C} − KL, nats": [shown(c.objective) for c in columns],
        "log p a class, nats": [shown(c.log_p) for c in columns],
        **{f"E[r]/c of {rule}": [shown(c.parts[rule]) for c in columns] for rule in sequence_tutor.RULES},
        **{what: [f"{c.provenance[name]:.0f}" if name in c.provenance else "" for c in columns] for what, name in
           {"Tuned for, s of the clock": "seconds", "of the processor": "cpu_seconds", "steps": "tutor_steps"}.items()},
    }.items():
        cells = []
        for c, value in zip(columns, values, strict=True):
            cells += [value, *([""] if c.name in ROWS[0].published else [])]
        print(f"| {what} | " + " | ".join(cells) + " |")


#: the rule that is priced → its line of the table
PRICED = {"tonic-start": "Compositions starting with tonic", "unique-high": "Compositions with unique max note",
          "unique-low": "Compositions with unique min note"}


def print_price(free: Column, paid: Column, prices: Mapping[str, float]) -> None:
    """What cells cost that the optimum of J trades away: a policy that was ``paid`` for them beside a ``free`` one."""
    lost, error = free.objective[0] - paid.objective[0], math.hypot(free.objective[1], paid.objective[1])
    print(f"\nPaid for the cells below, {paid.name} has a J (of the nine rules alone) {lost:.1f} ± {error:.1f} nats "
          f"below that of {free.name}.\n\n| | price, nats | {free.name} | {paid.name} |\n|" + " --- |" * 4)
    for rule, price in prices.items():
        row = PRICED[rule]
        print(f"| {row} | {price:g} | {shown(free.figures[row], True)} | {shown(paid.figures[row], True)} |")


def as_json(columns: Sequence[Column]) -> str:
    """All figures as [value, standard error]."""
    return json.dumps([dataclasses.asdict(c) for c in columns], indent=1)
