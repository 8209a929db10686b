"""Xception (Chollet: Xception: deep learning with depthwise separable convolutions, 2016)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.resnet import shortcut
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import conv_bn_relu, gated
from cnnatomy.layers import Add, BatchNorm, Conv, DepthwiseConv, Layer, MaxPool, ReLU
from cnnatomy.layers.layer import value

PAPER = "Chollet 2016, Xception: deep learning with depthwise separable convolutions"


def separable_bn(x: FeatureMap, channels: int) -> FeatureMap:
    """A 3x3 in each channel, then a 1x1 over the channels with nothing between them, and batch norm."""
    x = DepthwiseConv(3, padding=1, bias=False)(x)
    return BatchNorm()(Conv(channels, 1, bias=False)(x))


@value
class XceptionBlock(Block):
    """ReLU and a separable convolution for each of `widths`, a 3x3 max pool if it strides, added to the input.

    Figure 5 of the paper; the first block has no ReLU before its first convolution (`activated`).
    """

    widths: tuple[int, ...]
    stride: int = 1
    activated: bool = False
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = x
        for number, channels in enumerate(self.widths):
            if number or not self.activated:
                y = ReLU()(y)
            y = separable_bn(y, channels)
        if self.stride > 1:
            y = MaxPool(3, self.stride, padding=1)(y)
        return Add()(gated(y, self.gate), shortcut(x, self.widths[-1], self.stride, "B"))


@value
class XceptionTail(Block):
    """3x3 of stride 2 and 3x3, without padding."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return conv_bn_relu(conv_bn_relu(x, 32, 3, stride=2, padding=0), 64, 3, padding=0)


@value
class SeparableConvolutions(Block):
    """Separable convolutions, each with batch norm and ReLU: the end of the exit flow."""

    widths: tuple[int, ...]

    stem = "separable"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for channels in self.widths:
            x = ReLU()(separable_bn(x, channels))
        return x


def xception(classes: int = 1000) -> Network:
    """Figure 5 of the paper: entry flow, eight times the middle flow, exit flow."""
    return Network(
        tail=XceptionTail(),
        body=Chain(
            entry=Chain(
                XceptionBlock((128, 128), stride=2, activated=True),
                XceptionBlock((256, 256), stride=2),
                XceptionBlock((728, 728), stride=2),
            ),
            middle=Chain(*[XceptionBlock((728, 728, 728))] * 8),
            exit=Chain(XceptionBlock((728, 1024), stride=2), SeparableConvolutions((1536, 2048))),
        ),
        head=LinearHead(classes),
        input=(3, 299, 299),
    )


BLOCKS = (XceptionBlock, XceptionTail, SeparableConvolutions)
ENTRIES = (
    Entry(
        "xception",
        "residual",
        2016,
        "depthwise separable convolutions alone, in residual blocks",
        PAPER,
        xception,
        input=(3, 299, 299),
    ),
)
