"""The command line: one verb, one call. Heavy imports stay inside the verbs, so that `show` starts in 0.2 s."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from cnnatomy.errors import UserError


class Verbs(click.Group):
    """Prints a `UserError` as one message and exits 2; suggests the nearest verb for an unknown one; 130 on Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.exit(code if isinstance(code, int) else 0)
        except UserError as error:
            click.echo(f"cnnatomy: {error}", err=True)
            sys.exit(2)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("cnnatomy: interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:  # `cnnatomy list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


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


MOST_PIXELS = 1_000_000
"""No side of an input may be longer: longer ones are typing errors."""

SHAPE = ShapeType()
network_argument = click.argument("network")
input_option = click.option("--input", type=SHAPE, help="Input channels x rows x columns; default: the network's own.")
classes_option = click.option("--classes", type=click.IntRange(1, 10_000_000), help="Classes of the classifier.")


def format_option(command: Any) -> Any:
    """`--format`, alike for every command that prints a table."""
    kinds = click.Choice(("table", "json", "csv", "markdown"))
    return click.option("--format", type=kinds, default="table", show_default=True, help="How to print it.")(command)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnatomy")
def main() -> None:
    """Design convolutional networks: see what every layer costs and can see, then train.

    \b
    cnnatomy list                         what networks there are
    cnnatomy show resnet-50               every layer: parameters, MACs, receptive field
    cnnatomy compare vgg-16 resnet-50     side by side
    cnnatomy train lenet-5 --data digits  train on real images
    cnnatomy demo                         all of it in a minute

    NETWORK is a name that `cnnatomy list` shows, in any case and with any separators (ResNet50, resnet_50), or the
    path of a YAML design.
    """


@main.command("list")
@click.option("--family", help="Only chain, parallel, dense or residual networks.")
@click.option(
    "--sort",
    type=click.Choice(("family", "name", "year", "parameters", "macs")),
    default="family",
    show_default=True,
    help="Order of the lines.",
)
@format_option
def list_command(family: str | None, sort: str, format: str) -> None:
    """List the networks of the catalogue with what they cost at their own input size."""
    from cnnatomy.catalogue import ENTRIES
    from cnnatomy.errors import nearest
    from cnnatomy.export.reports import listing

    families = sorted({entry.family for entry in ENTRIES})
    if family is not None and family.lower() not in families:
        hint = nearest(family, families)
        raise UserError(f"there is no family {family!r}.{hint} There are: {', '.join(families)}")
    rows = [(e, e.network().account()) for e in ENTRIES if family is None or e.family == family.lower()]
    orders: dict[str, Any] = {
        "name": lambda row: row[0].name,
        "year": lambda row: row[0].year,
        "parameters": lambda row: row[1].totals.parameters,
        "macs": lambda row: row[1].totals.macs,
    }
    click.echo(listing(sorted(rows, key=orders[sort]) if sort in orders else rows, format))


@main.command()
@network_argument
@input_option
@classes_option
@click.option("--depth", type=click.IntRange(1), help="Sum up the tree at this depth: 1 is tail, body, head.")
@format_option
def show(network: str, input: Any, classes: int | None, depth: int | None, format: str) -> None:
    """Show every layer of NETWORK: shapes, parameters, MACs and what its output sees of the input.

    "sees" is the receptive field in input pixels, counted over windows (convolutions and pools).
    """
    from cnnatomy.readers import resolve

    click.echo(show_network(resolve(network, classes, input), depth, format))


def show_network(network: Any, depth: int | None = None, format: str = "table") -> str:
    """What `show` prints."""
    from cnnatomy.export import reports

    return reports.show(network.account(), depth, format)


@main.command()
@click.argument("networks", nargs=-1, required=True)
@input_option
@classes_option
@format_option
def compare(networks: tuple[str, ...], input: Any, classes: int | None, format: str) -> None:
    """Compare NETWORKS side by side, with the ratio to the first."""
    from cnnatomy.export import reports
    from cnnatomy.readers import resolve

    click.echo(reports.compare([resolve(name, classes, input).account() for name in networks], format))


if __name__ == "__main__":
    main()
