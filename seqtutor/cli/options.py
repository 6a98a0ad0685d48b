"""What several commands share: the domain argument, whole-number ranges said in words, options from dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

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


def from_fields(config: type, *, skip: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Adds one ``--option`` for each field of a configuration dataclass; the field's ``help`` is the help text."""
    hints = get_type_hints(config)

    def add(function: F) -> F:
        for f in reversed(dataclasses.fields(config)):
            if f.name not in skip:
                function = click.option("--" + f.name.replace("_", "-"), type=hints[f.name], default=f.default,
                                        show_default=True, help=f.metadata["help"])(function)
        return function

    return add
