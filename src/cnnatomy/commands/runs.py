"""The command that looks at many runs at once."""

from __future__ import annotations

from pathlib import Path

import click

from cnnatomy.commands.options import needs_training, report_format_option
from cnnatomy.errors import UserError


@click.command()
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--compare", is_flag=True, help="FOLDERs are runs: what differs between them, and what came out.")
@click.option("--group", is_flag=True, help="Runs that differ in the seed alone as one: mean, standard deviation.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the learning curves into this SVG, PNG or HTML.")
@report_format_option("json", "csv", "markdown")
def runs(folders: tuple[Path, ...], compare: bool, group: bool, plot: Path | None, format: str) -> None:
    """List the runs in each FOLDER and below, the best by validation first.  [default: runs]

    \b
    cnnatomy runs                                    all below runs/
    cnnatomy runs runs/mine --plot curves.svg        with their learning curves
    cnnatomy runs --compare runs/a runs/b            what differs in recipe, data and design
    cnnatomy runs --group                            several seeds of the same as one
    """
    needs_training()
    from cnnatomy.report import plot as drawing
    from cnnatomy.report import runs as report
    from cnnatomy.runs import listing

    if plot is not None:
        drawing.check(plot)
    if compare:
        if group or len(folders) < 2:
            raise UserError("--compare takes two run folders or more, and no --group")
        found = [listing.read(folder) for folder in folders]
        for one in found:
            if one.run is None:
                raise UserError(one.note)
        differs = listing.differences([one.run for one in found if one.run is not None])
        click.echo(report.compared(found, differs, format))
    else:
        below = {one.path.resolve(): one for folder in folders or (Path("runs"),) for one in listing.find(folder)}
        found = listing.ordered(list(below.values()))
        click.echo(report.grouped(listing.groups(found), len(found), format) if group else report.table(found, format))
    if plot is not None:
        click.echo(report.draw(found, plot), err=True)


COMMANDS = (runs,)
