"""Where a :class:`~seqtutor.domain.Table` goes: a terminal, a pipe, or a file whose suffix says how.

Numbers are written for their reader. A person (:func:`shown`) sees two to four significant digits, the same number of
decimals down a column. CSV and the exporters (:func:`cell`) keep six decimals, and six significant digits of anything
below 1: more than any rule means, and no ``0.30000000000000004``. JSON keeps every bit. A value that is missing or
could not be scored (``None``, ``nan``) is an empty cell, and ``null`` in JSON; it is never 0.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json as json_
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from seqtutor.domain import Domain, Exporter, SeqtutorError, Table, UsageError, nearest
from seqtutor.files import atomic

# -- values -------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """``value`` as one of str, int, float (finite), bool or None; numpy scalars become Python's."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def cell(value: Any) -> str:
    """``value`` as text in a file: ``0.550122``, ``331.4``, ``3`` for 3.0, ``true``, and nothing for nan."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value + 0.0:.6g}" if abs(value) < 1 else f"{value:.6f}".rstrip("0").rstrip(".")  # + 0.0: no −0
    return str(value)


def numeric(values: Sequence[Any]) -> bool:
    """Whether a column holds numbers: at least one, and nothing else but missing values."""
    kept = [value for value in map(plain, values) if value is not None]
    return bool(kept) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in kept)


def shown(values: Sequence[Any]) -> list[str]:
    """A column as a person reads it: decimals by the largest value (QED 0.923, logP 3.21, MW 331.4, rings 3)."""
    if not numeric(values):
        return [one_line(cell(value)) for value in values]
    numbers = [plain(value) for value in values]
    largest = max(abs(x) for x in numbers if x is not None)
    if all(x is None or x == int(x) for x in numbers):
        form = "z.0f"
    elif largest < 0.001:
        form = "z.3g"
    else:
        form = "z.3f" if largest <= 1 else "z.2f" if largest < 100 else "z.1f"
    return ["" if x is None else format(x, form) for x in numbers]


def one_line(text: str) -> str:
    """``text`` without line breaks, tabs, escape codes and other control characters, each of which becomes a space."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _columns(table: Table) -> Mapping[str, list[Any]]:
    return table.columns or {"text": list(table.texts)}


# -- formats of the core --------------------------------------------------------------------------------------------


def to_csv(table: Table, file: TextIO) -> None:
    """A header and one line a row (RFC 4180 quoting, ``\\n`` line ends); see :func:`cell` for the numbers."""
    columns = _columns(table)
    writer = csv.writer(file, lineterminator="\n")
    careful = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)  # Python 3.11 leaves a lone \r unquoted
    for row in [tuple(columns), *zip(*columns.values(), strict=True)]:
        cells = [cell(value) for value in row]
        (careful if any("\r" in text for text in cells) else writer).writerow(cells)


