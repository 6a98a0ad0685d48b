"""What a nat of KL buys: the limit, our methods and REINVENT's loss, in one plane.

    python benchmarks/tuning.py --objective drug-like --seconds 900 --out runs/tuning

The best reward that any policy can have at a KL from the prior is known: prior samples re-weighted by exp(R/β). (Exact
while the KL is well below the logarithm of the number of samples.) Then every method begins from the same prior, with
the same network, batch and seed, one after the other, each for the same time, and tells reward, KL and oracle calls on
the way. A method that was finished is not run again from the same folder. ``--ship soft-q=molecules-druglike`` puts the
policy of a method among the models that come with the package, with its figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from prior import write_figures
from torch import Tensor

import seqtutor
from seqtutor.corpus import file_sha256
from seqtutor.domain import Domain
from seqtutor.evaluate import divergence, sample_quality
from seqtutor.files import atomic
from seqtutor.machine import keep_freed_memory, set_threads
from seqtutor.model import SequenceModel
from seqtutor.models import find_model
from seqtutor.objective import Objective
from seqtutor.plugins import load_domain
from seqtutor.rewards import Rewarder
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Chunk, Tutor

BETAS = (0.1, 0.06, 0.04, 0.03, 0.025, 0.02)


class Reinvent(Tutor):
    """REINVENT's loss: (log p(x) + R(x)/β − log π(x))², whole sequences, no value (Olivecrona et al. 2017)."""

    def _residuals(self, chunk: Chunk, now: Tensor, hidden: Tensor, log_pi: Tensor, allowed: Tensor) -> Tensor:
        return ((log_pi - chunk.log_p - chunk.nats) * chunk.learn).sum(1, keepdim=True)


#: name → (tutor, settings that differ)
METHODS: dict[str, tuple[type[Tutor], dict[str, Any]]] = {
    "soft-q": (Tutor, {"method": "soft-q"}), "path": (Tutor, {}), "path, λ = 1": (Tutor, {"lam": 1.0}),
    "psi": (Tutor, {"method": "psi", "n_step": 5, "target_rate": 0.1}),
    "reinvent": (Reinvent, {"precision": "auto", "minibatch": 64}),  # as soft-q has them
}


PILOT = 20  # steps that tell how many there is time for


def front(rewards: NDArray[np.float64], betas: Sequence[float] = BETAS) -> list[dict[str, float]]:
    """E[R] and KL of p·exp(R/β)/Z for each β, from the rewards of prior samples; ``effective``: of so many samples."""
    rows = []
    for beta in betas:
        log_w = (rewards - rewards.max()) / beta
        w = np.exp(log_w - np.log(np.exp(log_w).sum()))
        kl = float(w @ np.log(np.maximum(w, 1e-300) * len(w)))
        rows.append({"beta": beta, "reward": float(w @ rewards), "kl": kl, "effective": float(1 / (w @ w))})
    return rows


def kl_of(rewards: NDArray[np.float64], reward: float) -> float:
    """The least KL at which a mean ``reward`` is to be had; nan beyond what the samples can tell."""
    rows = front(rewards, np.geomspace(1.0, 0.008, 200).tolist())
    return float(np.interp(reward, [row["reward"] for row in rows], [row["kl"] for row in rows], right=math.nan))


