"""`seqtutor tune` as a user meets it: a run, its folder, a kill in the middle, and what may not be asked."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Cli

from seqtutor import checkpoint
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.guard import Guard
from seqtutor.known import KnownTexts
from seqtutor.model import SequenceModel
from seqtutor.objective import Objective
from seqtutor.rewards import Rewarder
from seqtutor.run import Setup, begin, read_rows, tune
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor

PEPTIDES = str(ROOT / "examples" / "peptide_domain.py")
QUICK = ("--steps", "6", "--batch", "16", "--beta", "0.3", "--seed", "5", "--threads", "1", "--best", "4",
         "--recent", "4")


@pytest.fixture
def prior(tiny_model: SequenceModel, tmp_path: Path) -> Path:
    tiny_model.save(tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return SequenceModel.load(path).state_dict()


def test_folder_generate_and_compare(cli: Cli, prior: Path, tmp_path: Path) -> None:
    done = cli("tune", PEPTIDES, "--model", str(prior), "--objective", "gravy:maximise", "--out", "runs/one", *QUICK)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "one"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "checkpoint.safetensors", "metrics.csv", "best.csv", "model.safetensors"}
    rows = read_rows(folder / "metrics.csv")
    assert [row["step"] for row in rows] == [str(i + 1) for i in range(6)]
    assert {"reward", "kl", "kl_sampled", "beta", "valid", "unique", "gravy", "calls"} <= rows[0].keys()
    with open(folder / "best.csv", newline="") as file:
        best = [float(row["reward"]) for row in csv.DictReader(file)]
    assert best == sorted(best, reverse=True)
    model = SequenceModel.load(folder / "model.safetensors")
    assert model.provenance["objective"]["terms"][0]["rule"] == "gravy"
    drawn = cli("generate", PEPTIDES, "--model", "runs/one", "-n", "3", "--seed", "1")
    assert drawn.returncode == 0, drawn.stderr
    KnownTexts.of(["ACDE"]).save(prior)  # what the policy has not written anew, it may have from its prior
    novel = cli("generate", PEPTIDES, "--model", "runs/one", "-n", "3", "--seed", "1", "--novel")
    assert novel.returncode == 0, novel.stderr
    compared = cli("compare", PEPTIDES, str(prior), "runs/one", "-n", "50", "--seed", "1")
    assert compared.returncode == 0, compared.stderr
    again = cli("tune", PEPTIDES, "--model", str(prior), "--objective", "gravy:maximise", "--out", "runs/one", *QUICK)
    assert again.returncode == 2
    assert "exists; go on with --resume" in again.stderr


def test_killed_and_gone_on_with_is_the_same_run(cli: Cli, prior: Path, tmp_path: Path) -> None:
    """Steps 1…40 at once equal some steps, kill −9 and the rest, bit for bit."""
    words = ["tune", PEPTIDES, "--model", str(prior), "--objective", "gravy:maximise", *QUICK,
             "--steps", "40", "--checkpoint-seconds", "0"]
    whole = cli(*words, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen([sys.executable, "-m", "seqtutor", *words, "--out", "killed"], cwd=tmp_path,
                               stderr=subprocess.PIPE)
    place = tmp_path / "killed" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not place.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, state = checkpoint.load(place)
    assert 0 < state["tutor"]["done"] < 40
    rest = cli("tune", PEPTIDES, "--out", "killed", "--resume", "--threads", "1")
    assert rest.returncode == 0, rest.stderr
    a, b = tensors(tmp_path / "whole" / "model.safetensors"), tensors(tmp_path / "killed" / "model.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(tmp_path / n / "metrics.csv")]
            for n in ("whole", "killed")]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 40
    assert (tmp_path / "whole" / "best.csv").read_bytes() == (tmp_path / "killed" / "best.csv").read_bytes()


def test_the_prior_file_and_the_prior_stay_as_they_were(peptides: Domain, tiny_model: SequenceModel) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    tutor = Tutor(peptides, tiny_model, Rewarder(peptides, Objective.parse("gravy:maximise", peptides)),
                  TuneConfig(steps=3, batch=8, seed=1))
    for _ in range(3):
        tutor.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_model.state_dict().items())
    assert not all(torch.equal(before[name], tensor) for name, tensor in tutor.policy.state_dict().items())


@pytest.mark.parametrize(("words", "said"), [
    (("--objective", "gravvy:1"), "did you mean 'gravy'"),
    (("--objective", "gravy:1,charge:-1"), "cancel"),
    (("--objective", "charge:maximise"), "needs 'low'"),
    (("--objective", "gravy", "--beta", "0"), "beta must be above 0"),
    (("--objective", "gravy", "--method", "sarsa"), "sarsa"),
    (("--objective", "gravy", "--steps", "0"), "steps must be at least 1"),
    (("--objective", "gravy", "--kl-budget", "-1"), "KL above 0"),
    (("--objective", "gravy", "--kl-budget", "1", "--kl-target", "1"), "exclude each other"),
    ((), "say what to raise"),
    (("--objective", "gravy", "--model", "nothing"), "unknown model"),
    (("--objective", "gravy", "--executor", "threads:0"), "threads"),
    (("--objective", "gravy", "--sequences", "missing.csv"), "no file"),
])
def test_wrong_use_says_so_in_one_line(cli: Cli, prior: Path, tmp_path: Path, words: tuple[str, ...],
                                       said: str) -> None:
    model = () if "--model" in words else ("--model", str(prior))
    done = cli("tune", PEPTIDES, *model, *words, "--out", "run")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_an_objective_file_with_unknown_keys(cli: Cli, prior: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('wieghts = 1\nterms = ["gravy"]\n')
    done = cli("tune", PEPTIDES, "--model", str(prior), "--objective", "mine.toml", "--out", "run")
    assert done.returncode == 2
    assert "wieghts" in done.stderr
    assert done.stderr.count("\n") <= 2


def test_a_prior_of_another_domain(cli: Cli, tmp_path: Path) -> None:
    done = cli("tune", PEPTIDES, "--model", "molecules", "--objective", "gravy", "--out", "run")
    assert done.returncode == 2
    assert "domain 'molecules'" in done.stderr


@pytest.mark.parametrize(("objective", "cooling"), [("gravy=0.2", 1.0), ("gravy:maximise", 10.0)])
def test_beta_cools_only_where_there_is_a_reward(cli: Cli, prior: Path, tmp_path: Path, objective: str,
                                                 cooling: float) -> None:
    done = cli("tune", PEPTIDES, "--model", str(prior), "--objective", objective, "--method", "soft-q", "--steps", "2",
               "--batch", "4", "--threads", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert Setup.load(tmp_path / "run").config.settled().cooling == cooling


def test_resume_of_nothing_of_another_version_and_with_other_settings(cli: Cli, prior: Path, tmp_path: Path) -> None:
    assert "there is no file" in cli("tune", PEPTIDES, "--out", "run", "--resume").stderr
    done = cli("tune", PEPTIDES, "--model", str(prior), "--objective", "gravy", "--out", "run", *QUICK)
    assert done.returncode == 0, done.stderr
    other = cli("tune", PEPTIDES, "--out", "run", "--resume", "--beta", "1")
    assert other.returncode == 2
    assert "leave out --beta" in other.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "format": "seqtutor-run/0"}))
    old = cli("tune", PEPTIDES, "--out", "run", "--resume")
    assert old.returncode == 2
    assert "another version" in old.stderr


def in_process(folder: Path, domain: Domain, model: SequenceModel, objective: str, **settings: object) -> str:
    config = TuneConfig(**{"steps": 4, "batch": 8, "seed": 1, "checkpoint_seconds": 0.0, **settings})  # type: ignore[arg-type]
    setup = Setup(PEPTIDES, "prior", "", Objective.parse(objective, domain).to_dict(), config)
    return tune(folder, setup, domain, model)


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, peptides: Domain, tiny_model: SequenceModel,
                                                   full_disk: Callable[[int], AbstractContextManager[None]],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_process(tmp_path / "run", peptides, tiny_model, "gravy") == ""
    place = tmp_path / "run" / "checkpoint.safetensors"
    before = place.read_bytes()
    setup = Setup.load(tmp_path / "run")
    longer = Setup(**{**vars(setup), "config": TuneConfig(**{**vars(setup.config), "steps": 6})})
    with full_disk(5000), pytest.raises(SeqtutorError, match="cannot write"):
        tune(tmp_path / "run", longer, peptides, tiny_model, resume=True)
    assert place.read_bytes() == before
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("method", "rate"), [("path", "learning"), ("soft-q", "critic")])
def test_a_loss_that_is_not_finite_ends_in_one_line(tmp_path: Path, peptides: Domain, tiny_model: SequenceModel,
                                                    monkeypatch: pytest.MonkeyPatch, method: str, rate: str) -> None:
    plain = Tutor._nats
    monkeypatch.setattr(Tutor, "_nats", lambda self, e: plain(self, e) + np.float32("nan" if self.done == 2 else 0))
    with pytest.raises(SeqtutorError, match=f"stopped being finite at step 3; begin again with a lower --{rate}-rate"):
        in_process(tmp_path / "run", peptides, tiny_model, "gravy", method=method)
    _, state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert state["tutor"]["done"] == 2


def test_a_rule_that_returns_nonsense_costs_its_items(tmp_path: Path, prior: Path, cli: Cli) -> None:
    (tmp_path / "odd.py").write_text(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('peptide_domain', {PEPTIDES!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "from seqtutor.domain import Rule\n"
        "class Odd(module.Peptides):\n"
        "    rules = (*module.Peptides.rules,\n"
        "             Rule('strings', 'words', score=lambda batch: ['much'] * len(batch)),\n"
        "             Rule('few', 'too few', score=lambda batch: [1.0] * (len(batch) // 2)))\n"
        "DOMAIN = Odd()\n")
    for rule in ("strings", "few"):
        done = cli("tune", "odd.py", "--model", str(prior), "--objective", rule, "--out", f"run-{rule}", *QUICK)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1), done.stderr
        assert rule in done.stderr  # what was wrong is said


def test_ctrl_c_finishes_the_step_and_keeps_it(cli: Cli, prior: Path, tmp_path: Path) -> None:
    words = ["tune", PEPTIDES, "--model", str(prior), "--objective", "gravy", *QUICK, "--steps", "100000",
             "--checkpoint-seconds", "0", "--out", "run"]
    process = subprocess.Popen([sys.executable, "-m", "seqtutor", *words], cwd=tmp_path, stderr=subprocess.PIPE,
                               text=True)
    place = tmp_path / "run" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not place.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    _, state = checkpoint.load(place)
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) == state["tutor"]["done"] > 0


def test_users_own_sequences(cli: Cli, prior: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("peptide,score\nACDE,2.5\nLLLL,\n")
    words = ("tune", PEPTIDES, "--model", str(prior), "--objective", "gravy", "--given", "4", *QUICK)
    done = cli(*words, "--sequences", "mine.csv", "--out", "run")
    assert done.returncode == 0, done.stderr
    (tmp_path / "bad.csv").write_text("peptide,score\nACDEX,2.5\n")
    bad = cli(*words, "--sequences", "bad.csv", "--out", "run2")
    assert bad.returncode == 2
    assert "unknown token 'X'" in bad.stderr


# -- the guard -------------------------------------------------------------------------------------------------------

def figures(**changed: float) -> dict[str, float]:
    return {"valid": 0.95, "unique": 0.99, "entropy": 20.0, **changed}


@pytest.mark.parametrize(("name", "words"), [("valid", "invalid"), ("unique", "same few"),
                                             ("entropy", "nearly deterministic")])
def test_the_guard_stops_at_a_collapse(name: str, words: str) -> None:
    guard, rng = Guard(), np.random.default_rng(0)
    said = [guard.observe(figures(), rng.normal(size=50), {}) for _ in range(20)]
    assert not any(said)
    said = [guard.observe(figures(**{name: 0.01}), rng.normal(size=50), {}) for _ in range(40)]
    assert words in next(filter(None, said))


def test_the_guard_stops_a_reward_that_is_gamed_and_only_then() -> None:
    rng = np.random.default_rng(0)
    for falls, stops in ((True, True), (False, False)):
        guard = Guard({"sa": -1})
        said = []
        for step in range(80):
            far = max(0, step - 10) / 20
            values = {"sa": rng.normal(3 + (far if falls else -far), 0.5, 64)}
            said.append(guard.observe(figures(), rng.normal(far, 0.3, 64), values))
        assert any("gamed" in line and "sa" in line for line in said) is stops
        assert Guard(**json.loads(json.dumps(guard.state()))) == guard


def test_a_run_that_collapses_keeps_its_best_policy(tmp_path: Path, peptides: Domain,
                                                    tiny_model: SequenceModel) -> None:
    """A β far too small makes the policy nearly deterministic: it stops, says why, and keeps an earlier policy."""
    said = in_process(tmp_path / "run", peptides, tiny_model, "gravy:maximise", steps=400, beta=1e-3, batch=32,
                      learning_rate=0.02)
    assert "unique" in said or "entropy" in said
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) < 400
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_begin_refuses_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="exists"):
        begin(tmp_path / "run", Setup("d", "m", "", {}, TuneConfig()))
    assert os.listdir(tmp_path / "run") == ["mine.txt"]


def test_beta_begins_warm_and_is_its_own_for_the_last_fifth() -> None:
    config = TuneConfig(steps=1000, cooling=10.0)
    warmth = [config.warmth(done) for done in range(1000)]
    assert [warmth[0], warmth[400]] == pytest.approx([10, 10 ** 0.5])
    assert warmth == sorted(warmth, reverse=True)
    assert set(warmth[800:]) == {1.0}
    assert [config.pace(done) for done in (0, 500, 1000)] == pytest.approx([1, 0.5, 0])
    assert [TuneConfig(method=method).settled().cooling for method in ("soft-q", "path")] == [10, 1]
    with pytest.raises(UsageError, match=r"cooling must be at least 1, not 0\.5"):
        TuneConfig(cooling=0.5)
    with pytest.raises(UsageError, match="minibatch must be 0 or more, not -1"):
        TuneConfig(minibatch=-1)
