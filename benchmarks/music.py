"""The music prior's figures: nats a step, human beside generated rule rates, the longest copies.

    python benchmarks/music.py rates                 measures human rates and writes them into the domain's package
    python benchmarks/music.py likelihood            nats a step on held-out tune families, beside a 6-gram
    python benchmarks/music.py compare               10,000 samples: rates in two columns, longest verbatim copies
    python benchmarks/music.py tune                  tunes the prior towards the human rates, whatever key and metre

All need ``pip install 'seqtutor[corpora]'``. ``--model`` takes a name or a file; ``--json FILE`` keeps the figures.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import seqtutor_music
from seqtutor.corpus import prepare
from seqtutor.domain import UsageError
from seqtutor_music import DOMAIN, corpus, rules, sequence_tutor, tokens
from seqtutor_music.families import interval_runs
from seqtutor_music.melody import Melody
from seqtutor_music.rules_form import COPY

ORDER = 6
LONGEST = 1200  # tokens, longer than any tune of the corpus
LONG_COPY = 16  # notes: samples with a longer verbatim copy are counted


def real_tunes() -> tuple[list[str], list[str]]:
    """(training, held-out) streams of the corpus, those left out that were only recast into a rare mode."""
    prepared = prepare(DOMAIN, corpus.OLD_PRINTS)
    marked = {corpus.standardise(raw) for raw in corpus.read_abc(corpus.old_prints_path())
              if raw.startswith(corpus.RECAST)}
    return ([t for t in prepared.train if t not in marked], [t for t in prepared.heldout if t not in marked])


@click.group()
def main() -> None:
    """Figures of the music prior."""


# -- human rates -----------------------------------------------------------------------------------------------------

@main.command(name="rates")
def write_rates() -> None:
    """Measures every rule on the whole corpus and writes human_rates.json and corpus_runs.npy."""
    train, heldout = real_tunes()
    melodies = [tokens.parse(text) for text in [*train, *heldout]]
    measured = rules.measure(melodies)
    measured.pop("originality", None)  # every tune of the corpus is its own copy
    package = Path(seqtutor_music.__file__).parent
    content = {"corpus": "old-prints", "tunes": len(melodies),
               "rates": {name: dataclasses.asdict(rate) for name, rate in measured.items()}}
    (package / "human_rates.json").write_text(json.dumps(content, indent=1) + "\n")
    runs = [interval_runs([note.pitch for note in tokens.parse(text).notes], COPY) for text in train]
    kept = np.unique((np.concatenate(runs) >> np.uint64(32)).astype(np.uint32))
    np.save(package / "corpus_runs.npy", kept, allow_pickle=False)
    for name, rate in measured.items():
        click.echo(f"{name:22} {rate.mean:7.1%}   {rate.low:4.0%} to {rate.high:4.0%}   {rate.tunes} tunes")
    click.echo(f"{len(kept):,} runs of {COPY} intervals")


# -- likelihood ------------------------------------------------------------------------------------------------------

def grid(text: str) -> list[int]:
    """A stream on Magenta's grid of 38 classes, one a step."""
    return sequence_tutor.from_stream(tokens.split(text))[0]


class WittenBell:
    """An n-gram with Witten-Bell smoothing over 38 classes (Witten and Bell 1991), the baseline."""

    def __init__(self, rows: Sequence[Sequence[int]], order: int = ORDER):
        self.order = order
        self.counts: list[defaultdict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order)]
        for row in rows:
            for i, value in enumerate(row):
                for k in range(min(order, i + 1)):
                    self.counts[k][tuple(row[i - k:i])][value] += 1

    def probability(self, context: tuple[int, ...], value: int) -> float:
        """p(value | context), the context at most order − 1 long."""
        lower = self.probability(context[1:], value) if context else 1 / 38
        seen = self.counts[len(context)].get(context)
        if not seen:
            return lower
        return (seen[value] + len(seen) * lower) / (seen.total() + len(seen))

    def nats(self, row: Sequence[int]) -> float:
        """−log p of a row."""
        return -sum(math.log(self.probability(tuple(row[max(0, i - self.order + 1):i]), value))
                    for i, value in enumerate(row))


def model_nats(model: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    """−log p of each stream under the model inside its grammar (as it is always sampled): float64 [texts].

    Everything counts: metre, mode, upbeat, the numbers behind bar lines, the end. So this bounds from above what the
    same melody costs on the bare grid.
    """
    import torch

    grammar = DOMAIN.grammar(model.vocabulary.all).next_state
    found = np.zeros(len(texts))
    for i, text in enumerate(texts):
        ids = [1, *model.vocabulary.encode(tokens.split(text)).tolist(), 2]
        with torch.no_grad():
            logits = model(torch.tensor([ids[:-1]]))[0][0]
        state, states = 0, []
        for token in ids[1:]:
            states.append(state)
            state = int(grammar[state, token])
        allowed = torch.from_numpy(grammar[np.array(states)] >= 0)
        logs = logits.masked_fill(~allowed, -math.inf).log_softmax(-1)
        found[i] = -float(logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].double().sum())
    return found


