"""The file that a sheet is written to."""

from __future__ import annotations

from pathlib import Path

from cnnatomy.errors import UserError
from cnnatomy.files import check_place, write_new, writing_to
from cnnatomy.report.sheets.html import html_page
from cnnatomy.report.sheets.png import png_bytes
from cnnatomy.report.sheets.sheet import Sheet

SUFFIXES = (".png", ".html")


def check_sheet(file: Path) -> None:
    """Raises `UserError` for a file that could not be written, before any work is done."""
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"{file}: a sheet is a png or an html file, by its ending")
    check_place(file)


def write_sheet(sheet: Sheet, file: Path) -> str:
    """Writes it, whole or not at all; a sentence that says so, and what did not fit."""
    if file.suffix.lower() == ".png":
        content, shown = png_bytes(sheet)
    else:
        content, shown = html_page(sheet).encode("utf-8", "backslashreplace"), len(sheet.rows)
    with writing_to(file):
        write_new(file, content)
    left = len(sheet.rows) - shown
    return f"Sheet: {file}" + (f" (the first {shown:,} rows; {left:,} more do not fit into a PNG)" if left else "")
