"""Structures as pictures: 2D coordinates, one small SVG a molecule, and grids with legends as SVG and PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont
from rdkit import Chem
from rdkit.Chem import rdCoordGen, rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from seqtutor_molecules.standard import parse

#: One colour an element (by atomic number), dark enough for white paper, and its light twin for a dark screen.
INK = {
    0: ("#1c1c1e", "#e6e6ea"), 7: ("#1f4fd8", "#8fb0ff"), 8: ("#d0241b", "#ff8a80"), 9: ("#0b7f6f", "#5fd6c4"),
    15: ("#b85c00", "#ffb366"), 16: ("#8a6a00", "#e6c65c"), 17: ("#1b7f2a", "#7fdc8c"), 35: ("#8a3b12", "#e0a07c"),
    53: ("#6a1fa0", "#cf9cf2"),
}
_PALETTE = {number: tuple(int(light[i:i + 2], 16) / 255 for i in (1, 3, 5)) for number, (light, _) in INK.items()}
_PALETTE |= dict.fromkeys((-1, 1, 6), _PALETTE[0])  # −1: every element not named here

# A cell of a grid, in pixels: the structure, then the legend's two lines.
WIDTH, HEIGHT, LINE, MARGIN = 260, 180, 19, 16
GREY = "#5f6368"


@dataclass(frozen=True)
class Entry:
    """A cell of a grid: a molecule over its ``title`` and a second, grey line."""

    mol: Chem.Mol
    title: str
    line: str = ""


def flatten(mol: Chem.Mol) -> Chem.Mol:
    """A copy of ``mol`` with 2D coordinates (a bond is about 1.5 long), its longest axis level, its bonds at 30° steps.

    RDKit's own layout with its ring templates shows bridged systems (morphine, adamantane) as textbooks do;
    macrocycles, a ring of nine or more, come out better from CoordGen.
    """
    mol = Chem.Mol(mol)
    if any(len(ring) > 8 for ring in mol.GetRingInfo().AtomRings()):
        rdCoordGen.AddCoords(mol)
        rdDepictor.NormalizeDepiction(mol)
    else:
        rdDepictor.Compute2DCoords(mol, canonOrient=True, useRingTemplates=True)
        rdDepictor.NormalizeDepiction(mol, canonicalize=0)
    rdDepictor.StraightenDepiction(mol)
    return mol


def _draw(drawer: rdMolDraw2D.MolDraw2D, mol: Chem.Mol, scale: int = 1) -> None:
    """Draws ``mol`` on an RDKit ``drawer`` in the one style of this domain; ``scale`` pixels count as one."""
    look = {
        "padding": 0.05,
        "fixedBondLength": 18 * scale,  # per unit of length, so a bond is at most 27 pixels: ethanol stays small
        "bondLineWidth": 1.5 * scale, "scaleBondWidth": False, "multipleBondOffset": 0.17,
        "minFontSize": 9 * scale, "maxFontSize": 15 * scale,
        "clearBackground": False, "includeMetadata": False,
    }
    options = drawer.drawOptions()
    for name, value in look.items():
        setattr(options, name, value)
    options.setAtomPalette(_PALETTE)
    drawer.DrawMolecule(mol if mol.GetNumConformers() else flatten(mol))
    drawer.FinishDrawing()


def paths(mol: Chem.Mol, width: int, height: int) -> str:
    """SVG ``<path>`` elements that draw ``mol`` in ``width`` × ``height`` pixels, to stand in an element with
    ``fill="none" stroke-width="1.5"`` and round joins. Letters are outlines, so the picture needs no font.

    RDKit writes some 13 kB a molecule; with strokes of one colour in one path it is about 3 kB. Its extra paths that
    fill the corners between bonds go: round joins and caps do the same.
    """
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    _draw(drawer, mol)
    outlines: dict[str, list[str]] = {}
    drawing = drawer.GetDrawingText().replace("#000000", INK[0][0])  # the dot of a radical
    for path in ElementTree.fromstring(drawing.encode("iso-8859-1")).iter():
        if not path.tag.endswith("}path"):
            continue
        style = dict(item.split(":", 1) for item in path.get("style", "").split(";") if ":" in item)
        fill = style.get("fill", path.get("fill", "none")).lower()
        outline = path.get("d", "")
        if fill == "none" and "class" not in path.attrib and outline.count("L") == 2:
            continue
        paint = f'fill="{fill}"' if fill != "none" else f'stroke="{style.get("stroke", INK[0][0]).lower()}"'
        if "stroke-dasharray" in style:
            paint += f' stroke-dasharray="{style["stroke-dasharray"]}"'
        outlines.setdefault(paint, []).append(outline)
    return "".join(f'<path {paint} d="{_terse("".join(parts))}"/>' for paint, parts in outlines.items())


def _terse(outline: str) -> str:
    """An SVG path without the blanks, zeros and moves that it does not need: ``M1 2L3 4L5 6`` for two joined bonds."""
    outline = re.sub(r"\s*([A-Za-z])\s*", r"\1", outline.replace(",", " ").strip())
    outline = re.sub(r"\.0(?!\d)", "", re.sub(r"\s+", " ", outline))
    return re.sub(r"(?<=L)([\d.]+ [\d.]+)M\1(?=L)", r"\1", outline)


# -- grids ----------------------------------------------------------------------------------------------------------


def columns(n: int) -> int:
    """How many cells stand side by side: up to five, and fewer where that leaves fewer holes (6 → 3, 8 → 4)."""
    if n <= 5:
        return max(n, 1)
    return min((5, 4, 3), key=lambda wide: -n % wide) if n <= 12 else 5


def _size(n: int, footer: str) -> tuple[int, int]:
    wide = columns(n)
    return (2 * MARGIN + max(wide * WIDTH, 2 * WIDTH if footer else 0),
            2 * MARGIN + math.ceil(n / wide) * (HEIGHT + 3 * LINE) + (LINE if footer else 0))


def _corners(n: int) -> Iterator[tuple[int, int]]:
    """The upper left corner of each of ``n`` cells, in pixels."""
    wide = columns(n)
    for i in range(n):
        yield MARGIN + i % wide * WIDTH, MARGIN + i // wide * (HEIGHT + 3 * LINE)


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def svg_grid(entries: Sequence[Entry], footer: str = "") -> str:
    """The grid as an SVG document on white; legends are text that can be selected and edited."""
    width, height = _size(len(entries), footer)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
             '<g font-family="Helvetica, Arial, sans-serif" font-size="14" text-anchor="middle" fill="none" '
             'stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round">\n']
    for entry, (x, y) in zip(entries, _corners(len(entries)), strict=True):
        parts.append(
            f'<g transform="translate({x} {y})">{paths(entry.mol, WIDTH, HEIGHT)}\n'
            f'<text x="{WIDTH // 2}" y="{HEIGHT + 17}" font-weight="600" fill="{INK[0][0]}">'
            f'{escape(_short(entry.title))}</text>'
            f'<text x="{WIDTH // 2}" y="{HEIGHT + 35}" fill="{GREY}">{escape(_short(entry.line, 40))}</text></g>\n')
    if footer:
        parts.append(f'<text x="{width // 2}" y="{height - MARGIN}" fill="{GREY}">{escape(footer)}</text>\n')
    return "".join([*parts, "</g>\n</svg>\n"])


def thumbnail(smiles: str, width: int = 150, height: int = 100, scale: int = 2) -> bytes | None:
    """One structure as a PNG on white, ``scale`` dots a pixel; None for what is no molecule."""
    if (mol := parse(smiles)) is None:
        return None
    drawer = rdMolDraw2D.MolDraw2DCairo(width * scale, height * scale)
    _draw(drawer, mol, scale)
    structure = Image.open(io.BytesIO(drawer.GetDrawingText()))
    picture = Image.new("RGB", structure.size, "white")
    picture.paste(structure, (0, 0), structure if structure.mode == "RGBA" else None)
    data = io.BytesIO()
    picture.quantize(32, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(data, "PNG")
    return data.getvalue()


def png_grid(entries: Sequence[Entry], footer: str = "", scale: int = 2) -> bytes:
    """The grid as a PNG on white, ``scale`` dots a pixel (2: sharp on paper and on fine screens)."""
    width, height = _size(len(entries), footer)
    picture = Image.new("RGB", (width * scale, height * scale), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14 * scale)

    def write(x: float, y: float, text: str, colour: str) -> None:
        pen.text((x * scale, y * scale), text, font=font, fill=colour, anchor="ms")

    for entry, (x, y) in zip(entries, _corners(len(entries)), strict=True):
        drawer = rdMolDraw2D.MolDraw2DCairo(WIDTH * scale, HEIGHT * scale)
        _draw(drawer, entry.mol, scale)
        structure = Image.open(io.BytesIO(drawer.GetDrawingText()))
        picture.paste(structure, (x * scale, y * scale), structure if structure.mode == "RGBA" else None)
        write(x + WIDTH / 2, y + HEIGHT + 17, _short(entry.title), INK[0][0])
        write(x + WIDTH / 2, y + HEIGHT + 35, _short(entry.line, 40), GREY)
    if footer:
        write(width / 2, height - MARGIN, footer, GREY)
    data = io.BytesIO()  # 128 colours make a quarter of the size
    picture.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(data, "PNG")
    return data.getvalue()
