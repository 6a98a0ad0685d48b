"""A user's own model over fingerprints or descriptors as a rule: ``model(activity.onnx)``, ``model(activity.skops)``.

    model({"model": "solubility.onnx", "features": ["logp", "mw", "tpsa"]})

Without ``features`` the model gets the Morgan fingerprint of radius 2, 2048 bits (0 or 1). Of a classifier of two
classes the score is the probability of the second. Files of ONNX and scikit-learn (skops, joblib). A joblib or pickle
file can run any code when it is opened, and is only with ``--trust``, which sets ``$SEQTUTOR_TRUST`` to 1; so are types
that skops does not vouch for, the trees of forests among them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor.domain import Rule, SeqtutorError, UsageError, nearest
from seqtutor.files import check_readable
from seqtutor_molecules.descriptors import molecule

Matrix = NDArray[np.float32]
#: float32 [molecules, features] → one number a molecule
Predict = Callable[[Matrix], Any]
BITS = 2048


def model(argument: str) -> Rule:
    """The rule of a model file. Raises :class:`UsageError` for one that cannot be read, is a pickle without trust, or
    expects another number of features, and :class:`SeqtutorError` where the package that reads it is missing."""
    from seqtutor_molecules import DOMAIN

    settings = _settings(argument)
    names = settings["features"]
    path = check_readable(Path(settings["model"]))
    if path.suffix.lower() not in READERS:
        raise nearest(path.suffix, READERS, f"kind of model file ({path})")
    rules = [] if names == "morgan" else [DOMAIN.rule(name) for name in names]
    try:
        predict, expected, probability = READERS[path.suffix.lower()](path)
    except ImportError as error:
        raise SeqtutorError(f"{path} needs the package {error.name}; pip install 'seqtutor[models]'") from None
    except (UsageError, SeqtutorError):
        raise
    except Exception as error:  # these libraries raise what they like on a broken file
        raise UsageError(f"cannot read the model {path}: {type(error).__name__}: "
                         f"{' '.join(str(error).split())[:200]}") from None
    given = len(rules) or BITS
    if expected is not None and expected != given:
        what = f"the fingerprint has {BITS} bits" if not rules else f"features names {given}"
        raise UsageError(f"the model {path} expects {expected} features and {what}; say which it was trained on, "
                         "as in \"features\": [\"logp\", \"mw\"]")

    def score(batch: Sequence[str]) -> list[float]:
        matrix = _descriptors(rules, batch) if rules else _fingerprints(batch)
        scores = np.full(len(batch), math.nan)
        good = np.flatnonzero(np.isfinite(matrix).all(1))
        if len(good):
            scores[good] = np.asarray(predict(matrix[good]), float).reshape(len(good))
        return [float(value) for value in scores]

    return Rule(f"model({argument})", f"what the model {path.name} says", score, low=0.0 if probability else -math.inf,
                high=1.0 if probability else math.inf)


def _settings(argument: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"model": argument.strip()}
    if settings["model"].startswith("{"):
        try:
            settings = json.loads(argument)
        except ValueError as error:
            raise UsageError(f"model({argument}): not JSON, {error}") from None
    settings.setdefault("features", "morgan")
    for key in settings:
        if key not in ("model", "features"):
            raise nearest(key, ("model", "features"), "setting of a model")
    names = settings["features"]
    listed = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    if not isinstance(settings.get("model"), str) or not (names == "morgan" or listed):
        raise UsageError(f"model({argument}): model is a file's name, and features \"morgan\" or a list of rules")
    return settings


def _fingerprints(batch: Sequence[str]) -> Matrix:
    rows = np.full((len(batch), BITS), math.nan, np.float32)
    for i, smiles in enumerate(batch):
        if (m := molecule(smiles)) is not None:
            rows[i] = 0
            rows[i, list(m.fingerprint.GetOnBits())] = 1
    return rows


def _descriptors(rules: Sequence[Rule], batch: Sequence[str]) -> Matrix:
    return np.array([rule(batch) for rule in rules], np.float32).T.reshape(len(batch), len(rules))


# -- files -----------------------------------------------------------------------------------------------------------

#: (predict, number of features or None where the file does not say, whether it gives a probability)
Read = tuple[Predict, int | None, bool]


def _sklearn(estimator: Any) -> Read:
    expected = getattr(estimator, "n_features_in_", None)
    if hasattr(estimator, "predict_proba") and len(estimator.classes_) == 2:
        return lambda x: estimator.predict_proba(x)[:, 1], expected, True
    if not hasattr(estimator, "predict"):
        raise UsageError(f"it holds a {type(estimator).__name__}, which cannot predict")
    return estimator.predict, expected, False


def _skops(path: Path) -> Read:
    from skops import io

    foreign = io.get_untrusted_types(file=path)
    if foreign and not _trusted():
        raise UsageError(f"the model {path} holds types that skops does not vouch for ({', '.join(foreign)}); "
                         "say --trust if you made it yourself")
    return _sklearn(io.load(path, trusted=foreign))


def _joblib(path: Path) -> Read:
    if not _trusted():
        raise UsageError(f"the model {path} is a pickle, which can run any code when it is opened; save it with skops "
                         "or as ONNX, or say --trust if you made it yourself")
    import joblib

    return _sklearn(joblib.load(path))


def _onnx(path: Path) -> Read:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(double)"):
        raise UsageError(f"the model {path} must have one input, a float tensor [molecules, features]")
    kind = np.float32 if inputs[0].type == "tensor(float)" else np.float64
    floats = [output for output in session.get_outputs() if output.type in ("tensor(float)", "tensor(double)")]
    if not floats:
        raise UsageError(f"the model {path} has no float tensor among its outputs (with skl2onnx: zipmap=False)")
    output = floats[-1]  # a classifier gives labels, then probabilities
    last = output.shape[-1] if len(output.shape) > 1 else 1
    if last not in (1, 2):
        raise UsageError(f"the output {output.name!r} of the model {path} has {last} columns; it should have 1 or 2")

    def predict(x: Matrix) -> Any:
        found = session.run([output.name], {inputs[0].name: x.astype(kind)})[0]
        return found[:, -1] if found.ndim > 1 else found

    size = inputs[0].shape[-1]
    return predict, size if isinstance(size, int) else None, last == 2


def _trusted() -> bool:
    return os.environ.get("SEQTUTOR_TRUST") == "1"


READERS: dict[str, Callable[[Path], Read]] = {
    ".onnx": _onnx, ".skops": _skops, ".joblib": _joblib, ".pkl": _joblib, ".pickle": _joblib}
