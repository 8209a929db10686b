"""COCO's format of annotations (Lin et al. 2014): boxes of objects in images, as JSON.

`images` have an `id`, `file_name`, `width` and `height`; `annotations` an `image_id`, `category_id` and
`bbox` (x, y, width, height in pixels), and `iscrowd` 1 where a box holds many objects that are not told apart;
`categories` an `id` and a `name`. All else in a file is left unread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.frames import Frame
from cnnatomy.data.images import Stored
from cnnatomy.errors import UserError, printable, quoted, shown
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_COCO_BYTES, MAX_IMAGE_PIXELS, MAX_INTEGER, MAX_OBJECTS
from cnnatomy.plain import checked

Boxes = NDArray[np.float32]
"""`(objects, 5)`: x1, y1, x2, y2 in pixels, and the class. -1 - (class + 1) is a crowd of a class: nothing to learn
from, and no mistake where it is found. -1 is no object."""

LEAST_LEFT = 0.25
"""Share of an object's box that cropping must leave, so that it stays an object of the image."""
LEAST_SIDE = 1.0
"""Pixels of the network's input that a box must be wide and high."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """Images with boxes, not yet decoded: their paths, sizes (rows, columns) and boxes, in pixels of such an image.

    Classes are numbered in the order of their ids. `skipped` are annotations that are not used, by their ids, each with
    the reason. A size is what the annotations say: that of the image upright, or as it is stored (see `upright`).
    """

    source: str
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    boxes: tuple[Boxes, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def upright(boxes: Boxes, size: tuple[int, int], stored: Stored) -> Boxes:
    """Boxes that were annotated in an image of `size` (rows, columns), as they lie in the image upright.

    They are turned with it where only the stored image has that size, so that its EXIF was not looked at: orientation
    5 exchanges rows and columns, 6 mirrors the new columns too, 8 the new rows, and 7 both.
    """
    if size == stored.upright:
        return boxes
    turned = boxes[:, [1, 0, 3, 2, 4]]
    rows, columns = size
    if stored.orientation in (6, 7):
        turned[:, [0, 2]] = rows - turned[:, [2, 0]]
    if stored.orientation in (7, 8):
        turned[:, [1, 3]] = columns - turned[:, [3, 1]]
    return turned


def renumbered(boxes: Boxes, numbers: NDArray[np.int64]) -> Boxes:
    """The same with the class `numbers[c]` for c, of crowds too."""
    labels = boxes[:, 4].astype(np.int64)
    found = numbers[np.where(labels < 0, -2 - labels, labels)]
    return np.column_stack([boxes[:, :4], np.where(labels < 0, -2 - found, found)]).astype(np.float32)


def fit_boxes(boxes: Boxes, size: tuple[int, int], frame: Frame) -> Boxes:
    """Boxes of an image of `size` (rows, columns) where a frame puts them: cropped and scaled as the image is.

    Objects of which less than `LEAST_LEFT` is left, or that become narrower or lower than `LEAST_SIDE`, are dropped.
    """
    place = frame.placement(size)
    corners = boxes[:, :4].astype(np.float64).reshape(-1, 2, 2)
    fitted = np.stack(place.to_frame(corners[..., 0], corners[..., 1]), 2)
    _, new_rows, new_columns = frame.shape
    inside = fitted.clip(0, [new_columns, new_rows])
    sides = inside[:, 1] - inside[:, 0]
    left = sides.prod(1) / (fitted[:, 1] - fitted[:, 0]).prod(1)
    kept = (left >= LEAST_LEFT) & (sides >= LEAST_SIDE).all(1)
    result: Boxes = np.concatenate([inside.reshape(-1, 4), boxes[:, 4:]], 1)[kept].astype(np.float32)
    return result


def padded(boxes: Sequence[Boxes]) -> Tensor:
    """`(images, most, 5)` float32, -1 after the last object of an image; one place at least."""
    targets = np.full((len(boxes), max([1, *map(len, boxes)]), 5), -1, np.float32)
    for target, found in zip(targets, boxes, strict=True):
        target[: len(found)] = found
    return torch.from_numpy(targets)


def read_coco(path: Path, images: Path) -> Annotated:
    """The annotations at `path` of the images in the folder `images`, none of which is opened.

    A box is clipped to its image; one that has no width or height, of which COCO's own files have a few, or lies
    outside, is skipped.

    Raises:
        UserError: naming the file, and the image, annotation or category that is not as it should be.
    """
    content = _parsed(path)
    try:
        classes, numbers = _categories(_entries(content, "categories"))
        names, sizes, places = _images(_entries(content, "images"))
        boxes: list[list[tuple[float, ...]]] = [[] for _ in names]
        skipped = []
        for number, entry in enumerate(_entries(content, "annotations"), 1):
            what = _name("annotation", entry, number)
            image = _known(entry, "image_id", places, what, "images")
            label = _known(entry, "category_id", numbers, what, "categories")
            label = -2 - label if _flag(entry, "iscrowd", what) else label
            box = box_of(entry, sizes[image], what)
            if isinstance(box, str):
                skipped.append((what, box))
                continue
            boxes[image].append((*box, label))
            if len(boxes[image]) > MAX_OBJECTS:
                raise UserError(f"image {printable(names[image])} has more than {MAX_OBJECTS:,} annotations")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Annotated(
        source=str(path),
        classes=classes,
        paths=tuple(images / name for name in names),
        sizes=tuple(sizes),
        boxes=tuple(np.array(found, np.float32).reshape(-1, 5) for found in boxes),
        skipped=tuple(skipped),
    )


def _parsed(path: Path) -> dict[str, Any]:
    text = read_text(path, MAX_COCO_BYTES, "the annotations")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, lists in lists in lists
        raise UserError(f"{path}: cannot be read as annotations: {shown(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping with images, annotations and categories, got {shown(content)}")
    return content


def _entries(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise UserError(
            f"{key}: expected a list of mappings, as COCO's files have it; it is"
            + (" missing" if key not in content else f" {shown(found)}")
        )
    if not found and key != "annotations":
        raise UserError(f"{key}: the list is empty")
    return found


def _name(kind: str, entry: dict[str, Any], number: int) -> str:
    """What messages call it: by its id, or by its number where it has none."""
    return f"{kind} {shown(entry['id'])}" if "id" in entry else f"{kind} number {number} (it has no id)"


def _field(entry: dict[str, Any], key: str, hint: Any, what: str) -> Any:
    if key not in entry:
        raise UserError(f"{what} has no {key}")
    return checked(entry[key], hint, f"{what}: {key}")


def _flag(entry: dict[str, Any], key: str, what: str) -> bool:
    value = entry.get(key, 0)
    if not isinstance(value, int) or value not in (0, 1):
        raise UserError(f"{what}: {key}: expected 0 or 1, got {shown(value)}")
    return bool(value)


def _known(entry: dict[str, Any], key: str, places: dict[Any, int], what: str, where: str) -> int:
    if key not in entry:
        raise UserError(f"{what} has no {key}")
    identity = entry[key]
    found = places.get(identity) if type(identity) in (int, str) else None
    if found is None:
        raise UserError(f"{what}: {key} {shown(identity)} is none of the {where}")
    return found


def _categories(entries: list[dict[str, Any]]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names in the order of their ids, which may have gaps, and the number of each id."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for number, entry in enumerate(entries, 1):
        what = _name("category", entry, number)
        identity, name = _field(entry, "id", int, what), _field(entry, "name", str, what)
        if identity in names:
            raise UserError(f"{what} is there twice")
        if not name or printable(name) != name or name in taken:
            reason = "there are two of this name" if name in taken else "expected a name on one line"
            raise UserError(f"{what}: name {quoted(name)}: {reason}")
        names[identity] = name
        taken.add(name)
    ordered = sorted(names)
    return tuple(names[identity] for identity in ordered), {identity: place for place, identity in enumerate(ordered)}


def _images(entries: list[dict[str, Any]]) -> tuple[list[str], list[tuple[int, int]], dict[Any, int]]:
    """File names, sizes (rows, columns), and the place of each id among them."""
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    places: dict[Any, int] = {}
    for number, entry in enumerate(entries, 1):
        what = _name("image", entry, number)
        identity = _field(entry, "id", int | str, what)
        name = _field(entry, "file_name", str, what)
        rows, columns = _field(entry, "height", int, what), _field(entry, "width", int, what)
        if identity in places:
            raise UserError(f"{what} is there twice")
        if not name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{what}: file_name {quoted(name)}: expected the name of a file in the folder of images")
        if rows < 1 or columns < 1 or rows * columns > MAX_IMAGE_PIXELS:
            raise UserError(
                f"{what}: width and height: expected 1 pixel at least, and {MAX_IMAGE_PIXELS:,} in all at most, got"
                f" {shown(columns)} and {shown(rows)}"
            )
        places[identity] = len(names)
        names.append(name)
        sizes.append((rows, columns))
    return names, sizes, places


def box_of(entry: dict[str, Any], size: tuple[int, int], what: str) -> tuple[float, float, float, float] | str:
    """x1, y1, x2, y2 within the image; why it cannot be used, where none of it is there."""
    if "bbox" not in entry:
        raise UserError(f"{what} has no bbox")
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise UserError(f"{what}: bbox: expected x, y, width and height in pixels, got {shown(box)}")
    x, y, width, height = box
    rows, columns = size
    if width <= 0 or height <= 0:
        return f"its box {shown(box)} has no width or no height"
    x1, y1, x2, y2 = max(0.0, x), max(0.0, y), min(columns, x + width), min(rows, y + height)
    if np.float32(x1) < np.float32(x2) and np.float32(y1) < np.float32(y2):
        return x1, y1, x2, y2
    return f"nothing of its box {shown(box)} is in its image of {columns} x {rows} pixels (width x height)"


def _is_number(value: Any) -> bool:
    """Neither nan nor without end, nor an integer that no float holds."""
    return type(value) in (int, float) and -MAX_INTEGER <= value <= MAX_INTEGER
