"""Engraved scores as SVG and PNG, through verovio and cairosvg (extra ``sheet``)."""

from __future__ import annotations

from collections.abc import Mapping

from seqtutor.domain import SeqtutorError
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.extras import need
from seqtutor_music.musicxml import musicxml_text

WIDTH, SCALE = 1800, 40  # verovio's units of a page, per cent
PNG_WIDTH = 1400  # pixels


def svg(arrangement: Arrangement, colors: Mapping[int, str] | None = None, *, title: bool = True) -> str:
    """The whole score as one SVG, with its ``title`` above; note i is the group with id ``n<i>``.

    ``colors``: note index → "#rrggbb".
    """
    verovio = need("verovio", "sheet", "an engraved score")
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions({"pageWidth": WIDTH, "pageHeight": 60000, "adjustPageHeight": True, "scale": SCALE,
                        "header": "auto" if title else "none",
                        "footer": "none", "xmlIdSeed": 1, "svgViewBox": True, "breaks": "auto"})
    if not toolkit.loadData(musicxml_text(arrangement, colors, engraved=True)):
        raise SeqtutorError("verovio could not read the score")
    return str(toolkit.renderToSVG(1))


def png(arrangement: Arrangement, colors: Mapping[int, str] | None = None) -> bytes:
    """The whole score as a PNG on white."""
    cairosvg = need("cairosvg", "sheet", "a score as PNG")
    drawn: bytes = cairosvg.svg2png(svg(arrangement, colors).encode(), output_width=PNG_WIDTH,
                                    background_color="white")
    return drawn
