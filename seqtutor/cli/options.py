"""What several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from seqtutor.domain import Domain

F = TypeVar("F", bound=Callable[..., Any])


def domain_argument(function: F) -> F:
    """DOMAIN: the name of an installed domain, or the path of a .py file that defines one."""
    return click.argument("domain", metavar="DOMAIN")(function)


def load(spec: str) -> Domain:
    """The domain of that name or file."""
    from seqtutor.plugins import load_domain
    return load_domain(spec)


def _trust(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        os.environ["SEQTUTOR_TRUST"] = "1"  # so that worker processes know, too


#: of commands whose rules may be model files
_TRUST: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True, "callback": _trust,
                          "help": "open model files that can run any code (joblib, pickle): only your own"}
TRUST = click.Option(["--trust"], **_TRUST)
trust_option = click.option("--trust", **_TRUST)


class DomainGroup(click.Group):
    """A command with one subcommand for each domain, which takes the options that the domain brings.

    ``title``: the help's first line, with {about}; ``examples``: its second part, with {name} and {more}.
    """

    def __init__(self, *args: Any, run: Callable[..., None], parameters: Sequence[click.Parameter], title: str,
                 examples: str, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.run, self.parameters, self.title, self.examples = run, parameters, title, examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        from seqtutor.plugins import domain_names
        return domain_names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        domain = load(name)
        own = [click.Option(["--" + option.name.replace("_", "-")], multiple=option.many, default=option.default,
                            is_flag=option.type is bool or None,
                            type=click.Choice(option.choices) if option.choices else option.type,
                            metavar=option.metavar, help=option.about) for option in domain.options]
        text = self.examples.format(name=name, more="".join(f"  {line}\n" for line in domain.examples))
        return click.Command(name, params=[*self.parameters, *own],
                             callback=lambda **chosen: self.run(domain, name, **chosen),
                             help=f"{self.title.format(about=domain.about or domain.name)}\n\n{text}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Domains (or the path of a .py file that defines one)"):
            formatter.write_dl([(name, f"{ctx.command_path} {name} --help") for name in self.list_commands(ctx)])
