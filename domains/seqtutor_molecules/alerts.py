"""How many of QED's structural alerts a molecule has: RDKit's own patterns, tested only where they can match.

Most alerts need something that most molecules lack (sulfur, a triple bond, a three-membered ring). What a molecule has
is found first, by its formula, its rings and seven one- or two-atom patterns; the alerts that ask for nothing else are
then tested in one call. Their atoms are renumbered so that the search starts at the rarest one. Neither changes a
count: a pattern's place in the list and the order of its atoms do not matter, and an alert that
:data:`_NEEDS` does not know is always tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

from rdkit import Chem
from rdkit.Chem import QED
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogEntry, SmartsMatcher

#: The gates are made for molecules of these elements only.
ELEMENTS = frozenset(("C", "H", "N", "O", "S", "F", "Cl", "Br", "I"))

# Each feature with the alerts (as QED.StructuralAlertSmarts spells them) that can only match where it is present.
_NEEDS: Mapping[str, str] = {
    "another element or an isotope": """
        [Hg,Fe,As,Sb,Zn,Se,se,Te,B,Si,Na,Ca,Ge,Ag,Mg,K,Ba,Sr,Be,Ti,Mo,Mn,Ru,Pd,Ni,Cu,Au,Cd,Al,Ga,Sn,Rh,Tl,Bi,Nb,Li,Pb,Hf,Ho]
        P [Si][F,Cl,Br,I] [15N] [13C] [18O] [34S]""",
    "sulfur": """
        [#6]S(=O)(=O)O[#6] [$([CH]),$(CC)]#CS(=O)(=O)[#6] [#16][#16] [#6]=S OS(=O)(=O)[O-] [SH] [S-] C12C(NC(N1)=O)CSC2
        [SX2]O [SX2H0][N] c12ccccc1(SC(S)=N2) c12ccccc1(SC(=S)N2) s1c(S)nnc1NC=O S1C=CSC1=S OS(=O)(=O)C(F)(F)F
        S(=O)(=O)C#N S(=O)(=O)[O-,OH] [SX3](=O)[O-,OH] c[SX2][C;!R] [#6]S(=O)(=O)c1ccc(cc1)F""",
    "a halogen": """
        [S,C](=[O,S])[F,Br,Cl,I] [CX4][Cl,Br,I] n1c([F,Cl,Br,I])cccc1 I [NX3,NX4][F,Cl,Br,I] NC[F,Cl,Br,I]
        c1nc(c2c(n1)nc(n2)[F,Cl,Br,I]) [#6]S(=O)(=O)c1ccc(cc1)F""",
    "three halogens": """
        c1ccc([Cl,Br,I,F])c([Cl,Br,I,F])c1[Cl,Br,I,F] c1cc([Cl,Br,I,F])cc([Cl,Br,I,F])c1[Cl,Br,I,F]
        OS(=O)(=O)C(F)(F)F F.F.F.F""",
    # The last one has an atom with two double bonds and a third neighbour, which is a valence of five or more.
    "sulfur or a halogen": "c1nc([F,Cl,Br,I,S])ncc1 c1ncnc([F,Cl,Br,I,S])c1 a1aa2a3a(a1)A=AA=A3=AA=A2",
    "two oxygens": """
        [#8][#8] [#6](=O)[#6](=O) C1NC(=O)NC(=O)1 [#6](=O)[CX4,CR0X3,O][#6](=O) [cR,CR]~C(=O)NC(=O)~[cR,CR]
        c1ccc2c(c1)ccc(=O)o2""",
    "six oxygens": "C(=O)O[C,H1].C(=O)O[C,H1].C(=O)O[C,H1]",
    "four nitrogens": "c1nnnn1C=O",
    "a ring of 3": "*1[O,S,N]*1",
    "a ring of 3 or 4": "C1(=O)NCC1",
    "a ring of 7 or more": "[CR1]1[CR1][CR1][CR1][CR1][CR1][CR1]1 [CR1]1[CR1][CR1]cc[CR1][CR1]1",
    "an atom in two rings": """
        a21aa3a(aa1aaaa2)aaaa3 a31a(a2a(aa1)aaaa2)aaaa3 c1ccc2c(c1)ccc(=O)o2 O1CCCCC1OC2CCC3CCCCC3C2
        [CR2]1[CR2][CR2][CR2][CR2][CR2][CR2][CR2]1 [CR2]1[CR2][CR2]cc[CR2][CR2][CR2]1
        [CH2R2]1N[CH2R2][CH2R2][CH2R2][CH2R2][CH2R2]1 [CH2R2]1N[CH2R2][CH2R2][CH2R2][CH2R2][CH2R2][CH2R2]1
        [OR2,NR2]@[CR2]@[CR2]@[OR2,NR2]@[CR2]@[CR2]@[OR2,NR2]
        [cR2]1[cR2][cR2]([Nv3X3,Nv4X4])[cR2][cR2][cR2]1[cR2]2[cR2][cR2][cR2]([Nv3X3,Nv4X4])[cR2][cR2]2
        [cR2]1[cR2]c([N+0X3R0,nX3R0])c([N+0X3R0,nX3R0])[cR2][cR2]1
        [cR2]1[cR2]c([N+0X3R0,nX3R0])[cR2]c([N+0X3R0,nX3R0])[cR2]1
        [cR2]1[cR2]c([N+0X3R0,nX3R0])[cR2][cR2]c1([N+0X3R0,nX3R0])""",
    "three rings": """
        a21aa3a(aa1aaaa2)aaaa3 a31a(a2a(aa1)aaaa2)aaaa3 a1aa2a3a(a1)A=AA=A3=AA=A2 O1CCCCC1OC2CCC3CCCCC3C2
        [SiR0,CR0](c1ccccc1)(c2ccccc2)(c3ccccc3)""",
    # From here on the feature is a pattern. Carbon with a triple or two double bonds has at most two neighbours; a
    # nitrogen with a triple bond to nitrogen is charged (N2 itself holds no carbon).
    "[C;X1,X2]": """
        [$([CH]),$(CC)]#CC(=O)[#6] [$([CH]),$(CC)]#CC(=O)O[#6] [$([CH]),$(CC)]#CS(=O)(=O)[#6] C#C N=C=O [N,O,S]C#N C=C=O
        C=[C!r]C#N N#CC[OH] N#CC(=O) S(=O)(=O)C#N N[CH2]C#N [CX2R0][NX3R0] C=C=C""",
    "[OH]": "n[OH] C(=O)N[OH] [#6]=N[OH] c1c([OH])c([OH,NH2,NH])ccc1 [OH]c1ccc([OH,NH2,NH])cc1 N#CC[OH]",
    "[NH2]": "[#7][NH2] C(=O)N[NH2] c1cc([NH2])ccc1",
    "[!+0]": """
        OS(=O)(=O)[O-] [N+](=O)[O-] [S-] [$([N+R]),$([n+R]),$([N+]=C)][O-] [O+,o+,S+,s+] [C+,c+,C-,c-] N=[N+]=[N-]
        [s,S,c,C,n,N,o,O]~[n+,N+](~[s,S,c,C,n,N,o,O])(~[s,S,c,C,n,N,o,O])~[s,S,c,C,n,N,o,O]
        [s,S,c,C,n,N,o,O]~[nX3+,NX3+](~[s,S,c,C,n,N])~[s,S,c,C,n,N] [*]=[N+]=[*] N#N""",
    "C=C": """
        C=C(C=O)C=O C1(=[O,N])C=CC(=[O,N])C=C1 C1(=[O,N])C(=[O,N])C=CC=C1 [CR0]=[CR0][CR0]=[CR0] C=C=O C=[C!r]C#N
        [$([CH2]),$([CH][CX4]),$(C([CX4])[CX4])]=[$([CH2]),$([CH][CX4]),$(C([CX4])[CX4])] S1C=CSC1=S C=[C!r]O
        c1ccccc1[C;!R]=[C;!R]c2ccccc2 C=!@CC=[O,S] C=C=C""",
    "N=*": """
        [C;!R]=[N;!R] [N!R]=[N!R] [#6]=N[OH] [#6]=NOC=O N=C=O N=[N+]=[N-] N=[CR0][N,n,O,S] c12ccccc1(SC(S)=N2)
        [NX2+0]=[O+0] [*]=[N+]=[*]""",
    "O=[#6]O": "[#6]=NOC=O c1ccccc1OC(=O)[#6] c1ccccc1OC(=O)O C(=O)Onnn [#6,#8,#16][#6](=O)O[#6]",
}
_NEVER = next(iter(_NEEDS))
_GATES = [Chem.MolFromSmarts(feature) for feature in list(_NEEDS)[-7:]]

