"""A manifest: a table of images and what there is to learn of each, as CSV, TSV, JSON or lines of JSON.

A column `image` names the files, relative to the folder of the manifest; `split` says train, val or test, where it is
there. One column is to be learned: `label` (one class), `labels` (several) or `mask` (a file with a class for each
pixel). Where there is none of them, every column of numbers is.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.class_list import class_list
from cnnatomy.data.image_set import TRAIN, FromFiles, ImageSet, split_called
from cnnatomy.data.images import Coding, class_numbers
from cnnatomy.data.labelling import group_of, one_class_each, several_each, word_of
from cnnatomy.data.maps import meaning
from cnnatomy.data.sources.rows import Rows, is_list, read_rows
from cnnatomy.data.truth import MAX_FLOAT32, KnownNumbers, Masks, Truth
from cnnatomy.errors import UserError, nearest, printable, quoted, some_of

IMAGE = ("image", "file", "file_name", "filename", "path")
"""Names of the column of image files; the first that is there is taken."""
SPLIT = "split"
LABEL, LABELS, MASK = "label", "labels", "mask"
TRIED = 100
"""Files of which one must be there, so that a wrong folder is told at once."""
_WITH_COMMA = re.compile(r"\s*[+-]?[0-9]*,[0-9]+(e[+-]?[0-9]+)?\s*", re.ASCII | re.IGNORECASE)
"""A number with a decimal comma."""
_SEPARATORS = re.compile("[;|]")


def recognises(name: str) -> bool:
    """Whether it is a table: by its suffix, and of JSON that it is a list."""
    path = Path(name)
    suffix = path.suffix.lower()
    return path.exists() and (suffix in (".csv", ".tsv", ".jsonl") or (suffix == ".json" and is_list(path)))


def read(name: str) -> ImageSet:
    """The images that a manifest names, none of which is opened; masks are, where nothing else names their classes.

    Raises:
        UserError: naming the file, the line and the column of what is not as it should be.
    """
    rows = _named(read_rows(Path(name)))
    image = _image_column(rows)
    paths = _files(rows, image)
    splits = _splits(rows)
    others = [column for column in rows.columns if column not in (image, SPLIT)]
    learned = _learned(rows, others)
    kept = [column for column in others if column not in learned.columns]
    unused = f"not learned: {some_of(kept, 8)}, by which images may be kept together (--group)"
    return ImageSet(
        source=str(rows.path.resolve()),
        truth=learned.truth,
        splits=splits,
        has=frozenset(splits.tolist()),
        fetch=FromFiles(paths, learned.masks, learned.coding),
        names=tuple(map(printable, rows.columns[image])),
        files=True,
        notes=(*learned.notes, *_conflicts(rows, image, learned.columns), *([unused] if kept else [])),
        columns={column: list(map(group_of, rows.columns[column])) for column in others},
    )


def _named(rows: Rows) -> Rows:
    """The same with the columns that have a meaning in lower case."""
    known = {*IMAGE, SPLIT, LABEL, LABELS, MASK}
    renamed = {name.lower() if name.lower() in known else name: cells for name, cells in rows.columns.items()}
    return replace(rows, columns=renamed) if len(renamed) == len(rows.columns) else rows


def _image_column(rows: Rows) -> str:
    for column in IMAGE:
        if column in rows.columns:
            return column
    hint = next(filter(None, (nearest(column, IMAGE) for column in rows.columns)), "")
    found = some_of([quoted(column) for column in rows.columns], 8)
    raise UserError(f"{rows.path}: no column of images, named {' or '.join(IMAGE)}: it has {found}.{hint}")


def _files(rows: Rows, column: str) -> tuple[Path, ...]:
    """The files that a column names, from the folder of the manifest on; raises `UserError` where none is there."""
    folder, cells = rows.path.parent, rows.columns[column]
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not cell or "\0" in cell:
            raise rows.error(row, column, "the name of a file")
    paths = tuple(folder / cell for cell in cells)
    if not any(map(os.path.exists, paths[:TRIED])):  # which a name that is too long is no error for
        raise UserError(
            f"{rows.path}: {rows.place(0)}: {column}: there is no {printable(paths[0])}, nor the files after it. Names"
            f" are relative to the folder of the manifest, {printable(folder.resolve())}"
        )
    return paths


def _splits(rows: Rows) -> NDArray[np.int8]:
    if SPLIT not in rows.columns:
        return np.full(len(rows), TRAIN, np.int8)
    splits = np.empty(len(rows), np.int8)
    for row, cell in enumerate(rows.columns[SPLIT]):
        split = split_called(cell)
        if split is None:
            raise rows.error(row, SPLIT, "train, val or test")
        splits[row] = split
    if not (splits == TRAIN).any():
        raise UserError(f"{rows.path}: no image is of the split train")
    return splits


class _Learned(NamedTuple):
    """What there is to learn, the columns that say it, and the files of masks with their coding."""

    truth: Truth
    columns: Sequence[str]
    notes: Sequence[str] = ()
    masks: tuple[Path, ...] = ()
    coding: Coding = class_numbers


def _learned(rows: Rows, columns: Sequence[str]) -> _Learned:
    found = [column for column in (LABEL, LABELS, MASK) if column in columns]
    if len(found) > 1:
        raise UserError(
            f"{rows.path} has columns {' and '.join(found)}, of which one can be learned at a time: name the others"
            f" differently, such as other_{found[1]}"
        )
    if found == [LABEL]:
        return _one_label(rows)
    if found == [LABELS]:
        words = [_several(rows, row) for row in range(len(rows))]
        return _Learned(several_each(words, str(rows.path)), found)
    if found == [MASK]:
        masks = _files(rows, MASK)
        names = [printable(cell) for cell in rows.columns[MASK]]
        found_classes = meaning(
            (partial(Path, mask) for mask in masks), names, class_list(rows.path.parent), str(rows.path)
        )
        truth = Masks(found_classes.names, len(rows))
        return _Learned(truth, found, found_classes.notes, masks, found_classes.coding)
    return _numbers(rows, columns)


def _one_label(rows: Rows) -> _Learned:
    words = []
    for row, cell in enumerate(rows.columns[LABEL]):
        word = word_of(cell)
        if word is None:
            raise rows.error(row, LABEL, "the name of a class on one line")
        words.append(word)
    truth = one_class_each(words, str(rows.path))
    values = [_number(_pointed(name) if rows.semicolons else name) for name in truth.names]
    if None not in values and any(value % 1 for value in values if value):
        raise UserError(
            f"{rows.path}: {LABEL} has numbers with fractions ({some_of(truth.names)}). Those are no classes: name the"
            " column differently, and they are learned as numbers"
        )
    joined = next((name for name in truth.names if _SEPARATORS.search(name)), "")
    note = f"{quoted(joined)} is one class; where images have several labels, name the column {LABELS}"
    return _Learned(truth, (LABEL,), (note,) if joined else ())


def _several(rows: Rows, row: int) -> list[str]:
    """The labels of one image."""
    cell = rows.columns[LABELS][row]
    if isinstance(cell, str):
        cell = [part for part in _SEPARATORS.split(cell) if part.strip()]
    parts = cell if isinstance(cell, list) else [] if cell is None else [cell]
    words = [word_of(part) for part in parts]
    if None in words:
        raise rows.error(row, LABELS, "names of classes, separated by ; or |, or a list of them in JSON")
    return [word for word in words if word is not None]


def _number(cell: Any) -> float | None:
    """The number that a cell holds; None where it holds none that fits 32 bits."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)) or "_" in str(cell):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return None if abs(value) > MAX_FLOAT32 else value


