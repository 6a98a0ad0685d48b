"""What several commands share."""

from __future__ import annotations

from collections.abc import Callable
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
