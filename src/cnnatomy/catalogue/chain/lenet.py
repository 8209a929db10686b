"""LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, Network
from cnnatomy.layers import (
    AvgPool,
    Bias,
    Conv,
    Flatten,
    FullyConnected,
    MaxPool,
    PartialConv,
    RadialBasis,
    ReLU,
    Reshape,
    Scale,
    Tanh,
)
from cnnatomy.layers.layer import value

PAPER = "LeCun et al. 1998, Gradient-based learning applied to document recognition"

# Table I of the paper: which of the six maps of S2 each of the sixteen maps of C3 reads.
C3 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)

# The digits as 7 x 12 bitmaps: the fixed target codes of the 84 units of F6 (figure 3 of the paper, redrawn).
GLYPHS = (
    ".......|..###..|.#...#.|#.....#|#.....#|#.....#|#.....#|#.....#|.#...#.|..###..|.......|.......",
    ".......|...#...|..##...|.#.#...|...#...|...#...|...#...|...#...|...#...|.#####.|.......|.......",
    ".......|.#####.|#.....#|......#|.....#.|....#..|...#...|..#....|.#.....|#######|.......|.......",
    ".......|#######|.....#.|....#..|...#...|..####.|......#|......#|#.....#|.#####.|.......|.......",
    ".......|.....#.|....##.|...#.#.|..#..#.|.#...#.|#######|.....#.|.....#.|.....#.|.......|.......",
    ".......|#######|#......|#......|#.####.|##....#|......#|......#|#.....#|.#####.|.......|.......",
    ".......|..####.|.#.....|#......|#.####.|##....#|#.....#|#.....#|#.....#|.#####.|.......|.......",
    ".......|#######|......#|.....#.|....#..|...#...|..#....|..#....|..#....|..#....|.......|.......",
    ".......|.#####.|#.....#|#.....#|#.....#|.#####.|#.....#|#.....#|#.....#|.#####.|.......|.......",
    ".......|.#####.|#.....#|#.....#|#.....#|.######|......#|......#|.....#.|.####..|.......|.......",
)
CODES = tuple(tuple(1.0 if pixel == "#" else -1.0 for pixel in glyph.replace("|", "")) for glyph in GLYPHS)


def squash() -> Tanh:
    """The paper's activation, 1.7159 tanh(2/3 x), chosen so that squash(1) = 1 (appendix A)."""
    return Tanh(amplitude=1.7159, slope=2 / 3)


@value
class Subsampling(Block):
    """S2 and S4: the mean of 2 x 2 pixels, times one learned coefficient, plus one learned bias for each channel.

    The paper sums the four pixels; the mean differs by a factor of 4 that the coefficient takes up.
    """

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return squash()(Bias()(Scale()(AvgPool(2)(x))))


def lenet5_1998(classes: int = 10) -> Network:
    """As published: partial connections in C3, trainable subsampling, distances to 84-bit codes as the output."""
    return Network(
        tail=Chain(c1=Conv(6, 5), squash1=squash(), s2=Subsampling()),
        body=Chain(c3=PartialConv(C3, 5), squash3=squash(), s4=Subsampling()),
        head=Chain(
            c5=Conv(120, 5),
            squash5=squash(),
            flatten=Flatten(),
            f6=FullyConnected(84),
            squash6=squash(),
            rbf=RadialBasis(CODES[:classes]),
        ),
    )


def lenet5(classes: int = 10) -> Network:
    """What is called LeNet-5 today: C3 reads all maps, plain average pooling, tanh, a linear output."""
    return Network(
        tail=Chain(c1=Conv(6, 5), tanh1=Tanh(), s2=AvgPool(2)),
        body=Chain(c3=Conv(16, 5), tanh3=Tanh(), s4=AvgPool(2)),
        head=Chain(
            flatten=Flatten(),
            c5=FullyConnected(120),
            tanh5=Tanh(),
            f6=FullyConnected(84),
            tanh6=Tanh(),
            output=FullyConnected(classes),
        ),
    )


def lenet_3x3(classes: int = 10) -> Network:
    """The code of the lecture on LeNet, which is PyTorch's tutorial: 3x3 kernels, max pooling, ReLU.

    `features` takes 16 maps of 6 x 6 alone, as the code does: 32 x 32 pixels fit, MNIST's 28 x 28 do not.
    """
    return Network(
        tail=Chain(conv1=Conv(6, 3), relu1=ReLU(), pool1=MaxPool(2)),
        body=Chain(conv2=Conv(16, 3), relu2=ReLU(), pool2=MaxPool(2)),
        head=Chain(
            features=Reshape((16 * 6 * 6,)),
            fc1=FullyConnected(120),
            relu3=ReLU(),
            fc2=FullyConnected(84),
            relu4=ReLU(),
            fc3=FullyConnected(classes),
        ),
    )


BLOCKS = (Subsampling,)
ENTRIES = (
    Entry(
        "lenet-5",
        "chain",
        1998,
        "as used today: dense C3, average pooling, tanh, linear output",
        PAPER,
        lenet5,
        input=(1, 32, 32),
        aliases=("lenet5-dense", "lenet"),
        classes=10,
    ),
    Entry(
        "lenet-5-1998",
        "chain",
        1998,
        "as published: partial C3, trainable subsampling, RBF output on 7x12 codes",
        PAPER,
        lenet5_1998,
        input=(1, 32, 32),
        classes=10,
        fixed_classes=True,
    ),
    Entry(
        "lenet-kainz-code",
        "chain",
        1998,
        "the code of the lecture: 3x3 kernels, max pooling, ReLU",
        "Kainz, lecture on LeNet; after " + PAPER,
        lenet_3x3,
        input=(1, 32, 32),
        classes=10,
    ),
)
