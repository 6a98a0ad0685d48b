"""Optional packages, and what to say where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from seqtutor.domain import UsageError


def need(module: str, extra: str, what: str) -> ModuleType:
    """``module`` imported, or UsageError with the pip command of the ``extra`` that brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: cairosvg without the cairo library
        reason = f" ({error})" if isinstance(error, OSError) else ""
        raise UsageError(f"{what} needs the package {module.split('.')[0]}{reason}; run: "
                         f"pip install 'seqtutor[{extra}]'") from error
