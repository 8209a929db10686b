"""Inception-ResNet V1 and V2 (Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet, 2016)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.parallel.inception_v3 import (
    TALL,
    WIDE,
    InceptionA,
    InceptionV3Tail,
    ReductionA,
    conv,
    convs,
    three_convs,
)
from cnnatomy.catalogue.parallel.inception_v4 import PAPER
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import gated
from cnnatomy.layers import Add, BatchNorm, Concat, Constant, Conv, Layer, MaxPool, ReLU
from cnnatomy.layers.layer import value

Widths = tuple[int, int, int]
Gate = Layer | Block | None


def residual(x: FeatureMap, branches: FeatureMap, scale: float, gate: Gate, relu: bool = True) -> FeatureMap:
    """The branches, brought to the channels of the input by a linear 1x1, scaled down and added (figure 20)."""
    y = gated(Conv(x.channels, 1)(branches), gate)
    if scale != 1:
        y = Constant(scale)(y)
    total = Add()(y, x)
    return ReLU()(total) if relu else total


@value
class InceptionResNetA(Block):
    """35x35 pixels: 1x1; 1x1 and 3x3; 1x1 and 3x3 twice (figure 10, V2: 16)."""

    third: Widths
    scale: float = 0.17
    gate: Gate = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        r, s, t = self.third
        a, b, c = conv(x, 32, 1), convs(x, (32, 1), (32, 3)), convs(x, (r, 1), (s, 3), (t, 3))
        return residual(x, Concat()(a, b, c), self.scale, self.gate)


@value
class InceptionResNetB(Block):
    """17x17 pixels: 1x1; 1x1, 1x7 and 7x1 (figure 11, V2: 17)."""

    first: int
    second: Widths
    scale: float = 0.1
    gate: Gate = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        r, s, t = self.second
        a, b = conv(x, self.first, 1), convs(x, (r, 1), (s, WIDE), (t, TALL))
        return residual(x, Concat()(a, b), self.scale, self.gate)


@value
class InceptionResNetC(Block):
    """8x8 pixels: 1x1; 1x1, 1x3 and 3x1 (figure 13, V2: 19). The last one of the released code has no ReLU."""

    second: Widths
    scale: float = 0.2
    relu: bool = True
    gate: Gate = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        r, s, t = self.second
        a, b = conv(x, 192, 1), convs(x, (r, 1), (s, (1, 3)), (t, (3, 1)))
        return residual(x, Concat()(a, b), self.scale, self.gate, self.relu)


@value
class InceptionResNetReductionB(Block):
    """Halves 17x17 pixels: 1x1 and 3x3 of stride 2, twice; with a 3x3 between; max pool (figure 12, V2: 18)."""

    second: int
    third: tuple[int, int]

    stem = "reduction"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        s, t = self.third
        a = conv(conv(x, 256, 1), 384, 3, stride=2, padding=0)
        b = conv(conv(x, 256, 1), self.second, 3, stride=2, padding=0)
        c = conv(convs(x, (256, 1), (s, 3)), t, 3, stride=2, padding=0)
        return Concat()(a, b, c, MaxPool(3, 2)(x))


@value
class InceptionResNetV1Tail(Block):
    """299 to 35 pixels (figure 14 of the paper)."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = MaxPool(3, 2)(three_convs(x))
        x = conv(conv(x, 80, 1), 192, 3, padding=0)
        return conv(x, 256, 3, stride=2, padding=0)


def stage(block: Block, times: int, last: Block | None = None) -> Chain:
    """So many blocks alike, and a last one that differs."""
    return Chain(*[block] * times, *([last] if last else []))


def inception_resnet_v1(sixth: bool = False, classes: int = 1000) -> Network:
    """5, 10 and 5 modules (figure 15 of the paper); `sixth` adds facenet's last, neither scaled nor rectified."""
    c = InceptionResNetC((192, 192, 192))
    body = Chain(
        stage1=stage(InceptionResNetA((32, 32, 32)), 5),
        reduction1=ReductionA(k=192, l=192, m=256, n=384),
        stage2=stage(InceptionResNetB(128, (128, 128, 128)), 10),
        reduction2=InceptionResNetReductionB(256, (256, 256)),
        stage3=stage(c, 5, c.replace(scale=1.0, relu=False) if sixth else None),
    )
    return Network(InceptionResNetV1Tail(), body, LinearHead(classes, dropout=0.2))


def inception_resnet_v2(classes: int = 1000) -> Network:
    """10, 20 and 10 modules, as TensorFlow's release has it, which the published accuracy belongs to.

    The paper says 5, 10 and 5 after the tail of Inception V4. The release takes the tail of V3 and one Inception-A
    (`mixed`), leaves the last module unscaled and without ReLU, and puts a 1x1 convolution after it.
    """
    c = InceptionResNetC((192, 224, 256))
    body = Chain(
        mixed=InceptionA(96, (48, 64), (64, 96, 96), 64),
        stage1=stage(InceptionResNetA((32, 48, 64)), 10),
        reduction1=ReductionA(k=256, l=256, m=384, n=384),
        stage2=stage(InceptionResNetB(192, (128, 160, 192)), 20),
        reduction2=InceptionResNetReductionB(288, (288, 320)),
        stage3=stage(c, 9, c.replace(scale=1.0, relu=False)),
        expand=Chain(Conv(1536, 1, bias=False), BatchNorm(1e-3), ReLU()),
    )
    return Network(InceptionV3Tail(), body, LinearHead(classes, dropout=0.2))


BLOCKS = (InceptionResNetA, InceptionResNetB, InceptionResNetC, InceptionResNetReductionB, InceptionResNetV1Tail)
ENTRIES = (
    Entry(
        "inception-resnet-v1",
        "residual",
        2016,
        "as published: 5, 10, 5 modules, about the cost of Inception V3",
        PAPER,
        inception_resnet_v1,
        input=(3, 299, 299),
    ),
    Entry(
        "inception-resnet-v1-6c",
        "residual",
        2016,
        "with a sixth linear module at the end, as in the code of facenet",
        "https://github.com/davidsandberg/facenet; after " + PAPER,
        inception_resnet_v1,
        {"sixth": True},
        input=(3, 299, 299),
    ),
    Entry(
        "inception-resnet-v2",
        "residual",
        2016,
        "as released with TensorFlow: 10, 20, 10 modules after the tail of Inception V3",
        PAPER,
        inception_resnet_v2,
        input=(3, 299, 299),
    ),
)
