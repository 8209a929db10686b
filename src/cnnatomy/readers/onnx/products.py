"""ONNX operators that are products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnatomy.layers import (
    Each,
    FullyConnected,
    MatMul,
)
from cnnatomy.layers.layer import Layer
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.values import Known, Mapped


def gemm(call: NodeCall) -> OnnxResult:
    """A fully connected layer: A is the map, B and C are known."""
    place, bias_place = (3, 6) if call.op == "QGemm" else (1, 2)
    weight, bias, x = call.known(place), call.known(bias_place), call.x
    if weight is None or len(weight.dims) != 2 or len(call.maps) > 1 or call.integer("transA", 0):
        return call.unknown()
    turned = bool(call.integer("transB", 0))
    features, inner = weight.dims if turned else weight.dims[::-1]
    stored = weight if turned else StoredTensor(weight, np.transpose)
    return _fully_connected(call, x, features, inner, stored, bias)


def _fully_connected(
    call: NodeCall,
    x: Mapped,
    features: int,
    inner: int,
    weight: Known | StoredTensor,
    bias: Known | None,
    output: str = "",
) -> OnnxResult:
    if x.dims[-1] != inner:
        raise call.refusal(f"it got {x.dims[-1]} features, its weight reads {inner}")
    if x.batch is not None and x.batch.axis == len(x.dims) - 1:
        return call.unknown()
    layer: Layer = FullyConnected(features, bias is not None)
    steps = len(x.shape) - 1
    for _ in range(max(0, steps - 1)):
        layer = Each(layer)
    made = call.put(layer, x.map, tensors={"weight": weight, "bias": bias})
    return Mapped(made, (*x.dims[:-1], features), x.batch, x.type)


def matmul(call: NodeCall) -> OnnxResult:
    """A product with a known matrix (and the addition of a bias after it), or of two maps."""
    at, weight_at = (0, 3) if call.op == "QLinearMatMul" else (0, 1)
    weight, x = call.known(weight_at), call.inputs[at]
    if isinstance(x, Mapped) and weight is not None and len(weight.dims) == 2 and len(call.maps) == 1:
        inner, features = weight.dims
        after = call.model.only_reader(call.node.output[0])
        bias = _bias(call, after, features)
        made = _fully_connected(call, x, features, inner, StoredTensor(weight, np.transpose), bias)
        if bias is not None and isinstance(made, Mapped):
            call.model.merged.add(id(after))
            call.model.env[after.output[0]] = made
        return made
    if len(call.maps) != 2 or call.maps[0].batch != call.maps[1].batch:
        return call.unknown()
    first, second = (m.shape for m in call.maps)
    left, right = (m.dims for m in call.maps)
    alike = len(left) == len(right) and left[:-2] == right[:-2] and len(first) == len(second) >= 2
    if not alike or left[-1] != right[-2]:
        return call.unknown()
    layer: Layer = MatMul()
    for _ in first[:-2]:
        layer = Each(layer)
    return Mapped(call.put(layer), (*left[:-1], right[-1]), call.maps[0].batch, call.maps[0].type)


def _bias(call: NodeCall, after: Any, features: int) -> Known | None:
    """The known vector that the only reader of this node adds to it."""
    if after is None or after.op_type != "Add":
        return None
    other = [name for name in after.input if name != call.node.output[0]]
    known = call.model.env.get(other[0]) if len(other) == 1 else None
    return known if isinstance(known, Known) and known.dims == (features,) else None
