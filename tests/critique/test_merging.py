"""A rule about linear layers in a row: torch says what one layer can do instead of two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnatomy.critique.linear import no_nonlinearity
from cnnatomy.critique.merging import linear_pair
from cnnatomy.design import Parallel
from cnnatomy.design.build import build
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    ReLU,
)
from findings import body, conv, found, only
from helpers import trace

FEW = settings(max_examples=60, deadline=None)


BN = BatchNorm()


def test_two_fully_connected_layers_without_a_nonlinearity_are_one():
    graph = trace(lambda x: FullyConnected(10)(FullyConnected(400)(x)), (100,))
    finding = only(linear_pair, graph)
    assert finding.evidence == {"pairs": 1, "weights": 100 * 400 + 400 * 10, "macs": 100 * 400 + 400 * 10}
    assert finding.remedy.after.parameters == 100 * 10 + 10
    assert found(linear_pair, trace(lambda x: FullyConnected(100)(FullyConnected(10)(x)), (100,))) == []


FACTORISATIONS = {
    "depthwise and 1x1": lambda x: Conv(64, 1)(DepthwiseConv(3)(x)),
    "1x1 and depthwise": lambda x: DepthwiseConv(3)(Conv(64, 1)(x)),
    "1x7 and 7x1": lambda x: Conv(32, (7, 1))(Conv(32, (1, 7))(x)),
    "3x3 and 3x3": lambda x: Conv(32, 3)(Conv(32, 3)(x)),
    "a linear bottleneck": lambda x: Conv(96, 1)(BatchNorm()(Conv(8, 1)(x))),
    "a nonlinearity between": lambda x: Conv(32, 1)(ReLU()(Conv(32, 1)(x))),
    "another reader": lambda x: (lambda y: Add()(Conv(32, 1)(y), y))(Conv(32, 1)(x)),
    "1x1 before a stride": lambda x: Conv(64, 3, 2)(Conv(4, 1)(x)),
}


@pytest.mark.parametrize("name", FACTORISATIONS)
def test_factorisations_are_meant(name):
    assert found(linear_pair, trace(FACTORISATIONS[name], (32, 12, 12))) == []


@pytest.mark.slow
@FEW
@given(data=st.data())
def test_one_layer_computes_what_a_linear_pair_did(data):
    channels = st.sampled_from([4, 8, 12])
    kernel = st.sampled_from([1, 3])

    def convolution() -> Conv:
        k, groups = data.draw(kernel), data.draw(st.sampled_from([1, 2, 4]))
        d = data.draw(st.integers(1, 2))
        return Conv(data.draw(channels), k, data.draw(st.integers(1, 2)), dilation=d, groups=groups, bias=False)

    first, second = convolution(), convolution()
    graph = trace(lambda x: second(first(x)), (8, 23, 23))
    got = found(linear_pair, graph)
    assume(got)
    change = got[0].remedy.change
    (one_layer,) = change.layers[graph.nodes[1]]
    pair, merged = build(graph).double(), build(changed(graph, change)).double()
    # the response to an impulse at each place of the window is the weight there
    k, d = one_layer.kernel, one_layer.dilation
    size = (k - 1) * d + 1
    weight = torch.autograd.functional.jacobian(pair, torch.zeros(1, 8, size, size, dtype=torch.double))[0, :, 0, 0, 0]
    read = weight[:, :, ::d, ::d]
    assert weight.abs().sum() == pytest.approx(read.abs().sum().item())  # there is nothing in the holes
    (parameter,) = merged.parameters()
    width = 8 // one_layer.groups
    for i, output in enumerate(read):
        group = i // (one_layer.channels // one_layer.groups)
        parameter.data[i] = output[group * width : (group + 1) * width]
    x = torch.randn(1, 8, 23, 23, dtype=torch.double)
    torch.testing.assert_close(merged(x), pair(x))


def test_to_merge_a_pair_is_said_by_name_alone_where_a_nonlinearity_was_forgotten():
    graph = trace(body(conv(64, 1), conv(64)), (3, 32, 32))
    assert only(linear_pair, graph).quiet
    assert set(only(linear_pair, graph).where) == set(only(no_nonlinearity, graph).where)
    factors = trace(body(conv(8, 3), BN, conv(48, 1)), (3, 32, 32))
    assert found(no_nonlinearity, factors) == []


def test_a_pair_is_not_made_one_where_another_layer_reads_what_is_between():
    graph = trace(body(conv(64), Parallel(conv(32), conv(32, 1), join=Concat())), (3, 32, 32))
    assert found(linear_pair, graph) == []
