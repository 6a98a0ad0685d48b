"""Other spellings of a molecule, always within the prior's alphabet."""

from __future__ import annotations

from random import Random

from rdkit import Chem

from seqtutor.domain import UnknownToken
from seqtutor_molecules.standard import parse
from seqtutor_molecules.tokens import TOKENS, split

_ALPHABET = frozenset(TOKENS)


def variants(smiles: str, n: int, rng: Random, alphabet: frozenset[str] = _ALPHABET) -> list[str]:
    """Up to ``n`` distinct *restricted* randomised SMILES (Arús-Pous et al. 2019): the atoms are renumbered at random
    and RDKit writes them in its own order, so that ring numbers and branches stay as in canonical SMILES.

    Spellings with a token outside the ``alphabet`` are left out, and so is ``smiles`` itself.
    """
    mol = parse(smiles)
    if mol is None:
        return []
    atoms = list(range(mol.GetNumAtoms()))
    found: dict[str, None] = {}
    for _ in range(3 * n):  # a symmetric or tiny molecule has fewer than n
        rng.shuffle(atoms)
        text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, atoms), canonical=False)
        try:
            within = alphabet.issuperset(split(text))
        except UnknownToken:
            within = False
        if within and text != smiles:
            found[text] = None
        if len(found) == n:
            break
    return list(found)
