"""Commands that describe networks and what they are made of: list, show, compare, layers, new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnnatomy.commands.options import (
    account_of,
    classes_option,
    format_option,
    input_option,
    network_argument,
    regions_option,
    report_format_option,
)
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_COMPARED


@click.command("list")
@click.option("--family", help="Only chain, parallel, dense, residual or searched networks.")
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
    from cnnatomy.design.graph import no_garbage_collection
    from cnnatomy.errors import nearest
    from cnnatomy.report.reports import listing

    families = sorted({entry.family for entry in ENTRIES})
    if family is not None and family.lower() not in families:
        hint = nearest(family, families)
        raise UserError(f"there is no family {family!r}.{hint} There are: {', '.join(families)}")
    orders: dict[str, Any] = {
        "name": lambda row: row[0].name,
        "year": lambda row: row[0].year,
        "parameters": lambda row: row[1].totals.parameters,
        "macs": lambda row: row[1].totals.macs,
    }
    with no_garbage_collection():
        rows = [(e, e.network().account()) for e in ENTRIES if family is None or e.family == family.lower()]
        click.echo(listing(sorted(rows, key=orders[sort]) if sort in orders else rows, format))


@click.command()
@network_argument
@input_option
@regions_option
@classes_option
@click.option("--depth", type=click.IntRange(1), help="Sum up the tree at this depth: 1 is tail, body, head.")
@report_format_option("json", "csv", "markdown", "dot")
def show(network: str, input: Any, regions: int | None, classes: int | None, depth: int | None, format: str) -> None:
    """Show every layer of NETWORK: shapes, parameters, MACs and what its output sees of the input.

    "sees" is the receptive field in input pixels, counted over windows (convolutions and pools). A drawing by Graphviz:

    \b
    cnnatomy show resnet-18 --format dot | dot -Tsvg > resnet-18.svg
    """
    from cnnatomy.readers import design_file
    from cnnatomy.report import reports

    account, written = account_of(network, classes, input, regions), None
    if format in ("json", "csv") and design_file(network):
        from cnnatomy.readers.yaml import lines

        written = lines.of_network(network, account.input)
    click.echo(reports.show(account, depth, format, written))


@click.command()
@click.argument("networks", nargs=-1, required=True)
@input_option
@regions_option
@classes_option
@format_option
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the charts into this .svg, .png or .html file.")
def compare(
    networks: tuple[str, ...],
    input: Any,
    regions: int | None,
    classes: int | None,
    format: str,
    plot: Path | None,
) -> None:
    """Compare NETWORKS side by side, with the ratio to the first.

    With --plot: published accuracy against operations, the area of a ball its parameters; and memory against depth.
    """
    from cnnatomy.readers import may_propose
    from cnnatomy.report import comparison

    if len(networks) > MAX_COMPARED:
        raise UserError(f"at most {MAX_COMPARED} networks can be compared at once, got {len(networks):,}")
    detectors = [name for name in networks if may_propose(name)] or networks[:1]
    accounts = [account_of(name, classes, input, regions if name in detectors else None) for name in networks]
    if plot:  # on stderr: what is printed stays a table, or JSON
        click.echo(comparison.draw(networks, accounts, (classes, input), plot), err=True)
    click.echo(comparison.compare(networks, accounts, (classes, input), format))


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@report_format_option("json", "markdown")
def layers(names: tuple[str, ...], format: str) -> None:
    """List the layers and blocks that a YAML design may use, or explain those named: arguments, costs, an example."""
    from cnnatomy.report.layers import explain

    click.echo(explain(names, format))


@click.command()
@click.argument("name")
@click.option("--from", "source", help="Begin with a copy of this network.")
@click.option("--schema", is_flag=True, help="Write design.schema.json beside it, for editors that check YAML.")
def new(name: str, source: str | None, schema: bool) -> None:
    """Write NAME.yaml, a design with comments, to edit. A file that is there already stays as it is."""
    from cnnatomy.readers.yaml import draft

    click.echo(draft.create(name, source, schema))


COMMANDS = (
    list_command,
    show,
    compare,
    layers,
    new,
)
