"""Commands that use a network that is trained: evaluate, predict, weights."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnatomy.commands.bars import images_bar
from cnnatomy.commands.images import STDIN, NamedImage, named_images
from cnnatomy.commands.options import (
    classes_option,
    device_option,
    input_option,
    needs_training,
    network_argument,
    report_format_option,
)
from cnnatomy.errors import UserError, printable, quoted
from cnnatomy.files import check_new

if TYPE_CHECKING:
    from cnnatomy.runs import Run, RunFolder, Trained

WORTH_A_BAR = 256
"""Images whose prediction takes long enough to show."""
AUTO = "auto"

average_option = click.option(
    "--average",
    type=click.Choice(("flip", "shifts")),
    help="Average probabilities over each image and its mirror; shifts: both moved to the corners, too.",
)
exit_option = click.option("--exit-threshold", help="Of early exits: how likely a class must be to leave there.")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other data with the same classes.  [default: the run's own test split]")
@average_option
@exit_option
@device_option
@report_format_option("json")
def evaluate(
    run: Path, data: str | None, average: str | None, exit_threshold: str | None, device: str, format: str
) -> None:
    """Evaluate RUN, a run folder: what its task measures, such as top-1, F1 and ROC area of every class."""
    needs_training()
    from cnnatomy.report import training

    result, what = _with_exits(_loaded(run, device, average), exit_threshold).evaluate(data)
    click.echo(training.evaluation(result, what, format))


def _loaded(run: Path, device: str, average: str | None = None) -> Trained:
    from cnnatomy.runs import Trained
    from cnnatomy.runs.averages import averaged

    trained = Trained.load(run, device)
    return averaged(trained, average) if average else trained


@click.command()
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", help="Other data with the same classes.  [default: the runs' own test split]")
@device_option
@report_format_option("json")
def ensemble(runs: tuple[Path, ...], data: str | None, device: str, format: str) -> None:
    """Evaluate several runs together: the mean of their probabilities, beside each of them alone.

    They have the same classes; their networks, and the sizes of their inputs, may differ.
    """
    needs_training()
    from cnnatomy.report import runs as report
    from cnnatomy.runs.averages import Ensemble

    together, what = Ensemble([_loaded(run, device) for run in runs]).evaluate(data)
    click.echo(report.ensemble([str(run) for run in runs], together, what, format))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes of each, at most.")
@click.option(
    "--threshold",
    help="Say `do not know` where no class is as likely; each of several labels, and an object, from there on; auto: as"
    " chosen.",
)
@average_option
@exit_option
@device_option
@click.option(
    "--format",
    type=click.Choice(("table", "json", "jsonl", "csv")),
    default="table",
    show_default=True,
    help="How to print it; jsonl is an object a line.",
)
def predict(
    run: Path,
    images: tuple[str, ...],
    top: int,
    threshold: str | None,
    average: str | None,
    exit_threshold: str | None,
    device: str,
    format: str,
) -> None:
    """Say what is on IMAGES, with the network of RUN: the likeliest classes.

    IMAGES are files, folders (all images in them, however deep), or - for names on standard input, one a line or ended
    by NUL. Each answer is printed as soon as it is known. A file that is no usable image is reported and the others
    are still answered; the exit code is then 2.

    \b
    cnnatomy predict runs/mine photo.jpg scans/ --top 1
    cnnatomy predict runs/mine scans/ --threshold 0.9 --format csv > answers.csv
    find ~ -name '*.jpg' -print0 | cnnatomy predict runs/mine - --format jsonl
    """
    needs_training()
    least = 0.0 if threshold is None or threshold == AUTO else _probability("--threshold", threshold, f", or {AUTO}")
    trained = _with_exits(_loaded(run, device), exit_threshold)
    if threshold == AUTO:
        trained, least = trained.as_chosen()
    elif threshold is not None:
        trained, least = _with_threshold(trained, least)
    if average:
        from cnnatomy.runs.averages import averaged

        trained = averaged(trained, average)
    if not print_predictions(trained, images, format, top, least):
        sys.exit(2)


def _probability(option: str, text: str, other: str = "") -> float:
    """What an option says; `other` is what else it may be, for the message."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError(f"{option} {quoted(text)}: expected a probability from 0 to 1{other}")
    return value


def _with_threshold(trained: Trained, least: float) -> tuple[Trained, float]:
    """With this probability from which on each of several labels, or an object, is said, and below which one label is
    not known."""
    task = trained.run.task
    chosen = task.with_threshold(least)
    if chosen is None:
        raise UserError(f"--threshold is for labels and objects; the task of {trained.name} is {task.kind}")
    if chosen is task:
        return trained, least
    return replace(trained, run=replace(trained.run, task=chosen), choices={}), 0.0  # not those of validation


def _with_exits(trained: Trained, threshold: str | None) -> Trained:
    """With another probability from which on early exits are taken; raises `UserError` where there are none."""
    if threshold is None:
        return trained
    least = _probability("--exit-threshold", threshold)
    from cnnatomy.tasks.several import EarlyExits

    task = trained.run.task
    if not isinstance(task, EarlyExits):
        raise UserError(f"--exit-threshold is for networks with early exits; the task of {trained.name} is {task.kind}")
    return replace(trained, run=replace(trained.run, task=replace(task, threshold=least)))


