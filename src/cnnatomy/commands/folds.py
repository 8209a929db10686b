"""Training on each of several folds: every image is tested once, by a network that has not seen it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

from cnnatomy.commands.one_run import run_name, trained_by
from cnnatomy.commands.requests import Request
from cnnatomy.errors import UserError


def trained_on_folds(request: Request) -> None:
    """Trains a run for each fold in a folder of them, and prints the mean of what they measure, with its interval.

    With `resume` the folds that are complete stay, and the others go on.
    """
    from cnnatomy.files import write_json
    from cnnatomy.report import runs as report
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.runs.folds import across

    assert request.folds is not None
    if request.final is not None:
        raise UserError("--final is for one run; of folds, each has its own choices")
    place = request.out or Path("runs") / f"{run_name(request.network)}-folds"
    seconds = request.seconds / request.folds if request.seconds is not None else None
    places = [RunFolder(place / f"fold-{fold}") for fold in range(1, request.folds + 1)]
    if request.resume and not place.is_dir():
        raise UserError(f"{place} does not exist: leave out --resume, or name the folder of the folds with --out")
    for each in places:
        if not request.resume:
            run_folder.check_free(each, request.remedy)
    for fold, each in enumerate(places, 1):
        click.echo(f"{chr(10) * (fold > 1)}Fold {fold} of {request.folds}")
        begun = request.resume and run_folder.is_run(each)
        trained_by(replace(request, out=each.path, fold=fold, resume=begun, seconds=None if begun else seconds))
    found = across([each.path for each in places])
    write_json(place / "folds.json", found.as_dict())
    click.echo(report.folds(found))
    click.echo(f"\nThe runs are in {place}: fold-1 to fold-{request.folds}, and folds.json")
    click.echo(f"  cnnatomy runs {shlex.quote(str(place))}     all of them")
