"""``seqtutor compare DOMAIN MODEL_A MODEL_B``: two models side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seqtutor.cli.options import domain_argument, load, trust_option
from seqtutor.cli.progress import Progress
from seqtutor.domain import Domain, UsageError, nearest

SUFFIXES = (".csv", ".html", ".json")


@click.command()
@domain_argument
@click.argument("model_a", metavar="MODEL_A")
@click.argument("model_b", metavar="MODEL_B")
@click.option("-n", "n", type=click.IntRange(2), default=1000, show_default=True, help="samples of each")
@click.option("--rules", metavar="NAMES", help="rules to look at, e.g. 'qed,sa,match(c1ccncc1)'")
@click.option("--all", "everything", is_flag=True, help="every rule of the domain")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="same seed, same output")
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path),
              help="file to write: .csv, .html or .json; again for more")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout")
@click.option("--threads", type=click.IntRange(1), help="CPU threads  [default: all]")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="processes that score")
@trust_option
@click.option("--quiet", is_flag=True, help="no progress")
def command(domain: str, model_a: str, model_b: str, n: int, rules: str | None, everything: bool, seed: int,
            outputs: tuple[Path, ...], as_json: bool, threads: int | None, workers: int, quiet: bool) -> None:
    """Compare two models of DOMAIN: names, files, folders of runs, or "prior", which is the domain's own.

    \b
    Examples:
      seqtutor compare molecules prior runs/drug-like
      seqtutor compare music music mine.safetensors -n 500 --rules quality,range -o compared.html

    For each model: validity, uniqueness, novelty, diversity, the KL to MODEL_A and the log-likelihood under it (nats a
    text), and how each rule is distributed.
    """
    # 1. What can go wrong goes wrong now, before any work
    from seqtutor.files import check_writable
    if rules is not None and everything:
        raise UsageError("give either --rules or --all, not both")
    plugin = load(domain)
    wanted = rule_names(plugin, rules, everything)
    for path in outputs:
        if path.suffix.lower() not in SUFFIXES:
            raise nearest(path.suffix or path.name, SUFFIXES, "file suffix of a comparison")
        check_writable(path)
    from seqtutor.comparison import as_data, as_text, compare
    from seqtutor.comparison_page import page
    from seqtutor.machine import keep_freed_memory, set_threads
    from seqtutor.models import find_model
    second = model_b if model_b != model_a else f"{model_b} again"
    files = {shown: find_model(plugin.name if name == "prior" else name)
             for shown, name in ((model_a, model_a), (second, model_b))}

    # 2. Sample and measure
    set_threads(threads)
    keep_freed_memory()
    with Progress("comparing", 2 * n, quiet) as progress:
        profiles = compare(plugin, domain, files, wanted, n=n, seed=seed, workers=workers, progress=progress.update)
    if profiles[1].nats["kl"][0] != profiles[1].nats["kl"][0] and not quiet:
        click.echo("the two models have different vocabularies, so there is no KL", err=True)

    # 3. Out: files, else stdout
    from seqtutor.files import atomic
    from seqtutor.tables import emit, print_table, write_table
    for path in outputs:
        if path.suffix.lower() == ".html":
            with atomic(path) as temporary:
                temporary.write_text(page(plugin, profiles, seed), encoding="utf-8")
        else:
            write_table(plugin, as_data(profiles), path)
    if sys.stdout.isatty() and not as_json and not outputs:
        print_table(as_text(profiles), title="mean ± sd (5 %, 50 %, 95 %) of rules; ± elsewhere is a standard error")
    elif as_json or not outputs:
        emit(as_data(profiles), json=as_json)
    if outputs and not quiet:
        click.echo(f"wrote {', '.join(map(str, outputs))}", err=True)


def rule_names(domain: Domain, names: str | None, everything: bool) -> list[str]:
    """The rules that ``names`` asks for; without it those that the domain shows first, or all of them where it shows
    none or ``everything`` is asked for. Raises :class:`UsageError` for text columns and unknown names."""
    from seqtutor.scoring import column_names

    columns = {column.name for column in domain.columns}
    found = column_names(domain, names, everything=everything)
    if names is not None and (text := [name for name in found if name in columns]):
        raise UsageError(f"{text[0]} is a column of text, and only rules can be compared")
    return [name for name in found if name not in columns] or [rule.name for rule in domain.rules]
