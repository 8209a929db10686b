"""ONNX operators on sequences of tensors, and on tensors that may be missing, as far as what is in them is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from cnnatomy.layers import Reshape, Slice
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, Shape
from cnnatomy.limits import MAX_LAYERS
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.moves import concat
from cnnatomy.readers.onnx.values import Known, Mapped, OnnxValue, TensorList, TensorValue, after_reshape

SequenceInputs = Sequence[OnnxValue | None]


def _sequence(call: NodeCall, inputs: SequenceInputs) -> tuple[TensorValue, ...]:
    first = inputs[0] if inputs else None
    if not isinstance(first, TensorList):
        raise call.refusal("its first input is no sequence")
    return first.items


def _position(
    call: NodeCall, inputs: SequenceInputs, at: int, count: int, default: int, most: int | None = None
) -> int:
    """A position in a sequence, which must be known; at most the last, or `most`."""
    given = inputs[at] if at < len(inputs) else None
    if given is None:
        return default
    if not isinstance(given, Known) or given.number is None:
        raise call.refusal("the position in the sequence depends on the data, so which tensor it means is not known")
    place = int(given.number)
    if not -count <= place <= (count - 1 if most is None else most):
        raise call.refusal(f"there is no position {place} in a sequence of {count:,} tensors")
    return place + count if place < 0 else place


def _construct(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    items = tuple(value for value in inputs if isinstance(value, (Known, Mapped)))
    return TensorList(items)


def _at(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    items = _sequence(call, inputs)
    return items[_position(call, inputs, 1, len(items), 0)]


def _insert(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    items, new = _sequence(call, inputs), inputs[1]
    if not isinstance(new, (Known, Mapped)):
        raise call.refusal("what it inserts is no tensor")
    if len(items) >= MAX_LAYERS:
        raise call.refusal(f"at most {MAX_LAYERS:,} tensors in a sequence are possible")
    count = len(items)
    at = _position(call, inputs, 2, count, count, most=count)
    return TensorList((*items[:at], new, *items[at:]))


def _erase(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    items = _sequence(call, inputs)
    at = _position(call, inputs, 1, len(items), len(items) - 1)
    return TensorList((*items[:at], *items[at + 1 :]))


def _length(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    number = np.asarray(len(_sequence(call, inputs)), np.int64)
    return Known((), call.node.output[0], number, type=int(onnx.TensorProto.INT64))


def _concatenated(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    """ConcatFromSequence: along an axis, or along a new one."""
    items = _sequence(call, inputs)
    if not items:
        raise call.refusal("the sequence is empty")
    if call.integer("new_axis", 0):
        axis = call.axis_of(call.integer("axis", 0), len(items[0].dims) + 1)
        items = tuple(resized(call, x, (*x.dims[:axis], 1, *x.dims[axis:]), f"item{i}") for i, x in enumerate(items))
    return joined(call, items)


def joined(call: NodeCall, items: Sequence[TensorValue]) -> OnnxResult:
    """Tensors one after another along the attribute `axis`."""
    inner = NodeCall(call.node, items, call.model)
    if inner.maps:
        return concat(inner)
    known = [x for x in items if isinstance(x, Known)]
    axis = call.axis_of(call.integer("axis", 0), len(known[0].dims))
    dims = list(known[0].dims)
    dims[axis] = sum(x.dims[axis] for x in known)
    values = [x.value.reshape(x.dims) for x in known if x.value is not None]
    value = np.concatenate(values, axis) if len(values) == len(known) else None
    learned = tuple(dict.fromkeys(tensor for x in known for tensor in x.learned))
    return Known(tuple(dims), call.node.output[0], value, learned, known[0].type)


def resized(call: NodeCall, x: TensorValue, dims: Shape, part: str) -> TensorValue:
    """The same elements with other sizes."""
    if isinstance(x, Known):
        return Known(dims, x.root, None if x.value is None else x.value.reshape(dims), x.learned, x.type)
    batch = after_reshape(x.dims, x.batch, dims, call.model.images)
    shape = call.shape_of(dims, batch)
    made = x.map if shape == x.shape else call.put(Reshape(shape), x.map, part=part)
    return Mapped(made, dims, batch, x.type)


def _split(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    """SplitToSequence: into parts of sizes that are an input, else of 1 each."""
    x, given = inputs[0], inputs[1] if len(inputs) > 1 else None
    if not isinstance(x, (Known, Mapped)):
        raise call.refusal("what it splits is no tensor")
    if given is not None and (not isinstance(given, Known) or given.value is None):
        raise call.refusal("the sizes of the parts depend on the data, so how many there are is not known")
    axis = call.axis_of(call.integer("axis", 0), len(x.dims))
    size = x.dims[axis]
    drop = given is None and not call.integer("keepdims", 1)
    sizes = [1] * size if given is None else [int(n) for n in np.ravel(given.value)]
    if given is not None and not given.dims and sizes[0] > 0:
        each = sizes[0]
        sizes = [each] * (size // each) + [size % each] * (size % each > 0)
    if len(sizes) > MAX_LAYERS or sum(sizes) != size or min(sizes, default=1) < 0:
        raise call.refusal(f"{size:,} along axis {axis} cannot be split into parts of sizes {tuple(sizes[:9])}")
    items: list[TensorValue] = []
    start = 0
    for i, n in enumerate(sizes):
        part = cut(call, x, axis, start, n, f"part{i}")
        items.append(resized(call, part, (*x.dims[:axis], *x.dims[axis + 1 :]), f"part{i}_reshape") if drop else part)
        start += n
    return TensorList(tuple(items))


def cut(call: NodeCall, x: TensorValue, axis: int, start: int, size: int, part: str) -> TensorValue:
    """A part of a tensor along an axis."""
    dims = (*x.dims[:axis], size, *x.dims[axis + 1 :])
    if isinstance(x, Known):
        where = (*[slice(None)] * axis, slice(start, start + size))
        value = None if x.value is None else np.ascontiguousarray(x.value.reshape(x.dims)[where])
        return Known(dims, x.root, value, x.learned, x.type)
    within = call.axis(axis, x)
    if not 0 <= within <= 2 or not size:
        return call.foreign(dims, NO_OPERATIONS, REARRANGEMENT, x.map, batch=None if within < 0 else x.batch)
    return Mapped(call.put(Slice(start, start + size, within), x.map, part=part), dims, x.batch, x.type)


def _same(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    """What may be missing is known to be there, or the file would not be read."""
    if not inputs or inputs[0] is None:
        raise call.refusal("nothing is in it, which only an `OptionalHasElement` can say")
    return inputs[0]


def _there(call: NodeCall, inputs: SequenceInputs) -> OnnxResult:
    there = bool(inputs) and inputs[0] is not None
    return Known((), call.node.output[0], np.asarray(there), type=int(onnx.TensorProto.BOOL))


SEQUENCES: dict[str, Callable[[NodeCall, SequenceInputs], OnnxResult]] = {
    "SequenceConstruct": _construct,
    "SequenceEmpty": _construct,
    "SequenceAt": _at,
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": _length,
    "ConcatFromSequence": _concatenated,
    "SplitToSequence": _split,
    "Optional": _same,
    "OptionalGetElement": _same,
    "OptionalHasElement": _there,
}
"""Operators that read or make sequences: what they make, from a call and all inputs, sequences among them."""
