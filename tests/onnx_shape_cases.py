"""Models of single ONNX operators on shapes, elements and reductions, with what each costs, worked out by hand."""

from __future__ import annotations

import numpy as np

from onnx_models import model, node, one

MAP = (2, 9, 7)  # of 126 elements
EACH = 126


def ints(*numbers):
    return np.array(numbers, np.int64)


INDICES = np.zeros((1, 1, 9, 7), np.int64)
PART = np.zeros((1, 2, 9, 7), np.float32)

# model, shape of the output, operations, learned numbers
COUNTED = {
    **{
        op: (one(op, opset=21), MAP, {"exponential": EACH}, 0)
        for op in ("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh")
    },
    "Celu": (one("Celu"), MAP, {"compare": EACH, "multiply": EACH, "add": EACH, "exponential": EACH}, 0),
    "Shrink": (one("Shrink"), MAP, {"compare": 2 * EACH, "add": EACH}, 0),
    "IsNaN": (one("IsNaN"), MAP, {"compare": EACH}, 0),
    "IsInf": (one("IsInf"), MAP, {"compare": EACH}, 0),
    "Mod": (one("Mod", weights=[np.float32(3)], fmod=1), MAP, {"divide": EACH}, 0),
    "Swish": (one("Swish", opset=24), MAP, dict.fromkeys(("multiply", "add", "divide", "exponential"), EACH), 0),
    "LogSoftmax": (one("LogSoftmax", axis=1), MAP, {"add": 2 * EACH, "divide": EACH, "exponential": 2 * EACH}, 0),
    "Hardmax": (one("Hardmax", axis=1), MAP, {"compare": EACH}, 0),
    "Softmax over all axes from one on, as before version 13": (
        one("Softmax", opset=11, axis=1), MAP, dict.fromkeys(("add", "divide", "exponential"), EACH), 0
    ),
    "PRelu of one slope": (one("PRelu", weights=[np.ones((1, 1, 1), np.float32)]), MAP,
                           {"compare": EACH, "multiply": EACH}, 1),
    "ArgMax": (one("ArgMax", axis=1), (1, 9, 7), {"compare": EACH}, 0),
    "ArgMin": (one("ArgMin", axis=3, keepdims=0), (2, 9), {"compare": EACH}, 0),
    "CumSum": (one("CumSum", weights=[ints(2)[0]]), MAP, {"add": EACH}, 0),
    "ReduceL1 of no axes": (
        one("ReduceL1", opset=18, weights=[ints()], noop_with_empty_axes=1), MAP, {"compare": EACH}, 0
    ),
    # a matrix of 3 rows: 2 * 2 + 1 * 1 MACs and 2 + 1 quotients of elimination, 2 products of the diagonal
    "Det": (one("Det", (4, 3, 3)), (4,), {"mac": 4 * 5, "divide": 4 * 3, "multiply": 4 * 2}, 0),
    "TopK": (
        model([node("TopK", "x k", "y places", axis=2)], [("x", ["N", *MAP])], [("k", ints(3))]), (2, 3, 7),
        {"compare": EACH}, 0,
    ),
    "Trilu": (one("Trilu"), MAP, {}, 0),
    "ReverseSequence": (one("ReverseSequence", weights=[ints(2)], time_axis=1, batch_axis=0), MAP, {}, 0),
    "CenterCropPad": (one("CenterCropPad", opset=18, weights=[ints(5, 8)], axes=[2, 3]), (2, 5, 8), {}, 0),
    "ScatterElements": (one("ScatterElements", weights=[INDICES, PART[:, :1]], axis=1), MAP, {}, 63),
    "ScatterElements that adds": (
        one("ScatterElements", opset=18, weights=[INDICES, PART[:, :1]], axis=1, reduction="add"), MAP, {"add": 63}, 63
    ),
    "TensorScatter": (one("TensorScatter", opset=24, weights=[PART[:, :, :1]], axis=2), MAP, {}, 14),
    "ScatterND": (one("ScatterND", weights=[ints(0).reshape(1, 1), PART]), MAP, {}, EACH),
    "Gather of one channel": (one("Gather", weights=[ints(1)[0]], axis=1), (9, 7), {}, 0),
    "Gather of channels in a row": (one("Gather", (5, 9, 7), [ints(1, 2)], axis=1), (2, 9, 7), {}, 0),
    "Compress": (one("Compress", weights=[np.array([False, True])], axis=1), (1, 9, 7), {"compare": EACH}, 0),
    "Squeeze of all": (one("Squeeze", (1, 9, 7), [ints(1)]), (9, 7), {}, 0),
    "Expand": (one("Expand", (1, 9, 7), [ints(1, 4, 9, 7)]), (4, 9, 7), {}, 0),
    # each element of four in each direction
    "Resize, cubic": (
        one("Resize", weights=[np.float32([]), np.float32([1, 1, 2, 2])], mode="cubic"), (2, 18, 14),
        {"multiply": 16 * 504, "add": 15 * 504}, 0,
    ),
    "Resize to a size that keeps the ratio": (
        one("Resize", opset=18, weights=[np.float32([]), np.float32([]), ints(18, 28)], axes=[2, 3], mode="linear",
            keep_aspect_ratio_policy="not_larger", coordinate_transformation_mode="align_corners"),
        (2, 18, 14), {"multiply": 4 * 504, "add": 3 * 504}, 0,
    ),
    # by half with a filter twice as wide: of four in each direction
    "Resize by half without aliasing": (
        one("Resize", (2, 8, 8), [np.float32([]), np.float32([1, 1, 0.5, 0.5])], opset=18, mode="linear", antialias=1),
        (2, 4, 4), {"multiply": 16 * 32, "add": 15 * 32}, 0,
    ),
    "GridSample": (
        one("GridSample", weights=[np.zeros((1, 4, 5, 2), np.float32)], opset=20), (2, 4, 5),
        {"multiply": 4 * 40, "add": 3 * 40}, 40,
    ),
    "AffineGrid": (one("AffineGrid", (2, 3), [ints(1, 2, 4, 5)], opset=20), (4, 5, 2), {"mac": 4 * 5 * 2 * 3}, 0),
    "Col2Im": (one("Col2Im", (8, 20), [ints(8, 10), ints(2, 2)], opset=18, strides=[2, 2]), (2, 8, 10),
               {"add": 160}, 0),
}  # fmt: skip
