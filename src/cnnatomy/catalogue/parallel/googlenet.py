"""GoogLeNet (Szegedy et al.: Going deeper with convolutions, 2014), and the networks that carry its name."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, Heads, LinearHead, Network, TappedChain
from cnnatomy.design.parts import conv_bn_relu
from cnnatomy.layers import (
    AvgPool,
    Concat,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    LocalResponseNorm,
    MaxPool,
    ReLU,
)
from cnnatomy.layers.layer import value

PAPER = "Szegedy et al. 2014, Going deeper with convolutions"

ConvUnit = Literal["bias", "no bias", "batch norm"]
"""A convolution has a bias, as published, or none, or batch norm (torchvision, and then no local response norm)."""


def conv_relu(x: FeatureMap, channels: int, kernel: int, stride: int = 1, unit: ConvUnit = "bias") -> FeatureMap:
    """Convolution, padded by half the kernel, and ReLU."""
    if unit == "batch norm":
        return conv_bn_relu(x, channels, kernel, stride, epsilon=1e-3)
    return ReLU()(Conv(channels, kernel, stride, kernel // 2, bias=unit == "bias")(x))


@value
class NaiveInception(Block):
    """1x1, 3x3 and 5x5 convolutions and a max pool side by side (figure 2a of the paper).

    The pool hands all its channels on, so that every module has more than the one before.
    """

    ones: int
    threes: int
    fives: int

    stem = "inception"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        a = conv_relu(x, self.ones, 1)
        b = conv_relu(x, self.threes, 3)
        c = conv_relu(x, self.fives, 5)
        return Concat()(a, b, c, MaxPool(3, 1, padding=1)(x))


@value
class Inception(Block):
    """1x1, 3x3 and 5x5 convolutions and a max pool side by side, reduced by 1x1 convolutions (figure 2b of the paper).

    The fields are the columns of table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
    `kernel` is 5, or 3 where the branch called 5x5 is none.
    """

    ones: int
    reduce3: int
    threes: int
    reduce5: int
    fives: int
    pooled: int
    kernel: int = 5
    unit: ConvUnit = "bias"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        def conv(x: FeatureMap, channels: int, kernel: int) -> FeatureMap:
            return conv_relu(x, channels, kernel, unit=self.unit)

        a = conv(x, self.ones, 1)
        b = conv(conv(x, self.reduce3, 1), self.threes, 3)
        c = conv(conv(x, self.reduce5, 1), self.fives, self.kernel)
        d = conv(MaxPool(3, 1, padding=1)(x), self.pooled, 1)
        return Concat()(a, b, c, d)


INCEPTIONS = {
    "3a": Inception(64, 96, 128, 16, 32, 32),
    "3b": Inception(128, 128, 192, 32, 96, 64),
    "4a": Inception(192, 96, 208, 16, 48, 64),
    "4b": Inception(160, 112, 224, 24, 64, 64),
    "4c": Inception(128, 128, 256, 24, 64, 64),
    "4d": Inception(112, 144, 288, 32, 64, 64),
    "4e": Inception(256, 160, 320, 32, 128, 128),
    "5a": Inception(256, 160, 320, 32, 128, 128),
    "5b": Inception(384, 192, 384, 48, 128, 128),
}
"""Table 1 of the paper."""


@value
class GoogLeNetTail(Block):
    """Table 1 of the paper down to the second max pool. Pools round up, as in Caffe, where the network was released.

    `separable` is the first convolution of the table's own counts, 2.7K parameters and 34M operations: 7x7 in each
    channel by itself, 8 filters for each, then 1x1.
    """

    separable: bool = False
    unit: ConvUnit = "bias"

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        def norm(x: FeatureMap) -> FeatureMap:
            return x if self.unit == "batch norm" else LocalResponseNorm()(x)

        if self.separable:
            x = DepthwiseConv(7, stride=2, padding=3, multiplier=8, bias=self.unit == "bias")(x)
            x = conv_relu(x, 64, 1, unit=self.unit)
        else:
            x = conv_relu(x, 64, 7, stride=2, unit=self.unit)
        x = norm(MaxPool(3, 2, ceil=True)(x))
        x = conv_relu(conv_relu(x, 64, 1, unit=self.unit), 192, 3, unit=self.unit)
        return MaxPool(3, 2, ceil=True)(norm(x))


@value
class AuxiliaryHead(Block):
    """A classifier on a map half way up, for training alone (section 5 of the paper)."""

    classes: int = 1000

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Flatten()(conv_relu(AvgPool(5, 3)(x), 128, 1))
        x = Dropout(0.7)(ReLU()(FullyConnected(1024)(x)))
        return FullyConnected(self.classes)(x)


def body(unit: ConvUnit, kernel: int, naive: bool, last_pool: int) -> dict[str, Block | MaxPool]:
    """The nine modules, and the two pools among them."""
    parts: dict[str, Block | MaxPool] = {}
    for name, row in INCEPTIONS.items():
        if name in ("4a", "5a"):
            parts[f"pool{int(name[0]) - 1}"] = MaxPool(3 if name == "4a" else last_pool, 2, ceil=True)
        module = NaiveInception(row.ones, row.threes, row.fives) if naive else row.replace(kernel=kernel, unit=unit)
        parts[f"inception{name}"] = module
    return parts


def googlenet(
    unit: ConvUnit = "bias",
    kernel: int = 5,
    separable: bool = False,
    naive: bool = False,
    last_pool: int = 3,
    auxiliary: bool = False,
    classes: int = 1000,
) -> Network:
    """22 layers with weights (table 1 of the paper); `auxiliary` adds its two heads for training."""
    tail, parts = GoogLeNetTail(separable, unit), body(unit, kernel, naive, last_pool)
    head = LinearHead(classes, dropout=0.4)
    if not auxiliary:
        return Network(tail, Chain(**parts), head)
    taps = ("inception4a", "inception4d")
    heads = Heads(
        main=head,
        auxiliary4a=AuxiliaryHead(classes),
        auxiliary4d=AuxiliaryHead(classes),
        reads=(("auxiliary4a", 1), ("auxiliary4d", 2)),
        auxiliary=("auxiliary4a", "auxiliary4d"),
    )
    return Network(tail, TappedChain(**parts, taps=taps), heads)


class GoogLeNetVariant(NamedTuple):
    """A network that is called GoogLeNet."""

    name: str
    summary: str
    arguments: dict[str, object]
    aliases: tuple[str, ...] = ()


TABLE = (
    GoogLeNetVariant("googlenet", "inference network, 22 layers", {}, aliases=("inception-v1",)),
    GoogLeNetVariant("googlenet-aux", "with its two auxiliary heads for training", {"auxiliary": True}),
    GoogLeNetVariant(
        "googlenet-sep-stem",
        "separable first convolution, no biases: what the first row of the paper's table counts",
        {"separable": True, "unit": "no bias"},
    ),
    GoogLeNetVariant(
        "googlenet-naive", "naive modules, without 1x1 reductions: what the reductions save", {"naive": True}
    ),
    GoogLeNetVariant(
        "googlenet-torchvision",
        "as in torchvision: 3x3 in place of 5x5, batch norm, no local response norm; the paper's pools",
        {"unit": "batch norm", "kernel": 3},
    ),
    GoogLeNetVariant(
        "googlenet-tv",
        "torchvision's to the letter: googlenet-torchvision, and the last max pool 2x2",
        {"unit": "batch norm", "kernel": 3, "last_pool": 2},
    ),
)

BLOCKS = (NaiveInception, Inception, GoogLeNetTail, AuxiliaryHead)
ENTRIES = tuple(
    Entry(row.name, "parallel", 2014, row.summary, PAPER, googlenet, row.arguments, aliases=row.aliases)
    for row in TABLE
)
