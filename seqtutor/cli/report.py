"""``seqtutor report DOMAIN RUN``: what a run found, to send round."""

from __future__ import annotations

import csv
from pathlib import Path

import click

from seqtutor.cli.options import domain_argument, load, trust_option
from seqtutor.cli.progress import Progress
from seqtutor.domain import Table, UsageError


@click.command()
@domain_argument
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="report.html; .xlsx, .sdf, .csv … hold the hits alone; several  [default: RUN/report.html]")
@click.option("--hits", "most", type=click.IntRange(1), default=60, show_default=True, help="how many of the best")
@click.option("--known", metavar="CORPUS|FILE", help="show the nearest of these beside each hit (zinc250k: minutes)")
@click.option("-n", "n", type=click.IntRange(2), default=500, show_default=True,
              help="samples of the policy and of its prior")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the samples")
@click.option("--threads", type=click.IntRange(1), help="CPU threads  [default: all]")
@trust_option
@click.option("--quiet", is_flag=True, help="no progress")
def command(domain: str, run: Path, outputs: tuple[Path, ...], most: int, known: str | None, n: int, seed: int,
            threads: int | None, quiet: bool) -> None:
    """Report on a run of `seqtutor tune`, finished or not.

    \b
    Examples:
      seqtutor report molecules runs/drug-like
      seqtutor report molecules runs/mine -o mine.html -o hits.xlsx -o hits.sdf --known my_library.smi

    The page is one file without a script: the best hits, the nearest known ones, how the run learnt, properties beside
    the prior's, scaffolds, settings and versions. The hits are those of hits.csv (--stop-when) or of best.csv.
    """
    # 1. What can go wrong goes wrong now
    plugin = load(domain)
    from seqtutor.files import atomic, check_writable
    from seqtutor.run import Setup, read_rows
    from seqtutor.tables import check_writable as check_table
    from seqtutor.tables import write_table
    setup = Setup.load(run)
    if setup.domain != domain:
        raise UsageError(f"{run} is a run of the domain {setup.domain!r}, not of {domain!r}")
    outputs = outputs or (run / "report.html",)
    for path in outputs:
        if path.suffix.lower() == ".html":
            check_writable(path)
        else:
            check_table(plugin, path)
    corpus = plugin.corpus(known) if known else None
    library = corpus.path() if corpus else None
    hits = read_hits(run, plugin.text_column, most)

    # 2. The hits as files; then the page
    for path in outputs:
        if path.suffix.lower() != ".html":
            write_table(plugin, hits, path)
    if pages := [path for path in outputs if path.suffix.lower() == ".html"]:
        from seqtutor.comparison import compare
        from seqtutor.machine import keep_freed_memory, set_threads
        from seqtutor.models import find_model
        from seqtutor.run_page import Report, page
        from seqtutor.scoring import column_names
        set_threads(threads)
        keep_freed_memory()
        notes, profiles = [], []
        with Progress("reporting", 2 * n, quiet) as progress:
            if (model := run / "model.safetensors").exists():
                texts = {column.name for column in plugin.columns}
                rules = [name for name in column_names(plugin, None) if name not in texts]
                profiles = compare(plugin, domain, {"prior": find_model(setup.model), run.name: model}, rules, n=n,
                                   seed=seed, progress=progress.update,
                                   options=plugin.request((), seed, **setup.options).options)
            else:
                notes.append("The run has no model yet, so its samples are not shown.")
            nearest = list(plugin.likeness(hits.texts, corpus.read(library))) if corpus and library else []
            if known and not nearest and hits.texts:
                notes.append(f"The domain {plugin.name} cannot say how alike two texts are.")
            if corpus and nearest:
                notes.append(f"Known: {corpus.name} ({corpus.about}).")
        text = page(plugin, Report(run.resolve().name, setup, hits, read_rows(run / "metrics.csv"), profiles, nearest,
                                   notes))
        for path in pages:
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    if not quiet:
        click.echo(f"wrote {', '.join(map(str, outputs))}", err=True)


def read_hits(run: Path, text_column: str, most: int) -> Table:
    """The best of hits.csv or best.csv by reward, numbers as numbers; an empty table before there is one."""
    path = next((path for name in ("hits.csv", "best.csv") if (path := run / name).exists()), None)
    if path is None:
        return Table([], {text_column: []})
    with open(path, newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["reward"]))[:most]
        names = list(rows[0]) if rows else [text_column]
    return Table([row[text_column] for row in rows], {name: [_number(row[name]) for row in rows] for name in names})


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
