"""``seqtutor models``: what can be sampled from, with the figures of the model cards."""

from __future__ import annotations

import dataclasses
import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout")
def command(as_json: bool) -> None:
    """List the models that `seqtutor generate --model` knows by name.

    \b
    Examples:
      seqtutor models
      SEQTUTOR_MODELS=~/models seqtutor models        (a folder of your own, with an index.json)
    """
    from seqtutor.models import entries

    found = list(entries())
    if as_json:
        click.echo(json.dumps([{**dataclasses.asdict(entry), "path": str(entry.path)} for entry in found], indent=1))
        return
    for entry in found:
        click.echo(f"{entry.name}: {entry.about} ({entry.domain}, {entry.bytes / 1e6:.1f} MB)")
        for what, value in entry.figures.items():
            click.echo(f"  {what}: {value}")
    if not found:
        click.echo("no models found", err=True)
