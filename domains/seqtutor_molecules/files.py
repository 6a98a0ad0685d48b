"""Files of molecules as tables: SMILES lists, CSV and SDF, each also as .gz, and the same from stdin.

The SMILES become the texts; whatever else a row says (its id, other columns, data fields) stays with it, in order.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from rdkit import Chem

from seqtutor.domain import Table, UsageError, nearest
from seqtutor.files import check_readable
from seqtutor_molecules.reasons import logged

_KINDS = {".csv": "csv", ".tsv": "csv", ".sdf": "sdf", ".sd": "sdf", ".mol": "sdf"}  # anything else is a SMILES list
_SMILES = ("smiles", "canonical_smiles", "smi", "structure")  # what a column of SMILES may be called

#: A SMILES ("" where the row is broken), and the cells of its row by column
Row = tuple[str, dict[str, str]]


def read_table(path: Path, column: str | None = None) -> Table:
    """Every row of the file ``path`` (``-`` for stdin), in order, with all its columns.

    A .smi or .txt file has a SMILES a line, and its name after a blank; a .csv has a header, and its SMILES stand in
    ``column`` or in the one called smiles; an .sdf has titles, which become ``id``, and data fields. The column
    ``error`` says why a row cannot be read; it is there if there is such a row, and a file's own is left out.

    Raises :class:`UsageError` in one line for a file that is empty, a folder, damaged, not text, or has no such column.
    """
    texts: list[str] = []
    columns: dict[str, list[str]] = {}
    for text, cells in read_rows(path, column):
        for name, cell in cells.items():
            if name not in columns:
                columns[name] = [""] * len(texts)
            columns[name].append(cell)
        texts.append(text)
        for cells_so_far in columns.values():
            if len(cells_so_far) < len(texts):
                cells_so_far.append("")
    return Table(texts, dict(columns))


def read_texts(path: Path, column: str | None = None) -> Iterator[str]:
    """The SMILES alone, as a corpus; see :func:`read_table`."""
    return (text for text, _ in read_rows(path, column))


def read_rows(path: Path, column: str | None = None) -> Iterator[Row]:
    """The rows of :func:`read_table`, one at a time."""
    name = "stdin" if str(path) == "-" else str(path)
    nothing = True
    with _opened(path, name, column) as (file, kind):
        if column and kind != "csv":
            raise UsageError(f"{name} has no header, so no column {column!r}; --column is for .csv files")
        for row in _sdf(file) if kind == "sdf" else _csv(file, name, column) if kind == "csv" else _smi(file):
            nothing = False
            yield row
    if nothing:
        raise UsageError(f"{name} is empty; it should hold molecules")


# -- formats --------------------------------------------------------------------------------------------------------


def _smi(file: TextIO) -> Iterator[Row]:
    for number, line in enumerate(file):
        text, _, name = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        if text and not (number == 0 and text.lower() in _SMILES):  # a header, as RDKit writes one
            yield text, {"smiles": text} | ({"id": name.strip()} if name else {})


def _csv(file: TextIO, name: str, column: str | None) -> Iterator[Row]:
    first = file.readline()
    rows = csv.reader(_and_rest(first, file), delimiter=max(",\t;", key=first.count))
    header: list[str] = []
    for i, cell in enumerate(next(rows, [])):
        head = cell.strip() or f"column {i + 1}"
        header.append(head if head not in header else f"{head} ({i + 1})")
    if not header:
        return
    smiles = header.index(_smiles_column(header, name, column))
    for cells in rows:
        if not any(cells):
            continue
        row = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
        row.pop("error", None)
        if len(cells) > len(header):
            yield "", row | {"error": f"line {rows.line_num} has {len(cells)} cells, the header has {len(header)}"}
        else:
            yield row.get(header[smiles], "").strip(), row


def _smiles_column(header: list[str], name: str, column: str | None) -> str:
    if column is not None:
        if column not in header:
            raise nearest(column, header, f"column of {name}")
        return column
    named = [head for head in header if head.lower() in _SMILES] or [h for h in header if "smiles" in h.lower()]
    if named:
        return named[0]
    raise UsageError(f"{name} has no column called smiles; say which one with --column (columns: {', '.join(header)})")


def _sdf(file: TextIO) -> Iterator[Row]:
    supplier = Chem.SDMolSupplier()

    def parse(record: str) -> Chem.Mol | None:
        supplier.SetData(record)
        return supplier[0] if len(supplier) else None

    for record in _records(file):
        title = record.partition("\n")[0].strip()
        mol, log = logged(parse, record)
        row = {"smiles": "" if mol is None else Chem.MolToSmiles(mol)} | ({"id": title} if title else {})
        for field, value in re.findall(r"^>[^\n]*?<([^>\n]*)>[^\n]*\n(.*?)(?:\n\s*\n|\Z)", record, re.M | re.S):
            row.setdefault(field, value.strip())
        row.pop("error", None)
        if mol is None:
            reason = re.sub(r"^\W*\w+-condition Violation |Violation occurred.*", "", log).strip()
            row["error"] = f"the SDF record cannot be read: {reason[:120] or 'it is damaged'}"
        yield row["smiles"], row


def _records(file: TextIO) -> Iterator[str]:
    lines: list[str] = []
    for line in file:
        if line.startswith("$$$$"):
            yield "".join(lines)
            lines = []
        else:
            lines.append(line.replace("\r\n", "\n"))
    if any(line.strip() for line in lines):  # a molfile, or a last record without its end
        yield "".join(lines)


# -- opening --------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, name: str, column: str | None) -> Iterator[tuple[TextIO, str]]:
    """The decoded text of the file and what kind it is; what can go wrong while it is read is said in one line."""
    if name == "stdin":
        if sys.stdin.isatty():
            raise UsageError("nothing to read: pipe molecules into stdin, or name a file")
        binary = sys.stdin.buffer
    else:
        binary = open(check_readable(path), "rb")  # noqa: SIM115 (closed below)
    try:
        buffered = io.BufferedReader(cast(io.RawIOBase, binary))
        suffixes = [suffix.lower() for suffix in path.suffixes]
        if buffered.peek(2)[:2] == b"\x1f\x8b":
            buffered = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=buffered)))
        elif suffixes[-1:] == [".gz"] and buffered.peek(1):
            raise UsageError(f"{name} is not a gzip file although it is called one")
        head = buffered.peek(4096)
        if b"\0" in head:
            raise UsageError(f"{name} is not a text file; it should hold SMILES, CSV or SDF (UTF-16: save it as UTF-8)")
        suffix = next((s for s in reversed(suffixes) if s != ".gz"), "")
        yield io.TextIOWrapper(buffered, encoding="utf-8-sig", newline=""), _KINDS.get(suffix) or _sniff(head, column)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UsageError(f"{name} is not UTF-8 text (byte {byte:#04x}); save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UsageError(f"{name} is a damaged gzip file; it may have been cut short") from None
    except csv.Error as error:
        raise UsageError(f"{name} is not a CSV file that can be read: {error}") from None
    finally:
        binary.close()


def _sniff(head: bytes, column: str | None) -> str:
    """What kind of text begins with ``head``: an SDF has its version in the counts line, a CSV names its columns."""
    if re.search(rb"^.{33} V[23]000", head, re.M):
        return "sdf"
    cells = re.split(rb"[,;\t]", head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].strip())
    named = (column or "").encode() in cells or (len(cells) > 1 and any(b"smiles" in cell.lower() for cell in cells))
    return "csv" if named else "smi"


def _and_rest(first: str, file: TextIO) -> Iterator[str]:
    yield first
    yield from file
