"""Inception V4 (Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet, 2016)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.parallel.inception_v3 import (
    TALL,
    WIDE,
    InceptionA,
    InceptionB,
    InceptionC,
    ReductionA,
    ReductionB,
    conv,
    convs,
    three_convs,
)
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.layers import Concat, MaxPool
from cnnatomy.layers.layer import value

PAPER = "Szegedy et al. 2016, Inception-v4, Inception-ResNet and the impact of residual connections on learning"


@value
class InceptionV4Tail(Block):
    """299 to 35 pixels; it parts three times, twice into max pool and convolution (figure 3 of the paper)."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = three_convs(x)
        x = Concat()(MaxPool(3, 2)(x), conv(x, 96, 3, stride=2, padding=0))
        a = conv(conv(x, 64, 1), 96, 3, padding=0)
        b = conv(convs(x, (64, 1), (64, WIDE), (64, TALL)), 96, 3, padding=0)
        x = Concat()(a, b)
        return Concat()(conv(x, 192, 3, stride=2, padding=0), MaxPool(3, 2)(x))


A = InceptionA(96, (64, 96), (64, 96, 96), 96, kernel=3)
B = InceptionB(384, (192, 224, 256), (192, 192, 224, 224, 256), 128)
C = InceptionC(256, ((384, 1),), ((384, 1), (448, (3, 1)), (512, (1, 3))), fan=256, pooled=256)


def inception_v4(classes: int = 1000) -> Network:
    """4, 7 and 3 modules with a reduction between them (figure 9 of the paper; its modules are figures 4 to 8)."""
    body = Chain(
        stage1=Chain(*[A] * 4),
        reduction1=ReductionA(k=192, l=224, m=256, n=384),
        stage2=Chain(*[B] * 7),
        reduction2=ReductionB((192, 192), (256, 256, 320, 320)),
        stage3=Chain(*[C] * 3),
    )
    return Network(InceptionV4Tail(), body, LinearHead(classes, dropout=0.2))


BLOCKS = (InceptionV4Tail,)
ENTRIES = (
    Entry(
        "inception-v4",
        "parallel",
        2016,
        "regular stages of 4, 7, 3 modules, without residual connections",
        PAPER,
        inception_v4,
        input=(3, 299, 299),
    ),
)
