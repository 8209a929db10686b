"""Graphs that others exported, as the `onnx` package carries them (without weights): the same convolutions as ours.

Each convolution and fully connected layer has a weight of the same shape as one of ours; offsets are compared too, and
every difference is explained.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import cnnatomy as cn
from cnnatomy.layers.layer import elements

onnx = pytest.importorskip("onnx")
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

GRAPHS = {
    "light_bvlc_alexnet": "alexnet",
    "light_densenet121": "densenet-121",
    "light_inception_v1": "googlenet",
    "light_inception_v2": "bn-inception-576",
    "light_resnet50": "resnet-50-v1",
    "light_squeezenet": "squeezenet-1.1",
    "light_vgg19": "vgg-19",
    "light_zfnet512": "zfnet-512",
}


# Differences, and why: weights that only they have, weights that only we have, their offsets minus ours.
NONE = ({}, {}, 0)
DIFFERENT = {
    # a third ZFNet: 512 channels throughout, and narrower fully connected layers
    "light_zfnet512": (
        {(512, 512, 3, 3): 2, (1024, 4096): 1, (1000, 1024): 1},
        {(1024, 512, 3, 3): 1, (512, 1024, 3, 3): 1, (4096, 4096): 1, (1000, 4096): 1},
        8008 - 11592,
    ),
    # convolutions there have no offsets; ours keep them beside batch norm, as the published Caffe model does
    "light_inception_v2": ({}, {}, 1000 - 10952),
}


def tensors(name: str) -> tuple[Counter[tuple[int, ...]], int]:
    """Weight shapes of all convolutions and fully connected layers, and the number of their offsets."""
    graph = onnx.load(LIGHT / f"{name}.onnx").graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    contents = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":  # a weight that was taken out: only its shape is left
            shapes[node.output[0]] = tuple(int(n) for n in contents[node.input[0]])
        if node.op_type == "Reshape" and node.input[0] in shapes:
            shapes[node.output[0]] = tuple(int(n) for n in contents[node.input[1]])
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    weights = Counter(core(shapes[node.input[1]]) for node in products)
    return weights, sum(elements(shapes[node.input[2]]) for node in products if len(node.input) > 2)


def core(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape


def ours(name: str) -> tuple[Counter[tuple[int, ...]], int]:
    weights: Counter[tuple[int, ...]] = Counter()
    offsets = 0
    for row in cn.network(name).account():
        if row.weights:
            named = row.node.layer.parameters(*row.inputs)
            weights[core(named["weight"])] += 1
            offsets += elements(named.get("bias", (0,)))
    return weights, offsets


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_same_weights_and_offsets_as_in_a_graph_by_others(graph):
    (weights, offsets), (our_weights, our_offsets) = tensors(graph), ours(GRAPHS[graph])
    difference = (dict(weights - our_weights), dict(our_weights - weights), offsets - our_offsets)
    assert difference == DIFFERENT.get(graph, NONE)


def test_the_shufflenet_of_caffe2_has_our_layers_but_other_widths():
    """4 groups, as many layers as ours, but stages of 136, 272, 544 channels that keep their width inside a unit."""
    weights, _ = tensors("light_shufflenet")
    our_weights, _ = ours("shufflenet-g4")
    assert weights.total() == our_weights.total() == 50
    assert {shape[0] for shape in weights} == {24, 112, 136, 272, 544, 1000}
    assert {shape[0] for shape in our_weights} >= {24, 68, 136, 272, 544, 1088, 1000}
