"""Options and arguments that several commands share, and what some need to be installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from cnnatomy import plain
from cnnatomy.data.loading import FITS
from cnnatomy.data.sources.table import table
from cnnatomy.errors import UserError, quoted
from cnnatomy.limits import MAX_BATCH, MAX_CLASSES, MAX_INPUT_SIZE, MAX_REGIONS
from cnnatomy.readers.inputs import AskedInput, given, joined, parse

if TYPE_CHECKING:
    from cnnatomy.analysis import Account


MAX_DIGITS = 20
"""Of a number on the command line."""


class ShapeType(click.ParamType[tuple[int, ...]]):
    """`3x224x224`: channels, rows and columns."""

    name = "CxRxC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        sizes = str(value).lower().replace(",", "x").split("x")
        if len(sizes) != 3 or not all(size.strip().isascii() and size.strip().isdigit() for size in sizes):
            wanted = "write channels x rows x columns, such as 3x224x224"
            self.fail(f"{quoted(value)} is not a shape; {wanted}", param, ctx)
        shape = tuple(int(size) if len(size) <= MAX_DIGITS else 0 for size in sizes)
        if min(shape) < 1 or max(shape) > MAX_INPUT_SIZE:
            self.fail(f"{quoted(value)}: every size must be from 1 to {MAX_INPUT_SIZE:,}", param, ctx)
        return shape


class InputsType(click.ParamType[AskedInput]):
    """`1x16000`, `tokens:77:int64 image:3x224x224`: what is given of the inputs of a network, of any number of axes."""

    name = "[NAME:]SIZES[:TYPE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AskedInput:
        if not isinstance(value, str):
            return cast(AskedInput, value)
        try:
            return parse(value)
        except UserError as error:
            self.fail(str(error), param, ctx)


def _all_inputs(ctx: click.Context, param: click.Parameter, values: tuple[AskedInput, ...]) -> AskedInput | None:
    """What several options say is what one says with spaces between."""
    try:
        return joined([one for asked in values for one in given(asked)]) if values else None
    except UserError as error:
        raise click.BadParameter(str(error), ctx, param) from None


class SidesType(click.ParamType[tuple[int, int]]):
    """`24:400`: from the smallest to the largest side, in pixels; `32` for one size."""

    name = "MIN:MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = plain.sides(str(value))
        if found is None:
            self.fail(f"{quoted(value)}: write the smallest and the largest side in pixels, such as 24:400", param, ctx)
        return found


class TimeType(click.ParamType[float]):
    """A number and a unit, such as `20ms`; in seconds. `units` are their seconds by name."""

    name = "TIME"

    def __init__(self, units: dict[str, float], known: str) -> None:
        self.units, self.known = units, known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = plain.seconds(str(value), self.units)
        if found is None:
            self.fail(f"{quoted(value)} is not a time; write a number and {self.known}", param, ctx)
        return found


class FileType(click.ParamType[Path]):
    """The name of a file, which is not empty."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value).strip():
            self.fail("expected the name of a file, got an empty one", param, ctx)
        return Path(value)


SHAPE = ShapeType()
SIDES = SidesType()
FILE = FileType()
SECONDS = TimeType(plain.SECONDS, "s, ms or us, such as 20ms")
DURATION = TimeType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}, "s, m, h or d, such as 20m")
network_argument = click.argument("network")
image_option = click.option("--input", type=SHAPE, help="Input channels x rows x columns; default: the network's own.")
input_option = click.option(
    "--input",
    type=InputsType(),
    multiple=True,
    callback=_all_inputs,
    help="Sizes of the input without the batch, such as 3x224x224, 1x16000 or 7; of several: --input 'tokens:77:int64"
    " image:3x224x224', or the option once for each.  [default: the network's own]",
)
regions_option = click.option(
    "--regions",
    type=click.IntRange(1, MAX_REGIONS),
    help="Regions that a detector of a prototxt proposes for an image.  [default: 300]",
)
classes_option = click.option("--classes", type=click.IntRange(1, MAX_CLASSES), help="Classes of the classifier.")


batch_option = click.option(
    "--batch", type=click.IntRange(1, MAX_BATCH), default=1, show_default=True, help="Images at once."
)


DATA_HELP = ", ".join(dict.fromkeys(written for written, _ in table())) + "; `cnnatomy data --help` tells of each."

fit_option = click.option(
    "--fit",
    type=click.Choice(tuple(FITS)),
    help="How an image becomes one of the input's size; `cnnatomy data --help` tells of each.  [default: auto]",
)
group_option = click.option(
    "--group",
    help="Images that stay together: a column of the data, or a pattern in their names, such as '/([a-z]+)_'.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(0, 256), help="Processes that decode what memory does not hold.  [default: cores]"
)
hold_option = click.option(
    "--hold", help="How much of memory decoded images may take; more are decoded in every epoch.  [default: 2GiB]"
)

device_option = click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True, help="Where to compute."
)


def needs(module: str) -> None:
    """Raises `UserError` with the remedy where torch is not installed."""
    from importlib.util import find_spec

    _check_folder()
    if find_spec(module) is None:
        raise UserError(f"this needs {module}: pip install 'cnnatomy[build]'")


def _check_folder() -> None:
    """Raises `UserError` where the current folder was removed: torch finds its own libraries no more."""
    try:
        os.getcwd()
    except OSError:
        raise UserError("the folder that you are in does not exist any more: go to another one") from None


def needs_training() -> None:
    """Raises `UserError` with the remedy where what training needs is not installed."""
    from importlib.util import find_spec

    _check_folder()
    needed = ("torch", "tensorboard", "PIL", "sklearn", "rich", "kornia")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UserError(f"training needs {', '.join(missing)}: pip install 'cnnatomy[train]'")


def format_option(command: Any) -> Any:
    """`--format`, alike for every command that prints a table."""
    return report_format_option("json", "csv", "markdown")(command)


def report_format_option(*others: str) -> Callable[[Any], Any]:
    """`--format` of a command that prints for people, or in one of the other formats."""
    kinds = click.Choice(("table", *others))
    return click.option("--format", type=kinds, default="table", show_default=True, help="How to print it.")


def account_of(network: str, classes: int | None = None, input: Any = None, regions: int | None = None) -> Account:
    """The account of whatever NETWORK names."""
    from cnnatomy.analysis import account
    from cnnatomy.readers import read_graph

    return account(*read_graph(network, classes, input, regions))
