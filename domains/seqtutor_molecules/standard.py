"""One spelling for one molecule: canonical SMILES, and the standard form that the prior learns."""

from __future__ import annotations

import re
from functools import cache

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from seqtutor_molecules.tokens import LONGEST, TOKENS, split

_ALPHABET = frozenset(TOKENS)
_CHARGED = re.compile(r"\[[^\]]*[+-]")


def parse(smiles: str) -> Chem.Mol | None:
    """The sanitised RDKit molecule, or None; RDKit's complaints stay off stderr."""
    try:
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(smiles)
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return mol if mol is not None and mol.GetNumAtoms() else None


def canonical(smiles: str) -> str | None:
    """RDKit's canonical SMILES (stereo kept), or None when ``smiles`` is not a molecule."""
    mol = parse(smiles)
    return None if mol is None else Chem.MolToSmiles(mol)


@cache
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


def standardise(smiles: str, alphabet: frozenset[str] = _ALPHABET) -> str | None:
    """:func:`standard_form` of what ``smiles`` stands for, or None (0.4 ms a molecule)."""
    mol = parse(smiles)
    return None if mol is None else standard_form(mol, alphabet)


def standard_form(mol: Chem.Mol, alphabet: frozenset[str] = _ALPHABET) -> str | None:
    """:func:`flat_form` of a sanitised molecule; None unless it fits the ``alphabet``, by default the shipped prior's,
    and is at most 70 tokens long."""
    text = flat_form(mol)
    return text if text is not None and alphabet.issuperset(tokens := split(text)) and len(tokens) <= LONGEST else None


def flat_form(mol: Chem.Mol) -> str | None:
    """Largest fragment of a sanitised molecule, uncharged, without stereo or isotopes, as canonical SMILES."""
    with rdBase.BlockLogs():
        if len(Chem.GetMolFrags(mol)) > 1:
            fragments = Chem.GetMolFrags(mol, asMols=True)
            mol = max(fragments, key=lambda m: (m.GetNumHeavyAtoms(), Chem.MolToSmiles(m)))
        flat = Chem.MolToSmiles(mol, isomericSmiles=False)
        if _CHARGED.search(flat):
            flat = Chem.MolToSmiles(_uncharger().uncharge(mol), isomericSmiles=False)
    # Writing once is not always a fixed point of reading and writing (explicit hydrogens of isotopes); twice is.
    return canonical(flat)
