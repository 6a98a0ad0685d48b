"""PMO's oracles: the definitions of GuacaMol to the last digits, and pharmacophores as RDKit has them."""

from __future__ import annotations

import importlib
import math
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, DataStructs

from seqtutor.domain import UsageError
from seqtutor_molecules import DOMAIN
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.pharmacophores import pharmacophores, similarity
from seqtutor_molecules.pmo import SITAGLIPTIN, TASKS

WEHI = list(CORPORA["wehi10k"].read(CORPORA["wehi10k"].path()))
GEFITINIB, AMIDE = "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1", "CN(C=O)Cc1ccc(-c2ccccc2C(N)=O)c(NC(C)=O)c1"
#: What the functions of TDC's `oracle.py` (PyTDC 1.1.15) give, each in a namespace of its own, in this order.
MOLECULES = (SITAGLIPTIN, GEFITINIB, "CC(=O)Nc1cccnc1O", AMIDE)
TDC = {
    "albuterol_similarity": (0.217949, 0.192090, 0.253968, 0.311111),
    "amlodipine_mpo": (0.317363, 0.147024, 0.006200, 0.169330),
    "celecoxib_rediscovery": (0.166667, 0.133803, 0.097826, 0.181034),
    "deco_hop": (0.551701, 0.869710, 0.507639, 0.535965),
    "fexofenadine_mpo": (0.400953, 0.291604, 0.109203, 0.553593),
    "isomers_c7h8n2o2": (0.000000, 0.000000, 1.000000, 0.000000),
    "isomers_c9h10n2o2pf2cl": (0.000031, 0.000000, 0.153355, 0.000000),
    "median1": (0.044499, 0.039058, 0.043355, 0.030746),
    "median2": (0.097243, 0.134840, 0.064755, 0.120892),
    "mestranol_similarity": (0.141844, 0.175252, 0.059565, 0.104683),
    "osimertinib_mpo": (0.308190, 0.062155, 0.114923, 0.637242),
    "perindopril_mpo": (0.270172, 0.099622, 0.092453, 0.295468),
    "qed": (0.621638, 0.517855, 0.623613, 0.795621),
    "ranolazine_mpo": (0.001217, 0.254567, 0.002821, 0.026267),
    "scaffold_hop": (0.411460, 0.180895, 0.344877, 0.387681),
    "sitagliptin_mpo": (0.000004, 0.000000, 0.000003, 0.070209),
    "thiothixene_rediscovery": (0.133803, 0.190476, 0.084906, 0.268908),
    "troglitazone_rediscovery": (0.087248, 0.142857, 0.094340, 0.151515),
    "valsartan_smarts": (0.000000, 0.000000, 0.000000, 0.057103),
    "zaleplon_mpo": (0.133438, 0.001654, 0.000000, 0.342227),
}
#: What each task is about, and what it scores.
BEST = {
    "albuterol_similarity": "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1",
    "celecoxib_rediscovery": "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "isomers_c7h8n2o2": "CC(=O)Nc1cccnc1O",
    "isomers_c9h10n2o2pf2cl": "CC(=O)Nc1cc(F)c(PCl)c(OCN)c1F",
    "mestranol_similarity": "C#CC1(O)CCC2C3CCc4cc(OC)ccc4C3CCC21C",
    "thiothixene_rediscovery": "CN1CCN(CCC=C2c3ccccc3Sc3ccc(S(=O)(=O)N(C)C)cc32)CC1",
    "troglitazone_rediscovery": "Cc1c(C)c2c(c(C)c1O)CCC(C)(COc1ccc(CC3SC(=O)NC3=O)cc1)O2",
}


def score(task: str, texts: Sequence[str]) -> list[float]:
    return list(DOMAIN.rule(f"pmo({task})")(texts))


@pytest.mark.parametrize("task", TASKS)
def test_tdcs_values(task: str) -> None:
    assert score(task, MOLECULES) == pytest.approx(TDC[task], abs=1e-6)


@pytest.mark.parametrize("task", BEST)
def test_what_is_sought_scores_one(task: str) -> None:
    assert score(task, [BEST[task]]) == pytest.approx([1])


