"""Numbers by which a surrogate compares molecules: which parts they have, and what they are as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem import rdMolDescriptors as rdmd

from seqtutor_molecules.descriptors import Molecule, molecule

#: Bits stand for "at least 1, 2, 4, 8 of it", so that Tanimoto sees counts.
_PARTS = [rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048, countSimulation=True),
          rdFingerprintGenerator.GetAtomPairGenerator(fpSize=2048, countSimulation=True)]
_ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "H")
_ATOMS = re.compile(r"([A-Z][a-z]?)(\d*)")


def features(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Bits, uint8 [n, 4096]: Morgan (radius 2) and atom pairs; numbers, float32 [n, 15]: atoms of each element,
    logP, TPSA, rings, aromatic rings, rotatable bonds; zeros for what is no molecule."""
    bits, numbers = np.zeros((len(texts), 4096), np.uint8), np.zeros((len(texts), 15), np.float32)
    for i, text in enumerate(texts):
        if (m := molecule(text)) is not None:
            bits[i] = np.concatenate([maker.GetFingerprintAsNumPy(m.mol) for maker in _PARTS])
            numbers[i] = _numbers(m)
    return bits, numbers


def _numbers(m: Molecule) -> list[float]:
    counts = dict(_ATOMS.findall(rdmd.CalcMolFormula(m.mol)))
    return [*(int(counts.get(element, "0") or 1) for element in _ELEMENTS), m.logp, m.tpsa, len(m.rings),
            rdmd.CalcNumAromaticRings(m.mol), m.rotatable_bonds]