# What drug-like molecules are made of, to tell which atom of a pattern is the rarest.
_TYPICAL = ("CC(=O)Nc1ccc(O)cc1.CC(C)Cc1ccc(cc1)C(C)C(=O)O.Cc1ccc(cc1)S(=O)(=O)Nc1nccs1.COc1ccc2[nH]cc(CCN)c2c1."
            "O=C(c1ccccc1F)N1CCN(CC1)c1ncccn1.CCOC(=O)C1=C(C)NC(=O)NC1c1ccc(Cl)cc1.CC(C)(C)c1cc(no1)C(=O)NCC1CCCO1."
            "C[NH+]1CCC(CC1)Oc1ccc(cc1)[N+](=O)[O-].N#Cc1ccc(Br)cc1")


def count(mol: Chem.Mol, counts: Mapping[str, int] | None, rings: tuple[tuple[int, ...], ...]) -> int:
    """The number of different alerts in ``mol``, 0 to 116 (Bickerton et al. 2012, as RDKit lists them).

    ``counts`` is what :func:`seqtutor_molecules.shortcuts.ordinary` says of ``mol``: the atoms of each element, or None
    where every alert is to be tested. ``rings``: the atoms of each ring of the ring information.
    """
    if counts is None:
        return sum(mol.HasSubstructMatch(pattern) for pattern in QED.StructuralAlerts)
    halogens = counts.get("F", 0) + counts.get("Cl", 0) + counts.get("Br", 0) + counts.get("I", 0)
    sulfur, oxygens, nitrogens = "S" in counts, counts.get("O", 0), counts.get("N", 0)
    sizes = [len(ring) for ring in rings]
    smallest, largest = (min(sizes), max(sizes)) if sizes else (0, 0)
    present = [mol.HasSubstructMatch(gate) for gate in _GATES]
    return len(_catalog(
        sulfur, halogens > 0, halogens > 2, sulfur or halogens > 0, oxygens > 1, oxygens > 5, nitrogens > 3,
        smallest == 3, 3 <= smallest <= 4, largest > 6, len(set().union(*rings)) < sum(sizes), len(sizes) > 2,
        *present).GetMatches(mol))


