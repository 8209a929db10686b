"""The images in the rows of tables of `datasets`: decoded row by row where they lie, or as a stream brings them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import Decode, Fetched, read_fetched
from cnnatomy.data.images import Coding, ImageError, look_at_each, read_content, size_in
from cnnatomy.errors import UserError, shown

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


@dataclass(frozen=True)
class RowDecoder:
    """Decodes the image of a row, and its map, if any, whose classes `coding` tells; raises `ImageError`."""

    image: str
    mask: str | None
    coding: Coding

    def __call__(self, row: Mapping[str, Any], frame: Frame) -> Fetched:
        image, mask = _content(row[self.image]), None if self.mask is None else _content(row[self.mask])
        return read_fetched(image, frame, mask, self.coding)


@dataclass(frozen=True, eq=False)
class FromRows:
    """Fetches from the rows of several tables, one after another; `ends` are where each ends."""

    tables: tuple[Dataset, ...]
    ends: tuple[int, ...]
    decode: RowDecoder

    def __call__(self, index: int, frame: Frame) -> Fetched:
        table = int(np.searchsorted(self.ends, index, side="right"))
        row = self.tables[table][index - (self.ends[table - 1] if table else 0)]
        return self.decode(row, frame)


@dataclass(frozen=True, eq=False)
class HubStream:
    """All images in the order in which they come, table after table; `ends` are where each ends."""

    source: str
    tables: tuple[IterableDataset, ...]
    ends: tuple[int, ...]
    decode: RowDecoder

    def __call__(self, first: int = 0) -> Iterator[Decode]:
        for table, start, end in zip(self.tables, (0, *self.ends), self.ends, strict=False):
            if first >= end:
                continue
            rows = iter(table.skip(first - start) if first > start else table)
            while (row := self._next(rows)) is not None:
                yield partial(self.decode, row)

    def _next(self, rows: Iterator[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        try:
            return next(rows, None)
        except Exception as error:  # of pyarrow, fsspec, httpx, ...
            raise UserError(f"{self.source}: the stream has ended: {shown(error)}") from None


def _content(cell: Any) -> bytes:
    """The bytes of an image's file, of which a row has these or the path."""
    if isinstance(cell, Mapping):
        cell = cell["bytes"] if cell["bytes"] is not None else cell["path"]
    if cell is None:
        raise ImageError("there is no image in this row")
    return cell if isinstance(cell, bytes) else read_content(Path(cell))


def contents(tables: Sequence[Any], column: str) -> Iterator[Callable[[], bytes]]:
    """What gives the bytes of each file in a column, row after row; each raises `ImageError` where there is none."""
    return (partial(_content, row[column]) for table in tables for row in table.select_columns([column]))


def sizes_of(tables: Sequence[Any], column: str) -> list[tuple[int, int]]:
    """Rows and columns of each image; 1 x 1 of broken ones, which are told when all are read."""

    def size(content: Callable[[], bytes]) -> tuple[int, int]:
        try:
            return size_in(content())
        except ImageError:
            return 1, 1

    return list(look_at_each(size, contents(tables, column)))
