"""Rules of medicinal chemistry: numbers for SMILES, and where a molecule breaks them.

Every rule takes a batch of SMILES and returns one float each; ``nan`` where the SMILES is not a molecule or RDKit
cannot tell. Numbers are RDKit's own, to 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdMolDescriptors as rdmd

from seqtutor.domain import Column, Finding, Rule, RuleFamily, UsageError
from seqtutor.files import check_readable
from seqtutor_molecules.catalogues import findings
from seqtutor_molecules.descriptors import REMEMBERED, Molecule, molecule
from seqtutor_molecules.reasons import why_bad_smarts, why_invalid
from seqtutor_molecules.standard import flat_form, parse

Measure = Callable[[Molecule], float]


def _scorer(measure: Measure, stages: Sequence[Measure] = ()) -> Callable[[Sequence[str]], list[float]]:
    """The score of a rule that is ``measure`` of each molecule.

    ``stages`` are parts of the measure to compute first, each for the whole batch: patterns that are used again and
    again stay in the processor's cache, which makes QED a quarter faster.
    """
    def score(batch: Sequence[str]) -> list[float]:
        scores: list[float] = []
        with rdBase.BlockLogs():
            for start in range(0, len(batch), REMEMBERED // 4):
                molecules = [molecule(smiles) for smiles in batch[start:start + REMEMBERED // 4]]
                for stage in stages:
                    for m in molecules:
                        if m is not None and m.counts is not None:
                            _measured(stage, m)
                scores += [math.nan if m is None else _measured(measure, m) for m in molecules]
        return scores

    return score


def _measured(measure: Measure, m: Molecule) -> float:
    try:
        return float(measure(m))
    except Exception:  # RDKit may raise anything on a molecule it has read, such as one with an undefined bond
        return math.nan


def _lipinski(m: Molecule) -> int:
    return ((rdmd._CalcMolWt(m.mol) > 500) + (m.logp > 5)
            + (rdmd.CalcNumLipinskiHBD(m.mol) > 5) + (rdmd.CalcNumLipinskiHBA(m.mol) > 10))


def _rule(name: str, about: str, measure: Measure, low: float, high: float,
          stages: Sequence[Measure] = ()) -> Rule:
    return Rule(name, about, _scorer(measure, stages), low=low, high=high)


def _catalogue_rule(name: str, about: str) -> Rule:
    def explain(smiles: str) -> Sequence[Finding]:
        return list(findings(name, smiles))

    return Rule(name, about, _scorer(lambda m: len(getattr(m, name))), low=0, explain=explain)


RULES: Sequence[Rule] = (
    _rule("qed", "drug-likeness, 0 to 1, higher is better (Bickerton et al. 2012)",
          lambda m: m.qed, 0, 1, stages=(lambda m: m.logp, lambda m: m.qed_alerts, lambda m: m.rotatable_bonds)),
    _rule("sa", "synthetic accessibility, 1 easy to 10 hard (Ertl & Schuffenhauer 2009)", lambda m: m.sa, 1, 10),
    _rule("logp", "octanol–water partition, log10 units (Wildman & Crippen 1999)",
          lambda m: m.logp, -math.inf, math.inf),
    _rule("mw", "average molecular weight in g/mol, hydrogens included",
          lambda m: rdmd._CalcMolWt(m.mol), 0, math.inf),
    _rule("tpsa", "topological polar surface in Å², of N and O (Ertl et al. 2000)", lambda m: m.tpsa, 0, math.inf),
    _rule("hba", "hydrogen-bond acceptors (RDKit's CalcNumHBA)", lambda m: rdmd.CalcNumHBA(m.mol), 0, math.inf),
    _rule("hbd", "hydrogen-bond donors (RDKit's CalcNumHBD)", lambda m: rdmd.CalcNumHBD(m.mol), 0, math.inf),
    _rule("rotatable_bonds", "rotatable bonds, amide bonds left out (RDKit's strict definition)",
          lambda m: m.rotatable_bonds, 0, math.inf),
    _rule("rings", "rings, as RDKit counts them (symmetrised smallest set)", lambda m: len(m.rings), 0, math.inf),
    _rule("largest_ring", "atoms in the largest of these rings, 0 without rings",
          lambda m: max(map(len, m.rings), default=0), 0, math.inf),
    _rule("charge", "formal charge in elementary charges", lambda m: Chem.GetFormalCharge(m.mol), -math.inf, math.inf),
    _rule("lipinski", "violations of the rule of five, 0 to 4: weight over 500 g/mol, logP over 5, more than 5 N–H and "
          "O–H, more than 10 N and O (Lipinski et al. 1997)", _lipinski, 0, 4),
    _rule("ring_excess", "atoms beyond six in the largest ring, 0 for none (Sequence Tutor's ring penalty)",
          lambda m: max(0, max(map(len, m.rings), default=0) - 6), 0, math.inf),
    _rule("smiles_length", "characters of the SMILES", lambda m: len(m.smiles), 1, math.inf),
    _catalogue_rule("pains", "PAINS alerts, frequent hitters in assays (Baell & Holloway 2010)"),
    _catalogue_rule("brenk", "BRENK alerts, reactive, toxic or unstable groups (Brenk et al. 2008)"),
)


def match(smarts: str) -> Rule:
    """1 for a molecule that contains ``smarts``, otherwise 0. Raises :class:`UsageError` where it is no SMARTS."""
    if reason := why_bad_smarts(smarts):
        raise UsageError(f"match({smarts}): not a SMARTS pattern, {reason}")
    pattern = Chem.MolFromSmarts(smarts)
    return _rule(f"match({smarts})", f"1 if the molecule contains {smarts}, otherwise 0",
                 lambda m: m.mol.HasSubstructMatch(pattern), 0, 1)


def similarity(smiles: str) -> Rule:
    """Tanimoto similarity to ``smiles``, 0 to 1, of Morgan fingerprints of radius 2 and 2048 bits (Rogers & Hahn 2010).

    Raises :class:`UsageError` where ``smiles`` is no molecule.
    """
    reference = molecule(smiles)
    if reference is None:
        raise UsageError(f"similarity({smiles}): not a SMILES, {why_invalid(smiles)}")
    fingerprint = reference.fingerprint
    return _rule(f"similarity({smiles})", f"Tanimoto similarity to {smiles}, 0 to 1 (Morgan, radius 2, 2048 bits)",
                 lambda m: DataStructs.TanimotoSimilarity(fingerprint, m.fingerprint), 0, 1)


def known(file: str) -> Rule:
    """1 for a molecule of ``file`` (.smi, .csv with a column smiles, .sdf), otherwise 0; salts, charges and stereo make
    no difference. Raises :class:`UsageError` for a file that cannot be read or holds no molecule."""
    path = check_readable(Path(file))
    molecules = _molecules(path, path.stat().st_mtime_ns)
    if not molecules:
        raise UsageError(f"known({file}): there is no molecule in the file")
    return _rule(f"known({file})", f"1 if the molecule is in {file}, otherwise 0",
                 lambda m: flat_form(m.mol) in molecules, 0, 1)


@lru_cache(maxsize=8)
def _molecules(path: Path, changed: int) -> frozenset[str]:
    """Flat forms of what a file holds, read once as long as it does not change."""
    from seqtutor_molecules.files import read_texts
    mols = (parse(text) for text in read_texts(path))
    return frozenset(form for mol in mols if mol is not None and (form := flat_form(mol)) is not None)


def pmo(task: str) -> Rule:
    """The oracle of a task of Practical Molecular Optimization, 0 to 1. Raises :class:`UsageError`, with the nearest
    name, for one that is not there."""
    from seqtutor_molecules.pmo import oracle
    return _rule(f"pmo({task})", f"the oracle {task} of Practical Molecular Optimization, 0 to 1", oracle(task), 0, 1)


def _model(argument: str) -> Rule:
    from seqtutor_molecules.qsar import model

    return model(argument)


FAMILIES: Sequence[RuleFamily] = (
    RuleFamily("match", "1 if the molecule contains the pattern, otherwise 0", "SMARTS", match),
    RuleFamily("similarity", "Tanimoto similarity to a molecule, 0 to 1 (Morgan, radius 2, 2048 bits)", "SMILES",
               similarity),
    RuleFamily("known", "1 if the molecule is in the file, otherwise 0", "FILE", known),
    RuleFamily("pmo", "an oracle of Practical Molecular Optimization, 0 to 1 (Gao et al. 2022)", "TASK", pmo),
    RuleFamily("model", "what a model of your own says (ONNX, skops; joblib if trusted)", "FILE", _model),
)


def _texts(value: Callable[[Molecule], str]) -> Callable[[Sequence[str]], list[str]]:
    def values(batch: Sequence[str]) -> list[str]:
        with rdBase.BlockLogs():
            return ["" if (m := molecule(smiles)) is None else value(m) for smiles in batch]

    return values


def _alerts(m: Molecule) -> str:
    return ";".join([f"PAINS {name}" for name in m.pains] + [f"BRENK {name}" for name in m.brenk])


COLUMNS: Sequence[Column] = (
    Column("alerts", "names of the PAINS and BRENK alerts, separated by ;", _texts(_alerts)),
    Column("scaffold", "Murcko scaffold as SMILES (Bemis & Murcko 1996); empty without rings",
           _texts(lambda m: m.scaffold)),
)
