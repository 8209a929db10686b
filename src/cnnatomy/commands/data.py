"""The command that looks at a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnatomy.commands.bars import reading
from cnnatomy.commands.options import SHAPE, fit_option, format_option, group_option, needs_training
from cnnatomy.commands.requests import recipe_of, request_of
from cnnatomy.data.loading import FITS
from cnnatomy.data.sources.table import table
from cnnatomy.errors import UserError
from cnnatomy.report.data_views import VIEWS

if TYPE_CHECKING:
    from cnnatomy.data.frames import ImageShape
    from cnnatomy.data.inspection.gathering import Gathered
    from cnnatomy.data.inspection.samples import Augment
    from cnnatomy.report.data_views import View
    from cnnatomy.report.sheets.sheet import Sheet
    from cnnatomy.tasks.task import Task
    from cnnatomy.training import Recipe

IMAGES_A_CLASS = 8
AUGMENTED_A_CLASS = 2
"""As each is shown several times."""
EPOCHS_SHOWN = 5
MAX_SHOWN = 4_000
"""Images of a sheet."""


class Taught(click.Command):
    """Its help has the tables of sources and of fits, and of views."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """After the options."""
        for title, rows in (("DATA", table()), ("--fit", FITS.items()), ("--view", VIEWS.items())):
            with formatter.section(title):
                formatter.write_dl(list(rows))


@click.command(cls=Taught)
@click.argument("data")
@click.option("--input", type=SHAPE, help="Size to look at it in.  [default: the images' own, or 224 x 224]")
@fit_option
@group_option
@click.option(
    "--augment", "recipe", metavar="RECIPE", help="Show images before and after the augmentation of a recipe."
)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any field of the recipe, as in `train`.")
@click.option("--transform", help="Augmentation of your own, python:package.module:callable.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write images of each class to this .png or .html file.")
@click.option("--view", type=click.Choice(tuple(VIEWS)), help="Look at all images as points in the space of pixels.")
@click.option(
    "--images",
    type=click.IntRange(1, MAX_SHOWN),
    help=f"Of each class on the sheet.  [default: {IMAGES_A_CLASS}; of augmentation {AUGMENTED_A_CLASS}]",
)
@click.option("--seed", type=click.IntRange(0), help="Which images are on the sheet, and how they are augmented.")
@format_option
def data(data: str, sheet: Path | None, view: str | None, images: int | None, format: str, **options: Any) -> None:
    """Look at DATA before training: counts of each class and split, sizes, broken files, duplicates, rare classes.

    What `train` would refuse is looked at, too, and the reason told. --sheet shows images of each class with their
    masks, boxes and points; with --augment (or --set) each as it is and as training sees it in several epochs.

    \b
    cnnatomy data photos/
    cnnatomy data photos/ --sheet photos.html
    cnnatomy data photos/ --sheet augmented.html --set flip=true --set rotation=20
    cnnatomy data fashion-mnist --view pca --sheet components.png
    cnnatomy data annotations.json --format json > report.json
    """
    augments = any(options[name] not in (None, ()) for name in ("recipe", "settings", "transform"))
    _check_asked(sheet, view, images, augments)
    needs_training()
    from cnnatomy.data import Loading, open_source
    from cnnatomy.data.inspection.gathering import gather
    from cnnatomy.data.inspection.inspection import inspect
    from cnnatomy.data.inspection.size import LookedAt, suitable_size
    from cnnatomy.report import data as report
    from cnnatomy.report.data_views import view as view_of
    from cnnatomy.report.sheets.writing import check_sheet, write_sheet

    request = request_of(network="", **options)
    recipe = recipe_of(request) if augments else None
    if sheet is not None:
        check_sheet(sheet)
    source = open_source(data).grouped_by(request.group or "")
    size = LookedAt(request.input, report.GIVEN) if request.input is not None else suitable_size(source)
    loading = Loading(fit=request.fit or Loading.fit, group=request.group or "")
    change = _change(recipe, request.transform, source.task(size.shape), size.shape) if recipe is not None else None
    with reading(len(source)) as progress:
        found = gather(source, size, loading, progress=progress)
    shown = view_of(found, view, images or IMAGES_A_CLASS) if view else None
    text = report.report(inspect(found), data, format, shown, has_sheet=sheet is not None)
    wrote = ""
    if sheet is not None:
        seed = recipe.seed if recipe is not None else request.changes.get("seed", 0)
        wrote = write_sheet(_view_sheet(found, shown) if shown else _contact_sheet(found, change, images, seed), sheet)
    click.echo(text)
    if wrote:
        click.echo(wrote, err=format != "table")


def _check_asked(sheet: Path | None, view: str | None, images: int | None, augments: bool) -> None:
    if augments and view:
        raise UserError("--augment shows images before and after it, --view all of them at once: choose one")
    if sheet is None and augments:
        raise UserError("--augment and --set show images on a sheet: name one, such as --sheet augmented.html")
    if sheet is None and images is not None:
        raise UserError("--images are those of a sheet: name one, such as --sheet sheet.html")


def _change(recipe: Recipe, transform: str | None, task: Task, shape: ImageShape) -> Augment:
    """What the recipe does to images, and after it the function that the command line names."""
    from cnnatomy.readers.torch.names import load_callable
    from cnnatomy.training.preview import preview

    return preview(recipe, task, shape, load_callable(transform) if transform else None)


def _contact_sheet(found: Gathered, change: Augment | None, images: int | None, seed: int) -> Sheet:
    from cnnatomy.data.inspection.samples import sample_rows
    from cnnatomy.layers.layer import dimensions
    from cnnatomy.report.sheets.drawing import rows_of
    from cnnatomy.report.sheets.sheet import Sheet

    count = images or (AUGMENTED_A_CLASS if change else IMAGES_A_CLASS)
    rows = sample_rows(found, count, seed, change, EPOCHS_SHOWN if change else 0, MAX_SHOWN)
    lines = [f"{len(found.names):,} images, as {dimensions(found.shape)}, --fit {found.loading.fit}"]
    if change:
        lines.append(f"training images as they are, and as training sees them in {EPOCHS_SHOWN} epochs, seed {seed}")
    names = len(found.task.names)
    if 1 < len(rows) < names:
        lines.append(f"the first {len(rows):,} of {names:,} classes")
    return Sheet(found.source, tuple(lines), rows_of(rows, found.task))


def _view_sheet(found: Gathered, shown: View) -> Sheet:
    from cnnatomy.report.sheets.sheet import Sheet

    return Sheet(found.source, (shown.text.partition("\n")[0],), shown.rows)


COMMANDS = (data,)
