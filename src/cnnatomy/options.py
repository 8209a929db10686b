"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Any

import click

MOST_PIXELS = 1_000_000
"""No side of an input may be longer: longer ones are typing errors."""


class ShapeType(click.ParamType[tuple[int, ...]]):
    """`3x224x224`: channels, rows and columns."""

    name = "CxRxC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        sizes = str(value).lower().replace(",", "x").split("x")
        if len(sizes) != 3 or not all(size.strip().isascii() and size.strip().isdigit() for size in sizes):
            self.fail(f"{value!r} is not a shape; write channels x rows x columns, such as 3x224x224", param, ctx)
        shape = tuple(int(size) for size in sizes)
        if min(shape) < 1 or max(shape) > MOST_PIXELS:
            self.fail(f"{value!r}: every size must be from 1 to {MOST_PIXELS:,}", param, ctx)
        return shape


SHAPE = ShapeType()
network_argument = click.argument("network")
input_option = click.option("--input", type=SHAPE, help="Input channels x rows x columns; default: the network's own.")
classes_option = click.option("--classes", type=click.IntRange(1, 10_000_000), help="Classes of the classifier.")


batch_option = click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images at once.")


def format_option(command: Any) -> Any:
    """`--format`, alike for every command that prints a table."""
    kinds = click.Choice(("table", "json", "csv", "markdown"))
    return click.option("--format", type=kinds, default="table", show_default=True, help="How to print it.")(command)
