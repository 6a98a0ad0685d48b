"""Practical Molecular Optimization (Gao et al. 2022): how much reward a designer finds in 10,000 calls of an oracle.

    pip install 'seqtutor[corpora]'
    python benchmarks/pmo.py --seeds 3 --jobs 2 --out runs/pmo     # 20 tasks, one file a task and seed
    python benchmarks/pmo.py --out runs/pmo --table                # only print what is there
    python benchmarks/pmo.py --designer ablation --tasks perindopril_mpo,valsartan_smarts --calls 3000 --out runs/parts

The figure is the area under the curve of the mean of the ten best molecules so far, over 10,000 calls, from 0 to 1. A
molecule that was scored before (by canonical SMILES) and text that is no molecule are not calls. Nothing is scored
before call 1, and one setting serves all tasks. A task that has its file is not run again, so that a stopped command
goes on where it was, and commands with different ``--tasks`` may share a folder. Beside our columns stand published
ones (``pmo_published.csv``).

A *designer* is a frozen dataclass of settings that is called with an oracle and a seed and scores molecules until the
oracle is done::

    @dataclass(frozen=True)
    class Guess:
        about: str = "samples of the prior"
        def __call__(self, oracle: Oracle, seed: int) -> None:
            while not oracle.done:
                oracle(samples(64))
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rdkit
from rdkit.DataStructs import BulkTanimotoSimilarity
from tuning import Reinvent

from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.files import atomic
from seqtutor.machine import keep_freed_memory, set_threads
from seqtutor.models import load_model
from seqtutor.plugins import load_domain
from seqtutor.rewards import Rewards
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor
from seqtutor_molecules.classifiers import CLASSIFIED
from seqtutor_molecules.descriptors import molecule
from seqtutor_molecules.pmo import TASKS

PUBLISHED = Path(__file__).with_name("pmo_published.csv")
DOMAIN = load_domain("molecules")


# -- the oracle and the figure --------------------------------------------------------------------------------------

class Oracle:
    """A rule of a domain that can be called on ``calls`` different texts; ``scores`` are in the order of the calls."""

    def __init__(self, domain: Domain, rule: str, calls: int):
        self._domain, self._rule, self.calls = domain, domain.rule(rule), calls
        self.scores: dict[str, float] = {}
        self.perfect = 0
        self.seconds = 0.0

    @property
    def done(self) -> bool:
        """Whether every call is spent, or nothing is to be gained: ten score 1."""
        return len(self.scores) >= self.calls or self.perfect >= 10

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """One score a text; nan for what is not valid and for what there was no call left for."""
        started = time.perf_counter()
        canonical = [self._domain.canonical(text) for text in texts]
        new = [text for text in dict.fromkeys(canonical) if text is not None and text not in self.scores]
        new = new[:self.calls - len(self.scores)]
        self.scores.update(zip(new, map(float, self._rule(new)), strict=True))
        self.perfect = sum(score >= 1 for score in self.scores.values())
        self.seconds += time.perf_counter() - started
        return [math.nan if text is None else self.scores.get(text, math.nan) for text in canonical]


def curve(scores: Sequence[float], top: int = 10, every: int = 100) -> list[tuple[int, float]]:
    """(calls so far, mean of the ``top`` best scores so far) after every ``every`` calls and after the last. A score
    that is nan counts as 0."""
    best: list[float] = []
    points = []
    for done, score in enumerate(scores, start=1):
        (heapq.heappush if len(best) < top else heapq.heappushpop)(best, 0.0 if math.isnan(score) else score)
        if done % every == 0 or done == len(scores):
            points.append((done, math.fsum(best) / len(best)))
    return points


def area(points: Sequence[tuple[int, float]], calls: int) -> float:
    """The area under a :func:`curve`, over ``calls``: trapezoids from (0, 0), the last value held to the end."""
    points = [(0, 0.0), *points]
    inside = math.fsum((b - a) * (y + z) / 2 for (a, y), (b, z) in itertools.pairwise(points))
    return (inside + (calls - points[-1][0]) * points[-1][1]) / calls


def diversity(texts: Sequence[str]) -> float:
    """1 − the mean Tanimoto similarity of all pairs (Morgan, radius 2, 2048 bits), as PMO reports it for 100."""
    prints = [found.fingerprint for text in texts if (found := molecule(text)) is not None]
    pairs = [x for i in range(1, len(prints)) for x in BulkTanimotoSimilarity(prints[i], prints[:i])]
    return 1 - math.fsum(pairs) / len(pairs) if pairs else 0.0


# -- designers ------------------------------------------------------------------------------------------------------

Designer = Callable[[Oracle, int], None]


@dataclass(frozen=True)
class GraphGA:
    """A genetic algorithm of the domain's own edits: from ``population`` molecules of ``corpus``, again and again
    ``offspring`` new ones, of all of which the best ``population`` stay. After ``patience`` rounds without anything
    new it stops."""

    population: int = 120
    offspring: int = 10
    corpus: str = "zinc250k"
    patience: int = 20

    def __call__(self, oracle: Oracle, seed: int) -> None:
        rng = Random(seed)
        corpus = DOMAIN.corpus(self.corpus)
        drawn = rng.sample(list(corpus.read(corpus.path())), 2 * self.population)
        texts = [text for raw in drawn if (text := DOMAIN.standardise(raw))][:self.population]
        best: list[str] = []
        idle = 0
        while not oracle.done and idle < self.patience:
            before = len(oracle.scores)
            oracle(texts)
            scored = [text for text in dict.fromkeys([*best, *texts]) if text in oracle.scores]
            best = heapq.nlargest(self.population, scored, key=oracle.scores.__getitem__)
            idle = 0 if len(oracle.scores) > before else idle + 1
            texts = DOMAIN.edits(best, self.offspring, rng)


class Judge:
    """An oracle as the tutor asks for rewards: 0 for what is no molecule, nan once the calls are spent."""

    def __init__(self, oracle: Oracle):
        self._oracle = oracle

    @property
    def calls(self) -> int:
        return len(self._oracle.scores)

    def __call__(self, tokens: Sequence[Sequence[str]]) -> Rewards:
        texts = [DOMAIN.join(row) for row in tokens]
        canonical = [DOMAIN.canonical(text) for text in texts]
        before = set(self._oracle.scores)
        end = np.array(self._oracle(texts))
        end[[text is None for text in canonical]] = 0.0
        fresh = np.array([text is not None and text not in before for text in canonical])
        return Rewards(texts, canonical, end, None, {}, fresh)


@dataclass(frozen=True)
class Tutored:
    """The tutor: crossovers, mutations and samples of a policy that climbs after the best, of which a Gaussian process
    of the scores so far lets ``screen`` a step be scored. The prior is the shipped one."""

    method: str = "climb"
    batch: int = 8
    edits: int = 64
    screen: int = 64
    variants: int = 24
    best: int = 24
    best_size: int = 128
    rank: float = 0.02
    beta: float = 0.02
    learning_rate: float = 2e-3

    def __call__(self, oracle: Oracle, seed: int) -> None:
        steps = math.ceil(1.5 * oracle.calls / (self.batch + (self.screen or self.edits)))  # some are repeats
        chosen = asdict(self)
        tutor_class, chosen["method"] = (Reinvent, "path") if self.method == "reinvent" else (Tutor, self.method)
        config = TuneConfig(**chosen, steps=steps, recent_size=2 * oracle.calls, warmup=5, max_length=100, seed=seed,
                            precision="auto")
        tutor = tutor_class(DOMAIN, load_model("molecules", "molecules"), Judge(oracle), config)
        while not oracle.done and tutor.done < steps:
            tutor.step()


#: The tutor without one of its parts, or with another loss. What is scored a step stays as much.
ABLATION: Mapping[str, Tutored] = {
    "no learning": Tutored(learning_rate=1e-12),  # samples are the prior's
    "no screen": Tutored(screen=0),
    "no edits": Tutored(batch=72, edits=0, screen=0),
    "no variants": Tutored(variants=0),
    "no memory": Tutored(best=0, variants=0),
    "path": Tutored(method="path", learning_rate=5e-4),
    "reinvent": Tutored(method="reinvent", learning_rate=5e-4),
}
DESIGNERS: Mapping[str, Any] = {"tutor": Tutored(), **ABLATION, "graph-ga": GraphGA()}


# -- runs, one file each --------------------------------------------------------------------------------------------

def settings(designer: str, calls: int) -> dict[str, Any]:
    """What a run depends on besides task and seed."""
    return {"designer": designer, "calls": calls, **asdict(DESIGNERS[designer])}


def run(designer: str, task: str, seed: int, calls: int) -> dict[str, Any]:
    """One run, as the record that its file holds."""
    oracle = Oracle(DOMAIN, f"pmo({task})", calls)
    started = time.perf_counter()
    DESIGNERS[designer](oracle, seed)
    seconds = time.perf_counter() - started
    if not oracle.scores:
        raise SeqtutorError(f"the designer {designer} ended without one valid molecule ({task}, seed {seed})")
    points = curve(list(oracle.scores.values()))
    number = {text: i for i, text in enumerate(oracle.scores, start=1)}
    best = heapq.nlargest(100, oracle.scores, key=lambda text: (oracle.scores[text], -number[text]))
    return {
        "task": task, "seed": seed, "settings": settings(designer, calls),
        "auc": area(points, calls), "top10": points[-1][1], "scored": len(oracle.scores),
        "diversity": diversity(best), "sa": statistics.fmean(DOMAIN.rule("sa")(best)),
        "seconds": seconds, "oracle_seconds": oracle.seconds, "machine": platform.machine(),
        "rdkit": rdkit.__version__, "curve": points,
        "best": [[text, oracle.scores[text], number[text]] for text in best],
    }


def run_file(out: Path, designer: str, task: str, seed: int) -> Path:
    """Where the record of a run is kept."""
    return out / designer / f"{task}-{seed}.json"


def read(path: Path) -> dict[str, Any]:
    """A record. Raises :class:`UsageError` where it is none."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["auc"], record["settings"]["calls"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the record of a run ({type(error).__name__}: {error}); "
                         "remove it to run the task again") from None
    return record