def run(domain: Domain, prior: SequenceModel, objective: Objective, name: str, seconds: float, config: TuneConfig,
        ) -> tuple[Tutor, list[dict[str, float]]]:
    """Steps until ``seconds`` are over (evaluation not counted); the learning rate falls to zero with the time."""
    kind, settings = METHODS[name]
    grammar = domain.grammar(prior.vocabulary.all)
    pilot = kind(domain, prior, Rewarder(domain, objective),
                 dataclasses.replace(config, **settings, critic_steps=0), grammar=grammar)
    for _ in range(PILOT):  # the first ones are slower
        pilot.step()
    started = time.monotonic()
    for _ in range(PILOT):
        pilot.step()
    steps = max(10, int(seconds / ((time.monotonic() - started) / PILOT)))
    tutor = kind(domain, prior, Rewarder(domain, objective), dataclasses.replace(config, **settings, steps=steps),
                 grammar=grammar)
    rows: list[dict[str, float]] = []
    started = time.monotonic()
    while tutor.done < steps and time.monotonic() - started < 1.15 * seconds:
        rows.append({**tutor.step(), "seconds": time.monotonic() - started})
        if tutor.done % 20 == 0:
            last = rows[-20:]
            print(f"  {name}: step {tutor.done} of {steps}, {rows[-1]['seconds']:.0f} s, "
                  + ", ".join(f"{k} {np.mean([r[k] for r in last]):.3f}" for k in ("reward", "kl", "valid", "unique")),
                  file=sys.stderr, flush=True)
    return tutor, rows


def longest(domain: Domain) -> int:
    """Tokens after which a sample is cut off where nothing is asked for."""
    return domain.request((), 0).max_length


