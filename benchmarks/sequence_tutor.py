"""Table 1 of Sequence Tutor (arXiv 1611.02796), from the paper's own network in our code.

    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz baseline
    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz table q=runs/q psi=runs/psi g=runs/g path=runs/path

``baseline`` samples the Note RNN beside the published column and, where ``note_rnn_baseline.json`` lies beside the
weights, an independent reimplementation's 100,000 pieces. ``table`` does the same for tuned models (files or run
folders), with the mean total reward E[R], the KL to the Note RNN in nats a piece, and J = E[R]/c − KL, c = 0.5.
Numbers after ± are standard errors.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from note_rnn import DOMAIN, STEPS, classes, load_note_rnn, make_primer_uniform
from numpy.typing import NDArray

from seqtutor.domain import UsageError
from seqtutor_music import sequence_tutor

if TYPE_CHECKING:
    from seqtutor.model import SequenceModel

C = 0.5  # the paper's c: reward units per nat
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


def total_reward(x: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of the nine rules over each of the compositions ``x``, int [pieces, 32]: the paper's r_MT."""
    return np.concatenate([np.sum([rule.sum(1) for rule in sequence_tutor.rewards(x[i:i + CHUNK]).values()], axis=0)
                           for i in range(0, len(x), CHUNK)])


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
    """What one policy does. ``reward``: E[R]; ``kl``, ``objective``: nats a piece; ``log_p``: under the Note RNN, nats
    a class; ``seconds``: wall time of its tuning, if known."""

    name: str
    figures: Mapping[str, Figure]
    reward: Figure
    kl: Figure
    objective: Figure
    log_p: Figure
    seconds: float | None = None


def sample(model: SequenceModel, pieces: int, seed: int) -> list[list[int]]:
    """Ids of ``pieces`` sequences in fp32, each after a uniform primer."""
    from seqtutor.sampling import Sampler, SamplingConfig

    make_primer_uniform(model)
    config = SamplingConfig(precision="fp32", max_length=DOMAIN.max_length, batch=1024)
    return Sampler(model, config, seed=seed, grammar=DOMAIN.grammar(model.vocabulary.all)).sample_ids(pieces)


def measure(name: str, model: SequenceModel, prior: SequenceModel, *, pieces: int, seed: int,
            seconds: float | None = None) -> tuple[Column, NDArray[np.int64]]:
    """Samples ``model``, holds it against the Note RNN ``prior``; returns its compositions too, int [pieces, 32]."""
    from seqtutor.evaluate import divergence

    ids = sample(model, pieces, seed)
    x = classes([model.vocabulary.decode(row) for row in ids])
    far = divergence(model, prior, ids, grammar=DOMAIN.grammar(model.vocabulary.all), given=[1] * pieces, batch=512)
    reward = total_reward(x)
    return Column(name, table_1(x), mean(reward), mean(far.kl), mean(reward / C - far.kl), mean(far.log_p / STEPS),
                  seconds), x


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
        "Tuned for, s": ["" if c.seconds is None else f"{c.seconds:.0f}" for c in columns],
    }.items():
        cells = []
        for c, value in zip(columns, values, strict=True):
            cells += [value, *([""] if c.name in ROWS[0].published else [])]
        print(f"| {what} | " + " | ".join(cells) + " |")


def as_json(columns: Sequence[Column]) -> str:
    """All figures as [value, standard error]."""
    return json.dumps([dataclasses.asdict(c) for c in columns], indent=1)


def print_baseline(column: Column, x: NDArray[np.int64], reference: Mapping[str, float]) -> None:
    """The Note RNN beside a reference (``note_rnn_baseline.json``, may be empty) and the published column."""
    print("| | ours | independent | published |\n|" + " --- |" * 4)
    for row in ROWS:
        mark = " *" if row.name in EXCHANGED else ""
        print(f"| {row.name}{mark} | {shown(column.figures[row.name], row.percent)} | "
              f"{printed(reference.get(REFERENCE[row.name]), row.percent)} | "
              f"{printed(row.published['note rnn'], row.percent)} |")
    for name, key, figure in (
            ("log p a class, nats", "mean_logp_per_token", column.log_p),
            ("Share of class 0", "freq0", mean((x == 0).mean(1))),
            ("Share of class 1", "freq1", mean((x == 1).mean(1))),
            ("Mean total reward E[R]", "", column.reward)):
        percent = name.startswith("Share")
        print(f"| {name} | {shown(figure, percent)} | {printed(reference.get(key), percent)} | |")
    print("\n* The two published cells look exchanged; read them against each other's line too.")


def read_reference(note_rnn: Path) -> dict[str, float]:
    """The independent figures beside the weights, by the names of :data:`REFERENCE`; empty if there are none."""
    path = note_rnn.with_name("note_rnn_baseline.json")
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    return content | {f"ac{lag}": value for lag, value in enumerate(content["ac"], 1)}


@click.group()
@click.option("--note-rnn", "note_rnn", type=click.Path(path_type=Path), required=True, help="note_rnn.npz")
@click.option("--pieces", type=click.IntRange(2), default=100_000, show_default=True, help="compositions of each model")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_", is_flag=True, help="JSON instead of a table")
@click.option("--threads", type=int, help="CPU threads  [default: all]")
@click.pass_context
def main(ctx: click.Context, note_rnn: Path, pieces: int, seed: int, json_: bool, threads: int | None) -> None:
    """Table 1 of Sequence Tutor."""
    from seqtutor.machine import keep_freed_memory, set_threads

    set_threads(threads)
    keep_freed_memory()
    ctx.obj = {"note_rnn": note_rnn, "pieces": pieces, "seed": seed, "json_": json_}


@main.command()
@click.pass_obj
def baseline(chosen: dict[str, Any]) -> None:
    """The Note RNN's own column."""
    prior = load_note_rnn(chosen["note_rnn"])
    started = time.perf_counter()
    column, x = measure("note rnn", prior, prior, pieces=chosen["pieces"], seed=chosen["seed"])
    if chosen["json_"]:
        print(as_json([column]))
        return
    print(f"{chosen['pieces']:,} pieces of the Note RNN, fp32, seed {chosen['seed']}, sampled and measured in "
          f"{time.perf_counter() - started:.0f} s\n")
    print_baseline(column, x, read_reference(chosen["note_rnn"]))


@main.command()
@click.argument("policies", nargs=-1, required=True, metavar="NAME=MODEL...")
@click.pass_obj
def table(chosen: dict[str, Any], policies: tuple[str, ...]) -> None:
    """The columns of tuned models, given as NAME=MODEL (a file, or a run's folder), the Note RNN's first."""
    from seqtutor.models import load_model

    prior = load_note_rnn(chosen["note_rnn"])
    models = {"note rnn": prior}
    for policy in policies:
        name, _, place = policy.partition("=")
        if not name or not place:
            raise UsageError(f"{policy!r} is not NAME=MODEL, for example path=runs/path")
        models[name] = load_model(place, DOMAIN.name)
    columns = [measure(name, model, prior, pieces=chosen["pieces"], seed=chosen["seed"],
                       seconds=model.provenance.get("seconds"))[0] for name, model in models.items()]
    if chosen["json_"]:
        print(as_json(columns))
        return
    print(f"{chosen['pieces']:,} pieces of each model, fp32, seed {chosen['seed']}\n")
    print_columns(columns)


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except UsageError as error:
        raise SystemExit(f"sequence_tutor: {error}") from error
