"""A rule of one's own in an objective of one's own: a third of the atoms other than carbon, lipophilic but not greasy.

    seqtutor tune molecules --objective examples/custom_rule.toml --steps 2 --batch 16 --seed 1 --out runs/mine
    seqtutor generate molecules --model runs/mine -n 5 --rules "qed,score(examples/custom_rule.py:heteroatom_share)"

Two steps show that it runs; take some hundreds for molecules to change.
"""

from rdkit import Chem


def heteroatom_share(texts):
    """Share of heavy atoms that are not carbon, 0 to 1, of each SMILES."""
    shares = []
    for smiles in texts:
        atoms = [atom.GetAtomicNum() for atom in Chem.MolFromSmiles(smiles).GetAtoms()]
        shares.append(sum(number != 6 for number in atoms) / len(atoms))
    return shares