@click.command()
@network_argument
@click.option(
    "--from",
    "source",
    help="torchvision:NAME, timm:NAME, or a .onnx, .caffemodel, .safetensors or .pth file; not for an .onnx NETWORK.",
)
@click.option("--pretrained", is_flag=True, help="Let torchvision or timm fetch its trained weights.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the weights to this .safetensors file.")
@click.option("--run", type=click.Path(path_type=Path), help="Write a run folder, for `predict` and `evaluate --data`.")
@click.option("--names", help="Class names in the order of the outputs, for --run: a,b,c, or a file with one a line.")
@click.option("--pairs", is_flag=True, help="Print which layer took the weights of which.")
@input_option
@classes_option
def weights(
    network: str,
    source: str | None,
    pretrained: bool,
    out: Path | None,
    run: Path | None,
    names: str | None,
    pairs: bool,
    input: Any,
    classes: int | None,
) -> None:
    """Take weights for NETWORK from other people's code or files, aligned by structure and shape, not by name.

    A model of torchvision or timm is run beside ours: each layer takes the weights of the layer there that reads the
    same tensor, and the outputs are compared; so is an ONNX file. Other files are matched by the shapes and order of
    their layers. What does not fit is listed, and nothing is written.

    NETWORK may be what others made (.onnx, .prototxt, python:) where all its layers are ours. An ONNX file has its
    weights with it and needs no --from; a prototxt takes those of its .caffemodel, by the names of its layers.

    \b
    cnnatomy weights resnet-50 --from torchvision:resnet50 --pretrained --run runs/resnet-50
    cnnatomy weights model.onnx --run runs/model
    cnnatomy weights deploy.prototxt --from net.caffemodel --run runs/net
    cnnatomy weights mobilenet-v2 --from mobilenet_v2-b0353104.pth --out mobilenet-v2.safetensors
    cnnatomy weights lenet-5 --from mine.pth --names cat,dog --run runs/mine
    """
    from cnnatomy.readers import has_weights, resolve

    needs_training()
    from cnnatomy.report import training
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.runs.weights import sources

    if names is not None and run is None:
        raise UserError("--names is kept in a run folder: name one with --run")
    named = sources.class_names(names) if names is not None else ()
    ours = resolve(network, classes or len(named) or None, input, stored=True)
    if source is None:
        if not has_weights(network):
            raise UserError(
                f"{network} has no weights with it: name what has them with --from (torchvision:NAME, timm:NAME, or a"
                f" file ending in {', '.join(sources.FILES)})"
            )
        source = network
    if out is not None:
        if out.suffix != ".safetensors":
            raise UserError(f"{out}: weights are written as .safetensors; for a run folder, use --run")
        check_new(out)
    if run is not None:
        run_folder.check_free(RunFolder(run))
    described = sources.as_run(ours, source, named) if run is not None else None
    done = sources.transplant(ours, source, pretrained, network)
    for our_path, path_there in done.pairs if pairs else ():
        click.echo(f"{our_path:<40} {path_there}")
    for line in training.transplanted(done, ours, source):
        click.echo(line)
    if out is not None:
        sources.save(done.state, out, ours.name)
        click.echo(f"Weights: {out}")
    if run is not None and described is not None:
        place = RunFolder(run)
        run_folder.create(place, described)
        sources.save(done.state, place.model, ours.name)
        if described.network != ours:
            click.echo("The run is of the network without the softmax at its end, which `predict` computes.")
        _echo_made(place, described)


def _echo_made(place: RunFolder, run: Run) -> None:
    """Says what a run of others' weights does to images and scores that their file does not, and what next."""
    from cnnatomy.data.loading import FITS
    from cnnatomy.runs.weights.sources import IMAGENET
    from cnnatomy.tasks.ends import bounded

    for said, wanted, _ in bounded(run.network, run.shape, run.task):
        click.echo(
            f"Note: {said}. `predict` computes the {wanted} of that: the order of the classes stays, their"
            " probabilities are not what the file gives."
        )

    what = "ImageNet's" if run.normalisation == IMAGENET else "that of pixels from 0 to 1: none"
    click.echo(f"Normalisation: {what}; where the weights want another, change mean and std in {place.run}")
    click.echo(f"Images: --fit {run.loading.fit} ({FITS[run.loading.fit]}); another is `fit` there")
    click.echo(f"The run folder: {place.path}\n  cnnatomy predict {shlex.quote(str(place.path))} IMAGE...")


def print_predictions(
    trained: Trained, images: Sequence[str | Path], format: str = "table", top: int = 5, threshold: float = 0.0
) -> bool:
    """Prints what is on each image, as it is known; whether every file could be read."""
    from cnnatomy.report import training
    from cnnatomy.runs.trained import IMAGES_AT_ONCE, Prediction

    sound = True
    batches = named_images(images, IMAGES_AT_ONCE)
    print_text = partial(click.echo, nl=False, color=True)  # color: a name may have escape codes, and keeps them
    with (
        _bar(images, batches) as watched,
        training.predictions(format, threshold, print_text) as write,
    ):
        for batch in watched:
            predicted = trained.predict([named.path for named in batch if not named.error], top)
            for named in batch:
                answer = Prediction(named.path, error=named.error) if named.error else next(predicted)
                if answer.error:
                    sound = False
                    click.echo(f"cnnatomy: {printable(answer.path)}: {answer.error}", err=True)
                write(answer)
    return sound


@contextmanager
def _bar(names: Sequence[str | Path], batches: Iterator[list[NamedImage]]) -> Iterator[Iterable[list[NamedImage]]]:
    """The same batches with a bar, where there are many, and the terminal does not show the answers anyway."""
    if not sys.stderr.isatty() or sys.stdout.isatty() or STDIN in map(str, names):
        yield batches
        return
    known = list(batches)
    count = sum(map(len, known))
    if count < WORTH_A_BAR:
        yield known
        return
    from rich.console import Console

    with images_bar("images", count, Console(stderr=True)) as tell:
        yield _watched(known, tell)


def _watched(batches: list[list[NamedImage]], tell: Callable[[int], None]) -> Iterator[list[NamedImage]]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        tell(done)


COMMANDS = (evaluate, ensemble, predict, weights)
