"""A sheet: rows of small images with captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WANTED_SIDE = 96
"""Pixels that a small image is enlarged to, about, by a whole factor."""
LARGEST_SIDE = 160
"""Pixels that a large image is reduced to."""


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet, at the size at which it is shown, with what is written below it."""

    image: Image.Image
    caption: str = ""


@dataclass(frozen=True, eq=False)
class TileRow:
    """Tiles in groups that belong together, such as an image before and after augmentation; the `colour` in which what
    the row is about is drawn on them, if it is."""

    title: str
    groups: tuple[tuple[Tile, ...], ...]
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a file shows; the `lines` below its title say what it is."""

    title: str
    lines: tuple[str, ...]
    rows: tuple[TileRow, ...]


def factor_of(rows: int, columns: int) -> float:
    """By how much an image is enlarged: a whole number, or less than 1 where it is large."""
    side = max(rows, columns)
    return max(1, round(WANTED_SIDE / side)) if side <= LARGEST_SIDE else LARGEST_SIDE / side


def image_of(pixels: NDArray[np.uint8], factor: float) -> Image.Image:
    """`(channels, rows, columns)` uint8 in RGB, enlarged without blur or reduced; of two channels the first."""
    if len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels[0])).convert("RGB")
    if factor == 1:
        return image
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR)
