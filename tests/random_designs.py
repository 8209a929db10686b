"""Designs that nobody thought of: layers, the four structures over them, and whole networks, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cnnatomy import Chain, Dense, Network, Parallel, Residual
from cnnatomy.design import Block, LinearHead, NonLocal, SqueezeExcitation
from cnnatomy.layers import (
    ELU,
    Add,
    AvgPool,
    BatchNorm,
    BedOfNails,
    Bias,
    ChannelShuffle,
    ChannelToSpace,
    Concat,
    Conv,
    Crop,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Interpolate,
    Layer,
    LeakyReLU,
    LocalResponseNorm,
    Maximum,
    Maxout,
    MaxPool,
    PReLU,
    RankFilter,
    ReLU,
    ReLU6,
    Scale,
    Shift,
    Sigmoid,
    SpaceToChannel,
    SpatialPyramidPool,
    Subsample,
    Swish,
    Tanh,
    TransposedConv,
    ZeroPad,
)

MAX_ELEMENTS = 40_000  # of one map, so that 200 designs take seconds


def branches_of(same_size: st.SearchStrategy[Any], aside: Layer, most: int) -> st.SearchStrategy[Any]:
    """Layers that keep the size of a map, and trees of them; `aside` is one more branch of sums of two channels."""
    return st.recursive(
        same_size,
        lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
            lambda parts: st.sampled_from(
                [
                    Chain(*parts),
                    Parallel(*parts, Chain()),
                    Dense(*parts),
                    Residual(*parts, Conv(2, 1), shortcut=Conv(2, 1)),
                    Parallel(*[Chain(part, Conv(2, 1)) for part in parts], aside, join=Add()),
                ]
            )
        ),
        max_leaves=most,
    )


def sizes(least: int, most: int) -> st.SearchStrategy[Any]:
    """One number, or one for rows and one for columns."""
    one = st.integers(least, most)
    return one | st.tuples(one, one)


paddings = (
    st.integers(0, 3)
    | st.tuples(st.integers(0, 3), st.integers(0, 3))
    | st.tuples(*[st.integers(0, 3)] * 4)
    | st.sampled_from(["same", "valid"])
)


@st.composite
def convs(draw: st.DrawFn, groups: tuple[int, ...] = (1, 2, 3)) -> Conv:
    """Convolutions of every kind; whether the input's channels divide into the groups is left open."""
    group = draw(st.sampled_from(groups))
    return Conv(
        group * draw(st.integers(1, 4)),
        draw(sizes(1, 4)),
        draw(sizes(1, 3)),
        draw(paddings),
        draw(sizes(1, 2)),
        group,
        draw(st.booleans()),
    )


@st.composite
def transposed(draw: st.DrawFn) -> TransposedConv:
    stride = draw(sizes(1, 3))
    more = 0 if stride == 1 or isinstance(stride, tuple) else draw(st.integers(0, stride - 1))
    group = draw(st.sampled_from([1, 1, 2]))
    return TransposedConv(
        group * draw(st.integers(1, 3)), draw(sizes(1, 4)), stride, draw(sizes(0, 1)), more, draw(sizes(1, 2)), group
    )


@st.composite
def pools(draw: st.DrawFn) -> Layer:
    kernel = draw(st.integers(1, 4))
    kind = draw(st.sampled_from([MaxPool, AvgPool]))
    stride = draw(st.none() | sizes(1, 3))
    return kind(kernel, stride, draw(sizes(0, kernel // 2)), ceil=draw(st.booleans()))


keeping = st.sampled_from(  # what leaves the shape alone
    [
        *(ReLU(), ReLU6(), LeakyReLU(0.1), PReLU(), ELU(), Sigmoid(), Tanh(), Tanh(1.7, 0.5), Swish(), Swish(2.0)),
        *(Scale(), Bias(), BatchNorm(), BatchNorm(affine=False), GroupNorm(1), GroupNorm(2), Dropout(0.3)),
        *(Shift(), RankFilter(), LocalResponseNorm(), LocalResponseNorm(3), ChannelShuffle(2)),
        *(SqueezeExcitation(2), NonLocal(2)),
        *(Conv(2, 1), MaxPool(3, 1, 1), AvgPool(3, 1, 1), DepthwiseConv(3, padding="same", bias=False)),
    ]
)
moving = (
    st.builds(ZeroPad, st.integers(0, 2) | st.tuples(*[st.integers(0, 2)] * 4))
    | st.builds(Crop, st.integers(0, 1) | st.tuples(*[st.integers(0, 1)] * 4))
    | st.builds(SpaceToChannel, st.integers(1, 2))
    | st.builds(ChannelToSpace, st.integers(1, 2))
    | st.builds(Interpolate, sizes(1, 2), st.sampled_from(["nearest", "bilinear"]))
    | st.builds(BedOfNails, sizes(1, 2))
    | st.builds(Subsample, sizes(1, 3))
    | st.builds(Maxout, st.integers(1, 2))
)
depthwise = st.builds(
    DepthwiseConv, sizes(1, 4), sizes(1, 2), paddings, sizes(1, 2), st.integers(1, 2), bias=st.booleans()
)
layers = convs() | convs(groups=(1,)) | depthwise | transposed() | pools() | keeping | moving


@st.composite
def same_size(draw: st.DrawFn) -> Layer | Block:
    """Something that keeps rows and columns, for branches that meet again."""
    conv = st.builds(
        Conv, st.integers(1, 6), sizes(1, 4), padding=st.just("same"), dilation=sizes(1, 2), bias=st.booleans()
    )
    return draw(conv | keeping)


def designs(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The four structures over `parts`; `Residual` gets a 1x1 convolution that makes its end fit."""
    several = st.lists(parts, min_size=1, max_size=3)
    level = st.lists(same_size(), min_size=1, max_size=3)
    return (
        several.map(lambda chosen: Chain(*chosen))
        | level.map(lambda chosen: Parallel(*chosen, Chain()))
        | level.map(lambda chosen: Dense(*chosen))
        | level.map(lambda chosen: Parallel(*[Chain(x, Conv(4, 1)) for x in chosen], Conv(4, 1), join=Maximum()))
        | st.tuples(level, st.sampled_from([None, ReLU()])).map(
            lambda drawn: Residual(*drawn[0], Conv(3, 1), shortcut=Conv(3, 1), after=drawn[1])
        )
    )


heads = st.sampled_from(
    [
        LinearHead(5),
        Chain(Flatten(), FullyConnected(3, bias=False)),
        Chain(SpatialPyramidPool((1, 2)), FullyConnected(4)),
        GlobalAvgPool(),
        Parallel(GlobalAvgPool(), Chain(GlobalAvgPool(), Conv(2, 1)), join=Concat()),
        Parallel(Conv(2, 1), Conv(2, 1), join=Add()),
    ]
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    shape = (draw(st.sampled_from([1, 2, 3, 4, 6, 12])), draw(st.integers(3, 20)), draw(st.integers(3, 20)))
    parts = st.recursive(layers, lambda inner: designs(inner), max_leaves=6)
    several = st.lists(parts, min_size=1, max_size=4).map(lambda chosen: Chain(*chosen))
    return Network(draw(several), draw(several), draw(heads), shape)