def test_twenty_tasks_within_bounds_and_nan_for_what_is_no_molecule() -> None:
    assert len(TASKS) == 20
    texts = ["C", "[Na+].[Cl-]", "[2H]O[2H]", "C1CCCCCCCCCCC1", *Random(0).sample(WEHI, 30)]
    for task in TASKS:
        assert all(0 <= value <= 1 for value in score(task, texts)), task
        assert math.isnan(score(task, ["C1CC"])[0])


def test_a_task_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"unknown PMO task 'perindopril'; did you mean 'perindopril_mpo'\? \(known: "):
        DOMAIN.rule("pmo(perindopril)")


def test_pharmacophores_are_rdkits() -> None:
    from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D
    texts = ["C", "CCO", "O=C(O)CCC(=O)O", "C" * 30, "OCCO.NCCN", "OCCOCCO", "c1ccccc1", *Random(2).sample(WEHI, 30)]
    mols = [Chem.MolFromSmiles(text) for text in texts]
    slow = [Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory) for mol in mols]  # type: ignore[no-untyped-call]
    fast = [pharmacophores(mol) for mol in mols]
    assert [len(codes) for codes in fast] == [bits.GetNumOnBits() for bits in slow]
    for i in range(len(mols)):
        for j in range(i):
            assert similarity(fast[i], fast[j]) == DataStructs.TanimotoSimilarity(slow[i], slow[j])


# -- against GuacaMol -----------------------------------------------------------------------------------------------

def guacamol(monkeypatch: pytest.MonkeyPatch) -> Any:
    """GuacaMol's standard_benchmarks. It wants an old scipy and, for what is not used here, the package fcd."""
    for package in ("guacamol", "scipy", "tqdm"):
        pytest.importorskip(package, reason="GuacaMol is not installed; run: pip install scipy tqdm && "
                                            "pip install --no-deps guacamol")
    scipy = importlib.import_module("scipy")
    monkeypatch.setattr(scipy, "histogram", np.histogram, raising=False)
    monkeypatch.setitem(sys.modules, "fcd", types.ModuleType("fcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("guacamol.standard_benchmarks")


def benchmark(g: Any, task: str) -> Any:
    """GuacaMol's benchmark for a task of PMO."""
    kind, _, what = task.rpartition("_")
    if what in ("rediscovery", "similarity"):
        smiles, threshold, fingerprint = {
            "celecoxib": ("CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F", 1.0, "ECFP4"),
            "troglitazone": ("Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O", 1.0, "ECFP4"),
            "thiothixene": ("CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1", 1.0, "ECFP4"),
            "albuterol": ("CC(C)(C)NCC(O)c1ccc(O)c(CO)c1", 0.75, "FCFP4"),
            "mestranol": ("COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1", 0.75, "AP"),
        }[kind]
        return g.similarity(smiles, kind, fp_type=fingerprint, threshold=threshold)
    names = {
        "amlodipine_mpo": "amlodipine_rings", "deco_hop": "decoration_hop", "fexofenadine_mpo": "hard_fexofenadine",
        "median1": "median_camphor_menthol", "median2": "median_tadalafil_sildenafil",
        "osimertinib_mpo": "hard_osimertinib", "perindopril_mpo": "perindopril_rings", "qed": "qed_benchmark",
        "sitagliptin_mpo": "sitagliptin_replacement", "zaleplon_mpo": "zaleplon_with_other_formula",
    }
    return getattr(g, names.get(task, task))()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_guacamols_values_on_a_thousand_molecules(monkeypatch: pytest.MonkeyPatch) -> None:
    g = guacamol(monkeypatch)
    near = [*MOLECULES, *BEST.values(), "CN(C=O)Cc1ccc(-c2ccccc2)cc1"]
    texts = [*near, *DOMAIN.edits(near, 300, Random(0))]
    texts += Random(0).sample(WEHI, 1000 - len(texts))
    assert len(texts) == 1000
    for task in TASKS:
        theirs: Callable[[str], float] = benchmark(g, task).objective.score
        assert score(task, texts) == pytest.approx([float(theirs(text)) for text in texts], abs=1e-6), task
