"""A design campaign: a filter for diversity, hits and when there are enough, the Pareto front, stages."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Cli

from seqtutor import checkpoint
from seqtutor.diversity import DiverseRewarder, Diversity
from seqtutor.domain import Domain, UsageError
from seqtutor.hits import Hits, Pareto
from seqtutor.model import SequenceModel
from seqtutor.models import load_model
from seqtutor.objective import Objective
from seqtutor.plugins import load_domain
from seqtutor.rewards import Rewarder
from seqtutor.run import Setup, read_rows, tune
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor

PEPTIDES = str(ROOT / "examples" / "peptide_domain.py")
QUICK = ("--batch", "16", "--beta", "0.3", "--seed", "5", "--threads", "1", "--best", "4", "--recent", "4")
STAGES = {"stages": [{"terms": ["gravy:maximise"], "until": "reward >= 0.0"}, {"terms": ["charge"], "steps": 3},
                     {"terms": ["gravy:minimise", "charge"], "aggregate": "sum"}]}


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def prior(tiny_model: SequenceModel, tmp_path: Path) -> Path:
    tiny_model.save(tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


# -- diversity --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def molecules() -> Domain:
    from seqtutor.plugins import load_domain
    return load_domain("molecules")


BENZENES = ["Cc1ccccc1", "CCc1ccccc1", "CCCc1ccccc1", "Cc1ccccc1O"]


@pytest.mark.parametrize(("kind", "alike", "other"), [
    ("scaffold", BENZENES, ["CC1CCNCC1", "c1ccc(-c2ccccc2)cc1", "Cc1ccncc1"]),
    ("topological", [*BENZENES[:3], "Cc1ccncc1"], ["CC1CCCC1", "c1ccc(-c2ccccc2)cc1"]),
    ("similarity", ["CCCCCCCO", "CCCCCCCCO", "CCCCCCCCCO"], ["c1ccncc1", "CC(=O)N(C)C"]),
])
def test_a_full_bucket_is_paid_no_more(molecules: Domain, kind: str, alike: list[str], other: list[str]) -> None:
    objective = Objective.from_dict({"terms": ["qed"], "diversity": {"kind": kind, "size": 2, "above": 0.1,
                                                                     "similarity": 0.5}}, molecules)
    assert objective.diversity is not None
    plain = Rewarder(molecules, objective)
    diverse = DiverseRewarder(Rewarder(molecules, objective), objective.diversity)
    texts = [*alike, *other]
    tokens = [molecules.split(text) for text in texts]
    want = plain(tokens).end
    want[2:len(alike)] = 0
    assert diverse(tokens).end.tolist() == want.tolist()
    assert diverse(tokens).end.tolist() == want.tolist(), "who is in stays in"
    again = DiverseRewarder(Rewarder(molecules, objective), objective.diversity)
    again.load(json.loads(json.dumps(diverse.state())))
    assert again(tokens).end.tolist() == want.tolist()
    assert diverse.calls == len(texts)


def test_rewards_below_the_threshold_fill_no_bucket(molecules: Domain) -> None:
    objective = Objective.parse("qed", molecules)
    diverse = DiverseRewarder(Rewarder(molecules, objective), Diversity("scaffold", 1, 0.99))
    tokens = [molecules.split(text) for text in [*BENZENES, "c1c("]]
    assert diverse(tokens).end.tolist() == Rewarder(molecules, objective)(tokens).end.tolist()
    assert not diverse.buckets


@pytest.mark.parametrize(("given", "said"), [
    ({"kind": "scafold"}, "did you mean 'scaffold'"), ({"knd": "scaffold"}, "did you mean 'kind'"),
    ({"kind": "scaffold", "size": 0}, "at least 1"), ({"kind": "similarity", "similarity": 1.5}, "at most 1"),
    ({"kind": "scaffold", "above": "much"}, "above"), ("scaffold", "table"), ({}, "kind"),
])
def test_diversity_that_cannot_be(molecules: Domain, given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Objective.from_dict({"terms": ["qed"], "diversity": given}, molecules)


def test_a_domain_without_buckets_says_so(peptides: Domain) -> None:
    with pytest.raises(UsageError, match="no buckets"):
        Objective.from_dict({"terms": ["gravy"], "diversity": {"kind": "scaffold"}}, peptides)


# -- hits and the front -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["", "200", "200 hits", "0 hits above 1", "200 hits above much", "-3 hits above 1",
                                  "200 hits below 0.8"])
def test_a_condition_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="200 hits above"):
        Hits.parse(text)


def test_stops_when_there_are_enough_hits(cli: Cli, prior: Path, tmp_path: Path) -> None:
    words = ("tune", PEPTIDES, "--model", str(prior), "--objective", "gravy:maximise", "--steps", "60", *QUICK)
    done = cli(*words, "--out", "run", "--stop-when", "30 hits above 0.45")
    assert done.returncode == 0, done.stderr
    assert "30 hits above 0.45" in done.stderr
    hits = table(tmp_path / "run" / "hits.csv")
    assert len({next(iter(row.values())) for row in hits}) == len(hits) >= 30
    assert all(float(row["reward"]) > 0.45 for row in hits)
    steps = len(read_rows(tmp_path / "run" / "metrics.csv"))
    assert steps < 60
    assert max(int(row["step"]) for row in hits) == steps
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert cli(*words, "--out", "other", "--stop-when", "many hits").returncode == 2


def test_the_front_is_what_none_beats(peptides: Domain) -> None:
    objective = Objective.parse("gravy:maximise,charge", peptides)
    rewarder, front = Rewarder(peptides, objective), Pareto.of(objective, peptides)
    rng = np.random.default_rng(0)
    rows = [[str(t) for t in rng.choice(list(peptides.tokens), rng.integers(1, 9))] for _ in range(300)]
    for i in range(0, 300, 50):
        front.observe(rewarder(rows[i:i + 50]), objective)
    scores = rewarder(rows)
    values = np.stack([row for _, row in objective.scores(scores.values)], 1)
    beaten = [any((other >= one).all() and (other > one).any() for other in values) for one in values]
    want = {tuple(v) for v, lost in zip(values.tolist(), beaten, strict=True) if not lost}
    assert {tuple(v) for v in front.scores.tolist()} == want
    assert len(front.texts) == len(want), "one for each point"
    again = Pareto.of(objective, peptides)
    again.load(json.loads(json.dumps(front.state())))
    assert again.texts == front.texts
    assert (again.scores == front.scores).all()


def test_one_aim_has_no_front(peptides: Domain) -> None:
    assert not Pareto.of(Objective.parse("gravy:maximise", peptides), peptides).terms


# -- stages -----------------------------------------------------------------------------------------------------------

def test_stages_follow_one_another_and_memory_is_scored_anew(peptides: Domain, tiny_model: SequenceModel,
                                                             tmp_path: Path) -> None:
    objective = Objective.from_dict(STAGES, peptides)
    assert Objective.from_dict(objective.to_dict(), peptides) == objective
    setup = Setup(PEPTIDES, "prior", "", objective.to_dict(),
                  TuneConfig(steps=18, batch=8, seed=1, beta=0.3, best=4, checkpoint_seconds=0))
    assert tune(tmp_path / "run", setup, peptides, tiny_model, guard=False) == ""
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert [row["stage"] for row in rows] == ["1"] * 10 + ["2"] * 3 + ["3"] * 5
    assert {"gravy", "charge"} <= rows[0].keys()
    _, state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    rewarder = Rewarder(peptides, objective.stages[2].objective)
    for row in table(tmp_path / "run" / "best.csv"):
        now = float(rewarder([peptides.split(row[peptides.text_column])]).total[0])
        assert float(row["reward"]) == pytest.approx(now, abs=1e-6)
    assert state["stage"] == 2


def test_a_run_with_stages_diversity_and_hits_goes_on_bit_for_bit(molecules: Domain, tmp_path: Path) -> None:
    from seqtutor.models import load_model
    prior = load_model("molecules", "molecules")
    objective = Objective.from_dict({
        "diversity": {"kind": "scaffold", "size": 1, "above": 0.3},
        "stages": [{"terms": ["qed"], "steps": 2}, {"terms": ["qed", "sa:minimise"]}]}, molecules)
    config = TuneConfig(steps=5, batch=6, seed=1, edits=4, screen=3, best=2, checkpoint_seconds=0, max_length=80)
    setup = Setup("molecules", "molecules", "", objective.to_dict(), config, stop_when="500 hits above 0.1")
    for name, stops in (("whole", ()), ("parts", (1, 3))):
        for number, stop in enumerate((*stops, 99)):
            def report(row: dict[str, float], stop: int = stop) -> None:
                if row["step"] == stop:
                    raise MemoryError
            try:
                tune(tmp_path / name, setup, molecules, prior, resume=number > 0, guard=False, report=report)
            except MemoryError:
                assert stop < 99
    for file in ("best.csv", "hits.csv", "pareto.csv"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    one, other = (SequenceModel.load(tmp_path / n / "model.safetensors").state_dict() for n in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert table(tmp_path / "whole" / "hits.csv")


@pytest.mark.parametrize(("given", "said"), [
    ({"stages": [{"terms": ["gravy"]}, {"terms": ["charge"]}]}, "stage 1 never ends"),
    ({"stages": [{"terms": ["gravy"], "until": "soon"}]}, "constraint"),
    ({"stages": [{"terms": ["gravy"], "steps": 0}, {"terms": ["charge"]}]}, "at least 1"),
    ({"stages": [{"terms": ["gravy"], "beta": 1}]}, "whole objective"),
    ({"stages": [{"terms": ["gravy=0.1"]}]}, "targets"),
    ({"stages": [{"terms": ["gravvy"]}]}, "did you mean 'gravy'"),
    ({"stages": "two"}, "tables"), ({"stages": [3]}, "table"),
    ({"terms": ["gravy"], "stages": [{"terms": ["charge"]}]}, "none beside"),
])
def test_stages_that_cannot_be(peptides: Domain, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Objective.from_dict(given, peptides)


def test_the_example_is_an_objective(molecules: Domain) -> None:
    objective = Objective.parse(str(ROOT / "examples" / "campaign.toml"), molecules)
    assert len(objective.stages) == 2
    assert objective.diversity is not None


def test_a_condition_on_what_is_not_there(peptides: Domain, tiny_model: SequenceModel, tmp_path: Path) -> None:
    objective = {"stages": [{"terms": ["gravy:maximise"], "until": "qed > 1"}, {"terms": ["charge"]}]}
    setup = Setup(PEPTIDES, "prior", "", objective, TuneConfig(steps=2, batch=4, seed=1))
    with pytest.raises(UsageError, match="names none of"):
        tune(tmp_path / "run", setup, peptides, tiny_model)


# -- screening and climbing -------------------------------------------------------------------------------------------

def test_climb_learns_the_best_it_remembers(peptides: Domain, tiny_model: SequenceModel) -> None:
    tutor = Tutor(peptides, tiny_model, Rewarder(peptides, Objective.parse("gravy:maximise", peptides)),
                  TuneConfig(method="climb", steps=60, batch=32, best=16, best_size=16, seed=1, warmup=1))
    rows = [tutor.step() for _ in range(60)]
    assert np.mean([row["reward"] for row in rows[-5:]]) > np.mean([row["reward"] for row in rows[:5]]) + 0.05
    assert rows[0]["kl"] == 0
    assert rows[-1]["kl"] > 0


def test_a_plateau_is_searched_by_samples_of_the_prior() -> None:
    """A gate that nothing passes: what is scored are samples, as many as edits would be, and nothing is learnt."""
    molecules, prior = load_domain("molecules"), load_model("molecules", "molecules")
    tutor = Tutor(molecules, prior, Rewarder(molecules, Objective.parse("match([Pt])", molecules)),
                  TuneConfig(method="climb", steps=9, batch=4, edits=16, screen=16, variants=4, best=8, seed=1))
    rows = [tutor.step() for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(tutor.policy.parameters(), prior.parameters(), strict=True))
    assert [row["kl"] for row in rows] == [0, 0, 0, 0]
    assert rows[-1]["calls"] >= 4 + 3 * (4 + 13)  # the first step has nothing to be a neighbour of
    leader = tutor.memory.best[0]
    tutor.memory.add([replace(leader, reward=leader.reward + 1)])
    tutor.step()  # now something leads, and is learnt
    assert not all(torch.equal(a, b) for a, b in zip(tutor.policy.parameters(), prior.parameters(), strict=True))
