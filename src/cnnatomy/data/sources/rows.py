"""Tables as files: CSV, TSV, JSON with a list of records, and lines of JSON, as columns of cells."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnatomy.errors import UserError, literal, quoted, shown
from cnnatomy.files import read_text, regular_file
from cnnatomy.limits import MAX_COLUMNS, MAX_DATA_IMAGES, MAX_MANIFEST_BYTES

_BEGINNING = 2**16
"""Bytes in which the first character of a JSON file must be."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A table: `columns` of as many cells each, and the number of each row's line or record.

    A cell is text in CSV, plain data in JSON; None where a record has no such key. `semicolons` says that these are
    between cells, as spreadsheets write them where numbers have decimal commas.
    """

    path: Path
    columns: dict[str, list[Any]]
    numbers: list[int]
    unit: str
    semicolons: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, row: int) -> str:
        """Where a row is, for messages: `line 7`."""
        return f"{self.unit} {self.numbers[row]}"

    def error(self, row: int, column: str, expected: str) -> UserError:
        """The message for a cell that is not as expected."""
        cell = self.columns[column][row]
        got = "it is empty" if cell in ("", None) else f"got {literal(cell)}"
        return UserError(f"{self.path}: {self.place(row)}: {shown(column)}: expected {expected}, {got}")


def is_list(path: Path) -> bool:
    """Whether a JSON file begins as a list; no more than its beginning is read."""
    try:
        file, _ = regular_file(path)
    except (OSError, ValueError):
        return False
    with file:
        return file.read(_BEGINNING).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def read_rows(path: Path) -> Rows:
    """The table in a file, by its suffix.

    Raises:
        UserError: naming the file, and the line or record that is not as it should be.
    """
    text = read_text(path, MAX_MANIFEST_BYTES, "the manifest")
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            rows = _separated(path, text, "\t" if suffix == ".tsv" else "")
        else:
            rows = _records(path, _json(text) if suffix == ".json" else _json_lines(text), suffix == ".json")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not len(rows):
        raise UserError(f"{path} has no rows: expected one for each image")
    return rows


def _separated(path: Path, text: str, delimiter: str) -> Rows:
    first = text.partition("\n")[0]
    delimiter = delimiter or (";" if ";" in first and "," not in first else ",")  # as Excel writes in much of Europe
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[list[str]] = []
    numbers: list[int] = []
    begun = 1
    try:
        header = _header(next(reader, []))
        begun = reader.line_num + 1
        for cells in reader:
            begun = reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"line {reader.line_num}: expected {len(header)} cells, as many as columns, got {len(cells)}"
                )
            found.append(cells)
            numbers.append(reader.line_num)
            _check_count(len(found))
    except csv.Error as error:
        if "field limit" in str(error):
            raise UserError(
                f"line {begun}: a cell of more than {csv.field_size_limit():,} characters: is a quote not closed?"
            ) from None
        raise UserError(f"line {reader.line_num}: cannot be read as CSV: {error}") from None
    columns = zip(*found, strict=True) if found else [()] * len(header)
    named = {name: list(cells) for name, cells in zip(header, columns, strict=True)}
    return Rows(path, named, numbers, "line", delimiter == ";")


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise UserError("line 1: expected the names of the columns")
    _check_columns(len(names))  # before each is looked for among the others
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            what = "is there twice" if name else "has no name"
            raise UserError(f"line 1: column {place + 1} {quoted(name) + ' ' if name else ''}{what}")
    return names


def _check_columns(count: int) -> None:
    if count > MAX_COLUMNS:
        raise UserError(f"{count:,} columns; at most {MAX_COLUMNS:,} are read")


def _check_count(count: int) -> None:
    if count > MAX_DATA_IMAGES:
        raise UserError(f"more than {MAX_DATA_IMAGES:,} rows, of which no more are read")


def _json(text: str) -> Iterator[tuple[int, Any]]:
    yield from enumerate(_parsed(text, 1), 1)


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parsed(line, number)


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"line {line + error.lineno - 1}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, lists in lists in lists
        raise UserError(f"line {line}: cannot be read: {shown(error)}") from None


def _records(path: Path, records: Iterable[tuple[int, Any]], whole: bool) -> Rows:
    unit = "record" if whole else "line"
    columns: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, record in records:
        if not isinstance(record, dict):
            raise UserError(
                f'{unit} {number}: expected a record such as {{"image": ..., "label": ...}}, got {shown(record)}'
            )
        for name, value in record.items():
            if name not in columns:
                columns[name] = [None] * len(numbers)
                _check_columns(len(columns))
            columns[name].append(value)
        numbers.append(number)
        _check_count(len(numbers))
        if len(record) < len(columns):
            for cells in columns.values():
                cells.extend([None] * (len(numbers) - len(cells)))
    return Rows(path, columns, numbers, unit)
