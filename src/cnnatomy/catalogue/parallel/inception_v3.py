"""Inception V3, and the parts that Inception V4 and Inception-ResNet share with it.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture for computer vision, 2015.
"""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, Heads, LinearHead, Network, TappedChain
from cnnatomy.design.parts import conv_bn_relu
from cnnatomy.layers import AvgPool, Concat, Flatten, FullyConnected, MaxPool
from cnnatomy.layers.layer import Pair, value

PAPER = "Szegedy et al. 2015, Rethinking the Inception architecture for computer vision"

ConvStep = tuple[int, int | Pair]
"""A convolution of a branch: channels, kernel."""

WIDE, TALL = (1, 7), (7, 1)


def conv(x: FeatureMap, channels: int, kernel: int | Pair, stride: int = 1, padding: int | None = None) -> FeatureMap:
    """Convolution, batch norm, ReLU. Padding keeps the size, unless it is 0: what the papers' figures mark with V."""
    return conv_bn_relu(x, channels, kernel, stride, padding, epsilon=1e-3)


def convs(x: FeatureMap, *steps: ConvStep) -> FeatureMap:
    """Convolutions one after the other."""
    for channels, kernel in steps:
        x = conv(x, channels, kernel)
    return x


def three_convs(x: FeatureMap) -> FeatureMap:
    """299 to 147 pixels by three 3x3 convolutions: what has become of GoogLeNet's 7x7."""
    x = conv(x, 32, 3, stride=2, padding=0)
    x = conv(x, 32, 3, padding=0)
    return conv(x, 64, 3)


@value
class InceptionA(Block):
    """For 35x35 pixels: 1x1; 1x1 and `kernel`; 1x1 and 3x3 twice; average pool and 1x1 (figure 5 of the paper).

    In the published network the second branch has kept its 5x5. `count_padding` is the average pool's.
    """

    ones: int
    second: Pair
    third: tuple[int, int, int]
    pooled: int
    kernel: int = 5
    count_padding: bool = False

    def __call__(self, x: FeatureMap) -> FeatureMap:
        (r, s), (t, u, v) = self.second, self.third
        a = conv(x, self.ones, 1)
        b = convs(x, (r, 1), (s, self.kernel))
        c = convs(x, (t, 1), (u, 3), (v, 3))
        d = conv(AvgPool(3, 1, padding=1, count_padding=self.count_padding)(x), self.pooled, 1)
        return Concat()(a, b, c, d)


@value
class InceptionB(Block):
    """For 17x17 pixels: 1x1; 1x1 and 7x7 as 1x7, 7x1; 1x1 and that twice; average pool and 1x1 (figure 6)."""

    ones: int
    second: tuple[int, int, int]
    third: tuple[int, int, int, int, int]
    pooled: int
    count_padding: bool = False

    def __call__(self, x: FeatureMap) -> FeatureMap:
        (r, s, t), (u, v, w, y, z) = self.second, self.third
        a = conv(x, self.ones, 1)
        b = convs(x, (r, 1), (s, WIDE), (t, TALL))
        c = convs(x, (u, 1), (v, TALL), (w, WIDE), (y, TALL), (z, WIDE))
        d = conv(AvgPool(3, 1, padding=1, count_padding=self.count_padding)(x), self.pooled, 1)
        return Concat()(a, b, c, d)


@value
class InceptionC(Block):
    """For 8x8 pixels: 1x1; two branches that fan out into 1x3 and 3x1; average pool and 1x1 (figure 7).

    Each of the two takes the `steps` of its field, and both its fans have `fan` channels.
    """

    ones: int
    second: tuple[ConvStep, ...]
    third: tuple[ConvStep, ...]
    fan: int
    pooled: int
    count_padding: bool = False

    def __call__(self, x: FeatureMap) -> FeatureMap:
        def fans(x: FeatureMap) -> tuple[FeatureMap, FeatureMap]:
            return conv(x, self.fan, (1, 3)), conv(x, self.fan, (3, 1))

        a = conv(x, self.ones, 1)
        b = fans(convs(x, *self.second))
        c = fans(convs(x, *self.third))
        d = conv(AvgPool(3, 1, padding=1, count_padding=self.count_padding)(x), self.pooled, 1)
        return Concat()(a, *b, *c, d)


@value
class ReductionA(Block):
    """Halves 35x35 pixels: 3x3 of stride 2; 1x1, 3x3 and 3x3 of stride 2; max pool (figure 10; figure 7 of V4).

    `k`, `l`, `m` and `n` are the columns of table 1 of the paper on V4.
    """

    k: int
    l: int  # noqa: E741 - the paper's name
    m: int
    n: int

    stem = "reduction"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        a = conv(x, self.n, 3, stride=2, padding=0)
        b = conv(convs(x, (self.k, 1), (self.l, 3)), self.m, 3, stride=2, padding=0)
        return Concat()(a, b, MaxPool(3, 2)(x))


