"""The honest half of Table 1: our own prior, held to the rates at which human melodies keep the rules.

A rule has a right amount. Sequence Tutor's Q network has three times as many notes in motifs as people and a quarter as
many in repeated ones, because more is paid for. Here the rates themselves are asked for, at the least KL that buys
them: π ∝ p·exp(Σ λ_i f_i) with E_π[f_i] as in human melodies (moment constraints, Khalifa et al. 2021).

Compared are openings: the first two bars, 32 steps, of tunes in 4/4 without an upbeat, in the 38 classes and with the
metrics of Table 1. "Starting with tonic" means here the tonic of the melody's mode, in any octave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from note_rnn import STEPS
from numpy.typing import NDArray
from table_1 import ROWS, Figure, mean, printed, shown, table_1
from timed_run import finished, run_for

from seqtutor.corpus import prepare
from seqtutor.domain import Grammar, Rule
from seqtutor.evaluate import divergence
from seqtutor.kl import RateControl
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor
from seqtutor.vocabulary import EOS
from seqtutor_music import sequence_tutor
from seqtutor_music.domain import MusicDomain
from seqtutor_music.keys import MODES, WHITE

METER, BAR = "4/4", 16  # steps in a bar
TOKENS = 2 + (3 + BAR) * STEPS // BAR  # metre and mode, then for each bar its line, its number, the mode and its steps
TONIC = "Compositions starting with tonic"
LEAPS = "Leaps resolved"
LAGS = tuple(f"Mean autocorrelation, lag {lag}" for lag in (1, 2, 3))
#: first 32 steps of the melodies of Pearce's set, by the definitions of Table 1; for the others see human_rates
PEARCE = {"Notes excessively repeated": .0001, TONIC: .32, LEAPS: .91, "Compositions with unique max note": .60,
          "Notes in motif": .24, "Notes in repeated motif": .004}
#: the nine: eight rates, and the autocorrelation, whose gap is the mean of those at its three lags
NINE: tuple[tuple[str, ...], ...] = (*((row.name,) for row in ROWS if row.percent), LAGS)

CONFIG = TuneConfig(method="soft-q", beta=1.0, cooling=1.0, batch=64, max_length=TOKENS + 1, recent_size=0, best_size=0)

# -- openings --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def read(texts: tuple[str, ...]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(classes int [texts, 32] from the first bar line on, their metrics and whether they begin with the tonic)."""
    parts = [text.split(" ") for text in texts]
    x = np.array([sequence_tutor.from_stream(row[row.index("|"):])[0][:STEPS] for row in parts], np.int64)
    tonic = np.array([WHITE[MODES.index(row[1])] for row in parts])[:, None]
    return x, {**sequence_tutor.metrics(x), "tonic": sequence_tutor.Center(tonic).degree(x, 0)[:, 0].astype(float)}


def opening(grammar: Grammar, length: int) -> Grammar:
    """Every beginning of ``length`` tokens that ``grammar`` allows to go on, and then eos."""
    table = grammar.next_state.astype(np.int64)
    table[:, EOS] = -1
    layers = [np.array([grammar.start])]
    for _ in range(length):
        reached = np.unique(table[layers[-1]])
        layers.append(reached[reached >= 0])
    for t in range(length - 1, -1, -1):  # what cannot reach the last layer is a dead end
        layers[t] = layers[t][np.isin(table[layers[t]], layers[t + 1]).any(1)]
    first = np.cumsum([0, *map(len, layers)])  # the number of each layer's first state
    out = np.full((first[-1] + 1, table.shape[1]), -1, np.int32)
    for t in range(length):
        follows = table[layers[t]]
        place = np.searchsorted(layers[t + 1], follows).clip(max=len(layers[t + 1]) - 1)
        out[first[t]:first[t + 1]] = np.where(layers[t + 1][place] == follows, first[t + 1] + place, -1)
    out[first[length]:first[length + 1], EOS] = first[-1]
    return Grammar(out)


#: a line of Table 1 → its metric and what that is divided by
SHARES = {"Notes excessively repeated": ("num_repeated_notes", STEPS), "Notes not in key": ("notes_not_in_key", STEPS),
          TONIC: ("tonic", 1), "Compositions with unique max note": ("num_high_unique", 1),
          "Compositions with unique min note": ("num_low_unique", 1), "Notes in motif": ("notes_in_motif", STEPS),
          "Notes in repeated motif": ("notes_in_repeated_motif", STEPS),
          **{line: (f"autocorrelation{lag}", 1) for lag, line in enumerate(LAGS, 1)}}


def moment(line: str, rate: float, texts: Sequence[str]) -> list[float]:
    """How far each of ``texts`` is above ``rate``, so that the mean is 0 where their ``line`` of Table 1 is ``rate``.

    A ratio E[a]/E[a + b] = ρ is the moment E[(1 − ρ)·a − ρ·b] = 0.
    """
    if not texts:
        return []
    _, m = read(tuple(texts))
    if line == LEAPS:
        found = (1 - rate) * m["num_resolved_leaps"] - rate * m["num_leap_twice"]
    else:
        name, of = SHARES[line]
        found = np.nan_to_num(m[name] / of - rate)  # a constant piece has no autocorrelation
    return [float(value) for value in found]


class Openings(MusicDomain):
    """The music domain's openings, with a rule for each line of Table 1: how far above the human rate."""

    max_length = TOKENS + 1

    def __init__(self, human: Mapping[str, float]):
        self.rules = tuple(Rule(line, f"{line}, above {rate:.3g}", partial(moment, line, rate))
                           for line, rate in human.items())

    def canonical(self, text: str) -> str | None:
        return text if len(self.split(text)) == TOKENS else None

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar:
        return opening(super().grammar(vocabulary, meter=METER, upbeat=0), TOKENS)

    def given(self, parts: Sequence[str]) -> int:
        return min(1, len(parts))  # the metre


