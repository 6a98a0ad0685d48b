"""A Python function from a file, ``my_scores.py:potency``: a list of texts in, one number each out."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from seqtutor.domain import UsageError, nearest
from seqtutor.files import check_readable
from seqtutor.scorers import Limits, Score


def scorer(what: str, limits: Limits) -> tuple[Score, str]:
    """The function and what identifies it: the file's contents and its name.

    Raises :class:`UsageError` where there is no such file or function, or the file does not load.
    """
    name, colon, function = what.rpartition(":")
    if not colon or not name or not function.isidentifier():
        raise UsageError(f"score must be like my_scores.py:potency, not {what!r}")
    path = check_readable(Path(name))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    title = f"seqtutor_scorer_{digest[:16]}"
    if title not in sys.modules:
        spec = importlib.util.spec_from_file_location(title, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"the scorer's file {name} is not a Python file (.py)")
        module = importlib.util.module_from_spec(spec)
        sys.modules[title] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[title]
            raise UsageError(f"the scorer's file {name} does not load: {type(error).__name__}: "
                             f"{' '.join(str(error).split())}") from error
    found = getattr(sys.modules[title], function, None)
    if not callable(found):
        raise nearest(function, [key for key, value in vars(sys.modules[title]).items()
                                 if callable(value) and not key.startswith("_")], f"function in {name}")
    score: Score = found
    return score, f"{digest}:{function}"