def run_all(designers: Sequence[str], tasks: Sequence[str], seeds: Sequence[int], calls: int, out: Path,
            jobs: int = 1) -> None:
    """All runs that have no file yet, seed by seed, so that every task has one before any has two; ``jobs`` at once,
    each in a process with one thread."""
    missing = []
    for seed, task, designer in itertools.product(seeds, tasks, designers):
        path = run_file(out, designer, task, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            missing.append((designer, task, seed, calls, path))
        elif (found := read(path)["settings"]) != settings(designer, calls):
            raise UsageError(f"{path} was made with other settings ({found}); name another --out")
    if jobs == 1:
        for each in missing:
            write(*each)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=set_threads, initargs=(1,)) as pool:
        for done in [pool.submit(write, *each) for each in missing]:
            done.result()


def write(designer: str, task: str, seed: int, calls: int, path: Path) -> None:
    """Makes a run and its file."""
    record = run(designer, task, seed, calls)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"{designer} {task} seed {seed}: AUC {record['auc']:.3f}, top-10 {record['top10']:.3f}, "
          f"{record['scored']} calls, {record['seconds']:.0f} s", file=sys.stderr)


# -- tables ---------------------------------------------------------------------------------------------------------

def published() -> dict[str, dict[str, float]]:
    """{method: {task: AUC}} of the file of published columns, the row "sum" among the tasks."""
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {method: {row["task"]: float(row[method]) for row in rows} for method in rows[0] if method != "task"}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean, with ± the standard deviation where there are several."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def tables(out: Path) -> str:
    """Two tables of all runs in ``out``: AUC, beside the published columns where it is of 10,000 calls, and what it
    cost and looks like.

    Sums, ours and published, are over those of the 20 tasks that every one of our designers has run."""
    records = [read(path) for path in sorted(out.glob("*/*.json"))]
    if not records:
        raise UsageError(f"there are no runs in {out}; leave out --table to make some")
    calls = {record["settings"]["calls"] for record in records}
    if len(calls) > 1:
        raise UsageError(f"{out} holds runs of {sorted(calls)} calls; they cannot stand in one table")
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        by.setdefault((record["settings"]["designer"], record["task"]), []).append(record)
    ours = sorted({designer for designer, _ in by}, key=[*DESIGNERS].index)
    others = published() if calls == {10_000} else {}
    tasks = [task for task in (*TASKS, *CLASSIFIED) if any((designer, task) in by for designer in ours)]
    shared = [task for task in tasks if task in TASKS and all((designer, task) in by for designer in ours)]

    def aucs(designer: str, task: str) -> list[float]:
        return [record["auc"] for record in by.get((designer, task), [])]

    lines = [f"AUC top-10 of {calls.pop():,} calls, rdkit {rdkit.__version__}", "",
             f"| task | {' | '.join((*ours, *others))} |", "| --- |" + " ---: |" * (len(ours) + len(others))]
    for task in tasks:
        cells = [spread(found) if (found := aucs(designer, task)) else "" for designer in ours]
        cells += [f"{column[task]:.3f}" if task in column else "" for column in others.values()]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    sums = [math.fsum(statistics.fmean(aucs(designer, task)) for task in shared) for designer in ours]
    sums += [math.fsum(column[task] for task in shared) for column in others.values()]
    lines.append(f"| **sum of {len(shared)}** | {' | '.join(f'**{total:.2f}**' for total in sums)} |")

    lines += ["", "| designer | tasks × seeds | top-10 | diversity of the best 100 | SA of the best 100 | "
                  "s a run (oracle) | calls a run |", "| --- |" + " ---: |" * 6]
    for designer in ours:
        runs = [record for (name, _), found in by.items() if name == designer for record in found]

        def mean(key: str, runs: Sequence[dict[str, Any]] = runs) -> float:
            return statistics.fmean(record[key] for record in runs)

        seeds = len({record["seed"] for record in runs})
        lines.append(f"| {designer} | {len({record['task'] for record in runs})} × {seeds} | {mean('top10'):.3f} | "
                     f"{mean('diversity'):.3f} | {mean('sa'):.2f} | {mean('seconds'):.0f} "
                     f"({mean('oracle_seconds'):.0f}) | {mean('scored'):,.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designer", choices=[*DESIGNERS, "ablation"], default="tutor",
                        help="ablation: the tutor, without each of its parts, and the edits alone (graph-ga)")
    parser.add_argument("--tasks", default=",".join(TASKS), help="names separated by commas (default: the 20 "
                        f"that need RDKit alone; {', '.join(CLASSIFIED)} need the wheel of molscore)")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each with one thread")
    args = parser.parse_args(arguments)
    set_threads(args.threads)
    keep_freed_memory()
    try:
        tasks = [task.strip() for task in args.tasks.split(",") if task.strip()]
        for task in tasks:
            DOMAIN.rule(f"pmo({task})")  # refuses what is not there
        if not args.table:
            designers = ["tutor", *ABLATION, "graph-ga"] if args.designer == "ablation" else [args.designer]
            run_all(designers, tasks, range(args.seeds), args.calls, args.out, args.jobs)
        print(tables(args.out))
    except SeqtutorError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
