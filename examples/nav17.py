"""From a scaffold and a QSAR model to a file of diverse hits: blockers of the sodium channel Nav1.7, a target for pain.

1,017 aryl sulfonamides with measured activities (pIC50; ChEMBL document CHEMBL2321810) come with RDKit. What they share
is the scaffold, open at two points (*). This script fits a model to their fingerprints and tells its error on a fifth
that it has not seen. It needs: pip install 'seqtutor[models]'

    python examples/nav17.py

The prior learns the series, until that would be by heart. Twelve of the molecules hold iodine, which it did not know:

    seqtutor pretrain molecules nav17.smi --from molecules --extend-vocabulary --seed 1 --out nav17.safetensors

What now grows from the scaffold, before anything is rewarded, and what the model says of it:

    seqtutor generate molecules --model nav17.safetensors --scaffold 'O=S(=O)(N*)c1ccc(O*)c(C#N)c1' -n 20 --seed 1 \
        --rules 'model(nav17.skops),qed,sa,alerts' -o before.html

The campaign: active, drug-like, easy to make, no more than ten with one Murcko scaffold (examples/nav17.toml), until
there are fifty hits. Edits of the best and the model's samples compete to be scored (--screen). It may be stopped and
gone on with at any time (--resume):

    seqtutor tune molecules --model nav17.safetensors --scaffold 'O=S(=O)(N*)c1ccc(O*)c(C#N)c1' \
        --objective examples/nav17.toml --method climb --batch 32 --edits 64 --screen 48 --best 24 --variants 24 \
        --steps 100 --stop-when '50 hits above 0.75' --seed 1 --out runs/nav17

What to send round: structures for other programs, and a page with the nearest known molecule of each hit:

    seqtutor report molecules runs/nav17 --known nav17.smi -o hits.sdf -o hits.html

The model has seen one series; what lies far from it, it can only guess.
"""

import csv
from pathlib import Path

import numpy as np
from rdkit import Chem, RDConfig
from rdkit.Chem import rdFingerprintGenerator
from sklearn.svm import SVR
from skops import io

series = Path(RDConfig.RDContribDir) / "FreeWilson" / "data"
with open(series / "CHEMBL2321810_act.csv", newline="") as file:
    activity = {row["Name"]: float(row["Act"]) for row in csv.DictReader(file)}
molecules = [line.split() for line in (series / "CHEMBL2321810.smi").read_text().splitlines()]
Path("nav17.smi").write_text("".join(f"{smiles} {name}\n" for smiles, name in molecules))

# The features that the rule model(FILE) computes: Morgan, radius 2, 2048 bits
morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
x = np.array([morgan.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles)) for smiles, _ in molecules], np.float32)
y = np.array([activity[name] for _, name in molecules])

order = np.random.default_rng(0).permutation(len(y))
unseen, seen = order[:len(y) // 5], order[len(y) // 5:]
error = SVR(C=3).fit(x[seen], y[seen]).predict(x[unseen]) - y[unseen]
print(f"on {len(unseen)} unseen molecules: R² {1 - (error ** 2).mean() / y[unseen].var():.2f}, "
      f"root mean square error {(error ** 2).mean() ** 0.5:.2f} of pIC50, which is {y.min():.1f} to {y.max():.1f}")
io.dump(SVR(C=3).fit(x, y), "nav17.skops")
