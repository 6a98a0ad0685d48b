"""Alerts of published catalogues, by name and by place: PAINS and BRENK, as RDKit carries them.

PAINS (480 patterns): Baell & Holloway 2010, J. Med. Chem. 53, 2719, what turns up as a hit in assay after assay.
BRENK (105 patterns): Brenk et al. 2008, ChemMedChem 3, 435, what is reactive, toxic or soon metabolised.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from rdkit import Chem
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from seqtutor.domain import Finding, UnknownToken
from seqtutor_molecules.reasons import atom_tokens
from seqtutor_molecules.standard import parse
from seqtutor_molecules.tokens import split

_WHY = {"pains": "a frequent hitter in assays", "brenk": "likely reactive, toxic or unstable in the body"}


@cache
def catalogue(name: str) -> FilterCatalog:
    """RDKit's filter catalogue ``pains`` or ``brenk``, built when first used (some 10 ms)."""
    parameters = FilterCatalogParams()
    parameters.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, name.upper()))
    return FilterCatalog(parameters)


def alert_names(name: str, mol: Chem.Mol) -> tuple[str, ...]:
    """The alerts of the catalogue ``name`` that ``mol`` has, in the catalogue's order: ``("azo_A(324)", …)``."""
    return tuple(entry.GetDescription() for entry in catalogue(name).GetMatches(mol))


def findings(name: str, smiles: str) -> Iterator[Finding]:
    """One finding for each place where an alert of the catalogue ``name`` matches, as a range of tokens.

    Where the tokens do not tell RDKit's atoms, as with explicit hydrogens, the range is the whole SMILES.
    """
    mol = parse(smiles)
    if mol is None:
        return
    try:
        tokens = split(smiles)
    except UnknownToken:
        tokens = []
    places = atom_tokens(tokens)
    for entry in catalogue(name).GetMatches(mol):
        for found in entry.GetFilterMatches(mol):
            for atoms in mol.GetSubstructMatches(found.filterMatch.GetPattern()):
                start, end = 0, len(tokens)
                if len(places) == mol.GetNumAtoms():
                    start, end = places[min(atoms)], places[max(atoms)] + 1
                yield Finding(rule=name, start=start, end=end, severity=50.0,
                              words=f"{name.upper()} alert {entry.GetDescription()}: {_WHY[name]}",
                              fix="replace this group")
