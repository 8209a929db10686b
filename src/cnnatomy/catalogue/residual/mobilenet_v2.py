"""MobileNet V2 (Sandler et al.: MobileNetV2: inverted residuals and linear bottlenecks, 2018)."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import conv_bn, gated
from cnnatomy.layers import Add, BatchNorm, Conv, DepthwiseConv, Layer, ReLU6
from cnnatomy.layers.layer import value

PAPER = "Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks"


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, but never more than 10 % below, as in the authors' code."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


@value
class InvertedResidual(Block):
    """1x1 to `expansion` times the channels, depthwise 3x3, linear 1x1 down; added to the input where shapes agree.

    Figure 3b and table 1 of the paper. With expansion 1 there is no first 1x1, as in the released network.
    """

    channels: int
    expansion: int = 6
    stride: int = 1
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = x
        if self.expansion != 1:
            y = ReLU6()(conv_bn(x, self.expansion * x.channels, 1))
        y = ReLU6()(BatchNorm()(DepthwiseConv(3, self.stride, 1, bias=False)(y)))
        y = gated(conv_bn(y, self.channels, 1), self.gate)
        return Add()(x, y) if y.shape == x.shape else y


class MobileNetV2Stage(NamedTuple):
    """A line of table 2 of the paper: expansion t, channels c, number of blocks n, stride s of the first."""

    t: int
    c: int
    n: int
    s: int


TABLE = (
    MobileNetV2Stage(1, 16, 1, 1),
    MobileNetV2Stage(6, 24, 2, 2),
    MobileNetV2Stage(6, 32, 3, 2),
    MobileNetV2Stage(6, 64, 4, 2),
    MobileNetV2Stage(6, 96, 3, 1),
    MobileNetV2Stage(6, 160, 3, 2),
    MobileNetV2Stage(6, 320, 1, 1),
)


def mobilenet_v2(width: float = 1.0, classes: int = 1000) -> Network:
    """Table 2 of the paper. `width` scales all channels but those of the last 1x1, which never has fewer than 1280."""

    def conv(channels: int, kernel: int, stride: int = 1) -> Chain:
        layer = Conv(channels, kernel, stride, kernel // 2, bias=False)
        return Chain(conv=layer, bn=BatchNorm(), relu=ReLU6())

    def stage(row: MobileNetV2Stage) -> Chain:
        channels = make_divisible(row.c * width)
        first = InvertedResidual(channels, row.t, row.s)
        return Chain(first, *[InvertedResidual(channels, row.t)] * (row.n - 1))

    stages = {f"stage{number}": stage(row) for number, row in enumerate(TABLE, start=1)}
    return Network(
        tail=conv(make_divisible(32 * width), 3, stride=2),
        body=Chain(**stages, last=conv(make_divisible(1280 * max(1.0, width)), 1)),
        head=LinearHead(classes, dropout=0.2),
    )


def _entry(width: float) -> Entry:
    name = "mobilenet-v2" if width == 1 else f"mobilenet-v2-{width}"
    summary = "inverted residuals, linear bottlenecks" + (f", {width} times as wide" if width != 1 else "")
    aliases = ("mobilenet-v2-1.0",) if width == 1 else ()
    return Entry(name, "residual", 2018, summary, PAPER, mobilenet_v2, {"width": width}, aliases=aliases)


BLOCKS = (InvertedResidual,)
ENTRIES = tuple(_entry(width) for width in (1.0, 1.4, 0.75, 0.5, 0.35))
