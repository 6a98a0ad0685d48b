"""What a molecule prior reaches: validity, uniqueness, novelty, and how close its samples are to unseen molecules.

    pip install 'seqtutor[corpora,bench]'
    python benchmarks/prior.py                          # the shipped prior, 30,000 samples, about ten minutes
    python benchmarks/prior.py --model mine.safetensors --corpus mine.smi

The Fréchet ChemNet distance (Preuer et al. 2018) to held-out molecules has a floor that no model can pass: the distance
between equally many training and held-out molecules. Both are printed. ``--write`` puts the figures into the model's
index and card, so that none is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rdkit
import torch

from seqtutor.batches import encode
from seqtutor.corpus import Encoded, prepare
from seqtutor.evaluate import sample_quality
from seqtutor.machine import keep_freed_memory, set_threads
from seqtutor.model import SequenceModel
from seqtutor.models import INDEX, find_model
from seqtutor.plugins import load_domain
from seqtutor.pretrain import heldout_loss
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor_molecules.diversity import diversity


class ChemNet:
    """Activations of ChemNet's last layer but one, from the weights that the package fcd-torch carries."""

    def __init__(self) -> None:
        from fcd_torch import FCD
        from fcd_torch.utils import SmilesDataset, calculate_frechet_distance
        self._network, self._dataset, self._distance = FCD(n_jobs=1).model, SmilesDataset, calculate_frechet_distance

    @torch.no_grad()
    def statistics(self, smiles: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Mean [512] and covariance [512, 512] of the activations of ``smiles``."""
        data = self._dataset(smiles, canonize=True)
        out = []
        for start in range(0, len(smiles), 512):
            batch = torch.stack([torch.as_tensor(data[i]) for i in range(start, min(start + 512, len(smiles)))])
            out.append(self._network(batch.transpose(1, 2).float()).numpy())
        activations = np.concatenate(out)
        return activations.mean(0), np.cov(activations.T)

    def distance(self, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
        """Fréchet distance between two statistics."""
        return float(self._distance(a[0], a[1], b[0], b[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="molecules", help="name or file (default: the shipped prior)")
    parser.add_argument("--corpus", default="zinc250k", help="what it was trained on")
    parser.add_argument("-n", type=int, default=30_000, help="samples")
    parser.add_argument("--fcd", type=int, default=10_000, help="molecules on each side of an FCD; 0 for none")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the figures into the model's index and card")
    args = parser.parse_args()
    set_threads(args.threads)
    keep_freed_memory()

    domain = load_domain("molecules")
    path = find_model(args.model)
    model = SequenceModel.load(path, domain.name)
    prepared = prepare(domain, domain.corpus(args.corpus))
    heldout: Encoded = encode(domain, model.vocabulary, prepared.heldout)
    token, text = heldout_loss(model, heldout)

    sampler = Sampler(model, SamplingConfig(precision=args.precision), seed=args.seed)
    started = time.perf_counter()
    samples = ["".join(tokens) for tokens in sampler.sample(args.n)]
    seconds = time.perf_counter() - started
    quality = sample_quality(domain, samples, known=set(prepared.train))
    canonical = [c for c in map(domain.canonical, samples) if c]
    figures: dict[str, Any] = {
        "samples": args.n, "precision": sampler.precision, "temperature": 1.0, "seed": args.seed,
        "valid": round(quality["valid"], 4),
        "unique@1k": round(len(set(canonical[:1000])) / len(canonical[:1000]), 4),
        "unique@10k": round(len(set(canonical[:10_000])) / len(canonical[:10_000]), 4),
        "novel": round(quality["novel"], 4),
        "internal diversity": round(diversity(canonical[:3000]) or 0.0, 4),
        "held-out nats a token": round(token, 4), "held-out nats a molecule": round(text, 3),
    }
    if args.fcd:
        rng, net = Random(args.seed), ChemNet()
        k = min(args.fcd, len(prepared.heldout), len(canonical))
        unseen = net.statistics(rng.sample(prepared.heldout, k))
        floor = net.distance(net.statistics(rng.sample(prepared.train, k)), unseen)
        ours = net.distance(net.statistics(canonical[:k]), unseen)
        figures |= {"FCD molecules": k, "FCD samples to held-out": round(ours, 4),
                    "FCD train to held-out": round(floor, 4), "FCD ratio": round(ours / floor, 2)}
    if args.write:
        write_figures(path, model, figures)
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{path.name} · {sum(p.numel() for p in model.parameters()):,} weights · torch {torch.__version__} · "
          f"rdkit {rdkit.__version__} · Python {platform.python_version()} · {torch.get_num_threads()} threads · "
          f"sampled in {seconds:.1f} s\n")
    print("| figure | value |\n| --- | --- |")
    for name, value in figures.items():
        print(f"| {name} | {value} |")


def write_figures(path: Path, model: SequenceModel, figures: dict[str, Any], more: str = "") -> None:
    """Brings the folder's index.json and the card NAME.md (between its figures marks, ``more`` below the figures) up to
    date."""
    from seqtutor.corpus import file_sha256
    name, index = path.stem, path.parent / INDEX
    content = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    about = content.get(name, {}).get("about") or model.provenance.get("about") \
        or f"prior of {model.provenance['corpus']['corpus']}"
    content[name] = {"about": about, "file": path.name, "domain": model.domain, "bytes": path.stat().st_size,
                     "sha256": file_sha256(path), "figures": figures}
    index.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    card = path.with_suffix(".md")
    if card.exists():
        table = "| figure | value |\n| --- | --- |\n" + "".join(f"| {k} | {v} |\n" for k, v in figures.items())
        table += more
        text = re.sub(r"(<!-- figures -->\n).*?(<!-- /figures -->)", lambda m: m[1] + table + m[2],
                      card.read_text(encoding="utf-8"), flags=re.DOTALL)
        card.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
