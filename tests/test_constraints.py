"""What is to be kept is kept: scaffolds grow at their points only, fragments are linked, leads stay near."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random

import pytest
import torch
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.rdRGroupDecomposition import RGroupDecomposition, RGroupDecompositionParameters

from seqtutor.domain import SeqtutorError, UnknownToken, UsageError
from seqtutor.generate import generate
from seqtutor.models import entries, load_model
from seqtutor.objective import Objective
from seqtutor.plugins import load_domain
from seqtutor.rewards import Rewarder
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.settings import TuneConfig
from seqtutor.tutor import Tutor
from seqtutor.vocabulary import EOS
from seqtutor.writing import ModelWriter
from seqtutor_molecules.constraints import linkers
from seqtutor_molecules.fragments import beginnings, fragment, open_points, opened

MOLECULES = load_domain("molecules")
shipped = pytest.mark.skipif(not any(e.name == "molecules" for e in entries()), reason="no molecule prior is shipped")

FRAGMENTS = ["*c1ccc2[nH]c(-c3ccccc3)nc2c1", "*n1cccc1C(=O)N*", "[*:1]c1ccc(C(=O)N[*:2])cc1", "*=C1CCN(*)CC1",
             "*n1cc(*)c2ccccc21", "*N(*)C(=O)c1cc(*)ccc1Cl", "*CC#*", "*c1ccc(*)c(*)c1"]


def filled(smiles: str, point: int) -> str:
    """The molecule that has a bromine at one point and hydrogens at the others, made by RDKit's own replacement."""
    mol = Chem.RWMol(fragment(smiles))
    order = mol.GetAtomWithIdx(point).GetBonds()[0].GetBondTypeAsDouble()
    mol.GetAtomWithIdx(point).SetAtomicNum({1.0: 35, 2.0: 8, 3.0: 7}[order])
    for other in open_points(mol):
        mol.GetAtomWithIdx(other).SetAtomicNum(1)
    return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))


@pytest.mark.parametrize("smiles", FRAGMENTS)
def test_what_is_written_after_a_beginning_grows_at_its_point(smiles: str) -> None:
    mol = fragment(smiles)
    for point in open_points(mol):
        found = beginnings(mol, point, 12, Random(1))
        assert found
        assert len({b.text for b in found}) == len(found)
        for b in found:
            order = mol.GetAtomWithIdx(point).GetBonds()[0].GetBondTypeAsDouble()
            text = b.text + {1.0: "Br", 2.0: "O", 3.0: "N"}[order]
            assert MOLECULES.canonical(text) == filled(smiles, point)
            grown = b.grown(text)
            assert grown is not None
            assert len(open_points(grown)) == len(open_points(mol)) - 1
            # all points filled one after another come to the same as all at once, whichever way they were spelled
            at_once = Chem.RWMol(fragment(smiles))
            for atom in at_once.GetAtoms():
                if atom.GetAtomicNum() == 0 and atom.GetIdx() == point:
                    atom.SetAtomicNum({1.0: 35, 2.0: 8, 3.0: 7}[order])
            Chem.SanitizeMol(at_once)
            assert Chem.MolToSmiles(grown) == Chem.MolToSmiles(at_once)


def test_growth_elsewhere_is_noticed() -> None:
    mol = fragment("*c1ccncc1")
    b = beginnings(mol, open_points(mol)[0], 1, Random(0))[0]
    assert b.grown(b.text + "CC") is not None
    assert b.grown(b.text) is None  # nothing came
    assert b.grown(b.text + "C(") is None
    nitrogen = fragment("*NC")
    b = beginnings(nitrogen, open_points(nitrogen)[0], 1, Random(0))[0]
    assert b.grown(b.text + "1CC1") is None  # a second bond
    with pytest.raises(Chem.MolSanitizeException):
        opened(Chem.MolFromSmiles("FC(F)(F)F"), [(1, Chem.BondType.SINGLE)])


@pytest.mark.parametrize(("text", "expected"), [
    ("CC(=O)NC", ["C", "CC(=O)", "CC(=O)N", "CC(=O)NC"]), ("c1ccccc1C", ["c1ccccc1", "c1ccccc1C"]),
    ("C=C", ["C", "C=C"]), ("OC=", ["O", "OC"]), ("C1CC%10", []), ("C1CC1", ["C1CC1"]),
])
def test_linkers(text: str, expected: list[str]) -> None:
    assert linkers(text) == expected


