"""Boxes of objects as data sets of the Hub have them: `bbox` (x, y, width, height in pixels), and the class of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnatomy.data.sources.coco import box_of
from cnnatomy.data.sources.detection import AnnotatedObjects
from cnnatomy.data.sources.hub_columns import BOX, category_in, names_of
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_OBJECTS


def objects(
    feature: Any, cells: Sequence[Any], sizes: Sequence[tuple[int, int]], names: Sequence[str], where: str
) -> tuple[AnnotatedObjects, tuple[tuple[str, str], ...]]:
    """What a column of objects says of images of these sizes (rows, columns), in pixels as they are stored; and the
    names of images that have boxes which are not used, each with the reason.

    Raises:
        UserError: naming the row, if a box or a class is not as it should be.
    """
    is_list = not isinstance(feature, Mapping)
    inside = feature.feature if is_list else feature
    key = category_in(inside)
    found = [_pairs(cell, key, row, where) for row, cell in enumerate(cells)]
    kind = inside[key] if is_list else inside[key].feature
    classes, number = names_of(kind, [category for pairs in found for _, category in pairs], where)
    skipped: list[tuple[str, str]] = []
    boxes = []
    for row, (pairs, size) in enumerate(zip(found, sizes, strict=True)):
        kept = []
        for box, category in pairs:
            corners = box_of({BOX: box}, size, f"{where}: row {row:,}")
            if isinstance(corners, str):
                skipped.append((names[row], corners))
            else:
                kept.append((*corners, number(row, category)))
        if len(kept) > MAX_OBJECTS:
            raise UserError(f"{where}: row {row:,} has more than {MAX_OBJECTS:,} objects")
        boxes.append(np.array(kept, np.float32).reshape(-1, 5))
    if not classes:
        raise UserError(f"{where}: no row has an object")
    return AnnotatedObjects(classes, tuple(sizes), tuple(boxes)), tuple(skipped)


def _pairs(cell: Any, key: str, row: int, where: str) -> list[tuple[Any, Any]]:
    """Box and class of each object of a row, which are two lists, or a list of both."""
    if cell is None:
        return []
    if isinstance(cell, Mapping):
        boxes, categories = cell[BOX] or [], cell[key] or []
        if len(boxes) != len(categories):
            raise UserError(f"{where}: row {row:,} has {len(boxes):,} boxes, but {len(categories):,} classes")
        return list(zip(boxes, categories, strict=True))
    return [(each[BOX], each[key]) for each in cell]
