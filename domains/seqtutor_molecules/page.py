"""The HTML page of a table of molecules: pictures beside the columns, to sort, filter and copy from, without a network.

``page.html`` is the frame and ``page.js`` what it does; here they are filled. Everything that comes from the table is
escaped, and the page's own policy (CSP) runs no script but that one, whatever a name or a SMILES holds.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib.resources import files

from seqtutor.domain import Table
from seqtutor.tables import cell, numeric, shown
from seqtutor_molecules.pictures import INK, paths
from seqtutor_molecules.standard import parse

WIDTH, HEIGHT = 210, 140  # of a structure, in pixels


def page(table: Table) -> str:
    """The whole page; 3 to 4 kB and some 3 ms a molecule."""
    columns = dict(table.columns)
    smiles = next((name for name, values in columns.items() if values == table.texts), None)
    if smiles is None:
        smiles = "smiles" if "smiles" not in columns else "structure as SMILES"
        columns = {smiles: list(table.texts), **columns}
    kinds = {name: _kind(name, values, name == smiles) for name, values in columns.items()}
    errors = next((values for name, values in columns.items() if name.lower() == "error"), [None] * len(table.texts))
    pictures = [_picture(text, cell(error)) for text, error in zip(table.texts, errors, strict=True)]
    cells = [_cells(values, kinds[name]) for name, values in columns.items()]
    frame = files(__package__)
    script = frame.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fill = {
        "title": "Molecules",
        "count": f"{len(table.texts)} rows",
        "script": script,
        "script-hash": f"sha256-{digest}",
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "dark-ink": "\n".join(f'  [{paint}="{light}"] {{ {paint}: {dark} }}'
                              for light, dark in INK.values() for paint in ("stroke", "fill")),
        "smiles-column": str(1 + list(columns).index(smiles)),
        "head": '<th class="p">structure</th>' + "".join(_head(name, kind) for name, kind in kinds.items()),
        "rows": "\n".join(f"<tr>{''.join(row)}</tr>" for row in zip(pictures, *cells, strict=True)),
    }
    # One pass over the frame: what is filled in is not searched for more places to fill.
    template = frame.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda place: fill[place[1]], template)


def _kind(name: str, values: list[object], smiles: bool) -> str:
    """CSS classes of a column: n a number, s SMILES, e an error, w text that may wrap."""
    if numeric(values):
        return "n"
    kind = "s" if smiles or "scaffold" in name.lower() else "e" if name.lower() == "error" else ""
    return f"{kind} w".strip() if any(len(cell(value)) > 24 for value in values) else kind


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _head(name: str, kind: str) -> str:
    bounds = "".join(f'<input name="{end}" type="number" step="any" placeholder="{end}" '
                     f'aria-label="{end} {escape(name)}">' for end in ("min", "max"))
    return f'<th{_class(kind)}><button>{escape(name)}</button>{bounds if kind == "n" else ""}</th>'


def _picture(smiles: str, error: str) -> str:
    mol = parse(smiles)
    structure = f"<span>{escape(error or 'not a molecule')}</span>" if mol is None else (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{paths(mol, WIDTH, HEIGHT)}</svg>')
    return f'<td class="p"><label><input type="checkbox" aria-label="pick">{structure}</label></td>'


def _cells(values: list[object], kind: str) -> list[str]:
    """Table cells as a person reads them; what is rounded keeps the number behind it in ``data-v``."""
    if kind != "n":
        return [f'<td{_class(kind)}>{escape(cell(value))}</td>' for value in values]
    return [f'<td class="n">{text}</td>' if text == cell(value) else f'<td class="n" data-v="{cell(value)}">{text}</td>'
            for value, text in zip(values, shown(values), strict=True)]
