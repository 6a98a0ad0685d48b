"""Molecules as files that chemists open: SMILES, SDF, pictures and a page to sort and pick from.

Each exporter takes a :class:`~seqtutor.domain.Table` whose ``texts`` are SMILES and a path to write. The name of a
molecule is its ``id``, ``name`` or ``title`` column, or its row number from 1. Rows that are not molecules are left out
of everything but the page, which shows them with their error, and a line on the log (stderr) says so. The same table
gives the same bytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rdkit import Chem

from seqtutor.domain import Exporter, Table
from seqtutor.tables import cell, numeric, one_line, shown
from seqtutor_molecules.standard import parse

log = logging.getLogger(__name__)

#: A picture shows this many molecules; the page shows them all.
MOST = 100

# What a legend calls a column and its decimals; the first three of these that a table has make the legend.
_LEGEND = {"score": ("score", 2), "reward": ("reward", 2), "similarity": ("sim", 2), "qed": ("QED", 2), "sa": ("SA", 1),
           "logp": ("logP", 1), "mw": ("MW", 0), "tpsa": ("TPSA", 0)}


def _line(value: object) -> str:
    """``value`` as one line that no reader of a file format takes for a mark of the format."""
    text = one_line(cell(value)).strip()
    return " " + text if text.startswith(("$$$$", ">")) else text


def names(table: Table) -> list[str]:
    """One name a row, on one line: the id, name or title column, or the row number where that is empty."""
    given = next((values for name, values in table.columns.items() if name.lower() in ("id", "name", "title")), None)
    return [(given and _line(given[i])) or str(i + 1) for i in range(len(table.texts))]


def legends(table: Table) -> list[str]:
    """One line a row: ``QED 0.92 · SA 2.1 · logP 3.2``, from the columns that chemists look at first."""
    known = {name.lower(): name for name, values in table.columns.items() if numeric(values)}
    chosen = [known[name] for name in _LEGEND if name in known]
    chosen += [name for name in known.values() if name not in chosen and name.lower() not in ("id", "name", "title")]
    parts: list[list[str]] = [[] for _ in table.texts]
    for name in chosen[:3]:
        label, decimals = _LEGEND.get(name.lower(), (name, -1))
        values = table.columns[name]
        for row, value, text in zip(parts, values, shown(values), strict=True):
            if text:
                row.append(f"{label} {text if decimals < 0 else format(float(value), f'z.{decimals}f')}")
    return [" · ".join(row) for row in parts]


def _molecules(table: Table, what: str) -> Iterator[tuple[int, Chem.Mol]]:
    """Row number (from 0) and molecule of every row that is one; says at the end how many are not."""
    bad = []
    for i, text in enumerate(table.texts):
        mol = parse(text)
        if mol is None:
            bad.append(i + 1)
        else:
            yield i, mol
    if bad:
        rows = ("row " if len(bad) == 1 else "rows ") + ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        log.warning("%s: left out %d of %d rows, not molecules: %s", what, len(bad), len(table.texts), rows)


def smi(table: Table, path: Path) -> None:
    """``SMILES<tab>name``, one molecule a line, no header: what RDKit, Open Babel and docking tools read."""
    name = names(table)
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        for i, _ in _molecules(table, "SMILES file"):
            file.write(f"{table.texts[i].split()[0]}\t{name[i]}\n")


def sdf(table: Table, path: Path) -> None:
    """A molfile with 2D coordinates and the name as title, then every column as a data field; missing values have none.

    RDKit writes V2000, and V3000 for what V2000 cannot hold (over 999 atoms, enhanced stereo).
    """
    from seqtutor_molecules.pictures import flatten

    name = names(table)
    fields = [(re.sub(r"[<>\s]", "_", column) or "column", values) for column, values in table.columns.items()]
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        for i, mol in _molecules(table, "SDF"):
            mol = flatten(mol)
            mol.SetProp("_Name", name[i])
            file.write(Chem.MolToMolBlock(mol))
            for field, values in fields:
                if value := _line(values[i]):
                    file.write(f">  <{field}>\n{value}\n\n")
            file.write("$$$$\n")


def _picture(table: Table, path: Path, what: str) -> None:
    from seqtutor_molecules.pictures import Entry, png_grid, svg_grid

    name, legend = names(table), legends(table)
    entries = [Entry(mol, name[i], legend[i]) for i, mol in _molecules(table, what)]
    notes = []
    if not entries:
        notes.append("no molecules")
    if len(entries) > MOST:
        notes.append(f"the first {MOST} of {len(entries):,} molecules")
        log.warning("%s: shows the first %d of %d molecules; an .html file shows all", what, MOST, len(entries))
    if len(entries) < len(table.texts):
        notes.append(f"{len(table.texts) - len(entries):,} of {len(table.texts):,} rows left out: not molecules")
    footer = " · ".join(notes)
    if what == "PNG":
        path.write_bytes(png_grid(entries[:MOST], footer))
    else:
        path.write_text(svg_grid(entries[:MOST], footer), encoding="utf-8", errors="backslashreplace", newline="")


def png(table: Table, path: Path) -> None:
    """A grid of structures with name and legend; at most :data:`MOST`, and a line below says what is not shown."""
    _picture(table, path, "PNG")


def svg(table: Table, path: Path) -> None:
    """The grid of :func:`png` as vector graphics."""
    _picture(table, path, "SVG")


def html(table: Table, path: Path) -> None:
    """One self-contained page: every row with its picture, to sort, filter and copy from."""
    from seqtutor_molecules.page import page

    path.write_text(page(table), encoding="utf-8", errors="backslashreplace", newline="")


EXPORTERS: Mapping[str, Exporter] = {".smi": smi, ".sdf": sdf, ".png": png, ".svg": svg, ".html": html}
