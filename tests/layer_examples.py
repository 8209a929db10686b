"""Examples of every layer kind, with the shapes that it reads: tests of its promises run over all of them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest

from cnnatomy.layers import (
    ELU,
    GELU,
    LSTM,
    RNN,
    SELU,
    Add,
    AddConstant,
    ArgMax,
    ArgMaxPool,
    AvgPool,
    BatchNorm,
    BedOfNails,
    Bias,
    ChannelShuffle,
    ChannelToSpace,
    Concat,
    Constant,
    Conv,
    Crop,
    DeepRNN,
    DeformableConv,
    DepthwiseConv,
    Dropout,
    Erf,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupMaximum,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Interpolate,
    Layer,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    LogSigmoid,
    MajorityVote,
    MatMul,
    Maximum,
    Maxout,
    MaxPool,
    MaxUnpool,
    Mish,
    Multiply,
    Normalise,
    PadChannels,
    PartialConv,
    Permute,
    PixelScale,
    PReLU,
    RadialBasis,
    RankFilter,
    ReLU,
    ReLU6,
    Reshape,
    Scale,
    Shape,
    Shift,
    Sigmoid,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    SpaceToChannel,
    SpatialPyramidPool,
    Subsample,
    Swish,
    Tanh,
    TransposedConv,
    ZeroPad,
)


class Example(NamedTuple):
    layer: Layer
    inputs: tuple[Shape, ...]

    def __str__(self) -> str:
        return f"{self.layer!r} on " + " and ".join("x".join(map(str, shape)) for shape in self.inputs)


def on(shapes: Shape | tuple[Shape, ...], *layers: Layer) -> list[Example]:
    """Each layer on the same input shapes."""
    inputs = shapes if isinstance(shapes[0], tuple) else (shapes,)
    return [Example(layer, inputs) for layer in layers]  # type: ignore[arg-type]


MAP = (6, 9, 11)  # odd and not square, so that rows and columns cannot be mistaken for one another
CONVS = on(
    MAP,
    Conv(4, 1),
    Conv(4, 1, bias=False),
    Conv(4, 1, stride=2),
    Conv(4, 1, padding=1),
    Conv(4, 3),
    Conv(4, 3, padding=1),
    Conv(4, 3, stride=2, padding=1, bias=False),
    Conv(4, (1, 7), padding=(0, 3)),
    Conv(4, (7, 1), padding=(3, 0)),
    Conv(4, (2, 5), stride=(3, 2), padding=(1, 0)),
    Conv(4, 3, dilation=2),
    Conv(4, (3, 2), dilation=(2, 3), padding=(0, 1)),
    Conv(4, 3, padding=(1, 2, 0, 3)),
    Conv(4, 3, padding=(1, 2, 0, 3), stride=2, bias=False),
    Conv(4, 3, padding="same"),
    Conv(4, 4, padding="same"),
    Conv(4, 3, stride=2, padding="same"),
    Conv(4, (4, 3), stride=(3, 2), dilation=(1, 2), padding="same", bias=False),
    Conv(4, 3, padding="valid"),
    Conv(4, 3, groups=2),
    Conv(12, 3, groups=3, padding=(0, 1, 2, 3), stride=(2, 1)),
    Conv(6, 3, groups=6, bias=False),
    Conv(4, (9, 11)),
    Conv(4, 5, stride=7, padding=4),
) + on((1, 1, 1), Conv(3, 1), Conv(3, 3, padding=1), Conv(3, 3, padding="same"))
TRANSPOSED = on(
    MAP,
    TransposedConv(4, 3),
    TransposedConv(4, 1),
    TransposedConv(4, 3, stride=2, padding=1, output_padding=1),
    TransposedConv(4, 4, stride=2, padding=1, bias=False),
    TransposedConv(4, (2, 3), stride=(2, 3)),
    TransposedConv(4, (3, 5), stride=(1, 2), padding=2, dilation=(2, 1)),
    TransposedConv(4, 3, dilation=2, output_padding=1),
    TransposedConv(4, 3, stride=2, groups=2),
    TransposedConv(12, 3, stride=3, groups=6, bias=False),
) + on((2, 1, 1), TransposedConv(1, 4, stride=4))
DEFORMABLE = [
    *on((MAP, (18, 7, 9)), DeformableConv(4, 3)),
    *on((MAP, (18, 5, 6)), DeformableConv(4, 3, stride=2, padding=1, bias=False)),
    *on((MAP, (12, 4, 7)), DeformableConv(4, (2, 3), stride=(2, 1), dilation=(2, 2))),
    *on((MAP, (2, 9, 11)), DeformableConv(4, 1)),
]
PARTIAL = on(MAP, PartialConv(((0, 1, 2), (3,), (0, 5, 4), (1, 2)), 3), PartialConv(((5,),), (3, 2))) + on(
    (3, 5, 4), PartialConv(((0, 1, 2), (0, 1, 2)), 1)
)
MATRICES = [
    *on(((4, 5), (5, 3)), MatMul()),
    *on(((5, 4), (5, 3)), MatMul(transpose_first=True)),
    *on(((4, 5), (3, 5)), MatMul(transpose_second=True)),
    *on(((5, 4), (3, 5)), MatMul(transpose_first=True, transpose_second=True)),
]
VOTES = on(MAP, MajorityVote()) + on((1, 1, 1), MajorityVote())
CHANNELS = [
    *on((7,), FullyConnected(5), FullyConnected(5, bias=False), RadialBasis((tuple([1.0] * 7), tuple([-1.0] * 7)))),
    *on((4, 7), FullyConnected(5), FullyConnected(5, bias=False)),
    *on((7,), ArgMax(), GroupMaximum((0, 1, 1, 0, 2, 2, 2)), GroupMaximum((0,) * 7), GroupMaximum(tuple(range(7)))),
    *on(MAP, ArgMax()),
    *on(MAP, LocalResponseNorm(), LocalResponseNorm(3, alpha=1e-2, beta=0.5, k=2.0), LocalResponseNorm(4)),
    *on((2, 3, 3), LocalResponseNorm(5)),
]
DEPTHWISE = on(
    MAP,
    DepthwiseConv(3, padding=1),
    DepthwiseConv(3, stride=2, padding="same", bias=False),
    DepthwiseConv((3, 5), stride=(1, 2), multiplier=2),
    DepthwiseConv(3, dilation=2, padding=(2, 1, 0, 3)),
    DepthwiseConv(3, padding="valid"),
    DepthwiseConv(1),
)
POOLS = [
    example
    for kind in (MaxPool, ArgMaxPool, AvgPool)
    for example in on(
        MAP,
        kind(2),
        kind(2, ceil=True),
        kind(3, 2),
        kind(3, 2, ceil=True),
        kind(3, 2, padding=1),
        kind(3, 2, padding=1, ceil=True),
        kind(3, 1, padding=1),
        kind((2, 3), (3, 2), padding=(1, 0), ceil=True),
        kind((9, 11)),
        kind(5, (4, 5), padding=2, ceil=True),
        kind(1, 2),
    )
    + on((2, 1, 1), kind(1), kind(2, padding=1))
    + on((2, 2, 5), kind(3, 2, ceil=True))  # the one window hangs over the last row
]
SPACE = [
    *on(MAP, AvgPool(3, 2, padding=1, count_padding=False), AvgPool(3, 2, 1, ceil=True, count_padding=False)),
    *on(MAP, GlobalAvgPool(), Shift(), Shift(1), RankFilter(), RankFilter(3, rank=9), RankFilter(5, rank=1)),
    *on((20, 4, 5), Shift(), Shift(5)),
    *on((2, 1, 1), GlobalAvgPool(), RankFilter(3), Interpolate(2)),
    *on(MAP, SpatialPyramidPool(), SpatialPyramidPool((1,)), SpatialPyramidPool((2, 3, 5))),
    *on((2, 3, 2), SpatialPyramidPool((1, 2, 4))),
    *on(MAP, Interpolate(2), Interpolate((3, 2)), Interpolate(2, "bilinear"), Interpolate((1, 3), "bilinear")),
    *on(MAP, BedOfNails(2), BedOfNails((1, 3)), Subsample(2), Subsample((1, 3)), Subsample(20)),
    *on(((6, 4, 5), (6, 4, 5)), MaxUnpool(2), MaxUnpool(2, size=(9, 11)), MaxUnpool(3, 2), MaxUnpool((2, 3), (2, 3))),
]
ELEMENT = [
    example
    for shape in (MAP, (7,), (4, 6))
    for example in on(
        shape,
        ReLU(),
        ReLU6(),
        LeakyReLU(),
        LeakyReLU(0.2),
        PReLU(),
        PReLU(0.0),
        PReLU(shared=True),
        ELU(),
        ELU(0.5),
        SELU(),
        Sigmoid(),
        Tanh(),
        Tanh(1.7159, 2 / 3),
        Swish(),
        Swish(1.5),
        Softmax(),
        Scale(),
        Bias(),
        Constant(0.17),
        AddConstant(-0.3),
        Erf(),
        GELU(),
        GELU("tanh"),
        Hardsigmoid(),
        Hardswish(),
        Hardtanh(),
        Hardtanh(0.0, 4.0),
        Mish(),
        Softplus(),
        Softplus(2.0),
        LogSigmoid(),
        Softsign(),
    )
] + [
    *on(MAP, PixelScale(), Normalise((0.5,) * 6, (0.25,) * 6)),
    *on((2,), Normalise((0, 1), (1, 2.5))),
    *on(MAP, Maxout(), Maxout(3), Maxout(6), Softmax(axis=1), Softmax(axis=2)),
    *on((8,), Maxout(4)),
    *on((MAP, MAP), Add(), Maximum(), Multiply()),
    *on(((5,), (5,)), Add(), Maximum(), Multiply()),
    *on((MAP, MAP, MAP), Add(), Maximum()),
    *on((MAP, (6, 1, 1)), Multiply()),
    *on(((1, 9, 11), MAP), Multiply()),
    *on(((6, 1, 11), (1, 9, 1)), Multiply()),
]
TIME = [example for shape in ((5, 3), (1, 4)) for example in on(shape, RNN(6), RNN(1), LSTM(6), LSTM(2), DeepRNN(6))]
REARRANGEMENT = [
    *on(MAP, Reshape((11, 9, 6)), Reshape((6, -1)), Reshape((-1,)), Reshape((99, 6)), Flatten()),
    *on((7,), Reshape((7, 1, 1)), Flatten()),
    *on((MAP, (2, 9, 11), (1, 9, 11)), Concat()),
    *on((MAP, (6, 2, 11)), Concat(1)),
    *on((MAP, (6, 9, 1)), Concat(2)),
    *on(((3,), (4,)), Concat()),
    *on((MAP,), Concat()),
    *on(MAP, Slice(2, 5), Slice(0, 6), Slice(1, 9, axis=1), Slice(3, 4, axis=2)),
    *on((7,), Slice(1, 3)),
    *on((12, 3, 5), ChannelToSpace(2), ChannelToSpace(1)),
    *on((9, 3, 5), ChannelToSpace(3)),
    *on((2, 6, 12), SpaceToChannel(2), SpaceToChannel(3), SpaceToChannel(1)),
    *on(MAP, ChannelShuffle(2), ChannelShuffle(3), ChannelShuffle(1), ChannelShuffle(6)),
    *on(MAP, ZeroPad(0), ZeroPad(1), ZeroPad((1, 2)), ZeroPad((1, 2, 3, 4))),
    *on(MAP, Crop(0), Crop(1), Crop((1, 2)), Crop((1, 2, 3, 4)), Crop((8, 0, 0, 10))),
    *on(MAP, PadChannels(6), PadChannels(11)),
    *on(MAP, Permute((1, 2, 0)), Permute((0, 1, 2))),
    *on((3, 4), Permute((1, 0))),
]
TRAINING = [
    *on(MAP, BatchNorm(), BatchNorm(1e-3, 0.01), BatchNorm(affine=False), Dropout(), Dropout(0.0)),
    *on((8,), BatchNorm(), GroupNorm(4), Dropout(0.2)),
    *on((4, 7), LayerNorm(), LayerNorm(2), LayerNorm(affine=False), LayerNorm(epsilon=1e-6, bias=False)),
    *on(MAP, LayerNorm(), LayerNorm(3)),
    *on(MAP, GroupNorm(1), GroupNorm(3), GroupNorm(6), GroupNorm(2, epsilon=1e-3)),
]
EXAMPLES = [
    *(CONVS + TRANSPOSED + DEFORMABLE + PARTIAL + MATRICES + VOTES + CHANNELS + DEPTHWISE + POOLS),
    *(SPACE + ELEMENT + TIME + REARRANGEMENT + TRAINING),
]


def later_ones_slowly(examples: list[Example]) -> list[Any]:
    """One example of each layer kind is among the fast tests."""
    met: Counter[type[Layer]] = Counter()
    params = []
    for example in examples:
        met[type(example.layer)] += 1
        marks = pytest.mark.slow if met[type(example.layer)] > 1 else ()
        params.append(pytest.param(example, marks=marks, id=str(example)))
    return params


each_example = pytest.mark.parametrize("example", later_ones_slowly(EXAMPLES))
