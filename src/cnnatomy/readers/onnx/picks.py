"""ONNX operators that pick, place and order elements by numbers: Gather and Scatter in all forms, TopK, OneHot."""

from __future__ import annotations

import numpy as np

from cnnatomy.layers import Reshape, Slice
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, SPACE, Operations, elements, times
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.moves import reshaped
from cnnatomy.readers.onnx.values import Batch, Known, Mapped


def gather(call: NodeCall) -> OnnxResult:
    """Gather: what stands at some places of one axis. A range of places is a slice; a table of the file is learned."""
    x, places = call.inputs[0], call.inputs[1]
    if x is None or places is None:
        raise call.refusal("a tensor and places in it are needed")
    axis = call.axis_of(call.integer("axis", 0), len(x.dims))
    target = (*x.dims[:axis], *places.dims, *x.dims[axis + 1 :])
    more = len(places.dims) - 1
    batch: Batch | None = None
    if isinstance(x, Mapped) and x.batch is not None and x.batch.axis != axis:
        batch = x.batch._replace(axis=x.batch.axis + (more if x.batch.axis > axis else 0))
    elif isinstance(places, Mapped) and places.batch is not None:
        batch = places.batch._replace(axis=axis + places.batch.axis)
    if isinstance(x, Mapped) and isinstance(places, Known):
        if _is_all(places, x.dims[axis]):
            return reshaped(call, x, target)
        part = _part(call, x, axis, places)
        if part is not None:
            made = call.put(Slice(part.start, part.stop, call.axis(axis, x)), x.map)
            shape = call.shape_of(target, batch)
            if made.shape != shape:
                made = call.put(Reshape(shape), made, part="reshape")
            return Mapped(made, target, batch, x.type)
    return call.foreign(target, NO_OPERATIONS, REARRANGEMENT, batch=batch)


def _is_all(places: Known, size: int) -> bool:
    """Whether the places are all that there are along an axis, in order: what is gathered gets other sizes only."""
    return places.value is not None and np.array_equal(np.ravel(places.value), np.arange(size))


def _part(call: NodeCall, x: Mapped, axis: int, places: Known) -> range | None:
    """The places as a part of an axis that a layer of ours cuts out; None where they are not in order, or not known."""
    size, within = x.dims[axis], call.along(axis, x)
    if places.value is None or not places.value.size or not 0 <= within <= 2:
        return None
    found = np.ravel(places.value)
    if found.min() < -size or found.max() >= size:
        raise call.refusal(f"there is no place {int(found.min() if found.min() < -size else found.max())} along {size}")
    found = np.where(found < 0, found + size, found)
    if (np.diff(found) != 1).any():
        return None
    return range(int(found[0]), int(found[-1]) + 1)


def scattered(call: NodeCall) -> OnnxResult:
    """Scatter in all forms: the tensor with other elements at some places, to which they may be added."""
    data, updates = call.needed(0), call.needed(1 if call.op == "TensorScatter" else 2)
    each = {
        "add": Operations(add=1), "mul": Operations(multiply=1), "max": Operations(compare=1),
        "min": Operations(compare=1),
    }.get(call.text("reduction", "none"), NO_OPERATIONS)  # fmt: skip
    placed = updates.shape if isinstance(updates, Mapped) else updates.dims
    return call.foreign(data.dims, times(elements(placed), each), REARRANGEMENT)


def top(call: NodeCall) -> OnnxResult:
    """TopK: the largest along an axis, and where they were; each element is compared."""
    x = call.inputs[0]
    axis = call.axis_of(call.integer("axis", -1), len(x.dims)) if x is not None else 0
    if not isinstance(x, Mapped):
        return call.unknown()
    wanted = call.number("k", -1, 1) if call.known(1) or "k" in call.attributes else -1
    dims = (*x.dims[:axis], int(wanted), *x.dims[axis + 1 :])
    if wanted < 0:
        declared = call.inferred(call.node.output[0])
        if declared is None:
            call.assume(f"at most {x.dims[axis]:,} largest")
        dims = declared or x.dims
    if dims[axis] > x.dims[axis]:
        raise call.refusal(f"the {dims[axis]:,} largest of {x.dims[axis]:,} are wanted")
    batch = _kept(call, x, axis)
    largest = call.foreign(dims, Operations(compare=elements(x.shape)), SPACE, x.map, batch=batch)
    if not call.output(1):
        return [largest, None]
    return [largest, call.foreign(dims, NO_OPERATIONS, SPACE, x.map, batch=batch, output=1)]


def _kept(call: NodeCall, x: Mapped, axis: int) -> Batch | None:
    """Where the images are after an axis was cut or reordered: where they were, unless it was theirs."""
    return None if x.batch is not None and x.batch.axis == axis and call.model.images > 1 else x.batch


def one_hot(call: NodeCall) -> OnnxResult:
    """OneHot: each number becomes an axis of its own, with one of two values at each place."""
    places, depth = call.inputs[0], call.known(1)
    if places is None or depth is None or depth.number is None:
        return call.foreign(call.sizes_of(0), learns=False)
    axis = call.axis_of(call.integer("axis", -1), len(places.dims) + 1)
    target = (*places.dims[:axis], int(depth.number), *places.dims[axis:])
    batch = places.batch if isinstance(places, Mapped) else None
    if batch is not None and batch.axis >= axis:
        batch = batch._replace(axis=batch.axis + 1)
    return call.foreign(target, batch=batch, learns=False)


def expand(call: NodeCall) -> OnnxResult:
    """Expand: repeated along axes whose size is 1, to sizes that are an input."""
    x, wanted = call.inputs[0], call.integers("", 1)
    if x is None or wanted is None:
        return call.foreign(call.sizes_of(0))
    target = tuple(int(n) for n in np.broadcast_shapes(x.dims, wanted))
    return x if isinstance(x, Mapped) and target == x.dims else call.foreign(target)


def tile(call: NodeCall) -> OnnxResult:
    """Tile: the whole tensor so many times along each axis."""
    x, repeats = call.inputs[0], call.integers("", 1)
    if not isinstance(x, Mapped) or repeats is None or len(repeats) != len(x.dims):
        return call.foreign(call.sizes_of(0))
    target = tuple(n * m for n, m in zip(x.dims, repeats, strict=True))
    kept = x.batch is None or repeats[x.batch.axis] == 1
    return x if target == x.dims else call.foreign(target, batch=x.batch if kept else None)
