"""Designs that nobody thought of: what the description says of them is what torch does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from cnnatomy import Network, ShapeError
from cnnatomy.design import Block
from cnnatomy.layers import Layer
from cnnatomy.layers.layer import elements
from helpers import described, learned, stored, watch
from random_designs import MAX_ELEMENTS, layers, networks


@pytest.mark.slow
@settings(max_examples=100)
@given(networks())
def test_what_is_described_is_what_torch_builds(network: Network) -> None:
    try:
        graph = network.graph()
    except ShapeError:
        assume(False)
    assume(all(elements(node.output.shape) <= MAX_ELEMENTS for node in graph))
    note(repr(network))
    net = network.build().eval()
    x = torch.randn(1, *network.input)
    predicted = {node.path: node.output.shape for node in graph}
    ran = watch(net, x)
    assert {path: ran.shapes[path] for path in predicted} == predicted

    parameters, buffers = described(graph)
    assert learned(net) == parameters
    assert stored(net) == buffers

    totals = network.account().totals
    assert totals.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert totals.buffers == sum(elements(size) for size in buffers.values())
    assert 2 * totals.macs == ran.flops
    with torch.no_grad():
        assert torch.equal(net.head(net.body(net.tail(x))), net(x))


@settings(max_examples=150)
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
