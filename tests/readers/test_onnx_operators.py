"""ONNX operators, a node each: onnx's reference says which shapes and values are right, costs are worked by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cnnatomy.analysis import account

onnx = pytest.importorskip("onnx")
helper, reference = onnx.helper, pytest.importorskip("onnx.reference")
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64

from cnnatomy.readers.onnx.constants import BOUNDED, SAME  # noqa: E402 - onnx may be missing
from cnnatomy.readers.onnx.model import OnnxModel  # noqa: E402
from cnnatomy.readers.onnx.ops import RULES  # noqa: E402
from cnnatomy.readers.onnx.walk import walk  # noqa: E402
from onnx_layer_cases import COUNTED as LAYERS  # noqa: E402
from onnx_models import CONVOLUTION, assert_computes_the_same, graph_of, model, node, one, random  # noqa: E402
from onnx_shape_cases import COUNTED as SHAPES  # noqa: E402

UPWARDS = random(2, 3, 4, 4)
SAME_VALUES = {  # models whose graph, built to torch, gives what onnx's reference gives
    "Conv": one("Conv", weights=[CONVOLUTION, random(4)], strides=[2, 1], pads=[1, 0, 1, 2]),
    "Conv, asymmetric": one("Conv", weights=[CONVOLUTION], pads=[0, 1, 2, 0], dilations=[2, 1]),
    "Conv, same upper": one("Conv", weights=[CONVOLUTION], auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv, same lower": one("Conv", (2, 8, 8), [CONVOLUTION], auto_pad="SAME_LOWER", strides=[2, 2]),
    "Conv, valid": one("Conv", weights=[CONVOLUTION], auto_pad="VALID"),
    "Conv, groups": one("Conv", (4, 9, 7), [random(6, 2, 3, 3), random(6)], group=2),
    "Conv, depthwise": one("Conv", (4, 9, 7), [random(8, 1, 3, 3)], group=4),
    "ConvTranspose": one("ConvTranspose", weights=[UPWARDS, random(3)], strides=[2, 2], pads=[1, 1, 1, 1]),
    "ConvTranspose, output padding": one("ConvTranspose", weights=[UPWARDS], strides=[2, 2], output_padding=[1, 1]),
    "ConvTranspose, more at the end": one("ConvTranspose", weights=[UPWARDS], strides=[2, 2], pads=[0, 0, 1, 1]),
    "ConvTranspose, more at the start": one("ConvTranspose", weights=[UPWARDS], strides=[2, 2], pads=[1, 1, 0, 0]),
    "MaxPool": one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    "MaxPool, ceil": one("MaxPool", (2, 8, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "MaxPool, same upper": one("MaxPool", (2, 8, 8), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "AveragePool": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool, padding counts": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool, no padding": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "GlobalAveragePool": one("GlobalAveragePool"),
    "GlobalMaxPool": one("GlobalMaxPool"),
    "ReduceMean": one("ReduceMean", opset=13, axes=[2, 3], keepdims=0),
    "BatchNormalization": one("BatchNormalization", weights=[random(2), random(2), random(2), random(2) ** 2]),
    "InstanceNormalization": one("InstanceNormalization", weights=[random(2), random(2)]),
    "LayerNormalization": one("LayerNormalization", (5, 6), weights=[random(6), random(6)]),
    "LRN": one("LRN", (8, 3, 3), size=5, alpha=0.5, beta=0.7, bias=2.0),
    "PRelu": one("PRelu", weights=[random(2, 1, 1)]),
    "LeakyRelu": one("LeakyRelu", alpha=0.2),
    "Clip, 0 to 6": one("Clip", weights=[np.float32(0), np.float32(6)]),
    "Clip": one("Clip", weights=[np.float32(-0.5), np.float32(0.5)]),
    "HardSwish": one("HardSwish"),
    "HardSigmoid": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "Selu": one("Selu"),
    "Elu": one("Elu", alpha=0.7),
    "Softmax": one("Softmax", axis=1),
    "Mul by a number for each channel": one("Mul", weights=[random(2, 1, 1)]),
    "Add of a number for each channel": one("Add", weights=[random(1, 2, 1, 1)]),
    "Mul by a number": one("Mul", weights=[np.float32(0.3)]),
    "Pad": one("Pad", weights=[np.array([0, 0, 1, 2, 0, 0, 0, 3])]),
    "Slice": one("Slice", weights=[np.array([1, -5]), np.array([9999, -1]), np.array([1, 3])]),
    "Slice, every second row from the first": one("Slice", weights=[*map(np.array, ([0], [9999], [2], [2]))]),
    "Slice, every third column from the second": one("Slice", weights=[*map(np.array, ([1], [6], [3], [3]))]),
    "Transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "Reshape": one("Reshape", weights=[np.array([0, -1, 7])]),
    "Flatten": one("Flatten"),
    "DepthToSpace": one("DepthToSpace", (8, 3, 3), blocksize=2, mode="CRD"),
    "Resize, nearest": one("Resize", weights=[np.float32([]), np.float32([1, 1, 2, 3])], mode="nearest",
                           coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "Resize, linear": one("Resize", weights=[np.float32([]), np.float32([1, 1, 2, 2])], mode="linear"),
    "Gemm": one("Gemm", (6,), [random(6, 4), random(4)]),
    "Gemm, transposed": one("Gemm", (6,), [random(4, 6), random(4)], transB=1),
    "MatMul": one("MatMul", (5, 6), [random(6, 4)]),
    "MatMul of every pixel": one("MatMul", (3, 5, 6), [random(6, 4)]),
    **{op: one(op) for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign")},
    "Mish": one("Mish", opset=18),
    "Gelu": one("Gelu", opset=20),
    "Gelu, tanh": one("Gelu", opset=20, approximate="tanh"),
    "Selu, of other numbers": one("Selu", alpha=1.2, gamma=0.9),
    "DequantizeLinear, summed to one factor": model(
        [node("DequantizeLinear", "q s", "d"), node("ReduceSum", "d", "k", keepdims=0), node("Mul", "x k", "y")],
        [("x", ["N", 2, 9, 7])], [("q", np.arange(5, dtype=np.int8)), ("s", np.float32(0.1))], opset=19,
    ),
    "GroupNormalization": one("GroupNormalization", (4, 5, 5), [random(4), random(4)], opset=21, num_groups=2),
    "Squeeze": one("Squeeze", (1, 9, 7), [np.array([1])]),
    "Unsqueeze": one("Unsqueeze", weights=[np.array([1])]),
    "Upsample": one("Upsample", weights=[np.float32([1, 1, 2, 2])], opset=9),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME_VALUES)
def test_a_node_built_to_torch_with_its_weights_gives_what_onnx_says(name):
    assert_computes_the_same(SAME_VALUES[name], images=8)  # onnx's LRN takes the batch for the channels


MAP = (2, 9, 7)  # of 126 elements


def nodes_on_maps(*nodes, tensors=(), sizes=MAP, inputs="x", opset=17):
    """A model of a few nodes on maps of these sizes."""
    return model(nodes, [(name, ["N", *sizes]) for name in inputs.split()], tensors, opset=opset)


def on_two(op):
    """An operator on two maps."""
    return nodes_on_maps(node(op, "x z", "y"), inputs="x z")


def logical(op, *inputs):
    """An operator on what comparisons of two maps say, which are 126 comparisons each."""
    compared = {"a": node("Less", "x z", "a"), "b": node("Greater", "x z", "b")}
    used = [made for name, made in compared.items() if name in inputs]
    return nodes_on_maps(*used, node(op, " ".join(inputs), "y"), inputs="x z")


def passed_on(*nodes, tensors=()):
    """Nodes that compute nothing, and a ReLU, which compares each element."""
    return nodes_on_maps(*nodes, node("Relu", "passed", "y"), tensors=tensors, opset=21)


def quantised(*nodes, tensors, sizes=MAP):
    """Nodes on the map in 8 bits, `q`."""
    tensors = [("s", np.float32(0.1)), ("o", np.uint8(0)), *tensors]
    return nodes_on_maps(node("QuantizeLinear", "x s o", "q"), *nodes, tensors=tensors, sizes=sizes, opset=21)


INDICES = np.zeros((1, 1, 9, 7), np.int64)


# an operator, and what else -> model, shape of the output, what it costs, and learned numbers; what no layer of ours
# computes is counted by its shape
def over_rows(op):
    """A reduction of a 2x9x7 map over its rows."""
    return one(op, opset=13, axes=[2])


ROWS = (2, 1, 7)
COUNTED = {
    "MaxPool, dilated": (
        one("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), (2, 7, 5), {"compare": 2 * 7 * 5 * 4}, 0
    ),
    "Conv along one axis": (one("Conv", (2, 9), [random(4, 2, 3)]), (4, 7), {"mac": 4 * 7 * 2 * 3}, 24),
    "Conv along three": (one("Conv", (2, 5, 5, 5), [random(4, 2, 3, 3, 3)]), (4, 3, 3, 3), {"mac": 4 * 27 * 54}, 216),
    "Slice of every second channel": (one("Slice", weights=[*map(np.array, ([0], [9], [1], [2]))]), (1, 9, 7), {}, 0),
    "SpaceToDepth": (one("SpaceToDepth", (2, 4, 6), blocksize=2), (8, 2, 3), {}, 0),
    "DepthToSpace, DCR": (one("DepthToSpace", (8, 2, 3), blocksize=2), (2, 4, 6), {}, 0),
    "Resize by half": (
        one("Resize", (2, 8, 8), [np.float32([]), np.float32([1, 1, 0.5, 0.5])], mode="nearest"), (2, 4, 4), {}, 0
    ),
    **{op: (on_two(op), MAP, {"add": 126}, 0) for op in ("Add", "Sum", "Sub", "Mean")},
    "Sub of a tensor": (one("Sub", weights=[random(2, 9, 7)]), MAP, {"add": 126}, 126),
    "Sum of three": (nodes_on_maps(node("Sum", "x z x", "y"), inputs="x z"), MAP, {"add": 2 * 126}, 0),
    "Mul": (on_two("Mul"), MAP, {"multiply": 126}, 0),
    "Neg": (one("Neg"), MAP, {"multiply": 126}, 0),
    "Div": (on_two("Div"), MAP, {"divide": 126}, 0),
    "Reciprocal": (one("Reciprocal"), MAP, {"divide": 126}, 0),
    **{op: (on_two(op), MAP, {"compare": 126}, 0) for op in ("Max", "Min")},
    **{op: (one(op), MAP, {"compare": 126}, 0) for op in ("Abs", "Sign", "Floor", "Ceil", "Round")},
    **{
        op: (on_two(op), MAP, {"compare": 126}, 0)
        for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
    },
    "Where": (logical("Where", "a", "x", "z"), MAP, {"compare": 2 * 126}, 0),
    "Not": (logical("Not", "a"), MAP, {"compare": 2 * 126}, 0),
    **{op: (logical(op, "a", "b"), MAP, {"compare": 3 * 126}, 0) for op in ("And", "Or", "Xor")},
    **{op: (one(op), MAP, {"exponential": 126}, 0) for op in ("Exp", "Log", "Sqrt", "Erf", "Sin", "Cos")},
    "Pow": (one("Pow", weights=[np.float32(0.5)]), MAP, {"exponential": 126}, 0),
    "Pow, square": (one("Pow", weights=[np.float32(2)]), MAP, {"multiply": 126}, 0),
    "HardSigmoid": (one("HardSigmoid"), MAP, {"multiply": 126, "add": 126, "compare": 2 * 126}, 0),
    "PRelu with a slope for each element": (
        one("PRelu", weights=[random(2, 9, 7)]), MAP, {"compare": 126, "multiply": 126}, 126
    ),
    "ThresholdedRelu": (one("ThresholdedRelu", alpha=0.5), MAP, {"compare": 126}, 0),
    "ReduceMean over channels": (one("ReduceMean", axes=[1]), (1, 9, 7), {"add": 126, "divide": 63}, 0),
    "ReduceSum": (one("ReduceSum", weights=[np.array([1])], keepdims=1), (1, 9, 7), {"add": 126}, 0),
    **{op: (one(op, axes=[2, 3], keepdims=0), (2,), {"compare": 126}, 0) for op in ("ReduceMax", "ReduceMin")},
    # over the 9 rows of a 2x9x7 map, into 14 numbers: of each input a square or an absolute value, and a sum
    "ReduceSumSquare": (over_rows("ReduceSumSquare"), ROWS, {"multiply": 126, "add": 126}, 0),
    "ReduceL1": (over_rows("ReduceL1"), ROWS, {"compare": 126, "add": 126}, 0),
    "ReduceProd": (over_rows("ReduceProd"), ROWS, {"multiply": 126}, 0),
    # a root or a logarithm is an exponential for each output
    "ReduceL2": (over_rows("ReduceL2"), ROWS, {"multiply": 126, "add": 126, "exponential": 14}, 0),
    "ReduceLogSum": (over_rows("ReduceLogSum"), ROWS, {"add": 126, "exponential": 14}, 0),
    "ReduceLogSumExp": (over_rows("ReduceLogSumExp"), ROWS, {"add": 126, "exponential": 126 + 14}, 0),
    "Identity": (passed_on(node("Identity", "x", "passed")), MAP, {"compare": 126}, 0),
    "Cast": (passed_on(node("Cast", "x", "passed", to=FLOAT)), MAP, {"compare": 126}, 0),
    "CastLike": (passed_on(node("CastLike", "x like", "passed"), tensors=[("like", np.float32(0))]), MAP,
                 {"compare": 126}, 0),
    "QuantizeLinear": (quantised(node("DequantizeLinear", "q s o", "y0"), node("Relu", "y0", "y"), tensors=[]), MAP,
                       {"compare": 126}, 0),
    "DynamicQuantizeLinear": (
        passed_on(node("DynamicQuantizeLinear", "x", "q s o"), node("DequantizeLinear", "q s o", "passed")), MAP,
        {"compare": 126}, 0,
    ),
    "Dropout": (passed_on(node("Dropout", "x", "passed")), MAP, {"compare": 126}, 0),
    "ConvInteger": (
        quantised(node("ConvInteger", "q w", "y"), tensors=[("w", np.ones((4, 2, 3, 3), np.uint8))]), (4, 7, 5),
        {"mac": 4 * 7 * 5 * 18}, 72,
    ),
    "QLinearConv": (
        quantised(node("QLinearConv", "q s o w s o s o", "y"), tensors=[("w", np.ones((4, 2, 3, 3), np.uint8))]),
        (4, 7, 5), {"mac": 4 * 7 * 5 * 18, "compare": 4 * 7 * 5}, 72,  # its numbers begin at 0: a ReLU
    ),
    "MatMulInteger": (
        quantised(node("MatMulInteger", "q w", "y"), tensors=[("w", np.ones((6, 4), np.uint8))], sizes=(5, 6)),
        (5, 4), {"mac": 5 * 6 * 4}, 24,
    ),
    "QLinearMatMul": (
        quantised(
            node("QLinearMatMul", "q s o w s o s o", "y"), tensors=[("w", np.ones((6, 4), np.uint8))], sizes=(5, 6)
        ),
        (5, 4), {"mac": 5 * 6 * 4, "compare": 5 * 4}, 24,
    ),
    "MatMul of two maps": (
        nodes_on_maps(
            node("Transpose", "z", "t", perm=[0, 2, 1]), node("MatMul", "x t", "y"), sizes=(5, 6), inputs="x z"
        ),
        (5, 5), {"mac": 5 * 5 * 6}, 0,
    ),
    "Gather": (one("Gather", weights=[np.array([1, 0, 1])], axis=1), (3, 9, 7), {}, 0),
    "GatherElements": (one("GatherElements", weights=[INDICES], axis=1), (1, 9, 7), {}, 0),
    "GatherND": (one("GatherND", weights=[np.zeros((1, 3, 1), np.int64)], batch_dims=1), (3, 9, 7), {}, 0),
    "Expand": (one("Expand", (1, 9, 7), [np.array([1, 2, 9, 7])]), (2, 9, 7), {}, 0),
    "Tile": (one("Tile", weights=[np.array([1, 3, 1, 1])]), (6, 9, 7), {}, 0),
    "Shape": (passed_on(node("Shape", "x", "s"), node("Reshape", "x s", "passed")), MAP, {"compare": 126}, 0),
    "Size": (
        nodes_on_maps(
            node("Size", "x", "n"), node("Unsqueeze", "n first", "n1"), node("Concat", "one n1", "s", axis=0),
            node("Reshape", "x s", "y"), tensors=[("first", np.array([0])), ("one", np.array([1]))],
        ),
        (126,), {}, 0,
    ),
    "Concat": (nodes_on_maps(node("Concat", "x z", "y", axis=1), inputs="x z"), (4, 9, 7), {}, 0),
    "Split": (nodes_on_maps(node("Split", "x", "y z", axis=1)), (1, 9, 7), {}, 0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
def test_a_node_costs_what_its_arithmetic_needs(name):
    proto, shape, costs, parameters = COUNTED[name]
    got = account(graph_of(proto))
    feeds = {
        x.name: random(1, *(size.dim_value for size in x.type.tensor_type.shape.dim[1:])) for x in proto.graph.input
    }
    expected, *_ = reference.ReferenceEvaluator(proto).run(None, feeds)
    assert got.graph.outputs[0].shape == shape == expected.shape[1:]
    assert got.totals.not_counted == 0
    counted = Counter[str]()
    for row in got:
        counted.update(row.operations._asdict())
    assert +counted == costs
    assert got.totals.parameters == parameters


def test_qgemm_of_onnxruntime_costs_what_gemm_costs():
    """No operator of ONNX itself, so that its reference does not know it."""
    inputs = "q s o w s o b s o"
    qgemm = node("QGemm", inputs, "y", domain="com.microsoft", transB=1)
    tensors = [("w", np.ones((4, 6), np.uint8)), ("b", np.ones(4, np.int32))]
    proto = quantised(qgemm, tensors=tensors, sizes=(6,))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    got = account(graph_of(proto))
    assert (got.graph.outputs[0].shape, got.totals.macs, got.totals.parameters) == ((4,), 24, 28)


SHAPES_BY_ONNX = set(
    """Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor ConstantOfShape CumProd EyeLike OneHot
    RandomNormalLike RandomUniformLike Range STFT Scatter SwiGLU TensorScatter""".split()  # noqa: SIM905 - words
)
"""Operators that hardly read feature maps: ONNX's own tests say whether their shapes are right."""


