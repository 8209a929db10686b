"""MobileNet V1 (Howard et al.: MobileNets: efficient convolutional neural networks for mobile vision, 2017)."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv, ReLU, ReLU6
from cnnatomy.layers.layer import value

PAPER = "Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision applications"

Rectifier = ReLU | ReLU6
RELU = ReLU()


@value
class DepthwiseSeparable(Block):
    """3x3 in each channel by itself, then 1x1 across channels, each with batch norm and ReLU (figure 3 right)."""

    channels: int
    stride: int = 1
    activation: Rectifier = RELU

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = self.activation(BatchNorm()(DepthwiseConv(3, self.stride, padding=1, bias=False)(x)))
        return self.activation(BatchNorm()(Conv(self.channels, 1, bias=False)(x)))


TABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
"""Table 1 of the paper: output channels and stride of each pair of depthwise and 1x1 convolution.

The paper prints stride 2 for the last, too, but keeps its map at 7 x 7: its 569 million MACs need stride 1.
"""


def mobilenet(width: float = 1.0, last_stride: int = 1, activation: Rectifier = RELU, classes: int = 1000) -> Network:
    """13 separable convolutions, all channels times the width multiplier (section 3.3), for any resolution."""
    return Network(
        tail=Chain(conv=Conv(int(32 * width), 3, stride=2, padding=1, bias=False), bn=BatchNorm(), relu=activation),
        body=Chain(
            *(DepthwiseSeparable(int(channels * width), stride, activation) for channels, stride in TABLE[:-1]),
            DepthwiseSeparable(int(1024 * width), last_stride, activation),
        ),
        head=LinearHead(classes),
    )


def _entries() -> Iterator[Entry]:
    for width in (1.0, 0.75, 0.5, 0.25):
        name, summary = f"mobilenet-v1-{width}", f"depthwise separable convolutions, width {width}"
        aliases = ("mobilenet-v1", "mobilenet") if width == 1 else ()
        yield Entry(name, "chain", 2017, summary, PAPER, mobilenet, {"width": width}, aliases=aliases)
    for suffix, summary, arguments in (
        ("1.0-relu6", "width 1.0 with ReLU6, as released with TensorFlow, and timm's", {"activation": ReLU6()}),
        ("literal-stride", "an erratum, for comparison: stride 2 in the last block, as printed", {"last_stride": 2}),
    ):
        yield Entry(f"mobilenet-v1-{suffix}", "chain", 2017, summary, PAPER, mobilenet, arguments)


BLOCKS = (DepthwiseSeparable,)
ENTRIES = tuple(_entries())
