"""The command that trains a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnatomy.commands.bars import images_bar
from cnnatomy.commands.options import device_option, input_option, needs_training, network_argument

if TYPE_CHECKING:
    from cnnatomy.data.dataset import Progress as Report
    from cnnatomy.runs import Run, RunFolder, Trained
    from cnnatomy.training import Recipe
    from cnnatomy.training.watching import Watcher

WORTH_A_BAR = 5_000
"""Images whose reading takes long enough to show."""


@click.command()
@network_argument
@click.option("--data", help="digits, fashion-mnist, a folder of class folders or of IDX files.  [default: digits]")
@click.option("--epochs", type=click.IntRange(1), help="Epochs at most; early stopping may end before.")
@click.option("--batch-size", type=click.IntRange(1), help="Images a step.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NETWORK]")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and dropout.")
@device_option
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, as it was begun.")
@click.option("--recipe", help="default, lenet-5, alexnet, vgg or resnet; other options change it.")
@click.option("--learning-rate", type=float, help="Of the first epochs; cut to a tenth on a plateau.")
@click.option("--momentum", type=float, help="Of SGD.")
@click.option("--weight-decay", type=float, help="L2, added to the gradient.")
@click.option("--patience", type=click.IntRange(1), help="Epochs without a lower validation loss before it stops.")
@click.option("--init", "initialisation", help="Initialisation: he, xavier, calibrated (1/n) or torch.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any field of the recipe; see above.")
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    type=click.Choice(("csv", "wandb", "mlflow", "comet", "neptune")),
    help="Another tracker beside TensorBoard, through Lightning; can be repeated.",
)
@input_option
def train(
    network: str,
    data: str | None,
    out: Path | None,
    device: str,
    resume: bool,
    recipe: str | None,
    input: Any,
    settings: tuple[str, ...],
    loggers: tuple[str, ...],
    **changes: Any,
) -> None:
    """Train NETWORK on real images; keeps everything in one run folder.

    Choices are made on the validation split; the test split is used once, at the end. What others made (.onnx,
    .prototxt, python:) begins with new weights, where all its layers are ours: a softmax at its end is left to the
    loss, and its last layer gets the classes of the data.

    The fields of a recipe for --set, which can be repeated, with what they are by default: learning_rate=0.01,
    momentum=0.9, weight_decay=5e-4, batch_size=64, epochs=30, cut=0.1 (of the learning rate, after cut_patience=3
    epochs without a lower validation loss), patience=10, initialisation=he, bias=0 (of every layer at the start),
    shift=0, rotation=0 (degrees), scale=0 (of training images, at random), seed=0.
    """
    needs_training()
    place, _ = trained_by(
        Request(network, data, out, input, recipe, changes, device, resume, settings, loggers=loggers)
    )
    click.echo(what_next(place))


@dataclass(frozen=True)
class Request:
    """What `train` was asked for: names as the user typed them."""

    network: str
    source: str | None = None
    out: Path | None = None
    shape: tuple[int, int, int] | None = None
    recipe: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    resume: bool = False
    settings: tuple[str, ...] = ()
    start: str | None = None
    memory: int | None = None
    loggers: tuple[str, ...] = ()
    remedy: str = "add --resume to go on with it, or name another one with --out"


def trained_by(request: Request) -> tuple[RunFolder, Trained | None]:
    """Trains as requested, with progress on the terminal; the run folder, and None where it was complete before."""
    from cnnatomy.data import load, open_source
    from cnnatomy.data.images import check_image_shape
    from cnnatomy.machine import choose_device
    from cnnatomy.readers import resolve
    from cnnatomy.report import training
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.runs.run import image_shape
    from cnnatomy.training import fit, preparing, resuming
    from cnnatomy.training.progress import PipedConsole, ShowProgress

    console = PipedConsole(highlight=False, soft_wrap=True)
    place = RunFolder(request.out or Path("runs") / _run_name(request.network))
    before = None
    if request.resume:
        before = resuming.begun(place)
        run_folder.check_idle(place)
    else:
        run_folder.check_free(place, request.remedy)
    trackers = _trackers(request, place.path)
    recipe = _recipe(request, before)
    if before is not None:
        recipe = resuming.settled(recipe, before)
    device = choose_device(request.device)
    source = request.source if request.source is not None else before.source if before else "digits"
    images = open_source(source)
    if before is not None:
        resuming.check_classes(place.path, before, images.task(before.shape).names, images.source)
    network = resolve(request.network, images.outputs, request.shape or (before.shape if before else None))
    shape = image_shape(network)
    if before is not None:
        resuming.check_network(place.path, before, network)
    check_image_shape(shape)
    preparing.split(network, shape, min(recipe.batch_size, len(images)), recipe, device, request.memory)
    with _reading(console, len(images)) as report:
        data = load(images, shape, progress=report)
    start = _start(request)
    plan = preparing.plan(network, data, recipe, device, start=start, limit=request.memory)
    for line in training.beginning(plan, data):
        click.echo(line)
    if before is not None and before.recipe == plan.recipe.as_dict() and run_folder.is_complete(place):
        click.echo(f"{place.path} is complete already: nothing to do. With --epochs MORE it goes on")
        return place, None
    try:
        trained = fit(
            network,
            data,
            plan.recipe,
            place.path,
            resume=request.resume,
            start=start,
            device=request.device,
            watch=[ShowProgress(console), *trackers],
            memory=request.memory,
        )
    except KeyboardInterrupt:
        if run_folder.is_run(place):
            click.echo("Interrupted; everything up to the last checkpoint is kept. To go on:")
            click.echo(f"  cnnatomy train {request.network} --out {place.path} --resume")
        raise
    assert trained.outcome is not None
    click.echo(training.ending(trained.outcome, trained.run.task.metric))
    what = f"test split of {data.source}, which training never saw"
    click.echo(training.evaluation(trained.outcome.test, what))
    return place, trained


def _trackers(request: Request, run: Path) -> list[Watcher]:
    if not request.loggers:
        return []
    from cnnatomy.training import trackers

    return [trackers.named(name, run) for name in request.loggers]


def _start(request: Request) -> Trained | None:
    """The trained network that gives the first weights, if one was named."""
    if request.start is None:
        return None
    from cnnatomy.runs import Trained

    return Trained.load(request.start, request.device)


def what_next(place: RunFolder) -> str:
    """Where everything is and what to type next."""
    return (
        f"\nThe run is in {place.path}: design.yaml, model.safetensors, metrics.csv, summary.json\n"
        f"  cnnatomy predict {place.path} IMAGE...     what is on your own images\n"
        f"  cnnatomy evaluate {place.path}             every class, and the confusion matrix\n"
        f"  tensorboard --logdir {place.tensorboard}"
    )


def _recipe(request: Request, before: Run | None) -> Recipe:
    """The named recipe, else that of the run that is resumed, else the default, with whatever was asked to change."""
    from cnnatomy.training import Recipe, changed, recipe

    name = request.recipe
    base = Recipe.of(before) if before is not None and name is None else recipe("default" if name is None else name)
    changes = {key: value for key, value in request.changes.items() if value is not None}
    return changed(replace(base, **changes), request.settings)


def _run_name(network: str) -> str:
    path = Path(network.lower().rpartition(":")[2])  # of python:package.module:callable the last part
    return path.stem if path.suffix in (".yaml", ".yml", ".onnx", ".prototxt") else path.name


@contextmanager
def _reading(console: Any, count: int) -> Iterator[Report | None]:
    """A bar while many images are read."""
    if not console.is_terminal or console.is_dumb_terminal or count < WORTH_A_BAR:
        yield None
        return
    with images_bar("reading images", count, console) as tell:
        yield lambda done, total: tell(done) if done % 256 == 0 or done == total else None


COMMANDS = (train,)
