"""ONNX layers that multiply, with what they cost by hand: windows, products, norms, sequences, attention."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper = onnx.helper

from onnx_models import model, node, one, random  # noqa: E402 - onnx may be missing


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
    "DeformConv, each channel with its own places": (
        model([node("DeformConv", "x w o", "y", kernel_shape=[2, 2], offset_group=2)],
              [("x", ["N", 2, 4, 4]), ("o", ["N", 16, 3, 3])], [("w", random(3, 2, 2, 2))], opset=19),
        (3, 3, 3), {"mac": 27 * 8, "multiply": 4 * 72, "add": 3 * 72}, 24,
    ),
    "GlobalLpPool": (one("GlobalLpPool", (4, 3, 3)), (4, 1, 1), {"multiply": 36, "add": 36, "exponential": 4}, 0),
    "LpNormalization": (
        one("LpNormalization", (3, 4)), (3, 4), {"multiply": 12, "add": 12, "divide": 12, "exponential": 3}, 0
    ),
    "MaxUnpool": (
        one("MaxUnpool", (2, 3, 3), [np.zeros((1, 2, 3, 3), np.int64)], kernel_shape=[2, 2], strides=[2, 2]),
        (2, 6, 6), {}, 0,
    ),
    "MeanVarianceNormalization": (
        one("MeanVarianceNormalization", (2, 3, 4)),
        (2, 3, 4), {"multiply": 24, "add": 3 * 24 + 2, "divide": 24 + 4, "exponential": 2}, 0,
    ),
    "RoiAlign of three regions": (
        one("RoiAlign", (2, 8, 8), [random(3, 4), np.zeros(3, np.int64)], output_height=2, output_width=2,
            sampling_ratio=2),
        (3, 2, 2, 2), {"multiply": 4 * 96, "add": 4 * 96, "divide": 24}, 0,
    ),
    "RotaryEmbedding": (
        one("RotaryEmbedding", (2, 5, 4), [random(1, 5, 2), random(1, 5, 2)], opset=23),
        (2, 5, 4), {"multiply": 80, "add": 40}, 0,
    ),
    "SimplifiedLayerNormalization": (
        one("SimplifiedLayerNormalization", (5, 6), [random(6)]),
        (5, 6), {"multiply": 60, "add": 35, "divide": 35, "exponential": 5}, 6,
    ),
}  # fmt: skip
