"""``seqtutor tune DOMAIN``: raises an objective on a prior that it stays close to."""

from __future__ import annotations

import csv
import dataclasses
import math
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seqtutor.cli.options import TRUST, DomainGroup
from seqtutor.cli.progress import Progress
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.files import check_readable
from seqtutor.settings import BY_METHOD, METHODS, PRECISIONS, TuneConfig

EXAMPLES = """\b
Examples:
  seqtutor tune {name} --objective PRESET --out runs/first
  seqtutor tune {name} --objective mine.toml --steps 300 --beta 0.03 --out runs/mine
  seqtutor tune {name} --out runs/mine --resume
  seqtutor generate {name} --model runs/mine -n 20
  seqtutor compare {name} {name} runs/mine"""

PARAMETERS: list[click.Parameter] = [
    click.Option(["--objective"], metavar="PRESET|FILE.toml|LINE",
                 help="what to raise: a preset of the domain, a file, or a line like 'qed:1,sa:minimise:0.5,logp<=5'"),
    click.Option(["--out", "-o"], type=click.Path(path_type=Path), required=True, help="the run's folder"),
    click.Option(["--resume"], is_flag=True, help="go on from the folder's last checkpoint, bit for bit"),
    click.Option(["--model"], metavar="NAME|FILE", help="the prior  [default: the domain's own]"),
    click.Option(["--kl-target"], type=float, metavar="NATS", help="steer β so that the KL becomes this"),
    click.Option(["--kl-budget"], type=float, metavar="NATS", help="raise β where the KL would exceed this"),
    click.Option(["--stop-when"], default="", metavar="'N hits above X'",
                 help="end when so many different sequences have a reward above X; they are kept in hits.csv"),
    click.Option(["--sequences"], type=click.Path(path_type=Path), metavar="FILE.csv",
                 help="your own texts to learn from (see --given): first column the text, a column `score` if known"),
    click.Option(["--executor"], default="serial", show_default=True, metavar="KIND",
                 help="where rules are computed: serial, threads:N, processes:N, dask:N, dask:ADDRESS"),
    TRUST,
    click.Option(["--no-guard"], is_flag=True, help="do not stop at a collapse or a gamed reward"),
    click.Option(["--threads"], type=click.IntRange(1), help="CPU threads  [default: all]"),
    click.Option(["--quiet"], is_flag=True, help="no progress"),
]
#: settings that an option of another name chooses, or the domain
_ELSEWHERE = ("control", "kl", "max_length")
#: what a setting comes to when it is not given, where that is not its own default
_DEFAULTS = {"beta": "the objective's, or 0.05", "gamma": "the objective's, or 1", "seed": "drawn and told",
             "method": "the objective's, or path", "lam_end": "", **dict.fromkeys(BY_METHOD, "")}
_CHOICES = {"method": METHODS, "precision": PRECISIONS}
_TYPES: dict[str, Any] = {"int": int, "float": float, "float | None": float, "bool": bool}
SETTINGS = [f for f in dataclasses.fields(TuneConfig) if f.name not in _ELSEWHERE]


def _option(f: dataclasses.Field[Any]) -> click.Option:
    """A setting as an option; without a value the setting's own default holds."""
    default = _DEFAULTS.get(f.name, str(f.default))
    said = f"{f.metadata['help']}  [default: {default}]" if default else f.metadata["help"]
    kind = click.Choice(_CHOICES[f.name]) if f.name in _CHOICES else _TYPES[str(f.type)]
    return click.Option(["--" + f.name.replace("_", "-")], type=kind, help=said)


PARAMETERS += map(_option, SETTINGS)


