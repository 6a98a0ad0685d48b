"""Neighbours of good molecules: graph crossover and mutation (Jensen 2019, Chem. Sci. 10, 3567, "Graph GA").

Graphs are edited in Kekulé form with implicit hydrogens. What valence forbids, what falls outside the prior's alphabet
and what strains rings more than its parents do is thrown away and tried anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from rdkit import Chem, rdBase

from seqtutor_molecules.standard import parse, standard_form

#: Parent number k (from 0) of n is drawn ∝ 1 / (max(1, RANK·n) + k) (Tripp, Daxberger & Hernández-Lobato 2020, NeurIPS,
#: without the maximum, which keeps the first of a few from being nearly the only one).
RANK = 0.01
#: Share of the offspring with one parent only, and how often a child of two is mutated as well.
MUTANTS, MUTATED = 0.1, 0.01
#: Tries for each molecule asked for; about half succeed.
TRIES = 20

_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
_VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1, "S": 6, "Cl": 1, "Br": 1}
_NUMBER = {"C": 6, "N": 7, "O": 8, "F": 9, "S": 16, "Cl": 17, "Br": 35}
#: (element, bond order, how often), by Jensen's shares: 60 % single, 35 % double, 5 % triple.
_APPENDED = [*((e, 1, 0.60 / 7) for e in _VALENCE), *((e, 2, 0.35 / 3) for e in "CNO"),
             *((e, 3, 0.05 / 2) for e in "CN")]
_INSERTED = [*((e, 1, 0.60 / 4) for e in "CNOS"), *((e, 2, 0.40 / 2) for e in "CN")]
#: Cumulated double bonds and triple bonds in a ring, double bonds in a ring of three or four.
_STRAINED = [Chem.MolFromSmarts(s) for s in ("[R]=[R]=[R]", "[R]#@[R]", "[r3,r4]=@[r3,r4]")]


@dataclass(frozen=True)
class _Graph:
    """A standardised molecule made ready for editing. ``mol`` is shared: copy it before a change."""

    text: str
    mol: Chem.Mol
    neighbours: Sequence[Sequence[int]]
    rings: Sequence[Sequence[int]]
    links: Sequence[tuple[int, int]]  # single bonds outside rings
    strain: tuple[int, ...]


def edits(texts: Sequence[str], n: int, rng: Random) -> list[str]:
    """Up to ``n`` different molecules in standard form, none in ``texts``; each joins parts of two of the ``texts`` or
    changes one of them. Earlier texts count as better and are taken more often; what is no molecule, or cannot be
    brought into the prior's alphabet, is passed over. Hundreds a second on one core."""
    found: list[str] = []
    with rdBase.BlockLogs():
        parents = list({graph.text: graph for text in texts if (graph := _graph(text)) is not None}.values())
        known = {*texts, *(parent.text for parent in parents)}
        weights = list(accumulate(1 / (max(1.0, RANK * len(parents)) + k) for k in range(len(parents))))
        for _ in range(TRIES * n if parents else 0):
            if len(found) == n:
                break
            mother, father = rng.choices(parents, cum_weights=weights, k=2)
            if mother is father or rng.random() < MUTANTS:
                text = _mutate(mother, rng)
            else:
                text = _cross(mother, father, rng)
                if text is not None and rng.random() < MUTATED and (child := _graph(text)) is not None:
                    text = _mutate(child, rng)
            if text is not None and text not in known:
                known.add(text)
                found.append(text)
    return found


