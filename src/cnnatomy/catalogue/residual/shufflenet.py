"""ShuffleNet (Zhang, Zhou, Lin, Sun: ShuffleNet: an extremely efficient convolutional neural network, 2017)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import conv_bn, conv_bn_relu, gated
from cnnatomy.layers import Add, AvgPool, BatchNorm, ChannelShuffle, Concat, DepthwiseConv, Layer, MaxPool, ReLU
from cnnatomy.layers.layer import value

PAPER = "Zhang et al. 2017, ShuffleNet: an extremely efficient convolutional neural network for mobile devices"


@value
class ShuffleUnit(Block):
    """Grouped 1x1 to a quarter of the channels, shuffle, depthwise 3x3, grouped 1x1 (figure 2b of the paper).

    With stride 2 the input, average pooled, is not added but concatenated (figure 2c), so that the branch has only the
    channels that are new. The first unit of all reads few channels: its first 1x1 is not grouped.
    """

    channels: int
    groups: int
    stride: int = 1
    first: bool = False
    gate: Layer | Block | None = None

    stem = "unit"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        new = self.channels if self.stride == 1 else self.channels - x.channels
        y = conv_bn_relu(x, self.channels // 4, 1, groups=1 if self.first else self.groups)
        if self.groups > 1:
            y = ChannelShuffle(self.groups)(y)
        y = BatchNorm()(DepthwiseConv(3, self.stride, 1, bias=False)(y))
        y = gated(conv_bn(y, new, 1, groups=self.groups), self.gate)
        if self.stride == 1:
            return ReLU()(Add()(x, y))
        return ReLU()(Concat()(AvgPool(3, self.stride, padding=1)(x), y))


@value
class SmallStem(Block):
    """3x3 convolution of stride 2, batch norm, ReLU, 3x3 max pool of stride 2."""

    width: int = 24

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return MaxPool(3, 2, padding=1)(conv_bn_relu(x, self.width, 3, stride=2))


WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
"""Channels of the first stage for so many groups: about the same complexity (table 1 of the paper)."""


def shufflenet(groups: int, classes: int = 1000) -> Network:
    """Table 1 of the paper: stages of 4, 8 and 4 units; the channels double at each stage."""

    def stage(number: int, repeat: int) -> Chain:
        channels = WIDTHS[groups] << number - 2
        down = ShuffleUnit(channels, groups, stride=2, first=number == 2)
        return Chain(down, *[ShuffleUnit(channels, groups)] * repeat)

    body = Chain(stage2=stage(2, 3), stage3=stage(3, 7), stage4=stage(4, 3))
    return Network(tail=SmallStem(), body=body, head=LinearHead(classes))


def _entry(groups: int) -> Entry:
    summary = "1x1 convolutions without groups" if groups == 1 else f"1x1 convolutions in {groups} groups, shuffled"
    aliases = ("shufflenet",) if groups == 3 else ()
    arguments = {"groups": groups}
    return Entry(f"shufflenet-g{groups}", "residual", 2017, summary, PAPER, shufflenet, arguments, aliases=aliases)


BLOCKS = (ShuffleUnit, SmallStem)
ENTRIES = tuple(map(_entry, WIDTHS))
