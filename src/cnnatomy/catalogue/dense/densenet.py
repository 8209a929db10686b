"""DenseNet (Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, Dense, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import Stem
from cnnatomy.layers import AvgPool, BatchNorm, Conv, ReLU
from cnnatomy.layers.layer import value

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


class DenseNetVariant(NamedTuple):
    """A column of table 1 of the paper; 161 is in its first version, where 264 is not (and has 265 layers in fact)."""

    depth: int
    layers: tuple[int, ...]
    growth: int = 32


TABLE = (
    DenseNetVariant(121, (6, 12, 24, 16)),
    DenseNetVariant(161, (6, 12, 36, 24), growth=48),
    DenseNetVariant(169, (6, 12, 32, 32)),
    DenseNetVariant(201, (6, 12, 48, 32)),
    DenseNetVariant(264, (6, 12, 64, 48)),
)

BLOCKS = (DenseLayer, Transition)
ENTRIES = tuple(
    Entry(
        f"densenet-{row.depth}",
        "dense",
        2016,
        f"dense blocks of {', '.join(map(str, row.layers))} layers, growth {row.growth}",
        PAPER,
        densenet,
        {"layers": row.layers, "growth": row.growth},
    )
    for row in TABLE
)
