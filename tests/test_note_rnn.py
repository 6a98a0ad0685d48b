"""The author's Note RNN as one of our models: the same network, the same rewards, the same baseline."""

from __future__ import annotations

import json
import math
from pathlib import Path

import note_rnn
import numpy as np
import pytest
import sequence_tutor as command
import table_1 as table
import torch

from seqtutor.conformance import check_domain
from seqtutor.domain import UsageError
from seqtutor.model import SequenceModel
from seqtutor.vocabulary import BOS
from seqtutor_music import sequence_tutor

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
WEIGHTS = REFERENCE / "note_rnn.npz"
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the author's weights are not beside this checkout")


@pytest.fixture
def model() -> SequenceModel:
    return note_rnn.load_note_rnn(WEIGHTS)


def plain_lstm(x: np.ndarray) -> np.ndarray:
    """Logits [rows, time, 38] after each class of ``x`` [rows, time], in float64, as magenta computes them."""
    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    w = {name: array.astype(np.float64) for name, array in np.load(WEIGHTS).items()}
    h = c = np.zeros((len(x), 100))
    logits = []
    for t in range(x.shape[1]):
        z = np.concatenate([np.eye(38)[x[:, t]], h], 1) @ w["lstm_kernel"] + w["lstm_bias"]
        i, j, f, o = np.split(z, 4, axis=1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        logits.append(h @ w["output_kernel"] + w["output_bias"])
    return np.stack(logits, 1)


def with_bos(x: np.ndarray) -> torch.Tensor:
    return torch.cat([torch.full((len(x), 1), BOS), torch.from_numpy(x) + 3], 1)


@needs_weights
def test_logits_are_those_of_a_plain_lstm(model: SequenceModel) -> None:
    x = np.random.default_rng(0).integers(0, 38, (50, 33))
    wanted = plain_lstm(x)
    with torch.no_grad():
        in_fp32 = model(with_bos(x))[0][:, 1:, 3:].numpy()
        in_fp64 = model.double()(with_bos(x))[0][:, 1:, 3:].numpy()
    np.testing.assert_allclose(in_fp64, wanted, rtol=0, atol=1e-6)  # the forget bias is added in fp32
    np.testing.assert_allclose(in_fp32, wanted, rtol=1e-5, atol=1e-4)


@needs_weights
def test_after_bos_the_state_is_zero_and_the_primer_uniform(model: SequenceModel) -> None:
    with torch.no_grad():
        logits, (h, c) = model(torch.tensor([[BOS]]))
        assert not h[0, 0, :100].any()
        assert not c[0, 0, :100].any()
        p = logits[0, 0].double().softmax(-1).numpy()
        np.testing.assert_allclose(p[3:40], 1 / 37, rtol=1e-6)
        assert p[[0, 1, 2, 40]].sum() < 1e-40
        _, (h, c) = model(torch.tensor([[BOS, 17]]))
        assert not h[0, 0, 100]
        assert not c[0, 0, 100]
        model.head.bias[3:] += torch.randn(38)  # as tuning does
        note_rnn.make_primer_uniform(model)
        p = model(torch.tensor([[BOS]]))[0][0, 0].double().softmax(-1).numpy()
        np.testing.assert_allclose(p[3:40], 1 / 37, rtol=1e-5)


@needs_weights
def test_no_gradient_opens_what_is_held_shut(model: SequenceModel) -> None:
    """Tuning moves no weight of the extra unit and no input weight of its dimension."""
    x = np.random.default_rng(0).integers(0, 37, (8, 33))
    model.log_probs(with_bos(x))[:, 1:].sum().backward()
    extra = [k * 101 + 100 for k in range(4)]
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
        gradient = getattr(model.lstm, name).grad
        assert gradient[:100].any()
        assert not gradient[extra].any()
    assert not model.lstm.weight_ih_l0.grad[:, 38].any()


@needs_weights
def test_baseline_within_sampling_error(model: SequenceModel) -> None:
    reference = command.read_reference(WEIGHTS)
    n = 4000
    column, x = table.measure("note rnn", model, model, pieces=n, seed=0)
    assert x.shape == (n, 32)
    found = {table.REFERENCE[name]: figure for name, figure in column.figures.items()}
    found |= {"mean_logp_per_token": column.log_p, "freq0": table.mean((x == 0).mean(1)),
              "freq1": table.mean((x == 1).mean(1))}
    for name, (value, error) in found.items():
        both = error * math.sqrt(1 + n / reference["n"])  # theirs is a sample too
        assert abs(value - reference[name]) < 5 * both + 5e-4, name  # they print some to three decimals
    assert column.kl[0] == 0
    assert column.objective[0] == pytest.approx(2 * column.reward[0])


def test_rewards_equal_the_golden_ones_through_the_domain() -> None:
    golden = REFERENCE / "music_rewards.json"
    if not golden.exists():
        pytest.skip("the golden rewards of rl_tuner are not beside this checkout")
    cases = json.loads(golden.read_text())["cases"].values()
    batch = [["9", *map(str, case["seq"])] for case in cases]
    scores = np.sum([note_rnn.DOMAIN.rule(name)(batch) for name in sequence_tutor.RULES], axis=0)
    np.testing.assert_array_equal(note_rnn.DOMAIN.rule("nine")(batch), scores)
    assert not scores[:, 0].any()
    for row, case in zip(scores, cases, strict=True):
        np.testing.assert_allclose(row[1:], [step["total"] for step in case["steps"]], rtol=0, atol=1e-9)
    parts = table.rewards(note_rnn.classes(batch))
    np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), scores.sum(1), rtol=0, atol=1e-9)


