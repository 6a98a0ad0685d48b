"""Tables as Excel workbooks: numbers as numbers, text as text, a picture of each row where the domain can draw one."""

from __future__ import annotations

import io
import math
from pathlib import Path

from seqtutor.domain import Domain, SeqtutorError, Table
from seqtutor.tables import cell, numeric

WIDTH, HEIGHT = 150, 100  # of a picture in its cell, in pixels
DRAWN = 1000  # rows that get a picture


def write_xlsx(domain: Domain, table: Table, path: Path) -> None:
    """One sheet with a frozen, filterable head. Text that begins like a formula stays text. Raises
    :class:`SeqtutorError` without the package xlsxwriter."""
    try:
        import xlsxwriter
    except ImportError:
        raise SeqtutorError("Excel files need the package xlsxwriter; pip install 'seqtutor[xlsx]'") from None
    pictures = [domain.thumbnail(text) for text in table.texts[:DRAWN]]
    drawn = int(any(pictures))
    book = xlsxwriter.Workbook(str(path), {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    sheet = book.add_worksheet(domain.name[:31])
    head = book.add_format({"bold": True, "bottom": 1})
    middle = book.add_format({"valign": "vcenter"})
    for j, name in enumerate(table.columns, start=drawn):
        values = table.columns[name]
        sheet.write_string(0, j, name, head)
        longest = max([len(name), *(len(cell(value)) for value in values)])
        sheet.set_column(j, j, min(60, 2 + longest) if not numeric(values) else 12)
        for i, value in enumerate(values, start=1):
            if isinstance(value, bool) or not isinstance(value, int | float):
                sheet.write_string(i, j, cell(value), middle)
            elif math.isfinite(value):
                sheet.write_number(i, j, value, middle)
    if drawn:
        sheet.write_string(0, 0, "picture", head)
        sheet.set_column_pixels(0, 0, WIDTH + 6)
        for i, picture in enumerate(pictures, start=1):
            sheet.set_row_pixels(i, HEIGHT + 6)
            if picture is not None:
                sheet.insert_image(i, 0, "", {"image_data": io.BytesIO(picture), "x_offset": 3, "y_offset": 3,
                                              "x_scale": 0.5, "y_scale": 0.5, "object_position": 1})
    sheet.freeze_panes(1, drawn)
    if table.texts:
        sheet.autofilter(0, drawn, len(table.texts), drawn + len(table.columns) - 1)
    book.close()
