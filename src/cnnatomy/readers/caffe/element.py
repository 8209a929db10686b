"""Caffe's layers that treat each element by itself: activations, scales, sums and products of blobs."""

from __future__ import annotations

from math import log

from cnnatomy.errors import UserError, quoted
from cnnatomy.layers import (
    ELU,
    SELU,
    Add,
    Bias,
    Constant,
    Dropout,
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
    Reshape,
    Scale,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from cnnatomy.layers.layer import Layer, Operations, Shape, dimensions
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, NamedTensors, scaled, total
from cnnatomy.readers.caffe.text_format import Message


def _relu(call: LayerCall) -> Blob:
    slope = call.param("relu_param").number("negative_slope", 0.0)
    return call.put(LeakyReLU(slope) if slope else ReLU())


def _prelu(call: LayerCall) -> Blob:
    if call.param("prelu_param").flag("channel_shared", False):
        return call.foreign(scaled(total(call.x.item), Operations(compare=1, multiply=1)), learned=(("weight", (1,)),))
    return call.put(PReLU())


def _power(call: LayerCall) -> Blob:
    """(shift + scale * x) ^ power."""
    options = call.param("power_param")
    power, scale, shift = (options.number(*of) for of in (("power", 1.0), ("scale", 1.0), ("shift", 0.0)))
    if power == 1 and not shift and scale != 1:
        return call.put(Constant(scale))
    small = power in (0, 1, 2, 3)
    each = Operations(
        multiply=(scale != 1) + (int(power) - 1 if small and power > 1 else 0),
        add=shift != 0,
        divide=power == -1,
        exponential=not small and power != -1,
    )
    return call.foreign(scaled(total(call.x.item), each if power and scale else Operations()))


def _exponential(call: LayerCall) -> Blob:
    """base ^ (shift + scale * x), computed as exp(scale ln(base) x) times a constant; e where base is -1."""
    options = call.param("exp_param")
    factor = options.number("scale", 1.0) * _log_of_base(options)
    each = Operations(multiply=(factor != 1) + (options.number("shift", 0.0) != 0), exponential=1)
    return call.foreign(scaled(total(call.x.item), each))


def _logarithm(call: LayerCall) -> Blob:
    """The logarithm of shift + scale * x to a base."""
    options = call.param("log_param")
    multiplies = (options.number("scale", 1.0) != 1) + (_log_of_base(options) != 1)
    each = Operations(multiply=multiplies, add=options.number("shift", 0.0) != 0, exponential=1)
    return call.foreign(scaled(total(call.x.item), each))


def _log_of_base(options: Message) -> float:
    base = options.number("base", -1.0)
    if base != -1 and not 0 < base < float("inf"):
        options.fail(f"base: expected a positive number, or -1 for e, got {base:g}")
    return 1.0 if base == -1 else log(base)


def _each(**costs: int) -> CaffeRule:
    """One output for each input, at what one costs."""
    return lambda call: call.foreign(scaled(total(call.x.item), Operations(**costs)))


def _clip(call: LayerCall) -> Blob:
    options = call.param("clip_param")
    return call.put(Hardtanh(options.number("min", 0.0), options.number("max", 0.0)))


def _covered(call: LayerCall, options: Message) -> Shape:
    """The shape of a learned scale or bias: the axes of the blob that it covers."""
    x, axis, count = call.x, options.integer("axis", 1), options.integer("num_axes", 1)
    first = x.axis(axis)
    if first < 0 and count:
        options.fail("axis: its numbers would belong to the images of the batch")
    if count < -1 or first + count > len(x.item):
        options.fail(f"num_axes: the blob {dimensions(x.shape)} has fewer axes")
    return (1,) if not count else x.item[first:] if count == -1 else x.item[first : first + count]


def _scale(call: LayerCall) -> Blob:
    options = call.param("scale_param")
    with_bias = options.flag("bias_term", False)
    if len(call.blobs) == 2:
        gate = _beside(call, options)
        made = call.put(Multiply(), call.x, gate)
        return _learned_bias(call.of(made), options, gate.item) if with_bias else made
    return learned_scale(call, options, with_bias)


def learned_scale(call: LayerCall, options: Message, with_bias: bool) -> Blob:
    """A learned scale, and a bias of the same shape after it."""
    shape, x = _covered(call, options), call.x
    if _per_channel(call, options):
        made = call.put(Scale(), x)
    else:
        made = call.foreign(scaled(total(x.item), Operations(multiply=1)), learned=(("weight", shape),))
    return _learned_bias(call.of(made), options, shape) if with_bias else made


def _per_channel(call: LayerCall, options: Message) -> bool:
    return call.x.axis(options.integer("axis", 1)) == 0 and options.integer("num_axes", 1) == 1


def _learned_bias(call: LayerCall, options: Message, shape: Shape, part: str = "bias") -> Blob:
    """A learned bias, where `shape` may have sizes of 1 at its end."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    if shape == call.x.item[:1] and _per_channel(call, options):
        return call.put(Bias(), call.x, part=part)
    learned: NamedTensors = (("bias", shape),)
    return call.foreign(scaled(total(call.x.item), Operations(add=1)), learned=learned, part=part)


def _beside(call: LayerCall, options: Message) -> Blob:
    """The second blob, with sizes of 1 where it has no axis, so that it goes with the first.

    Caffe wants it to cover axes of the first from `axis` on; where it has the batch too, that is axis 0.
    """
    x, gate = call.x, call.blobs[1]
    if gate.leads != x.leads or len(gate.item) > len(x.item):
        raise UserError(f"a blob {dimensions(gate.shape)} does not go with one of {dimensions(x.shape)}")
    before = max(0, x.axis(options.integer("axis", 1))) if gate.images == 1 else 0
    for start in dict.fromkeys((before, 0)):
        end = start + len(gate.item)
        if all(a in (1, b) for a, b in zip(gate.item, x.item[start:end], strict=False)) and end <= len(x.item):
            shape = (*(1,) * start, *gate.item, *(1,) * (len(x.item) - end))
            return gate if shape == gate.item else call.put(Reshape(shape), gate, part="reshape")
    raise UserError(f"a blob {dimensions(gate.shape)} does not go with one of {dimensions(x.shape)}")


def _bias(call: LayerCall) -> Blob:
    options, x = call.param("bias_param"), call.x
    if len(call.blobs) == 1:
        return _learned_bias(call, options, _covered(call, options), part="")
    other = _beside(call, options)
    if other.item == x.item:
        return call.put(Add(), x, other)
    return call.foreign(scaled(total(x.item), Operations(add=1)), on=[x, other])


def _axpy(call: LayerCall) -> Blob:
    """SENet's gate and shortcut in one: a number for each channel, times a map, plus another map."""
    if len(call.blobs) != 3:
        raise UserError("Axpy reads three blobs: a number for each channel, a map, and the map that is added")
    gate, x, y = call.blobs
    if gate.channels != x.channels or total(gate.item) != gate.channels:
        raise UserError(f"a gate {dimensions(gate.shape)} has no number for each channel of {dimensions(x.shape)}")
    wanted = (x.channels, *(1,) * (len(x.item) - 1))
    if gate.item != wanted:
        gate = call.put(Reshape(wanted), gate, part="reshape")
    return call.put(Add(), call.put(Multiply(), x, gate, part="scale"), y)


def _eltwise(call: LayerCall) -> Blob:
    options = call.param("eltwise_param")
    operation = options.word("operation", "SUM").upper()
    operation = {"0": "PROD", "1": "SUM", "2": "MAX"}.get(operation, operation)
    if operation == "PROD":
        product = call.put(Multiply(), *call.blobs[:2])
        for i, x in enumerate(call.blobs[2:], 2):
            product = call.put(Multiply(), product, x, part=str(i))
        return product
    if operation not in ("SUM", "MAX"):
        options.fail(f"operation: expected SUM, PROD or MAX, got {quoted(operation)}")
    blobs = list(call.blobs)
    factors = options.numbers("coeff")
    if factors and operation == "SUM" and len(factors) != len(blobs):
        options.fail(f"coeff: {len(blobs)} blobs need as many factors, got {len(factors)}")
    for i, factor in enumerate(factors if operation == "SUM" else []):
        if factor != 1:
            blobs[i] = call.put(Constant(float(factor)), blobs[i], part=f"coeff{i + 1}")
    return call.put(Add() if operation == "SUM" else Maximum(), *blobs)


def _softmax(call: LayerCall) -> Blob:
    axis = call.x.axis(call.param("softmax_param").integer("axis", 1))
    if axis < 0:
        call.fail("softmax over the images of a batch is not read: each of them is independent here")
    return call.put(Softmax(axis))


def _softmax_of_loss(call: LayerCall) -> list[Blob]:
    """The softmax of a loss, which may give it as a second top."""
    return [_softmax(call)] * max(1, len(call.spec.tops))


def _dropout(call: LayerCall) -> Blob:
    return call.put(Dropout(call.param("dropout_param").number("dropout_ratio", 0.5)))


def _constant(layer: Layer) -> CaffeRule:
    return lambda call: call.put(layer)


RULES: dict[str, CaffeRule] = {
    "relu": _relu,
    "relu6": _constant(ReLU6()),
    "prelu": _prelu,
    "elu": lambda call: call.put(ELU(call.param("elu_param").number("alpha", 1.0))),
    "selu": _constant(SELU()),
    "sigmoid": _constant(Sigmoid()),
    "swish": lambda call: call.put(Swish(call.param("swish_param").number("beta", 1.0))),
    "mish": _constant(Mish()),
    "hardsigmoid": _constant(Hardsigmoid()),
    "hardswish": _constant(Hardswish()),
    "tanh": _constant(Tanh()),
    "bnll": _constant(Softplus()),
    "clip": _clip,
    "absval": _each(compare=1),
    "threshold": _each(compare=1),
    "power": _power,
    "exp": _exponential,
    "log": _logarithm,
    "scale": _scale,
    "bias": _bias,
    "axpy": _axpy,
    "eltwise": _eltwise,
    "softmax": _softmax,
    "softmaxwithloss": _softmax_of_loss,
    "softmaxloss": _softmax_of_loss,
    **dict.fromkeys(("dropout", "seludropout"), _dropout),
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
