"""ONNX operators that are products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnatomy.layers import Each, FullyConnected, MatMul
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, NO_OPERATIONS, Layer, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.values import Batch, Known, Mapped, TensorValue


def gemm(call: NodeCall) -> OnnxResult:
    """alpha * A B + beta * C: a fully connected layer where A is the map; any other is counted."""
    a, b, c = call.needed(0), call.needed(1), call.inputs[2] if call.given(2) else None
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    turned = (bool(call.integer("transA", 0)), bool(call.integer("transB", 0)))
    if len(a.dims) != 2 or len(b.dims) != 2:
        raise call.refusal("it needs two matrices")
    (rows, inner), (inner_of_b, features) = (v.dims[::-1] if t else v.dims for v, t in zip((a, b), turned, strict=True))
    if inner != inner_of_b:
        raise call.refusal(f"it got {inner} features, its weight reads {inner_of_b}")
    plain_bias = c is None or (isinstance(c, Known) and c.dims in ((features,), (1, features)))
    if isinstance(a, Mapped) and isinstance(b, Known) and plain_bias and not turned[0] and not _last(a):
        weight = StoredTensor(b, _scaled(alpha, transpose=not turned[1]))
        bias = StoredTensor(c, _scaled(beta, flat=True)) if isinstance(c, Known) else None
        return fully_connected(call, a, features, inner, weight, bias)
    if c is not None and np.broadcast_shapes((rows, features), c.dims) != (rows, features):
        raise call.refusal(f"it adds {c.dims} to {rows}x{features}")
    scaled = (alpha != 1) * rows * features + (beta != 1 and c is not None) * elements(c.dims if c else ())
    more = Operations(multiply=int(scaled), add=rows * features if c is not None else 0)
    return _product(call, (rows, features), inner, _images_of(a, b, turned), more)


def _scaled(factor: float, transpose: bool = False, flat: bool = False) -> Any:
    """What makes the tensor of a layer of that of the file; None where it is that."""
    if factor == 1 and not transpose and not flat:
        return None

    def prepare(array: Any) -> Any:
        array = array.T if transpose else array.reshape(-1) if flat else array
        return array if factor == 1 else array * factor

    return prepare


def _last(x: Mapped) -> bool:
    """Whether the images lie on the axis that a product sums over."""
    return x.batch is not None and x.batch.axis == len(x.dims) - 1


def fully_connected(
    call: NodeCall,
    x: Mapped,
    features: int,
    inner: int,
    weight: Known | StoredTensor,
    bias: Known | StoredTensor | None,
    part: str = "",
) -> Mapped:
    """A fully connected layer of the last axis of a map, on which the images do not lie."""
    if x.dims[-1] != inner:
        raise call.refusal(f"it got {x.dims[-1]} features, its weight reads {inner}")
    layer: Layer = FullyConnected(features, bias is not None)
    steps = len(x.shape) - 1
    for _ in range(max(0, steps - 1)):
        layer = Each(layer)
    made = call.put(layer, x.map, part=part, tensors={"weight": weight, "bias": bias})
    return Mapped(made, (*x.dims[:-1], features), x.batch, x.type)


def matmul(call: NodeCall) -> OnnxResult:
    """A product with a known matrix (and the addition of a bias after it), or of two maps; others are counted."""
    a, b = call.needed(0), call.needed(1)
    if isinstance(a, Mapped) and isinstance(b, Known) and len(b.dims) == 2 and not _last(a):
        inner, features = b.dims
        after = call.model.only_reader(call.node.output[0])
        bias = _bias(call, after, features)
        made = fully_connected(call, a, features, inner, StoredTensor(b, np.transpose), bias)
        if bias is not None:
            call.model.merged.add(id(after))
            call.model.env[after.output[0]] = made
        return made
    return multiplied(call, a, b)


def multiplied(
    call: NodeCall, a: TensorValue, b: TensorValue, turned: tuple[bool, bool] = (False, False), scaled: bool = False
) -> OnnxResult:
    """The product of any two tensors as numpy's `matmul`, either with its last two axes turned."""
    left, right = (
        (*v.dims[:-2], v.dims[-1], v.dims[-2]) if t and len(v.dims) > 1 else v.dims
        for v, t in zip((a, b), turned, strict=True)
    )
    if not left or not right:
        raise call.refusal("a single number is no matrix")
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    inner = left[-1]
    if inner != right[-2:][0]:
        raise call.refusal(f"it got {left} and {right}; the last size of one and the last but one of the other differ")
    dims = (*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns)
    if isinstance(a, Mapped) and isinstance(b, Mapped) and not scaled:
        alike = len(a.shape) == len(b.shape) >= 2 and len(left) == len(right) and left[:-2] == right[:-2]
        if alike and a.batch == b.batch and not (a.batch and a.batch.axis >= len(left) - 2):
            layer: Layer = MatMul(*turned)
            for _ in a.shape[:-2]:
                layer = Each(layer)
            return Mapped(call.put(layer, a.map, b.map), dims, a.batch, a.type)
    more = Operations(multiply=elements(dims) if scaled else 0)
    return _product(call, tuple(int(n) for n in dims), inner, _images_of(a, b, turned), more)


def _images_of(a: TensorValue, b: TensorValue, turned: tuple[bool, bool]) -> tuple[Batch | None, bool]:
    """Where the images of the first map that has them lie in a product, counted from the end, and whether it has them.

    They are in it no more where it sums over them.
    """
    ranks = (max(1, len(a.dims)), max(1, len(b.dims)))
    vector = (len(a.dims) == 1, len(b.dims) == 1)
    for at, value in enumerate((a, b)):
        if not isinstance(value, Mapped) or value.batch is None:
            continue
        axis = value.batch.axis - ranks[at]
        if turned[at] and axis >= -2:
            axis = -3 - axis
        if axis == (-1 if at == 0 or vector[1] else -2):
            return None, True
        gone = vector[1 - at]  # a vector on the other side takes its axis with it
        if axis >= -2:
            axis = -1 if gone else (-2 if at == 0 else -1)
        else:
            axis += int(gone)
        return Batch(axis, value.batch.outer), True
    return None, False


def _product(
    call: NodeCall, dims: Shape, inner: int, images: tuple[Batch | None, bool], more: Operations = NO_OPERATIONS
) -> OnnxResult:
    """A product that no layer of ours computes; `more` is what else it needs for all images."""
    batch, has = images
    if batch is not None:
        batch = batch._replace(axis=batch.axis + len(dims))
        if dims[batch.axis] % call.model.images:
            batch = None
    every = Operations(elements(dims) * inner, *more[1:])
    divisor = call.model.images if has else 1
    return call.foreign(dims, Operations(*(n // divisor for n in every)), CHANNEL_AND_SPACE, batch=batch)


def _bias(call: NodeCall, after: Any, features: int) -> Known | None:
    """The known vector that the only reader of this node adds to it."""
    if after is None or after.op_type != "Add":
        return None
    other = [name for name in after.input if name != call.node.output[0]]
    known = call.model.env.get(other[0]) if len(other) == 1 else None
    return known if isinstance(known, Known) and known.dims == (features,) else None
