"""Loop 1: the loss falls, every number against a slow reference, a run that was killed ends as if it had not been."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from seqtutor import checkpoint, machine
from seqtutor.batches import augmenter, by_length, encode, epoch_batches, pad
from seqtutor.cli import main
from seqtutor.condition import ConditionConfig
from seqtutor.corpus import Prepared, file_sha256, prepare
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.evaluate import sample_quality
from seqtutor.interrupt import held_interrupt
from seqtutor.known import KnownTexts
from seqtutor.machine import trains_in_bf16
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.plugins import load_domain
from seqtutor.pretrain import PretrainConfig, heldout_loss, learning_rate, lowest, overfits, plot_loss, pretrain
from seqtutor.sampling import Sampler
from seqtutor.transfer import begin_with, grown
from seqtutor.vocabulary import BOS, EOS, PAD, Vocabulary

ROOT = Path(__file__).parent.parent
PRETRAIN = sys.modules["seqtutor.pretrain"]
PEPTIDES = ROOT / "examples" / "peptide_domain.py"
MODEL = ModelConfig(width=24, depth=1, embedding=8)
CONFIG = PretrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, warmup=5, precision="fp32", evaluate_samples=30,
                        checkpoint_minutes=0)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(SequenceModel.load(path).state_dict())


def metrics(out: Path) -> list[dict[str, str]]:
    """The rows of the log, without the time they took."""
    with open(f"{out}.metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def same_run(a: Path, b: Path) -> None:
    """Weights, optimiser and log are equal to the last bit."""
    assert metrics(a) == metrics(b)
    (first, state), (second, other) = (checkpoint.load(Path(f"{out}.checkpoint")) for out in (a, b))
    for run in (state, other):
        run.pop("seconds")
        for row in run["rows"]:
            row.pop("seconds")
    assert str(state) == str(other)  # as text, where nan is nan
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    one, two = weights(a), weights(b)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(name.startswith("optimizer/") for name in first)


def stop_after(step: int) -> Callable[[dict[str, Any]], None]:
    """A report that interrupts the run once the checkpoint of ``step`` is written."""
    def report(at: dict[str, Any]) -> None:
        if at["step"] > step:
            raise KeyboardInterrupt
    return report


# -- a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(peptides: Domain, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("straight") / "a.safetensors"
    pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, command="the command")
    return out


def test_the_loss_falls_and_everything_is_written(straight: Path, prepared: Prepared) -> None:
    rows = metrics(straight)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_nats_token"]) < float(rows[0]["train_nats_token"]) < math.log(21)
    assert float(rows[-1]["heldout_nats_token"]) < 2.2
    model = SequenceModel.load(straight, "peptides")
    assert model.provenance["corpus"] == prepared.manifest
    assert model.provenance["pretrain"] == dataclasses.asdict(CONFIG)
    assert model.provenance["command"] == "the command"
    assert str(model.provenance["figures"]["heldout_nats_token"]) == rows[-1]["heldout_nats_token"]
    known = KnownTexts.load(straight)
    assert all(text in known for text in prepared.train + prepared.heldout)
    assert sorted(path.name for path in straight.parent.iterdir()) == [
        "a.known.npy", "a.safetensors", "a.safetensors.checkpoint", "a.safetensors.metrics.csv"]


def test_the_same_seed_is_the_same_run(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    pretrain(peptides, prepared, tmp_path / "b.safetensors", model=MODEL, config=CONFIG)
    same_run(straight, tmp_path / "b.safetensors")
    config = dataclasses.replace(CONFIG, seed=1, epochs=1)
    pretrain(peptides, prepared, tmp_path / "c.safetensors", model=MODEL, config=config)
    other = weights(tmp_path / "c.safetensors")
    assert not torch.equal(other["head.weight"], weights(straight)["head.weight"])


def test_a_run_against_a_slow_loop(straight: Path, peptides: Domain, prepared: Prepared) -> None:
    """The same training in the plainest words: one text at a time and no padding."""
    vocabulary = Vocabulary(peptides.tokens)
    rows = [[BOS, *vocabulary.encode(peptides.split(text)).tolist(), EOS] for text in prepared.train]
    torch.manual_seed(0)
    network = SequenceModel(vocabulary, "peptides", MODEL)
    optimizer = torch.optim.Adam(network.parameters())
    per_epoch = math.ceil(len(rows) / 16)
    for epoch in range(3):
        batches = epoch_batches(np.array([len(row) - 2 for row in rows]), 16, 0, epoch)
        for place, batch in enumerate(batches):
            nats = sum(torch.nn.functional.cross_entropy(network(torch.tensor([rows[i][:-1]]))[0][0],
                                                         torch.tensor(rows[i][1:]), reduction="sum") for i in batch)
            loss = nats / sum(len(rows[i]) - 1 for i in batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr,no-untyped-call]
            norm = math.sqrt(sum(float((p.grad ** 2).sum()) for p in network.parameters() if p.grad is not None))
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter.grad *= min(1.0, 1.0 / (norm + 1e-6))
            step = epoch * per_epoch + place
            cosine = (1 + math.cos(math.pi * step / (3 * per_epoch))) / 2
            optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 5) * cosine
            optimizer.step()
    for name, tensor in weights(straight).items():
        torch.testing.assert_close(tensor, network.state_dict()[name], atol=2e-3, rtol=0)


# -- stopped and resumed --------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_bit_for_bit(straight: Path, peptides: Domain, prepared: Prepared, peptide_file: Path,
                                          tmp_path: Path) -> None:
    out = tmp_path / "killed.safetensors"
    saved = Path(f"{out}.checkpoint")
    options = {"width": 24, "depth": 1, "embedding": 8, "heldout": 0.1, "epochs": 3, "batch-size": 16, "warmup": 5,
               "learning-rate": 1e-2, "precision": "fp32", "evaluate-samples": 30, "checkpoint-minutes": 0,
               "threads": 1}
    words = [sys.executable, "-m", "seqtutor", "pretrain", str(PEPTIDES), str(peptide_file), "--out", str(out),
             "--quiet", *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if saved.exists() and checkpoint.load(saved)[1]["step"] >= 3:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    _, state = checkpoint.load(saved)
    assert 3 <= state["step"] < 69
    pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, resume=True)
    same_run(straight, out)


@pytest.mark.parametrize("step", [1, 23, 30, 46, 68])  # in the middle of epochs and at their ends (23 steps each)
def test_stopped_anywhere(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path, step: int) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, report=stop_after(step))
    assert checkpoint.load(Path(f"{out}.checkpoint"))[1]["step"] == step
    torch.manual_seed(12345)  # whatever else has been drawn since
    pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, resume=True)
    same_run(straight, out)


def test_resuming_a_finished_run_changes_nothing(straight: Path, peptides: Domain, prepared: Prepared,
                                                 tmp_path: Path) -> None:
    for path in straight.parent.iterdir():
        shutil.copy(path, tmp_path)
    out, steps = tmp_path / straight.name, list[dict[str, Any]]()
    before = metrics(out), weights(out)
    pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, resume=True, report=steps.append)
    assert steps == []  # nothing was left to do
    assert metrics(out) == before[0]
    assert all(torch.equal(tensor, weights(out)[name]) for name, tensor in before[1].items())
    same_run(straight, out)


def test_dropout_goes_on_bit_for_bit(peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    model = ModelConfig(width=16, depth=2, embedding=8, dropout=0.3)
    config = dataclasses.replace(CONFIG, epochs=1, evaluate_samples=0)
    a, b, c = (tmp_path / f"{name}.safetensors" for name in "abc")
    pretrain(peptides, prepared, a, model=model, config=config)
    with pytest.raises(KeyboardInterrupt):
        pretrain(peptides, prepared, b, model=model, config=config, report=stop_after(9))
    pretrain(peptides, prepared, b, model=model, config=config, resume=True)
    same_run(a, b)
    pretrain(peptides, prepared, c, model=dataclasses.replace(model, dropout=0.0), config=config)
    assert not torch.equal(weights(a)["head.weight"], weights(c)["head.weight"])  # dropout did something


def refuse_resume(straight: Path, tmp_path: Path, domain: Domain, prepared: Prepared, damage: bytes | None = None,
                  **changed: Any) -> str:
    out = tmp_path / "r.safetensors"
    saved = Path(f"{out}.checkpoint")
    saved.write_bytes(Path(f"{straight}.checkpoint").read_bytes() if damage is None else damage)
    before = saved.read_bytes()
    model = dataclasses.replace(MODEL, **{k: changed.pop(k) for k in ("width", "dropout") if k in changed})
    with pytest.raises(UsageError) as caught:
        pretrain(domain, prepared, out, model=model, config=dataclasses.replace(CONFIG, **changed), resume=True)
    assert saved.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)
    return str(caught.value)


def test_another_run_is_not_resumed(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    text = refuse_resume(straight, tmp_path, peptides, prepared, learning_rate=1e-3, epochs=4)
    assert text.endswith("belongs to another run (epochs was 3 and is 4, learning_rate was 0.01 and is 0.001); "
                         "give the same options, or begin without --resume")
    assert "width was 24 and is 32" in refuse_resume(straight, tmp_path, peptides, prepared, width=32)
    other = Prepared(prepared.train, prepared.heldout, prepared.manifest | {"sha256": "0" * 64})
    assert "corpus was" in refuse_resume(straight, tmp_path, peptides, other)
    fewer = Prepared(prepared.train[1:], prepared.heldout, prepared.manifest)
    text = refuse_resume(straight, tmp_path, peptides, fewer)
    assert f"train was {len(prepared.train)} and is {len(fewer.train)}" in text


def test_a_damaged_checkpoint_is_refused(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    content = Path(f"{straight}.checkpoint").read_bytes()
    for damage in (b"", b"text", content[:7], content[:300], content[:len(content) // 2], content[:-1], content + b"x"):
        text = refuse_resume(straight, tmp_path, peptides, prepared, damage)
        assert "is not a checkpoint of seqtutor, or it is damaged" in text
    text = refuse_resume(straight, tmp_path, peptides, prepared, straight.read_bytes())
    assert "was not written by this version" in text
    Path(tmp_path / "r.safetensors.checkpoint").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*r\.safetensors\.checkpoint"):
        pretrain(peptides, prepared, tmp_path / "r.safetensors", model=MODEL, config=CONFIG, resume=True)


def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(straight: Path, peptides: Domain, prepared: Prepared,
                                                      tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    config = dataclasses.replace(CONFIG, checkpoint_minutes=60)

    def press(at: dict[str, Any]) -> None:
        if at["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(peptides, prepared, out, model=MODEL, config=config, report=press)
    assert checkpoint.load(Path(f"{out}.checkpoint"))[1]["step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pretrain(peptides, prepared, out, model=MODEL, config=config, resume=True)
    assert all(torch.equal(tensor, weights(straight)[name]) for name, tensor in weights(out).items())


def test_a_second_ctrl_c_does_not_wait() -> None:
    with held_interrupt() as pressed:
        assert not pressed()
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with ThreadPoolExecutor(1) as pool, held_interrupt():
        assert pool.submit(lambda: held_interrupt().__enter__()()).result() is False


def test_an_earlier_run_is_not_overwritten(straight: Path, peptides: Domain, prepared: Prepared) -> None:
    saved = Path(f"{straight}.checkpoint")
    before = saved.read_bytes(), straight.read_bytes()
    with pytest.raises(UsageError, match=r"checkpoint holds an earlier run; go on from it with --resume, or remove it "
                                         "to begin anew$"):
        pretrain(peptides, prepared, straight, model=MODEL, config=CONFIG)
    assert (saved.read_bytes(), straight.read_bytes()) == before


# -- from an earlier model ------------------------------------------------------------------------------------------


def test_a_run_may_begin_with_a_model(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=0.1, learning_rate=1e-6)
    few = Prepared(prepared.train[:200], prepared.heldout, prepared.manifest)
    model = pretrain(peptides, few, tmp_path / "a.safetensors", config=config, start=straight)
    for name, tensor in weights(straight).items():  # one step of Adam from there
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=2e-6, rtol=0)
    assert not torch.equal(model.head.weight, weights(straight)["head.weight"])
    assert metrics(tmp_path / "a.safetensors")[0]["epoch"] == "0.077"  # 1 step of 13
    assert model.provenance["from"] == {"sha256": file_sha256(straight),
                                        "provenance": SequenceModel.load(straight).provenance}
    known = KnownTexts.load(tmp_path / "a.safetensors")  # what the earlier model saw is known to this one
    assert all(text in known for text in prepared.train)
    assert "nothing" not in known


def test_such_a_run_goes_on_bit_for_bit_with_validity(straight: Path, prepared: Prepared, tmp_path: Path,
                                                      peptides: Domain) -> None:
    class NoRepeat(type(peptides)):  # type: ignore[misc]
        def valid(self, text: str) -> bool:
            return bool(text) and text[0] != text[-1]
    config = dataclasses.replace(CONFIG, epochs=0.8, evaluate_samples=0)
    condition = ConditionConfig(weight=2.0, every=3, samples=40)
    a, b, c = (tmp_path / f"{name}.safetensors" for name in "abc")
    run = functools.partial(pretrain, NoRepeat(), prepared, config=config, start=straight)
    run(a, condition=condition)
    with pytest.raises(KeyboardInterrupt):
        run(b, condition=condition, report=stop_after(7))
    with pytest.raises(UsageError, match=r"belongs to another run \(weight was 2\.0 and is 0\.0\)"):
        run(b, condition=dataclasses.replace(condition, weight=0.0), resume=True)
    other = tmp_path / "other.safetensors"
    SequenceModel(Vocabulary(peptides.tokens), peptides.name, MODEL).save(other)
    with pytest.raises(UsageError, match="from was"):
        pretrain(NoRepeat(), prepared, b, config=config, start=other, condition=condition, resume=True)
    run(b, condition=condition, resume=True)
    same_run(a, b)
    assert 0 < float(metrics(a)[0]["drawn_valid"]) < 1
    run(c)
    assert metrics(c)[0]["drawn_valid"] == "nan"
    assert not torch.equal(weights(a)["head.weight"], weights(c)["head.weight"])


def test_a_model_that_does_not_fit_is_refused(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path,
                                              peptide_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.safetensors"
    SequenceModel(Vocabulary((*peptides.tokens[:-1], "Z")), peptides.name, MODEL).save(other)
    foreign = tmp_path / "foreign.safetensors"
    SequenceModel(Vocabulary(peptides.tokens), "music", MODEL).save(foreign)
    text = tmp_path / "text.safetensors"
    text.write_text("no model")
    for start, words, said in (
            (other, [], "peptides.txt has tokens that the model lacks: Y (in "),
            (foreign, [], "foreign.safetensors is a model of the domain 'music', not of 'peptides'"),
            (straight, ["--width", "32"], "a.safetensors is an LSTM of width 24, depth 1 and embedding 8, not 32, 1 "
                                          "and 8; leave these out with --from"),
            (text, [], "text.safetensors is not a safetensors file"),
            (tmp_path / "none.safetensors", [], "there is no file"),
            ("nobody", [], "unknown model")):
        with pytest.raises(SystemExit) as stop:
            main(["pretrain", str(PEPTIDES), str(peptide_file), "--out", str(tmp_path / "new.safetensors"),
                  "--from", str(start), "--quiet", *words])
        _, err = capsys.readouterr()
        assert said in err
        assert (stop.value.code, err.count("\n")) == (2, 1), err
    assert not list(tmp_path.glob("new*"))


# -- what can go wrong ----------------------------------------------------------------------------------------------


def test_a_model_of_other_tokens_is_refused(peptides: Domain, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    SequenceModel(Vocabulary((*peptides.tokens[:-1], "Z")), peptides.name, MODEL).save(other)
    with pytest.raises(UsageError, match=r"other tokens than the domain 'peptides' has now \(they differ in Y, Z\)"):
        begin_with(other, peptides, Vocabulary(peptides.tokens), None)


# -- one's own data -------------------------------------------------------------------------------------------------

OWN = ["C[Si](C)(C)c1ccccc1", "CCOc1ccccc1I", "CC(=O)Nc1ccc(I)cc1", "c1ccccc1B(O)O", "CCN(CC)CC"]


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    file = tmp_path / "own.smi"
    file.write_text("\n".join([*OWN, "C[C@H](N)C(=O)[O-].[Na+]"]) + "\n")
    return file


def test_tokens_that_the_model_lacks_are_told(own_file: Path, tmp_path: Path, molecules: Domain,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    start = tmp_path / "start.safetensors"
    SequenceModel(Vocabulary(molecules.tokens), "molecules", MODEL).save(start)
    for words in ([], ["--from", str(start)]):
        with pytest.raises(SystemExit) as stop:
            main(["pretrain", "molecules", str(own_file), "--out", str(tmp_path / "new.safetensors"), *words])
        _, err = capsys.readouterr()
        assert stop.value.code == 2
        assert "own.smi has tokens that the model lacks: I (in 2), " in err
        assert "[Si] (in 1)" in err
        assert "B (in 1)" in err
        assert "--extend-vocabulary" in err
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize(("flag", "tokens", "texts"), [("--extend-vocabulary", ("B", "I", "[Si]"), 6),
                                                       ("--skip-unknown", (), 2)])
def test_they_are_added_or_left_out(own_file: Path, tmp_path: Path, molecules: Domain, flag: str,
                                    tokens: tuple[str, ...], texts: int) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "new.safetensors"
    SequenceModel(Vocabulary(molecules.tokens), "molecules", MODEL).save(start)
    words = ["pretrain", "molecules", str(own_file), "--from", str(start), "--heldout", "0", "--epochs", "150",
             "--learning-rate", "0.02", "--warmup", "1", "--evaluate-epochs", "150", "--evaluate-samples", "0",
             "--quiet", flag]
    def run(*more: str) -> None:
        with pytest.raises(SystemExit) as stop:
            main([*words, *more])
        assert stop.value.code == 0

    run("--out", str(out))
    model = SequenceModel.load(out, "molecules")
    assert model.vocabulary.tokens == (*molecules.tokens, *tokens)
    assert model.provenance["corpus"]["train"] == texts
    if tokens:  # and learnt
        samples = {"".join(row) for row in Sampler(model, seed=1).sample(200)}
        assert any("[Si]" in text for text in samples)
        assert any("I" in text for text in samples)
        # such a model is begun with in its turn, and knows its own tokens
        run("--from", str(out), "--out", str(tmp_path / "more.safetensors"), "--epochs", "1")
        assert SequenceModel.load(tmp_path / "more.safetensors").vocabulary == model.vocabulary


def test_new_tokens_hardly_change_what_is_said_of_the_old(straight: Path, peptides: Domain, prepared: Prepared) -> None:
    old = SequenceModel.load(straight)
    new = grown(old, Vocabulary((*old.vocabulary.tokens, "X", "Z")))
    encoded = encode(peptides, old.vocabulary, prepared.heldout)
    before, after = heldout_loss(old, encoded)[0], heldout_loss(new, encoded)[0]
    assert before <= after < before + 0.01  # nats a token; a token of 20 that is as likely as they costs 0.1
    first = new(torch.tensor([[BOS]]))[0][0, -1].softmax(-1).detach()
    assert float(first[-2:].min()) > 1e-6


def test_training_ends_before_it_overfits(straight: Path, peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    few = Prepared(prepared.train[:40], prepared.heldout, prepared.manifest)
    config = PretrainConfig(epochs=60, batch_size=20, learning_rate=0.02, warmup=1, patience=4, evaluate_samples=0,
                            precision="fp32", checkpoint_minutes=0)
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pretrain(peptides, few, a, model=MODEL, config=config)
    losses = [float(row["heldout_nats_token"]) for row in metrics(a)]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 4 < 60
    # the model is that of the lowest loss
    model = SequenceModel.load(a)
    encoded = encode(peptides, model.vocabulary, prepared.heldout)
    assert heldout_loss(model, encoded)[0] == pytest.approx(min(losses), abs=1e-6)
    assert model.provenance["figures"]["epoch"] == best + 1
    # stopped in its time of patience, it goes on to the same model; and once ended it stays so
    with pytest.raises(KeyboardInterrupt):
        pretrain(peptides, few, b, model=MODEL, config=config, report=stop_after(2 * (best + 2)))
    pretrain(peptides, few, b, model=MODEL, config=config, resume=True)
    same_run(a, b)
    pretrain(peptides, few, b, model=MODEL, config=config, resume=True)
    same_run(a, b)


def test_overfits() -> None:
    def rows(*losses: float) -> list[dict[str, float]]:
        return [{"heldout_nats_token": loss} for loss in losses]

    assert not overfits([], 1)
    assert not overfits(rows(3, 2, 1), 1)
    assert overfits(rows(3, 2, 2), 1)
    assert not overfits(rows(3, 2, 2), 2)
    assert not overfits(rows(3, 2, 4, 5), 0)
    assert not overfits(rows(math.nan, math.nan), 1)  # nothing is held out
    assert lowest(rows(math.nan, 3, 2, 2)) == 2


def test_a_full_disk_leaves_the_earlier_checkpoint(peptides: Domain, prepared: Prepared, tmp_path: Path, straight: Path,
                                                   full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    out = tmp_path / "a.safetensors"
    limits: list[AbstractContextManager[None]] = []

    def fill(at: dict[str, Any]) -> None:
        if at["step"] == 8:
            limits.append(full_disk(2000))
            limits[0].__enter__()
    with pytest.raises(SeqtutorError, match=r"cannot write .*\.checkpoint: .*; free some space") as caught:
        pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, report=fill)
    limits[0].__exit__(None, None, None)
    assert caught.value.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors.checkpoint"]
    assert checkpoint.load(Path(f"{out}.checkpoint"))[1]["step"] == 7
    pretrain(peptides, prepared, out, model=MODEL, config=CONFIG, resume=True)
    same_run(straight, out)


def test_a_loss_that_is_not_finite_stops_the_run(peptides: Domain, prepared: Prepared, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.safetensors"
    config = dataclasses.replace(CONFIG, learning_rate=1e30, clip=1e38, warmup=0)
    steep = PRETRAIN.learning_rate
    monkeypatch.setattr(PRETRAIN, "learning_rate",  # at step 5 the weights leave what a float32 holds
                        lambda config, step, *more: 0.0 if step < 5 else 1e8 * steep(config, step, *more))
    with pytest.raises(SeqtutorError, match="the loss stopped being finite at step 6; begin again with a lower"):
        pretrain(peptides, prepared, out, model=MODEL, config=config)
    assert not out.exists()
    _, state = checkpoint.load(Path(f"{out}.checkpoint"))
    assert state["step"] == 6


@pytest.mark.parametrize(("field", "value"), [
    ("epochs", 0), ("batch_size", 0), ("evaluate_epochs", 0), ("learning_rate", 0), ("learning_rate", math.nan),
    ("clip", -1),
    ("schedule", "linear"), ("precision", "fp8"), ("augment", 1.5), ("augment", math.nan), ("evaluate_samples", -1),
    ("warmup", -1), ("checkpoint_minutes", -1), ("seed", -1), ("seed", 2**64)])
def test_bad_configurations(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{field} .*not '?{value}"):
        PretrainConfig(**{field: value})


def test_the_place_is_checked_before_the_work(peptides: Domain, prepared: Prepared, tmp_path: Path) -> None:
    for out in (tmp_path / "absent" / "a.safetensors", tmp_path):
        with pytest.raises(UsageError, match="cannot write"):
            pretrain(peptides, prepared, out, report=lambda at: pytest.fail("trained"))


def test_the_command_on_bad_input(tmp_path: Path, peptide_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(bytes(range(256)))
    out = str(tmp_path / "a.safetensors")
    for words, code, said in (
            ([str(peptide_file), "--out", str(tmp_path / "a.pt")], 2, "--out must end in .safetensors, not 'a.pt'"),
            ([str(peptide_file), "--out", str(tmp_path / "no" / "a.safetensors")], 2, "does not exist; create"),
            ([str(tmp_path / "absent.txt"), "--out", out], 2, "there is no file"),
            ([str(tmp_path), "--out", out], 2, "is a folder"),
            ([str(binary), "--out", out], 2, "is not text in UTF-8"),
            ([str(peptide_file)], 2, "Missing option '--out'"),
            ([str(peptide_file), "--out", out, "--seed", "-1"], 2, "the seed must be from 0"),
            ([str(peptide_file), "--out", out, "--epochs", "0"], 2, "epochs must be above 0, not 0"),
            ([str(peptide_file), "--out", out, "--width", "0"], 2, "model width must be a whole number from 1, not 0"),
            ([str(peptide_file), "--out", out, "--heldout", "1"], 2, "the held-out share must be"),
            ([str(peptide_file), "--out", out, "--device", "tpu"], 1, "the device 'tpu' is not to be had here"),
            ([str(peptide_file), "--out", out, "--resume"], 2, "there is no file")):
        with pytest.raises(SystemExit) as stop:
            main(["pretrain", str(PEPTIDES), *words, "--quiet"])
        found, err = capsys.readouterr()
        assert said in err
        assert (stop.value.code, found, err.count("\n")) == (code, "", 1), err
    assert [path.name for path in tmp_path.iterdir()] == ["binary.txt"]


def test_the_command_draws_and_tells(tmp_path: Path, peptide_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", str(PEPTIDES), str(peptide_file), "--out", str(out), "--epochs", "1", "--width", "8",
              "--evaluate-samples", "10", "--condition", "1"])
    told, err = capsys.readouterr()
    assert (stop.value.code, told) == (0, "")
    assert "peptides.txt: 400 rows, 0 left out" in err
    assert "epoch 1: training 3." in err
    assert "unique 1" in err
    assert err.endswith(f"wrote {out}\n")
    assert Path(f"{out}.loss.png").read_bytes().startswith(b"\x89PNG")
    assert "pretrain" in SequenceModel.load(out).provenance["command"]


def test_without_matplotlib_a_line_says_so(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    note = plot_loss(Path(f"{straight}.metrics.csv"), tmp_path / "a.png")
    assert note == "no loss plot without matplotlib: pip install 'seqtutor[plots]'"
    assert not list(tmp_path.iterdir())


# -- batches --------------------------------------------------------------------------------------------------------


def test_every_text_once_in_batches_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 5000)
    batches = epoch_batches(lengths, 64, seed=3, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    assert sum(len(batch) != 64 for batch in batches) <= 1
    wasted = sum(int((lengths[batch].max() - lengths[batch]).sum()) for batch in batches) / lengths.sum()
    assert wasted < 0.04  # without buckets it is 0.85
    again = epoch_batches(lengths, 64, seed=3, epoch=1)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    for seed, epoch in ((3, 2), (4, 1)):
        other = epoch_batches(lengths, 64, seed, epoch)
        assert any(len(a) != len(b) or (a != b).any() for a, b in zip(batches, other, strict=True))
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5  # not from short to long


@pytest.mark.parametrize(("n", "size"), [(1, 128), (3, 1), (128, 128), (129, 128)])
def test_few_texts(n: int, size: int) -> None:
    batches = epoch_batches(np.full(n, 7), size, 0, 0)
    assert len(batches) == math.ceil(n / size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def test_pad() -> None:
    assert pad([np.array([5, 6]), np.array([], dtype=int), np.array([7])]).tolist() == [
        [BOS, 5, 6, EOS], [BOS, EOS, PAD, PAD], [BOS, 7, EOS, PAD]]


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_learning_rate(schedule: str) -> None:
    config = PretrainConfig(learning_rate=0.1, warmup=10, schedule=schedule)
    rates = [learning_rate(config, step, 400, 50) for step in range(400)]
    assert rates[0] == pytest.approx(0.01, rel=1e-3)
    assert max(rates) == pytest.approx(0.1, rel=2e-3)
    if schedule == "cosine":
        assert rates[200] == pytest.approx(0.05)
        assert rates[100] == pytest.approx(0.1 * (1 + math.sqrt(0.5)) / 2)
        assert 0 < rates[399] < 1e-5
        assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    else:
        assert rates[10:250] == [0.1] * 240
        assert [rates[step] for step in (250, 299, 300, 350, 399)] == [0.05, 0.05, 0.025, 0.0125, 0.0125]
    assert learning_rate(dataclasses.replace(config, warmup=0), 0, 400, 50) == 0.1


@torch.no_grad()
def test_heldout_loss_against_a_slow_loop(tiny_model: SequenceModel, peptides: Domain, prepared: Prepared) -> None:
    texts = prepared.heldout[:25]
    nats, tokens = 0.0, 0
    for text in texts:
        state, at = tiny_model.initial_state(1), BOS
        for token in [*tiny_model.vocabulary.encode(list(text)).tolist(), EOS]:
            logits, state = tiny_model.step(torch.tensor([at]), state)
            nats -= float(logits[0].double().log_softmax(-1)[token])
            tokens += 1
            at = token
    heldout = encode(peptides, tiny_model.vocabulary, texts)
    for batch in (4, 256):
        assert heldout_loss(tiny_model, heldout, batch) == pytest.approx((nats / tokens, nats / len(texts)), abs=1e-5)
    assert sum(len(ids) for ids in by_length(heldout, 7)) == len(texts)
    assert all(map(math.isnan, heldout_loss(tiny_model, encode(peptides, tiny_model.vocabulary, []))))


def test_sample_quality(peptides: Domain) -> None:
    found = sample_quality(peptides, ["ACD", "acd", "X", "CCC", "DDD"], known={"CCC"})
    assert found == {"valid": 4 / 5, "unique": 3 / 4, "novel": 2 / 3}
    assert sample_quality(peptides, []) == {"valid": 0, "unique": 0, "novel": 0}


# -- other spellings ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def molecules() -> Domain:
    return load_domain("molecules")


@pytest.fixture(scope="module")
def some(molecules: Domain, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    corpus = molecules.corpus("wehi10k")
    raw = [text for _, text in zip(range(200), corpus.read(corpus.path()), strict=False)]
    return prepare(molecules, dataclasses.replace(corpus, read=lambda path: iter(raw)), heldout=0.1, use_cache=False)


def test_spellings_are_other_but_the_same_molecule(molecules: Domain, some: Prepared) -> None:
    vocabulary = Vocabulary(molecules.tokens)
    encoded = encode(molecules, vocabulary, some.train)
    augment = augmenter(molecules, vocabulary, some.train, 0.5)
    changed = 0
    for i, text in enumerate(some.train):
        ids = augment(np.array([0, 1]), encoded[i], i)
        assert ids.tolist() == augment(np.array([0, 1]), encoded[i], i).tolist()
        spelling = "".join(vocabulary.decode(ids.tolist()))
        assert molecules.canonical(spelling) == text
        changed += spelling != text
    assert 0.35 < changed / len(some.train) < 0.65
    others = [augment(np.array([0, 2]), encoded[i], i).tolist() for i in range(50)]
    assert others != [augment(np.array([0, 1]), encoded[i], i).tolist() for i in range(50)]


def test_a_spelling_outside_the_vocabulary_is_not_used(peptides: Domain) -> None:
    class Odd(type(peptides)):  # type: ignore[misc]
        def variants(self, text: str, n: int, rng: Random) -> list[str]:
            return ["B"]
    vocabulary = Vocabulary(peptides.tokens)
    ids = vocabulary.encode(["A", "C"])
    assert augmenter(Odd(), vocabulary, ["AC"], 1.0)(np.array([0, 0]), ids, 0).tolist() == ids.tolist()


def test_augmented_runs_go_on_bit_for_bit(molecules: Domain, some: Prepared, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=2, augment=0.7, evaluate_samples=0)
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pretrain(molecules, some, a, model=MODEL, config=config)
    with pytest.raises(KeyboardInterrupt):
        pretrain(molecules, some, b, model=MODEL, config=config, report=stop_after(5))
    pretrain(molecules, some, b, model=MODEL, config=config, resume=True)
    same_run(a, b)


def test_bf16_is_refused_where_it_does_not_run(peptides: Domain, prepared: Prepared, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "trains_in_bf16", lambda device: False)
    with pytest.raises(UsageError, match="this machine cannot train in bf16; use --precision fp32 or auto"):
        pretrain(peptides, prepared, tmp_path / "a.safetensors", config=dataclasses.replace(CONFIG, precision="bf16"))


def test_bf16_learns_too(peptides: Domain, prepared: Prepared, tmp_path: Path, straight: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, precision="bf16", evaluate_samples=0)
    if not trains_in_bf16(torch.device("cpu")):
        pytest.skip("this CPU has no AVX-512, without which torch trains no LSTM in bf16")
    pretrain(peptides, prepared, tmp_path / "a.safetensors", model=MODEL, config=config)
    row = metrics(tmp_path / "a.safetensors")[0]
    assert float(row["train_nats_token"]) < 3.0
    assert abs(float(row["train_nats_token"]) - float(metrics(straight)[0]["train_nats_token"])) < 0.3
    assert not torch.equal(weights(tmp_path / "a.safetensors")["head.weight"], weights(straight)["head.weight"])
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "a.safetensors").values())


# -- several processes ----------------------------------------------------------------------------------------------


def test_two_processes_average_their_gradients(peptides: Domain, prepared: Prepared, peptide_file: Path,
                                               tmp_path: Path) -> None:
    out = tmp_path / "two.safetensors"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "seqtutor",
         "pretrain", str(PEPTIDES), str(peptide_file), "--out", str(out), "--heldout", "0.1", "--width", "24",
         "--embedding", "8",
         "--epochs", "2", "--batch-size", "16", "--learning-rate", "1e-2", "--warmup", "5", "--precision", "fp32",
         "--evaluate-samples", "0"], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"wrote {out}") == 1  # one of the two tells
    rows = metrics(out)
    assert float(rows[1]["train_nats_token"]) < float(rows[0]["train_nats_token"])
    assert SequenceModel.load(out).provenance["processes"] == 2

    # the same by hand: two batches a step, the mean of their gradients, the last round wrapping around
    vocabulary = Vocabulary(peptides.tokens)
    train = encode(peptides, vocabulary, prepared.train)
    config = dataclasses.replace(CONFIG, epochs=2)
    torch.manual_seed(0)
    network = SequenceModel(vocabulary, "peptides", MODEL)
    optimizer = torch.optim.Adam(network.parameters())
    per_epoch = math.ceil(math.ceil(len(train) / 16) / 2)
    for step in range(2 * per_epoch):
        epoch, place = divmod(step, per_epoch)
        batches = epoch_batches(train.lengths, 16, 0, epoch)
        optimizer.zero_grad()
        for rank in (0, 1):
            ids = pad([train[int(i)] for i in batches[(2 * place + rank) % len(batches)]])
            log_p = network.log_probs(ids)
            (-log_p.sum() / (ids[:, 1:] != PAD).sum() / 2).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = learning_rate(config, step, 2 * per_epoch, per_epoch)
        optimizer.step()
    for name, tensor in weights(out).items():
        torch.testing.assert_close(tensor, network.state_dict()[name], atol=1e-3, rtol=0)
