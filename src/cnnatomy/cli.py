"""The command line: one verb, one call. Heavy imports stay inside the verbs, so that `show` starts in 0.2 s."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import click

from cnnatomy.errors import UserError
from cnnatomy.options import (
    batch_option,
    classes_option,
    critique_options,
    device_option,
    format_option,
    input_option,
    needs,
    needs_training,
    network_argument,
    report_format_option,
)
from cnnatomy.verbs import Verbs


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnatomy")
def main() -> None:
    """Design convolutional networks: see what every layer costs and can see, then train.

    \b
    cnnatomy list                         what networks there are
    cnnatomy show resnet-50               every layer: parameters, MACs, receptive field
    cnnatomy compare vgg-16 resnet-50     side by side
    cnnatomy critique vgg-16              what a good designer would object to
    cnnatomy train lenet-5 --data digits  train on real images
    cnnatomy demo                         all of it in a minute

    NETWORK is a name that `cnnatomy list` shows, in any case and with any separators (ResNet50, resnet_50), the path of
    a YAML design, or what others made: model.onnx, deploy.prototxt (Caffe), and any torch module as
    python:package.module:callable, such as python:torchvision.models:resnet50.
    """


@main.command("list")
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
    from cnnatomy.errors import nearest
    from cnnatomy.export.reports import listing
    from cnnatomy.network.graph import no_garbage_collection

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
    from cnnatomy.export import reports

    click.echo(reports.show(account_of(network, classes, input), depth, format))


def account_of(network: str, classes: int | None = None, input: Any = None) -> Any:
    """The account of whatever NETWORK names."""
    from cnnatomy.analysis import account
    from cnnatomy.readers import read_graph

    return account(*read_graph(network, classes, input))


@main.command()
@click.argument("networks", nargs=-1, required=True)
@input_option
@classes_option
@format_option
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the charts into this .svg, .png or .html file.")
def compare(networks: tuple[str, ...], input: Any, classes: int | None, format: str, plot: Path | None) -> None:
    """Compare NETWORKS side by side, with the ratio to the first.

    With --plot: published accuracy against operations, the area of a ball its parameters; and memory against depth.
    """
    from cnnatomy.export import comparison

    accounts = [account_of(name, classes, input) for name in networks]
    click.echo(comparison.compare(networks, accounts, (classes, input), format, plot))


@main.command()
@network_argument
@input_option
@classes_option
@critique_options
def critique(network: str, strict: str | None, **request: Any) -> None:
    """Criticise NETWORK: what a good designer would object to, with evidence, source, remedy and what that would cost.

    \b
    cnnatomy critique resnet-50 --input 3x512x1024 --objects 24:400 --device rtx-4090
    cnnatomy critique my.yaml --strict
    cnnatomy critique alexnet --fix better.yaml
    """
    from cnnatomy.export import critique as review

    text, findings = review.review(network, **request)
    click.echo(text)
    if strict and review.reaches(findings, strict):
        sys.exit(1)


@main.command()
@click.argument("names", metavar="[RULE]...", nargs=-1)
@report_format_option("json", "markdown")
def rules(names: tuple[str, ...], format: str) -> None:
    """List the rules of the critique, or explain those named: why, who says so, and when they do not hold."""
    from cnnatomy.export.rules import explain

    click.echo(explain(names, format))


@main.command()
@click.argument("name")
@click.option("--from", "source", help="Begin with a copy of this network.")
@click.option("--schema", is_flag=True, help="Write design.schema.json beside it, for editors that check YAML.")
def new(name: str, source: str | None, schema: bool) -> None:
    """Write NAME.yaml, a design with comments, to edit. A file that is there already stays as it is."""
    from cnnatomy.readers import draft

    click.echo(draft.create(name, source, schema))


@main.command()
@network_argument
@click.option("--memory", required=True, help="What there is, such as 8GiB.")
@click.option("--train", is_flag=True, help="A training step; otherwise inference.")
@click.option("--optimizer", default="momentum", show_default=True, help="sgd, momentum or adam.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bf16 or fp16; in training by autocast.")
@click.option("--in-place", is_flag=True, help="Activations write over their input where that is safe.")
@click.option("--checkpoint", type=click.IntRange(1), help="Recompute blocks at this depth instead of keeping them.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda: whose allocator.")
@input_option
@classes_option
@format_option
def fit(network: str, input: Any, classes: int | None, memory: str, train: bool, format: str, **setting: Any) -> None:
    """Find the largest batch of NETWORK that fits, as eager torch allocates; without what kernels take for themselves.

    \b
    cnnatomy fit resnet-50 --memory 8GiB --train --optimizer adam --dtype bf16 --device cuda
    """
    from cnnatomy.export.memory import fit as largest
    from cnnatomy.readers import read_graph

    click.echo(largest(*read_graph(network, classes, input), memory, train, setting, format))


@main.command()
@network_argument
@input_option
@classes_option
@click.option("--device", default="here", show_default=True, help="`here` (calibrated), or a name of devices.yaml.")
@batch_option
@click.option("--dtype", default="float32", show_default=True, help="float32, tf32, float16, bfloat16 or int8.")
@format_option
def roofline(network: str, input: Any, classes: int | None, device: str, batch: int, dtype: str, format: str) -> None:
    """Say for each layer of NETWORK whether compute or memory limits it, and how long it takes at least.

    The work is 2 FLOPs for each multiply-accumulate, the traffic inputs, output and weights moved once. On this machine
    (`here`, after `cnnatomy calibrate`) the time predicted from measured kernels stands beside it.

    \b
    cnnatomy roofline resnet-50 --device a100-40gb --dtype float16 --batch 64
    """
    from cnnatomy.export import timings

    click.echo(timings.roofline(account_of(network, classes, input), device, batch, dtype, format))


@main.command()
@format_option
def calibrate(format: str) -> None:
    """Measure this machine once, for predicted times: half a minute to two; best with nothing else running.

    Kept in the user's cache (XDG_CACHE_HOME, or ~/.cache/cnnatomy) for this processor, number of cores, OMP_NUM_THREADS
    and version of torch; when one of them changes, it has to be done again.
    """
    needs("torch")
    from cnnatomy.export import timings
    from cnnatomy.timing import calibrate as measuring

    with click.progressbar(length=1000, label="timing kernels", file=sys.stderr) as bar:
        measured = measuring.calibrate(step=lambda done, of: bar.update(done * 1000 // of - bar.pos))
    click.echo(timings.calibration(measured, str(measuring.save(measured)), format))


@main.command("time")
@network_argument
@input_option
@classes_option
@batch_option
@click.option("--repetitions", type=click.IntRange(1), default=20, show_default=True, help="After a warm-up of 3.")
@click.option(
    "--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where to compute."
)
@format_option
def time_command(
    network: str, input: Any, classes: int | None, batch: int, repetitions: int, device: str, format: str
) -> None:
    """Time NETWORK for real, as a whole and layer by layer: eager torch, evaluation, float32.

    The median of the repetitions with the quartiles around it; beside it the prediction, after `cnnatomy calibrate`.
    """
    needs("torch")
    from cnnatomy.export import timings

    click.echo(timings.timing(account_of(network, classes, input), batch, repetitions, device, format))


@main.command()
@network_argument
@click.option("--data", help="digits, fashion-mnist, a folder of class folders or of IDX files.  [default: digits]")
@click.option("--epochs", type=click.IntRange(1), help="Epochs at most; early stopping may end before.")
@click.option("--batch-size", type=click.IntRange(1), help="Pictures a step.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NETWORK]")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and dropout.")
@device_option
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, as it was begun.")
@click.option("--recipe", help="default, lenet-5, alexnet, vgg or resnet; other options change it.")
@click.option("--learning-rate", type=float, help="Of the first epochs; cut to a tenth on a plateau.")
@click.option("--patience", type=click.IntRange(1), help="Epochs without a lower validation loss before it stops.")
@click.option("--init", "initialisation", help="Initialisation: he, xavier, calibrated (1/n) or torch.")
@input_option
def train(
    network: str,
    data: str | None,
    out: Path | None,
    device: str,
    resume: bool,
    recipe: str | None,
    input: Any,
    **changes: Any,
) -> None:
    """Train NETWORK on real pictures; keeps everything in one run folder.

    Choices are made on the validation split; the test split is used once, at the end. What others made (.onnx,
    .prototxt, python:) begins with new weights, where all its layers are ours: a softmax at its end is left to the
    loss, and its last layer gets the classes of the data.
    """
    needs_training()
    from cnnatomy.training import session

    request = session.Request(network, data, out, input, recipe, changes, device, resume)
    place, _ = session.train(request, session.out_console())
    click.echo(session.what_next(place))


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other data with the same classes.  [default: the run's own test split]")
@device_option
@click.option(
    "--format", type=click.Choice(("table", "json")), default="table", show_default=True, help="How to print it."
)
def evaluate(run: Path, data: str | None, device: str, format: str) -> None:
    """Evaluate RUN, a run folder: top-1, top-5, precision and recall by class, confusion matrix."""
    needs_training()
    from cnnatomy.training import session

    session.evaluate(run, data, device, format, session.out_console())


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option(
    "--format", type=click.Choice(("table", "json", "csv")), default="table", show_default=True, help="How to print it."
)
def predict(run: Path, images: tuple[Path, ...], device: str, format: str) -> None:
    """Say what is on IMAGES, with the network of RUN: the likeliest classes, five at most.

    A file that is no usable picture is reported and the others are still answered; the exit code is then 2.
    """
    needs_training()
    from cnnatomy.training import session

    if not session.predict(run, images, device, format, session.out_console()):
        sys.exit(2)


@main.command()
@network_argument
@click.option("--from", "source", required=True, help="torchvision:NAME, timm:NAME, or a .safetensors or .pth file.")
@click.option("--pretrained", is_flag=True, help="Let torchvision or timm fetch its trained weights.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the weights to this .safetensors file.")
@click.option("--run", type=click.Path(path_type=Path), help="Write a run folder, for `predict` and `evaluate --data`.")
@click.option("--pairs", is_flag=True, help="Print which layer took the weights of which.")
@input_option
@classes_option
def weights(network: str, source: str, input: Any, classes: int | None, **options: Any) -> None:
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

    needs_training()
    from cnnatomy.training import session

    session.take_weights(resolve(network, classes, input), source, **options, console=session.out_console())


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/demo, or the next free name]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and augmentation."
)
@device_option
def demo(out: Path | None, seed: int, device: str) -> None:
    """The main job in a minute: show and criticise LeNet-5, train it on real digits, evaluate it, predict pictures."""
    needs_training()
    from cnnatomy.export import reports
    from cnnatomy.export.findings import in_short

    lenet = account_of("lenet-5", 10)
    click.echo("1. What LeNet-5 costs and sees (cnnatomy show lenet-5)\n")
    click.echo(reports.show(lenet, None, "table"))
    click.echo("\n2. What a good designer would object to today (cnnatomy critique lenet-5)\n")
    click.echo(in_short(lenet))

    from cnnatomy.training import session

    session.demo(out, seed, device, session.out_console())


def run() -> None:
    """The console script: `main`, and then no looking for garbage among what ends with the process anyway."""
    try:
        main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()
