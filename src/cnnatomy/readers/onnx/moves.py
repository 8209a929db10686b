"""ONNX operators that move elements: rules for feature maps, and the shapes that they make of known tensors."""

from __future__ import annotations

from itertools import accumulate

from cnnatomy.layers import (
    ChannelToSpace,
    Concat,
    Flatten,
    PadChannels,
    Permute,
    Reshape,
    Slice,
    Subsample,
    ZeroPad,
)
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, Shape, dimensions, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import FIRST, Batch, Known, Mapped, after_reshape


def moved(call: NodeCall, dims: Shape) -> Shape | None:
    """The sizes after a Reshape, Flatten, Squeeze, Unsqueeze or Transpose; None where its options are not known."""
    rank = len(dims)
    if call.op == "Flatten":
        axis = call.integer("axis", 1)
        axis = rank if axis == rank else call.axis_of(axis, rank)
        return (elements(dims[:axis]), elements(dims[axis:]))
    if call.op == "Transpose":
        return tuple(dims[axis] for axis in _order(call, rank))
    if call.op == "Reshape":
        wanted = call.integers("shape", 1)
        return None if wanted is None else _reshaped(call, dims, wanted)
    axes = call.integers("axes", 1)
    if axes is None and call.given(1):
        return None
    if call.op == "Squeeze":
        gone = (
            {call.axis_of(axis, rank) for axis in axes}
            if axes is not None
            else {i for i in range(rank) if dims[i] == 1}
        )
        return tuple(n for i, n in enumerate(dims) if i not in gone)
    if axes is None:
        return None
    new = {call.axis_of(axis, rank + len(axes)) for axis in axes}
    if len(new) < len(axes):
        raise call.refusal(f"axes is {axes}; each axis is possible once")
    rest = iter(dims)
    return tuple(1 if i in new else next(rest) for i in range(rank + len(axes)))


def _order(call: NodeCall, rank: int) -> Shape:
    """What Transpose puts where."""
    order = call.integers("perm") or tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise call.refusal(f"perm is {order}; each axis from 0 to {rank - 1} is needed once")
    return order


