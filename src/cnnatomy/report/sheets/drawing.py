"""What there is to learn, drawn into its image: masks laid over, boxes and points drawn, labels and numbers below."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnatomy.data.frames import OUTSIDE
from cnnatomy.data.inspection.learned import kind_of
from cnnatomy.data.inspection.samples import SampledClass, SampledImage, ShownImage
from cnnatomy.errors import counted
from cnnatomy.report.sheets.sheet import Tile, TileRow, factor_of, image_of
from cnnatomy.tasks.task import Task

BACKGROUND = "background"
"""The name of a class over which nothing is laid."""
OPACITY = 0.5
"""Of a mask over its image."""
GOLDEN = 0.618033988749895
"""Steps of this share of the circle of hues keep the colours of neighbouring numbers apart."""

Captioned = tuple[Image.Image, str]
"""An image, and its caption so far."""


def rows_of(rows: Sequence[SampledClass], task: Task) -> tuple[TileRow, ...]:
    """The rows of a contact sheet."""
    return tuple(
        TileRow(_title(row), tuple(_group(sample, task) for sample in row.samples), _colour_of(row, task))
        for row in rows
    )


def _colour_of(row: SampledClass, task: Task) -> tuple[int, int, int] | None:
    """In which the class of a row is drawn, where it is; a background has none."""
    if task.kind not in ("mask", "objects") or row.name not in task.names or row.name == BACKGROUND:
        return None
    return colour(task.names.index(row.name))


def _title(row: SampledClass) -> str:
    return f"{row.name} ({counted(row.images, 'image')})"


def _group(sample: SampledImage, task: Task) -> tuple[Tile, ...]:
    before = tile_of(sample.before, task)
    if not sample.after:
        return (before,)
    after = [tile_of(shown, task) for shown in sample.after]
    named = [(before, "as it is"), *((tile, f"epoch {number}") for number, tile in enumerate(after, 1))]
    return tuple(Tile(tile.image, _joined(name, tile.caption)) for tile, name in named)


def tile_of(shown: ShownImage, task: Task) -> Tile:
    """One image with its targets."""
    factor = factor_of(*shown.pixels.shape[1:])
    image, caption = image_of(shown.pixels, factor), ""
    for head, target in shown.target.items():
        kind, names = kind_of(task, head)
        image, caption = WAYS[kind](image, caption, target.numpy(), names, factor)
    return Tile(image, caption)


def colour(number: int) -> tuple[int, int, int]:
    """Of a class: always the same, and far from those of the classes beside it."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _nothing(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    return image, caption


def _labels(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    there = [name for name, value in zip(names, target.tolist(), strict=True) if value > 0]
    return image, _joined(caption, ", ".join(there) or "none")


def _numbers(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    return image, _joined(caption, ", ".join(f"{value:.4g}" for value in target.ravel().tolist()))


def _joined(caption: str, more: str) -> str:
    return "; ".join(part for part in (caption, more) if part)


def _mask(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    """Each class but a background in its colour."""
    palette = np.zeros((OUTSIDE + 1, 4), np.uint8)
    for number, name in enumerate(names):
        if name != BACKGROUND:
            palette[number] = *colour(number), round(255 * OPACITY)
    return _over(image, palette[target.astype(np.uint8)]), caption


def _map(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    """The first number of each pixel, from blue (least) to red (largest of the image)."""
    values: NDArray[np.float64] = np.nan_to_num(target[0].astype(np.float64))
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    layer = np.stack([share * 255, np.zeros_like(share), (1 - share) * 255, np.full_like(share, 255 * OPACITY)], -1)
    return _over(image, layer.astype(np.uint8)), _joined(caption, f"{names[0]} {low:.3g} to {high:.3g}")


def _over(image: Image.Image, layer: NDArray[np.uint8]) -> Image.Image:
    laid = Image.fromarray(layer).resize(image.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(image.convert("RGBA"), laid).convert("RGB")


def _objects(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    """Boxes in the colour of their class; crowds, which have no class to learn, in grey."""
    draw = ImageDraw.Draw(image)
    there: dict[str, None] = {}
    for left, top, right, bottom, label in target.tolist():
        if label == -1:
            continue
        x, y = left * factor, top * factor
        corners = (x, y, max(x, right * factor - 1), max(y, bottom * factor - 1))
        draw.rectangle(corners, outline=colour(int(label)) if label >= 0 else (160, 160, 160), width=2)
        if label >= 0:
            there[names[int(label)]] = None
    return image, _joined(caption, ", ".join(there) or "none")


def _keypoints(image: Image.Image, caption: str, target: Any, names: tuple[str, ...], factor: float) -> Captioned:
    draw = ImageDraw.Draw(image)
    for number, (x, y, visible) in enumerate(target.tolist()):
        if visible > 0:
            draw.circle((x * factor, y * factor), 3, fill=colour(number), outline=(0, 0, 0))
    return image, caption


WAYS: dict[str, Callable[[Image.Image, str, Any, tuple[str, ...], float], Captioned]] = {
    "label": _nothing,
    "labels": _labels,
    "numbers": _numbers,
    "mask": _mask,
    "map": _map,
    "objects": _objects,
    "keypoints": _keypoints,
}
"""How each kind of target is shown."""
