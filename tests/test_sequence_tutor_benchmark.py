"""Tuning by the clock, Table 1's tuned columns, and the prior held to human rates."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from random import Random
from typing import Any

import human
import note_rnn
import note_rnn_tuning
import numpy as np
import optimum
import pytest
import sequence_tutor as command
import timed_run
import torch
from table_1 import ROWS, rewards, sample

from seqtutor import checkpoint
from seqtutor.domain import Grammar, UsageError
from seqtutor.evaluate import divergence
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.vocabulary import EOS, Vocabulary
from seqtutor_music import sequence_tutor, tokens

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "reference" / "note_rnn.npz"
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the author's weights are not beside this checkout")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes a second of the processor and two of the wall's."""
    ticks = itertools.count()
    monkeypatch.setattr(timed_run, "_now", lambda: (float(t := next(ticks)), 2.0 * t))


@pytest.fixture
def music_model() -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(Vocabulary(tokens.TOKENS), "music", ModelConfig(width=8, embedding=4)).eval()


def openings(n: int, seed: int = 0) -> list[str]:
    """Random melodies' first two bars, as texts; the first step is a pitch."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        mode = str(rng.choice(["ionian", "dorian", "aeolian"]))
        steps = rng.choice([*tokens.PITCHES[10:24], "-", "-", "-", "-"], 32).tolist()
        steps[0] = "D4" if rng.random() < .5 else "A4"
        found.append(" ".join(["4/4", mode, "|", "2", mode, *steps[:16], "|", "1", mode, *steps[16:]]))
    return found


# -- the runs --------------------------------------------------------------------------------------------------------


@needs_weights
@pytest.mark.usefixtures("clock")
def test_a_run_goes_on_and_ends_as_if_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = note_rnn.load_note_rnn(WEIGHTS)
    small: dict[str, Any] = {"batch": 4, "checkpoint_seconds": 0.0}
    monkeypatch.setattr(note_rnn_tuning, "METHODS", {
        name: dataclasses.replace(config, **small) for name, config in note_rnn_tuning.METHODS.items()})
    whole = note_rnn_tuning.tuned("psi", prior, 6.0, tmp_path / "whole")
    assert (whole.provenance["tutor_steps"], whole.provenance["cpu_seconds"], whole.provenance["seconds"]) == (6, 6, 12)

    calls = itertools.count()

    def killed(policy: SequenceModel) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        note_rnn.make_primer_uniform(policy)

    with monkeypatch.context() as patched:
        patched.setattr(note_rnn_tuning, "make_primer_uniform", killed)
        with pytest.raises(KeyboardInterrupt):
            note_rnn_tuning.tuned("psi", prior, 6.0, tmp_path / "two")
    with pytest.raises(UsageError, match="holds a run with other settings"):
        note_rnn_tuning.tuned("psi", prior, 7.0, tmp_path / "two")
    two = note_rnn_tuning.tuned("psi", prior, 6.0, tmp_path / "two")
    assert two.provenance == whole.provenance
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    again = timed_run.finished(tmp_path / "two" / "psi", 6.0)
    assert again is not None
    assert again.provenance == whole.provenance
    with pytest.raises(UsageError, match=r"holds a run of 6.0 s, not of 5 s"):
        note_rnn_tuning.tuned("psi", prior, 5.0, tmp_path / "two")


@needs_weights
@pytest.mark.usefixtures("clock")
def test_tune_prints_a_column_for_each_method_and_what_prices_cost(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rare = {kind: (np.array([3, 14, *[16] * 30, value]), 0.0) for kind, value in (("any piece", 16), ("both", 20))}
    monkeypatch.setattr(note_rnn_tuning, "best_pieces", lambda prior, x, c: rare)
    monkeypatch.setattr(note_rnn_tuning, "METHODS", {
        name: dataclasses.replace(config, batch=8) for name, config in note_rnn_tuning.METHODS.items()})
    arguments = ["--note-rnn", str(WEIGHTS), "--pieces", "60", "--threads", "1", "tune", "--seconds", "2",
                 "--out", str(tmp_path), "--methods"]
    command.main([*arguments, "q,psi,g,path,path+prices"], standalone_mode=False)
    out = capsys.readouterr().out
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
             for line in out.splitlines() if line.startswith("|")}
    heads = next(line for line in out.splitlines() if "path+prices" in line).split("|")
    assert [head.strip() for head in heads[2:-1]] == [
        "note rnn", "note rnn, published", "q", "q, published", "psi", "psi, published", "g", "g, published", "path",
        "path+prices"]
    assert lines["steps"][2::2] == ["2", "2", "2", "2"]
    contributions = [float(lines[f"E[r]/c of {rule}"][0].split(" ")[0]) for rule in sequence_tutor.RULES]
    total = float(lines["Mean total reward E[R]"][0].split(" ")[0])
    assert sum(contributions) == pytest.approx(total / .5, abs=2)
    assert "Paid for the cells below, path+prices has a J" in out
    assert lines["Compositions with unique min note"][0] == "30"  # the last table has the prices
    _, state = checkpoint.load(tmp_path / "path+prices" / "checkpoint.safetensors")
    assert state["tutor"]["memory"]["lengths"].count(34) == note_rnn.PRIMERS  # the rare piece, after every primer
    with pytest.raises(UsageError, match="unknown method 'pat'; did you mean 'path'"):
        command.main([*arguments, "pat"], standalone_mode=False)
    with pytest.raises(UsageError, match="say --note-rnn FILE before the command"):
        command.main(["baseline"], standalone_mode=False)


def test_the_rates_of_the_table_are_rules_of_the_domain() -> None:
    c, e, g = "14", "18", "21"
    text = " ".join([c, c, *[e] * 30, g])  # the primer, then the tonic, lowest once; the fifth highest once
    other = " ".join([c, e, *[c] * 29, "0", g, ])
    for name, wanted in {"unique-high": [1, 1], "unique-low": [1, 0]}.items():
        assert note_rnn.DOMAIN.rule(name)([text, other]) == wanted, name
    steps = note_rnn.DOMAIN.rule("tonic-start")([text.split(" "), other.split(" ")])
    assert steps == [[0.0, 1.0, *[0.0] * 31], [0.0] * 33]


def test_edits_bring_what_the_network_hardly_writes() -> None:
    parents = [" ".join(["3", *["16", "18"] * 16]), " ".join(["5", "0", *["20"] * 31])]
    found = note_rnn.DOMAIN.edits(parents, 200, Random(0))
    assert len(found) == len(set(found)) > 20
    rows = np.array([text.split(" ") for text in found], np.int64)
    both = np.array([text.split(" ") for text in parents], np.int64)
    assert all(1 in (row != both).sum(1) for row in rows)  # one class of one parent
    tonic = rows[:, 1] == note_rnn.TONIC
    high, low = sequence_tutor.unique_high_low(rows[:, 1:])
    assert tonic.any()
    assert high.any()
    assert low.any()
    assert (tonic | high | low).all()


# -- human rates -----------------------------------------------------------------------------------------------------


def words_of(grammar: Grammar, length: int) -> set[tuple[int, ...]]:
    """Every sequence of ``length`` ids that the grammar permits; slow."""
    table = grammar.next_state
    found: set[tuple[tuple[int, ...], int]] = {((), grammar.start)}
    for _ in range(length):
        found = {((*word, a), int(table[state, a])) for word, state in found for a in range(table.shape[1])
                 if table[state, a] >= 0}
    return {word for word, _ in found}


def test_openings_are_the_beginnings_that_go_on() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        table = np.where(rng.random((7, 6)) < .35, rng.integers(0, 7, (7, 6)), -1)
        table[0, 3] = 0  # something goes on for ever
        table[:, :2] = -1
        grammar = Grammar(table.astype(np.int32))
        plain = table.copy()
        plain[:, EOS] = -1
        wanted = {(*word, EOS) for word in words_of(Grammar(plain), 4)}
        cut = human.opening(grammar, 4)
        assert words_of(cut, 5) == wanted
        assert not words_of(cut, 6)
        assert np.array_equal(grammar.next_state, table)


def test_moments_vanish_where_a_rate_is_met_and_only_there() -> None:
    texts = openings(300)
    rates = {line: value for line, (value, _) in human.rates_of(texts).items()}
    assert set(rates) == {row.name for row in ROWS}
    assert 0 < rates[human.LEAPS] < 1
    for line, rate in rates.items():
        found = np.mean(human.moment(line, rate, texts))
        assert found == pytest.approx(0, abs=1e-12), line
        assert np.mean(human.moment(line, rate - .1, texts)) > .01, line
    silent = texts[0].split(" ")
    silent[5:21] = silent[24:40] = ["."] * 16
    assert human.moment(human.LAGS[0], .3, [" ".join(silent)]) == [0.0]  # constant: no autocorrelation


def test_the_tonic_is_the_modes() -> None:
    x, m = human.read(tuple(text := openings(40)))
    first = [(row.split(" ")[1], row.split(" ")[5]) for row in text]
    assert {("dorian", "D4"), ("aeolian", "A4"), ("ionian", "D4")} <= set(first)
    assert m["tonic"].tolist() == [float(pair in (("dorian", "D4"), ("aeolian", "A4"))) for pair in first]
    assert x.shape == (40, 32)
    upbeat = text[0].replace(" | 2", " ^1 C4 | 2", 1)
    assert np.array_equal(human.read((upbeat,))[0], x[:1])  # counted from the first bar line


def test_samples_are_openings_with_a_value_for_every_line(music_model: SequenceModel) -> None:
    domain = human.Openings(dict.fromkeys((row.name for row in ROWS), 0.1))
    assert [rule.name for rule in domain.rules] == [row.name for row in ROWS]
    grammar = domain.grammar(music_model.vocabulary.all)
    rows = Sampler(music_model, SamplingConfig(max_length=domain.max_length), grammar=grammar).sample(50)
    texts = [domain.join(row) for row in rows]
    assert all(domain.canonical(text) == text for text in texts)
    assert {len(human.read(tuple(texts))[0][0]), *map(domain.given, rows)} == {32, 1}
    for line in domain.rules:
        assert np.isfinite(line(texts)).all()
        assert list(line([])) == []
    assert domain.canonical(texts[0] + " ||") is None
    assert {row[0] for row in rows} == {"4/4"}
    assert "1" not in {row[3] for row in rows}  # no tune of one bar


def test_nine_gaps() -> None:
    q = {row.name: row.published["q"] for row in ROWS}
    assert human.gaps(q, q) == [0.0] * 9
    off = {**q, human.LAGS[0]: q[human.LAGS[0]] + .3, human.TONIC: q[human.TONIC] - .1}
    assert sorted(human.gaps(off, q))[-2:] == pytest.approx([.1, .1])  # .3 at one of three lags


@pytest.mark.usefixtures("clock")
def test_human_holds_a_prior_to_the_rates(music_model: SequenceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    own = human.rates_of(openings(50))
    rates = {line: value for line, (value, _) in own.items()} | human.PEARCE
    monkeypatch.setattr(human, "human_rates", lambda: (rates, own, 50))
    music_model.save(tmp_path / "music.safetensors")
    command.main(["--pieces", "40", "--threads", "1", "human", "--seconds", "3", "--model",
                  str(tmp_path / "music.safetensors"), "--out", str(tmp_path / "run")], standalone_mode=False)
    out = capsys.readouterr().out
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
             for line in out.splitlines() if line.startswith("|")}
    assert lines[human.TONIC][:2] == ["32 %", "the set of Pearce"]
    assert lines["Notes not in key"][1].startswith("50 old prints: ")
    assert lines["KL to the prior, nats an opening"][2] == "0.00 ± 0.00"
    model = timed_run.finished(tmp_path / "run" / "human", 3.0)
    assert model is not None
    assert set(model.provenance["multipliers"]) == set(rates)
    moved = [line for line, value in model.provenance["multipliers"].items() if value]
    assert len(moved) > 6  # the others never varied: this network writes no motif
    assert human.TONIC in moved
    assert model.readouts[-1].strength > 0
    assert model.readouts[-1].head.weight.abs().max() > 0


# -- the optimum by search -------------------------------------------------------------------------------------------


@needs_weights
def test_search_scores_pieces_as_the_objective_does_and_keeps_their_kind() -> None:
    prior = note_rnn.load_note_rnn(WEIGHTS)
    x = np.array(sample(prior, 20, 0))[:, :33] - 3
    far = divergence(prior, prior, (x + 3).tolist(), given=[1] * 20)
    total = np.sum(list(rewards(x[:, 1:]).values()), axis=0)
    found = optimum.score(prior, x, 0.5)
    np.testing.assert_allclose(found, far.log_p + 2 * total, rtol=0, atol=2e-3)  # theirs leaves the specials out
    near = optimum.beginnings(x[:1])
    both = near[optimum.KINDS["both"](near)]
    piece, value = optimum.climb(prior, both[0], optimum.KINDS["both"], 0.5, np.random.default_rng(0), sweeps=1)
    assert optimum.KINDS["both"](piece[None])[0]
    assert value == pytest.approx(float(optimum.score(prior, piece[None], 0.5)[0]), abs=1e-2)
    assert value > float(optimum.score(prior, both[:1], 0.5)[0]) + 10


def test_search_ends_where_no_single_change_is_for_the_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a made-up score with one best piece, and one that forbids it."""
    wanted = np.arange(33) % 7
    monkeypatch.setattr(optimum, "score", lambda prior, x, c: -np.abs(x - wanted).sum(1).astype(float))
    start = np.zeros(33, np.int64)
    rng = np.random.default_rng(0)
    free, value = optimum.climb(None, start, optimum.KINDS["any piece"], 1.0, rng)  # type: ignore[arg-type]
    assert (free == wanted).all()
    assert value == 0
    start[1] = 14
    held, value = optimum.climb(None, start, optimum.KINDS["starting with tonic"], 1.0, rng)  # type: ignore[arg-type]
    assert held[1] == 14
    assert (held[2:] == wanted[2:]).all()
    assert value == 1 - 14


def test_the_best_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum, "score", lambda prior, x, c: x.sum(1).astype(float))
    monkeypatch.setattr(optimum, "climb", lambda prior, x, keep, c, rng: (x, float(x.sum())))
    x = np.array([[3, *[14, 18, 21, 23, 25, 18, 21, 16] * 4], [30, *[14, 16] * 16]])
    best = optimum.best_pieces(None, x, 0.5)  # type: ignore[arg-type]
    near = optimum.beginnings(np.array([[3, *x[0, 1:]], [3, *x[1, 1:]]]))
    for kind, (piece, value) in best.items():
        assert piece[0] == 3, kind  # all after the primer of the best one
        assert value == near[optimum.KINDS[kind](near)].sum(1).max(), kind


def test_search_begins_from_every_kind() -> None:
    x = np.array([[3, *[14, 18, 21, 23, 25, 18, 21, 16] * 4]])
    near = optimum.beginnings(x)
    assert near.shape[1] == 33
    for kind, keep in optimum.KINDS.items():
        assert keep(near).any(), kind
    assert near.min() >= 0
    assert near.max() < 38