# -- rates -----------------------------------------------------------------------------------------------------------


def rates_of(texts: Sequence[str]) -> dict[str, Figure]:
    """The lines of Table 1 for the openings of ``texts``."""
    x, m = read(tuple(texts))
    return {**table_1(x), TONIC: mean(m["tonic"])}


def human_rates() -> tuple[dict[str, float], dict[str, Figure], int]:
    """(the rates to be had, those of our own corpus, the number of its tunes that they are from).

    A rate that :data:`PEARCE` lacks is measured on all tunes in 4/4 of at least two bars in the corpus. (Its held-out
    part has 29 of them, a standard error of .09; and nothing is learnt here that a tune could be copied from.)
    """
    domain = MusicDomain()
    corpus = prepare(domain, domain.corpora["old-prints"])
    texts = [text for text in corpus.train + corpus.heldout if text.startswith(METER + " ") and text.count("|") > 3]
    own = rates_of(texts)
    return {row.name: PEARCE.get(row.name, own[row.name][0]) for row in ROWS}, own, len(texts)


def gaps(rates: Mapping[str, float], human: Mapping[str, float]) -> list[float]:
    """|rate − human| of each of the nine."""
    return [float(np.mean([abs(rates[line] - human[line]) for line in lines])) for lines in NINE]


# -- the run ---------------------------------------------------------------------------------------------------------


def tuned(prior: SequenceModel, human: Mapping[str, float], seconds: float, out: Path,
          config: TuneConfig = CONFIG) -> SequenceModel:
    """The prior held to ``human``, from ``out/human`` if it is there."""
    if model := finished(out / "human", seconds):
        return model
    domain = Openings(human)
    objective = Objective.from_dict({"terms": [{"rule": line, "target": 0.0} for line in human]}, domain)
    tutor = Tutor(domain, prior, Rewarder(domain, objective), config, targets=objective.targets,
                  grammar=domain.grammar(prior.vocabulary.all))

    def words(figures: dict[str, float]) -> str:
        off = [np.mean([abs(figures[line]) for line in lines]) for lines in NINE]
        return f"KL {figures['kl']:.2f}, mean distance {np.mean(off):.4f}, largest {max(off):.3f}"

    return run_for(tutor, seconds, out / "human", words=words)


def sample(model: SequenceModel, pieces: int, seed: int) -> tuple[list[list[int]], list[str], Grammar]:
    """(ids, texts, the grammar of openings)."""
    domain = Openings(dict.fromkeys((row.name for row in ROWS), 0.0))
    grammar = domain.grammar(model.vocabulary.all)
    config = SamplingConfig(max_length=domain.max_length, precision="fp32")
    ids = Sampler(model, config, seed=seed, grammar=grammar).sample_ids(pieces)
    return ids, [" ".join(model.vocabulary.decode(row)) for row in ids], grammar


def measure(model: SequenceModel, prior: SequenceModel, pieces: int, seed: int) -> tuple[dict[str, Figure], Figure]:
    """(rates, KL to the prior in nats an opening) of samples."""
    ids, texts, grammar = sample(model, pieces, seed)
    far = divergence(model, prior, ids, grammar=grammar, given=[1] * pieces)
    return rates_of(texts), mean(far.kl)


def least_kl(prior: SequenceModel, human: Mapping[str, float], pieces: int, seed: int) -> tuple[float, list[str]]:
    """(the least KL, nats an opening, at which any model has the ``human`` rates, from re-weighted samples of the
    prior; the rates that so many samples cannot tell)."""
    _, texts, _ = sample(prior, pieces, seed)
    features = np.array([moment(line, rate, texts) for line, rate in human.items()]).T
    control = RateControl(dict.fromkeys(human, 0.0))
    control.prepare(features, np.zeros(len(features)), 1.0)
    nats = features @ control.multipliers
    weights = np.exp(nats - nats.max())
    kl = (weights @ nats) / weights.sum() - nats.max() - np.log(weights.mean())
    return float(kl), [name for name, value in zip(human, control.multipliers, strict=True) if not value]


def print_rates(human: Mapping[str, float], own: Mapping[str, Figure], tunes: int,
                columns: Mapping[str, tuple[Mapping[str, Figure], Figure]]) -> None:
    """The rates beside the human ones and the published Q column, and the mean gap over the nine."""
    print("| | human | from | " + " | ".join(columns) + " | Q, published |\n|" + " --- |" * (4 + len(columns)))
    for row in ROWS:
        measured = f"{tunes} old prints: {shown(own[row.name], row.percent)}"
        print(f"| {row.name} | {printed(human[row.name], row.percent)} | "
              f"{'the set of Pearce' if row.name in PEARCE else measured} | "
              + " | ".join(shown(rates[row.name], row.percent) for rates, _ in columns.values())
              + f" | {printed(row.published['q'], row.percent)} |")
    found = {name: {line: value for line, (value, _) in rates.items()} for name, (rates, _) in columns.items()}
    found["Q, published"] = {row.name: row.published["q"] for row in ROWS}
    means = {name: float(np.mean(gaps(rates, human))) for name, rates in found.items()}
    print("| Mean absolute gap of the nine | | | " + " | ".join(f"{value:.4f}" for value in means.values()) + " |")
    print("| KL to the prior, nats an opening | | | " + " | ".join(shown(kl) for _, kl in columns.values()) + " | |")
    *others, ours = (means[name] for name in columns)
    print(f"\nThe gap of the tuned prior is {ours / others[0]:.2f} of the prior's and "
          f"{ours / means['Q, published']:.2f} of the published Q column's.")
