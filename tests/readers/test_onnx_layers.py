"""ONNX layers that multiply: windows, products, norms, sequences, attention, quantised and fused ones, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cnnatomy.analysis import account
from cnnatomy.errors import UserError

onnx = pytest.importorskip("onnx")
helper = onnx.helper

from onnx_layer_cases import COUNTED, recurrent  # noqa: E402 - onnx may be missing
from onnx_models import graph_of, layers_of, model, node, random  # noqa: E402 - onnx may be missing


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


def test_a_quantised_tensor_that_is_added_may_be_learned():
    nodes = [node("DequantizeLinear", "q s o", "p"), node("Add", "x p", "y")]
    tensors = [("q", np.ones((3, 4), np.uint8)), ("s", np.float32(0.1)), ("o", np.uint8(0))]
    assert account(graph_of(model(nodes, [("x", [1, 3, 4])], tensors))).totals.parameters == 12