def run(domain: Domain, spec: str, *, objective: str | None, out: Path, resume: bool, model: str | None,
        kl_target: float | None, kl_budget: float | None, stop_when: str, sequences: Path | None, executor: str,
        no_guard: bool, threads: int | None, quiet: bool, **chosen: Any) -> None:
    """Checks what can be checked, then runs or goes on."""
    # 1. What can go wrong goes wrong now
    settings = {f.name: value for f in SETTINGS if (value := chosen.pop(f.name)) is not None}
    options = {name: value for name, value in chosen.items() if value not in (None, ())}
    from seqtutor.corpus import file_sha256
    from seqtutor.hits import Hits
    from seqtutor.machine import set_threads
    from seqtutor.model import SequenceModel
    from seqtutor.models import find_model
    from seqtutor.objective import Objective
    from seqtutor.run import Setup, tune
    if resume:
        told = {"objective": objective, "model": model, "stop_when": stop_when}
        if given := sorted([*settings, *options, *(name for name, value in told.items() if value)]):
            raise UsageError(f"--resume goes on with the settings in {out}; leave out --"
                             + ", --".join(name.replace("_", "-") for name in given))
        setup = Setup.load(out)
        if setup.domain != spec:
            raise UsageError(f"{out} is a run of the domain {setup.domain!r}, not of {spec!r}")
    else:
        if objective is None:
            raise UsageError("say what to raise: --objective " + "|".join([*domain.presets, "FILE.toml", "'RULE:1'"]))
        aim = Objective.parse(objective, domain)
        if kl_target is not None and kl_budget is not None:
            raise UsageError("--kl-target and --kl-budget exclude each other; give one")
        steer = {"control": "adaptive", "kl": kl_target} if kl_target is not None else \
            {"control": "budget", "kl": kl_budget} if kl_budget is not None else {}
        if stop_when:
            Hits.parse(stop_when)
        settings.setdefault("seed", secrets.randbelow(2**31))
        for name in ("method", "beta", "gamma"):
            if (value := getattr(aim, name)) is not None:
                settings.setdefault(name, value)
        if set(aim.targets) == {term.rule for term in aim.terms}:  # rates alone: there is no reward for β to cool
            settings.setdefault("cooling", 1.0)
        config = TuneConfig(**{"max_length": domain.request((), 0, **options).max_length, **settings, **steer})
        file = find_model(model or domain.name)
        setup = Setup(spec, model or domain.name, file_sha256(file), aim.to_dict(), config, options, executor,
                      read_sequences(sequences) if sequences else (), stop_when)
    file = find_model(setup.model)
    if file_sha256(file) != setup.sha256:
        raise UsageError(f"the prior {setup.model!r} is no longer the file that {out} began with; put that one back")
    prior = SequenceModel.load(file, domain.name)

    # 2. Tune
    set_threads(threads)
    config = setup.config
    with Progress("tuning", config.steps, quiet) as progress:
        last = 0

        def report(at: dict[str, Any]) -> None:
            nonlocal last
            last = int(at["step"])
            progress.update(last,
                            f"reward {at['reward']:.3f} · best {at['best']:.3f} · KL {at['kl']:.2f} · "
                            f"β {at['beta']:.3g} · valid {at['valid']:.0%} · unique {at['unique']:.0%}"
                            + (f" · stage {at['stage']}" if "stage" in at else "") + told_costs(at["costs"]))

        try:
            ended = tune(out, setup, domain, prior, resume=resume, guard=not no_guard, report=report)
        except (KeyboardInterrupt, SeqtutorError):
            if (out / "checkpoint.safetensors").exists():
                progress.say(f"kept in {out}; go on with: seqtutor tune {spec} --out {out} --resume")
            raise
    if setup.stop_when and not ended and 0 < last < config.steps:
        click.echo(f"found {setup.stop_when} at step {last}: {out / 'hits.csv'}", err=True)
    again = "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, given in setup.options.items()
                    for value in (given if isinstance(given, list | tuple) else [given]))
    click.echo(f"wrote {out}; seed {config.seed}; try: seqtutor generate {spec} --model {out}{again} -n 20", err=True)
    if ended:
        raise SeqtutorError(f"{out}: {ended}")


def told_costs(costs: Mapping[str, float]) -> str:
    """The two costliest rules of those that take a millisecond a text or more."""
    slow = sorted((name for name in costs if costs[name] >= 1e-3), key=lambda name: -costs[name])[:2]
    return "".join(f" · {name} {1000 * costs[name]:,.0f} ms" for name in slow)


def read_sequences(path: Path) -> list[tuple[str, float]]:
    """Texts and scores (nan where there is none) of a user's CSV file."""
    try:
        with open(check_readable(path), newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            if not head:
                raise UsageError(f"{path} is empty; its first column should hold texts, under a heading")
            at = head.index("score") if "score" in head else None
            return [(row[0], float(row[at]) if at is not None and at < len(row) and row[at] else math.nan)
                    for row in reader if row and row[0]]
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; it should be a CSV file") from None
    except ValueError as error:
        raise UsageError(f"{path}: the column score should hold numbers: {error}") from None


@click.command(cls=DomainGroup, subcommand_metavar="DOMAIN [OPTIONS]", run=run, parameters=PARAMETERS,
               title="Tune a prior of {about} towards an objective.", examples=EXAMPLES)
def command() -> None:
    """Tune a prior towards an objective that it has not learnt from data, staying close to the data.

    \b
    Examples:
      seqtutor tune molecules --objective drug-like --out runs/drug-like
      seqtutor tune molecules --objective 'qed:1,sa:minimise:0.5' --kl-budget 5 --out runs/mine
      seqtutor tune music --objective human --meter 6/8 --bars 8 --out runs/jigs
    """
