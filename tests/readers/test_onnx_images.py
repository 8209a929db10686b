"""Where the images lie in ONNX files that do not say so: an axis that no node mixes. Counts are by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cnnatomy.analysis import account
from cnnatomy.readers.inputs import parse

onnx = pytest.importorskip("onnx")

from onnx_models import assert_computes_the_same, graph_of, layers_of, model, node, random  # noqa: E402 - onnx may be missing

STEPS, IMAGES, FEATURES = 7, 2, 4


def ints(*numbers):
    return np.array(numbers, np.int64)


def attention(images, sizes):
    """Attention of one head with a projection before it, as torch writes it for (steps, images, features)."""
    nodes = [
        node("MatMul", "x w", "p", name="p"), node("Transpose", "p", "q", perm=[1, 0, 2]),
        node("Transpose", "p", "k", perm=[1, 2, 0]), node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "s", axis=-1), node("MatMul", "s q", "z"),
        node("Transpose", "z", "t", perm=[1, 0, 2]), node("Reshape", "t rows", "flat"),
        node("Gemm", "flat w", "out"), node("Reshape", "out back", "y"),
    ]  # fmt: skip
    tensors = [
        ("w", random(FEATURES, FEATURES)), ("rows", ints(-1, FEATURES)), ("back", ints(STEPS, images, FEATURES))
    ]  # fmt: skip
    return model(nodes, [("x", sizes)], tensors)


@pytest.mark.parametrize("images", [1, IMAGES])
def test_steps_that_attention_sums_over_are_not_the_images(images):
    graph = graph_of(attention(images, [STEPS, images, FEATURES]))
    assert [x.shape for x in (*graph.inputs, *graph.outputs)] == [(STEPS, FEATURES), (STEPS, FEATURES)]
    products, projections = 2 * STEPS**2 * FEATURES, 2 * STEPS * FEATURES**2
    assert account(graph).totals.macs == products + projections
    assert not graph.assumed  # the steps are mixed, so it is known


def test_steps_of_an_open_number_are_found_as_well():
    proto = attention(1, ["s", 1, FEATURES])
    graph = graph_of(proto, parse(f"{STEPS}x{FEATURES}"))
    assert graph.inputs[0].shape == (STEPS, FEATURES)
    assert account(graph).totals.macs == 2 * STEPS**2 * FEATURES + 2 * STEPS * FEATURES**2


def test_what_cannot_be_told_is_said_to_be_assumed():
    proto = model([node("MatMul", "x w", "y")], [("x", [STEPS, 1, FEATURES])], [("w", random(FEATURES, 3))])
    graph = graph_of(proto)
    assert set(graph.resting().values()) == {("the first axis of 7x1x4 is that of the images (x)",)}
    assert set(graph.resting()) == set(graph.nodes)


@pytest.mark.parametrize(
    ("nodes", "sizes"),
    [
        ([node("Conv", "x w", "y")], [2, 3, 9, 8]),
        ([node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "y")], [2, 9, 8, 3]),
        ([node("Softmax", "x", "s", axis=1), node("ReduceSum", "s", "y", keepdims=1)], [3, 1, 1]),
    ],
)
def test_the_first_axis_is_known_to_be_that_of_the_images_by_what_reads_it(nodes, sizes):
    graph = graph_of(model(nodes, [("x", sizes)], [("w", random(4, 3, 3, 3))] if len(sizes) > 3 else ()))
    assert not graph.assumed


def test_a_name_of_the_axis_is_enough():
    proto = model([node("Relu", "x", "y")], [("x", ["batch", 5, 4])])
    assert not graph_of(proto).assumed


def test_attention_over_the_second_axis_leaves_the_first_to_the_images():
    nodes = [
        node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "x k", "s"), node("MatMul", "s x", "y")
    ]  # fmt: skip
    graph = graph_of(model(nodes, [("x", [IMAGES, STEPS, FEATURES])]))
    assert graph.inputs[0].shape == (STEPS, FEATURES)
    assert not graph.assumed


@pytest.mark.parametrize(
    ("moves", "sizes"),
    [
        ([node("Unsqueeze", "x zero", "t")], [3, 9, 8]),
        ([node("Reshape", "x sizes", "t")], [3, 9, 8]),
        ([node("Transpose", "x", "c", perm=[2, 0, 1]), node("Unsqueeze", "c zero", "t")], [9, 8, 3]),
    ],
)
def test_an_image_without_a_batch_is_one_image(moves, sizes):
    tensors = [("zero", ints(0)), ("sizes", ints(1, 3, 9, 8)), ("w", random(4, 3, 3, 3))]
    proto = model([*moves, node("Conv", "t w", "y")], [("x", sizes)], tensors)
    assert graph_of(proto).inputs[0].shape == tuple(sizes)
    assert layers_of(proto)[-1] == "Conv(4, 3, bias=False) 4x7x6"
    assert account(graph_of(proto)).totals.macs == 4 * 27 * 7 * 6


def test_a_matrix_that_is_multiplied_along_both_axes_is_one_image():
    proto = model([node("Gemm", "x w", "y", transA=1)], [("x", [6, 2])], [("w", random(6, 3))])
    graph = graph_of(proto)
    assert graph.inputs[0].shape == (6, 2)
    assert account(graph).totals.macs == 2 * 6 * 3


def test_what_is_joined_along_the_images_is_so_much_of_each():
    nodes = [node("Concat", "x x", "c", axis=0), node("MatMul", "c w", "y")]
    graph = graph_of(model(nodes, [("x", [IMAGES, 1, FEATURES])], [("w", random(FEATURES, 3))]))
    assert graph.outputs[0].shape == (2, 1, 3)
    assert account(graph).totals.macs == 2 * FEATURES * 3


def test_all_places_in_order_are_gathered_by_a_reshape():
    """As torch writes `as_strided`: all images in one row, and back."""
    nodes = [
        node("GlobalAveragePool", "x", "p"), node("Reshape", "p row", "r"), node("Gather", "r places", "s", axis=0),
        node("Flatten", "s", "f"), node("Gemm", "f w", "y"),
    ]  # fmt: skip
    tensors = [("row", ints(-1)), ("places", np.arange(6).reshape(2, 3, 1, 1)), ("w", random(3, 4))]
    proto = model(nodes, [("x", [2, 3, 5, 5])], tensors)
    assert layers_of(proto)[-1] == "FullyConnected(4, bias=False) 4"
    assert account(graph_of(proto)).totals.macs == 12


def test_an_image_without_a_batch_has_the_weights_of_the_file():
    tensors = [("zero", ints(0)), ("w", random(4, 3, 3, 3))]
    proto = model([node("Unsqueeze", "x zero", "t"), node("Conv", "t w", "y")], [("x", [3, 9, 8])], tensors)
    expected = model([node("Conv", "x w", "y")], [("x", [1, 3, 9, 8])], tensors[1:])
    assert_computes_the_same(proto, expected=expected)


def test_words_that_are_looked_up_stay_apart():
    words = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [IMAGES, STEPS])
    nodes = [node("Gather", "table x", "e"), node("MatMul", "e w", "y")]
    proto = model(nodes, [], [("table", random(9, FEATURES)), ("w", random(FEATURES, 3))])
    proto.graph.input.append(words)
    graph = graph_of(proto)
    assert graph.outputs[0].shape == (STEPS, 3)
    assert account(graph).totals.macs == STEPS * FEATURES * 3


def test_steps_beside_an_image_that_has_its_batch_first():
    nodes = [
        node("Transpose", "x", "v", perm=[1, 0, 2]), node("Conv", "image w", "c"), node("GlobalAveragePool", "c", "g"),
        node("Reshape", "g sizes", "h"), node("Add", "v h", "y"),
    ]  # fmt: skip
    tensors = [("w", random(FEATURES, 3, 3, 3)), ("sizes", ints(IMAGES, 1, FEATURES))]
    inputs = [("x", [STEPS, IMAGES, FEATURES]), ("image", [IMAGES, 3, 8, 8])]
    graph = graph_of(model(nodes, inputs, tensors))
    assert [x.shape for x in graph.inputs] == [(STEPS, FEATURES), (3, 8, 8)]
    assert account(graph).totals.macs == FEATURES * 27 * 6 * 6


def test_running_sums_are_over_steps():
    graph = graph_of(model([node("CumSum", "x axis", "y")], [("x", [STEPS, IMAGES, FEATURES])], [("axis", ints(0)[0])]))
    assert graph.outputs[0].shape == (STEPS, FEATURES)
    assert not graph.assumed


def test_what_is_computed_of_all_images_together_is_marked():
    nodes = [node("Conv", "x w", "c"), node("ReduceMean", "c", "m", axes=[0], keepdims=0, name="mean")]
    graph = graph_of(model(nodes, [("x", [4, 3, 8, 8])], [("w", random(4, 3, 3, 3))], outputs=["m"]))
    assert list(graph.resting().values()) == [("all 4 images together (mean)",)]
