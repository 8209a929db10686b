"""The command that trains a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnnatomy.commands.folds import trained_on_folds
from cnnatomy.commands.one_run import trained_by, what_next
from cnnatomy.commands.options import (
    DATA_HELP,
    DURATION,
    device_option,
    fit_option,
    group_option,
    hold_option,
    image_option,
    needs_training,
    network_argument,
    workers_option,
)
from cnnatomy.commands.requests import prepared, request_of


def _recipe_options(command: Any) -> Any:
    """What `train` and `find-rate` have in common."""
    for option in reversed(
        (
            click.option("--data", help=f"{DATA_HELP}  [default: digits]"),
            fit_option,
            group_option,
            workers_option,
            hold_option,
            click.option("--recipe", help="By name (`cnnatomy recipe` lists them) or a YAML file; options change it."),
            click.option("--batch-size", type=click.IntRange(1), help="Images a step."),
            click.option("--optimizer", help="sgd, nesterov, rmsprop, adam, adamw or muon."),
            click.option("--momentum", type=float, help="Of sgd, nesterov, rmsprop and muon; beta 1 of adam."),
            click.option("--weight-decay", type=float, help="L2; added to the gradient, or decoupled from it (adamw)."),
            click.option("--init", "initialisation", help="Initialisation: he, xavier, calibrated (1/n) or torch."),
            click.option("--loss", help="By name, such as focal or huber, or python:package.module:callable."),
            click.option("--transform", help="Augmentation of your own, python:package.module:callable."),
            click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and dropout."),
            click.option("--start", help="Begin with the weights of a run, a file, or `pretrained`; see above."),
            click.option("--freeze", help="Parts that are not trained: tail, tail,body, or paths."),
            click.option("--memory", help="Stay within it, such as 8GiB: batches are computed in parts."),
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="FIELD=VALUE",
                help="Any field of the recipe; can be repeated.",
            ),
            image_option,
            device_option,
        )
    ):
        command = option(command)
    return command


@click.command()
@network_argument
@click.option(
    "--epochs", type=click.FloatRange(0, min_open=True), help="Epochs at most; early stopping may end before."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NETWORK]")
@click.option("--resume", is_flag=True, help="Go on with a run, as it was begun; a complete one with more --epochs.")
@click.option("--learning-rate", "--lr", type=float, help="After the warmup; the schedule changes it.")
@click.option("--schedule", help="constant, step, plateau, cosine, one-cycle or polynomial.")
@click.option("--patience", type=click.IntRange(0), help="Epochs without a lower validation loss before it stops.")
@click.option("--time", "seconds", type=DURATION, help="Fit the epochs and the schedule to this time, such as 20m.")
@click.option("--folds", type=click.IntRange(2, 100), help="Train on each of so many folds; prints mean and interval.")
@click.option("--final", type=click.Path(path_type=Path), help="Train again as this run chose, on validation data too.")
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    type=click.Choice(("csv", "wandb", "mlflow", "comet", "neptune")),
    help="Another tracker beside TensorBoard, through Lightning; can be repeated.",
)
@click.option(
    "--checkpoint-every",
    type=DURATION,
    default="5m",
    show_default=True,
    help="How often the state is kept in an epoch.",
)
@_recipe_options
def train(**options: Any) -> None:
    """Train NETWORK on real images; keeps everything in one run folder.

    NETWORK is one of the catalogue, a YAML design, what others made (.onnx, .prototxt, python:), or a YAML file with
    design, data and recipe. Choices are made on the validation split; the test split is used once, at the end. What
    there is to learn (labels, numbers, masks, objects, ...), the data say; the head has to fit it.

    --start takes the weights of tail and body; of the head, too, where the classes are the same, else it is replaced.
    `pretrained` is the weights that an .onnx NETWORK has with it, or asks torchvision or timm for theirs of NETWORK.

    \b
    cnnatomy train lenet-5 --data digits --recipe lenet-5
    cnnatomy train resnet-18 --data photos/ --start pretrained --freeze tail,body --time 20m
    cnnatomy train model.onnx --data photos/ --start pretrained
    cnnatomy train my.yaml --recipe modern --set label_smoothing=0.1 --set cut_at='[30, 60]'
    cnnatomy train run.yaml
    """
    needs_training()
    request = request_of(**options)
    if request.folds is not None:
        trained_on_folds(request)
        return
    place, _ = trained_by(request)
    click.echo(what_next(place))


@click.command("find-rate")
@_recipe_options
@network_argument
@click.option("--format", type=click.Choice(("table", "json", "csv")), default="table", show_default=True)
def find_rate(format: str, **options: Any) -> None:
    """Find a learning rate for NETWORK: train with a rising one for some steps, until the loss rises.

    The network is thrown away afterwards. What is suggested is a tenth of the rate at which the loss is lowest (Smith
    2017, "Cyclical learning rates for training neural networks", section 3.3, for the test).

    \b
    cnnatomy find-rate lenet-5 --data digits
    cnnatomy find-rate resnet-20-cifar --data fashion-mnist --optimizer adamw --batch-size 128
    """
    needs_training()
    from cnnatomy.report import training
    from cnnatomy.training import pace

    ready = prepared(request_of(**options))
    found = pace.find_rate(ready.plan, ready.data)
    click.echo(training.rates(found, format))


COMMANDS = (train, find_rate)
