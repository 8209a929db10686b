"""The command line: one verb, one call. Heavy imports stay inside the verbs, so that `show` starts in 0.2 s."""

from __future__ import annotations

import click

from cnnatomy.commands import cost, criticise, data, demo, describe, recipes, runs, train, trained
from cnnatomy.commands.ending import Verbs


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnatomy")
def main() -> None:
    """Design convolutional networks: see what every layer costs and can see, then train.

    \b
    cnnatomy list                         what networks there are
    cnnatomy show resnet-50               every layer: parameters, MACs, receptive field
    cnnatomy compare vgg-16 resnet-50     side by side
    cnnatomy critique vgg-16              what a good designer would object to
    cnnatomy data photos/                 what is in a data set, and what is wrong with it
    cnnatomy train lenet-5 --data digits  train on real images
    cnnatomy demo                         all of it in a minute

    NETWORK is a name that `cnnatomy list` shows, in any case and with any separators (ResNet50, resnet_50), the path of
    a YAML design, or what others made: model.onnx, deploy.prototxt (Caffe), and any torch module as
    python:package.module:callable, such as python:torchvision.models:resnet50.
    """


for group in (describe, criticise, cost, recipes, data, train, trained, runs, demo):
    for command in group.COMMANDS:
        main.add_command(command)
