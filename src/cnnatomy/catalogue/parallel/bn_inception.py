"""BN-Inception, also called Inception V2 (Ioffe and Szegedy: Batch normalization, 2015)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.layers import AvgPool, BatchNorm, Concat, Conv, MaxPool, ReLU
from cnnatomy.layers.layer import value

PAPER = "Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training"


def conv(x: FeatureMap, channels: int, kernel: int, stride: int = 1) -> FeatureMap:
    """Convolution, padded by half the kernel, batch norm, ReLU. The biases that batch norm makes idle are kept."""
    return ReLU()(BatchNorm()(Conv(channels, kernel, stride, kernel // 2)(x)))


@value
class BNInception(Block):
    """GoogLeNet's module with two 3x3 convolutions in place of 5x5 and a pool of either kind (figure 5 of the paper).

    The fields are the columns of the figure: #1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3, pool and
    proj. Without 1x1 and projection (`ones` and `projected` 0), stride is 2 and the pool hands its input on.
    """

    ones: int
    reduce3: int
    threes: int
    reduce33: int
    doubles: int
    pool: AvgPool | MaxPool
    projected: int

    stem = "inception"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        stride = 1 if self.ones else 2
        a = [conv(x, self.ones, 1)] if self.ones else []
        b = conv(conv(x, self.reduce3, 1), self.threes, 3, stride)
        c = conv(conv(conv(x, self.reduce33, 1), self.doubles, 3), self.doubles, 3, stride)
        d = self.pool(x)
        return Concat()(*a, b, c, conv(d, self.projected, 1) if self.projected else d)


AVERAGE_POOL, MAX_POOL, DOWN = AvgPool(3, 1, padding=1), MaxPool(3, 1, padding=1), MaxPool(3, 2, ceil=True)
INCEPTIONS = {
    "3a": BNInception(64, 64, 64, 64, 96, AVERAGE_POOL, 32),
    "3b": BNInception(64, 64, 96, 64, 96, AVERAGE_POOL, 64),
    "3c": BNInception(0, 128, 160, 64, 96, DOWN, 0),
    "4a": BNInception(224, 64, 96, 96, 128, AVERAGE_POOL, 128),
    "4b": BNInception(192, 96, 128, 96, 128, AVERAGE_POOL, 128),
    "4c": BNInception(160, 128, 160, 128, 160, AVERAGE_POOL, 128),
    "4d": BNInception(96, 128, 192, 160, 192, AVERAGE_POOL, 128),
    "4e": BNInception(0, 128, 192, 192, 256, DOWN, 0),
    "5a": BNInception(352, 192, 320, 160, 224, AVERAGE_POOL, 128),
    "5b": BNInception(352, 192, 320, 192, 224, MAX_POOL, 128),
}
"""Figure 5 of the paper. Its columns make 608 channels in 4c and 4d; the 576 that it prints need `projected` 96."""


@value
class BNInceptionTail(Block):
    """GoogLeNet's tail with batch norm in place of local response norm. Pools round up, as in Caffe."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = DOWN(conv(x, 64, 7, stride=2))
        return DOWN(conv(conv(x, 64, 1), 192, 3))


def bn_inception(projected: int = 128, classes: int = 1000) -> Network:
    """Ten modules; the map halves in 3c and 4e, and not in a pool between them.

    As ported to Caffe, with a plain first convolution, which is separable in TensorFlow's Inception V2. `projected`
    is the number of channels after the pools of 4c and 4d.
    """
    changed = {name: INCEPTIONS[name].replace(projected=projected) for name in ("4c", "4d")}
    body = Chain(**{f"inception{name}": block for name, block in (INCEPTIONS | changed).items()})
    return Network(BNInceptionTail(), body, LinearHead(classes))


BLOCKS = (BNInception, BNInceptionTail)
ENTRIES = (
    Entry(
        "bn-inception",
        "parallel",
        2015,
        "GoogLeNet with batch norm, and two 3x3 convolutions for each 5x5",
        PAPER,
        bn_inception,
        aliases=("inception-bn", "inception-v2"),
    ),
    Entry(
        "bn-inception-576",
        "parallel",
        2015,
        "with 576 channels after 4c and 4d rather than 608, as in TensorFlow and Caffe2",
        PAPER,
        bn_inception,
        {"projected": 96},
    ),
)
