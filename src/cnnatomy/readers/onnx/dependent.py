"""ONNX operators of whose output only running tells how large it is: read as large as it can be, which is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnnatomy.layers.layer import SPACE, Operations, Shape, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.values import Batch, Known, Mapped


class AtMost(NamedTuple):
    """How many things an operator finds at most, what they are, and the sizes of the outputs for so many.

    `axis` is that of the first output along which they lie. `what` is empty where it is known how many they are;
    `batch` is where the images lie in the outputs, if they are still apart.
    """

    most: int
    what: str
    sizes: Callable[[int], Sequence[Shape]]
    axis: int = 0
    batch: Batch | None = None


def dependent(call: NodeCall) -> list[Mapped | Known | None]:
    """The outputs: as large as the file says, else as large as they can be; either is said to be assumed."""
    first = call.inputs[0]
    if first is None:
        raise call.refusal("it has no input")
    most, what, sizes, axis, batch = BOUNDS[call.op](call)
    said = call.model.declared.get(call.node.output[0])
    if what and said is not None and len(said) == len(sizes(most)[0]) and said[axis] <= most:
        most = said[axis]
        call.assume(f"{most:,} {what}, as the file says")
    elif what:
        call.assume(f"at most {most:,} {what}")
    made: list[Mapped | Known | None] = []
    for i, dims in enumerate(sizes(most)[: len(call.node.output)]):
        if i and not call.output(i):
            made.append(None)
        elif not call.maps or 0 in dims:
            made.append(Known(dims, call.node.output[i], type=call.type_of(i)))
        elif call.op == "NonMaxSuppression":  # how many overlap is a matter of the data, too
            made.append(Mapped(call.put(NotCounted(call.op, dims)), dims, None, call.type_of(i)))
        else:
            costs = Operations() if i else Operations(compare=elements(call.x.shape))
            made.append(call.foreign(dims, costs, SPACE, batch=batch, output=i))
    return made


def _boxes(call: NodeCall) -> AtMost:
    boxes, scores = call.inputs[0], call.inputs[1]
    if boxes is None or scores is None or len(boxes.dims) != 3 or len(scores.dims) != 3:
        raise call.refusal("boxes and scores of three axes are needed")
    images, classes, each = *scores.dims[:2], boxes.dims[1]
    limit = call.known(2)
    if not call.given(2):
        each = 0  # without a limit none is wanted
    elif limit is not None and limit.number is not None:
        each = max(0, min(each, int(limit.number)))
    return AtMost(images * classes * each, "boxes", lambda n: [(n, 3)])


def _not_zero(call: NodeCall) -> AtMost:
    dims = _dims(call)
    return AtMost(elements(dims), "numbers that are not zero", lambda n: [(len(dims), n)], 1)


def _different(call: NodeCall) -> AtMost:
    dims = _dims(call)
    if "axis" not in call.attributes:
        size = elements(dims)
        return AtMost(size, "different numbers", lambda n: [(n,), (n,), (size,), (n,)])
    axis = call.axis_of(call.integer("axis", 0), len(dims))
    size = dims[axis]
    return AtMost(size, "different parts", lambda n: [(*dims[:axis], n, *dims[axis + 1 :]), (n,), (size,), (n,)], axis)


def _kept(call: NodeCall) -> AtMost:
    dims, places = _dims(call), call.known(1)
    axis = None if "axis" not in call.attributes else call.axis_of(call.integer("axis", 0), len(dims))
    most, what = elements(dims) if axis is None else dims[axis], "elements that are kept"
    if places is not None and places.value is not None:
        most, what = int(np.count_nonzero(places.value.reshape(-1)[:most])), ""
    elif call.inputs[1] is not None:
        most = min(most, elements(call.inputs[1].dims))
    if axis is None:
        return AtMost(most, what, lambda n: [(n,)])
    x = call.inputs[0]
    batch = x.batch if isinstance(x, Mapped) and x.batch is not None and x.batch.axis != axis else None
    return AtMost(most, what, lambda n: [(*dims[:axis], n, *dims[axis + 1 :])], axis, batch)


def _dims(call: NodeCall) -> Shape:
    first = call.inputs[0]
    return first.dims if first is not None else ()


BOUNDS: dict[str, Callable[[NodeCall], AtMost]] = {
    "NonMaxSuppression": _boxes,
    "NonZero": _not_zero,
    "Unique": _different,
    "Compress": _kept,
}
"""How many things each operator finds at most."""
