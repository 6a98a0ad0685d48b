"""A user's own scoring as rules of any domain: a Python function, a program, a command for each text, a web service.

    score(my_scores.py:potency)             potency(texts) -> one number each
    program(["python", "dock.py"])          runs on; a line {"id": 1, "text": "CCO"} in, {"id": 1, "score": 0.5} out
    command(["dock.sh", "{text}"])          once a text; the last line of its stdout is the number
    url(http://127.0.0.1:8000/score)        POST {"texts": […]} gives {"scores": […]}

These are rule names like any other, in a line (``score(my.py:potency):2,qed``), with `seqtutor score --rules` and in
an objective file, where a term may also say

    [[terms]]
    score = "my_scores.py:potency"          # or program = […], command = […], url = "http://…"
    timeout = 30                            # seconds a text (url: a batch), then nan
    retries = 1                             # further tries
    batch = 64                              # texts at once
    cache = false                           # do not keep scores on disk

Whatever cannot be had is nan, with a line on stderr. Finite scores are kept in ``$SEQTUTOR_CACHE``, for all runs; a
changed script is another scorer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from seqtutor.domain import Rule, UsageError, nearest
from seqtutor.transforms import number

logger = logging.getLogger("seqtutor.scorers")


@dataclass(frozen=True)
class Limits:
    """``timeout``: seconds a text. ``retries``: tries after the first. ``batch``: texts at once. ``cache``: keep the
    scores on disk. ``pattern``: a regular expression whose first group is the number in what a command prints."""

    timeout: float = 30.0
    retries: int = 1
    batch: int = 64
    cache: bool = True
    pattern: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """Raises :class:`UsageError` for an unknown key or a value that cannot be."""
        data = dict(given)
        for key in data:
            if key not in (names := [f.name for f in fields(cls)]):
                raise nearest(key, names, "setting of a scorer")
        for key, least in (("timeout", 1e-3), ("retries", 0), ("batch", 1)):
            if key in data:
                value = number(data[key], f"{key} of a scorer")
                if value < least or (key != "timeout" and value != int(value)):
                    raise UsageError(f"{key} of a scorer must be a {'' if key == 'timeout' else 'whole '}number of "
                                     f"{least:g} or more, not {value:g}")
                data[key] = value if key == "timeout" else int(value)
        for key, kind in (("cache", bool), ("pattern", str)):
            if not isinstance(data.get(key, kind()), kind):
                raise UsageError(f"{key} of a scorer must be {'true or false' if kind is bool else 'text'}, "
                                 f"not {data[key]!r}")
        return cls(**data)


#: what a scorer does with texts that are not in the cache: one number each, nan for what cannot be had
Score = Callable[[Sequence[str]], Sequence[float]]


def make(kind: str, argument: str) -> Rule:
    """The rule of ``kind(argument)``; the argument is a word, a JSON list, or a JSON object with settings."""
    from seqtutor.scorers import cached, command, function, http, program

    what, limits = _read(kind, argument)
    build: Callable[[Any, Limits], tuple[Score, str]] = {  # type: ignore[assignment]
        "score": function.scorer, "program": program.scorer, "command": command.scorer,
        "url": http.scorer}[kind]
    score, identity = build(what, limits)
    about = {"score": "the function", "program": "the program", "command": "the command", "url": "the service"}[kind]
    kept: Score = cached.Cached(score, f"{kind}:{identity}") if limits.cache else score
    # A function is limited from outside like any rule; the others keep their own time.
    own = kind != "score"
    patience = limits.timeout * (1 + limits.retries) if own else 0.0
    return Rule(f"{kind}({argument})", f"{about} {what if isinstance(what, str) else ' '.join(what)}",
                partial(_in_batches, kept, limits.batch), cost="slow" if own else "fast", patience=patience)


def _in_batches(score: Score, size: int, texts: Sequence[str]) -> list[float]:
    return [value for i in range(0, len(texts), size) for value in score(texts[i:i + size])]


def _read(kind: str, argument: str) -> tuple[Any, Limits]:
    settings: dict[str, Any] = {}
    what: Any = argument.strip()
    if what[:1] in ("{", "["):
        try:
            what = json.loads(what)
        except ValueError as error:
            raise UsageError(f"{kind}({argument}): not JSON, {error}") from None
        if isinstance(what, dict):
            settings = {key: value for key, value in what.items() if key != kind}
            if kind not in what:
                raise UsageError(f"{kind}({argument}) has no {kind!r}")
            what = what[kind]
    listed = kind in ("program", "command")
    if listed and isinstance(what, str):
        raise UsageError(f"{kind} {what!r} must be a list of words, like [\"python\", \"dock.py\"]; there is no shell")
    good = isinstance(what, list) and what and all(isinstance(word, str) for word in what) if listed else \
        isinstance(what, str) and what
    if not good:
        raise UsageError(f"{kind} must be {'a list of texts' if listed else 'a text'}, not {what!r}")
    return what, Limits.of(settings)


def rule_spec(kind: str, what: Any, settings: Mapping[str, Any]) -> str:
    """The name of the rule that ``kind = what`` with ``settings`` stands for in an objective file."""
    if settings or not isinstance(what, str | list):
        return f"{kind}({json.dumps({kind: what, **settings}, ensure_ascii=False)})"
    return f"{kind}({what if isinstance(what, str) else json.dumps(what, ensure_ascii=False)})"


SETTINGS = tuple(f.name for f in fields(Limits))