@value
class ReductionB(Block):
    """Halves 17x17 pixels: 1x1 and 3x3 of stride 2; 1x1, 1x7, 7x1 and 3x3 of stride 2; max pool (figure 8 of V4)."""

    first: Pair
    second: tuple[int, int, int, int]

    stem = "reduction"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        (r, s), (t, u, v, w) = self.first, self.second
        a = conv(conv(x, r, 1), s, 3, stride=2, padding=0)
        b = conv(convs(x, (t, 1), (u, WIDE), (v, TALL)), w, 3, stride=2, padding=0)
        return Concat()(a, b, MaxPool(3, 2)(x))


@value
class InceptionV3Tail(Block):
    """299 to 35 pixels as in TensorFlow's code: three 3x3 convolutions, max pool, 1x1 to 80, 3x3 to 192, max pool."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = MaxPool(3, 2)(three_convs(x))
        x = conv(conv(x, 80, 1), 192, 3, padding=0)
        return MaxPool(3, 2)(x)


@value
class InceptionV2TableTail(Block):
    """299 to 35 pixels as in table 1 of the paper: after the max pool 3x3 to 80, 3x3 of stride 2 to 192, 3x3 to 288."""

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = MaxPool(3, 2)(three_convs(x))
        x = conv(x, 80, 3, padding=0)
        x = conv(x, 192, 3, stride=2, padding=0)
        return conv(x, 288, 3)


@value
class InceptionV3AuxiliaryHead(Block):
    """A classifier on the last map of 17x17 pixels, for training alone (figure 8). Its 5x5 needs 299 pixels."""

    classes: int = 1000

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = conv(AvgPool(5, 3)(x), 128, 1)
        x = conv(x, 768, 5, padding=0)
        return FullyConnected(self.classes)(Flatten()(x))


def inception_a(pooled: int) -> InceptionA:
    """Figure 5 with the channels of V3."""
    return InceptionA(64, (48, 64), (64, 96, 96), pooled, count_padding=True)


def inception_b(width: int) -> InceptionB:
    """Figure 6 with the channels of V3."""
    c = width
    return InceptionB(192, (c, c, 192), (c, c, c, c, 192), 192, count_padding=True)


INCEPTION_C = InceptionC(320, ((384, 1),), ((448, 1), (384, 3)), fan=384, pooled=192, count_padding=True)
BODY = {
    "mixed_5b": inception_a(pooled=32),
    "mixed_5c": inception_a(pooled=64),
    "mixed_5d": inception_a(pooled=64),
    "mixed_6a": ReductionA(k=64, l=96, m=96, n=384),
    "mixed_6b": inception_b(128),
    "mixed_6c": inception_b(160),
    "mixed_6d": inception_b(160),
    "mixed_6e": inception_b(192),
    "mixed_7a": ReductionB((192, 320), (192, 192, 192, 192)),
    "mixed_7b": INCEPTION_C,
    "mixed_7c": INCEPTION_C,
}
"""The modules by their names in TensorFlow's code, which gives the channels that the paper leaves out."""


def inception_v3(auxiliary: bool = False, classes: int = 1000) -> Network:
    """3, 4 and 2 modules as in figures 5, 6 and 7, a reduction between them; `auxiliary` adds a head for training.

    Table 1 of the paper counts the first reduction among the modules of figure 6.
    """
    head = LinearHead(classes, dropout=0.2)
    if not auxiliary:
        return Network(InceptionV3Tail(), Chain(**BODY), head)
    name = "auxiliary6e"
    heads = Heads(main=head, auxiliary6e=InceptionV3AuxiliaryHead(classes), reads=((name, 1),), auxiliary=(name,))
    return Network(InceptionV3Tail(), TappedChain(**BODY, taps=("mixed_6e",)), heads)


def inception_v2_table(classes: int = 1000) -> Network:
    """Table 1 of the paper, first row to last. The channels inside the modules, which it omits, are V3's."""
    body = BODY | {"mixed_5b": inception_a(pooled=64)}
    return Network(InceptionV2TableTail(), Chain(**body), LinearHead(classes, dropout=0.2))


def inception_v2_table_stem(classes: int = 0) -> Network:
    """The rows of table 1 that are given in full: it ends in features."""
    return Network(InceptionV2TableTail(), Chain(), Chain())


BLOCKS = (
    *(InceptionA, InceptionB, InceptionC, ReductionA, ReductionB),
    *(InceptionV3Tail, InceptionV2TableTail, InceptionV3AuxiliaryHead),
)
ENTRIES = (
    Entry(
        "inception-v3",
        "parallel",
        2015,
        "convolutions factorised into 1x7 and 7x1, 1x3 and 3x1",
        PAPER,
        inception_v3,
        input=(3, 299, 299),
    ),
    Entry(
        "inception-v3-aux",
        "parallel",
        2015,
        "with its auxiliary head for training",
        PAPER,
        inception_v3,
        {"auxiliary": True},
        input=(3, 299, 299),
    ),
    Entry(
        "inception-v2-table",
        "parallel",
        2015,
        "the rows of the paper's table 1, which its own code does not follow",
        PAPER,
        inception_v2_table,
        input=(3, 299, 299),
    ),
    Entry(
        "inception-v2-table-stem",
        "parallel",
        2015,
        "the six convolutions that table 1 begins with, alone: no classifier",
        PAPER,
        inception_v2_table_stem,
        input=(3, 299, 299),
        classes=0,
        fixed_classes=True,
    ),
)
