"""ONNX operators that reduce a map along some of its axes."""

from __future__ import annotations

from cnnatomy.layers import GlobalAvgPool, MaxPool
from cnnatomy.layers.layer import CHANNEL, ELEMENT, SPACE, Operations, elements, times
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Mapped


def reduction(call: NodeCall) -> OnnxResult:
    """Means, sums, norms and extremes along some axes; the mean and the maximum of all pixels are global pools."""
    x = call.inputs[0]
    axes, keep = call.integers("axes", 1), call.integer("keepdims", 1)
    if not isinstance(x, Mapped):
        return call.unknown()
    if call.given(1) and axes is None:  # computed from what is not known here
        return _along_unknown(call, x)
    if not axes and call.integer("noop_with_empty_axes", 0):
        each, then = REDUCTIONS[call.op]
        alone = Operations(*map(sum, zip(each._replace(add=0), then, strict=True)))
        costs = times(elements(x.shape), alone)
        free = call.op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
        return x if free else call.foreign(x.dims, costs, ELEMENT, x.map, batch=x.batch)
    dims = x.dims
    gone = {call.axis_of(axis, len(dims)) for axis in axes} if axes else set(range(len(dims)))
    if call.op in ("ReduceMean", "ReduceMax") and gone == {2, 3} and len(dims) == 4 and x.batched:
        _, rows, columns = x.shape
        pooled = call.put(GlobalAvgPool() if call.op == "ReduceMean" else MaxPool((rows, columns), 1), x.map)
        return pooled if keep else call.put_flat(pooled)
    return _reduced(call, x, gone)


def _reduced(call: NodeCall, x: Mapped, gone: set[int]) -> OnnxResult:
    """The map without some of its axes, or with 1 in their place."""
    dims, keep = x.dims, call.integer("keepdims", 1)
    target = tuple(1 if i in gone else n for i, n in enumerate(dims) if keep or i not in gone)
    at = x.batch and x.batch.axis
    batch = None if at in gone and not (keep and call.model.images == 1) else x.batch
    if batch is not None and not keep:
        batch = batch._replace(axis=batch.axis - sum(axis < batch.axis for axis in gone))
    costs = _costs(call, x, elements(call.shape_of(target, batch)))
    pixels = bool(gone & set(range(1 + x.batched, len(dims))))
    return call.foreign(target, costs, SPACE if pixels else CHANNEL, x.map, batch=batch)


def _costs(call: NodeCall, x: Mapped, made: int) -> Operations:
    each, then = REDUCTIONS[call.op]
    return Operations(*(n * elements(x.shape) + m * made for n, m in zip(each, then, strict=True)))


def _along_unknown(call: NodeCall, x: Mapped) -> OnnxResult:
    """A reduction along axes that depend on the data: with the sizes that onnx infers, or the file says."""
    dims = call.sizes_of(0)
    batch = call.batch_of(dims)
    return call.foreign(dims, _costs(call, x, elements(call.shape_of(dims, batch))), SPACE, x.map, batch=batch)


def place(call: NodeCall) -> OnnxResult:
    """ArgMax and ArgMin: where along an axis the extreme is; each element is compared."""
    x = call.inputs[0]
    if not isinstance(x, Mapped):
        return call.unknown()
    return _reduced(call, x, {call.axis_of(call.integer("axis", 0), len(x.dims))})


def running(call: NodeCall) -> OnnxResult:
    """CumSum and CumProd: of each element the sum or product with those before it."""
    x = call.inputs[0]
    if not isinstance(x, Mapped):
        return call.unknown()
    each = Operations(add=1) if call.op == "CumSum" else Operations(multiply=1)
    return call.foreign(x.dims, times(elements(x.shape), each), SPACE, x.map, batch=x.batch, learns=False)


def determinant(call: NodeCall) -> OnnxResult:
    """Det by elimination: for n rows n (n - 1) (2n - 1) / 6 MACs, n (n - 1) / 2 quotients and n - 1 products."""
    x = call.inputs[0]
    if not isinstance(x, Mapped) or len(x.dims) < 2 or x.dims[-1] != x.dims[-2]:
        raise call.refusal("square matrices are needed")
    n, dims = x.dims[-1], x.dims[:-2]
    batch = x.batch if x.batch is not None and x.batch.axis < len(dims) else None
    each = Operations(mac=n * (n - 1) * (2 * n - 1) // 6, multiply=n - 1, divide=n * (n - 1) // 2)
    return call.foreign(dims, times(elements(call.shape_of(dims, batch)), each), SPACE, x.map, batch=batch)


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
    **dict.fromkeys(("ArgMax", "ArgMin"), (Operations(compare=1), Operations())),
    "ReduceLogSumExp": (Operations(add=1, exponential=1), Operations(exponential=1)),
}
"""What each element of the input costs, and what each of the output: a quotient, the root of a sum of squares."""
