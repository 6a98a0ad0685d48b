"""Molecules that keep what a chemist has: a scaffold to decorate, two fragments to link, a lead to stay near.

The model does the writing (see :mod:`seqtutor_molecules.fragments`). A scaffold is written to end in one of its points,
gone on from, written anew to end in the next. Of two fragments the first is gone on from, and what came is cut where
the second fits best. Near a lead is what goes on from a part of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs

from seqtutor.domain import Proposer, UsageError, Writer
from seqtutor_molecules.descriptors import Molecule, molecule
from seqtutor_molecules.fragments import BARRED, Beginning, beginnings, ending, fragment, open_points, opened, query
from seqtutor_molecules.reasons import why_invalid
from seqtutor_molecules.tokens import split
from seqtutor_molecules.variants import variants

#: Spellings to choose from, of a fragment that many samples share, of one that is a sample's own, of a lead.
_SHARED, _OWN, _LEAD = 64, 8, 32
#: How many points a scaffold gets that has none marked; the shares of a lead's tokens that are kept, from and to.
_POINTS, _KEPT = (1, 2, 3), (0.3, 0.95)
#: Similarity to a lead, if none is named.
SIMILARITY = 0.4

_RING = re.compile(r"\d|%")

Test = Callable[[Molecule], bool]
T = TypeVar("T")


def proposer(options: Mapping[str, Any]) -> Proposer | None:
    """How to sample under ``options``; None where nothing is to be kept. Raises :class:`UsageError`."""
    tests(options)
    if scaffold := options.get("scaffold"):
        mol = fragment(scaffold)
        if not open_points(mol) and not any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
            raise UsageError(f"{scaffold}: has no atom that could grow")
        return _Decorate(mol)
    if link := options.get("link"):
        return _Link(*_ends(link))
    if lead := options.get("lead"):
        return _Near(lead)
    return None


def tests(options: Mapping[str, Any]) -> list[Test]:
    """What a molecule must be under ``options``. Raises :class:`UsageError`."""
    scaffold, link, lead = (options.get(name) for name in ("scaffold", "link", "lead"))
    if scaffold and link:
        raise UsageError("give either a scaffold or two fragments to link, not both")
    if options.get("similarity") is not None and not lead:
        raise UsageError("a similarity needs a lead to be similar to; name it with --lead SMILES")
    found: list[Test] = []
    if scaffold:
        pattern = query(fragment(scaffold))
        found.append(lambda m: m.mol.HasSubstructMatch(pattern))
    if link:
        first, second = map(query, _ends(link))
        found.append(lambda m: _linked(m.mol, first, second))
    if lead:
        similarity = options.get("similarity")
        found.append(_near(lead, SIMILARITY if similarity is None else similarity))
    return found


def _check_known(mol: Chem.Mol, writer: Writer) -> None:
    """Raises :class:`UnknownToken` where the model cannot write the fragment."""
    writer.log_prob([Chem.MolToSmiles(mol).replace("*", "")], ended=False)


def _started(mols: Sequence[tuple[Chem.Mol, int]], writer: Writer, rng: Random) -> list[Beginning | None]:
    """A spelling of each fragment that ends at that point of it, drawn by how likely the model finds it; None where
    there is none."""
    shared = Counter((id(mol), point) for mol, point in mols)
    known: dict[tuple[int, int], list[Beginning]] = {}
    for mol, point in mols:
        key = id(mol), point
        if key not in known:
            found = beginnings(mol, point, _SHARED if shared[key] > 1 else _OWN, rng)
            known[key] = [beginning for beginning in found if writer.knows(beginning.text)]
    log_p = dict(zip(known, _split(writer.log_prob([b.text for found in known.values() for b in found], ended=False),
                                   [len(found) for found in known.values()]), strict=True))
    return [_drawn(known[key], log_p[key], rng) if known[key] else None
            for key in ((id(mol), point) for mol, point in mols)]


def _split(values: NDArray[np.float64], lengths: Sequence[int]) -> list[NDArray[np.float64]]:
    """Consecutive parts of ``values`` of these ``lengths``."""
    return np.split(values, np.cumsum(lengths)[:-1])


def _drawn(candidates: Sequence[T], log_weights: NDArray[np.float64], rng: Random) -> T:
    """One of the ``candidates``, drawn ∝ exp of its weight."""
    return rng.choices(candidates, np.exp(log_weights - np.max(log_weights)).tolist())[0]


# -- decorating -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Decorate:
    """Lets a scaffold grow at each of its open points, in any order; without open points, at some of its atoms."""

    scaffold: Chem.Mol

    def __call__(self, writer: Writer, n: int, rng: Random) -> list[tuple[str, str]]:
        _check_known(self.scaffold, writer)
        whole = [self.scaffold] if open_points(self.scaffold) else [_opened_anywhere(self.scaffold, rng)
                                                                    for _ in range(n)]
        growing = dict(enumerate(whole * (n // len(whole))))
        written = [("", "")] * n
        while growing:
            started = _started([(mol, rng.choice(open_points(mol))) for mol in growing.values()], writer, rng)
            begun = {i: b for i, b in zip(growing, started, strict=True) if b is not None}
            growing = {}
            for (i, beginning), text in zip(begun.items(), writer.complete([b.text for b in begun.values()], BARRED),
                                            strict=True):
                written[i] = beginning.text, text
                mol = beginning.grown(text)
                if mol is not None and open_points(mol):
                    growing[i] = mol
        return written


def _opened_anywhere(mol: Chem.Mol, rng: Random) -> Chem.Mol:
    """A copy that can grow at one, two or three of its atoms."""
    free = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    return opened(mol, [(place, Chem.BondType.SINGLE)
                        for place in rng.sample(free, min(len(free), rng.choice(_POINTS)))])


# -- linking --------------------------------------------------------------------------------------------------------

def _ends(smiles: str) -> tuple[Chem.Mol, Chem.Mol]:
    """The two fragments of ``A[*].B[*]``. Raises :class:`UsageError`."""
    parts = smiles.split(".")
    if len(parts) != 2:
        raise UsageError(f"{smiles}: should be two fragments with a dot between them, each with one open point (*)")
    return fragment(parts[0], 1), fragment(parts[1], 1)


@dataclass(frozen=True)
class _Link:
    """Goes on from the first fragment and puts the second in place of what comes after the linker, wherever the whole
    is likely."""

    first: Chem.Mol
    second: Chem.Mol

    def __call__(self, writer: Writer, n: int, rng: Random) -> list[tuple[str, str]]:
        _check_known(self.first, writer)
        _check_known(self.second, writer)
        point, = open_points(self.first)
        started = [b.text for b in _started([(self.first, point)] * n, writer, rng) if b is not None]
        end, texts = ending(self.second), writer.complete(started, BARRED)
        cut = [[beginning + linker + end for linker in linkers(text.removeprefix(beginning))]
               for beginning, text in zip(started, texts, strict=True)]
        log_p = _split(writer.log_prob([text for candidates in cut for text in candidates]), list(map(len, cut)))
        return [(beginning, _drawn(candidates, weights, rng) if candidates else text)
                for beginning, text, candidates, weights in zip(started, texts, cut, log_p, strict=True)]


def linkers(text: str) -> list[str]:
    """The parts of a SMILES, from its first atom on, after which another fragment may follow: no ring or branch is open
    or about to open, and nothing is said of the next bond."""
    found, depth, rings = [], 0, set[str]()
    tokens = split(text)
    for i, (token, following) in enumerate(zip(tokens, [*tokens[1:], ""], strict=True), start=1):
        depth += (token == "(") - (token == ")")
        if _RING.match(token):
            rings ^= {token}
        if not depth and not rings and token not in "-=#:" and following != "(" and not _RING.match(following):
            found.append("".join(tokens[:i]))
    return found


def _linked(mol: Chem.Mol, first: Chem.Mol, second: Chem.Mol) -> bool:
    """Whether ``mol`` holds both, apart, with something between them."""
    own = [[atom.GetIdx() for atom in part.GetAtoms() if atom.GetAtomicNum()] for part in (first, second)]
    places = [{frozenset(match[i] for i in atoms) for match in mol.GetSubstructMatches(part, uniquify=False)}
              for part, atoms in zip((first, second), own, strict=True)]
    return any(not a & b and len(a) + len(b) < mol.GetNumAtoms() for a in places[0] for b in places[1])


# -- staying near ---------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Near:
    """Goes on from a part of the lead, however that is spelled."""

    lead: str

    def __call__(self, writer: Writer, n: int, rng: Random) -> list[tuple[str, str]]:
        spellings = [split(text) for text in [self.lead, *variants(self.lead, _LEAD, rng)]]
        started = ["".join(tokens[:max(1, round(rng.uniform(*_KEPT) * len(tokens)))])
                   for tokens in rng.choices(spellings, k=n)]
        return list(zip(started, writer.complete(started), strict=True))


def _near(lead: str, similarity: float) -> Test:
    """Whether a molecule is so similar to the lead, and another one."""
    reference = molecule(lead)
    if reference is None:
        raise UsageError(f"{lead}: not a SMILES, {why_invalid(lead)}")
    if not 0 < similarity < 1:
        raise UsageError(f"the similarity to a lead should be above 0 and below 1, not {similarity:g}")
    return lambda m: (m.canonical != reference.canonical and
                      DataStructs.TanimotoSimilarity(reference.fingerprint, m.fingerprint) >= similarity)
