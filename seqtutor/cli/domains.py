"""``seqtutor domains``: what is installed."""

from __future__ import annotations

import json

import click

from seqtutor.domain import Domain, UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout")
def command(name: str | None, as_json: bool) -> None:
    """List the installed domains, or all rules, corpora and file formats of the domain NAME (or .py file).

    \b
    Examples:
      seqtutor domains
      seqtutor domains molecules
      seqtutor domains examples/peptide_domain.py
    """
    from seqtutor.plugins import installed_domains, load_domain

    found = [(name, load_domain(name))] if name else list(installed_domains())
    offers: dict[str, dict[str, object]] = {
        spec: content(domain) if isinstance(domain, Domain) else {"error": str(domain)} for spec, domain in found}
    if as_json:
        click.echo(json.dumps(offers, indent=1))
        return
    for spec, offer in offers.items():
        if name and "error" in offer:
            raise UsageError(str(offer["error"]))
        if "error" in offer:  # a broken plugin is told and hides nobody
            click.echo(f"seqtutor: {offer['error']}", err=True)
        else:
            click.echo(f"{spec}: {offer['about']}")
            if name:
                _details(offer)


def content(domain: Domain) -> dict[str, object]:
    """Everything a domain offers, by name; or its ``error``, for rules and corpora load when they are asked for."""
    try:
        return _content(domain)
    except Exception as error:
        return {"error": f"the domain {domain.name!r} does not load: {type(error).__name__}: {error}"}


def _content(domain: Domain) -> dict[str, object]:
    return {
        "about": domain.about or domain.name, "tokens": list(domain.tokens),
        "rules": {rule.name: rule.about for rule in domain.rules}
        | {f"{f.name}({f.argument})": f.about for f in domain.families},
        "columns": {column.name: column.about for column in domain.columns},
        "corpora": {corpus.name: f"{corpus.about} [{corpus.licence}]" for corpus in domain.corpora.values()},
        "options": {option.name: option.about for option in domain.options},
        "files": sorted({".csv", ".json", *domain.exporters}),
    }


def _details(offer: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table
    console = Console(highlight=False, markup=False)
    for heading, items in offer.items():
        if isinstance(items, dict) and items:
            grid = Table("", "", title=f"\n{heading}", title_justify="left", box=None, show_header=False)
            for key, about in items.items():
                grid.add_row(key, about)
            console.print(grid)
        elif isinstance(items, list):
            console.print(f"\n{heading}: {' '.join(items)}")
