"""What constraints cost: how many samples meet them when molecules are grown to meet them, and when they are filtered.

    python benchmarks/constraints.py

*Hit rate*: of samples that repeat no earlier one, the share that is valid and meets the constraint.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from typing import Any

from seqtutor.domain import Domain
from seqtutor.generate import Generation, generate
from seqtutor.machine import keep_freed_memory, set_threads
from seqtutor.model import SequenceModel
from seqtutor.models import load_model
from seqtutor.plugins import load_domain

CONSTRAINTS: Sequence[dict[str, Any]] = (
    {"scaffold": "*c1ccc2[nH]c(-c3ccccc3)nc2c1"},
    {"scaffold": "O=C(N*)c1ccc(*)cc1"},
    {"scaffold": "*N(*)C(=O)c1cc(*)ccc1Cl"},
    {"scaffold": "c1ccc2[nH]cnc2c1"},
    {"link": "c1ccncc1*.O=C(O)C*"},
    {"link": "O=S(=O)(N)c1ccc(*)cc1.*N1CCOCC1"},
    {"lead": "CN1CCN(Cc2ccc(NC(=O)c3cccnc3)cc2)CC1", "similarity": 0.4},
    {"lead": "CN1CCN(Cc2ccc(NC(=O)c3cccnc3)cc2)CC1", "similarity": 0.6},
)


def filtering(domain: Domain) -> Domain:
    """The same domain, whose constraints are tests only."""
    plain = copy.copy(domain)
    plain.proposer = lambda **options: None  # type: ignore[method-assign]
    return plain


def sampled(domain: Domain, model: SequenceModel, options: dict[str, Any], n: int) -> tuple[Generation, float]:
    """What becomes of ``n`` samples, and the seconds that they take."""
    started = time.perf_counter()
    found = generate(domain, model, n, seed=1, options=options, most=n)
    return found, time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=512, help="samples that are grown; ten times as many are filtered")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    set_threads(args.threads)
    keep_freed_memory()
    domain, model = load_domain("molecules"), load_model("molecules", "molecules")
    print(f"{args.n:,} samples grown, {10 * args.n:,} filtered, {args.threads} threads\n")
    print("| constraint | hit rate, grown | filtered | different hits a second, grown | filtered |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for options in CONSTRAINTS:
        (grown, seconds), (filtered, more) = (sampled(domain, model, options, args.n),
                                              sampled(filtering(domain), model, options, 10 * args.n))
        said = " ".join(f"--{name} {value}" for name, value in options.items())
        print(f"| `{said}` | {grown.hit_rate:.1%} | {filtered.hit_rate:.2%} | {grown.accepted / seconds:.3g} | "
              f"{filtered.accepted / more:.3g} |", flush=True)


if __name__ == "__main__":
    main()