def test_every_operator_with_a_rule_has_a_node_test():
    models = [*SAME_VALUES.values(), *[case[0] for case in (*COUNTED.values(), *LAYERS.values(), *SHAPES.values())]]
    tested = Counter(node.op_type for proto in models for node in proto.graph.node)
    missing = RULES.keys() - tested.keys() - {"QGemm"} - SHAPES_BY_ONNX
    assert not missing, (
        f"{', '.join(sorted(missing))}: add a model of the operator to tests/readers/test_onnx_operators.py, to "
        "SAME_VALUES where a layer of ours computes it, else to COUNTED with the costs worked out by hand"
    )


@pytest.mark.parametrize("sizes", [(1, 1, 6), (1, 1, 1), (2, 1, 6)])
@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "PRelu"])
def test_a_tensor_of_more_axes_than_the_map_adds_its_axes(op, sizes):
    if op == "PRelu" and sizes[0] == 2:
        return  # a slope is repeated, the map is not
    read = OnnxModel(model([node(op, "x c", "y")], [("x", [1, 6])], [("c", random(*sizes))]), None)
    walk(read)
    assert read.env["y"].dims == (*sizes[:2], 6)


def test_what_is_filled_to_a_computed_size_is_no_parameter():
    nodes = [node("Shape", "x", "s"), node("ConstantOfShape", "s", "f"), node("Add", "x f", "y")]
    assert account(graph_of(model(nodes, [("x", [1, 2, 3])]))).totals.parameters == 0
    weights_taken_out = model(
        [node("ConstantOfShape", "s", "f"), node("Add", "x f", "y")], [("x", [1, 2, 3])], [("s", np.int64([1, 2, 3]))]
    )
    assert account(graph_of(weights_taken_out)).totals.parameters == 6


