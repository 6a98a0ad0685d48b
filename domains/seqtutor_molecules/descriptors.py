"""What RDKit says of a SMILES, computed once and only when asked for.

    molecule("CC(=O)Oc1ccccc1C(=O)O").qed    # 0.5501…
    molecule("C1CC")                         # None

Rules over the same batch share the parsed molecule, its rings and its logP through :func:`molecule`, which keeps the
most recent texts.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import QED, rdFingerprintGenerator
from rdkit.Chem import rdMolDescriptors as rdmd
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.DataStructs import ExplicitBitVect

from seqtutor_molecules import alerts, shortcuts
from seqtutor_molecules.catalogues import alert_names
from seqtutor_molecules.standard import parse

#: Texts that :func:`molecule` remembers (some 30 kB each); a batch that several rules share should be smaller.
REMEMBERED = 1024

_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)


class Molecule:
    """A parsed SMILES with descriptors that are computed when first read. ``mol`` is shared: do not change it."""

    def __init__(self, smiles: str, mol: Chem.Mol):
        self.smiles = smiles
        self.mol = mol

    @cached_property
    def canonical(self) -> str:
        """RDKit's canonical SMILES, stereo kept."""
        return str(Chem.MolToSmiles(self.mol))

    @cached_property
    def counts(self) -> shortcuts.Counts | None:
        """Atoms of each element where the exact shortcuts hold (:func:`shortcuts.ordinary`), otherwise None."""
        return shortcuts.ordinary(self.smiles, self.mol)

    @cached_property
    def rings(self) -> shortcuts.Rings:
        """The atom indices of each ring of RDKit's symmetrised smallest set."""
        rings: shortcuts.Rings = self.mol.GetRingInfo().AtomRings()
        return rings

    @cached_property
    def logp(self) -> float:
        """Octanol–water partition, log10 units (Wildman & Crippen 1999, J. Chem. Inf. Comput. Sci. 39, 868)."""
        return float(rdmd.CalcCrippenDescriptors(self.mol)[0])

    @cached_property
    def tpsa(self) -> float:
        """Topological polar surface in Å², of N and O (Ertl, Rohde & Selzer 2000, J. Med. Chem. 43, 3714)."""
        return float(rdmd.CalcTPSA(self.mol))

    @cached_property
    def rotatable_bonds(self) -> int:
        """Rotatable bonds by RDKit's strict definition, which leaves out amide and ester bonds."""
        return shortcuts.rotatable_bonds(self.mol, self.counts)

    @cached_property
    def qed_alerts(self) -> int:
        """How many of QED's structural alerts the molecule has (Bickerton et al. 2012)."""
        return alerts.count(self.mol, self.counts, self.rings)

    @cached_property
    def qed(self) -> float:
        """Quantitative estimate of drug-likeness, 0 to 1 (Bickerton et al. 2012, Nature Chemistry 4, 90)."""
        if self.counts is None:
            with rdBase.BlockLogs():
                return float(QED.qed(self.mol))  # type: ignore[no-untyped-call]
        # QED first removes explicit hydrogens; there are none, so its properties are those of the molecule as it is.
        properties = QED.QEDproperties(  # type: ignore[no-untyped-call]
            MW=rdmd._CalcMolWt(self.mol), ALOGP=self.logp, HBA=shortcuts.acceptors(self.mol, self.counts),
            HBD=rdmd.CalcNumHBD(self.mol), PSA=self.tpsa, ROTB=self.rotatable_bonds,
            AROM=shortcuts.aromatic_rings(self.mol, self.rings), ALERTS=self.qed_alerts)
        return float(QED.qed(self.mol, qedProperties=properties))  # type: ignore[no-untyped-call]

    @cached_property
    def sa(self) -> float:
        """Synthetic accessibility, 1 easy to 10 hard (Ertl & Schuffenhauer 2009, J. Cheminformatics 1, 8)."""
        return shortcuts.sa(self.mol, self.counts, self.rings)

    @cached_property
    def pains(self) -> tuple[str, ...]:
        """Names of the PAINS alerts (Baell & Holloway 2010)."""
        return alert_names("pains", self.mol)

    @cached_property
    def brenk(self) -> tuple[str, ...]:
        """Names of the BRENK alerts (Brenk et al. 2008)."""
        return alert_names("brenk", self.mol)

    @cached_property
    def fingerprint(self) -> ExplicitBitVect:
        """Morgan fingerprint of radius 2, 2048 bits (Rogers & Hahn 2010, J. Chem. Inf. Model. 50, 742)."""
        fingerprint: ExplicitBitVect = _MORGAN.GetFingerprint(self.mol)
        return fingerprint

    @cached_property
    def scaffold(self) -> str:
        """Canonical SMILES of the Murcko scaffold, the rings and what links them (Bemis & Murcko 1996); "" if none."""
        return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(self.mol)))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=REMEMBERED)
def molecule(smiles: str) -> Molecule | None:
    """The molecule that ``smiles`` stands for, or None; never an error, and RDKit stays quiet."""
    mol = parse(smiles)
    return None if mol is None else Molecule(smiles, mol)