def figures(domain: Domain, model: SequenceModel, prior: SequenceModel, objective: Objective, n: int,
            seed: int) -> dict[str, float]:
    """Of ``n`` fresh samples: rules and reward (means of the valid), quality, KL exact at every token."""
    grammar = domain.grammar(model.vocabulary.all)
    ids = Sampler(model, SamplingConfig(max_length=longest(domain)), seed=seed, grammar=grammar).sample_ids(n)
    tokens = [model.vocabulary.decode(row) for row in ids]
    texts = [domain.join(row) for row in tokens]
    scores = Rewarder(domain, objective)(tokens)
    valid = [c for c in scores.canonical if c is not None]
    quality = sample_quality(domain, texts[:1000])
    return {"valid": len(valid) / n, "unique@1k": quality["unique"], "reward": float(np.nanmean(scores.total)),
            **{name: float(np.nanmean(values)) for name, values in scores.values.items()},
            "kl": float(divergence(model, prior, ids, grammar=grammar, given=[domain.given(t) for t in tokens]
                                   ).kl.mean()),
            "diversity": domain.diversity(valid[:1000]) or math.nan}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown; without a column that holds nothing but nan."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row)
             if any(row[name] == row[name] for row in rows if name in row)]
    def shown(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    return "\n".join(lines + ["| " + " | ".join(shown(row.get(name, "")) for name in names) + " |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", default="molecules")
    parser.add_argument("--model", help="the prior  [default: the domain's own]")
    parser.add_argument("--objective", default="drug-like")
    parser.add_argument("--methods", default="soft-q,path,reinvent", help=", ".join(METHODS))
    parser.add_argument("--batch", type=int, default=64, help="fresh samples a step, of every method")
    parser.add_argument("--beta", type=float, help="[default: the objective's]")
    parser.add_argument("--seconds", type=float, default=900, help="for each method")
    parser.add_argument("--samples", type=int, default=100_000, help="of the prior, for the front")
    parser.add_argument("--evaluate", type=int, default=2000, help="samples of each finished policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    parser.add_argument("--ship", metavar="METHOD=NAME", help="make a finished method's policy the shipped model NAME")
    arguments = parser.parse_args()
    threads = set_threads(arguments.threads)
    keep_freed_memory()
    domain = load_domain(arguments.domain)
    path = find_model(arguments.model or domain.name)
    prior = SequenceModel.load(path, domain.name)
    objective = Objective.parse(arguments.objective, domain)
    arguments.out.mkdir(parents=True, exist_ok=True)
    beta = arguments.beta or objective.beta or TuneConfig().beta
    config = TuneConfig(beta=beta, batch=arguments.batch, seed=arguments.seed,
                        max_length=longest(domain))

    # 1. The front
    place = arguments.out / "front.npy"
    if not place.exists():
        sampler = Sampler(prior, SamplingConfig(max_length=longest(domain)), seed=arguments.seed + 1,
                          grammar=domain.grammar(prior.vocabulary.all))
        ids = sampler.sample(arguments.samples)
        with atomic(place) as temporary:
            np.save(temporary, Rewarder(domain, objective)(ids).total)
    rewards = np.load(place)
    rewards = rewards[~np.isnan(rewards)]  # what cannot be scored teaches nothing, and is no part of the limit
    about = f" ({objective.about})" if objective.about else ""
    print(f"{arguments.objective}{about}, β = {beta:g}, batch {config.batch}, {threads} threads, "
          f"{arguments.seconds:g} s a method; the front from {len(rewards):,} scored samples of the prior\n")
    print(table([{k: round(v, 4) for k, v in row.items()} for row in front(rewards)]) + "\n")

    # 2. The methods
    rows: list[dict[str, Any]] = []
    for name in [m.strip() for m in arguments.methods.split(";" if ";" in arguments.methods else ",")]:
        done = arguments.out / f"{name}.json"
        if not done.exists():
            tutor, steps = run(domain, prior, objective, name, arguments.seconds, config)
            tutor.policy.provenance = {
                "prior": arguments.model or domain.name, "prior_sha256": file_sha256(path),
                "objective": objective.to_dict(), "tune": dataclasses.asdict(tutor.config), "steps": tutor.done,
                "seconds": steps[-1]["seconds"], "about": f"tuned towards {objective.about or objective.name}",
                "torch": torch.__version__, "seqtutor": seqtutor.__version__}
            tutor.policy.save(arguments.out / f"{name}.safetensors")
            found = {"steps": tutor.done, "seconds": round(steps[-1]["seconds"]), "calls": tutor.rewarder.calls,
                     **figures(domain, tutor.policy, prior, objective, arguments.evaluate, arguments.seed + 99)}
            with atomic(done) as temporary:
                temporary.write_text(json.dumps({"figures": found, "steps": steps}))
        found = json.loads(done.read_text())["figures"]
        rows.append({"method": name, **found, "front's kl": kl_of(rewards, found["reward"])})
    seed = arguments.seed + 99
    rows.append({"method": "prior", **figures(domain, prior, prior, objective, arguments.evaluate, seed)})
    print(table(rows))
    draw(arguments.out, rewards)
    if arguments.ship:
        method, _, name = arguments.ship.partition("=")
        shipped = Path("pretrained") / f"{name}.safetensors"
        shutil.copyfile(arguments.out / f"{method}.safetensors", shipped)
        shown = next(row for row in rows if row["method"] == method)
        write_figures(shipped, SequenceModel.load(shipped, domain.name),
                      {k: round(v, 4) if isinstance(v, float) else v for k, v in shown.items() if k != "method"})


def draw(folder: Path, rewards: NDArray[np.float64]) -> None:
    """front.png: reward over √KL, the limit and every method that is in the folder."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.add_subplot(xlabel="√KL, nats a sequence", ylabel="reward")
    limit = front(rewards, np.geomspace(1, 0.01, 60).tolist())
    trusted = [row for row in limit if row["effective"] > 100]
    axes.plot([math.sqrt(max(0, row["kl"])) for row in trusted], [row["reward"] for row in trusted], "k--",
              label="the best that a KL can buy")
    for done in sorted(folder.glob("*.json")):
        steps = json.loads(done.read_text())["steps"]
        size = max(1, len(steps) // 40)
        means = [[np.mean([s[k] for s in steps[i:i + size]]) for k in ("kl", "reward")]
                 for i in range(0, len(steps) - size + 1, size)]
        axes.plot([math.sqrt(max(0.0, float(kl))) for kl, _ in means], [r for _, r in means], marker=".",
                  label=done.stem)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(folder / "front.png") as temporary:
        figure.savefig(temporary, dpi=130)


if __name__ == "__main__":
    main()
