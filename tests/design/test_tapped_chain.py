"""A chain that hands out maps half way up."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.design import Chain, Graph, Heads, Network, TappedChain
from cnnatomy.layers import Conv, Flatten, FullyConnected, GlobalAvgPool, ReLU

BODY = TappedChain(early=Conv(4, 3), relu=ReLU(), late=Conv(8, 3), taps=("early",))


def classifier(classes: int) -> Chain:
    return Chain(GlobalAvgPool(), Flatten(), FullyConnected(classes))


def test_it_returns_its_output_and_then_the_maps_that_leave_the_tapped_parts():
    graph = Graph.trace(BODY, (3, 10, 10))
    assert [x.shape for x in graph.outputs] == [(8, 6, 6), (4, 8, 8)]


def test_heads_read_what_it_hands_out():
    heads = Heads(main=classifier(5), side=classifier(2), reads=(("side", 1),))
    module = Network(Conv(3, 3), BODY, heads, input=(1, 12, 12)).build()
    outputs = module(torch.zeros(2, 1, 12, 12))
    assert {name: tuple(y.shape) for name, y in outputs.items()} == {"main": (2, 5), "side": (2, 2)}


def test_a_tap_that_is_no_part_is_named_with_the_nearest_part():
    with pytest.raises(cn.UserError, match=r"no part named 'erly'\. Did you mean early"):
        BODY.replace(taps=("erly",))