@lru_cache(maxsize=2048)
def _graph(text: str) -> _Graph | None:
    mol = parse(text)
    standard = None if mol is None else standard_form(mol)
    if standard != text:
        mol = None if standard is None else parse(standard)
    if standard is None or mol is None:
        return None
    rings = mol.GetRingInfo().AtomRings()
    strain = _strain(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for atom in mol.GetAtoms():  # the hydrogen of [nH] may move or go like any other
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    try:
        mol.UpdatePropertyCache()
    except Chem.MolSanitizeException:  # RDKit reads a triple bond in an aromatic ring, but has no Kekulé form of it
        return None
    neighbours = tuple(tuple(a.GetIdx() for a in atom.GetNeighbors()) for atom in mol.GetAtoms())
    links = tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()
                  if bond.GetBondType() == Chem.BondType.SINGLE and not bond.IsInRing())
    return _Graph(standard, mol, neighbours, rings, links, strain)


def _strain(mol: Chem.Mol) -> tuple[int, ...]:
    """Atoms of the largest ring (six at least), then how often each of the strained patterns occurs."""
    return (max([6, *map(len, mol.GetRingInfo().AtomRings())]),
            *(len(mol.GetSubstructMatches(pattern)) for pattern in _STRAINED))


def _finish(mol: Chem.RWMol, *parents: _Graph) -> str | None:
    """The standard form of an edited graph, or None where there is none or it is more strained than its parents."""
    try:
        Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException:
        return None
    limits = map(max, zip(*(parent.strain for parent in parents), strict=True))
    if any(strain > limit for strain, limit in zip(_strain(mol), limits, strict=True)):
        return None
    return standard_form(mol)


# -- crossover ------------------------------------------------------------------------------------------------------

def _cross(mother: _Graph, father: _Graph, rng: Random) -> str | None:
    """Parts of two graphs, cut at a bond between rings and chains or through a ring, joined the same way."""
    halves = _halves_of_rings if rng.random() < 0.5 else _halves
    cut = halves(mother, father, rng)
    if cut is None:
        return None
    (kept, ends), (others, other_ends), orders = cut
    mol, shift = Chem.RWMol(Chem.CombineMols(mother.mol, father.mol)), mother.mol.GetNumAtoms()
    for end, other, order in zip(ends, other_ends, orders, strict=True):
        mol.AddBond(end, shift + other, _ORDERS[order])
    mol.BeginBatchEdit()
    for atom in range(mol.GetNumAtoms()):
        if (atom not in kept) if atom < shift else (atom - shift not in others):
            mol.RemoveAtom(atom)
    mol.CommitBatchEdit()
    return _finish(mol, mother, father)


#: The atoms of a part, and those of them that lost a bond.
_Part = tuple[Collection[int], Sequence[int]]
_Halves = tuple[_Part, _Part, Sequence[int]]


def _halves(mother: _Graph, father: _Graph, rng: Random) -> _Halves | None:
    """One side of a single bond outside rings from each, to be joined by a single bond."""
    if not mother.links or not father.links:
        return None
    parts = []
    for graph in (mother, father):
        end, lost = rng.sample(rng.choice(graph.links), 2)
        parts.append((_side(graph, end, {(end, lost)}), (end,)))
    return parts[0], parts[1], (1,)


def _halves_of_rings(mother: _Graph, father: _Graph, rng: Random) -> _Halves | None:
    """An arc of a ring from each, with all that hangs on it, that close to a ring of five, six or a size they had."""
    if not mother.rings or not father.rings:
        return None
    rings = [rng.choice(graph.rings) for graph in (mother, father)]
    sizes = {5, 6, *map(len, rings)}
    first = rng.randrange(1, len(rings[0]))
    seconds = [length for length in range(1, len(rings[1])) if first + length in sizes]
    if not seconds:
        return None
    parts = []
    for graph, ring, length in zip((mother, father), rings, (first, rng.choice(seconds)), strict=True):
        start = rng.randrange(len(ring))
        ring = [*ring[start:], *ring[:start]]
        begin, end, before, after = ring[0], ring[length - 1], ring[-1], ring[length]
        side = _side(graph, begin, {(begin, before), (end, after)})
        if before in side or after in side:  # held together by another ring
            return None
        parts.append((side, (begin, end)))
    return parts[0], (parts[1][0], rng.sample(parts[1][1], 2)), rng.choices((1, 2), k=2)


