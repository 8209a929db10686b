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
from typing import Any

FORMATS = ("table", "json", "csv", "markdown")


@dataclass(frozen=True)
class Column:
    """A column: its key in the records, its heading, how a value reads, and whether it is a number.

    A column with a `shortest` width above 0 gives way down to it where the terminal is narrow.
    """

    key: str
    heading: str
    text: Callable[[Any], str] = str
    number: bool = False
    shortest: int = 0


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
    headings = [column.heading for column in columns]
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    excess = sum(widths) + 3 * len(widths) - terminal_width()
    for i in reversed([i for i, column in enumerate(columns) if column.shortest]):  # the last gives way first
        given = min(max(excess, 0), max(widths[i] - columns[i].shortest, 0))
        widths[i] -= given
        excess -= given
    numbers = [column.number for column in columns]

    def line(cells: Sequence[str]) -> str:
        fitted = [_fit(cell, width) for cell, width in zip(cells, widths, strict=True)]
        placed = [f.rjust(w) if n else f.ljust(w) for f, w, n in zip(fitted, widths, numbers, strict=True)]
        return ("  " + "   ".join(placed))[: terminal_width()].rstrip()

    rule = (" " + "─" * (sum(widths) + 3 * len(widths) - 1))[: terminal_width()]
    return "\n".join([*([title, ""] if title else []), line(headings), rule, *map(line, rows)]) + "\n"


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def paragraphs(lines: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns, long texts over several lines."""
    indent = max(len(name) for name, _ in lines) + 2
    width = max(terminal_width(), indent + 20)
    return "\n".join(
        textwrap.fill(text, width, initial_indent=name.ljust(indent), subsequent_indent=" " * indent)
        for name, text in lines
    )


def terminal_width() -> int:
    """Columns of the terminal, or of `COLUMNS`; 120 where the output is piped."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(40, int(os.environ["COLUMNS"]))
    return max(40, os.get_terminal_size().columns) if sys.stdout.isatty() else 120
