"""GoogLeNet (Szegedy et al.: Going deeper with convolutions, 2014)."""

from __future__ import annotations

from typing import Any

from cnnatomy.catalogue.entry import Entry
from cnnatomy.layers import AvgPool, Concat, Conv, Dropout, Flatten, FullyConnected, LocalResponseNorm, MaxPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.network import Block, FeatureMap, Heads, LinearHead, Named, Network

PAPER = "Szegedy et al. 2014, Going deeper with convolutions"


def conv_relu(x: FeatureMap, channels: int, kernel: int, stride: int = 1) -> FeatureMap:
    """Convolution, padded by half the kernel, and ReLU."""
    return ReLU()(Conv(channels, kernel, stride, kernel // 2)(x))


@value
class Inception(Block):
    """1x1, 3x3 and 5x5 convolutions and a max pool side by side, reduced by 1x1 convolutions (figure 2b of the paper).

    The fields are the columns of table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
    """

    ones: int
    reduce3: int
    threes: int
    reduce5: int
    fives: int
    pooled: int

    def __call__(self, x: FeatureMap) -> FeatureMap:
        a = conv_relu(x, self.ones, 1)
        b = conv_relu(conv_relu(x, self.reduce3, 1), self.threes, 3)
        c = conv_relu(conv_relu(x, self.reduce5, 1), self.fives, 5)
        d = conv_relu(MaxPool(3, 1, padding=1)(x), self.pooled, 1)
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


@value
class GoogLeNetTail(Block):
    """Table 1 of the paper down to the second max pool. Pools round up, as in Caffe, where the network was released."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = conv_relu(x, 64, 7, stride=2)
        x = LocalResponseNorm()(MaxPool(3, 2, ceil=True)(x))
        x = conv_relu(conv_relu(x, 64, 1), 192, 3)
        return MaxPool(3, 2, ceil=True)(LocalResponseNorm()(x))


@value
class InceptionBody(Block):
    """The nine inception blocks; with `auxiliary` it returns the maps after 4a and 4d as well."""

    auxiliary: bool = False

    def __call__(self, x: FeatureMap) -> Any:
        after = {}
        for name, block in INCEPTIONS.items():
            if name in ("4a", "5a"):
                x = Named(f"pool{int(name[0]) - 1}", MaxPool(3, 2, ceil=True))(x)
            x = after[name] = Named(f"inception{name}", block)(x)
        return (x, after["4a"], after["4d"]) if self.auxiliary else x


@value
class AuxiliaryHead(Block):
    """A classifier on a map half way up, for training alone (section 5 of the paper)."""

    classes: int = 1000

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Flatten()(conv_relu(AvgPool(5, 3)(x), 128, 1))
        x = Dropout(0.7)(ReLU()(FullyConnected(1024)(x)))
        return FullyConnected(self.classes)(x)


def googlenet(auxiliary: bool = False, classes: int = 1000) -> Network:
    """22 weight layers, no batch norm."""
    head = LinearHead(classes, dropout=0.4)
    if not auxiliary:
        return Network(GoogLeNetTail(), InceptionBody(), head)
    aux = AuxiliaryHead(classes)
    names = ("auxiliary4a", "auxiliary4d")
    heads = Heads(
        main=head, auxiliary4a=aux, auxiliary4d=aux, reads=tuple(zip(names, (1, 2), strict=True)), auxiliary=names
    )
    return Network(GoogLeNetTail(), InceptionBody(auxiliary=True), heads)


BLOCKS = (Inception, GoogLeNetTail, InceptionBody, AuxiliaryHead)
ENTRIES = (
    Entry("googlenet", "parallel", 2014, "inference network, 22 layers", PAPER, googlenet, aliases=("inception-v1",)),
    Entry(
        "googlenet-aux",
        "parallel",
        2014,
        "with its two auxiliary heads for training",
        PAPER,
        googlenet,
        {"auxiliary": True},
    ),
)
