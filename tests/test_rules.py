"""Rules of the molecule domain: the right numbers, nan for what is no molecule, alerts by name and by place."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import Descriptors, rdFingerprintGenerator

from seqtutor.domain import UsageError
from seqtutor_molecules import DOMAIN
from seqtutor_molecules.catalogues import catalogue
from seqtutor_molecules.descriptors import REMEMBERED, molecule
from seqtutor_molecules.tokens import split

ASPIRIN, CAFFEINE, DABSYL = "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CN(C)c1ccc(N=Nc2ccccc2)cc1"
VALID = [ASPIRIN, CAFFEINE, DABSYL, "C[NH3+]", "[Na+].[Cl-]", "C", "*", "[2H]O[2H]", "C1CCCCCCCCCCC1"]
INVALID = ["", "C1CC", "xyz", "CN(C)(C)C", " ", "C(", "é", "[Xx]"]
COLUMNS = {column.name: column for column in DOMAIN.columns}


def score(spec: str, texts: list[str]) -> list[float]:
    return list(DOMAIN.rule(spec)(texts))


@pytest.mark.parametrize(("rule", "aspirin", "caffeine"), [
    ("qed", 0.5501, 0.5385), ("sa", 1.5800, 2.2980), ("logp", 1.3101, -1.0293), ("mw", 180.159, 194.194),
    ("tpsa", 63.60, 61.82), ("hbd", 1, 0), ("rotatable_bonds", 2, 0), ("rings", 1, 2),
    ("largest_ring", 6, 6), ("charge", 0, 0), ("lipinski", 0, 0), ("pains", 0, 0), ("brenk", 1, 0),
    ("match(C(=O)O)", 1, 0), ("match([#6,#7](=O)n)", 0, 1), (f"similarity({ASPIRIN})", 1, 0.0889),
])
def test_two_drugs(rule: str, aspirin: float, caffeine: float) -> None:
    assert score(rule, [ASPIRIN, CAFFEINE]) == pytest.approx([aspirin, caffeine], abs=5e-5)


REFERENCES = {
    "mw": Descriptors.MolWt, "tpsa": Descriptors.TPSA, "hba": Descriptors.NumHAcceptors,
    "hbd": Descriptors.NumHDonors, "rings": Descriptors.RingCount, "charge": Chem.GetFormalCharge,
    "rotatable_bonds": Descriptors.NumRotatableBonds,
}


@pytest.mark.parametrize("rule", REFERENCES)
def test_rdkits_descriptors(rule: str) -> None:
    assert score(rule, VALID) == pytest.approx([REFERENCES[rule](Chem.MolFromSmiles(s)) for s in VALID], abs=1e-9)


@pytest.mark.parametrize(("smiles", "violations"), [
    (ASPIRIN, 0), ("C" * 36, 2), ("OCC(O)C(O)C(O)C(O)CO", 1), ("C" * 20, 1),
    ("CC1OC(OC2C(O)CC(OC3C(O)CC(OC4CCC5(C)C(CCC6C5CC(O)C5(C)C(CCC65O)C5=CC(=O)OC5)C4)OC3C)OC2C)CC(O)C1O", 3),  # digoxin
])
def test_lipinski(smiles: str, violations: int) -> None:
    assert score("lipinski", [smiles]) == [violations]


def test_similarity_is_rdkits() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in VALID]
    assert score(f"similarity({CAFFEINE})", VALID) == [DataStructs.TanimotoSimilarity(prints[1], p) for p in prints]


def test_known_is_what_a_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "library.smi"
    file.write_text("OCC first\nC[C@H](N)C(=O)[O-].[Na+]\nC1CC not one\n")
    known = f"known({file})"
    assert score(known, ["CCO", "CC(N)C(=O)O", "CCCO", "C1CC"]) == pytest.approx([1, 1, 0, math.nan], nan_ok=True)
    file.write_text("CCCO\n")
    os.utime(file, ns=(1, 1))  # whatever the clock's grain
    assert score(known, ["CCO", "CCCO"]) == [0, 1]
    (tmp_path / "none.smi").write_text("C1CC\n")
    with pytest.raises(UsageError, match="there is no molecule in the file"):
        DOMAIN.rule(f"known({tmp_path / 'none.smi'})")
    with pytest.raises(UsageError, match="there is no file"):
        DOMAIN.rule(f"known({tmp_path / 'no.smi'})")


@pytest.mark.parametrize("spec", [*(rule.name for rule in DOMAIN.rules), "match(C)", f"similarity({ASPIRIN})"])
def test_every_rule(spec: str, capfd: pytest.CaptureFixture[str]) -> None:
    rule = DOMAIN.rule(spec)
    mixed = [text for pair in zip(VALID, INVALID, strict=False) for text in pair] + VALID[len(INVALID):]
    scores = list(rule(mixed))
    assert [math.isnan(x) for x in scores] == [text in INVALID for text in mixed]
    assert all(rule.low <= x <= rule.high for x in scores if not math.isnan(x))
    molecule.cache_clear()
    one_by_one = [rule([text])[0] for text in mixed]
    assert one_by_one == pytest.approx(scores, rel=0, abs=0, nan_ok=True)
    assert list(rule([])) == []
    assert capfd.readouterr() == ("", "")  # RDKit is quiet


def test_a_batch_larger_than_what_is_remembered() -> None:
    texts = ["C" * (1 + i % 50) + "O" * (1 + i % 3) for i in range(REMEMBERED + 100)]
    scores = score("qed", texts)
    assert scores[:50] == score("qed", texts[:50])
    assert scores[-50:] == score("qed", texts[-50:])


def test_what_rdkit_reads_but_cannot_score_is_nan() -> None:
    undefined = "CCNC(=O)c1~ccccc1"  # RDKit's own QED raises AtomValenceException
    scores = score("qed", [ASPIRIN, undefined])
    assert round(scores[0], 4) == 0.5501
    assert math.isnan(scores[1])


# -- alerts -----------------------------------------------------------------------------------------------------------


def test_alert_names() -> None:
    assert list(COLUMNS["alerts"].values([DABSYL, "CCO", "C1CC"])) == [
        "PAINS anil_di_alk_A(478);PAINS azo_A(324);BRENK diazo_group", "", ""]
    assert score("pains", [DABSYL, "CCO"]) == [2, 0]
    assert score("brenk", [DABSYL, "O=Cc1ccccc1[N+](=O)[O-]"]) == [1, 3]


def test_catalogues_are_whole() -> None:
    assert catalogue("pains").GetNumEntries() == 480
    assert catalogue("brenk").GetNumEntries() == 105


def test_explain_says_where() -> None:
    pains = DOMAIN.rule("pains")
    assert pains.explain is not None
    azo = next(finding for finding in pains.explain(DABSYL) if "azo" in finding.words)
    assert split(DABSYL)[azo.start:azo.end] == ["N", "=", "N"]
    assert azo.words == "PAINS alert azo_A(324): a frequent hitter in assays"
    assert azo.rule == "pains"
    assert list(pains.explain("CCO")) == list(pains.explain("C1CC")) == []


def test_explain_with_bracket_atoms_and_two_places() -> None:
    brenk = DOMAIN.rule("brenk")
    assert brenk.explain is not None
    text = "O=[N+]([O-])c1ccc([N+](=O)[O-])cc1"
    nitro = [split(text)[f.start:f.end] for f in brenk.explain(text) if "nitro_group" in f.words]
    assert nitro == [["O", "=", "[N+]", "(", "[O-]"], ["[N+]", "(", "=", "O", ")", "[O-]"]]


def test_explain_where_hydrogens_are_written_out() -> None:
    brenk = DOMAIN.rule("brenk")
    assert brenk.explain is not None
    text = "[H]C(=O)C"
    (aldehyde,) = brenk.explain(text)
    assert (aldehyde.start, aldehyde.end) == (0, len(split(text)))


def test_scaffolds() -> None:
    assert list(COLUMNS["scaffold"].values([ASPIRIN, "CCO", "C1CC", "C1CC1CCc1ccncc1C"])) == [
        "c1ccccc1", "", "", "c1cc(CCC2CC2)ccn1"]


# -- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "words"), [
    ("match(C1CC)", "match(C1CC): not a SMARTS pattern, ring 1 is not closed"),
    ("match()", "match(): not a SMARTS pattern, it is empty"),
    ("match([#6)", "match([#6): not a SMARTS pattern, syntax error at its end ('6')"),
    ("similarity(CN(C)(C)C)", "similarity(CN(C)(C)C): not a SMILES, N at position 1 has valence 4, which is too many"),
    ("similarity()", "similarity(): not a SMILES, it is empty"),
])
def test_bad_arguments(spec: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        DOMAIN.rule(spec)
    assert str(caught.value) == words
    assert capfd.readouterr() == ("", "")


def test_the_nearest_rule_is_named() -> None:
    with pytest.raises(UsageError, match="unknown rule of molecules 'qde'; did you mean 'qed'"):
        DOMAIN.rule("qde")


def test_heavy_data_is_read_when_it_is_needed() -> None:
    code = ("from seqtutor_molecules import rules; from rdkit.Contrib.SA_Score import sascorer; "
            "from seqtutor_molecules.catalogues import catalogue; "
            "print(sascorer._fscores is None, catalogue.cache_info().currsize)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]
