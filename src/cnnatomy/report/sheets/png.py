"""A sheet as one PNG image."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from cnnatomy.report.sheets.sheet import Sheet, Tile, TileRow

MAX_ROWS_HIGH = 16_000
"""Pixels from top to bottom; what some programs that show images stop at is not much more."""
WIDTH = 1_000
"""Pixels that a line of images takes at most, where one group does not need more."""
GAP, LINE = 4, 18
"""Pixels between tiles; of a line of text."""
SWATCH = 10
"""Pixels of the colour beside a title."""
PAPER, INK, FAINT = "white", "black", "#555555"


def png_bytes(sheet: Sheet) -> tuple[bytes, int]:
    """The file's content, and how many rows fitted into it."""
    header = [sheet.title, *sheet.lines]
    blocks: list[Image.Image] = [_text(header)]
    height = blocks[0].height
    for row in sheet.rows:
        block = _row(row)
        if height + block.height > MAX_ROWS_HIGH and len(blocks) > 1:
            break
        blocks.append(block)
        height += block.height
    whole = Image.new("RGB", (max(block.width for block in blocks) + 2 * GAP, height + 2 * GAP), PAPER)
    top = GAP
    for block in blocks:
        whole.paste(block, (GAP, top))
        top += block.height
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return file.getvalue(), len(blocks) - 1


def _text(lines: Sequence[str]) -> Image.Image:
    """The title and what is said below it."""
    font = ImageFont.load_default(13)
    width = max(int(font.getlength(line)) for line in lines) + GAP
    image = Image.new("RGB", (width, LINE * len(lines) + GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((0, number * LINE), line, fill=FAINT if number else INK, font=font)
    return image


def _row(row: TileRow) -> Image.Image:
    lines = _lines(row.groups)
    font, small = ImageFont.load_default(14), ImageFont.load_default(11)
    captions = any(tile.caption for group in row.groups for tile in group)
    heights = [max((tile.image.height for group in line for tile in group), default=0) for line in lines]
    widths = [sum(map(_width, line)) for line in lines]
    extra = (LINE if captions else 0) + GAP
    indent = SWATCH + GAP if row.colour is not None else 0
    width = max(int(font.getlength(row.title)) + indent + GAP, *widths)
    image = Image.new("RGB", (width, LINE + 2 * GAP + sum(height + extra for height in heights)), PAPER)
    draw = ImageDraw.Draw(image)
    if row.colour is not None:
        draw.rectangle((0, GAP + 3, SWATCH, GAP + 3 + SWATCH), fill=row.colour)
    draw.text((indent, GAP), row.title, fill=INK, font=font)
    top = LINE + GAP
    for line, height in zip(lines, heights, strict=True):
        left = 0
        for group in line:
            for tile in group:
                image.paste(tile.image, (left, top))
                draw.text((left, top + height), _cut(tile, small), fill=FAINT, font=small)
                left += tile.image.width + GAP
            left += 2 * GAP
        top += height + extra
    return image


def _lines(groups: Sequence[Sequence[Tile]]) -> list[list[Sequence[Tile]]]:
    """Groups in lines that are `WIDTH` pixels wide at most, one group a line at least."""
    lines: list[list[Sequence[Tile]]] = [[]]
    used = 0
    for group in groups:
        if used and used + _width(group) > WIDTH:
            lines.append([])
            used = 0
        lines[-1].append(group)
        used += _width(group)
    return lines


def _width(group: Sequence[Tile]) -> int:
    """With the gap to the next one."""
    return sum(tile.image.width + GAP for tile in group) + 2 * GAP


def _cut(tile: Tile, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """What of the caption is no wider than the image."""
    text = tile.caption
    if font.getlength(text) <= tile.image.width:
        return text
    while text and font.getlength(text + "...") > tile.image.width:
        text = text[:-1]
    return text + "..."