@main.command()
@click.option("--model", "name", default="music", show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path))
def likelihood(name: str, out: Path | None) -> None:
    """Nats a step on Magenta's grid of 38 classes, held-out tune families."""
    from seqtutor.models import load_model

    train, heldout = real_tunes()
    if not heldout:
        raise UsageError("nothing is held out")
    steps = sum(len(grid(text)) for text in heldout)
    baseline = WittenBell([grid(text) for text in train])
    ngram = sum(baseline.nats(grid(text)) for text in heldout) / steps
    ours = float(model_nats(load_model(name, "music"), heldout).sum()) / steps
    quarter = 4.0
    figures = {"heldout_tunes": len(heldout), "heldout_steps": steps, "six_gram_nats_step": ngram,
               "nats_step": ours, "nats_quarter": ours * quarter, "better_than_six_gram": 1 - ours / ngram,
               "better_than_1.237": 1 - ours / 1.237}
    _show(figures, out)


# -- generated beside human ------------------------------------------------------------------------------------------

def longest_copies(melodies: Sequence[Melody], known: Sequence[Melody]) -> NDArray[np.int64]:
    """For each melody the notes of its longest run whose intervals and durations stand so in one of ``known``."""
    def rows(of: Sequence[Melody]) -> list[NDArray[np.uint64]]:
        # pitch and duration together walk like a pitch line: equal differences are equal intervals and durations
        return [np.array([n.pitch for n in m.notes], np.int64) for m in of], [
            np.array([n.duration for n in m.notes], np.int64) for m in of]  # type: ignore[return-value]

    def hashes(pitches: NDArray[np.int64], lengths: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
        """Of every ``size`` notes in a row, their intervals and durations."""
        if len(pitches) < size:
            return np.zeros(0, np.uint64)
        steps = np.concatenate([[0], np.diff(pitches)]).astype(np.uint64)
        count = len(pitches) - size + 1
        value = np.zeros(count, np.uint64)
        for k in range(size):
            interval = steps[k:k + count] if k else np.zeros(count, np.uint64)
            value = (value + interval * np.uint64(1009) + lengths[k:k + count].astype(np.uint64) + np.uint64(7)
                     ) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
        return value

    theirs, ours = rows(known), rows(melodies)
    longest = np.zeros(len(melodies), np.int64)
    alive = list(range(len(melodies)))
    for size in range(4, 400):
        if not alive:
            break
        pool = np.unique(np.concatenate([hashes(p, d, size) for p, d in zip(*theirs, strict=True)]))
        if not len(pool):
            break
        still = []
        for i in alive:
            mine = hashes(ours[0][i], ours[1][i], size)  # type: ignore[arg-type]
            place = np.minimum(np.searchsorted(pool, mine), len(pool) - 1)
            if len(mine) and bool((pool[place] == mine).any()):
                longest[i] = size
                still.append(i)
        alive = still
    return longest


def sample(name: str, n: int, seed: int, temperature: float, top_p: float) -> list[str]:
    """``n`` streams inside the grammar, every choice left to the model."""
    from seqtutor.models import load_model
    from seqtutor.sampling import Sampler, SamplingConfig

    model = load_model(name, "music")
    config = SamplingConfig(max_length=LONGEST, temperature=temperature, top_p=top_p, batch=512)
    sampler = Sampler(model, config, seed=seed, grammar=DOMAIN.grammar(model.vocabulary.all))
    texts = [DOMAIN.join(row) for row in sampler.sample(n)]
    return [text for text in texts if DOMAIN.canonical(text)]


@main.command()
@click.option("--model", "name", default="music", show_default=True)
@click.option("-n", "n", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path))
def compare(name: str, n: int, seed: int, temperature: float, top_p: float, out: Path | None) -> None:
    """The rates of every rule, human (held-out) beside generated, and the longest verbatim copies."""
    train, heldout = real_tunes()
    texts = sample(name, n, seed, temperature, top_p)
    melodies = [tokens.parse(text) for text in texts]
    melodies = [melody for melody in melodies if melody.notes]
    human = rules.measure([tokens.parse(text) for text in heldout])
    made = rules.measure(melodies)
    names = [name for name in rules.BY_NAME if name in human and name in made and name != "originality"]
    click.echo("| rule | human, held out | generated | gap |\n| --- | --- | --- | --- |")
    for rule in names:
        gap = made[rule].mean - human[rule].mean
        click.echo(f"| {rule} | {human[rule].mean:.1%} | {made[rule].mean:.1%} | {gap:+.1%} |")
    copies = longest_copies(melodies, [tokens.parse(text) for text in train])
    figures = {
        "samples": len(texts), "of": n, "temperature": temperature, "top_p": top_p, "seed": seed,
        "mean_absolute_gap": float(np.mean([abs(made[r].mean - human[r].mean) for r in names])),
        "rules": len(names), "longest_copy_notes": int(copies.max(initial=0)),
        f"share_copying_over_{LONG_COPY}_notes": float((copies > LONG_COPY).mean()),
        "median_longest_copy": float(np.median(copies)), "distinct": len(set(texts)) / max(1, len(texts)),
        "in_training_set": len(set(texts) & set(train)),
    }
    _show(figures | {"rates": {r: [human[r].mean, made[r].mean] for r in names}} if out else figures, out)


