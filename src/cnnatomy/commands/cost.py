"""Commands that say what a network takes on a machine: fit, roofline, calibrate, time."""

from __future__ import annotations

import sys
from typing import Any

import click

from cnnatomy.commands.options import (
    account_of,
    batch_option,
    classes_option,
    format_option,
    input_option,
    needs,
    network_argument,
    regions_option,
)


@click.command()
@network_argument
@click.option("--memory", required=True, help="What there is, such as 8GiB.")
@click.option("--train", is_flag=True, help="A training step; otherwise inference.")
@click.option("--optimizer", default="momentum", show_default=True, help="sgd, momentum or adam.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bf16 or fp16; in training by autocast.")
@click.option("--in-place", is_flag=True, help="Activations write over their input where that is safe.")
@click.option("--checkpoint", type=click.IntRange(1), help="Recompute blocks at this depth instead of keeping them.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda: whose allocator.")
@input_option
@regions_option
@classes_option
@format_option
def fit(
    network: str,
    input: Any,
    regions: int | None,
    classes: int | None,
    memory: str,
    train: bool,
    format: str,
    **setting: Any,
) -> None:
    """Find the largest batch of NETWORK that fits, as eager torch allocates; without what kernels take for themselves.

    \b
    cnnatomy fit resnet-50 --memory 8GiB --train --optimizer adam --dtype bf16 --device cuda
    """
    from cnnatomy.readers import read_graph
    from cnnatomy.report.memory import fit as largest

    click.echo(largest(*read_graph(network, classes, input, regions), memory, train, setting, format))


@click.command()
@network_argument
@input_option
@regions_option
@classes_option
@click.option("--device", default="here", show_default=True, help="`here` (calibrated), or a name of devices.yaml.")
@batch_option
@click.option("--dtype", default="float32", show_default=True, help="float32, tf32, float16, bfloat16 or int8.")
@format_option
def roofline(
    network: str,
    input: Any,
    regions: int | None,
    classes: int | None,
    device: str,
    batch: int,
    dtype: str,
    format: str,
) -> None:
    """Say for each layer of NETWORK whether compute or memory limits it, and how long it takes at least.

    The work is 2 FLOPs for each multiply-accumulate, the traffic inputs, output and weights moved once. On this machine
    (`here`, after `cnnatomy calibrate`) the time predicted from measured kernels stands beside it.

    \b
    cnnatomy roofline resnet-50 --device a100-40gb --dtype float16 --batch 64
    """
    from cnnatomy.report import timings

    click.echo(timings.roofline(account_of(network, classes, input, regions), device, batch, dtype, format))


@click.command()
@format_option
def calibrate(format: str) -> None:
    """Measure this machine once, for predicted times: half a minute to two; best with nothing else running.

    Kept in the user's cache (XDG_CACHE_HOME, or ~/.cache/cnnatomy) for this processor, number of cores, OMP_NUM_THREADS
    and version of torch; when one of them changes, it has to be done again.
    """
    needs("torch")
    from cnnatomy.report import timings
    from cnnatomy.timing import calibrate as measuring

    with click.progressbar(length=1000, label="timing kernels", file=sys.stderr) as bar:
        measured = measuring.calibrate(step=lambda done, of: bar.update(done * 1000 // of - bar.pos))
    click.echo(timings.calibration(measured, str(measuring.save(measured)), format))


@click.command("time")
@network_argument
@input_option
@classes_option
@batch_option
@click.option(
    "--repetitions", type=click.IntRange(1, 100_000), default=20, show_default=True, help="After a warm-up of 3."
)
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
    from cnnatomy.report import timings

    click.echo(timings.timing(account_of(network, classes, input), batch, repetitions, device, format))


COMMANDS = (
    fit,
    roofline,
    calibrate,
    time_command,
)