def _reshaped(call: NodeCall, dims: Shape, wanted: Shape) -> Shape:
    kept = not call.integer("allowzero", 0)
    sizes = [dims[i] if n == 0 and kept else n for i, n in enumerate(wanted)]
    known = elements(tuple(n for n in sizes if n != -1))
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1 or (elements(dims) % known if known else 1):
        raise call.refusal(f"a tensor of {dims} cannot become {tuple(wanted)}")
    result = tuple(elements(dims) // known if n == -1 else n for n in sizes)
    if elements(result) != elements(dims):
        raise call.refusal(f"a tensor of {dims} cannot become {result}")
    return result


def move(call: NodeCall) -> OnnxResult:
    """Reshape, Flatten, Squeeze, Unsqueeze and Transpose of a feature map."""
    x = call.inputs[0]
    if not isinstance(x, Mapped):
        return rearranged(call)
    if call.op == "Transpose":
        return _transposed(call, x)
    target = moved(call, x.dims)
    if target is None:  # its sizes are computed from what is not known here
        target = call.sizes_of(0)
    return reshaped(call, x, target)


def reshaped(call: NodeCall, x: Mapped, target: Shape) -> OnnxResult:
    """A map with other sizes, its elements in the same order."""
    batch = after_reshape(x.dims, x.batch, target, call.model.images)
    if elements(target) != elements(x.dims) or 0 in target:
        return call.foreign(target, batch=batch)
    if batch is None and x.batch is not None:  # the images are no more on an axis of their own: each has its part
        batch = call.batch_of(target)
    if x.batch is None and call.model.images == 1 and target[:1] == (1,) != x.dims[:1]:
        batch = FIRST  # what is no batch becomes one of one
    shape = call.shape_of(target, batch)
    if shape == x.shape:
        return Mapped(x.map, target, batch, x.type)
    if elements(shape) != elements(x.shape):
        return call.foreign(target, batch=batch)
    layer = Flatten() if len(shape) == 1 and len(x.shape) > 1 else Reshape(shape)
    return Mapped(call.put(layer, x.map), target, batch, x.type)


def _transposed(call: NodeCall, x: Mapped) -> OnnxResult:
    """Transpose: of the axes of one image, and of where the images lie."""
    order = _order(call, len(x.dims))
    dims = tuple(x.dims[axis] for axis in order)
    batch = x.batch and x.batch._replace(axis=order.index(x.batch.axis))
    inner = [at for axis in order if (at := call.axis(axis, x)) >= 0]
    if inner == sorted(inner):
        return Mapped(x.map, dims, batch, x.type)
    return Mapped(call.put(Permute(tuple(inner)), x.map), dims, batch, x.type)


def rearranged(call: NodeCall) -> Mapped | Known:
    """Any other operator that only moves elements: its shape is what onnx infers, or the file says."""
    return call.foreign(call.sizes_of(0))


def concat(call: NodeCall) -> OnnxResult:
    """Concatenation of feature maps; with known tensors among them it is counted by its shape."""
    every = [value for value in call.inputs if value is not None and elements(value.dims)] or call.maps[:1]
    target = list(every[0].dims)
    at = call.axis_of(call.integer("axis", 1), len(target))
    for value in every:
        if len(value.dims) != len(target) or any(
            n != m for i, (n, m) in enumerate(zip(value.dims, target, strict=True)) if i != at
        ):
            raise call.refusal(
                f"its inputs have the sizes {' and '.join(dimensions(v.dims) for v in every[:9])}; "
                f"on all axes but {at} they must be the same"
            )
    target[at] = sum(value.dims[at] for value in every)
    maps = [value for value in every if isinstance(value, Mapped)]
    if len(maps) == len(every) == 1:
        return maps[0]
    if len(maps) == len(every) and all(m.batch == Batch(at) and m.dims[at] == call.model.images for m in maps):
        return call.foreign(tuple(target), batch=Batch(at, len(maps)))  # so many of each image
    axis = call.along(at, maps[0])
    if len(maps) == len(every) and len({m.batch for m in maps}) == 1 and 0 <= axis <= 2:
        made = call.put(Concat(axis), *[m.map for m in maps])
        return Mapped(made, tuple(target), maps[0].batch, maps[0].type)
    return call.foreign(tuple(target))


def split(call: NodeCall) -> list[Mapped | Known]:
    """Split into parts along one axis."""
    x = call.inputs[0]
    if not isinstance(x, Mapped):
        return [call.foreign(call.sizes_of(i), output=i) for i in range(len(call.node.output))]
    along = call.axis_of(call.integer("axis", 0), len(x.dims))
    axis, parts, size = call.along(along, x), len(call.node.output), x.dims[along]
    sizes = call.integers("split", 1, most=parts)
    if sizes is None and call.given(1):  # computed from what is not known here
        sizes = tuple(call.sizes_of(i)[along] for i in range(parts))
    each = -(-size // parts)
    sizes = sizes or tuple(min(each, size - i * each) for i in range(parts))
    edges = [0, *accumulate(sizes)]
    if len(edges) != parts + 1 or min(sizes) < 0 or edges[-1] != size:
        raise call.refusal(f"{size} along axis {along} cannot be split into {parts:,} outputs of sizes {sizes[:9]}")
    made: list[Mapped | Known] = []
    for i in range(parts):
        dims = (*x.dims[:along], sizes[i], *x.dims[along + 1 :])
        if not 0 <= axis <= 2 or not sizes[i]:
            made.append(call.foreign(dims, NO_OPERATIONS, REARRANGEMENT, x.map, output=i))
        else:
            part = call.put(Slice(edges[i], edges[i + 1], axis), x.map, part=str(i + 1))
            made.append(Mapped(part, dims, x.batch, x.type))
    return made


def cut(call: NodeCall) -> OnnxResult:
    """Slice: a range along each of some axes; with a step it is counted by its shape."""
    starts, ends, axes = call.integers("starts", 1), call.integers("ends", 2), call.integers("axes", 3)
    steps, x = call.integers("steps", 4), call.inputs[0]
    computed = (call.given(3) and axes is None) or (call.given(4) and steps is None)
    if not isinstance(x, Mapped) or starts is None or ends is None or computed:
        return rearranged(call)
    axes = tuple(range(len(starts))) if axes is None else axes
    if (
        len({len(starts), len(ends), len(axes), len(steps or axes)}) > 1
        or len(axes) > len(x.dims)
        or 0 in (steps or ())
    ):
        raise call.refusal(
            f"starts {starts}, ends {ends}, axes {axes} and steps {steps or 1} do not cut a map of {len(x.dims)} axes"
        )
    target, spans = list(x.dims), []
    for i, (start, end, axis) in enumerate(zip(starts, ends, axes, strict=True)):
        at = call.axis_of(axis, len(x.dims))
        span = _span(x.dims[at], start, end, steps[i] if steps else 1)
        target[at] = len(span)
        if span != range(x.dims[at]):
            spans.append((call.along(at, x), span))
    pixels = (1, 2) if x.batched and len(x.shape) == 3 else ()
    if not all(
        span and 0 <= axis <= 2 and (span.step == 1 or (span.step > 1 and axis in pixels)) for axis, span in spans
    ):
        return call.foreign(tuple(target), NO_OPERATIONS, REARRANGEMENT, x.map)
    result = x.map
    for axis, span in spans:
        number = str(axis) if len(spans) > 1 else ""
        if span[-1] - span[0] + span.step < result.shape[axis] or span[0]:
            result = call.put(Slice(span[0], span[-1] + 1, axis), result, part=number)
        if span.step > 1:
            stride = (span.step, 1) if axis == 1 else (1, span.step)
            result = call.put(Subsample(stride), result, part=f"{number}step")
    return Mapped(result, tuple(target), x.batch, x.type)


def _span(size: int, start: int, end: int, step: int) -> range:
    """What ONNX cuts out: as Python does, but that an end far below zero is before the first element."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def pad(call: NodeCall) -> OnnxResult:
    """Zeros around a map; other fillings are counted by their shape, having no operations either."""
    x, sides = call.inputs[0], call.integers("pads", 1)
    sides = call.integers("paddings") if sides is None else sides  # its name in the first version
    axes = call.integers("axes", 3)
    if sides is None or not isinstance(x, Mapped) or (call.given(3) and axes is None):
        return rearranged(call)
    rank = len(x.dims)
    axes = tuple(range(rank)) if axes is None else axes
    if len(sides) != 2 * len(axes):
        raise call.refusal(f"pads is {sides}; {2 * len(axes)} numbers are needed")
    amounts = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        amounts[call.axis_of(axis, rank)] = (sides[i], sides[i + len(sides) // 2])
    if not any(map(any, amounts)):
        return x
    known = call.known(2) is not None or not call.given(2)
    zeros = known and call.text("mode", "constant") == "constant" and call.number("value", 0.0, 2) == 0
    if zeros and x.batched and rank == 4 and min(min(amount) for amount in amounts) >= 0 and not any(amounts[0]):
        if not any(amounts[1]):
            return call.put(ZeroPad((*amounts[2], *amounts[3])), x.map)
        if amounts[1:] == [(0, amounts[1][1]), (0, 0), (0, 0)]:
            return call.put(PadChannels(x.shape[0] + amounts[1][1]), x.map)
    target = tuple(n + sum(more) for n, more in zip(x.dims, amounts, strict=True))
    if min(target) < 0:
        raise call.refusal(f"less than nothing remains of the map with pads {sides}")
    return call.foreign(target, NO_OPERATIONS, REARRANGEMENT, x.map)


def _block(call: NodeCall) -> int:
    size, dims = call.integer("blocksize", 1), call.x.dims
    divided = dims[1:2] if call.op == "DepthToSpace" else dims[2:]
    unit = size**2 if call.op == "DepthToSpace" else size
    if len(dims) != 4 or size < 1 or any(n % unit for n in divided):
        raise call.refusal(f"blocksize is {size}, which does not divide a map of {dims}")
    return size


def depth_to_space(call: NodeCall) -> OnnxResult:
    """Pixel shuffle; the other order of channels (DCR) is counted by its shape."""
    size, dims = _block(call), call.x.dims
    if call.text("mode", "DCR") == "CRD" and call.x.batched:
        return call.put(ChannelToSpace(size))
    return call.foreign((dims[0], dims[1] // size**2, dims[2] * size, dims[3] * size))


def space_to_depth(call: NodeCall) -> OnnxResult:
    """Blocks of pixels as channels, in ONNX's order, which is none of torch's."""
    size, dims = _block(call), call.x.dims
    return call.foreign((dims[0], dims[1] * size**2, dims[2] // size, dims[3] // size))
