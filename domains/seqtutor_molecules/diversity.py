"""How unlike one another molecules are, and which count as the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rdkit.Chem import MolFromSmiles, MolToSmiles, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.DataStructs import BulkTanimotoSimilarity, ExplicitBitVect

from seqtutor_molecules.descriptors import molecule
from seqtutor_molecules.standard import parse

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)


def diversity(smiles: Sequence[str]) -> float | None:
    """1 − the mean Tanimoto similarity of all pairs, each with itself included, 0 to 1; None without a molecule.

    IntDiv of MOSES (Polykovskiy et al. 2020): Morgan fingerprints of radius 2, 1024 bits. Costs n² comparisons.
    """
    prints = [_MORGAN.GetFingerprint(m.mol) for m in map(molecule, smiles) if m is not None]
    if not prints:
        return None
    return 1 - sum(sum(BulkTanimotoSimilarity(one, prints)) for one in prints) / len(prints) ** 2


def bucket(kind: str, smiles: str, buckets: Sequence[str], similarity: float) -> str:
    """``scaffold``: the Murcko scaffold; ``topological``: that of carbon and single bonds alone (both Bemis & Murcko
    1996; "" for what has no ring); ``similarity``: the SMILES among ``buckets`` that this is most like, or itself where
    none reaches ``similarity`` (Tanimoto, Morgan fingerprints of radius 2, 1024 bits)."""
    found = molecule(smiles)
    if found is None:
        return ""
    if kind == "scaffold":
        return found.scaffold
    if kind == "topological":
        return topology(found.scaffold)
    alike = BulkTanimotoSimilarity(_MORGAN.GetFingerprint(found.mol), [_print(leader) for leader in buckets])
    best = max(range(len(alike)), key=alike.__getitem__, default=None)
    return smiles if best is None or alike[best] < similarity else buckets[best]


def likeness(smiles: Sequence[str], known: Iterable[str]) -> list[tuple[str, float]]:
    """The known SMILES with the largest Tanimoto similarity to each of the ``smiles``, and that similarity (Morgan
    fingerprints of radius 2, 1024 bits). Most of the time goes into the fingerprints of the known ones."""
    best = [("", 0.0)] * len(smiles)
    prints = [_print(text) for text in smiles]
    for text in known:
        if (mol := parse(text)) is not None:
            for i, alike in enumerate(BulkTanimotoSimilarity(_MORGAN.GetFingerprint(mol), prints)):
                if alike > best[i][1]:
                    best[i] = text, alike
    return best


def topology(scaffold: str) -> str:
    """A Murcko scaffold's SMILES with every atom a carbon and every bond single, and what then sticks out cut off."""
    generic = MurckoScaffold.MakeScaffoldGeneric(MolFromSmiles(scaffold))  # type: ignore[no-untyped-call]
    return str(MolToSmiles(MurckoScaffold.GetScaffoldForMol(generic))) if scaffold else ""  # type: ignore[no-untyped-call]


@lru_cache(maxsize=20_000)
def _print(smiles: str) -> ExplicitBitVect:
    found: ExplicitBitVect = _MORGAN.GetFingerprint(MolFromSmiles(smiles))
    return found