# nodes that no input reaches


def ints(*numbers):
    return np.array(numbers, np.int64)


HALVES = np.float32([-1.5, 0.5, 2.5])
TRUTHS = np.array([True, False])
COMPUTED = {  # operator -> its inputs, its attributes, and what it makes of them
    "Abs": ([ints(-2, 3)], {}, [2, 3]),
    "Add": ([ints(1, 2), ints(3)], {}, [4, 5]),
    "And": ([TRUTHS, np.array([True, True])], {}, [True, False]),
    "Cast": ([np.float32([1.5, -2.5])], {"to": INT64}, [1, -2]),
    "Ceil": ([HALVES], {}, [-1, 1, 3]),
    "Clip": ([ints(1, 5, 9), ints(2)[0], ints(6)[0]], {}, [2, 5, 6]),
    "Compress": ([ints(4, 5, 6), np.array([True, False, True])], {}, [4, 6]),
    "Concat": ([ints(1), ints(2, 3)], {"axis": 0}, [1, 2, 3]),
    "Div": ([ints(7, 8), ints(2)], {}, [3, 4]),
    "Equal": ([ints(1, 2), ints(2)], {}, [False, True]),
    "Erf": ([np.float32([0])], {}, [0]),
    "Sign": ([ints(-2, 0, 3)], {}, [-1, 0, 1]),
    "Xor": ([TRUTHS, np.array([True, True])], {}, [False, True]),
    "Exp": ([np.float32([0])], {}, [1]),
    "Expand": ([ints(5), ints(2)], {}, [5, 5]),
    "Flatten": ([ints(1, 2).reshape(1, 2, 1)], {"axis": 2}, [[1], [2]]),
    "Floor": ([HALVES], {}, [-2, 0, 2]),
    "Gather": ([ints(4, 5, 6), ints(2, 0)], {}, [6, 4]),
    "GatherElements": ([ints(4, 5, 6), ints(1, 1)], {}, [5, 5]),
    "GatherND": ([ints(4, 5, 6), ints(2).reshape(1, 1)], {}, [6]),
    "Greater": ([ints(1, 2), ints(1)], {}, [False, True]),
    "GreaterOrEqual": ([ints(0, 1), ints(1)], {}, [False, True]),
    "Less": ([ints(1, 2), ints(2)], {}, [True, False]),
    "LessOrEqual": ([ints(2, 3), ints(2)], {}, [True, False]),
    "Log": ([np.float32([1])], {}, [0]),
    "Max": ([ints(1, 5), ints(3)], {}, [3, 5]),
    "Min": ([ints(1, 5), ints(3)], {}, [1, 3]),
    "Mod": ([ints(7, -7), ints(4)], {}, [3, 1]),
    "Mul": ([ints(2, 3), ints(4)], {}, [8, 12]),
    "Neg": ([ints(2, -3)], {}, [-2, 3]),
    "Not": ([TRUTHS], {}, [False, True]),
    "NonZero": ([ints(0, 4, 0, 5)], {}, [[1, 3]]),
    "Or": ([TRUTHS, np.array([False, False])], {}, [True, False]),
    "Pow": ([ints(2, 3), ints(2)], {}, [4, 9]),
    "Range": ([ints(1)[0], ints(7)[0], ints(2)[0]], {}, [1, 3, 5]),
    "ReduceMax": ([ints(1, 5)], {"keepdims": 0}, 5),
    "ReduceMean": ([np.float32([1, 5])], {"keepdims": 0}, 3),
    "ReduceMin": ([ints(1, 5)], {"keepdims": 0}, 1),
    "ReduceProd": ([ints(2, 5)], {"keepdims": 0}, 10),
    "ReduceSum": ([ints(2, 5)], {"keepdims": 0}, 7),
    "Reshape": ([ints(1, 2), ints(2, 1)], {}, [[1], [2]]),
    "Round": ([HALVES], {}, [-2, 0, 2]),  # to even
    "ScatterElements": ([ints(1, 2), ints(1), ints(7)], {}, [1, 7]),
    "ScatterND": ([ints(1, 2), ints(0).reshape(1, 1), ints(7)], {}, [7, 2]),
    "Shape": ([ints(1, 2).reshape(2, 1)], {}, [2, 1]),
    "Size": ([ints(1, 2, 3)], {}, 3),
    "Slice": ([ints(1, 2, 3), ints(1), ints(3)], {}, [2, 3]),
    "Split": ([ints(1, 2)], {"axis": 0}, [1]),
    "Sqrt": ([np.float32([9])], {}, [3]),
    "Squeeze": ([ints(4).reshape(1, 1)], {}, 4),
    "Sub": ([ints(7, 8), ints(2)], {}, [5, 6]),
    "Sum": ([np.float32([1]), np.float32([2]), np.float32([3])], {}, [6]),
    "Tile": ([ints(1, 2), ints(2)], {}, [1, 2, 1, 2]),
    "TopK": ([np.float32([1, 3, 2]), ints(2)], {}, [3, 2]),
    "Transpose": ([ints(1, 2).reshape(1, 2)], {}, [[1], [2]]),
    "Trilu": ([ints(1, 2, 3, 4).reshape(2, 2)], {}, [[1, 2], [0, 4]]),
    "Unique": ([ints(3, 2, 2, 3)], {}, [2, 3]),
    "Unsqueeze": ([ints(1, 2), ints(0)], {}, [[1, 2]]),
    "Where": ([TRUTHS, ints(1, 2), ints(3, 4)], {}, [1, 4]),
    **{op: ([HALVES], {}, HALVES) for op in ("Identity", "Dropout")},
}
OUTPUTS = {"Split": "k l", "TopK": "k l"}
SAME_SHAPE = {  # of which no more than the shape is known
    "CastLike": "f like", "QuantizeLinear": "f s o", "DequantizeLinear": "q s o", "DynamicQuantizeLinear": "f",
}  # fmt: skip


