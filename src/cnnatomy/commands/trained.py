"""Commands that use a network that is trained: evaluate, predict, weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnatomy.commands.options import classes_option, device_option, input_option, needs_training, network_argument
from cnnatomy.errors import UserError

if TYPE_CHECKING:
    from cnnatomy.runs import Trained


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other data with the same classes.  [default: the run's own test split]")
@device_option
@click.option(
    "--format", type=click.Choice(("table", "json")), default="table", show_default=True, help="How to print it."
)
def evaluate(run: Path, data: str | None, device: str, format: str) -> None:
    """Evaluate RUN, a run folder: top-1, top-5, precision and recall by class, confusion matrix."""
    needs_training()
    from cnnatomy.report import training
    from cnnatomy.runs import Trained

    result, what = Trained.load(run, device).evaluate(data)
    click.echo(training.evaluation(result, what, format))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option(
    "--format", type=click.Choice(("table", "json", "csv")), default="table", show_default=True, help="How to print it."
)
def predict(run: Path, images: tuple[Path, ...], device: str, format: str) -> None:
    """Say what is on IMAGES, with the network of RUN: the likeliest classes, five at most.

    A file that is no usable image is reported and the others are still answered; the exit code is then 2.
    """
    needs_training()
    from cnnatomy.runs import Trained

    if not print_predictions(Trained.load(run, device), images, format):
        sys.exit(2)


@click.command()
@network_argument
@click.option("--from", "source", required=True, help="torchvision:NAME, timm:NAME, or a .safetensors or .pth file.")
@click.option("--pretrained", is_flag=True, help="Let torchvision or timm fetch its trained weights.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the weights to this .safetensors file.")
@click.option("--run", type=click.Path(path_type=Path), help="Write a run folder, for `predict` and `evaluate --data`.")
@click.option("--pairs", is_flag=True, help="Print which layer took the weights of which.")
@input_option
@classes_option
def weights(
    network: str,
    source: str,
    pretrained: bool,
    out: Path | None,
    run: Path | None,
    pairs: bool,
    input: Any,
    classes: int | None,
) -> None:
    """Take weights for NETWORK from other people's code or files, aligned by structure and shape, not by name.

    A model of torchvision or timm is run beside ours: each layer takes the weights of the layer there that reads the
    same tensor, and the outputs are compared. A file is matched by the shapes and order of its layers. What does not
    fit is listed, and nothing is written. NETWORK may be what others made (.onnx, .prototxt, python:) where all its
    layers are ours; of an ONNX file the structure is read, never the weights.

    \b
    cnnatomy weights resnet-50 --from torchvision:resnet50 --pretrained --run runs/resnet-50
    cnnatomy weights mobilenet-v2 --from mobilenet_v2-b0353104.pth --out mobilenet-v2.safetensors
    """
    from cnnatomy.readers import resolve

    ours = resolve(network, classes, input)
    needs_training()
    from cnnatomy.report import training
    from cnnatomy.runs import RunFolder
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.runs.weights import sources

    if out is not None and out.suffix != ".safetensors":
        raise UserError(f"{out}: weights are written as .safetensors; for a run folder, use --run")
    if run is not None:
        run_folder.check_free(RunFolder(run))
    done = sources.transplant(ours, source, pretrained)
    for our_path, path_there in done.pairs if pairs else ():
        click.echo(f"{our_path:<40} {path_there}")
    for line in training.transplanted(done, ours, source):
        click.echo(line)
    if out is not None:
        sources.save(done.state, out)
        click.echo(f"Weights: {out}")
    if run is not None:
        place = RunFolder(run)
        run_folder.create(place, sources.as_run(ours, source))
        sources.save(done.state, place.model)
        click.echo(f"The run folder: {run}\n  cnnatomy predict {run} IMAGE...")


def print_predictions(trained: Trained, images: Sequence[Path], format: str = "table", top: int = 5) -> bool:
    """Prints what is on each image, as it is known; whether every file could be read."""
    from cnnatomy.report import training

    sound, answers = True, []
    if format == "csv":
        click.echo(training.CSV_HEADER)
    for answer in trained.predict(images, top):
        if answer.error:
            sound = False
            click.echo(f"cnnatomy: {answer.path}: {answer.error}", err=True)
        if format == "json":
            answers.append(answer)
        elif text := training.prediction(answer, format):
            click.echo(text)
    if format == "json":
        click.echo(training.predictions_json(answers))
    return sound


COMMANDS = (evaluate, predict, weights)
