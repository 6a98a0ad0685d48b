"""Finds domains: by entry point (group ``seqtutor.domains``) or by file path. A broken one is reported, never fatal."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from seqtutor.domain import API_VERSION, Domain, UsageError, nearest

GROUP = "seqtutor.domains"


def domain_names() -> list[str]:
    """Names of all installed domains, sorted; nothing is imported."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def installed_domains() -> Iterator[tuple[str, Domain | UsageError]]:
    """Every installed domain by name, or the one-line reason why it cannot be loaded."""
    for name in domain_names():
        try:
            yield name, load_domain(name)
        except UsageError as error:
            yield name, error


def load_domain(spec: str) -> Domain:
    """The domain called ``spec``, or the one in the file ``spec`` (``path/to/file.py`` with ``DOMAIN = …`` in it).

    Raises :class:`UsageError` in one line when there is none or when it does not load.
    """
    if spec.endswith(".py"):
        return _check(_load_file(Path(spec)), spec)
    found: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if spec not in found:
        raise nearest(spec, found, "domain")
    try:
        return _check(found[spec].load(), f"the domain {spec!r} ({found[spec].value})")
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; it must not hide the others
        raise UsageError(f"the domain {spec!r} ({found[spec].value}) does not load: {_line(error)}") from error


def _load_file(path: Path) -> object:
    if not path.is_file():
        raise UsageError(f"there is no domain file {path}")
    name = f"seqtutor_domain_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"the domain file {path} does not load: {_line(error)}") from error
    if not hasattr(module, "DOMAIN"):
        raise UsageError(f"the domain file {path} defines no DOMAIN")
    return module.DOMAIN


def _check(domain: object, where: str) -> Domain:
    if isinstance(domain, type) and issubclass(domain, Domain):
        raise UsageError(f"{where}: DOMAIN is a class; make it an instance, {domain.__name__}()")
    if not isinstance(domain, Domain):
        raise UsageError(f"{where}: DOMAIN is {type(domain).__name__}, not a seqtutor.domain.Domain")
    for name in ("name", "tokens"):
        if not hasattr(type(domain), name) and name not in vars(domain):
            raise UsageError(f"{where}: its domain has no {name!r}; see examples/peptide_domain.py")
    if domain.api_version != API_VERSION:
        raise UsageError(f"{where} was written for api_version {domain.api_version}; this seqtutor has {API_VERSION}")
    return domain


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
