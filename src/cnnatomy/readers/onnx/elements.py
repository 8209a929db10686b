"""ONNX operators on each element: nonlinearities, sums, products and comparisons of maps and known tensors."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import numpy as np

from cnnatomy.layers import (
    ELU,
    GELU,
    SELU,
    Add,
    AddConstant,
    Bias,
    Constant,
    Dropout,
    Erf,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Maximum,
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
    Swish,
    Tanh,
)
from cnnatomy.layers.activation import SELU_ALPHA, SELU_SCALE
from cnnatomy.layers.layer import CHANNEL, ELEMENT, Layer, Operations, elements, times
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.constants import fold, sizes
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.values import Known, Mapped


def passed(call: NodeCall) -> OnnxResult:
    """Identity, casts and (de)quantisation: the same map."""
    x = call.inputs[0]
    return replace(x, type=call.type_of()) if isinstance(x, Mapped) else fold(call)


def _nonlinearity(call: NodeCall) -> Layer | None:
    op, number = call.op, call.number
    layer = NONLINEAR.get(op)
    if op == "LeakyRelu":
        layer = LeakyReLU(number("alpha", 0.01))
    elif op == "Elu":
        layer = ELU(number("alpha", 1.0))
    elif op == "Selu":
        others = (number("alpha", SELU_ALPHA) - SELU_ALPHA, number("gamma", SELU_SCALE) - SELU_SCALE)
        layer = None if sum(map(abs, others)) > 1e-6 else layer
    elif op == "Gelu":
        layer = GELU("tanh" if call.text("approximate", "none") == "tanh" else "none")
    elif op == "HardSigmoid" and (abs(number("alpha", 0.2) - 1 / 6) < 1e-4 and number("beta", 0.5) == 0.5):
        layer = Hardsigmoid()
    elif op == "Swish":
        layer = Swish(number("alpha", 1.0))
    elif op == "Clip" and not any(call.given(i) and call.known(i) is None for i in (1, 2)):
        least, most = number("min", -np.inf, 1), number("max", np.inf, 2)
        layer = {(0.0, 6.0): ReLU6(), (0.0, np.inf): ReLU()}.get((least, most), Hardtanh(least, most))
    return layer


def activation(call: NodeCall) -> OnnxResult:
    """A nonlinearity of ours; one that is none is counted."""
    layer = _nonlinearity(call)
    if layer is None and call.op == "HardSigmoid" and call.x.batched:  # of another slope than torch's
        scaled = call.put(Constant(call.number("alpha", 0.2)), call.x.map, part="slope")
        moved = call.put(AddConstant(call.number("beta", 0.5)), scaled, part="shift")
        return call.put(Hardtanh(0.0, 1.0), moved)
    if call.op == "Selu" and layer is None:  # of other numbers than torch's
        elu = call.put(ELU(call.number("alpha", SELU_ALPHA)), call.x.map, part="elu")
        return call.put(Constant(call.number("gamma", SELU_SCALE)), elu)
    return call.put(layer, call.x.map) if layer else elementwise(call)


def prelu(call: NodeCall) -> OnnxResult:
    """A slope for each channel, or one for all."""
    call = _with_axes(call)
    slope, x = call.known(1), call.inputs[0]
    if slope is not None and isinstance(x, Mapped):
        if per_channel(slope, x):
            return call.put(PReLU(), x.map, tensors={"weight": slope})
        if elements(slope.dims) == 1 and len(slope.dims) <= len(x.dims):
            return call.put(PReLU(shared=True), x.map, tensors={"weight": slope})
    return elementwise(call)


def _with_axes(call: NodeCall) -> NodeCall:
    """Before version 7 an attribute said which axes of the first input the second has; a slope is that of a channel."""
    if call.model.opset >= 7 or len(call.inputs) != 2:
        return call
    first, second = call.inputs
    if first is None or not isinstance(second, Known) or len(second.dims) >= len(first.dims):
        return call
    slope = call.op == "PRelu" and len(second.dims) == 1 and second.dims[0] > 1
    if not slope and ("axis" not in call.attributes or not call.integer("broadcast", 0)):
        return call
    axis = call.axis_of(call.integer("axis", 1), len(first.dims))
    more = len(first.dims) - axis - len(second.dims)
    dims = (*second.dims, *(1,) * more)
    value = None if second.value is None else second.value.reshape(dims)
    return NodeCall(call.node, [first, replace(second, dims=dims, value=value)], call.model)


def softmax(call: NodeCall) -> OnnxResult:
    """Softmax and its kin along an axis; before version 13 along all axes from that one on."""
    x, old = call.inputs[0], call.model.opset < 13
    if not isinstance(x, Mapped):
        return call.unknown()
    first = call.axis_of(call.integer("axis", 1 if old else -1), len(x.dims))
    several = [i for i in range(first, len(x.dims) if old else first + 1) if x.dims[i] != 1] or [first]
    axis = call.along(several[0], x)
    if call.op == "Softmax" and len(several) == 1 and axis >= 0:
        return call.put(Softmax(axis), x.map)
    return call.foreign(x.dims, times(elements(x.shape), SOFTMAXES[call.op]), CHANNEL, x.map, batch=x.batch)


def gated(call: NodeCall) -> OnnxResult:
    """SwiGLU: Swish of the first input, times the second."""
    dims = call.sizes_of(0)
    each = Operations(multiply=2 + (call.number("alpha", 1.0) != 1), add=1, divide=1, exponential=1)
    return call.foreign(dims, times(elements(call.shape_of(dims, call.batch_of(dims))), each), ELEMENT)


def per_channel(known: Known, x: Mapped) -> bool:
    """Whether a tensor has a number for each channel, to be repeated over all pixels."""
    sizes = list(known.dims)
    while len(sizes) > 1 and sizes[0] == 1:
        sizes.pop(0)
    fits = x.batched and len(known.dims) <= len(x.dims)
    return fits and sizes == [x.shape[0], *[1] * (len(x.shape) - 1)] and elements(known.dims) > 1


def _with_known(call: NodeCall, x: Mapped, known: Known) -> OnnxResult:
    """The sum or product of a map and a known tensor."""
    if len(known.dims) > len(x.dims):  # the output has its axes, too
        return elementwise(call)
    if known.number is not None and call.op in ("Mul", "Div"):
        factor = known.number
        return call.put(Constant(factor if call.op == "Mul" else 1 / factor), x.map)
    if known.number is not None and isfinite(known.number) and call.op in ("Add", "Sub"):
        return call.put(AddConstant(known.number if call.op == "Add" else -known.number), x.map)
    if known.learned and per_channel(known, x):
        if call.op in ("Mul", "Div"):
            weight = known if call.op == "Mul" else StoredTensor(known, np.reciprocal)
            return call.put(Scale(), x.map, tensors={"weight": weight})
        if call.op in ("Add", "Sub"):
            bias = known if call.op == "Add" else StoredTensor(known, np.negative)
            return call.put(Bias(), x.map, tensors={"bias": bias})
    return elementwise(call)


JOINS: dict[str, Layer] = {"Add": Add(), "Sum": Add(), "Max": Maximum(), "Mul": Multiply()}


def arithmetic(call: NodeCall) -> OnnxResult:
    """Two or more inputs, element by element: a layer of ours where it has one."""
    call = _with_axes(call)
    maps, known = call.maps, [value for value in call.inputs if isinstance(value, Known)]
    if len(call.inputs) == 1:
        return call.x
    if len(maps) == 1 and len(known) == 1:
        first = call.inputs[0] is known[0]
        return elementwise(call) if first and call.op in ("Div", "Sub") else _with_known(call, maps[0], known[0])
    layer = JOINS.get(call.op)
    if layer is None or known or len({m.batch for m in maps}) > 1 or len({len(m.dims) for m in maps}) > 1:
        return elementwise(call)
    shapes = [m.shape for m in maps]
    alike = len(set(shapes)) == 1 and (call.op != "Mul" or len(maps) == 2)
    repeats = len(maps) == 2 and len(shapes[0]) == len(shapes[1])
    if not alike and not (call.op == "Mul" and repeats):
        return elementwise(call)
    dims = tuple(int(n) for n in np.broadcast_shapes(*(m.dims for m in maps)))
    return Mapped(call.put(layer), dims, maps[0].batch, maps[0].type)


def elementwise(call: NodeCall) -> OnnxResult:
    """Any operator on each element; the inputs are repeated where a size is 1."""
    call = _with_axes(call)
    dims = tuple(int(n) for n in np.broadcast_shapes(*(v.dims for v in call.inputs if v is not None)))
    shape = call.shape_of(dims, call.batch_of(dims))
    per = COSTS[call.op]
    joined = max(1, len(call.inputs) - 1) if call.op in ("Sum", "Max", "Min", "Mean") else 1
    if call.op == "Pow" and (exponent := call.known(1)) is not None and exponent.number in (2.0, 3.0):
        per = Operations(multiply=int(exponent.number or 2) - 1)
    return call.foreign(dims, times(joined * elements(shape), per), ELEMENT)


def dropout(call: NodeCall) -> OnnxResult:
    """Dropout, and its mask where that is read."""
    rate = call.number("ratio", 0.5, 1)
    made = replace(call.x, map=call.put(Dropout(rate), call.x.map)) if rate else call.x
    return [made, call.foreign(call.x.dims, output=1)] if call.output(1) else made


def shape(call: NodeCall) -> Known:
    """The sizes of a map are known, whatever the input is: with them other sizes are computed."""
    known = sizes(call, call.x.dims)
    return replace(known, assumed=call.model.resting_on([call.x.map]))


NONLINEAR: dict[str, Layer] = {
    "Relu": ReLU(),
    "Selu": SELU(),
    "Sigmoid": Sigmoid(),
    "Tanh": Tanh(),
    "HardSwish": Hardswish(),
    "Erf": Erf(),
    "Mish": Mish(),
    "Softplus": Softplus(),
    "Softsign": Softsign(),
}


SOFTMAXES = {
    "Softmax": Operations(add=1, divide=1, exponential=1),
    "LogSoftmax": Operations(add=2, divide=1, exponential=2),  # and the logarithm, as torch is counted
    "Hardmax": Operations(compare=1),
}
"""What each element costs where elements along an axis are weighed against one another."""


COSTS: dict[str, Operations] = {
    **dict.fromkeys(("Add", "Sum", "Sub", "Mean"), Operations(add=1)),
    **dict.fromkeys(("Mul", "Neg"), Operations(multiply=1)),
    **dict.fromkeys(("Div", "Reciprocal", "Mod"), Operations(divide=1)),
    **dict.fromkeys(("Max", "Min", "Abs", "Sign", "Floor", "Ceil", "Round"), Operations(compare=1)),
    **dict.fromkeys(("IsNaN", "IsInf", "Bernoulli", "BitShift", "BitwiseNot"), Operations(compare=1)),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), Operations(compare=1)),
    **dict.fromkeys(
        ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Where", "Not"), Operations(compare=1)
    ),
    **dict.fromkeys(("And", "Or", "Xor"), Operations(compare=1)),
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Erf", "Pow", "Sin", "Cos", "Tan"), Operations(exponential=1)),
    **dict.fromkeys(("Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"), Operations(exponential=1)),
    "Celu": Operations(compare=1, multiply=1, add=1, exponential=1),  # as ELU
    "Clip": Operations(compare=2),
    "Shrink": Operations(compare=2, add=1),
    "HardSigmoid": Operations(multiply=1, add=1, compare=2),
    "PRelu": Operations(compare=1, multiply=1),
    "ThresholdedRelu": Operations(compare=1),
}
"""What one element of the output costs, for operators on elements."""
