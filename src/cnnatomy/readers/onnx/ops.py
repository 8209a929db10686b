"""ONNX operators as layers of ours: a rule for each, in one table. https://onnx.ai/onnx/operators/

What no layer of ours computes, but whose operations are known, becomes `Foreign`; what has no rule, `NotCounted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import (
    ELU,
    GELU,
    SELU,
    Add,
    BatchNorm,
    Bias,
    Constant,
    Dropout,
    Each,
    Foreign,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    MatMul,
    Maximum,
    MaxPool,
    Mish,
    Multiply,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from cnnatomy.layers.layer import ELEMENT, SPACE, Layer, Operations, elements
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.model import Known, Mapped
from cnnatomy.readers.onnx.moves import (
    concat,
    cut,
    depth_to_space,
    move,
    pad,
    rearranged,
    resize,
    space_to_depth,
    split,
)
from cnnatomy.readers.onnx.windows import WEIGHT_AND_BIAS, convolution, pool, transposed_convolution

OnnxResult = FeatureMap | Mapped | Known | list[Mapped] | list[FeatureMap]
OnnxRule = Callable[[NodeCall], OnnxResult]


def _passed(call: NodeCall) -> OnnxResult:
    """Identity, casts and (de)quantisation: the same map."""
    return [call.x] * max(1, len(call.node.output))


def _nonlinearity(call: NodeCall) -> Layer | None:
    op, number = call.op, call.number
    layer = NONLINEAR.get(op)
    if op == "LeakyRelu":
        layer = LeakyReLU(number("alpha", 0.01))
    elif op == "Elu":
        layer = ELU(number("alpha", 1.0))
    elif op == "Gelu":
        layer = GELU("tanh" if call.text("approximate", "none") == "tanh" else "none")
    elif op == "HardSigmoid" and (abs(number("alpha", 0.2) - 1 / 6) < 1e-4 and number("beta", 0.5) == 0.5):
        layer = Hardsigmoid()
    elif op == "Clip":
        least, most = number("min", -np.inf, 1), number("max", np.inf, 2)
        layer = {(0.0, 6.0): ReLU6(), (0.0, np.inf): ReLU()}.get((least, most), Hardtanh(least, most))
    return layer


def _activation(call: NodeCall) -> OnnxResult:
    layer = _nonlinearity(call)
    return call.put(layer, call.x.map) if layer else _elementwise(call)


def _prelu(call: NodeCall) -> OnnxResult:
    slope, x = call.known(1), call.x
    if slope is None or not _per_channel(slope, x):
        return _elementwise(call)
    return call.put(PReLU(), x.map, tensors={"weight": slope})


def _softmax(call: NodeCall) -> OnnxResult:
    axis = call.axis(call.integer("axis", 1 if call.model.opset < 13 else -1), call.x)
    return call.put(Softmax(axis)) if axis >= 0 else call.unknown()


def _per_channel(known: Known, x: Mapped) -> bool:
    """Whether a tensor has a number for each channel, to be repeated over all pixels."""
    sizes = list(known.dims)
    while len(sizes) > 1 and sizes[0] == 1:
        sizes.pop(0)
    return x.batched and sizes == [x.shape[0], *[1] * (len(x.shape) - 1)] and elements(known.dims) > 1


def _with_known(call: NodeCall, x: Mapped, known: Known) -> OnnxResult:
    """The sum or product of a map and a known tensor."""
    if known.number is not None and call.op in ("Mul", "Div"):
        factor = known.number
        return call.put(Constant(factor if call.op == "Mul" else 1 / factor), x.map)
    if known.learned and _per_channel(known, x):
        if call.op == "Mul":
            return call.put(Scale(), x.map, tensors={"weight": known})
        if call.op == "Add":
            return call.put(Bias(), x.map, tensors={"bias": known})
    return _elementwise(call)


JOINS: dict[str, Layer] = {"Add": Add(), "Sum": Add(), "Max": Maximum(), "Mul": Multiply()}


def _arithmetic(call: NodeCall) -> OnnxResult:
    """Two or more inputs, element by element: a layer of ours where it has one."""
    maps, known = call.maps, [value for value in call.inputs if isinstance(value, Known)]
    if len(call.inputs) == 1:
        return call.x
    if len(maps) == 1 and len(known) == 1:
        first = call.inputs[0] is known[0]
        return _elementwise(call) if first and call.op == "Div" else _with_known(call, maps[0], known[0])
    layer = JOINS.get(call.op)
    if layer is None or known or len({m.batched for m in maps}) > 1:
        return _elementwise(call)
    shapes = [m.shape for m in maps]
    alike = len(set(shapes)) == 1 and (call.op != "Mul" or len(maps) == 2)
    repeats = len(maps) == 2 and len(shapes[0]) == len(shapes[1])
    return call.put(layer) if alike or (call.op == "Mul" and repeats) else _elementwise(call)


def _elementwise(call: NodeCall) -> OnnxResult:
    """Any operator on each element; the inputs are repeated where a size is 1."""
    dims = tuple(int(n) for n in np.broadcast_shapes(*(call.dims(v) for v in call.inputs if v is not None)))
    shape, batched = call.without_batch(dims)
    per = COSTS[call.op]
    joined = max(1, len(call.inputs) - 1) if call.op in ("Sum", "Max", "Min", "Mean") else 1
    if call.op == "Pow" and (exponent := call.known(1)) is not None and exponent.number in (2.0, 3.0):
        per = Operations(multiply=int(exponent.number or 2) - 1)
    costs = Operations(*(n * joined * elements(shape) for n in per))
    tensors = call.learned()
    layer = Foreign(call.op, shape, costs, ELEMENT, tuple((name, known.dims) for name, known in tensors.items()))
    return Mapped(call.put(layer, tensors=tensors), batched)


def _gemm(call: NodeCall) -> OnnxResult:
    """A fully connected layer: A is the map, B and C are known."""
    place, bias_place = (3, 6) if call.op == "QGemm" else (1, 2)
    weight, bias, x = call.known(place), call.known(bias_place), call.x
    if weight is None or len(weight.dims) != 2 or len(call.maps) > 1 or call.integer("transA", 0):
        return call.unknown()
    features, inner = weight.dims if call.integer("transB", 0) else weight.dims[::-1]
    return _fully_connected(call, x, features, inner, weight, bias)


def _fully_connected(
    call: NodeCall, x: Mapped, features: int, inner: int, weight: Known, bias: Known | None, output: str = ""
) -> OnnxResult:
    if x.shape[-1] != inner:
        raise call.refusal(f"it got {x.shape[-1]} features, its weight reads {inner}")
    layer: Layer = FullyConnected(features, bias is not None)
    steps = len(x.shape) - 1
    if not x.batched and steps == 0:
        return call.unknown()
    for _ in range(max(0, steps - 1)):
        layer = Each(layer)
    return Mapped(call.put(layer, x.map, tensors={"weight": weight, "bias": bias}), x.batched)


def _matmul(call: NodeCall) -> OnnxResult:
    """A product with a known matrix (and the addition of a bias after it), or of two maps."""
    at, weight_at = (0, 3) if call.op == "QLinearMatMul" else (0, 1)
    weight, x = call.known(weight_at), call.inputs[at]
    if isinstance(x, Mapped) and weight is not None and len(weight.dims) == 2 and len(call.maps) == 1:
        inner, features = weight.dims
        after = call.model.only_reader(call.node.output[0])
        bias = _bias(call, after, features)
        made = _fully_connected(call, x, features, inner, weight, bias)
        if bias is not None and isinstance(made, Mapped):
            call.model.merged.add(id(after))
            call.model.env[after.output[0]] = made
        return made
    if len(call.maps) != 2 or call.maps[0].batched != call.maps[1].batched:
        return call.unknown()
    first, second = (m.shape for m in call.maps)
    if len(first) != len(second) or len(first) < 2 or first[:-2] != second[:-2]:
        return call.unknown()
    layer: Layer = MatMul()
    for _ in first[:-2]:
        layer = Each(layer)
    return call.put(layer)


def _bias(call: NodeCall, after: Any, features: int) -> Known | None:
    """The known vector that the only reader of this node adds to it."""
    if after is None or after.op_type != "Add":
        return None
    other = [name for name in after.input if name != call.node.output[0]]
    known = call.model.env.get(other[0]) if len(other) == 1 else None
    return known if isinstance(known, Known) and known.dims == (features,) else None


def _batch_norm(call: NodeCall) -> OnnxResult:
    x, scale = call.x, call.known(1)
    if scale is None or not x.batched or len(x.shape) not in (1, 3):
        return call.unknown()
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: call.known(i) for i, name in enumerate(names, 1)}
    for i, known in enumerate(tensors.values(), 1):
        if known is not None and known.dims != x.shape[:1]:
            raise call.refusal(f"it got {x.shape[0]} channels, its input {i + 1} has the sizes {known.dims}")
    layer = BatchNorm(call.number("epsilon", 1e-5), round(1 - call.number("momentum", 0.9), 6))
    return call.put(layer, x.map, tensors=tensors)


def _group_norm(call: NodeCall) -> OnnxResult:
    x, scale = call.x, call.known(1)
    groups = x.shape[0] if call.op == "InstanceNormalization" else call.integer("num_groups", 1)
    if scale is None or scale.dims != x.shape[:1] or not x.batched:
        return call.unknown()
    tensors = {"weight": scale, "bias": call.known(2)}
    return call.put(GroupNorm(groups, call.number("epsilon", 1e-5)), x.map, tensors=tensors)


def _layer_norm(call: NodeCall) -> OnnxResult:
    x, scale, bias = call.x, call.known(1), call.known(2)
    axes = len(x.shape) - call.axis(call.integer("axis", -1), x)
    if scale is None or scale.dims != x.shape[len(x.shape) - axes :]:
        return call.unknown()
    layer = LayerNorm(axes, call.number("epsilon", 1e-5), bias=bias is not None)
    return call.put(layer, x.map, tensors={"weight": scale, "bias": bias})


def _lrn(call: NodeCall) -> OnnxResult:
    numbers = (call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0))
    return call.put(LocalResponseNorm(call.integer("size", 5), *numbers))


def _global_max(call: NodeCall) -> OnnxResult:
    return call.put(MaxPool(call.x.shape[1:], 1)) if len(call.x.shape) == 3 else call.unknown()


def _reduction(call: NodeCall) -> OnnxResult:
    """Means, sums, norms and extremes along some axes; the mean over all pixels is a global average pool."""
    x = call.x
    dims, axes, keep = call.dims(x), call.integers("axes", 1), call.integer("keepdims", 1)
    gone = {axis % len(dims) for axis in axes} if axes is not None else set(range(len(dims)))
    if call.op == "ReduceMean" and gone == {2, 3} and len(dims) == 4 and x.batched:
        pooled = call.put(GlobalAvgPool())
        return pooled if keep else call.put_flat(pooled)
    target = tuple(1 if i in gone else n for i, n in enumerate(dims) if keep or i not in gone)
    shape, batched = call.without_batch(target)
    each, then = REDUCTIONS[call.op]
    read, made = elements(x.shape), elements(shape)
    costs = Operations(*(n * read + m * made for n, m in zip(each, then, strict=True)))
    pixels = bool(gone & set(range(1 + x.batched, len(dims))))
    return Mapped(call.put(Foreign(call.op, shape, costs, SPACE if pixels else "channel"), x.map), batched)


def _dropout(call: NodeCall) -> OnnxResult:
    rate = call.number("ratio", 0.5, 1)
    return call.put(Dropout(rate), call.x.map) if rate else call.x


def _shape(call: NodeCall) -> Known:
    """The sizes of a map are known, whatever the input is: with them other sizes are computed."""
    dims = call.dims(call.x)[slice(call.integer("start", 0), call.attributes.get("end"))]
    if call.op == "Size":
        return Known((), call.node.output[0], np.asarray(elements(dims), np.int64))
    return Known((len(dims),), call.node.output[0], np.asarray(dims, np.int64))


NONLINEAR: dict[str, Layer] = {
    "Relu": ReLU(),
    "Selu": SELU(),
    "Sigmoid": Sigmoid(),
    "Tanh": Tanh(),
    "HardSwish": Hardswish(),
    "Mish": Mish(),
    "Softplus": Softplus(),
    "Softsign": Softsign(),
}

COSTS: dict[str, Operations] = {
    **dict.fromkeys(("Add", "Sum", "Sub", "Mean"), Operations(add=1)),
    **dict.fromkeys(("Mul", "Neg"), Operations(multiply=1)),
    **dict.fromkeys(("Div", "Reciprocal"), Operations(divide=1)),
    **dict.fromkeys(("Max", "Min", "Abs", "Sign", "Floor", "Ceil", "Round"), Operations(compare=1)),
    **dict.fromkeys(
        ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Where", "Not"), Operations(compare=1)
    ),
    **dict.fromkeys(("And", "Or", "Xor"), Operations(compare=1)),
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Erf", "Pow", "Sin", "Cos"), Operations(exponential=1)),
    "HardSigmoid": Operations(multiply=1, add=1, compare=2),
    "PRelu": Operations(compare=1, multiply=1),
    "ThresholdedRelu": Operations(compare=1),
}
"""What one element of the output costs, for operators on elements."""

REDUCTIONS: dict[str, tuple[Operations, Operations]] = {
    "ReduceMean": (Operations(add=1), Operations(divide=1)),
    "ReduceSum": (Operations(add=1), Operations()),
    "ReduceProd": (Operations(multiply=1), Operations()),
    "ReduceMax": (Operations(compare=1), Operations()),
    "ReduceMin": (Operations(compare=1), Operations()),
    "ReduceL1": (Operations(add=1, compare=1), Operations()),
    "ReduceL2": (Operations(multiply=1, add=1), Operations(exponential=1)),
    "ReduceSumSquare": (Operations(multiply=1, add=1), Operations()),
    "ReduceLogSum": (Operations(add=1), Operations(exponential=1)),
    "ReduceLogSumExp": (Operations(add=1, exponential=1), Operations(exponential=1)),
}
"""What each element of the input costs, and what each of the output: a quotient, the root of a sum of squares."""

RULES: dict[str, OnnxRule] = {
    **dict.fromkeys(COSTS, _elementwise),
    **dict.fromkeys(("Add", "Sum", "Mul", "Max", "Div"), _arithmetic),
    **dict.fromkeys([*NONLINEAR, "LeakyRelu", "Elu", "Gelu", "HardSigmoid", "Clip"], _activation),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(
        ("Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), _passed
    ),
    **dict.fromkeys(WEIGHT_AND_BIAS, convolution),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _matmul),
    **dict.fromkeys(("Gemm", "QGemm"), _gemm),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"), move),
    **dict.fromkeys(("Gather", "Expand", "Tile", "GatherElements", "GatherND"), rearranged),
    **dict.fromkeys(("Resize", "Upsample"), resize),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), _group_norm),
    "ConvTranspose": transposed_convolution,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": lambda call: call.put(GlobalAvgPool()),
    "GlobalMaxPool": _global_max,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "LRN": _lrn,
    "Shape": _shape,
    "Size": _shape,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "Dropout": _dropout,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
"""Type of operator -> what adds its nodes and returns its outputs."""
