"""Crossover and mutation of molecules: what comes out is new, in the domain's one form, and made of its parents."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest
from rdkit import Chem

from seqtutor_molecules import DOMAIN, edits
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.tokens import LONGEST, TOKENS

WEHI = list(CORPORA["wehi10k"].read(CORPORA["wehi10k"].path()))
PARENTS = [text for text in map(DOMAIN.standardise, Random(0).sample(WEHI, 200)) if text]
ETHER, INDOLE = "CCOCC", "c1ccc2[nH]ccc2c1"


def ring_sizes(texts: Iterable[str]) -> set[int]:
    """The sizes of all rings of all ``texts``."""
    mols = [Chem.MolFromSmiles(text) for text in texts]
    return {len(ring) for mol in mols for ring in mol.GetRingInfo().AtomRings()}


def of_each(mutation: str, text: str, n: int = 30) -> set[str]:
    """What one mutation makes of ``text``."""
    graph = edits._graph(text)
    assert graph is not None
    found = set()
    for seed in range(n):
        mol = Chem.RWMol(graph.mol)
        if getattr(edits, mutation)(mol, graph, Random(seed)):
            found.add(edits._finish(mol, graph))
    return found - {None}


def crossed(halves: str, mother: str, father: str, monkeypatch: pytest.MonkeyPatch, n: int = 60) -> set[str]:
    """What one way of crossing makes of two molecules."""
    for name in ("_halves", "_halves_of_rings"):
        monkeypatch.setattr(edits, name, getattr(edits, halves))
    graphs = edits._graph(mother), edits._graph(father)
    assert graphs[0] is not None
    assert graphs[1] is not None
    return {text for seed in range(n) if (text := edits._cross(graphs[0], graphs[1], Random(seed)))}


def test_many_random_pairs() -> None:
    for seed in range(100):
        parents = Random(seed).sample(PARENTS, 2)
        found = DOMAIN.edits(parents, 5, Random(seed))
        assert len(found) == len(set(found)) == 5
        assert not set(found) & set(parents)
        largest = max(max(map(len, edits._graph(text).rings), default=0) for text in parents)  # type: ignore[union-attr]
        for text in found:
            assert DOMAIN.standardise(text) == DOMAIN.canonical(text) == text
            assert set(DOMAIN.split(text)) <= set(TOKENS)
            assert len(DOMAIN.split(text)) <= LONGEST
            assert max(ring_sizes([text]), default=0) <= max(6, largest)
            for strained in ("[R]=[R]=[R]", "[R]#@[R]"):
                assert DOMAIN.rule(f"match({strained})")([text]) == [0]


def test_the_same_from_the_same_rng_whatever_was_asked_before() -> None:
    once = DOMAIN.edits(PARENTS, 40, Random(3))
    edits._graph.cache_clear()
    DOMAIN.edits(PARENTS[::-1], 10, Random(9))
    assert DOMAIN.edits(PARENTS, 40, Random(3)) == once
    assert DOMAIN.edits(PARENTS, 40, Random(4)) != once
    assert DOMAIN.edits(PARENTS, 15, Random(3)) == once[:15]


def test_parents_are_left_as_they_are() -> None:
    before = {text: Chem.MolToSmiles(edits._graph(text).mol) for text in PARENTS}  # type: ignore[union-attr]
    DOMAIN.edits(PARENTS, 300, Random(0))
    assert {text: Chem.MolToSmiles(edits._graph(text).mol) for text in PARENTS} == before  # type: ignore[union-attr]


def test_earlier_parents_are_taken_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[str] = Counter()

    def cross(mother: edits._Graph, father: edits._Graph, rng: Random) -> None:
        drawn.update([mother.text, father.text])

    monkeypatch.setattr(edits, "_cross", cross)
    monkeypatch.setattr(edits, "MUTANTS", 0)
    DOMAIN.edits(PARENTS[:100], 400, Random(0))
    counts = [drawn[text] for text in PARENTS[:100]]
    assert counts[0] > counts[9] > counts[99] > 0
    # 1/(1 + k) with n = 100: the first two are drawn as 2 to 1 (meetings with oneself are not crossed)
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.25)
    drawn.clear()
    DOMAIN.edits(PARENTS[:2], 20, Random(0))
    assert drawn.total() > 2 * 20  # two parents meet about as often as one is taken twice and mutated


@pytest.mark.parametrize(("mutation", "text", "expected"), [
    ("_append", "C", {"CC", "CN", "CO", "CF", "CS", "CCl", "CBr", "C=C", "C=N", "C=O", "C#C", "C#N"}),
    ("_append", "FC(F)(F)F", set()),
    ("_insert", "CO", {"CCO", "CNO", "COO", "CSO", "C=CO", "C=NO", "CC=O", "CN=O"}),
    ("_insert", "C", set()),
    ("_delete", "CCO", {"CO", "CC"}),
    ("_delete", "C", set()),
    ("_delete", "CN(C)C", {"CNC", "CCC"}),
    ("_delete", "C1CC1", {"CC"}),
    ("_change_atom", "CF", {"CC", "CN", "CO", "CS", "CCl", "CBr", "NF", "OF", "FF", "FS", "FCl", "FBr"}),
    ("_change_atom", "CS(C)(=O)=O", {"CS(N)(=O)=O", "CS(=O)(=O)O", "CS(=O)(=O)F", "CS(=O)(=O)S", "CS(=O)(=O)Cl",
                                     "CS(=O)(=O)Br", "C=S(C)(C)=O", "CS(C)(=N)=O", "CS(C)(=O)=S"}),
    ("_change_bond", "CC", {"C=C", "C#C"}),
    ("_change_bond", "C#N", {"CN", "C=N"}),
    ("_change_bond", "C", set()),
    ("_open_ring", "C1CCCCC1", {"CCCCCC"}),
    ("_open_ring", "CCO", set()),
    ("_close_ring", "CCCCCC", {"C1CCCCC1", "CC1CCCC1", "CCC1CC1C", "CCCC1CC1", "CC1CCC1C", "CCC1CCC1"}),
    ("_close_ring", "CC(C)(C)C", {"CC1(C)CC1"}),
    ("_close_ring", "C1CCCCC1", set()),
])
def test_what_a_mutation_can_do(mutation: str, text: str, expected: set[str]) -> None:
    assert of_each(mutation, text, 600) == {DOMAIN.standardise(smiles) for smiles in expected}


def test_the_hydrogen_of_an_aromatic_nitrogen_can_go() -> None:
    assert "Cn1ccc2ccccc21" in of_each("_append", INDOLE, 400)
    assert "c1ccc2occc2c1" in of_each("_change_atom", INDOLE, 400)


def test_crossing_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    children = crossed("_halves", "Oc1ccccc1", "NCCl", monkeypatch)
    assert children == {DOMAIN.standardise(text) for text in (
        "NO", "ClO", "NCO", "OCCl", "Nc1ccccc1", "Clc1ccccc1", "NCc1ccccc1", "ClCc1ccccc1")}


def test_crossing_rings_makes_rings_of_five_six_or_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    children = crossed("_halves_of_rings", "c1ccccc1", "C1CCNC1", monkeypatch, 400)
    assert DOMAIN.standardise("C1=CNCC1") in children
    assert ring_sizes(children) == {5, 6}
    assert all(text.count("1") == 2 for text in children)  # one ring each
    assert ring_sizes(crossed("_halves_of_rings", "C1CC1", "CC1CCC1", monkeypatch, 200)) == {3, 4, 5}
    # both cuts of naphthalene's shared atoms would leave it in one piece; what is cut is cut in two
    assert all("." not in text for text in crossed("_halves_of_rings", "c1ccc2ccccc2c1", "C1CC2CCC1C2", monkeypatch))


@pytest.mark.parametrize("texts", [
    ["C"], ["c1ccccc1"], ["O"], ["CC"], ["C1CC1", "C1CC1"], ["C", "c1ccccc1"], [INDOLE], ["FC(F)(F)F"],
    ["C[C@H](N)C(=O)[O-]"], ["[Na+].CC(=O)[O-]", "C1CC", "", "[Fe]"], ["O=C1C(O)=C(O)C1=O"],
])
def test_awkward_parents(texts: list[str]) -> None:
    found = DOMAIN.edits(texts, 3, Random(0))
    assert len(found) == 3
    standard = {DOMAIN.standardise(text) for text in texts}
    for text in found:
        assert DOMAIN.standardise(text) == text
        assert text not in standard


def test_a_small_ring_with_a_double_bond_is_kept_when_a_parent_has_one_and_never_made() -> None:
    pattern = Chem.MolFromSmarts("[r3,r4]=@[r3,r4]")

    def has(text: str) -> bool:
        return bool(Chem.MolFromSmiles(text).HasSubstructMatch(pattern))

    assert any(map(has, DOMAIN.edits(["CNC1=CCC1CO"], 40, Random(0))))
    assert not any(map(has, DOMAIN.edits(["C1CCC1", "C1CC1CC"], 40, Random(0))))


def test_nothing_comes_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert DOMAIN.edits([], 5, Random(0)) == []
    assert DOMAIN.edits(["C1CC", "", "[Fe]"], 5, Random(0)) == []
    assert DOMAIN.edits(["CCO"], 0, Random(0)) == []
    assert DOMAIN.edits(["Nc1c#c(Br)cnc1"], 3, Random(0)) == []  # RDKit reads it, but has no Kekulé form of it
    assert capfd.readouterr().err == ""


def test_rdkit_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    DOMAIN.edits(PARENTS, 100, Random(5))
    assert capfd.readouterr().err == ""


def test_hundreds_a_second() -> None:
    DOMAIN.edits(PARENTS, 1, Random(0))  # parents made ready
    started = time.process_time()
    found = DOMAIN.edits(PARENTS, 300, Random(1))
    assert len(found) / (time.process_time() - started) > 100  # some 500 on an idle core