def test_the_domain_keeps_its_contract() -> None:
    domain = note_rnn.DOMAIN
    text = domain.join(["0", *map(str, range(5, 37))])
    check_domain(domain, [text], invalid=["", "0 1 2", text + " 3", text.replace("36", "38"), "x"])
    assert domain.given(domain.split(text)) == 1
    key = domain.rule("key")
    assert np.isnan(key([["3"] * 5])).all()
    assert key([["3"] * 33])[0] == [0.0] + [-1.0] * 32  # C sharp; the primer costs nothing


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the Note RNN from .*absent"):
        note_rnn.read_weights(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", lstm_bias=np.zeros(3))
    with pytest.raises(UsageError, match=r"holds \{'lstm_bias': \(3,\)\}; the Note RNN has"):
        note_rnn.read_weights(tmp_path / "other.npz")


def test_shares_and_errors_of_the_table() -> None:
    hits, of = np.array([1.0, 0, 2, 1]), np.array([2.0, 0, 2, 4])
    share, error = table.ratio(hits, of)
    assert share == 0.5
    picks = np.random.default_rng(0).integers(0, 4, (10_000, 400))  # bootstrap of 400 such pieces
    assert hits[picks].sum(1).std() > 0
    assert (hits[picks].sum(1) / of[picks].sum(1)).std() == pytest.approx(error * math.sqrt(4 / 400), rel=.03)
    assert math.isnan(table.ratio(hits * 0, of * 0)[0])
    assert table.shown((0.6352, 0.0012), True) == "63.5 ± 0.1 %"
    assert table.shown((math.nan, math.nan)) == "none"


@needs_weights
def test_the_table_of_tuned_models(model: SequenceModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.no_grad():
        model.head.bias[3] -= 3.0  # fewer rests
    model.provenance["seconds"] = 12.0
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.safetensors")
    arguments = ["--note-rnn", str(WEIGHTS), "--pieces", "100", "--threads", "1"]
    command.main([*arguments, "table", f"psi={tmp_path / 'run'}"], standalone_mode=False)
    out = capsys.readouterr().out
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
             for line in out.splitlines() if line.startswith("|")}
    assert lines[""] == ["note rnn", "note rnn, published", "psi", "psi, published"]
    assert lines["Notes in motif"][1::2] == ["5.9 %", "73.8 %"]
    assert lines["KL to the Note RNN, nats"][0] == "0.00 ± 0.00"
    assert float(lines["KL to the Note RNN, nats"][2].split()[0]) > 1
    assert lines["Tuned for, s of the clock"] == ["", "", "12", ""]
    command.main([*arguments, "--json", "table", f"mine={tmp_path / 'run'}"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert [column["name"] for column in found] == ["note rnn", "mine"]
    with pytest.raises(UsageError, match="'runs' is not NAME=MODEL"):
        command.main([*arguments, "table", "runs"], standalone_mode=False)
