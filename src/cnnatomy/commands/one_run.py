"""One training, from what was asked for to its run folder, with progress on the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnatomy.commands.requests import Ready, Request, again, prepared
from cnnatomy.errors import UserError

if TYPE_CHECKING:
    from cnnatomy.data import Data
    from cnnatomy.runs import Run, RunFolder, Trained
    from cnnatomy.training import Recipe
    from cnnatomy.training.preparing import Plan
    from cnnatomy.training.watching import Watcher


def trained_by(request: Request) -> tuple[RunFolder, Trained | None]:
    """Trains as requested, with progress on the terminal; the run folder, and None where it was complete before."""
    from cnnatomy.report import training
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.training import resuming
    from cnnatomy.training.fitting import carry_out
    from cnnatomy.training.progress import ShowProgress

    if request.seconds is not None:
        _check_time(request)
    if request.final is not None:
        request = again(request)
    place = RunFolder(request.out or Path("runs") / run_name(request.network))
    if request.resume:
        run_folder.check_idle(place)
    else:
        run_folder.check_free(place, request.remedy)
    trackers = _trackers(request, place.path)
    ready = prepared(request, place)
    plan, data, before = ready.plan, ready.data, ready.before
    if request.seconds is not None:
        plan = _in_time(request.seconds, ready)
    recipe = plan.recipe
    for line in training.beginning(plan, data):
        click.echo(line)
    if before is not None and run_folder.is_complete(place) and not _goes_on(before, recipe):
        click.echo(f"{place.path} is complete already: nothing to do. With --epochs MORE it goes on")
        return place, None
    for line in _objections(request, ready, place):
        click.echo(line)
    try:
        watch = [ShowProgress(ready.console), *trackers]
        trained = carry_out(plan, data, place, before, watch=watch, checkpoint_every=request.checkpoint_every)
    except KeyboardInterrupt:
        if run_folder.is_run(place):
            click.echo("Interrupted; everything up to the last checkpoint is kept. To go on:")
            click.echo(f"  {resuming.going_on(place, recipe, plan.run)}")
        raise
    _tell(trained, data, recipe)
    return place, trained


def _objections(request: Request, ready: Ready, place: RunFolder) -> list[str]:
    """The errors of the critique, at the beginning of what was not begun before: of folds once, not of `--final`."""
    if ready.before is not None or request.final is not None or request.fold > 1:
        return []
    from cnnatomy.report.objections import before_training

    run = ready.plan.run
    folder = str(place.path) if request.design is not None else None
    return before_training(request.network, ready.network, run.network, ready.data.shape, len(run.classes), folder)


def _check_time(request: Request) -> None:
    """Raises `UserError` where something else says how many epochs there are."""
    if "epochs" in request.changes:
        raise UserError("--time says how many epochs there are: leave out --epochs, or --time")
    if request.resume:
        raise UserError("--time is for the beginning: a run that goes on keeps its epochs, or gets --epochs MORE")


def _in_time(seconds: float, ready: Ready) -> Plan:
    """The plan with as many epochs as fit into this time."""
    from cnnatomy.training import pace

    recipe = pace.within(seconds, ready.plan, ready.data)
    return ready.plan.with_recipe(recipe, f"in {seconds:g} s: {recipe.epochs:g} epochs")


def _tell(trained: Trained, data: Data, recipe: Recipe) -> None:
    """Says how training ended, what it waited for, and what the test split says."""
    from cnnatomy.report import training, waiting
    from cnnatomy.training import augmenting

    assert trained.outcome is not None
    click.echo(training.ending(trained.outcome, trained.run.task.metric))
    share = trained.outcome.summary["training"]["waiting"]
    for line in waiting.hints(share, data, augmenting.cuts_files(recipe, data)):
        click.echo(line)
    what = f"test split of {data.source}, which training never saw"
    click.echo(training.evaluation(trained.outcome.test, what))


def _trackers(request: Request, run: Path) -> list[Watcher]:
    if not request.loggers:
        return []
    from cnnatomy.training import trackers

    return [trackers.named(name, run) for name in request.loggers]


def _goes_on(before: Run, recipe: Recipe) -> bool:
    """Whether a recipe asks for other than a complete run: what would only change its next step changes nothing."""
    from cnnatomy.training.resuming import AMENDABLE

    new, old = recipe.as_dict(), type(recipe).of(before).as_dict()
    return any(new[name] != old[name] for name in new if name not in AMENDABLE or name in ("epochs", "patience"))


def what_next(place: RunFolder) -> str:
    """Where everything is and what to type next."""
    path = shlex.quote(str(place.path))
    return (
        f"\nThe run is in {place.path}: design.yaml, model.safetensors, metrics.csv, summary.json\n"
        f"  cnnatomy predict {path} IMAGE...     what is on your own images\n"
        f"  cnnatomy evaluate {path}             how good it is, in detail\n"
        f"  tensorboard --logdir {shlex.quote(str(place.tensorboard))}"
    )


def run_name(network: str) -> str:
    """What the folder of its runs is called, where no other name is given."""
    path = Path(network.lower().rpartition(":")[2])  # of python:package.module:callable the last part
    return path.stem if path.suffix in (".yaml", ".yml", ".onnx", ".prototxt") else path.name
