"""Two models side by side: what their samples are like, and how far the second is from the first.

    first, second = compare(domain, "molecules", {"prior": a, "tuned": b}, ["qed", "sa"], n=1000)
    second.figures["kl"], second.rules["qed"].mean()

Both are sampled freely (temperature 1, inside the domain's grammar, from one seed), so a model held against itself
shows no difference at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Domain, Table
from seqtutor.evaluate import divergence, sample_quality
from seqtutor.known import KnownTexts
from seqtutor.model import SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.scoring import score_table
from seqtutor.tables import shown
from seqtutor.writing import proposed

DIVERSE = 3000  # texts whose diversity is computed, at a cost that grows with their square

Figure = tuple[float, float]  # (value, standard error); nan for what cannot be said


@dataclass(frozen=True)
class Profile:
    """What ``n`` samples of one model show.

    ``shares``, from 0 to 1, None where nobody can say: ``valid`` of all samples, ``unique`` of the valid ones,
    ``novel`` of the unique ones, ``diversity`` (:meth:`seqtutor.domain.Domain.diversity`). ``nats`` a text: ``kl`` to
    the first model and ``kl sampled`` (see :class:`seqtutor.evaluate.Divergence`), ``log p`` under the first; tokens
    that the domain calls given do not count. ``length``: tokens. ``rules``: each rule's values for the valid samples
    that it could score, float64.
    """

    name: str
    n: int
    shares: Mapping[str, float | None]
    nats: Mapping[str, Figure]
    length: Figure
    rules: Mapping[str, NDArray[np.float64]]


def compare(domain: Domain, spec: str, files: Mapping[str, Path], rules: Sequence[str], *, n: int, seed: int = 0,
            workers: int = 1, progress: Callable[[int, str], None] | None = None,
            options: Mapping[str, Any] | None = None) -> list[Profile]:
    """A profile of each of ``files`` (name → model file), the KL to the first of them included. Both write under the
    user's ``options``.

    ``rules``: names of the domain's rules; ``spec``: what ``domain`` was loaded by, see
    :func:`seqtutor.scoring.score_table`. A model without a list of known texts goes by that of the first. The nats of
    a model whose vocabulary is not the first's are nan.
    """
    options = options or {}
    models = {name: SequenceModel.load(file, domain.name) for name, file in files.items()}
    propose = domain.proposer(**options)
    first = next(iter(files))
    profiles = []
    for done, (name, model) in enumerate(models.items()):
        # 1. Samples
        grammar = domain.grammar(model.vocabulary.all, **options)
        sampler = Sampler(model, SamplingConfig(precision="fp32", max_length=domain.max_length), seed=seed,
                          grammar=grammar)
        written = ((row, 0) for row in sampler.stream(n)) if propose is None else \
            proposed(domain, sampler, propose, seed)
        ids, begun = [], []
        for row, given in itertools.islice(written, n):
            ids.append(row)
            begun.append(given)
            if progress:
                progress(done * n + len(ids), name)
        tokens = [model.vocabulary.decode(row) for row in ids]
        texts = [domain.join(row) for row in tokens]
        # 2. What they are like
        valid = [text for text in map(domain.canonical, texts) if text is not None]
        known = next((KnownTexts.load(file) for file in (files[name], files[first])
                      if KnownTexts.path(file).exists()), None)
        shares: dict[str, float | None] = {**sample_quality(domain, texts, known or ())}
        shares["novel"] = None if known is None else shares["novel"]
        shares["diversity"] = domain.diversity(valid[:DIVERSE])
        table = score_table(domain, spec, valid, rules, workers=workers)
        values = {rule: np.array(table.columns[rule], dtype=np.float64) for rule in rules}
        # 3. How far from the first
        nats = dict.fromkeys(("kl", "kl sampled", "log p"), (nan, nan))
        if model.vocabulary == models[first].vocabulary:
            far = divergence(model, models[first], ids, grammar=grammar,
                             given=[max(most, domain.given(row)) for most, row in zip(begun, tokens, strict=True)])
            nats = {"kl": figure(far.kl), "kl sampled": figure(far.log_ratio), "log p": figure(far.log_p)}
        profiles.append(Profile(name, n, shares, nats, figure(np.array([len(row) for row in tokens], dtype=float)),
                                {rule: column[~np.isnan(column)] for rule, column in values.items()}))
    return profiles


def figure(values: NDArray[np.float64]) -> Figure:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std() / sqrt(len(values)))


def statistics(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation and percentiles of a rule's values; nan where there are none."""
    if not len(values):
        return dict.fromkeys(("mean", "sd", "5%", "50%", "95%"), nan)
    low, middle, high = np.percentile(values, (5, 50, 95)).tolist()
    return {"mean": float(values.mean()), "sd": float(values.std()), "5%": low, "50%": middle, "95%": high}


# -- as tables ---------------------------------------------------------------------------------------------------------


def as_data(profiles: Sequence[Profile]) -> Table:
    """One number a row, with the columns ``figure``, ``statistic`` and one for each model."""
    rows: list[tuple[str, str, list[float | None]]] = []
    for name in profiles[0].shares:
        rows.append((name, "index" if name == "diversity" else "share", [p.shares[name] for p in profiles]))
    for name in profiles[0].nats:
        rows += [(name, part, [p.nats[name][k] for p in profiles]) for k, part in enumerate(("nats", "error"))]
    rows += [("length", part, [p.length[k] for p in profiles]) for k, part in enumerate(("tokens", "error"))]
    for name in profiles[0].rules:
        found = [statistics(p.rules[name]) for p in profiles]
        rows += [(name, part, [f[part] for f in found]) for part in found[0]]
    columns = {"figure": [row[0] for row in rows], "statistic": [row[1] for row in rows]}
    return Table(columns["figure"], {**columns, **{p.name: [row[2][i] for row in rows]
                                                   for i, p in enumerate(profiles)}})


def as_text(profiles: Sequence[Profile]) -> Table:
    """One figure a row, in words for a person; rows that say nothing are left out."""
    rows: dict[str, list[str]] = {}
    for name in profiles[0].shares:
        values = [p.shares[name] for p in profiles]
        rows[name] = shown(values) if name == "diversity" else ["" if v is None else f"{v:.1%}" for v in values]
    for name in profiles[0].nats:
        rows[f"{name.replace('kl', 'KL')}, nats"] = _with_errors([p.nats[name] for p in profiles])
    rows["length, tokens"] = _with_errors([p.length for p in profiles])
    for name in profiles[0].rules:
        found = [statistics(p.rules[name]) for p in profiles]
        numbers = shown([value for f in found for value in f.values()])
        rows[name] = [_in_words(numbers[k:k + 5]) for k in range(0, len(numbers), 5)]
    rows = {name: row for name, row in rows.items() if any(row)}
    return Table(list(rows), {"figure": list(rows), **{p.name: [row[i] for row in rows.values()]
                                                       for i, p in enumerate(profiles)}})


def _with_errors(figures: Sequence[Figure]) -> list[str]:
    numbers = shown([part for figure in figures for part in figure])
    return [f"{numbers[k]} ± {numbers[k + 1]}" if numbers[k] else "" for k in range(0, len(numbers), 2)]


def _in_words(numbers: Sequence[str]) -> str:
    mean, sd, low, middle, high = numbers
    return f"{mean} ± {sd}  ({low}  {middle}  {high})" if mean else ""
