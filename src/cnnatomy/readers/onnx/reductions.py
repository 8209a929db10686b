"""ONNX operators that reduce a map along some of its axes."""

from __future__ import annotations

from cnnatomy.layers import GlobalAvgPool
from cnnatomy.layers.layer import CHANNEL, SPACE, Operations, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Mapped


def reduction(call: NodeCall) -> OnnxResult:
    """Means, sums, norms and extremes along some axes; the mean over all pixels is a global average pool."""
    x = call.inputs[0]
    axes, keep = call.integers("axes", 1), call.integer("keepdims", 1)
    if not isinstance(x, Mapped) or (call.given(1) and axes is None):
        return call.unknown()
    if not axes and call.integer("noop_with_empty_axes", 0):
        return x
    dims = x.dims
    gone = {call.axis_of(axis, len(dims)) for axis in axes} if axes else set(range(len(dims)))
    if call.op == "ReduceMean" and gone == {2, 3} and len(dims) == 4 and x.batched:
        pooled = call.put(GlobalAvgPool(), x.map)
        return pooled if keep else call.put_flat(pooled)
    target = tuple(1 if i in gone else n for i, n in enumerate(dims) if keep or i not in gone)
    at = x.batch and x.batch.axis
    batch = None if at in gone and not (keep and call.model.images == 1) else x.batch
    if batch is not None and not keep:
        batch = batch._replace(axis=batch.axis - sum(axis < batch.axis for axis in gone))
    shape = call.shape_of(target, batch)
    each, then = REDUCTIONS[call.op]
    read, made = elements(x.shape), elements(shape)
    costs = Operations(*(n * read + m * made for n, m in zip(each, then, strict=True)))
    pixels = bool(gone & set(range(1 + x.batched, len(dims))))
    return call.foreign(target, costs, SPACE if pixels else CHANNEL, x.map, batch=batch)


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