def known(op, tensors, inputs, outputs="k", **attributes):
    """What is known of the output `k` of an operator that reads tensors alone."""
    nodes = [node(op, inputs, outputs, **attributes), node("Relu", "x", "y")]
    read = OnnxModel(model(nodes, [("x", [1, 2, 3, 3])], tensors), None)
    walk(read)
    return read.env["k"]


@pytest.mark.slow
@pytest.mark.parametrize("op", COMPUTED)
def test_an_operator_on_small_tensors_is_computed(op):
    inputs, attributes, expected = COMPUTED[op]
    tensors = [(f"w{i}", tensor) for i, tensor in enumerate(inputs)]
    got = known(op, tensors, " ".join(name for name, _ in tensors), OUTPUTS.get(op, "k"), **attributes)
    np.testing.assert_array_equal(got.value, expected)


@pytest.mark.parametrize("op", SAME_SHAPE)
def test_a_tensor_in_another_type_keeps_its_shape(op):
    tensors = [
        ("f", HALVES),
        ("like", np.float16(0)),
        ("s", np.float32(1)),
        ("o", np.uint8(0)),
        ("q", np.uint8([1] * 3)),
    ]
    assert known(op, tensors, SAME_SHAPE[op], "k l m" if op.startswith("Dyn") else "k").dims == (3,)


def test_every_operator_that_is_folded_has_a_test():
    missing = (BOUNDED | SAME | {"Cast"}) - COMPUTED.keys() - SAME_SHAPE.keys()
    assert not missing, f"add {', '.join(sorted(missing))} to COMPUTED in tests/readers/test_onnx_operators.py"
