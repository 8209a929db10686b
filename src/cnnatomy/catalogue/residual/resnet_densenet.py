"""ResNet and DenseNet in series: a project idea of the lectures (lecture 001, "ResNet DenseNet (Serial)").

DenseNet is good at breadth, which is wanted before down sampling; ResNet is good at depth.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnatomy.catalogue.dense.densenet import DenseLayer
from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.preact_resnet import PreActBottleneck, preact_head
from cnnatomy.design import Block, Chain, Dense, Network
from cnnatomy.design.parts import Stem
from cnnatomy.layers import AvgPool, Layer

PAPER = "Lecture 001, ResNet DenseNet (Serial): a project idea"


def resnet_densenet_serial(residual: Sequence[int], growth: int = 32, classes: int = 1000) -> Network:
    """Stages of 0 to N residual blocks (`residual`), then one dense block, then down sampling.

    The residual blocks keep the channels; the dense block doubles them, right before the 2x2 average pool halves rows
    and columns. All blocks are pre-activated. The lecture gives no sizes; these are ours.
    """

    def stage(number: int) -> Chain:
        channels = 64 << number
        deep = {f"block{i + 1}": PreActBottleneck(channels // 4) for i in range(residual[number])}
        broad = Dense(*[DenseLayer(growth)] * (channels // growth))
        down: dict[str, Layer | Block] = {"pool": AvgPool(2)} if number < len(residual) - 1 else {}
        return Chain(**deep, dense=broad, **down)

    body = Chain(**{f"stage{number + 1}": stage(number) for number in range(len(residual))})
    return Network(tail=Stem(64), body=body, head=preact_head(classes))


BLOCKS = ()
ENTRIES = (
    Entry(
        "resnet-densenet-serial",
        "residual",
        2018,
        "residual blocks for depth, then a dense block for breadth, in each stage",
        PAPER,
        resnet_densenet_serial,
        {"residual": (2, 3, 5, 2)},
    ),
)
