"""What a network takes in memory is what torch's allocator hands out and autograd keeps."""

from __future__ import annotations

import pytest

from _allocations import saved_bytes
from cnnatomy.layers import (
    LSTM,
)
from cnnatomy.layers.memory import size_of
from helpers import inputs_of
from layers.test_contract import EXAMPLES, Example


@pytest.mark.parametrize("example", [e for e in EXAMPLES if not isinstance(e.layer, LSTM)], ids=str)
@pytest.mark.parametrize("batch", [2, 3])
def test_a_layer_keeps_for_its_backward_pass_what_autograd_keeps(example: Example, batch: int) -> None:
    """An LSTM keeps a workspace besides, whose size is its library's affair."""
    layer, shapes = example
    module = layer.module(*shapes).train()
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs_of(layer, shapes, batch))
    output = module(*inputs)
    saved = layer.saves(shapes, layer.output_shape(*shapes))
    own = sum(size_of(extra, batch, 4) for extra in saved.own)
    mine = saved.output and not layer.is_view(training=True)
    assert saved_bytes(module, inputs) == own + (output.untyped_storage().nbytes() if mine else 0)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_layer_says_whether_its_output_is_memory_of_its_input(example: Example) -> None:
    layer, shapes = example
    for training in (True, False):
        inputs = inputs_of(layer, shapes)
        output = layer.module(*shapes).train(training)(*inputs)
        shared = output.untyped_storage().data_ptr() == inputs[0].untyped_storage().data_ptr()
        assert layer.is_view(training) == shared
