"""Names from other people's files: safe as names of torch modules, nested by their parts, built as they nest."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.analysis import account
from cnnatomy.design.build import build
from cnnatomy.design.builder import Builder, safe
from cnnatomy.layers import Add, Conv, ReLU


@pytest.mark.parametrize(
    ("name", "expected"),
    [("conv1", "conv1"), ("a.b", "a_b"), ("__x", "x"), ("train", "train_"), ("", "layer"), ("3x3 s2", "3x3_s2")],
)
def test_a_name_is_made_safe(name, expected):
    assert safe(name) == expected


def branches() -> Builder:
    """A block that leaves two maps, one after it, and again one of the block's name."""
    builder = Builder([(2, 5, 5)])
    (x,) = builder.graph.inputs
    a = builder.put(Conv(2, 1), [x], ("block", "conv"))
    b = builder.put(ReLU(), [a], ("block", "conv"))
    c = builder.put(Add(), [a, b], ("sum",))
    d = builder.put(Conv(3, 1), [c], ("block", "inner", "conv"))
    builder.finish([d])
    return builder


def test_names_that_are_there_already_get_a_number():
    assert [node.path for node in branches().graph] == ["block.conv", "block.conv_2", "sum", "block_2.inner.conv"]


def test_a_group_knows_what_enters_and_leaves_it():
    graph = branches().graph
    first = next(iter(graph.root.children))
    assert (first.inputs, set(first.outputs)) == (graph.inputs, {graph.nodes[0].output, graph.nodes[1].output})
    lines = account(graph).at_depth(1)
    assert [(line.path, line.output) for line in lines] == [
        ("block", (2, 5, 5)),
        ("sum", (2, 5, 5)),
        ("block_2", (3, 5, 5)),
    ]
    assert repr(first.block) == "2 layers"


def test_the_built_module_nests_as_the_names_do():
    module = build(branches().graph)
    x = torch.randn(1, 2, 5, 5)
    a = module.block.conv(x)
    assert torch.equal(module(x), module.block_2.inner.conv(a + a.relu()))
