"""``seqtutor generate DOMAIN``: exactly n valid, unique texts, to the terminal, a pipe or files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from seqtutor import __version__
from seqtutor.cli.options import TRUST, DomainGroup
from seqtutor.cli.progress import Progress
from seqtutor.domain import Domain, SeqtutorError, Table, UsageError
from seqtutor.files import check_readable

CORE_SUFFIXES = (".csv", ".json", ".csv.gz", ".json.gz")  # always the core's to write

EXAMPLES = """\b
Examples:
  seqtutor generate {name} -n 20
  seqtutor generate {name} -n 500 --novel --seed 7 -o out.csv
{more}"""


def use_recipe(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """What the recipe of an earlier run says becomes the default of every option."""
    if value is None:
        return
    try:
        said = json.loads(check_readable(value).read_text(encoding="utf-8"))
        ctx.default_map = {name: chosen for name, chosen in said.items() if chosen is not None}
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{value} is not a recipe (a recipe.json that `seqtutor generate` wrote)") from error


PARAMETERS = [
    click.Option(["-n", "n"], type=int, default=None, help="how many valid, unique ones  [default: 20]"),
    click.Option(["--model"], metavar="NAME|FILE", help="see `seqtutor models`  [default: the domain's own]"),
    click.Option(["--seed"], type=click.IntRange(0), help="same seed, same output  [default: drawn and told]"),
    click.Option(["--temperature"], type=float, default=1.0, show_default=True, help="below 1 safer, above 1 bolder"),
    click.Option(["--top-p"], type=float, default=1.0, show_default=True,
                 help="only the likeliest tokens that hold this share"),
    click.Option(["--top-k"], type=int, default=0, show_default=True, help="only the k likeliest tokens; 0 for all"),
    click.Option(["--prefix"], default="", metavar="TEXT", help="what every one begins with"),
    click.Option(["--novel"], is_flag=True, help="none that the model was trained on"),
    click.Option(["--top"], type=click.IntRange(1), metavar="K",
                 help="of the n keep the K best by --by  [n is then 20 K unless given]"),
    TRUST,
    click.Option(["--by"], metavar="RULE", help="the rule for --top: highest first, or lowest with a minus (-sa)"),
    click.Option(["--rules"], metavar="NAMES", help="columns to show, e.g. 'qed,sa,match(c1ccncc1)'"),
    click.Option(["-o", "--output", "outputs"], multiple=True, type=click.Path(path_type=Path),
                 help="file to write, by its suffix; again for more"),
    click.Option(["--json", "as_json"], is_flag=True, help="JSON on stdout"),
    click.Option(["--recipe"], type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=use_recipe,
                 help="repeat the run of that recipe.json; other options overrule it"),
    click.Option(["--max-samples"], type=click.IntRange(1), help="give up after so many  [default: 10,000 + 200 n]"),
    click.Option(["--precision"], type=click.Choice(["auto", "fp32", "bf16", "int8"]), default="auto",
                 show_default=True, help="of the network's products"),
    click.Option(["--threads"], type=click.IntRange(1), help="CPU threads  [default: all]"),
    click.Option(["--workers"], type=click.IntRange(1), default=1, show_default=True,
                 help="processes that compute the columns"),
    click.Option(["--quiet"], is_flag=True, help="no progress, no counts"),
]


def run(domain: Domain, spec: str, *, n: int | None, model: str | None, seed: int | None, temperature: float,
        top_p: float, top_k: int, prefix: str, novel: bool, top: int | None, by: str | None, rules: str | None,
        outputs: tuple[Path, ...], as_json: bool, max_samples: int | None, precision: str, threads: int | None,
        workers: int, quiet: bool, **options: Any) -> None:
    """Checks everything that can be checked, generates, computes the columns, writes."""
    # 1. What can go wrong goes wrong now, before any work
    from seqtutor.scoring import column_names, score_table
    from seqtutor.tables import check_writable, emit, write_table
    if (top is None) != (by is None):
        raise UsageError("--top K and --by RULE go together")
    n = n if n is not None else 20 * (top or 1)
    if top is not None and top > n:
        raise UsageError(f"--top {top} is more than the {n} that -n asks for")
    if n < 1:
        raise UsageError(f"-n must be at least 1, not {n}")
    columns = column_names(domain, rules)
    if by is not None:
        domain.rule(by.removeprefix("-"))
    seed = secrets.randbelow(2**31) if seed is None else seed
    request = domain.request(outputs, seed, **{k: v for k, v in options.items() if v not in (None, ())})
    for message in request.messages:
        click.echo(message, err=True)
    for path in outputs:
        if request.deliver is None or path.name.lower().endswith(CORE_SUFFIXES):
            check_writable(domain, path)
    from seqtutor.known import KnownTexts
    from seqtutor.sampling import SamplingConfig
    wanted_samples = n * request.surplus
    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, precision=precision,
                              max_length=request.max_length,  # long texts: few more side by side than are wanted
                              batch=256 if request.max_length <= 128 else min(256, 8 + wanted_samples))
    from seqtutor.corpus import file_sha256
    from seqtutor.model import SequenceModel
    from seqtutor.models import find_model
    file = find_model(model or domain.name)
    network = SequenceModel.load(file, domain.name)
    known = KnownTexts.find(file, network.provenance) if novel else frozenset[str]()

    # 2. Generate
    from seqtutor.generate import generate
    from seqtutor.machine import keep_freed_memory, set_threads
    set_threads(threads)
    keep_freed_memory()
    with Progress("generating", wanted_samples, quiet) as progress:
        result = generate(domain, network, wanted_samples, sampling=sampling, seed=seed,
                          prefix=prefix or request.prefix, known=known, options=request.options, most=max_samples,
                          progress=progress.update)
    texts = request.choose(result.texts, n) if request.choose else result.texts

    # 3. Columns, the best of them if asked
    wanted = list(dict.fromkeys([*columns, *([by.removeprefix("-")] if by else [])]))
    table = score_table(domain, spec, texts, wanted, workers=workers)
    if by is not None and top is not None:
        table = best(table, by, top)

    # 4. Out: files, else stdout
    recipe = {"domain": spec, "model": model, "model_sha256": file_sha256(file), "n": n, "seed": seed,
              "temperature": temperature, "top_p": top_p, "top_k": top_k, "prefix": prefix or None, "novel": novel,
              "top": top, "by": by, "precision": precision, "seqtutor": __version__}
    paths = list(request.deliver(table, recipe)) if request.deliver else []
    for path in outputs:
        if request.deliver is None or path.name.lower().endswith(CORE_SUFFIXES):
            write_table(domain, table, path)
            paths.append(path)
    if as_json or not outputs:
        emit(table, json=as_json)
    told = ", ".join(f"{count:,} {what}" for what, count in result.counts.items() if count)
    if result.counts["refused"] or domain.proposer(**request.options) is not None:
        told += f", hit rate {result.hit_rate:.0%}"
    if not quiet:
        written = f"; wrote {told_paths(paths)}" if paths else ""
        click.echo(f"{len(table.texts):,} {domain.plural or domain.name} from {told}; seed {seed}{written}", err=True)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.reason:
        raise SeqtutorError(f"found {len(result.texts):,} of the {n:,} asked for ({told}): {result.reason}; "
                            "loosen the conditions, or raise --max-samples or --temperature")


@click.command(cls=DomainGroup, subcommand_metavar="DOMAIN [OPTIONS]", run=run, parameters=PARAMETERS,
               title="Generate {about}.", examples=EXAMPLES)
def command() -> None:
    """Generate valid, unique sequences of a domain.

    \b
    Examples:
      seqtutor generate molecules -n 20
      seqtutor generate molecules -n 200 --novel --alerts pains,brenk -o hits.sdf -o hits.html
      seqtutor generate path/to/my_domain.py --model mine.safetensors -n 10
    """


def told_paths(paths: Sequence[Path]) -> str:
    """The paths for people: all of a few, otherwise how many and where."""
    if len(paths) <= 6:
        return ", ".join(map(str, paths))
    return f"{len(paths)} files in {', '.join(sorted({str(path.parent) for path in paths}))}"


def best(table: Table, by: str, top: int) -> Table:
    """The ``top`` rows with the highest value of the column ``by``, or the lowest if it begins with a minus. Rows
    without a value come last; equal ones keep their order."""
    sign = 1.0 if by.startswith("-") else -1.0
    values = table.columns[by.removeprefix("-")]
    order = sorted(range(len(values)), key=lambda i: (values[i] != values[i], sign * values[i]))[:top]
    return Table([table.texts[i] for i in order], {k: [v[i] for i in order] for k, v in table.columns.items()})
