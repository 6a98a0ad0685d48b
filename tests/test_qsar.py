"""Models of one's own as rules: the library's own predictions, and no pickle without trust."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.plugins import load_domain
from seqtutor_molecules.descriptors import molecule

TEXTS = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "CCN", "C1CCCCC1", "Clc1ccccc1", "CCCCO", "NCCO"]
LABELS = [0, 1, 1, 0, 0, 1, 0, 0]


def bits(texts: list[str]) -> Any:
    """The fingerprints, bit by bit."""
    molecules = [molecule(text) for text in texts]
    return np.array([[m.fingerprint.GetBit(i) for i in range(2048)] for m in molecules if m is not None], np.float32)


@pytest.fixture
def forest() -> Any:
    ensemble = pytest.importorskip("sklearn.ensemble")
    return ensemble.RandomForestClassifier(5, random_state=0).fit(bits(TEXTS), LABELS)


def rule(argument: str) -> Any:
    return load_domain("molecules").rule(f"model({argument})")


def test_a_skops_model(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    io = pytest.importorskip("skops.io")
    path = tmp_path / "active.skops"
    fitted = linear.LogisticRegression().fit(bits(TEXTS), LABELS)
    io.dump(fitted, path)
    found = rule(str(path))
    expected = fitted.predict_proba(bits(TEXTS))[:, 1]
    assert found(TEXTS) == pytest.approx(expected.tolist(), abs=1e-12)
    assert found(["CCO", "C1CC", "c1ccccc1"]) == pytest.approx([expected[0], math.nan, expected[1]], nan_ok=True)
    assert (found.low, found.high) == (0, 1)
    assert found([]) == []
    assert found(["C1CC"]) == pytest.approx([math.nan], nan_ok=True)
    with pytest.raises(UsageError, match="expects 2048 features and features names 2"):
        rule(f'{{"model": "{path}", "features": ["logp", "mw"]}}')


def test_a_regression_over_descriptors(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    io = pytest.importorskip("skops.io")
    domain = load_domain("molecules")
    x = np.array([domain.rule("logp")(TEXTS), domain.rule("mw")(TEXTS)], np.float32).T
    fitted = linear.LinearRegression().fit(x, 3 * x[:, 0] + 0.5 * x[:, 1])
    path = tmp_path / "line.skops"
    io.dump(fitted, path)
    found = rule(f'{{"model": "{path}", "features": ["logp", "mw"]}}')
    assert found(TEXTS) == pytest.approx((3 * x[:, 0] + 0.5 * x[:, 1]).tolist(), rel=1e-5)
    with pytest.raises(UsageError, match="expects 2 features and the fingerprint has 2048 bits; say which"):
        rule(str(path))


def test_no_pickle_without_trust(forest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "active.joblib"
    joblib.dump(forest, path)
    with pytest.raises(UsageError) as caught:
        rule(str(path))
    assert str(caught.value) == (f"the model {path} is a pickle, which can run any code when it is opened; save it "
                                 "with skops or as ONNX, or say --trust if you made it yourself")
    monkeypatch.setenv("SEQTUTOR_TRUST", "1")
    assert rule(str(path))(TEXTS) == pytest.approx(forest.predict_proba(bits(TEXTS))[:, 1].tolist())
    path.write_bytes(pickle.dumps("a text"))
    with pytest.raises(UsageError, match="it holds a str, which cannot predict"):
        rule(str(path))


def test_trust_is_an_option_of_every_command_that_scores(forest: Any, cli: Cli, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump(forest, tmp_path / "active.joblib")
    (tmp_path / "in.smi").write_text("CCO\nc1ccccc1\n")
    words = ("score", "molecules", "in.smi", "--rules", "model(active.joblib)")
    refused = cli(*words)
    assert refused.returncode == 2
    assert "is a pickle, which can run any code" in refused.stderr
    assert refused.stderr.count("\n") == 1
    for done in (cli(*words, "--trust"), cli(*words, "--trust", "--workers", "2")):
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 3
    for command in ("tune", "generate"):
        assert "--trust" in cli(command, "molecules", "--help").stdout
    assert "--trust" in cli("compare", "--help").stdout


class Foreign:
    """Not one of scikit-learn's own."""


def test_types_that_skops_does_not_know(forest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io = pytest.importorskip("skops.io")
    path = tmp_path / "foreign.skops"
    io.dump(Foreign(), path)
    with pytest.raises(UsageError, match=r"types that skops does not vouch for \(.*Foreign\); say --trust"):
        rule(str(path))
    io.dump(forest, path)
    with pytest.raises(UsageError, match=r"\(sklearn\.tree\._tree\.Tree\); say --trust"):
        rule(str(path))
    monkeypatch.setenv("SEQTUTOR_TRUST", "1")
    assert rule(str(path))(TEXTS) == pytest.approx(forest.predict_proba(bits(TEXTS))[:, 1].tolist())


def linear_onnx(path: Path, weights: Any, size: Any, columns: int = 1) -> None:
    """y = x @ weights, as ONNX."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, size])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, columns])],
        [onnx.numpy_helper.from_array(np.asarray(weights, np.float32), "w")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


def test_an_onnx_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(size=(2048, 2)).astype(np.float32)
    linear_onnx(tmp_path / "one.onnx", weights[:, :1], 2048)
    linear_onnx(tmp_path / "two.onnx", weights, None, 2)
    one, two = rule(str(tmp_path / "one.onnx")), rule(str(tmp_path / "two.onnx"))
    expected = bits(TEXTS) @ weights
    assert one(TEXTS) == pytest.approx(expected[:, 0].tolist(), abs=1e-4)
    assert one(["x", TEXTS[2]]) == pytest.approx([math.nan, expected[2, 0]], abs=1e-4, nan_ok=True)
    assert two(TEXTS) == pytest.approx(expected[:, 1].tolist(), abs=1e-4)
    assert one.low == -math.inf
    linear_onnx(tmp_path / "three.onnx", np.zeros((2048, 3)), 2048, 3)
    with pytest.raises(UsageError, match="has 3 columns; it should have 1 or 2"):
        rule(str(tmp_path / "three.onnx"))
    linear_onnx(tmp_path / "small.onnx", weights[:100, :1], 100)
    with pytest.raises(UsageError, match="expects 100 features"):
        rule(str(tmp_path / "small.onnx"))


@pytest.mark.parametrize(("argument", "words"), [
    ("gone.onnx", "there is no file gone.onnx"), ("a.h5", "unknown kind of model file (a.h5) '.h5'"),
    ("bad.onnx", "cannot read the model bad.onnx: "), ("bad.skops", "cannot read the model bad.skops: "),
    ('{"model": "bad.onnx", "feature": []}', "unknown setting of a model 'feature'; did you mean 'features'"),
    ('{"model": "bad.onnx", "features": []}', 'features "morgan" or a list of rules'), ("{", "not JSON"),
    ('{"model": "bad.onnx", "features": ["lgop"]}', "unknown rule of molecules 'lgop'; did you mean 'logp'"),
])
def test_bad_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, words: str) -> None:
    for module in ("onnxruntime", "skops"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5", "bad.onnx", "bad.skops"):
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(UsageError) as caught:
        rule(argument)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(SeqtutorError, match=r"needs the package onnxruntime; pip install 'seqtutor\[models\]'"):
        rule(str(tmp_path / "m.onnx"))
