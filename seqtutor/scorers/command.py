"""A command run once for each text, as docking is: ``["dock.sh", "{text}"]``; its output holds the number.

``{text}`` stands for the text, as one word whatever is in it; there is no shell. Without a ``pattern`` the number is
the last line of stdout, with one it is the first group of the last match.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial

from seqtutor.domain import UsageError
from seqtutor.executors import kill_group
from seqtutor.scorers import Limits, Score, logger
from seqtutor.scorers.program import identity


def scorer(what: list[str], limits: Limits) -> tuple[Score, str]:
    """Raises :class:`UsageError` for a command that is not there, has no ``{text}``, or a bad pattern."""
    if not any("{text}" in word for word in what[1:]):
        raise UsageError(f"the command {what} has no word with {{text}}, which stands for the text to score")
    check_command(what[0])
    try:
        pattern = re.compile(limits.pattern) if limits.pattern else None
    except re.error as error:
        raise UsageError(f"pattern {limits.pattern!r} is no regular expression: {error}") from None
    if pattern is not None and pattern.groups < 1:
        raise UsageError(f"pattern {limits.pattern!r} has no group in round brackets around the number")
    return partial(_score, what, pattern, limits), f"{identity(what)}:{limits.pattern}"


def check_command(name: str) -> None:
    """Raises :class:`UsageError` where there is no such program."""
    if shutil.which(name) is None:
        raise UsageError(f"there is no program {name!r} on this machine (or it may not be run)")


def _score(what: list[str], pattern: re.Pattern[str] | None, limits: Limits, texts: Sequence[str]) -> list[float]:
    scores = []
    for text in texts:
        for _ in range(1 + limits.retries):
            value, reason = _run([word.replace("{text}", text) for word in what], pattern, limits.timeout)
            if not reason:
                break
        if reason:
            logger.warning("%s: %s on %r; counted as nan", what[0], reason, text)
        scores.append(value)
    return scores


def _run(words: list[str], pattern: re.Pattern[str] | None, timeout: float) -> tuple[float, str]:
    """(the number, "") or (nan, why there is none)."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    except (OSError, ValueError) as error:
        return math.nan, f"cannot be run ({error})"
    with process:
        try:
            output = process.communicate(timeout=timeout)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            kill_group(process)
            return math.nan, f"took over {timeout:g} s"
    if process.returncode:
        return math.nan, f"ended with status {process.returncode}"
    found = [match[1] for match in pattern.finditer(output)] if pattern else output.split("\n")
    number = next((part.strip() for part in reversed(found) if part and part.strip()), "")
    try:
        value = float(number)
    except ValueError:
        return math.nan, f"printed {number[:60]!r} where a number belongs"
    return (value, "") if math.isfinite(value) else (math.nan, f"printed {number!r}")
