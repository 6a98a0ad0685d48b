"""``seqtutor score DOMAIN FILE``: the rules of a domain for a user's own texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from seqtutor.cli.options import domain_argument, load, trust_option
from seqtutor.cli.progress import Progress
from seqtutor.domain import SeqtutorError, Table, UsageError


class ByDomain(click.Command):
    """The command of the domain that is named first, where that brings one of its own."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None,
                     **extra: Any) -> click.Context:
        if args and not args[0].startswith("-"):
            own = load(args[0]).command("score")
            if own is not None:
                found: click.Context = own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
                return found
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=ByDomain)
@domain_argument
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--column", metavar="NAME", help="the column of FILE to score  [default: the one called smiles]")
@click.option("--rules", metavar="NAMES", help="rules and columns, e.g. 'qed,sa,match(c1ccncc1)'")
@click.option("--all", "everything", is_flag=True, help="every rule and column of the domain")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="processes that score")
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path),
              help="file to write, by its suffix; again for more")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout")
@trust_option
@click.option("--quiet", is_flag=True, help="no progress, no counts")
def command(domain: str, file: Path, column: str | None, rules: str | None, everything: bool, workers: int,
            outputs: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Score the texts in FILE (- for stdin) by the rules of DOMAIN.

    \b
    Examples:
      seqtutor score molecules mine.smi
      seqtutor score molecules assay.csv --column Structure --all -o scored.csv -o scored.sdf
      seqtutor score molecules library.sdf.gz --rules 'qed,sa,match(c1ccncc1),similarity(CC(=O)O)' --workers 4
      echo 'CC(=O)Oc1ccccc1C(=O)O aspirin' | seqtutor score molecules - --json

    Rows keep their order, their ids and their columns. A row that cannot be read stays in its place, with the reason in
    the column `error`. Molecules come as .smi, .txt, .csv or .sdf, each also as .gz.
    """
    # 1. What can go wrong goes wrong now, before any work
    from seqtutor.scoring import column_names, score_table
    from seqtutor.tables import check_writable, emit, write_table
    if rules is not None and everything:
        raise UsageError("give either --rules or --all, not both")
    plugin = load(domain)
    wanted = column_names(plugin, rules, everything=everything)
    for path in outputs:
        check_writable(plugin, path)
    given = plugin.read_table(file, column)

    # 2. Score
    with Progress("scoring", len(given.texts), quiet) as progress:
        scored = score_table(plugin, domain, given.texts, wanted, workers=workers, progress=progress.update)
    table, unread = _joined(given, scored, plugin.text_column)
    replaced = [name for name in given.columns if name in wanted]
    if replaced and not quiet:
        click.echo(f"replaced the file's own {', '.join(replaced)}", err=True)

    # 3. Out: files, else stdout
    for path in outputs:
        write_table(plugin, table, path)
    if as_json or not outputs:
        if not unread and not as_json and sys.stdout.isatty():
            del table.columns["error"]  # files always have it, a reader need not see it empty
        emit(table, json=as_json)
    total, good = len(table.texts), len(table.texts) - unread
    if not quiet:
        written = f"; wrote {', '.join(map(str, outputs))}" if outputs else ""
        click.echo(f"scored {good:,} of {total:,}" + (f"; {unread:,} could not be read" if unread else "") + written,
                   err=True)
    if not good:
        first = next(filter(None, table.columns["error"]))
        source = "stdin" if str(file) == "-" else file
        raise SeqtutorError(f"none of the {total:,} rows of {source} could be read; the first: {first}")


def _joined(given: Table, scored: Table, text_column: str) -> tuple[Table, int]:
    """The columns of the file, then the scores, then ``error``; and how many rows could not be read.

    Where both have a column of one name the score stands, in the file's place.
    """
    unread = [str(error) for error in given.columns.pop("error", [""] * len(given.texts))]
    failed = scored.columns.pop("error", [""] * len(given.texts))
    scores = {name: values for name, values in scored.columns.items() if name != text_column or not given.columns}
    errors = [error or more for error, more in zip(unread, failed, strict=True)]
    return Table(scored.texts, {**given.columns, **scores, "error": errors}), sum(map(bool, errors))
