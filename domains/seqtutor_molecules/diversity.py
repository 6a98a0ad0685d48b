"""How unlike one another molecules are."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit.Chem import rdFingerprintGenerator
from rdkit.DataStructs import BulkTanimotoSimilarity

from seqtutor_molecules.descriptors import molecule

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)


def diversity(smiles: Sequence[str]) -> float | None:
    """1 − the mean Tanimoto similarity of all pairs, each with itself included, 0 to 1; None without a molecule.

    IntDiv of MOSES (Polykovskiy et al. 2020): Morgan fingerprints of radius 2, 1024 bits. Costs n² comparisons.
    """
    prints = [_MORGAN.GetFingerprint(m.mol) for m in map(molecule, smiles) if m is not None]
    if not prints:
        return None
    return 1 - sum(sum(BulkTanimotoSimilarity(one, prints)) for one in prints) / len(prints) ** 2
