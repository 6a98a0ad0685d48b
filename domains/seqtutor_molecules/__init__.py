"""Molecules as SMILES: tokens, corpora, rules of medicinal chemistry, exporters.

What needs RDKit is imported when it is used, so that `seqtutor generate molecules --help` answers at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from seqtutor.domain import Column, Corpus, Domain, Exporter, Option, Proposer, Rule, RuleFamily, Table, UsageError
from seqtutor_molecules import tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Molecules(Domain):
    """Small organic molecules, written as SMILES."""

    name = "molecules"
    about = "drug-like molecules as SMILES"
    text_column = "smiles"
    examples = (
        "seqtutor generate molecules -n 200 --alerts pains,brenk -o hits.sdf -o hits.html",
        "seqtutor generate molecules -n 2000 --top 50 --by qed -o best.png",
        "seqtutor generate molecules -n 100 --keep 'c1ccncc1' --avoid '[Br]' --json",
    )
    tokens = tokens.TOKENS
    bucket_kinds = ("scaffold", "topological", "similarity")
    describe = ("qed", "sa", "logp", "mw", "tpsa", "hba", "hbd", "rotatable_bonds", "rings", "alerts", "scaffold")
    options = (
        Option("keep", "only molecules that match this SMARTS (again for more)", metavar="SMARTS", many=True),
        Option("avoid", "no molecule that matches this SMARTS (again for more)", metavar="SMARTS", many=True),
        Option("alerts", "no molecule with an alert of these catalogues: pains, brenk or pains,brenk",
               metavar="NAMES"),
        Option("scaffold", "grow from this scaffold at its open points, written *, and nowhere else; anywhere if it "
               "has none", metavar="SMILES"),
        Option("link", "link two fragments, each with one open point: 'c1ccncc1*.O=C(O)C*'", metavar="SMILES"),
        Option("lead", "only molecules similar to this one", metavar="SMILES"),
        Option("similarity", "how similar to the lead (Tanimoto, Morgan radius 2), above 0 to 1  [default: 0.4]",
               type=float, metavar="X"),
    )

    guards: Mapping[str, int] = {"sa": -1, "brenk": -1, "qed": 1}
    presets: Mapping[str, Mapping[str, Any]] = {
        # An invalid text earns what a poor molecule does: with 0, at this β, the few that there are would outweigh
        # everything else in the loss.
        "drug-like": {"about": "drug-likeness (QED)", "terms": ["qed"], "invalid": 0.5, "method": "soft-q",
                      "beta": 0.015},
        # A hard bound: two thirds of the prior's molecules keep it, so the reward is not sparse, and every molecule at
        # the optimum does. A sigmoid on SA would trade QED for ease of synthesis that nobody asked for.
        "synthesizable": {"about": "drug-likeness (QED) of molecules with a synthetic accessibility of 3 or less",
                          "terms": ["qed"], "constraints": ["sa <= 3"], "invalid": 0.5, "method": "soft-q",
                          "beta": 0.015},
        # Jaques et al. 2017, as their research code has it: 600 + 10·M for a valid end, M = −2·SA + 3·logP − 5·(atoms
        # beyond six in the largest ring) + 50·QED; −200 below 19 characters, −25 below 27.08; c = 1/.35, γ = .95.
        # Here an invalid text costs 600 instead, which is the same up to a constant. Left out: ±5 and M for every
        # prefix that is valid or not, and −150 for each C after eleven others; invalid texts have no length penalty.
        "sequence-tutor": {
            "about": "the molecule reward of Sequence Tutor, given at the end",
            "terms": [{"rule": "sa", "weight": -20}, {"rule": "logp", "weight": 30},
                      {"rule": "ring_excess", "weight": -50}, {"rule": "qed", "weight": 500},
                      {"rule": "smiles_length", "weight": -175, "transform": {"type": "step", "high": 18}},
                      {"rule": "smiles_length", "weight": -25, "transform": {"type": "step", "high": 27}}],
            "aggregate": "sum", "invalid": -600, "beta": 1 / 0.35, "gamma": 0.95},
    }

    @cached_property
    def rules(self) -> Sequence[Rule]:  # type: ignore[override]
        from seqtutor_molecules.rules import RULES
        return RULES

    @cached_property
    def families(self) -> Sequence[RuleFamily]:  # type: ignore[override]
        from seqtutor_molecules.rules import FAMILIES
        return FAMILIES

    @cached_property
    def columns(self) -> Sequence[Column]:  # type: ignore[override]
        from seqtutor_molecules.rules import COLUMNS
        return COLUMNS

    @cached_property
    def corpora(self) -> Mapping[str, Corpus]:  # type: ignore[override]
        from seqtutor_molecules.corpus import CORPORA
        return CORPORA

    @cached_property
    def exporters(self) -> Mapping[str, Exporter]:  # type: ignore[override]
        from seqtutor_molecules.export import EXPORTERS
        return EXPORTERS

    def split(self, text: str) -> list[str]:
        return tokens.split(text)

    def canonical(self, text: str) -> str | None:
        from seqtutor_molecules.descriptors import molecule
        m = molecule(text)  # remembered: rules that then judge a text which is canonical already need not parse it
        return None if m is None else m.canonical

    def why_invalid(self, text: str) -> str:
        from seqtutor_molecules.reasons import why_invalid
        return why_invalid(text)

    def valid(self, text: str) -> bool:
        from seqtutor_molecules.descriptors import molecule
        return molecule(text) is not None  # remembered for the rules, and no SMILES is written

    def standardise(self, text: str) -> str | None:
        from seqtutor_molecules.standard import standardise
        return standardise(text, frozenset(self.tokens))

    def foreign(self, text: str) -> Sequence[str]:
        """Of its standard form, so that a charge, salt or stereo mark that goes is not foreign."""
        from seqtutor_molecules.standard import flat_form, parse
        mol = parse(text)
        flat = None if mol is None else flat_form(mol)
        return [] if flat is None else sorted({*tokens.split(flat)} - {*self.tokens})

    def versions(self) -> dict[str, str]:
        import rdkit
        code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("standard.py", "tokens.py"))
        return {"rdkit": rdkit.__version__, "standardise": hashlib.sha256(code).hexdigest()[:16]}

    def accepts(self, texts: Sequence[str], **options: Any) -> Sequence[bool]:
        """Which SMILES hold every ``keep`` pattern, no ``avoid`` pattern and no alert of the ``alerts`` catalogues, and
        keep the ``scaffold``, the fragments to ``link`` or the ``similarity`` to a ``lead``."""
        from seqtutor_molecules.constraints import tests
        from seqtutor_molecules.descriptors import molecule
        catalogues = [name.strip() for name in (options.get("alerts") or "").split(",") if name.strip()]
        for name in catalogues:
            if name not in ("pains", "brenk"):
                raise UsageError(f"unknown alert catalogue {name!r} (known: pains, brenk)")
        wanted = [(self.rule(f"match({smarts})"), 1.0) for smarts in options.get("keep") or ()]
        wanted += [(self.rule(f"match({smarts})"), 0.0) for smarts in options.get("avoid") or ()]
        wanted += [(self.rule(name), 0.0) for name in catalogues]
        accepted = [True] * len(texts)
        for rule, value in wanted:
            accepted = [yes and found == value for yes, found in zip(accepted, rule(texts), strict=True)]
        for test in tests(options):
            accepted = [yes and (m := molecule(text)) is not None and test(m)
                        for yes, text in zip(accepted, texts, strict=True)]
        return accepted

    def proposer(self, **options: Any) -> Proposer | None:
        from seqtutor_molecules.constraints import proposer
        return proposer(options)

    def diversity(self, texts: Sequence[str]) -> float | None:
        from seqtutor_molecules.diversity import diversity
        return diversity(texts)

    def variants(self, text: str, n: int, rng: Random) -> list[str]:
        from seqtutor_molecules.variants import variants
        return variants(text, n, rng, frozenset(self.tokens))

    def edits(self, texts: Sequence[str], n: int, rng: Random) -> list[str]:
        from seqtutor_molecules.edits import edits
        return edits(texts, n, rng)

    def thumbnail(self, text: str) -> bytes | None:
        from seqtutor_molecules.pictures import thumbnail
        return thumbnail(text)

    def likeness(self, texts: Sequence[str], known: Iterable[str]) -> Sequence[tuple[str, float]]:
        from seqtutor_molecules.diversity import likeness
        return likeness(texts, known)

    def lineage(self, text: str) -> Sequence[str]:
        """The topology of its Murcko scaffold, then the scaffold."""
        from seqtutor_molecules.diversity import bucket
        return [bucket(kind, text, (), 1.0) for kind in ("topological", "scaffold")]

    def bucket(self, kind: str, text: str, buckets: Sequence[str], similarity: float) -> str:
        from seqtutor_molecules.diversity import bucket
        return bucket(kind, text, buckets, similarity)

    def features(self, texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        from seqtutor_molecules.features import features
        return features(texts)

    def read_file(self, path: Path, column: str | None = None) -> Iterator[str]:
        from seqtutor_molecules.files import read_texts
        return read_texts(path, column)

    def read_table(self, path: Path, column: str | None = None) -> Table:
        from seqtutor_molecules.files import read_table
        return read_table(path, column)


DOMAIN = Molecules()
