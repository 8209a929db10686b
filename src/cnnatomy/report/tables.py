"""One table, four formats: for the terminal, JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FORMATS = ("table", "json", "csv", "markdown")


@dataclass(frozen=True)
class Column:
    """A column: its key in the records, its heading, how a value reads, and whether it is a number.

    Where there is not room for the whole table, a column with a `shortest` width above 0 gives way down to it, its
    texts shortened as `short` says, or, in a first column, on a line of their own; what then still does not fit folds
    into further blocks of columns, in which a column with `beside` stays beside the column before it.
    """

    key: str
    heading: str
    text: Callable[[Any], str] = str
    number: bool = False
    shortest: int = 0
    short: Literal["end", "middle", "own line"] = "end"
    beside: bool = False


def count(number: int | None) -> str:
    """An exact integer with thousands separators; nothing for zero, so that what costs stands out."""
    return f"{number:,}" if number else ""


def short(number: float) -> str:
    """Four digits and a unit: 118.0 M."""
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= limit:
            digits = 3 - len(str(int(abs(number) / limit))) + 1
            return f"{number / limit:.{max(digits, 0)}f}{unit}"
    return f"{number:g}"


def mebibytes(number_of_bytes: float) -> str:
    """MiB, 2^20 bytes."""
    return f"{number_of_bytes / 2**20:,.2f} MiB"


def render(columns: Sequence[Column], records: Sequence[dict[str, Any]], format: str, title: str = "") -> str:
    """The records as text. JSON and CSV hold every value exactly; tables and Markdown hold what `Column.text` makes."""
    if format == "json":
        return json.dumps([{column.key: record.get(column.key) for column in columns} for record in records], indent=2)
    if format == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in columns])
        writer.writerows([[_cell(record.get(column.key)) for column in columns] for record in records])
        return out.getvalue().rstrip("\n")
    rows = [[column.text(record.get(column.key)) for column in columns] for record in records]
    if format == "markdown":
        lines = [
            [column.heading for column in columns],
            ["---:" if column.number else "---" for column in columns],
            *rows,
        ]
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    return _terminal(columns, rows, title)


def _cell(value: Any) -> Any:
    """A CSV cell: shapes as 64x56x56."""
    if isinstance(value, (list, tuple)):
        return (
            "x".join(map(str, value))
            if all(isinstance(n, (int, float)) for n in value)
            else " ".join(map(_cell, value))
        )
    return "" if value is None else value


def _terminal(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> str:
    """Plain text: with a hundred rows, laying them out with rich takes longer than counting the networks."""
    cells = [[column.heading, *texts] for column, texts in zip(columns, zip(*rows, strict=True), strict=False)]
    cells += [[column.heading] for column in columns[len(cells) :]]  # without rows
    widths = [max(map(len, texts)) for texts in cells]
    blocks = [_block([columns[i] for i in block], [cells[i] for i in block]) for block in _folded(columns, widths)]
    return "\n".join([*([title, ""] if title else []), "\n\n".join(blocks)]) + "\n"


GAP = 3
"""Spaces between columns."""


def _folded(columns: Sequence[Column], widths: Sequence[int]) -> list[list[int]]:
    """The numbers of the columns of each block: as many as fit side by side, after the first column."""
    room = room_for_tables()
    if room is None:
        return [list(range(len(columns)))]
    least = [min(column.shortest or width, width) for column, width in zip(columns, widths, strict=True)]
    blocks = [[0]]
    for i in range(1, len(columns)):
        together = [i]
        while together[-1] + 1 < len(columns) and columns[together[-1] + 1].beside:
            together.append(together[-1] + 1)
        if columns[i].beside and i > 1:
            blocks[-1].append(i)
        elif len(blocks[-1]) > 1 and sum(least[k] + GAP for k in (*blocks[-1], *together)) > room:
            blocks.append([0, i])
        else:
            blocks[-1].append(i)
    return blocks


def _block(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> str:
    """Columns side by side; `cells` are the heading and the texts of each."""
    widths = [max(map(len, texts)) for texts in cells]
    room = room_for_tables()
    excess = sum(widths) + GAP * len(widths) - room if room else 0
    for i in reversed([i for i, column in enumerate(columns) if column.shortest]):  # the last gives way first
        given = min(max(excess, 0), max(widths[i] - columns[i].shortest, 0))
        widths[i] -= given
        excess -= given

    fitted = [_fitted(column, texts, width) for column, texts, width in zip(columns, cells, widths, strict=True)]

    def line(row: Sequence[str]) -> str:
        placed = [t.rjust(w) if c.number else t.ljust(w) for c, t, w in zip(columns, row, widths, strict=True)]
        return ("  " + (" " * GAP).join(placed)).rstrip()

    heading, *lines = map(line, zip(*fitted, strict=True))
    return "\n".join([heading, " " + "─" * (sum(widths) + GAP * len(widths) - 1), *lines])


def _fitted(column: Column, texts: Sequence[str], width: int) -> list[str]:
    """The texts of a column in so many characters, shortened as the column says."""
    if all(len(text) <= width for text in texts):
        return list(texts)
    if column.short == "end":
        return [_shortened(text, width, 0) for text in texts]
    if column.short == "own line":
        return [text if len(text) <= width else f"{text}\n  {' ' * width}" for text in texts]
    # The last name of a path stays whole, unless more paths can be told apart by their two halves.
    by_name = [_shortened(text, width, len(text.rpartition(".")[2])) for text in texts]
    by_half = [_shortened(text, width, (width - 1) // 2) for text in texts]
    return max((by_name, by_half), key=lambda shortened: len(set(shortened)))


def _shortened(text: str, width: int, end: int) -> str:
    """The text in so many characters, of which as many as `end` are its last."""
    if len(text) <= width:
        return text
    end = min(end, width // 2)
    return text[: width - 1 - end].rstrip(".") + "…" + text[len(text) - end :]


def paragraphs(lines: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns, long texts over several lines."""
    indent = max(len(name) for name, _ in lines) + 2
    width = max(terminal_width(), indent + 20)
    return "\n".join(
        textwrap.fill(text, width, initial_indent=name.ljust(indent), subsequent_indent=" " * indent)
        for name, text in lines
    )


def room_for_tables() -> int | None:
    """Columns of the terminal, or of `COLUMNS` where that is set; None where the output is piped: nothing is cut."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(40, int(os.environ["COLUMNS"]))
    return max(40, os.get_terminal_size().columns) if sys.stdout.isatty() else None


def terminal_width() -> int:
    """The columns into which sentences are filled: those of `room_for_tables`; 120 where the output is piped."""
    return room_for_tables() or 120
