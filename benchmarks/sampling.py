"""How fast the sampler is, against the plain way and against what this machine can do at all.

    python benchmarks/sampling.py                                  # the shipped prior
    python benchmarks/sampling.py --end-to-end                     # 10,000 molecules sampled, parsed, QED and SA
    python benchmarks/sampling.py --quality                        # validity and NLL of each precision
    python benchmarks/sampling.py --train 3x512                    # a deeper network, roughly trained for this run
    python benchmarks/sampling.py --model mine.safetensors         # any model of one's own

*Plain* is what most tools do: nn.LSTM one token at a time on the whole batch until its longest sequence ends, tokens by
torch.multinomial. All rows run the same weights in one process, in turns; the medians are printed. *Peak* is the best
rate of large matrix products of that precision on the same threads, and a row's share of it counts only the
multiplications that its tokens need. With ``--threads 1`` CPU time is counted, so that other work on the machine
disturbs less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from seqtutor.machine import keep_freed_memory, set_threads
from seqtutor.model import SequenceModel
from seqtutor.models import load_model
from seqtutor.sampling import Sampler, SamplingConfig
from seqtutor.steps import has_packed_product
from seqtutor.vocabulary import BOS, EOS, PAD

PRECISIONS = ("fp32", "bf16", "int8")
_CHUNK = 500  # molecules that are scored together


@torch.no_grad()
def plain(model: SequenceModel, n: int, batch: int, longest: int = 128) -> list[list[int]]:
    """The plain way: whole batches, one token at a time, until the longest sequence of each ends."""
    out: list[list[int]] = []
    while len(out) < n:
        rows = min(batch, n - len(out))
        ids = torch.full((rows, 1), BOS)
        ended = torch.zeros(rows, dtype=torch.bool)
        state, written = None, []
        for _ in range(longest):
            logits, state = model(ids, state)
            ids = torch.multinomial(torch.softmax(logits[:, -1], -1), 1)
            ids[ended] = PAD
            written.append(ids)
            ended |= ids[:, 0] == EOS
            if ended.all():
                break
        out += [[i for i in row if i != PAD] for row in torch.cat(written, 1).tolist()]
    return out


def flops_a_token(model: SequenceModel, folded: bool) -> int:
    """Multiplications and additions that one token needs; ``folded`` leaves out the first layer's input product."""
    c = model.config
    inputs = [0 if folded else c.embedding] + [c.width] * (c.depth - 1)
    return 2 * (sum(4 * c.width * (x + c.width) for x in inputs) + c.width * len(model.vocabulary))


def clock() -> float:
    """Seconds: of this process' CPU where it has one thread, of the wall otherwise."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def peak(precision: str) -> float:
    """FLOP/s of the best of several large products, packed and not."""
    return max(_rate(run, size) for size in (1024, 2048) for run in _products(precision, size))


def _rate(run: Callable[[], Any], size: int) -> float:
    times = []
    for _ in range(8):
        started = clock()
        run()
        times.append(clock() - started)
    return 2 * size**3 / min(times)


def _products(precision: str, size: int) -> list[Callable[[], Any]]:
    """The ways to multiply two ``size`` × ``size`` matrices in ``precision`` that this build of torch has."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    if precision == "int8":
        op = torch.ops.onednn
        x, w = torch.randint(0, 255, (size, size), dtype=torch.uint8), op.qlinear_prepack(b.to(torch.int8), None)
        scale, zero = torch.ones(size), torch.zeros(size, dtype=torch.int32)
        rest = (scale, zero, None, 1.0, 0, torch.float32, "none", [], "")
        return [lambda: op.qlinear_pointwise(x, 1.0, 128, w, *rest)]
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    x, y = a.to(kind), b.to(kind)
    plain: list[Callable[[], Any]] = [lambda: F.linear(x, y)]
    if not has_packed_product(kind):
        return plain
    packed = torch.ops.mkldnn._reorder_linear_weight(y)
    return [*plain, lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], None)]


