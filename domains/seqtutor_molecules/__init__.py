"""Molecules as SMILES: tokens, corpora, rules of medicinal chemistry, exporters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import rdkit

from seqtutor.domain import Domain
from seqtutor_molecules import standard, tokens
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.variants import variants


class Molecules(Domain):
    """Small organic molecules, written as SMILES."""

    name = "molecules"
    about = "drug-like molecules as SMILES"
    tokens = tokens.TOKENS
    corpora = CORPORA

    def split(self, text: str) -> list[str]:
        return tokens.split(text)

    def canonical(self, text: str) -> str | None:
        return standard.canonical(text)

    def standardise(self, text: str) -> str | None:
        return standard.standardise(text)

    def versions(self) -> dict[str, str]:
        return {"rdkit": rdkit.__version__}

    def variants(self, text: str, n: int, rng: Random) -> list[str]:
        return variants(text, n, rng)


DOMAIN = Molecules()