# -- a tuned model ---------------------------------------------------------------------------------------------------

@main.command()
@click.option("--model", "name", default="music", show_default=True, help="the prior: a name or a file")
@click.option("--seconds", default=2700.0, show_default=True, help="processor time")
@click.option("--minibatch", default=64, show_default=True, help="of the 64 sequences of a step")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/music-tutored"), show_default=True)
def tune(name: str, seconds: float, minibatch: int, out: Path) -> None:
    """Tunes the prior on one thread towards the preset `human`, with metre, mode and length as the prior chooses them
    (`seqtutor tune music` fixes them); goes on from a checkpoint in --out."""
    from timed_run import run_for

    from seqtutor.corpus import file_sha256
    from seqtutor.machine import keep_freed_memory, set_threads
    from seqtutor.models import find_model, load_model
    from seqtutor.objective import Objective
    from seqtutor.rewards import Rewarder
    from seqtutor.settings import TuneConfig
    from seqtutor.tutor import Tutor

    set_threads(1)
    keep_freed_memory()
    prior = load_model(name, DOMAIN.name)
    objective = Objective.parse("human", DOMAIN)
    config = TuneConfig(method="path", beta=1.0, batch=64, minibatch=minibatch, max_length=LONGEST,
                        learning_rate=1e-3, critic_memory=0.9, recent_size=0, best_size=0)
    tutor = Tutor(DOMAIN, prior, Rewarder(DOMAIN, objective), config, targets=objective.targets,
                  grammar=DOMAIN.grammar(prior.vocabulary.all))

    def words(figures: dict[str, float]) -> str:
        off = [abs(figures[rule] - rate) for rule, rate in objective.targets.items()]
        return f"KL {figures['kl']:.2f}, mean distance {np.mean(off):.4f}, largest {max(off):.3f}"

    model = run_for(tutor, seconds, out, words=words)
    model.provenance |= {"prior": name, "prior_sha256": file_sha256(find_model(name)), "objective": objective.to_dict(),
                         "about": f"the prior {name} tuned: {objective.about}"}
    model.save(out / "model.safetensors")
    for line in tutor.rates.unreachable:
        click.echo(line)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("kept", nargs=-1, type=click.Path(path_type=Path))
def publish(model: Path, kept: tuple[Path, ...]) -> None:
    """Brings index.json, the model card and the list of known texts beside MODEL up to date with figures KEPT by
    --json."""
    from prior import write_figures

    from seqtutor.known import KnownTexts
    from seqtutor.model import SequenceModel

    figures: dict[str, Any] = {}
    for path in kept:
        figures |= json.loads(path.read_text())
    rates = figures.pop("rates", {})
    table = "\n| rule | human, held out | generated |\n| --- | --- | --- |\n"
    table += "".join(f"| {rule} | {human:.1%} | {made:.1%} |\n" for rule, (human, made) in rates.items())
    network = SequenceModel.load(model, DOMAIN.name)
    write_figures(model, network, {name.replace("_", " "): round(value, 4) if isinstance(value, float) else value
                                   for name, value in figures.items()}, table)
    if "prior" not in network.provenance:  # a tuned model knows what its prior knows
        KnownTexts.of(prepare(DOMAIN, corpus.OLD_PRINTS).train).save(model)


def _show(figures: dict[str, Any], out: Path | None) -> None:
    click.echo("\n| figure | value |\n| --- | --- |")
    for name, value in figures.items():
        if not isinstance(value, dict):
            click.echo(f"| {name.replace('_', ' ')} | {round(value, 4) if isinstance(value, float) else value} |")
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