def compare(model: SequenceModel, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for the plain loop and one for each precision of ours."""
    ways: dict[str, Callable[[int], list[list[int]]]] = {"plain": lambda n: plain(model, n, args.batch)}
    samplers = {p: Sampler(model, SamplingConfig(batch=args.our_batch, precision=p), seed=1) for p in args.precisions}
    ways |= {p: sampler.sample_ids for p, sampler in samplers.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    tokens: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(args.batch)  # warm up
    for _ in range(args.rounds):
        for name, way in ways.items():
            n = args.n if name == "plain" else 10 * args.n
            started = clock()
            ids = way(n)
            seconds = clock() - started
            rates[name].append(n / seconds)
            tokens[name].append(sum(map(len, ids)) / seconds)
    rows = []
    for name in ways:
        top = peak("fp32" if name == "plain" else name)
        rows.append({
            "way": name, "sequences/s": round(statistics.median(rates[name])),
            "ratio": round(statistics.median(r / p for r, p in zip(rates[name], rates["plain"], strict=True)), 2),
            "share of peak": round(statistics.median(tokens[name]) * flops_a_token(model, name != "plain") / top, 3),
            "peak GFLOP/s": round(top / 1e9)})
    return rows


def roughly_trained(shape: str) -> SequenceModel:
    """A ``depth x width`` network after a few minutes on wehi10k: its sequences are as long as real ones."""
    from seqtutor.corpus import prepare
    from seqtutor.model import ModelConfig
    from seqtutor.plugins import load_domain
    from seqtutor.pretrain import PretrainConfig, pretrain
    depth, width = map(int, shape.split("x"))
    domain = load_domain("molecules")
    with tempfile.TemporaryDirectory() as folder:
        return pretrain(domain, prepare(domain, domain.corpus("wehi10k")), Path(folder) / "rough.safetensors",
                        model=ModelConfig(width=width, depth=depth),
                        config=PretrainConfig(epochs=3, batch_size=64, learning_rate=4e-3, evaluate_samples=0))


def quality(model: SequenceModel, n: int, seed: int) -> list[dict[str, Any]]:
    """Validity of each precision's samples and their mean NLL under the fp32 model, in nats a molecule."""
    from seqtutor.batches import pad
    from seqtutor.plugins import load_domain
    domain = load_domain(model.domain)
    rows = []
    for precision in PRECISIONS:
        ids = Sampler(model, SamplingConfig(precision=precision), seed=seed).sample_ids(n)
        texts = [domain.join(model.vocabulary.decode(i)) for i in ids]
        with torch.no_grad():
            order = sorted(ids, key=len)
            nats = sum(-float(model.log_probs(pad([torch.tensor(i[:-1]).numpy() for i in order[k:k + 256]])).sum())
                       for k in range(0, n, 256))
        rows.append({"precision": precision, "valid": round(sum(map(domain.valid, texts)) / n, 4),
                     "mean NLL": round(nats / n, 3)})
    for row in rows:
        row["NLL against fp32"] = f"{row['mean NLL'] / rows[0]['mean NLL'] - 1:+.2%}"
    return rows


def _plain_scores(smiles: list[str]) -> int:
    """Parse, QED and SA by RDKit's own calls; the number of molecules that parse."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import QED
    from rdkit.Contrib.SA_Score import sascorer
    with rdBase.BlockLogs():
        mols = [mol for mol in map(Chem.MolFromSmiles, smiles) if mol is not None and mol.GetNumAtoms()]
        for mol in mols:
            QED.qed(mol)
            sascorer.calculateScore(mol)
    return len(mols)


def _our_scores(smiles: list[str]) -> int:
    from seqtutor.plugins import load_domain
    domain = load_domain("molecules")
    qed, _sa = domain.rule("qed")(smiles), domain.rule("sa")(smiles)
    return sum(value == value for value in qed)


def _side_by_side(chunks: Iterable[list[str]], workers: int) -> int:
    """:func:`_our_scores` of all ``chunks`` as they come, on so many processes."""
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_our_scores, []) for _ in range(workers)]  # start while the first chunk is written
        jobs += [pool.submit(_our_scores, chunk) for chunk in chunks]
        return sum(job.result() for job in jobs)


def end_to_end(model: SequenceModel, args: argparse.Namespace) -> list[dict[str, Any]]:
    """n molecules sampled, parsed, QED and SA: the plain way in one process, without what ``seqtutor`` asks of the
    allocator; ours with a process a thread that scores what one thread samples (more would wait for each other); and
    ours from texts that are there already, which no sampler can go below."""
    n, workers = args.n if args.n > 2048 else 10_000, torch.get_num_threads()
    _plain_scores(["CCO"])
    rows: list[dict[str, Any]] = []

    def row(way: str, run: Callable[[], int]) -> None:
        started = time.perf_counter()
        valid = run()
        seconds = time.perf_counter() - started
        first = rows[0]["seconds"] if rows else seconds
        rows.append({"way": way, "valid": valid, "seconds": round(seconds, 1), "ratio": round(first / seconds, 2)})

    texts: list[str] = []

    def plainly() -> int:
        texts.extend("".join(model.vocabulary.decode(ids)) for ids in plain(model, n, args.batch))
        return _plain_scores(texts)

    def sampled(precision: str) -> Iterator[list[str]]:
        config = SamplingConfig(batch=args.our_batch, precision=precision)
        stream = Sampler(model, config, seed=1).stream(n)
        while chunk := ["".join(model.vocabulary.decode(ids)) for ids in itertools.islice(stream, _CHUNK)]:
            yield chunk

    row("plain", plainly)
    keep_freed_memory()
    set_threads(1)
    for precision in args.precisions:
        row(precision, lambda precision=precision: _side_by_side(sampled(precision), workers))  # type: ignore[misc]
    row("scores alone", lambda: _side_by_side((texts[i:i + _CHUNK] for i in range(0, n, _CHUNK)), workers))
    set_threads(workers)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="molecules", help="name or file (default: the shipped prior)")
    parser.add_argument("--train", metavar="DEPTHxWIDTH", help="time a network of this shape instead")
    parser.add_argument("-n", type=int, default=1024, help="sequences of the plain loop in a round; ours do 10 n")
    parser.add_argument("--batch", type=int, default=128, help="batch of the plain loop")
    parser.add_argument("--our-batch", type=int, default=SamplingConfig().batch)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precisions", default=",".join(PRECISIONS), type=lambda s: s.split(","))
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    threads = set_threads(args.threads)
    if not args.end_to_end:
        keep_freed_memory()
    model = roughly_trained(args.train) if args.train else load_model(args.model)
    rows = (quality(model, 10_000, 1) if args.quality else end_to_end(model, args) if args.end_to_end
            else compare(model, args))
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    c = model.config
    print(f"{c.depth}×{c.width}, vocabulary {len(model.vocabulary)}, {threads} threads, torch {torch.__version__}; "
          f"auto takes {Sampler(model).precision}\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