def parts_of(smiles: str, core: str) -> dict[str, str] | None:
    """R-groups of a molecule by RDKit, or None where it is not the core, grown at its points only."""
    parameters = RGroupDecompositionParameters()
    parameters.onlyMatchAtRGroups = True
    parts = RGroupDecomposition(Chem.MolFromSmiles(core), parameters)
    if parts.Add(Chem.MolFromSmiles(smiles)) < 0:
        return None
    parts.Process()
    return {name: Chem.MolToSmiles(mol) for name, mol in parts.GetRGroupsAsRows()[0].items() if name != "Core"}


@shipped
@pytest.mark.parametrize(("core", "rate"), [
    ("[*:1]c1ccc2[nH]c(-c3ccccc3)nc2c1", 0.9), ("O=C(N[*:1])c1ccc([*:2])cc1", 0.7), ("[*:1]C1CCN([*:2])CC1", 0.8),
])
def test_scaffolds_grow_at_their_points_only(core: str, rate: float) -> None:
    result = generate(MOLECULES, load_model("molecules", "molecules"), 40, seed=1, options={"scaffold": core})
    assert len(result.texts) == 40
    assert result.hit_rate > rate
    for text in result.texts:
        parts = parts_of(text, core)
        assert parts is not None, text
        assert all("[H]" not in part for part in parts.values()), text


@shipped
def test_a_scaffold_without_points_grows_anywhere() -> None:
    result = generate(MOLECULES, load_model("molecules", "molecules"), 40, seed=1,
                      options={"scaffold": "c1ccc2[nH]cnc2c1"})
    core = Chem.MolFromSmarts("c1ccc2ncnc2c1")
    assert all(Chem.MolFromSmiles(text).HasSubstructMatch(core) for text in result.texts)
    assert result.hit_rate > 0.6
    assert len(set(result.texts)) == 40


@shipped
def test_fragments_are_linked() -> None:
    result = generate(MOLECULES, load_model("molecules", "molecules"), 20, seed=1,
                      options={"link": "c1ccncc1*.O=C(O)C*"})
    assert result.hit_rate > 0.6
    for text in result.texts:
        for core in ("c1ccncc1[*:1]", "O=C(O)C[*:1]"):
            parts = parts_of(text, core)
            assert parts is not None, text
            assert "[H]" not in parts["R1"], text
        assert Chem.MolFromSmiles(text).GetNumAtoms() > 10  # of which the fragments have 6 and 4


@shipped
def test_samples_stay_near_a_lead() -> None:
    lead = "CN1CCN(Cc2ccc(NC(=O)c3cccnc3)cc2)CC1"
    result = generate(MOLECULES, load_model("molecules", "molecules"), 30, seed=1,
                      options={"lead": lead, "similarity": 0.5})
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    reference = maker.GetFingerprint(Chem.MolFromSmiles(lead))
    alike = [DataStructs.TanimotoSimilarity(reference, maker.GetFingerprint(Chem.MolFromSmiles(text)))
             for text in result.texts]
    assert min(alike) >= 0.5
    assert max(alike) < 1
    # sampling and filtering alone finds next to none of them
    assert result.hit_rate > 0.1
    plain = Sampler(load_model("molecules", "molecules"), SamplingConfig(), seed=1).sample(2000)
    near = MOLECULES.accepts([text for tokens in plain if (text := MOLECULES.canonical("".join(tokens)))],
                             lead=lead, similarity=0.5)
    assert sum(near) < 4


@shipped
def test_same_seed_same_molecules_and_a_longer_run_begins_alike() -> None:
    model = load_model("molecules", "molecules")
    ten, again, more = (generate(MOLECULES, model, n, seed=3, options={"scaffold": "*C1CCN(*)CC1"}).texts
                        for n in (10, 10, 40))
    assert ten == again == more[:10]
    assert ten != generate(MOLECULES, model, 10, seed=4, options={"scaffold": "*C1CCN(*)CC1"}).texts


