"""Pictures of a tuning run: reward over steps, and the reward that each nat of KL bought."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

from seqtutor.files import atomic
from seqtutor.hits import Pareto


def plot_run(metrics: Path, folder: Path, beta: float) -> str:
    """Draws reward.png and front.png into ``folder`` from a run's metrics.csv; returns '' or why they were left out."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plots without matplotlib: pip install 'seqtutor[plots]'"
    with open(metrics, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return "no steps to draw"
    drawn = ("step", "reward", "kl", "valid", "unique")
    columns = {name: _smooth([float(row[name]) for row in rows]) for name in drawn}
    figure = Figure(figsize=(7, 6), layout="constrained")
    reward, kl, share = figure.subplots(3, sharex=True)
    reward.plot(columns["step"], columns["reward"])
    reward.set_ylabel("reward")
    kl.plot(columns["step"], columns["kl"], color="tab:red")
    kl.set_ylabel("KL, nats a sequence")
    for name in ("valid", "unique"):
        share.plot(columns["step"], columns[name], label=name)
    share.set(xlabel="step", ylabel="share", ylim=(0, 1.02))
    share.legend()
    front = Figure(figsize=(6, 4.5), layout="constrained")
    axes = front.add_subplot(xlabel="√KL, nats a sequence", ylabel="reward",
                             title=f"what the KL bought (β = {beta:g} reward units a nat)")
    axes.plot([math.sqrt(max(0.0, k)) for k in columns["kl"]], columns["reward"], marker=".")
    for name, picture in (("reward.png", figure), ("front.png", front)):
        for one in picture.axes:
            one.grid(alpha=0.3)
        with atomic(folder / name) as temporary:
            picture.savefig(temporary, dpi=130)
    return ""


def plot_front(pareto: Pareto, folder: Path) -> None:
    """Draws pareto.png into ``folder``: the front in every pair of its terms, coloured by a third if there is one."""
    pairs = list(itertools.combinations(range(len(pareto.terms)), 2))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not pairs or not pareto.texts:
        return
    across = math.ceil(math.sqrt(len(pairs)))
    down = math.ceil(len(pairs) / across)
    figure = Figure(figsize=(4.2 * across, 3.6 * down), layout="constrained")
    for axes, (i, j) in zip(figure.subplots(down, across, squeeze=False).flat, pairs, strict=False):
        rest = [k for k in range(len(pareto.terms)) if k not in (i, j)]
        dots = axes.scatter(pareto.scores[:, i], pareto.scores[:, j], s=14,
                            c=pareto.scores[:, rest[0]] if rest else None)
        axes.set(xlabel=pareto.terms[i], ylabel=pareto.terms[j])
        axes.grid(alpha=0.3)
        if rest:
            figure.colorbar(dots, ax=axes, label=pareto.terms[rest[0]])
    with atomic(folder / "pareto.png") as temporary:
        figure.savefig(temporary, dpi=130)


def _smooth(values: list[float]) -> list[float]:
    """Means of neighbours, about a fortieth of the run wide, at every place where they are whole."""
    width = max(1, len(values) // 40)
    return [math.fsum(values[i:i + width]) / width for i in range(len(values) - width + 1)]
