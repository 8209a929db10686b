"""ONNX layers that multiply: windows, products, norms, sequences, attention, quantised and fused ones, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cnnatomy.analysis import account
from cnnatomy.errors import UserError

onnx = pytest.importorskip("onnx")
helper = onnx.helper

from onnx_models import graph_of, layers_of, model, node, one, random  # noqa: E402 - onnx may be missing


def costs_of(graph) -> dict[str, int]:
    """All operations of a graph by kind, but for kinds of which there are none."""
    counted = Counter[str]()
    for row in account(graph):
        counted.update(row.operations._asdict())
    return dict(+counted)


def microsoft(op, sizes, weights=(), outputs="y", **attributes):
    """A model of one operator of onnxruntime."""
    names = [f"w{i}" if w is not None else "" for i, w in enumerate(weights)]
    made = helper.make_node(op, ["x", *names], outputs.split(), domain="com.microsoft", name="n", **attributes)
    given = [(name, w) for name, w in zip(names, weights, strict=True) if w is not None]
    proto = model([made], [("x", ["N", *sizes])], given)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def recurrent(op, rows, directions=1, hidden=3, features=4, bias=True, outputs="y", more=(), **attributes):
    """A model of a recurrent operator on 5 steps of 4 features."""
    tensors = [("w", random(directions, rows * hidden, features)), ("r", random(directions, rows * hidden, hidden))]
    tensors += [("b", random(directions, 2 * rows * hidden))] * bias + list(more)
    inputs = " ".join(["x", *(name for name, _ in tensors)])
    made = node(op, inputs, outputs, hidden_size=hidden, **attributes)
    return model([made], [("x", [5, "N", features])], tensors, outputs=outputs.split())


# model, shape of the output, what it costs, learned numbers
COUNTED = {
    "ConvTranspose along three axes": (
        one("ConvTranspose", (2, 3, 3, 3), [random(2, 4, 2, 2, 2), random(4)], strides=[2, 2, 2]),
        (4, 6, 6, 6), {"mac": 2 * 27 * 4 * 8, "add": 4 * 216}, 68,
    ),
    "ConvTranspose with more than the windows reach": (
        one("ConvTranspose", (1, 3, 3), [random(1, 2, 3, 3)], strides=[3, 2], output_shape=[10, 8]),
        (2, 10, 8), {"mac": 9 * 18}, 18,
    ),
    "LpPool": (
        one("LpPool", (2, 4, 4), kernel_shape=[2, 2], strides=[2, 2]),
        (2, 2, 2), {"multiply": 32, "add": 32, "exponential": 8}, 0,
    ),
    "GlobalAveragePool of volumes": (
        one("GlobalAveragePool", (4, 2, 4, 4)), (4, 1, 1, 1), {"add": 128, "divide": 4}, 0
    ),
    "BatchNormalization of sequences": (
        one("BatchNormalization", (2, 7), [random(2), random(2), random(2), random(2) ** 2]),
        (2, 7), {"multiply": 14, "add": 14}, 4,
    ),
    "RMSNormalization": (
        one("RMSNormalization", (5, 6), [random(6)], opset=23),
        (5, 6), {"multiply": 60, "add": 35, "divide": 35, "exponential": 5}, 6,
    ),
    "Gemm, scaled": (
        one("Gemm", (6,), [random(6, 4), random(1, 4)], alpha=0.5, beta=2.0), (4,), {"mac": 24, "add": 4}, 28
    ),
    "MatMul with a stored tensor of three axes": (
        one("MatMul", (3, 5, 6), [random(3, 6, 4)]), (3, 5, 4), {"mac": 3 * 5 * 6 * 4}, 72
    ),
    "MatMul with a stored vector": (one("MatMul", (5, 6), [random(6)]), (5,), {"mac": 30}, 6),
    "Einsum over channels": (
        one("Einsum", (3, 8, 8), [random(3, 5)], equation="bchw,cd->bdhw"), (5, 8, 8), {"mac": 960}, 15
    ),
    "Einsum that sums nothing": (
        one("Einsum", (3, 8), [random(3)], equation="...ij,i->...ij"), (3, 8), {"multiply": 24}, 3
    ),
    "Einsum that sums an axis of one input first": (
        one("Einsum", (3, 8), [random(3, 2)], equation="bij,ik->bk"), (2,), {"add": 24, "mac": 6}, 6
    ),
    # gates are 4 x 3 rows: both products, their sum and two biases; then 3 multiplies, 8 adds and 5 functions a state
    "LSTM, both directions": (
        recurrent("LSTM", 4, 2, direction="bidirectional"), (5, 2, 3),
        {"mac": 10 * 12 * 7, "multiply": 90, "add": 10 * (36 + 24), "divide": 150, "exponential": 150}, 2 * (84 + 24),
    ),
    "GRU without biases": (
        recurrent("GRU", 3, bias=False), (5, 1, 3),
        {"mac": 5 * 9 * 7, "multiply": 45, "add": 5 * (9 + 18), "divide": 45, "exponential": 45}, 63,
    ),
    "RNN of another function": (
        recurrent("RNN", 1, activations=["Relu"]), (5, 1, 3), {"mac": 5 * 3 * 7, "add": 45, "compare": 15}, 27
    ),
    "Attention with two heads": (
        model(
            [node("Attention", "x x x", "y", q_num_heads=2, kv_num_heads=2)], [("x", ["N", 5, 8])], opset=23
        ),
        (5, 8), {"mac": 2 * 25 * 8, "multiply": 50, "add": 50, "divide": 50, "exponential": 50}, 0,
    ),
    "onnxruntime's Attention": (
        microsoft("Attention", (5, 8), [random(8, 24), random(24)], num_heads=2), (5, 8),
        {"mac": 5 * 8 * 24 + 400, "multiply": 50, "add": 50 + 120, "divide": 50, "exponential": 50}, 216,
    ),
    "FusedConv": (
        microsoft("FusedConv", (2, 5, 5), [random(4, 2, 3, 3), random(4)], activation="Relu"),
        (4, 3, 3), {"mac": 36 * 18, "add": 36, "compare": 36}, 76,
    ),
    "FusedMatMul, turned": (
        microsoft("FusedMatMul", (5, 6), [random(4, 6)], transB=1, alpha=0.5),
        (5, 4), {"mac": 120, "multiply": 20}, 24,
    ),
    "SkipLayerNormalization": (
        microsoft("SkipLayerNormalization", (5, 6), [random(5, 6), random(6), random(6)]),
        (5, 6), {"add": 30 + 4 * 30 + 5, "multiply": 60, "divide": 40, "exponential": 5}, 42,
    ),
    "MatMulNBits": (
        microsoft("MatMulNBits", (32,), [np.ones((4, 1, 16), np.uint8), np.ones(4, np.float32)], N=4, K=32, bits=4,
                  block_size=32),
        (4,), {"mac": 128}, 128,
    ),
}  # fmt: skip


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
