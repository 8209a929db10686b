"""Designs that nobody thought of: what the description says of them is what torch does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from cnnatomy import Chain, Dense, Network, Parallel, Residual, ShapeError
from cnnatomy.layers import (
    ELU,
    Add,
    AvgPool,
    BatchNorm,
    BedOfNails,
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
    Offset,
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
from cnnatomy.layers.layer import Shape, elements
from cnnatomy.network import Block, LinearHead, NonLocal, SqueezeExcitation
from helpers import flops, learned, shapes_by_path, stored

MOST_ELEMENTS = 40_000  # of one map, so that 200 designs take seconds


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
        *(Scale(), Offset(), BatchNorm(), BatchNorm(affine=False), GroupNorm(1), GroupNorm(2), Dropout(0.3)),
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


@pytest.mark.slow
@settings(max_examples=200)
@given(networks())
def test_what_is_described_is_what_torch_builds(network: Network) -> None:
    try:
        graph = network.graph()
    except ShapeError:
        assume(False)
    assume(all(elements(node.output.shape) <= MOST_ELEMENTS for node in graph))
    note(repr(network))
    net = network.build().eval()
    x = torch.randn(1, *network.input)
    predicted = {node.path: node.output.shape for node in graph}
    seen = shapes_by_path(net, x)
    assert {path: seen[path] for path in predicted} == predicted

    parameters: dict[str, Shape] = {}
    buffers: dict[str, Shape] = {}
    for node in graph:
        inputs = [x.shape for x in node.inputs]
        parameters |= {f"{node.path}.{name}": size for name, size in node.layer.parameters(*inputs).items()}
        buffers |= {f"{node.path}.{name}": size for name, size in node.layer.buffers(*inputs).items()}
    assert learned(net) == parameters
    assert stored(net) == buffers

    totals = network.account().totals
    assert totals.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert totals.buffers == sum(elements(size) for size in buffers.values())
    assert 2 * totals.macs == flops(net, x)
    with torch.no_grad():
        assert torch.equal(net.head(net.body(net.tail(x))), net(x))


@settings(max_examples=300)
@given(layers, st.integers(1, 12), st.integers(1, 14), st.integers(1, 14))
def test_whatever_a_layer_accepts_torch_accepts_with_the_same_output(
    layer: Layer | Block, channels: int, rows: int, columns: int
) -> None:
    assume(isinstance(layer, Layer))
    assert isinstance(layer, Layer)
    shape = (channels, rows, columns)
    try:
        predicted = layer.output_shape(shape)
    except ShapeError:
        return
    assert tuple(layer.module(shape).eval()(torch.randn(1, *shape)).shape[1:]) == predicted
