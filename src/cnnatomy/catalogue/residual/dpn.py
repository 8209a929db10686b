"""Dual path networks (Chen, Li, Xiao, Jin, Yan, Feng: Dual path networks, 2017).

A residual path, whose channels are added to, and a dense path, which grows: both are carried in one map, the channels
of the residual path first, and both are read and written by the same convolutions.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network, parts
from cnnatomy.design.parts import gated
from cnnatomy.layers import Add, BatchNorm, Concat, Conv, Layer, MaxPool, ReLU, Slice
from cnnatomy.layers.layer import value

PAPER = "Chen et al. 2017, Dual path networks"

EPSILON = 1e-3
"""Of every batch norm, as in the authors' code."""

bn_relu_conv = partial(parts.bn_relu_conv, epsilon=EPSILON)


@value
class DualPathProjection(Block):
    """The shortcut of a stage's first block: 1x1 to the residual path and twice the growth."""

    channels: int
    stride: int = 1

    stem = "shortcut"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return bn_relu_conv(x, self.channels, 1, self.stride)


@value
class DualPathBlock(Block):
    """1x1, grouped 3x3, 1x1, of which `residual` channels are added and `growth` concatenated (figure 2e).

    The first block of a stage (`projects`) starts from a 1x1 of what it reads.
    """

    residual: int
    growth: int
    width: int
    groups: int
    stride: int = 1
    projects: bool = False
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        carried = x
        if self.projects:
            carried = DualPathProjection(self.residual + 2 * self.growth, self.stride)(x)
        y = bn_relu_conv(x, self.width, 1)
        y = bn_relu_conv(y, self.width, 3, self.stride, self.groups)
        y = gated(bn_relu_conv(y, self.residual + self.growth, 1), self.gate)
        added = Add()(Slice(0, self.residual)(carried), Slice(0, self.residual)(y))
        return Concat()(added, Slice(self.residual, carried.channels)(carried), Slice(self.residual, y.channels)(y))


class DPNVariant(NamedTuple):
    """A column of table 1 of the paper: tail, groups and width of the first stage, blocks and growth of each."""

    depth: int
    tail: int
    groups: int
    width: int
    blocks: tuple[int, ...]
    growths: tuple[int, ...]


TABLE = (
    DPNVariant(92, 64, 32, 96, (3, 4, 20, 3), (16, 32, 24, 128)),
    DPNVariant(98, 96, 40, 160, (3, 6, 20, 3), (16, 32, 32, 128)),
    DPNVariant(131, 128, 40, 160, (4, 8, 28, 3), (16, 32, 32, 128)),
)


def dpn(
    tail: int, groups: int, width: int, blocks: tuple[int, ...], growths: tuple[int, ...], classes: int = 1000
) -> Network:
    """Table 1 of the paper: from stage to stage width and residual path double, and each has a growth of its own."""

    def stage(number: int) -> Chain:
        block = DualPathBlock(256 << number, growths[number], width << number, groups)
        first = block.replace(stride=2 if number else 1, projects=True)
        return Chain(first, *[block] * (blocks[number] - 1))

    return Network(
        tail=Chain(
            conv=Conv(tail, 7, stride=2, padding=3, bias=False),
            bn=BatchNorm(EPSILON),
            relu=ReLU(),
            pool=MaxPool(3, 2, padding=1),
        ),
        body=Chain(**{f"conv{number + 2}": stage(number) for number in range(4)}),
        head=Chain(bn=BatchNorm(EPSILON), relu=ReLU(), classifier=LinearHead(classes)),
    )


def _entry(row: DPNVariant) -> Entry:
    summary = f"residual and dense path in one, {row.groups} groups"
    depth, *columns = row
    arguments = dict(zip(row._fields[1:], columns, strict=True))
    return Entry(f"dpn-{depth}", "residual", 2017, summary, PAPER, dpn, arguments)


BLOCKS = (DualPathProjection, DualPathBlock)
ENTRIES = tuple(map(_entry, TABLE))
