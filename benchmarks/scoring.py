"""How fast descriptors are, against RDKit's own calls, and that they are the same.

    python benchmarks/scoring.py                   # 5,000 molecules of ZINC250k (or of RDKit's WEHI set)
    python benchmarks/scoring.py -n 20000 --json

Every row begins with SMILES. *Plain* is a loop over RDKit's public functions, one molecule at a time; *ours* is the
rules of the molecule domain, batch by batch as `seqtutor score` calls them. Both score each batch once, one after the
other in one process on one core, and who is first changes from batch to batch; rates and ratios are medians over the
batches, in CPU time. The last rows score with processes, in wall time, start-up excluded.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import rdkit
from rdkit import Chem
from rdkit.Chem import QED, Crippen
from rdkit.Contrib.SA_Score import sascorer

from seqtutor.domain import UsageError
from seqtutor.plugins import load_domain
from seqtutor.scoring import BATCH, score_table
from seqtutor_molecules.corpus import CORPORA
from seqtutor_molecules.descriptors import REMEMBERED, molecule

DOMAIN = load_domain("molecules")
Scorer = Callable[[Sequence[str]], list[list[float]]]


def plain(*functions: Callable[[Chem.Mol], float]) -> Scorer:
    """The functions on each molecule in turn, one list a function."""
    def score(batch: Sequence[str]) -> list[list[float]]:
        rows = []
        for smiles in batch:
            mol = Chem.MolFromSmiles(smiles)
            rows.append([function(mol) for function in functions])
        return [list(column) for column in zip(*rows, strict=True)]

    return score


def ours(*rules: str) -> Scorer:
    """The rules of the domain."""
    chosen = [DOMAIN.rule(name) for name in rules]

    def score(batch: Sequence[str]) -> list[list[float]]:
        for smiles in batch:
            molecule(smiles)
        return [list(rule(batch)) for rule in chosen]

    return score


ROWS: dict[str, tuple[Scorer, Scorer]] = {
    "parse": (plain(), ours()),
    "logP": (plain(Crippen.MolLogP), ours("logp")),
    "QED": (plain(QED.qed), ours("qed")),
    "SA": (plain(sascorer.calculateScore), ours("sa")),
    "QED + SA + logP": (plain(QED.qed, sascorer.calculateScore, Crippen.MolLogP), ours("qed", "sa", "logp")),
}


def compare(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Molecules a second, ratio and largest difference of every row of :data:`ROWS`."""
    batches = [texts[i:i + BATCH] for i in range(0, len(texts), BATCH)]
    table = []
    for name, pair in ROWS.items():
        for score in pair:  # patterns compiled, fragment scores read
            score(batches[-1])
        rates: list[list[float]] = [[], []]
        difference = 0.0
        for i, batch in enumerate(batches):
            results: list[list[list[float]]] = [[], []]
            for which in (0, 1) if i % 2 else (1, 0):
                started = time.process_time()
                results[which] = pair[which](batch)
                rates[which].append(len(batch) / (time.process_time() - started))
            for a, b in zip(*results, strict=True):
                difference = max(difference, *(abs(x - y) for x, y in zip(a, b, strict=True)))
        table.append({"what": name, "plain": statistics.median(rates[0]), "ours": statistics.median(rates[1]),
                      "ratio": statistics.median(b / a for a, b in zip(*rates, strict=True)),
                      "max_difference": difference})
    return table


def scaling(texts: Sequence[str], workers: Sequence[int]) -> list[dict[str, Any]]:
    """Molecules a second of :func:`score_table` (QED, SA, logP) by number of processes, from first to last batch."""
    table = []
    for count in workers:
        marks: list[tuple[float, int]] = []
        score_table(DOMAIN, "molecules", texts, ["qed", "sa", "logp"], workers=count,
                    progress=lambda done: marks.append((time.perf_counter(), done)))  # noqa: B023 (called at once)
        (start, before), (end, after) = marks[count - 1], marks[-1]
        table.append({"workers": count, "rate": (after - before) / (end - start)})
    return table


def sample(n: int, seed: int = 0) -> tuple[str, list[str]]:
    """``n`` molecules drawn from ZINC250k where it is installed, otherwise from RDKit's WEHI set."""
    corpus = CORPORA["zinc250k"]
    try:
        path = corpus.path()
    except UsageError:
        corpus = CORPORA["wehi10k"]
        path = corpus.path()
    texts = list(corpus.read(path))
    return corpus.name, random.Random(seed).sample(texts, min(n, len(texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=5000, help="molecules (default 5000)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of processes (default 1 2)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    chosen = parser.parse_args()
    if chosen.n <= REMEMBERED + BATCH:
        parser.error(f"-n must be above {REMEMBERED + BATCH}: fewer molecules would still be known from the row before")
    corpus, texts = sample(chosen.n)
    table = compare(texts)
    processes = scaling(texts, chosen.workers)
    if chosen.json:
        print(json.dumps({"corpus": corpus, "molecules": len(texts), "descriptors": table, "processes": processes}))
        return
    print(f"{len(texts):,} molecules of {corpus}, one core, RDKit {rdkit.__version__}; molecules a second\n")
    print("| from SMILES to | RDKit's calls | ours | ratio | largest difference |\n|" + " --- |" * 5)
    for row in table:
        print(f"| {row['what']} | {row['plain']:,.0f} | {row['ours']:,.0f} | {row['ratio']:.2f} | "
              f"{row['max_difference']:.1e} |")
    print("\n| `seqtutor score --workers` (QED, SA, logP) | molecules a second | ratio |\n|" + " --- |" * 3)
    for row in processes:
        print(f"| {row['workers']} | {row['rate']:,.0f} | {row['rate'] / processes[0]['rate']:.2f} |")


if __name__ == "__main__":
    main()