# -- bad input ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("options", "words"), [
    ({"scaffold": "*c1cc"}, "*c1cc: not a SMILES, ring 1 is not closed"),
    ({"scaffold": "C*C"}, "an open point (*) should hang on one atom"),
    ({"scaffold": "**"}, "an open point (*) should hang on one atom"),
    ({"scaffold": "FC(F)(F)F"}, "has no atom that could grow"),
    ({"scaffold": "CC.C*"}, "should be one fragment, without a dot"),
    ({"link": "C*"}, "should be two fragments with a dot between them"),
    ({"link": "C*.CC"}, "CC: should have 1 open point (*), not 0"),
    ({"link": "C*.*CC*"}, "*CC*: should have 1 open point (*), not 2"),
    ({"scaffold": "C*", "link": "C*.C*"}, "either a scaffold or two fragments to link, not both"),
    ({"similarity": 0.5}, "a similarity needs a lead"),
    ({"lead": "C("}, "C(: not a SMILES"),
    ({"lead": "CCO", "similarity": 1.0}, "above 0 and below 1, not 1"),
])
def test_bad_options_are_refused_before_any_work(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        MOLECULES.proposer(**options)
    assert words in str(caught.value)


@shipped
def test_what_the_model_cannot_write_is_told_by_token() -> None:
    model = load_model("molecules", "molecules")
    for options in ({"scaffold": "[Si](C)(C)*"}, {"link": "C*.[Si](C)(C)*"}):
        with pytest.raises(UnknownToken, match=r"unknown token '\[Si"):
            generate(MOLECULES, model, 1, options=options)
    with pytest.raises(UsageError, match="leave out the prefix 'CC'"):
        generate(MOLECULES, model, 1, prefix="CC", options={"scaffold": "C*"})


def test_a_proposer_that_has_nothing_is_told(peptides, tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(peptides), "proposer", lambda self, **options: lambda writer, n, rng: [])
    with pytest.raises(SeqtutorError, match="no way to write what is to be kept"):
        generate(peptides, tiny_model, 1, sampling=SamplingConfig(precision="fp32", max_length=12))


# -- the tutor ------------------------------------------------------------------------------------------------------

@shipped
def test_a_tutor_learns_to_grow_a_scaffold() -> None:
    options = {"scaffold": "O=C(N*)c1ccc(*)cc1", "avoid": ("[Br]",)}
    rewarder = Rewarder(MOLECULES, Objective.parse("qed:1", MOLECULES), options=options)
    prior = load_model("molecules", "molecules")
    tutor = Tutor(MOLECULES, prior, rewarder, options=options,
                  config=TuneConfig(steps=2, batch=24, edits=8, best=8, variants=4, seed=1))
    for _ in range(2):
        figures = tutor.step()
        assert 0.5 < figures["valid"] <= 1
        assert figures["calls"] <= 2 * 36
    remembered = [e for e in tutor.memory.best if e.canonical]
    assert len(remembered) > 10
    for e in remembered:
        assert parts_of(e.canonical, "O=C(N[*:1])c1ccc([*:2])cc1") is not None
        assert "Br" not in e.canonical
    # what was given is no choice of the policy's: no loss and no KL there
    assert any(e.given > 5 for e in remembered)
    assert all(not e.log_p[:e.given].any() for e in remembered)


def test_refused_texts_earn_what_invalid_ones_do_and_are_no_calls() -> None:
    rewarder = Rewarder(MOLECULES, Objective.parse("qed:1", MOLECULES), options={"keep": ("c1ccccc1",)})
    rewards = rewarder([list("CCO"), list("c1ccccc1"), list("C(")])
    assert rewards.canonical == [None, "c1ccccc1", None]
    assert rewards.end[0] == rewards.end[2] == 0
    assert rewards.end[1] > 0.3
    assert rewarder.calls == 1


@shipped
def test_tune_and_generate_take_the_same_options(cli, tmp_path: Path) -> None:
    scaffold = ("--scaffold", "*C1CCN(*)CC1")
    done = cli("tune", "molecules", "--objective", "drug-like", *scaffold, "--steps", "4", "--batch", "16",
               "--out", "run", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "--scaffold '*C1CCN(*)CC1'" in done.stderr
    with open(tmp_path / "run" / "best.csv", newline="") as file:
        assert all(parts_of(row["smiles"], "[*:1]C1CCN([*:2])CC1") for row in csv.DictReader(file))
    made = cli("generate", "molecules", "--model", "run", *scaffold, "-n", "5", "--seed", "1")
    assert made.returncode == 0, made.stderr
    assert "hit rate" in made.stderr
    assert len(made.stdout.splitlines()) == 6


# -- a model that goes on -------------------------------------------------------------------------------------------

def test_a_writer_weighs_texts_as_the_network_does(peptides, tiny_model) -> None:
    writer = ModelWriter(peptides, Sampler(tiny_model, SamplingConfig(precision="fp32", max_length=12)))
    texts = ["ACDE", "G", "WYWYW", ""]
    for ended in (True, False):
        for text, found in zip(texts, writer.log_prob(texts, ended), strict=True):
            ids = [1, *tiny_model.vocabulary.encode(list(text)).tolist(), *([EOS] if ended else [])]
            with torch.no_grad():
                logits = tiny_model(torch.tensor([ids]))[0][0]
            logits[:, :EOS] = -torch.inf
            expected = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].sum()
            assert found == pytest.approx(float(expected), abs=0.05)  # bf16 where the machine has it
    assert writer.knows("ACD")
    assert not writer.knows("AC1")
    assert all(text.startswith("WW") and len(text) > 2 and text[2] not in "AC"
               for text in writer.complete(["WW"] * 50, ["A", "C", "not a token"]))