def to_json(table: Table, file: TextIO) -> None:
    """A list of objects, one object a line; numbers in full precision, nan as null."""
    columns = _columns(table)
    separator = "[\n"
    for row in zip(*columns.values(), strict=True):
        file.write(separator + json_.dumps(dict(zip(columns, map(plain, row), strict=True)), allow_nan=False))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def print_table(table: Table, *, title: str | None = None, limit: int | None = None) -> None:
    """Prints the first ``limit`` rows (all by default) to stdout as wide as the terminal.

    Numbers stand right-aligned and whole, long texts are folded. Empty columns are left out, and so are the last ones
    that do not fit, which a line below names; a column ``error`` is kept before any other.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, emoji=False)
    rows = len(table.texts) if limit is None else min(limit, len(table.texts))
    texts = {name: shown(values)[:rows] for name, values in _columns(table).items()}
    texts = {name: column for name, column in texts.items() if any(column) or not rows}
    numbers = {name for name in texts if numeric(table.columns.get(name, ()))}
    widest = {name: max(map(len, [name, *column])) for name, column in texts.items()}
    least = {name: width if name in numbers else min(width, max(20, len(name))) for name, width in widest.items()}

    fitting: set[str] = set()
    left = console.width - 1
    for name in sorted(texts, key=lambda name: name != "error"):
        left -= least[name] + 3
        if left >= 0 or len(fitting) < 2:
            fitting.add(name)

    grid = Grid(title=None if title is None else Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in filter(fitting.__contains__, texts):
        grid.add_column(Text(name), justify="right" if name in numbers else "left", no_wrap=name in numbers,
                        overflow="fold", min_width=min(least[name], console.width // 2))
    for row in zip(*(texts[name] for name in texts if name in fitting), strict=True):
        grid.add_row(*map(Text, row))
    console.print(grid)
    if more := len(table.texts) - rows:
        console.print(f"… and {more:,} more row{'s' * (more > 1)}")
    if omitted := [name for name in texts if name not in fitting]:
        console.print(Text(f"columns that do not fit: {', '.join(omitted)}"))


def emit(table: Table, *, json: bool = False, title: str | None = None, limit: int | None = None) -> None:
    """Writes ``table`` to stdout: a table on a terminal, CSV in a pipe or file, JSON when asked.

    ``title`` and ``limit`` shape the terminal's table only; data is never cut. A reader that has seen enough
    (``| head``) ends the output quietly; a full disk raises :class:`SeqtutorError`.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to stop
    try:
        if json:
            to_json(table, sys.stdout)
        elif sys.stdout.isatty():
            print_table(table, title=title, limit=limit)
        else:
            to_csv(table, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        _drop_stdout()
        raise SeqtutorError(f"cannot write to stdout: {error.strerror or error}; free some space or choose another "
                            "place") from error


def _drop_stdout() -> None:
    """What is still buffered goes nowhere, so that Python does not fail once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# -- files ----------------------------------------------------------------------------------------------------------


def _as_csv(table: Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        to_csv(table, file)


def _as_json(table: Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        to_json(table, file)


def _as_xlsx(domain: Domain, table: Table, path: Path) -> None:
    from seqtutor.xlsx import write_xlsx
    write_xlsx(domain, table, path)


_CORE: Mapping[str, Exporter] = {".csv": _as_csv, ".json": _as_json}


def _gzipped(export: Exporter, suffix: str) -> Exporter:
    def write(table: Table, path: Path) -> None:
        bare = path.with_name(path.name + suffix)
        try:
            export(table, bare)
            # No name and no time go inside, so that the same table gives the same bytes.
            with open(bare, "rb") as source, open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, 0) as packed:
                shutil.copyfileobj(source, packed)
        finally:
            bare.unlink(missing_ok=True)

    return write


def _exporter(domain: Domain, path: Path) -> Exporter:
    """What writes a file called ``path``: the longest known suffix decides, ``.gz`` after it packs."""
    known: dict[str, Exporter] = {**_CORE, ".xlsx": partial(_as_xlsx, domain), **domain.exporters}
    name = path.name.lower()
    packed = name.endswith(".gz") and not any(name.endswith(suffix) for suffix in known)
    name = name.removesuffix(".gz") if packed else name
    for suffix in sorted(known, key=len, reverse=True):
        if name.endswith(suffix):
            return _gzipped(known[suffix], suffix) if packed else known[suffix]
    if given := Path(name).suffix:
        raise UsageError(f"cannot write {path}: {nearest(given, known, 'file suffix')}")
    raise UsageError(f"cannot write {path}: its name needs a suffix that says what to write "
                     f"(known: {', '.join(sorted(known))}; each also with .gz)")


def write_table(domain: Domain, table: Table, path: Path) -> None:
    """Writes ``table`` to ``path`` in the format of its suffix, whole or not at all.

    Raises :class:`UsageError` for a suffix that neither the core nor ``domain`` knows, or a folder, and
    :class:`SeqtutorError` when the place cannot be written; an earlier file then stays as it was.
    """
    path = Path(path)
    export = _exporter(domain, path)
    with atomic(path) as temporary:
        export(table, temporary)


def check_writable(domain: Domain, path: Path) -> None:
    """Raises at once what :func:`write_table` would raise after a long run; the disk may still fill up later."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    _exporter(domain, path)
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not os.access(path, os.W_OK):
        raise SeqtutorError(f"cannot write {path}: the file is write-protected; choose another name")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SeqtutorError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
