"""ONNX operators that pool: over windows, over all pixels, over regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from cnnatomy.errors import UserError
from cnnatomy.layers import AvgPool, GlobalAvgPool, MaxPool
from cnnatomy.layers.layer import NO_OPERATIONS, SPACE, Layer, Operations, Shape, elements
from cnnatomy.layers.sliding import Pool
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Batch, Mapped
from cnnatomy.readers.onnx.windows import Windows, windows_of

INT64 = int(onnx.TensorProto.INT64)


def pool(call: NodeCall) -> OnnxResult:
    """MaxPool, with the places of the maxima if anything reads them, AveragePool and LpPool.

    Padding that differs at both ends is that of a window which hangs over the end, if it means the same; otherwise, and
    with dilation, the pool is counted and cannot be built.
    """
    x = call.x
    if len(x.dims) < 3:
        raise call.refusal(f"it got a map of {x.dims}; images, channels and at least one more axis are needed")
    windows = windows_of(call, x.dims[2:], call.integers("kernel_shape") or ())
    dims = (*x.dims[:2], *windows.positions(x.dims[2:], bool(call.integer("ceil_mode", 0))))
    layer = _ours(call, x, windows, call.shape_of(dims, x.batch))
    if layer is not None:
        made = Mapped(call.put(layer, x.map), dims, x.batch, x.type)
    else:
        batch = x.batch if x.batch and x.batch.axis < 2 else call.batch_of(dims)
        costs = _costs(call, elements(call.shape_of(dims, batch)), elements(windows.kernel), elements(x.shape))
        made = _one(call.foreign(dims, costs, SPACE, x.map, batch=batch))
    return [made, *_places(call, made)]


def _one(made: object) -> Mapped:
    assert isinstance(made, Mapped)
    return made


def _places(call: NodeCall, made: Mapped) -> Sequence[Mapped]:
    """Where the maxima were: found in passing."""
    if not call.output(1):
        return ()
    places = call.foreign(made.dims, NO_OPERATIONS, SPACE, made.map, batch=made.batch, output=1)
    return [replace(_one(places), type=INT64)]


def _ours(call: NodeCall, x: Mapped, windows: Windows, shape: Shape) -> Layer | None:
    largest, counted = call.op == "MaxPool", bool(call.integer("count_include_pad", 0))
    exact = windows.before == windows.after or largest or not counted
    if call.op == "LpPool" or not x.batched or len(shape) != 3 or not exact or set(windows.dilation) != {1}:
        return None
    for up in (bool(call.integer("ceil_mode", 0)), True):
        sizes = (windows.kernel, windows.stride, windows.before, up)
        try:
            layer: Pool = MaxPool(*sizes) if largest else AvgPool(*sizes, counted or not any(windows.before))  # type: ignore[arg-type]
            if layer.output_shape(x.shape) == shape:
                return layer
        except UserError:  # padding of more than half the kernel
            return None
    return None


def _costs(call: NodeCall, made: int, window: int, read: int) -> Operations:
    if call.op.endswith("LpPool"):
        return powers(call.integer("p", 2), read, made * window, made)
    if call.op.endswith("MaxPool"):
        return Operations(compare=made * window)
    return Operations(add=made * window, divide=made)


def powers(p: int, read: int, added: int, made: int) -> Operations:
    """Roots of sums of powers: absolute values, squares, or for other powers exponentials."""
    if p == 1:
        return Operations(compare=read, add=added)
    each = Operations(multiply=read) if p == 2 else Operations(exponential=read)
    return each._replace(add=added, exponential=each.exponential + made)


def global_pool(call: NodeCall) -> OnnxResult:
    """GlobalAveragePool, GlobalMaxPool and GlobalLpPool: over all axes after the channels."""
    x = call.x
    if len(x.dims) < 3:
        raise call.refusal(f"it got a map of {x.dims}; images, channels and at least one more axis are needed")
    if x.batched and len(x.shape) == 3 and call.op != "GlobalLpPool":
        return call.put(GlobalAvgPool() if call.op == "GlobalAveragePool" else MaxPool(x.shape[1:], 1), x.map)
    dims = (*x.dims[:2], *(1,) * len(x.dims[2:]))
    batch = x.batch if x.batch and x.batch.axis < 2 else None
    n = elements(x.shape)
    costs = _costs(call, elements(call.shape_of(dims, batch)), 0, n)
    costs = costs._replace(**{"compare" if call.op == "GlobalMaxPool" else "add": n})
    return call.foreign(dims, costs, SPACE, x.map, batch=batch)


def unpool(call: NodeCall) -> OnnxResult:
    """MaxUnpool: each value where its maximum was."""
    x = call.x
    windows = windows_of(call, x.dims[2:], call.integers("kernel_shape") or ())
    wanted = call.integers("output_shape", 2)
    if wanted is None and call.given(2):
        return call.foreign(call.sizes_of(0), NO_OPERATIONS, SPACE)
    sizes = zip(x.dims[2:], *windows, strict=True)
    usual = tuple((n - 1) * s + k - before - after for n, k, s, _, before, after in sizes)
    return call.foreign(wanted or (*x.dims[:2], *usual), NO_OPERATIONS, SPACE, batch=x.batch)


def regions(call: NodeCall) -> OnnxResult:
    """RoiAlign: samples of four pixels each in every bin of every region; where regions decide how many, not counted.

    The first axis is that of the regions, no longer of the images.
    """
    x, boxes, ratio = call.x, call.needed(1), call.integer("sampling_ratio", 0)
    if len(x.dims) != 4:
        raise call.refusal(f"it got a map of {x.dims}; four axes are needed")
    dims = (boxes.dims[0], x.dims[1], call.integer("output_height", 1), call.integer("output_width", 1))
    if ratio < 1:
        return call.unknown(learns=False)
    batch: Batch | None = None
    made = elements(dims)
    samples = made * ratio**2
    joined = Operations(compare=samples) if call.text("mode") == "max" else Operations(add=samples, divide=made)
    costs = joined._replace(multiply=4 * samples, add=joined.add + 3 * samples)
    return call.foreign(dims, costs, SPACE, batch=batch, learns=False)
