"""Fragments: molecules with open points, written as ``*`` (or ``[*:1]``), where a model's writing can go on.

A SMILES may end in any atom, and what is written after it then grows there (Thomas et al. 2024, J. Cheminform. 16, 77,
"PromptSMILES").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from rdkit import Chem, rdBase

from seqtutor.domain import UsageError
from seqtutor_molecules.reasons import why_invalid
from seqtutor_molecules.standard import parse

#: What would give the last atom of a beginning another bond than the one it is to get, or more of them.
BARRED = tuple("(=#123456789")

_VALENCE = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}


def fragment(smiles: str, points: int | None = None) -> Chem.Mol:
    """The molecule of ``smiles``, its open points as atoms of number 0. Raises :class:`UsageError` for what is no
    molecule, has a point that does not hang on one atom, or other than ``points`` of them, if that is given."""
    mol = parse(smiles)
    if mol is None:
        raise UsageError(f"{smiles}: not a SMILES, {why_invalid(smiles)}")
    if "." in smiles:
        raise UsageError(f"{smiles}: should be one fragment, without a dot")
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
        if atom.GetAtomicNum() == 0:
            atom.SetIsotope(0)
            if atom.GetDegree() != 1 or not atom.GetNeighbors()[0].GetAtomicNum() or \
                    atom.GetBonds()[0].GetBondType() not in _VALENCE:
                raise UsageError(f"{smiles}: an open point (*) should hang on one atom of the fragment")
    if points is not None and len(open_points(mol)) != points:
        raise UsageError(f"{smiles}: should have {points} open point{'s' * (points > 1)} (*), "
                         f"not {len(open_points(mol))}")
    return mol


def open_points(mol: Chem.Mol) -> list[int]:
    """The atoms of ``mol`` that stand for what is to come."""
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]


def opened(mol: Chem.Mol, points: Sequence[tuple[int, Chem.BondType]]) -> Chem.Mol:
    """A copy with a new open point at each atom, by a bond of that kind, in place of hydrogens. Raises
    :class:`rdkit.Chem.MolSanitizeException` where an atom has no room."""
    more = Chem.RWMol(mol)
    for place, bond in points:
        atom = more.GetAtomWithIdx(place)
        atom.SetNumExplicitHs(max(0, atom.GetNumExplicitHs() - _VALENCE[bond]))
        more.AddBond(place, more.AddAtom(Chem.Atom(0)), bond)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(more)
    return more.GetMol()


def query(mol: Chem.Mol) -> Chem.Mol:
    """A pattern of molecules that hold the fragment, its points any heavy atom. Where it has points, no other of its
    atoms has a further neighbour."""
    how: Any = Chem.AdjustQueryParameters.NoAdjustments()
    if open_points(mol):
        how.adjustDegree, how.adjustDegreeFlags = True, Chem.AdjustQueryWhichFlags.ADJUST_IGNOREDUMMIES
        how.makeDummiesQueries = True
    return Chem.AdjustQueryProperties(mol, how)


@dataclass(frozen=True)
class Beginning:
    """A spelling of the fragment ``mol`` that ends where its ``point`` is, its other points left out. ``atoms``: those
    of ``mol`` in the order of the text."""

    mol: Chem.Mol
    point: int
    text: str
    atoms: tuple[int, ...]

    def grown(self, text: str) -> Chem.Mol | None:
        """What ``text``, which goes on from here, has made of the fragment, its other points still open; None where it
        is no molecule or another atom grew as well."""
        new = parse(text)
        place = {atom: i for i, atom in enumerate(self.atoms)}
        if new is None or any(new.GetAtomWithIdx(i).GetDegree() != self._degree(atom) for atom, i in place.items()):
            return None
        others = [self.mol.GetAtomWithIdx(point) for point in open_points(self.mol) if point != self.point]
        try:
            return opened(new, [(place[atom.GetNeighbors()[0].GetIdx()], atom.GetBonds()[0].GetBondType())
                                for atom in others])
        except Chem.MolSanitizeException:
            return None

    def _degree(self, atom: int) -> int:
        """Neighbours of an atom, with what is to come at the point and without what is to come elsewhere."""
        return sum(bool(neighbour.GetAtomicNum()) or neighbour.GetIdx() == self.point
                   for neighbour in self.mol.GetAtomWithIdx(atom).GetNeighbors())


def beginnings(mol: Chem.Mol, point: int, n: int, rng: Random) -> list[Beginning]:
    """Up to ``n`` different ones, written at random: most ends are not met in RDKit's own order of writing."""
    bare = Chem.RWMol(mol)
    for atom in bare.GetAtoms():
        atom.SetIntProp("atom", atom.GetIdx())
        if atom.GetAtomicNum() == 0 and atom.GetIdx() != point:
            atom.SetAtomicNum(1)
    with rdBase.BlockLogs():
        plain = Chem.RemoveHs(bare)
    found: dict[str, Beginning] = {}
    for text in Chem.MolToRandomSmilesVect(plain, 8 * n, randomSeed=rng.getrandbits(31)):  # a quarter end at the point
        if text.endswith("*") and text not in found and len(found) < n:
            place = _same(plain, Chem.MolFromSmiles(text))
            order = sorted(range(len(place)), key=place.__getitem__)
            atoms = [plain.GetAtomWithIdx(i).GetIntProp("atom") for i in order]
            found[text] = Beginning(mol, point, text[:-1], tuple(atoms[:-1]))
    return list(found.values())


def _same(mol: Chem.Mol, respelled: Chem.Mol) -> Sequence[int]:
    """Where each atom of ``mol`` is in another spelling of it; atoms that are alike may swap."""
    hydrogens = [atom.GetTotalNumHs() for atom in mol.GetAtoms()]  # which tell n from [nH]
    return next(match for match in respelled.GetSubstructMatches(mol, uniquify=False)
                if [respelled.GetAtomWithIdx(i).GetTotalNumHs() for i in match] == hydrogens)


def ending(mol: Chem.Mol) -> str:
    """A spelling of the fragment that begins at its one open point."""
    point, = open_points(mol)
    return str(Chem.MolToSmiles(mol, rootedAtAtom=point)).removeprefix("*")
