"""A tuning run on disk: one folder that holds everything and can be gone on with bit for bit.

    runs/NAME/config.json            what was asked for: domain, prior, objective, settings
              checkpoint.safetensors the state of the tutor; replaced whole
              metrics.csv            a row a step
              best.csv               the best sequences so far
              pareto.csv, pareto.png those that no other beats in all terms, if there are several terms
              hits.csv               those above the threshold of --stop-when
              model.safetensors      the policy, for `seqtutor generate --model runs/NAME`
              reward.png, front.png  with matplotlib
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seqtutor
from seqtutor import checkpoint
from seqtutor.diversity import DiverseRewarder
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.files import atomic, check_readable
from seqtutor.guard import Guard
from seqtutor.hits import Hits, Pareto
from seqtutor.interrupt import held_interrupt
from seqtutor.machine import keep_freed_memory
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.report import plot_front, plot_run
from seqtutor.rewards import Rewarder
from seqtutor.scoring import score_table
from seqtutor.settings import TuneConfig
from seqtutor.tables import write_table
from seqtutor.tutor import Tutor

FORMAT = "seqtutor-run/1"
SHOWN = 100  # sequences in best.csv

#: what the loop tells its caller after every step: the step's figures, and ``costs``, seconds a text of each end rule
Report = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is: everything that config.json holds. ``model``: the prior's name or file, ``sha256`` its content;
    ``options``: the domain's own, by name; ``executor``: where rules are computed (of no influence on results);
    ``stop_when``: ``N hits above X``, or "" for all steps."""

    domain: str
    model: str
    sha256: str
    objective: dict[str, Any]
    config: TuneConfig
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    executor: str = "serial"
    given: Sequence[tuple[str, float]] = ()
    stop_when: str = ""

    def save(self, folder: Path) -> None:
        """Writes config.json."""
        said = {"format": FORMAT, "seqtutor": seqtutor.__version__, **dataclasses.asdict(self)}
        with atomic(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Setup:
        """From the config.json of a run. Raises :class:`UsageError` where there is none or it is of another version."""
        path = check_readable(folder / "config.json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            form = said.pop("format", None)
            said.pop("seqtutor", None)
            if form != FORMAT:
                raise UsageError(f"{folder} was made by another version of seqtutor ({form}, not {FORMAT}); "
                                 "begin a new run")
            return cls(**{**said, "config": TuneConfig(**said["config"]), "given": tuple(map(tuple, said["given"]))})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{path} is damaged: {error}") from error


def begin(folder: Path, setup: Setup) -> None:
    """Makes the folder of a new run. Raises :class:`UsageError` where there is one already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists; go on with --resume, or give the new run another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqtutorError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    setup.save(folder)


def tune(folder: Path, setup: Setup, domain: Domain, prior: SequenceModel, *, resume: bool = False,
         guard: bool = True, report: Report | None = None) -> str:
    """Begins the run in ``folder``, or goes on with it, and returns why it ended before its last step, or "".

    ``report`` is told the figures of every step. At Ctrl-C the step is finished, a checkpoint written and
    KeyboardInterrupt raised. Raises :class:`SeqtutorError` where the loss stops being finite or a checkpoint cannot be
    written; the last one stays.
    """
    # 1. The parts
    config = setup.config
    objective = Objective.from_dict(setup.objective, domain)
    request = domain.request((), config.seed, **setup.options)
    grammar = domain.grammar(prior.vocabulary.all, **request.options)
    rules = objective.rules(domain)
    watched = {name: sign for name, sign in domain.guards.items() if name not in rules} if guard else {}
    keep_freed_memory()
    plain = Rewarder(domain, objective, executor=setup.executor, spec=setup.domain, extra=list(watched),
                     options=request.options)
    rewarder = plain if objective.diversity is None else DiverseRewarder(plain, objective.diversity)
    hits = Hits.parse(setup.stop_when) if setup.stop_when else None
    pareto, stage, begun = Pareto.of(objective, domain), 0, 0
    try:
        tutor = Tutor(domain, prior, rewarder, config, grammar=grammar, targets=objective.targets,
                      options=request.options)
        watch = Guard(watched)
        rows: list[dict[str, Any]] = []
        # 2. Where it stopped, if it had begun
        place = folder / "checkpoint.safetensors"
        if not resume:
            tutor.give(setup.given)  # refuses what cannot be learnt from before there is a folder
            begin(folder, setup)
        good: dict[str, Tensor] = {}
        best_j, ended, seconds = -math.inf, "", 0.0
        if resume and place.exists():
            tensors, state = checkpoint.load(place)
            tutor.load(tensors, state["tutor"])
            watch, best_j, seconds, ended = Guard(**state["guard"]), state["best_j"], state["seconds"], state["ended"]
            good, stage, begun = checkpoint.unpack("good", tensors), state["stage"], state["begun"]
            if stage:
                rewarder.aim(objective.stages[stage].objective)
                rewarder.load(state["tutor"]["rewarder"])
            pareto.load(state["pareto"])
            if hits is not None:
                hits.found = {text: (reward, step) for text, reward, step in state["hits"]}
            rows = [row for row in read_rows(folder / "metrics.csv") if int(row["step"]) <= tutor.done]
        elif resume:
            tutor.give(setup.given)

        def keep() -> None:
            """Metrics first: rows behind the checkpoint are dropped again when it is gone on with."""
            tensors, state = tutor.state()
            write_rows(folder / "metrics.csv", rows)
            checkpoint.save(place, {**tensors, **checkpoint.pack("good", good)}, {
                "tutor": state, "guard": watch.state(), "best_j": best_j, "ended": ended, "stage": stage,
                "begun": begun, "pareto": pareto.state(),
                "hits": [(text, *found) for text, found in hits.found.items()] if hits else [],
                "seconds": seconds + time.monotonic() - started})
            named = list(dict.fromkeys([*rules, *watched]))
            best = tutor.memory.best[:SHOWN]
            write_found(folder / "best.csv", domain, setup.domain, [e.canonical for e in best],
                        {"reward": [e.total for e in best]}, named)
            if pareto.terms:
                write_found(folder / "pareto.csv", domain, setup.domain, pareto.texts, pareto.columns(), named)
            if hits is not None:
                write_found(folder / "hits.csv", domain, setup.domain, list(hits.found),
                            {"reward": [reward for reward, _ in hits.found.values()],
                             "step": [step for _, step in hits.found.values()]}, named)

        # 3. Step after step
        started = last = time.monotonic()
        with held_interrupt() as interrupted:  # a step is finished before Ctrl-C is heard
            while tutor.done < config.steps and not ended and not (hits and hits.reached) and not interrupted():
                figures = tutor.step()
                if objective.stages:
                    figures["stage"] = stage + 1
                rows.append({**figures, "seconds": round(seconds + time.monotonic() - started, 1)})
                if tutor.scores is not None:
                    pareto.observe(tutor.scores, rewarder.objective)
                    if hits is not None:
                        hits.observe(tutor.scores, tutor.done)
                # 4. The guard; the best policy so far by the objective itself, E[R] − β·KL
                if guard:
                    ended = watch.observe(figures, tutor.fresh_totals, tutor.fresh_values)
                j = _smooth(rows, lambda row: float(row["reward"]) - config.beta * float(row["kl"]))
                if tutor.done % 10 == 0 and j > best_j and not tutor.rates.names:
                    best_j, good = j, {name: tensor.clone() for name, tensor in tutor.policy.state_dict().items()}
                # 5. The next stage, if there is one and this one is over
                if objective.stages[stage + 1:] and objective.stages[stage].over(rows[begun:]):
                    stage, begun, best_j, good, watch = stage + 1, len(rows), -math.inf, {}, Guard(watched)
                    rewarder.aim(objective.stages[stage].objective)
                    tutor.reconsider()
                    pareto = Pareto.of(rewarder.objective, domain)
                if report:
                    report({**rows[-1], "costs": rewarder.costs})
                if time.monotonic() - last > config.checkpoint_seconds:
                    keep()
                    last = time.monotonic()
            if interrupted() and tutor.done < config.steps and not ended and not (hits and hits.reached):
                keep()
                raise KeyboardInterrupt
        # 6. The policy: the last one, or after a collapse the best
        if ended and good:
            tutor.policy.load_state_dict(good)
        keep()
        write_model(folder / "model.safetensors", tutor, setup, rows)
        plot_run(folder / "metrics.csv", folder, config.beta)
        plot_front(pareto, folder)
        return ended or "; ".join(tutor.rates.unreachable)
    finally:
        rewarder.close()


def _smooth(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float], last: int = 10) -> float:
    """The mean over the last rows."""
    found = [value(row) for row in rows[-last:]]
    return math.fsum(found) / len(found)


def write_model(path: Path, tutor: Tutor, setup: Setup, rows: Sequence[Mapping[str, Any]]) -> None:
    """The policy with how it came to be."""
    model = tutor.policy
    names = [name for name, value in rows[-1].items() if isinstance(value, float) and math.isfinite(value)] \
        if rows else []
    figures = {name: _smooth(rows, lambda row, name=name: float(row[name])) for name in names}  # type: ignore[misc]
    model.provenance = {"prior": setup.model, "prior_sha256": setup.sha256, "objective": setup.objective,
                        "tune": dataclasses.asdict(setup.config), "options": dict(setup.options), "steps": tutor.done,
                        "figures": figures, "seconds": figures.get("seconds"), "torch": torch.__version__,
                        "seqtutor": seqtutor.__version__}
    model.save(path)


def write_found(path: Path, domain: Domain, spec: str, texts: Sequence[str], found: Mapping[str, list[Any]],
                rules: Sequence[str]) -> None:
    """Sequences with what the run ``found`` of each, a column a name, and with ``rules``."""
    table = score_table(domain, spec, texts, rules)
    table.columns = {domain.text_column: table.columns[domain.text_column], **found,
                     **{k: v for k, v in table.columns.items() if k != domain.text_column}}
    write_table(domain, table, path)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All steps so far as CSV, replaced whole."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[-1]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """What :func:`write_rows` wrote; nothing if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
