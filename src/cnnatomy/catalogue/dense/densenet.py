"""DenseNet (Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from cnnatomy.catalogue.entry import Entry
from cnnatomy.layers import AvgPool, BatchNorm, Conv, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.network import Block, Chain, Dense, FeatureMap, LinearHead, Network
from cnnatomy.network.parts import Stem

PAPER = "Huang et al. 2016, Densely connected convolutional networks"


@value
class DenseLayer(Block):
    """BN-ReLU-1x1 to 4 times the growth, BN-ReLU-3x3 to the growth: DenseNet-B of section 3 of the paper."""

    growth: int

    stem = "layer"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Conv(4 * self.growth, 1, bias=False)(ReLU()(BatchNorm()(x)))
        return Conv(self.growth, 3, padding=1, bias=False)(ReLU()(BatchNorm()(x)))


@value
class Transition(Block):
    """Halves the channels by 1x1 and the rows and columns by average pooling: DenseNet-C of section 3 of the paper."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Conv(x.channels // 2, 1, bias=False)(ReLU()(BatchNorm()(x)))
        return AvgPool(2)(x)


def densenet(layers: Sequence[int], growth: int = 32, classes: int = 1000) -> Network:
    """Four dense blocks of so many layers with transitions between them (table 1 of the paper)."""
    body: dict[str, Block] = {}
    for number, count in enumerate(layers, start=1):
        body[f"dense{number}"] = Dense(*[DenseLayer(growth)] * count)
        if number < len(layers):
            body[f"transition{number}"] = Transition()
    return Network(
        tail=Stem(2 * growth),
        body=Chain(**body),
        head=Chain(bn=BatchNorm(), relu=ReLU(), classifier=LinearHead(classes)),
    )


BLOCKS = (DenseLayer, Transition)
ENTRIES = (
    Entry(
        "densenet-121",
        "dense",
        2016,
        "dense blocks of 6, 12, 24, 16 layers, growth 32",
        PAPER,
        densenet,
        {"layers": (6, 12, 24, 16)},
    ),
)
