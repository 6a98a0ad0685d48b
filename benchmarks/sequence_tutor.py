"""Table 1 of Sequence Tutor (arXiv 1611.02796), from the paper's own network in our code.

    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz baseline
    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz --pieces 20000 --threads 1 tune --seconds 240
    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz table q=runs/q psi=runs/psi g=runs/g path=runs/path
    python benchmarks/sequence_tutor.py --note-rnn note_rnn.npz optimum runs/sequence-tutor/path
    python benchmarks/sequence_tutor.py --pieces 10000 --threads 1 human

``baseline`` samples the Note RNN beside the published column and, where ``note_rnn_baseline.json`` lies beside the
weights, an independent reimplementation's 100,000 pieces. ``tune`` tunes it with each method for as long, goes on where
it was stopped, and prints ``table``: the same columns of tuned models (files or run folders), with the mean total
reward E[R], the KL to the Note RNN in nats a piece, and J = E[R]/c − KL, c = 0.5, rule by rule. ``optimum`` shows
which cells of the table the optimum of J gives up. ``human`` (see ``human.py``) holds our own prior to the rates of
human melodies instead. Numbers after ± are standard errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from note_rnn import DOMAIN, STEPS, load_note_rnn
from numpy.typing import NDArray
from table_1 import (
    EXCHANGED,
    REFERENCE,
    ROWS,
    C,
    Column,
    as_json,
    mean,
    measure,
    print_columns,
    print_price,
    printed,
    sample,
    shown,
)

from seqtutor.domain import UsageError
from seqtutor.vocabulary import SPECIALS

if TYPE_CHECKING:
    from seqtutor.model import SequenceModel


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
    content: dict[str, Any] = json.loads(path.read_text())
    return content | {f"ac{lag}": value for lag, value in enumerate(content["ac"], 1)}


@click.group()
@click.option("--note-rnn", "note_rnn", type=click.Path(path_type=Path), help="note_rnn.npz, the author's weights")
@click.option("--pieces", type=click.IntRange(2), default=100_000, show_default=True, help="compositions of each model")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_", is_flag=True, help="JSON instead of a table")
@click.option("--threads", type=int, help="CPU threads  [default: all]")
@click.pass_context
def main(ctx: click.Context, note_rnn: Path | None, pieces: int, seed: int, json_: bool, threads: int | None) -> None:
    """Table 1 of Sequence Tutor."""
    from seqtutor.machine import keep_freed_memory, set_threads

    set_threads(threads)
    keep_freed_memory()
    ctx.obj = {"note_rnn": note_rnn, "pieces": pieces, "seed": seed, "json_": json_}


def the_note_rnn(chosen: Mapping[str, Any]) -> SequenceModel:
    if chosen["note_rnn"] is None:
        raise UsageError("the author's weights are needed; say --note-rnn FILE before the command")
    return load_note_rnn(chosen["note_rnn"])


@main.command()
@click.pass_obj
def baseline(chosen: dict[str, Any]) -> None:
    """The Note RNN's own column."""
    prior = the_note_rnn(chosen)
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

    prior = the_note_rnn(chosen)
    models = {"note rnn": prior}
    for policy in policies:
        name, _, place = policy.partition("=")
        if not name or not place:
            raise UsageError(f"{policy!r} is not NAME=MODEL, for example path=runs/path")
        models[name] = load_model(place, DOMAIN.name)
    report(models, chosen)


def report(models: Mapping[str, SequenceModel], chosen: Mapping[str, Any]) -> list[Column]:
    """Measures ``models``, the Note RNN among them, and prints their table; returns its columns."""
    columns = [measure(name, model, models["note rnn"], pieces=chosen["pieces"], seed=chosen["seed"])[0]
               for name, model in models.items()]
    if chosen["json_"]:
        print(as_json(columns))
    else:
        print(f"{chosen['pieces']:,} pieces of each model, fp32, seed {chosen['seed']}\n")
        print_columns(columns)
    return columns


@main.command()
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=240.0, show_default=True,
              help="processor time of each method")
@click.option("--methods", default="q,psi,g,path,path+prices", show_default=True, help="which, in this order")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/sequence-tutor"), show_default=True,
              help="a folder for each method")
@click.pass_obj
def tune(chosen: dict[str, Any], seconds: float, methods: str, out: Path) -> None:
    """Tunes the Note RNN with each method for as long, or goes on with it, and prints Table 1."""
    from note_rnn_tuning import PRICES, tuned

    prior = the_note_rnn(chosen)
    models = {name: tuned(name, prior, seconds, out) for name in methods.split(",")}
    columns = {c.name: c for c in report({"note rnn": prior, **models}, chosen)}
    if not chosen["json_"] and {"path", "path+prices"} <= columns.keys():
        print_price(columns["path"], columns["path+prices"], PRICES)


@main.command()
@click.argument("model")
@click.pass_obj
def optimum(chosen: dict[str, Any], model: str) -> None:
    """What J's optimum is like: the best pieces of several kinds by search, begun from those of MODEL."""
    from optimum import best_pieces, print_best

    from seqtutor.models import load_model

    prior = the_note_rnn(chosen)
    ids = sample(load_model(model, DOMAIN.name), min(500, chosen["pieces"]), chosen["seed"])
    print_best(best_pieces(prior, np.array(ids)[:, :1 + STEPS] - len(SPECIALS), C, chosen["seed"]))


@main.command()
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=240.0, show_default=True,
              help="processor time")
@click.option("--model", default="music", show_default=True, help="the prior: a name or a file")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/sequence-tutor"), show_default=True)
@click.pass_obj
def human(chosen: dict[str, Any], seconds: float, model: str, out: Path) -> None:
    """Holds our own prior to the rates of human melodies and prints its nine gaps to them."""
    from human import human_rates, least_kl, measure, print_rates, tuned

    from seqtutor.models import load_model

    prior = load_model(model, "music")
    rates, own, tunes = human_rates()
    models = {"prior": prior, "tuned": tuned(prior, rates, seconds, out)}
    columns = {name: measure(m, prior, chosen["pieces"], chosen["seed"]) for name, m in models.items()}
    print(f"{chosen['pieces']:,} openings of each model, fp32, seed {chosen['seed']}; tuned for "
          f"{models['tuned'].provenance['cpu_seconds']:.0f} s of the processor\n")
    print_rates(rates, own, tunes, columns)
    least, left_out = least_kl(prior, rates, 4 * chosen["pieces"], chosen["seed"])
    print(f"The least KL at which any model has the human rates is {least:.2f} nats, from {4 * chosen['pieces']:,} "
          "re-weighted samples of the prior" + f" (without {', '.join(left_out)})" * bool(left_out) + ".")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except UsageError as error:
        raise SystemExit(f"sequence_tutor: {error}") from error