def _side(graph: _Graph, start: int, cut: Collection[tuple[int, int]]) -> set[int]:
    """The atoms that can be reached from ``start`` without the ``cut`` bonds, which are crossed outwards only."""
    reached, stack = {start}, [start]
    while stack:
        atom = stack.pop()
        for neighbour in graph.neighbours[atom]:
            if neighbour not in reached and (atom, neighbour) not in cut:
                reached.add(neighbour)
                stack.append(neighbour)
    return reached


# -- mutation -------------------------------------------------------------------------------------------------------

def _mutate(graph: _Graph, rng: Random) -> str | None:
    mol = Chem.RWMol(graph.mol)
    return _finish(mol, graph) if rng.choice(_MUTATIONS)(mol, graph, rng) else None


def _append(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    element, order, _ = rng.choices(_APPENDED, [share for *_, share in _APPENDED])[0]
    places = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs() >= order]
    if not places:
        return False
    mol.AddBond(rng.choice(places), mol.AddAtom(Chem.Atom(element)), _ORDERS[order])
    return True


def _insert(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    if mol.GetNumBonds() == 0:
        return False
    bond = mol.GetBondWithIdx(rng.randrange(mol.GetNumBonds()))
    begin, end = rng.sample((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), 2)
    element, order, _ = rng.choices(_INSERTED, [share for *_, share in _INSERTED])[0]
    mol.RemoveBond(begin, end)
    new = mol.AddAtom(Chem.Atom(element))
    mol.AddBond(begin, new, _ORDERS[order])
    mol.AddBond(new, end, _ORDERS[1])
    return True


def _delete(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    """Removes an atom; of its neighbours one takes the others."""
    atom = rng.randrange(mol.GetNumAtoms())
    first, *others = rng.sample(graph.neighbours[atom], len(graph.neighbours[atom])) or [atom]
    for other in others:
        if mol.GetBondBetweenAtoms(first, other) is None:
            mol.AddBond(first, other, _ORDERS[1])
    mol.RemoveAtom(atom)
    return True


def _change_atom(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    atom = mol.GetAtomWithIdx(rng.randrange(mol.GetNumAtoms()))
    bonds = atom.GetTotalValence() - atom.GetTotalNumHs()
    elements = [e for e, valence in _VALENCE.items() if valence >= bonds and e != atom.GetSymbol()]
    if elements:
        atom.SetAtomicNum(_NUMBER[rng.choice(elements)])
    return bool(elements)


def _change_bond(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    if mol.GetNumBonds() == 0:
        return False
    bond = mol.GetBondWithIdx(rng.randrange(mol.GetNumBonds()))
    order = _ORDERS[rng.choices((1, 2, 3), (0.45, 0.45, 0.1))[0]]
    changed = order != bond.GetBondType()
    bond.SetBondType(order)
    return changed


def _open_ring(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    if not graph.rings:
        return False
    ring = rng.choice(graph.rings)
    at = rng.randrange(len(ring))
    mol.RemoveBond(ring[at - 1], ring[at])
    return True


def _close_ring(mol: Chem.RWMol, graph: _Graph, rng: Random) -> bool:
    """A bond between two atoms that are not in one ring already, most often to a ring of five or six."""
    size = rng.choices((3, 4, 5, 6), (0.05, 0.05, 0.45, 0.45))[0]
    free = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    distance = Chem.GetDistanceMatrix(graph.mol)
    pairs = [(a, b) for a in free for b in free if a < b and distance[a, b] == size - 1
             and not any(a in ring and b in ring for ring in graph.rings)]
    if not pairs:
        return False
    mol.AddBond(*rng.choice(pairs), _ORDERS[1])
    return True


_Mutation = Callable[[Chem.RWMol, _Graph, Random], bool]
_MUTATIONS: Sequence[_Mutation] = (_append, _insert, _delete, _change_atom, _change_bond, _open_ring, _close_ring)