@lru_cache(maxsize=2048)
def _catalog(*present: bool) -> FilterCatalog:
    """The alerts that ask for no feature but those ``present`` (in the order of :data:`_NEEDS`, less the first)."""
    absent = {_NEVER} | {feature for feature, there in zip(list(_NEEDS)[1:], present, strict=True) if not there}
    catalog = FilterCatalog()
    for needs, entry in _entries():
        if needs.isdisjoint(absent):
            catalog.AddEntry(entry)
    return catalog


@cache
def _entries() -> list[tuple[frozenset[str], FilterCatalogEntry]]:
    """Every alert of :mod:`rdkit.Chem.QED`, rarest atom first, with the features it needs."""
    alerts = {feature: frozenset(text.split()) for feature, text in _NEEDS.items()}
    return [(frozenset(feature for feature in alerts if smarts in alerts[feature]),
             FilterCatalogEntry(smarts, SmartsMatcher(smarts, _rarest_first(pattern), 1)))
            for smarts, pattern in zip(QED.StructuralAlertSmarts, QED.StructuralAlerts, strict=True)]


def _rarest_first(pattern: Chem.Mol) -> Chem.Mol:
    """The same pattern with its atoms in the order in which a search finds out soonest that there is no match."""
    often = [_frequency(atom.GetSmarts()) for atom in pattern.GetAtoms()]
    order: list[int] = []
    while len(order) < len(often):
        left = [i for i in range(len(often)) if i not in order]
        bonded = [i for i in left if any(pattern.GetBondBetweenAtoms(i, j) for j in order)]
        order.append(min(bonded or left, key=often.__getitem__))
    return Chem.RenumberAtoms(pattern, order)


@cache
def _frequency(atom: str) -> int:
    typical = Chem.MolFromSmiles(_TYPICAL)
    return len(typical.GetSubstructMatches(Chem.MolFromSmarts(atom)))
