"""Edges: what each layer or block reads, by the paths of those that make it."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.analysis.edges import Edges
from cnnatomy.design import Graph
from cnnatomy.layers import Add, Concat, Conv


@pytest.mark.parametrize("name", ["resnet-18", "googlenet-aux", "msdnet", "densenet-121"])
def test_the_shapes_read_are_those_made(name):
    counted = cn.network(name).account()
    edges = Edges(counted.graph, counted.rows)
    shapes = {row.path: row.output for row in counted.rows} | {"input": counted.input}
    for row, reads in zip(counted.rows, edges.reads, strict=True):
        assert tuple(shapes[maker] for maker in reads) == row.inputs
    assert [shapes[maker] for maker in edges.outputs] == [x.shape for x in counted.graph.outputs]


def test_the_addition_of_a_residual_block_reads_shortcut_and_branch():
    counted = cn.network("resnet-18").account()
    reads = dict(zip([row.path for row in counted.rows], Edges(counted.graph, counted.rows).reads, strict=True))
    assert reads["tail.conv"] == ["input"]
    assert sorted(reads["body.stage1.block1.add"]) == ["body.stage1.block1.bn2", "tail.pool"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_parts_read_only_parts_made_before_them(depth):
    counted = cn.network("googlenet-aux").account()
    lines = counted.at_depth(depth)
    edges = Edges(counted.graph, lines)
    seen = {"input"}
    for line, reads in zip(lines, edges.reads, strict=True):
        assert set(reads) <= seen
        seen.add(line.path)
    if depth == 1:
        assert edges.reads == [["input"], ["tail"], ["body"]]
        assert edges.outputs == ["head"] * 3


def test_a_map_read_twice_is_named_twice_and_several_inputs_are_numbered():
    def describe(x, y):
        z = Conv(4, 1)(Concat()(x, y))
        return Add()(z, z)

    counted = account(Graph.trace(describe, (1, 8, 8), (2, 8, 8)))
    edges = Edges(counted.graph, counted.rows)
    assert edges.inputs == ["input1", "input2"]
    assert edges.reads == [["input1", "input2"], ["concat"], ["conv", "conv"]]


def test_a_layer_called_input_is_not_taken_for_the_networks_input():
    def describe(x):
        x.graph.ask("input")
        return Conv(4, 1)(x)

    counted = account(Graph.trace(describe, (1, 8, 8)))
    edges = Edges(counted.graph, counted.rows)
    assert (edges.inputs, edges.reads, edges.outputs) == (["input_"], [["input_"]], ["input"])
