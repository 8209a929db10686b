"""Data sets of the Hugging Face Hub, parquet files and image folders, as the library `datasets` opens them.

`hf:NAME`, `hf:NAME:CONFIG`, `hf:FOLDER`, `hf:FILE.parquet`, each with `?column=...` where it has to be said which is
what. `hf-stream:` does the same with what does not fit on the disk: its images come one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnatomy.data.class_list import ClassList
from cnnatomy.data.image_set import SPLITS, TRAIN, ImageSet, split_called
from cnnatomy.data.images import class_numbers
from cnnatomy.data.maps import Meaning, meaning
from cnnatomy.data.sources.hub_boxes import objects
from cnnatomy.data.sources.hub_columns import OBJECTS, Chosen, choose, text_columns, truth
from cnnatomy.data.sources.hub_opening import PREFIX, STREAM, HubName, described, has_parquet, opened, parsed
from cnnatomy.data.sources.hub_rows import FromRows, HubStream, RowDecoder, contents, sizes_of
from cnnatomy.data.streaming import FromStream
from cnnatomy.data.truth import Masks, Truth
from cnnatomy.errors import UserError, printable, quoted

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset


def recognises(name: str) -> bool:
    """By how it begins."""
    return name.startswith((PREFIX, STREAM))


def read(name: str) -> ImageSet:
    """Finds the images and what the columns say of them, without decoding any.

    Raises:
        UserError: if `datasets` is not installed, the data set is neither here nor to be had, or it is not clear what
            its columns are.
    """
    wanted = parsed(name)
    is_parquet = has_parquet(wanted)
    splits, ignored = _by_split(opened(wanted, bare=is_parquet), wanted.source)
    features = _features(next(iter(splits.values())), wanted.source)
    chosen = choose(features, wanted.choices, wanted.source)
    if is_parquet and wanted.prefix != STREAM:  # what is not used is not decoded into the cache
        splits, _ = _by_split(opened(wanted, [*chosen.images, *chosen.scalars]), wanted.source)
    with described(wanted):
        if wanted.prefix == STREAM:
            bare = opened(wanted, chosen.scalars)
            rows = [_rows_of_stream(bare[split], chosen) for split in splits]
        else:
            rows = [_rows(part, chosen) for part in splits.values()]
    columns = {column: [value for part in rows for value in part.columns[column]] for column in chosen.scalars}
    counts = [part.rows for part in rows]
    if not sum(counts):
        raise UserError(f"{wanted.source} has no row")
    numbers, has = _splits(splits, counts, columns.get(chosen.split), chosen.split, wanted.source)
    cells = tuple(_bare(part, chosen) for part in splits.values())
    ends = tuple(accumulate(counts))
    names = tuple(
        _name(split, number, path, wanted)
        for split, part in zip(splits, rows, strict=True)
        for number, path in enumerate(part.paths)
    )
    skipped: tuple[tuple[str, str], ...] = ()
    if chosen.mask is not None:
        found = _classes_of_masks(wanted, chosen.mask, cells, names)
        learned: Truth = Masks(found.names, len(names))
    else:
        found = Meaning((), class_numbers)
        learned, skipped = _truth(wanted, chosen, features, columns, cells, names)
    row = RowDecoder(chosen.image, chosen.mask, found.coding)
    stream = HubStream(wanted.source, cells, ends, row) if wanted.prefix == STREAM else None
    return ImageSet(
        source=wanted.source,
        truth=learned,
        splits=numbers,
        has=has,
        fetch=FromStream(stream) if stream else FromRows(cells, ends, row),
        names=names,
        files=True,
        skipped_annotations=(*ignored, *skipped),
        notes=found.notes,
        columns=text_columns(chosen, features, columns),
        stream=stream,
    )


class RowsRead(NamedTuple):
    """How many rows a table has, what its scalar columns say, and where the images lay, as far as it is told."""

    rows: int
    columns: dict[str, list[Any]]
    paths: list[Any]


def _rows(table: Dataset, chosen: Chosen) -> RowsRead:
    from pyarrow import compute, types

    images = table.data.column(chosen.image)
    has_paths = types.is_struct(images.type)
    paths = compute.struct_field(images, "path").to_pylist() if has_paths else [None] * len(table)
    return RowsRead(len(table), {name: table.data.column(name).to_pylist() for name in chosen.scalars}, paths)


def _rows_of_stream(table: IterableDataset, chosen: Chosen) -> RowsRead:
    columns: dict[str, list[Any]] = {name: [] for name in chosen.scalars}
    count = 0
    for row in table.select_columns(chosen.scalars) if columns else table:
        count += 1
        for name, values in columns.items():
            values.append(row[name])
    return RowsRead(count, columns, [None] * count)


def _bare(table: Any, chosen: Chosen) -> Any:
    """The table with its images alone, which are not decoded by it."""
    from datasets import Image

    table = table.select_columns(chosen.images)
    for name in chosen.images:
        if isinstance(table.features[name], Image):
            table = table.cast_column(name, Image(decode=False))
    return table


def _features(table: Any, source: str) -> Features:
    features = table.features
    if features is None:  # of a stream that does not say them: its first rows do
        features = table._resolve_features().features
    if not features:
        raise UserError(f"{source} has no columns")
    return features


def _by_split(tables: Mapping[str, Any], source: str) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """The tables that are train, val and test, by their names; a single one is what is then divided."""
    if len(tables) == 1:
        return dict(tables), ()
    found = {name: table for name, table in tables.items() if split_called(name) is not None}
    numbers = list(map(split_called, found))
    if TRAIN not in numbers:
        raise UserError(f"{source} has the splits {', '.join(tables)}, but no train")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{source} has the splits {', '.join(found)}, of which two are the same")
    features = {name: table.features for name, table in found.items()}
    if len({str(each) for each in features.values()}) > 1:
        raise UserError(f"{source}: the splits {', '.join(found)} have different columns")
    ignored = tuple((f"split {name}", "none of train, val and test") for name in tables if name not in found)
    return found, ignored


def _splits(
    tables: Mapping[str, Any], counts: Sequence[int], said: list[Any] | None, column: str, source: str
) -> tuple[Any, frozenset[int]]:
    """TRAIN, VAL or TEST of each row, by its table, or by a column."""
    if said is None:
        of_table = np.array([split_called(name) if len(tables) > 1 else TRAIN for name in tables], np.int8)
        return np.repeat(of_table, counts), frozenset(of_table.tolist())
    numbers = [split_called(value) for value in said]
    unknown = sorted({str(value) for value, number in zip(said, numbers, strict=True) if number is None})
    if unknown:
        raise UserError(
            f"{source}: column {column} says {', '.join(map(quoted, unknown[:3]))}; expected {', '.join(SPLITS)}"
        )
    of_row = np.array(numbers, np.int8)
    return of_row, frozenset(of_row.tolist())


def _name(split: str, number: int, path: str | None, wanted: HubName) -> str:
    """Of an image, by which groups can be told: its path where that is known, below the folder that was named."""
    if not path:
        return f"{split} {number}"
    known = Path(path)
    is_below = wanted.path is not None and known.is_relative_to(wanted.path)
    return printable(known.relative_to(wanted.path) if is_below and wanted.path else known)


def _truth(
    wanted: HubName,
    chosen: Chosen,
    features: Features,
    columns: Mapping[str, Sequence[Any]],
    tables: Sequence[Any],
    names: Sequence[str],
) -> tuple[Truth, tuple[tuple[str, str], ...]]:
    """What there is to learn, and what of it is not used; what only the images themselves tell, a look at each does."""
    where = f"{wanted.source}: column {chosen.target[0]}"
    if chosen.kind == OBJECTS:
        sizes = sizes_of(tables, chosen.image)
        return objects(features[chosen.target[0]], columns[chosen.target[0]], sizes, names, where)
    return truth(chosen, features, columns, wanted.source), ()


def _classes_of_masks(wanted: HubName, column: str, tables: Sequence[Any], names: Sequence[str]) -> Meaning:
    """What the pixels of its masks mean, by what was typed or is found in them."""
    said = wanted.choices.get("names")
    listed = ClassList(Path(wanted.source), tuple(said.split(","))) if said else None
    return meaning(contents(tables, column), names, listed, f"{wanted.source}: column {column}")
