"""The parts of QED and SA as RDKit computes them, exactly, in a third of the time.

Each shortcut holds for ordinary organic molecules, which :func:`ordinary` tells; anything else (a salt, a metal, an
isotope, an explicit hydrogen, …) takes RDKit's own function. ``benchmarks/scoring.py`` prints what this saves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache

from rdkit import Chem, rdBase
from rdkit.Chem import QED
from rdkit.Chem import rdMolDescriptors as rdmd
from rdkit.Contrib.SA_Score import sascorer

from seqtutor_molecules import alerts

Rings = tuple[tuple[int, ...], ...]
Counts = Mapping[str, int]

_UNUSUAL = re.compile(r"[.~<>$|*\s]")  # fragments, dative and other odd bonds, extensions, wildcards, a name
_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*)")

_BOND = Chem.MolFromSmarts("[!D1]-&!@[!D1]")
_AMIDE = Chem.MolFromSmarts("[CD3](=[N,O,S])-&!@[#7,O,S!D1]")
_TERT_BUTYL = Chem.MolFromSmarts("C([CH3])([CH3])[CH3]")
_PERHALOMETHYL = [Chem.MolFromSmarts(f"C({halogen})({halogen}){halogen}") for halogen in ("F", "Cl", "Br")]
_TRIPLE = Chem.MolFromSmarts("*#*")
_DOUBLE_THIOLATE = Chem.MolFromSmarts("[S-;X1;v2]")


def ordinary(smiles: str, mol: Chem.Mol) -> Counts | None:
    """Atoms of each element of ``mol`` (implicit hydrogens included) if the shortcuts hold for it, otherwise None.

    They hold for one fragment of at most 500 atoms of C (at least one), H, N, O, S, F, Cl, Br and I in which every
    hydrogen is implicit, no atom is a wildcard or an isotope and no bond is dative, quadruple or of any order.
    """
    atoms = mol.GetNumAtoms()
    if atoms > 500 or atoms != mol.GetNumHeavyAtoms() or _UNUSUAL.search(smiles):
        return None
    formula = rdmd.CalcMolFormula(mol, separateIsotopes=True)
    counts = {element: int(number or 1) for element, number in _ELEMENT.findall(formula)}
    return counts if "C" in counts and "[" not in formula and alerts.ELEMENTS.issuperset(counts) else None


def acceptors(mol: Chem.Mol, counts: Counts) -> int:
    """QED's hydrogen-bond acceptors: the matches of its eleven one-atom patterns, found by one.

    Only a thiolate with a double bond matches two of the eleven, and RDKit counts it twice.
    """
    found = len(mol.GetSubstructMatches(_any_acceptor()))
    return found + len(mol.GetSubstructMatches(_DOUBLE_THIOLATE)) if "S" in counts else found


@cache
def _any_acceptor() -> Chem.Mol:
    return Chem.MolFromSmarts(f"[{','.join(smarts[1:-1].replace(';', '&') for smarts in QED.AcceptorSmarts)}]")


def rotatable_bonds(mol: Chem.Mol, counts: Counts | None) -> int:
    """Single bonds outside rings between atoms of two or more neighbours, by RDKit's *strict* definition.

    Not counted are bonds of tert-butyl, CF3, CCl3 and CBr3 carbons, bonds beside a triple bond, and bonds that join two
    atoms of amide groups (esters and their sulfur and nitrogen kin included), such as the C–N bond itself.
    """
    if counts is None:
        return int(rdmd.CalcNumRotatableBonds(mol, rdmd.NumRotatableBondsOptions.Strict))
    bonds = mol.GetSubstructMatches(_BOND)
    if not bonds:
        return 0
    stiff = [match[0] for match in mol.GetSubstructMatches(_TERT_BUTYL)]
    if counts.get("F", 0) + counts.get("Cl", 0) + counts.get("Br", 0) > 2:
        stiff += [match[0] for pattern in _PERHALOMETHYL for match in mol.GetSubstructMatches(pattern)]
    stiff += [atom for match in mol.GetSubstructMatches(_TRIPLE) for atom in match]
    amide = {atom for carbon, _, hetero in mol.GetSubstructMatches(_AMIDE) for atom in (carbon, hetero)}
    return sum(not (a in stiff or b in stiff or (a in amide and b in amide)) for a, b in bonds)


def aromatic_rings(mol: Chem.Mol, rings: Rings) -> int:
    """QED's aromatic rings: those left when every aliphatic ring atom with a non-aromatic neighbour is deleted.

    Where each ring that loses an atom loses one that is in no other ring, the deletion opens these rings and no more,
    so what remains of a cycle basis is one of what is left. RDKit counts in every other case.
    """
    if not rings:
        return 0
    deleted = {atom for atom, in mol.GetSubstructMatches(QED.AliphaticRings)}
    opened = [ring for ring in rings if not deleted.isdisjoint(ring)]
    a_basis = len(rings) == mol.GetNumBonds() - mol.GetNumAtoms() + 1
    if a_basis and all(_has_own(ring, deleted, mol.GetRingInfo()) for ring in opened):
        return len(rings) - len(opened)
    return len(Chem.GetSSSR(Chem.DeleteSubstructs(Chem.Mol(mol), QED.AliphaticRings)))


def _has_own(ring: tuple[int, ...], atoms: set[int], info: Chem.RingInfo) -> bool:
    return any(atom in atoms and info.NumAtomRings(atom) == 1 for atom in ring)


def sa(mol: Chem.Mol, counts: Counts | None, rings: Rings) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard), of fragment scores less penalties (Ertl & Schuffenhauer 2009).

    The formula and the fragment scores are RDKit's; stereocentres are counted without being named R or S. Arguments
    as in :class:`seqtutor_molecules.descriptors.Molecule`.
    """
    if counts is None or not Chem.GetUseLegacyStereoPerception():
        with rdBase.BlockLogs():
            return float(sascorer.calculateScore(Chem.Mol(mol)))  # a copy: it assigns stereo anew
    if sascorer._fscores is None:
        sascorer.readFragmentScores()
    score = sascorer._fscores.get
    fragments = sascorer.mfpgen.GetSparseCountFingerprint(mol).GetNonzeroElements()
    total = sum(score(fragment, -4) * count for fragment, count in fragments.items())
    atoms, different = mol.GetNumAtoms(), len(fragments)
    penalty = (atoms ** 1.005 - atoms
               + math.log10(rdmd.CalcNumAtomStereoCenters(mol) + 1)
               + math.log10(rdmd.CalcNumSpiroAtoms(mol) + 1)
               + math.log10(rdmd.CalcNumBridgeheadAtoms(mol) + 1)
               + (math.log10(2) if any(len(ring) > 8 for ring in rings) else 0.0))
    symmetry = math.log(atoms / different) * 0.5 if atoms > different else 0.0
    raw = total / sum(fragments.values()) - penalty + symmetry  # 2.5 is easy, −4 hard
    value = 11 - (raw + 5) / 6.5 * 9
    if value > 8:
        value = 8 + math.log(value - 8)
    return float(min(max(value, 1.0), 10.0))
