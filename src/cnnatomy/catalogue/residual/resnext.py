"""ResNeXt (Xie, Girshick, Dollár, Tu, He: Aggregated residual transformations for deep neural networks, 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.resnet import shortcut, stages
from cnnatomy.design import Block, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import Stem, conv_bn, conv_bn_relu, gated
from cnnatomy.layers import Add, BatchNorm, Concat, Conv, Layer, ReLU
from cnnatomy.layers.layer import value

PAPER = "Xie et al. 2016, Aggregated residual transformations for deep neural networks"


@value
class _ResNeXt(Block):
    """A bottleneck whose 3x3 reads `groups` sets of `width` channels apart (figure 3 of the paper, in three forms).

    With tied weights the forms compute the same: `GroupedBottleneck` (c) is the one to build, the others explain it.
    """

    channels: int
    groups: int = 32
    width: int = 4
    stride: int = 1
    gate: Layer | Block | None = None

    stem = "block"

    def branch(self, x: FeatureMap, groups: int = 1) -> FeatureMap:
        """1x1 to `width` channels for each of so many groups, and a 3x3 inside each group."""
        y = conv_bn_relu(x, groups * self.width, 1)
        return conv_bn_relu(y, groups * self.width, 3, self.stride, groups=groups)

    def added(self, x: FeatureMap, y: FeatureMap) -> FeatureMap:
        return ReLU()(Add()(gated(y, self.gate), shortcut(x, self.channels, self.stride, "B")))


@value
class GroupedBottleneck(_ResNeXt):
    """Form (c): 1x1, grouped 3x3, 1x1, added to the input."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return self.added(x, conv_bn(self.branch(x, self.groups), self.channels, 1))


@value
class ConcatenatedBottleneck(_ResNeXt):
    """Form (b), early concatenation: as many branches of 1x1 and 3x3 as groups, concatenated, 1x1."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        branches = [self.branch(x) for _ in range(self.groups)]
        return self.added(x, conv_bn(Concat()(*branches), self.channels, 1))


@value
class AggregatedBottleneck(_ResNeXt):
    """Form (a), aggregated transformations: each branch ends in its own 1x1; their sum is normalised."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        branches = [Conv(self.channels, 1, bias=False)(self.branch(x)) for _ in range(self.groups)]
        return self.added(x, BatchNorm()(Add()(*branches) if len(branches) > 1 else branches[0]))


def resnext(
    depths: Sequence[int], groups: int = 32, width: int = 4, ceil: bool = False, classes: int = 1000
) -> Network:
    """Table 1 of the paper: 256 channels and `groups` x `width` inside at first, both doubled at each stage."""

    def block(channels: int, stride: int = 1) -> Block:
        return GroupedBottleneck(channels, groups, width * channels // 256, stride)

    return Network(tail=Stem(64, ceil), body=stages(block, depths, width=256), head=LinearHead(classes))


class ResNeXtVariant(NamedTuple):
    """A network: depth, cardinality x width of the first bottleneck, and the blocks of each stage."""

    depth: int
    groups: int
    width: int
    depths: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"resnext-{self.depth}-{self.groups}x{self.width}d"


TABLE = (
    ResNeXtVariant(50, 32, 4, (3, 4, 6, 3)),
    ResNeXtVariant(101, 32, 4, (3, 4, 23, 3)),
    ResNeXtVariant(101, 64, 4, (3, 4, 23, 3)),
)


def _entry(row: ResNeXtVariant) -> Entry:
    summary = f"3x3 convolutions in {row.groups} groups of {row.width} channels"
    arguments = {"depths": row.depths, "groups": row.groups, "width": row.width}
    aliases = (f"resnext-{row.depth}",) if row.groups == 32 else ()
    return Entry(row.name, "residual", 2016, summary, PAPER, resnext, arguments, aliases=aliases)


BLOCKS = (GroupedBottleneck, ConcatenatedBottleneck, AggregatedBottleneck)
ENTRIES = tuple(map(_entry, TABLE))