def _pointed(cell: Any) -> Any:
    """The same with a point where a number has a decimal comma."""
    return cell.replace(",", ".") if isinstance(cell, str) and _WITH_COMMA.fullmatch(cell) else cell


def _numbers(rows: Rows, columns: Sequence[str]) -> _Learned:
    """Every column that holds a number is learned; one of words alone is not."""
    found = {}
    for column in columns:
        cells = rows.columns[column]
        pointed = [_pointed(cell) for cell in cells]
        commas = [row for row, cell in enumerate(cells) if pointed[row] != cell]
        if rows.semicolons:
            cells = pointed
        elif commas and all(cell in ("", None) or _number(cell) is not None for cell in pointed):
            raise rows.error(commas[0], column, "a number with a decimal point, such as 0.5")
        values = [math.nan if cell in ("", None) else _number(cell) for cell in cells]
        if all(value is None or math.isnan(value) for value in values):
            continue
        if None in values:
            raise rows.error(values.index(None), column, "a number as in other rows (empty: not known)")
        found[column] = np.array(values, np.float32)
    if not found:
        raise UserError(
            f"{rows.path}: nothing to learn: expected a column {LABEL}, {LABELS} or {MASK}, or columns of numbers"
        )
    for column in found:
        if printable(column) != column:
            raise UserError(f"{rows.path}: column {quoted(column)}: expected a name on one line")
    truth = KnownNumbers(tuple(found), np.stack(list(found.values()), 1))
    return _Learned(truth, tuple(found), (f"numbers to learn: {', '.join(found)}",))


def _conflicts(rows: Rows, image: str, learned: Sequence[str]) -> list[str]:
    """What is to be said of images that are there twice, with different things to learn."""
    first: dict[Any, int] = {}
    found = []
    for row, cell in enumerate(rows.columns[image]):
        other = first.setdefault(cell, row)
        if other != row and any(str(rows.columns[name][other]) != str(rows.columns[name][row]) for name in learned):
            found.append((other, row))
    if not found:
        return []
    other, row = found[0]
    example = f"{printable(rows.columns[image][row])} in {rows.place(other)} and {rows.numbers[row]}"
    rows_contradict = "1 row contradicts" if len(found) == 1 else f"{len(found):,} rows contradict"
    return [f"{rows_contradict} an earlier one of the same image, such as {example}"]
