"""ONNX layers that multiply: windows, products, norms, sequences, attention, quantised and fused ones, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cnnatomy.analysis import account
from cnnatomy.errors import UserError

onnx = pytest.importorskip("onnx")
helper = onnx.helper

from onnx_layer_cases import COUNTED, microsoft, recurrent  # noqa: E402 - onnx may be missing
from onnx_models import graph_of, layers_of, model, node, random, tensors_of  # noqa: E402 - onnx may be missing


def costs_of(graph) -> dict[str, int]:
    """All operations of a graph by kind, but for kinds of which there are none."""
    counted = Counter[str]()
    for row in account(graph):
        counted.update(row.operations._asdict())
    return dict(+counted)


@pytest.mark.parametrize("name", COUNTED)
def test_a_layer_costs_what_its_arithmetic_needs(name):
    proto, shape, costs, parameters = COUNTED[name]
    graph = graph_of(proto)
    assert graph.outputs[0].shape == shape
    assert costs_of(graph) == costs
    assert account(graph).totals.parameters == parameters
    assert not account(graph).totals.not_counted


def test_an_lstm_of_one_direction_is_one_of_ours():
    proto = recurrent("LSTM", 4, outputs="y h")
    assert layers_of(proto)[0] == "LSTM(3) 5x3"
    assert [x.shape for x in graph_of(proto).outputs] == [(5, 1, 3), (1, 3)]


def test_the_last_state_and_the_cell_of_a_sequence_have_no_steps():
    proto = recurrent("LSTM", 4, 2, outputs="y h c", direction="bidirectional")
    assert [x.shape for x in graph_of(proto).outputs] == [(5, 2, 3), (2, 3), (2, 3)]
    assert account(graph_of(proto)).totals.macs == 840


def test_the_places_of_a_pool_are_no_second_pool():
    made = helper.make_node("MaxPool", ["x"], ["y", "p"], kernel_shape=[2, 2], strides=[2, 2])
    graph = graph_of(model([made], [("x", [1, 3, 8, 8])], outputs=("y", "p")))
    assert [x.shape for x in graph.outputs] == [(3, 4, 4)] * 2
    assert costs_of(graph) == {"compare": 3 * 16 * 4}


def test_a_weight_that_the_network_computes_is_no_parameter():
    nodes = [node("Relu", "k", "w"), node("Conv", "x w", "y")]
    graph = graph_of(model(nodes, [("x", [1, 2, 5, 5]), ("k", [4, 2, 3, 3])]))
    assert account(graph).totals.macs == 36 * 18
    assert account(graph).totals.parameters == 0


def test_a_dynamically_quantised_network_is_that_of_real_numbers():
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"), node("MatMulInteger", "q w z wz", "m"),
        node("Cast", "m", "f", to=onnx.TensorProto.FLOAT), node("Mul", "s ws", "k"), node("Mul", "f k", "p"),
        node("Add", "p b", "y"),
    ]  # fmt: skip
    tensors = [("w", np.ones((64, 10), np.int8)), ("wz", np.int8(0)), ("ws", np.float32(0.1)), ("b", random(10))]
    graph = graph_of(model(nodes, [("x", [1, 64])], tensors))
    assert (account(graph).totals.macs, account(graph).totals.parameters) == (640, 650)
    assert not account(graph).totals.not_counted


def test_an_operator_of_an_unknown_domain_is_refused_where_it_stands():
    made = helper.make_node("Magic", ["x"], ["y"], domain="my.own", name="magic")
    proto = model([made], [("x", [1, 2])])
    proto.opset_import.append(helper.make_opsetid("my.own", 1))
    with pytest.raises(UserError, match="magic"):
        graph_of(proto)


def test_channels_in_blocks_of_an_optimised_file_are_filled_up_and_cut_off():
    nchwc = {"domain": "com.microsoft.nchwc"}
    nodes = [
        helper.make_node("ReorderInput", ["x"], ["a"], **nchwc),
        helper.make_node("Conv", ["a", "w", "b"], ["c"], activation="Relu", **nchwc),
        helper.make_node("ReorderOutput", ["c"], ["y"], channels=5, **nchwc),
    ]
    proto = model(nodes, [("x", [1, 4, 6, 6])], [("w", random(8, 8, 3, 3)), ("b", random(8))])
    proto.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    graph = graph_of(proto)
    assert graph.outputs[0].shape == (5, 4, 4)
    assert account(graph).totals.macs == 8 * 16 * 72
    with pytest.raises(UserError, match=r"node 'c' \(Conv\): the order of its weights is that of one processor"):
        tensors_of(proto)


def test_a_quantised_tensor_that_is_added_may_be_learned():
    nodes = [node("DequantizeLinear", "q s o", "p"), node("Add", "x p", "y")]
    tensors = [("q", np.ones((3, 4), np.uint8)), ("s", np.float32(0.1)), ("o", np.uint8(0))]
    assert account(graph_of(model(nodes, [("x", [1, 3, 4])], tensors))).totals.parameters == 12


def test_what_is_multiplied_and_added_among_weights_given_as_inputs_is_a_weight():
    nodes = [
        node("LayerNormalization", "x g h", "n"), node("Transpose", "v", "w", perm=[1, 0]), node("MatMul", "n w", "m"),
        node("Add", "b m", "a"), node("MatMul", "a u", "k"), node("Mul", "k s", "y"),
    ]  # fmt: skip
    given = [("g", [6]), ("h", [6]), ("v", [4, 6]), ("b", [4]), ("u", [4, 3]), ("s", [1, 1, 3])]
    graph = graph_of(model(nodes, [("x", [1, 5, 6]), *given]))
    assert len(graph.inputs) == 1
    assert (account(graph).totals.macs, account(graph).totals.parameters) == (5 * 36, 12 + 24 + 4 + 12 + 3)


def test_a_second_matrix_is_an_input_where_no_other_input_is_a_weight():
    assert len(graph_of(model([node("MatMul", "x w", "y")], [("x", [1, 5, 6]), ("w", [6, 4])])).inputs) == 2


def test_the_axis_that_is_called_batch_is_that_of_the_images():
    graph = graph_of(model([node("Relu", "x", "y")], [("x", [6, "batch_size", 4])]))
    assert graph.inputs[0].shape == (6, 4)


def test_heads_that_share_an_axis_with_the_images_leave_the_layer_after_them_one_of_ours():
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Reshape", "t heads", "h"),
        node("Transpose", "h", "q", perm=[1, 0, 2]), node("Transpose", "q", "b", perm=[1, 0, 2]),
        node("Reshape", "b flat", "f"), node("Gemm", "f w", "g"), node("Reshape", "g again", "r"),
        node("Transpose", "r", "y", perm=[1, 0, 2]),
    ]  # fmt: skip
    sizes = {"heads": [6, 2, 4], "flat": [6, 8], "again": [6, 1, 8]}
    tensors = [("w", random(8, 8)), *((name, np.int64(dims)) for name, dims in sizes.items())]
    layers = layers_of(model(nodes, [("x", [1, 6, 8])], tensors))
    assert "FullyConnected(8, bias=False) 6x8" in layers
    assert layers[-1].endswith(" 6x8")


def test_a_number_or_a_bias_that_the_file_stores_rounded_is_what_it_stands_for():
    steps = [("s", np.float32(0.5)), ("z", np.uint8(1))]
    nodes = [node("DequantizeLinear", "q s z", "c"), node("Mul", "x c", "y")]
    assert layers_of(model(nodes, [("x", [1, 3])], [("q", np.uint8(5)), *steps])) == ["Constant(2.0) 3"]
    added = microsoft(
        "QLinearAdd",
        (4,),
        [np.float32(1), np.uint8(0), np.ones(4, np.uint8), np.float32(0.1), np.uint8(0), np.float32(1), np.uint8(0)],
    )
    assert account(graph_of(added)).totals.parameters == 4
