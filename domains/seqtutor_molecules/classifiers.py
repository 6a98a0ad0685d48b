"""The three oracles of PMO that are trained classifiers (drd2, gsk3b, jnk3), read as arrays of numbers.

Their files are pickles of scikit-learn 0.21, which today's scikit-learn cannot open. Here nothing of a pickle is run:
every class in it but numpy's arrays becomes a record of what it holds, and forest and support vectors are computed from
these arrays. The files come in the wheel of molscore.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator

from seqtutor_molecules.corpus import molscore
from seqtutor_molecules.descriptors import Molecule

Measure = Callable[[Molecule], float]
CLASSIFIED = ("drd2", "gsk3b", "jnk3")

_BITS = 2048
#: What drd2 was trained on, with counts; the others on the fingerprint that every molecule has
_FCFP6 = rdFingerprintGenerator.GetMorganGenerator(
    radius=3, atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen())


@cache
def classifier(name: str) -> Measure:
    """The probability, 0 to 1, that a molecule is active. Raises :class:`seqtutor.domain.UsageError` where the wheel is
    not here, with the command that gets it."""
    wheel = molscore(f"the PMO task {name!r}")
    with zipfile.ZipFile(wheel) as archive, archive.open(f"molscore/data/models/molopt/{name}.pkl") as file:
        record = read(file)
    if name == "drd2":
        probability = machine(record)
        return lambda m: probability(_counts(m))
    probability = forest(record)
    return lambda m: probability(_bits(m))


def _bits(m: Molecule) -> NDArray[np.float64]:
    row = np.zeros(_BITS)
    row[list(m.fingerprint.GetOnBits())] = 1
    return row


def _counts(m: Molecule) -> NDArray[np.float64]:
    """How often each feature occurs, folded by the remainder of its number."""
    row = np.zeros(_BITS)
    for number, count in _FCFP6.GetSparseCountFingerprint(m.mol).GetNonzeroElements().items():
        row[number % _BITS] += count
    return row


# -- files ----------------------------------------------------------------------------------------------------------

class _Record:
    """What an object of a pickle was made of: its class's arguments and its state."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Makes arrays, and records of everything else; runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy.core", "numpy._core"), name) in _ARRAYS:
            return _ARRAYS[module.replace("numpy.core", "numpy._core"), name]
        if (module, name) == ("copy_reg", "_reconstructor"):
            return lambda kind, base, state: _Record()
        return _Record


_ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
}


def read(file: IO[bytes]) -> dict[str, Any]:
    """The state of the classifier in a pickle."""
    state: dict[str, Any] = _Reader(file, encoding="latin1").load().state
    return state


# -- classifiers ----------------------------------------------------------------------------------------------------

def forest(state: dict[str, Any]) -> Callable[[NDArray[np.float64]], float]:
    """P(second class) of a forest of decision trees: the mean share of the leaves (Breiman 2001)."""
    trees = []
    for tree in state["estimators_"]:
        inner = tree.state["tree_"].state
        nodes, counts = inner["nodes"], inner["values"][:, 0, :]
        trees.append((nodes["left_child"], nodes["right_child"], nodes["feature"], nodes["threshold"],
                      counts[:, 1] / counts.sum(1)))

    def probability(x: NDArray[np.float64]) -> float:
        total = 0.0
        for left, right, feature, threshold, share in trees:
            node = 0
            while left[node] >= 0:
                node = left[node] if x[feature[node]] <= threshold[node] else right[node]
            total += share[node]
        return float(total / len(trees))

    return probability


def machine(state: dict[str, Any]) -> Callable[[NDArray[np.float64]], float]:
    """P(second class) of a support vector machine with a Gaussian kernel (Platt 1999; libsvm's signs)."""
    vectors, weights = state["support_vectors_"], state["_dual_coef_"][0]
    offset, gamma = float(state["_intercept_"][0]), float(state["_gamma"])
    a, b = (float(state[name][0]) for name in ("_probA", "_probB"))
    squares = (vectors ** 2).sum(1)

    def probability(x: NDArray[np.float64]) -> float:
        distance = squares - 2 * vectors @ x + x @ x
        value = float(np.exp(-gamma * distance) @ weights) + offset
        return _coupled(1 / (1 + math.exp(min(700.0, a * value + b))))

    return probability


def _coupled(first: float) -> float:
    """P(second class) as libsvm comes to it from P(first class) of the pair: by the iteration for several classes,
    stopped early (Wu, Lin & Weng 2004, J. Mach. Learn. Res. 5, 975, algorithm 2), which is off by up to .002."""
    first = min(max(first, 1e-7), 1 - 1e-7)
    second = 1 - first
    q = np.array([[second * second, -first * second], [-first * second, first * first]])
    p = np.array([0.5, 0.5])
    for _ in range(100):
        qp = q @ p
        pqp = p @ qp
        if np.abs(qp - pqp).max() < 0.0025:
            break
        for t in range(2):
            step = (pqp - qp[t]) / q[t, t]
            p[t] += step
            pqp = (pqp + step * (step * q[t, t] + 2 * qp[t])) / (1 + step) ** 2
            qp = (qp + step * q[t]) / (1 + step)
            p /= 1 + step
    return float(p[1])
