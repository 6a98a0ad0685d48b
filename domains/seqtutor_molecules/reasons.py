"""Why RDKit refuses a SMILES or a SMARTS, in a few words that say where to look.

    why_invalid("C1CCN(C)(C)(C)C")    # "ring 1 is not closed"
    why_invalid("CN(C)(C)C")          # "N at position 1 has valence 4, which is too many"

Positions count characters of the text from 0, as in :class:`seqtutor.domain.UnknownToken`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rdkit import Chem, rdBase

from seqtutor.domain import UnknownToken
from seqtutor_molecules.tokens import split

# What RDKit logs, and how that is said here. {0}, {1} … are what the pattern caught.
_COMPLAINTS: tuple[tuple[str, Callable[[str, re.Match[str]], str]], ...] = (
    (r"unclosed ring", lambda text, _: f"ring {_open_ring(text)} is not closed"),
    (r"duplicated ring closure (\S+) bonds", lambda _, found: f"ring closure {found[1]} joins an atom to itself"),
    (r"ring closure (\S+) duplicates bond", lambda _, found: f"ring closure {found[1]} repeats a bond"),
    (r"extra open parenthes.*around position (\d+)",
     lambda _, found: f"the parenthesis at position {int(found[1]) - 1} is not closed"),
    (r"extra close parenthes.*around position (\d+)",
     lambda _, found: f"the parenthesis at position {int(found[1]) - 1} closes nothing"),
    (r"syntax error.*around position (\d+)", lambda text, found: _syntax(text, int(found[1]) - 1)),
    (r"valence for atom # (\d+) (\w+), (\d+)",
     lambda text, found: f"{found[2]} {_place(text, found[1])} has valence {found[3]}, which is too many"),
    (r"Unkekulized atoms: (\d+)[\d ]*",
     lambda text, found: f"the aromatic ring with the atom {_place(text, found[1])} has no Kekulé form"),
    (r"non-ring atom (\d+) marked aromatic",
     lambda text, found: f"the atom {_place(text, found[1])} is written as aromatic but is in no ring"),
)


def why_invalid(smiles: str) -> str:
    """Why ``smiles`` is not a molecule, in a few words; "" if it is one."""
    if not smiles.strip():
        return "it is empty"
    mol, log = logged(Chem.MolFromSmiles, smiles)
    if mol is None:
        return _in_words(smiles, log) or "RDKit cannot read it as SMILES"
    return "" if mol.GetNumAtoms() else "it has no atoms"


def why_bad_smarts(smarts: str) -> str:
    """Why ``smarts`` is not a pattern, in a few words; "" if it is one."""
    if not smarts.strip():
        return "it is empty"
    pattern, log = logged(Chem.MolFromSmarts, smarts)
    if pattern is None:
        return _in_words(smarts, log) or "RDKit cannot read it as SMARTS"
    return "" if pattern.GetNumAtoms() else "it has no atoms"


def logged(parse: Callable[[str], Chem.Mol | None], text: str) -> tuple[Chem.Mol | None, str]:
    """What ``parse`` makes of ``text`` and what RDKit logs meanwhile, on one line; nothing reaches stderr."""
    if not hasattr(rdBase, "CaptureErrorLog"):  # an older RDKit
        with rdBase.BlockLogs():
            return parse(text), ""
    with rdBase.BlockLogs(), rdBase.CaptureErrorLog() as log:
        mol = parse(text)
    return mol, " ".join(re.sub(r"\[\d\d:\d\d:\d\d\]", "", log.messages).split())


def _in_words(text: str, log: str) -> str:
    for pattern, say in _COMPLAINTS:
        if found := re.search(pattern, log):
            return say(text, found)
    return re.sub(r"SM\w+ Parse Error: ?", "", log)[:120]


def _open_ring(text: str) -> str:
    """The first ring closure that has no partner."""
    waiting: dict[str, None] = {}
    for label in re.findall(r"%\d\d|%\(\d+\)|\d", re.sub(r"\[[^]]*\]", "", text)):
        if label in waiting:
            del waiting[label]
        else:
            waiting[label] = None
    return next((label.strip("%()") for label in waiting), "closure")


def _syntax(text: str, position: int) -> str:
    if position < len(text) - 1:
        return f"syntax error at position {position} ({text[position]!r})"
    return f"syntax error at its end ({text[-1:]!r})"


def _place(text: str, atom: str) -> str:
    """Where the atom of that index stands in ``text``."""
    try:
        tokens = split(text)
    except UnknownToken:
        return f"number {int(atom) + 1}"
    starts = [sum(map(len, tokens[:i])) for i in atom_tokens(tokens)]
    return f"at position {starts[int(atom)]}"


def atom_tokens(tokens: list[str]) -> list[int]:
    """The places in ``tokens`` of the atoms, in RDKit's order of atoms before it takes explicit hydrogens away."""
    return [i for i, token in enumerate(tokens) if token[0].isalpha() or token[0] in "[*"]
