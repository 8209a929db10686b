"""ONNX operators that move elements: rules for feature maps, and the shapes that they make of known tensors."""

from __future__ import annotations

from itertools import accumulate

from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import (
    ChannelToSpace,
    Concat,
    Flatten,
    Foreign,
    Interpolate,
    PadChannels,
    Permute,
    Reshape,
    Slice,
    Subsample,
    ZeroPad,
)
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, SPACE, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.model import Mapped


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
        return None if wanted is None else _reshaped(dims, wanted, call.integer("allowzero", 0))
    axes = call.integers("axes", 1)
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


def _reshaped(dims: Shape, wanted: Shape, allow_zero: int) -> Shape:
    sizes = [dims[i] if n == 0 and not allow_zero else n for i, n in enumerate(wanted)]
    known = elements(tuple(n for n in sizes if n != -1))
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1 or (elements(dims) % known if known else 1):
        raise ValueError(f"{dims} cannot become {tuple(wanted)}")
    result = tuple(elements(dims) // known if n == -1 else n for n in sizes)
    if elements(result) != elements(dims):
        raise ValueError(f"{dims} cannot become {result}")
    return result


def move(call: NodeCall) -> Mapped | list[Mapped]:
    """Reshape, Flatten, Squeeze, Unsqueeze and Transpose of a feature map."""
    x = call.x
    dims = call.dims(x)
    target = moved(call, dims) or call.inferred(call.node.output[0])
    if target is None or len(call.maps) > 1:
        return call.unknown()
    shape, batched = call.without_batch(target)
    if call.op == "Transpose":
        order = _order(call, len(dims))
        if x.batched and order[0] == 0:
            return Mapped(call.put(Permute(tuple(axis - 1 for axis in order[1:]))))
        if not x.batched:
            return Mapped(call.put(Permute(order)), batched=False)
        return _foreign(call, target)
    if shape == x.shape:
        return Mapped(x.map, batched)
    if elements(shape) != elements(x.shape):
        return _foreign(call, target)
    layer = Flatten() if len(shape) == 1 and len(x.shape) > 1 else Reshape(shape)
    return Mapped(call.put(layer), batched)


def _foreign(
    call: NodeCall,
    dims: Shape,
    costs: Operations = NO_OPERATIONS,
    mixes: str = REARRANGEMENT,
    learns: bool = True,
) -> Mapped:
    """A node whose elements are only moved, or whose cost is given; `learns`: what it reads may be learned."""
    shape, batched = call.without_batch(dims)
    tensors = call.learned() if learns else {}
    layer = Foreign(call.op, shape, costs, mixes, tuple((name, known.dims) for name, known in tensors.items()))
    return Mapped(call.put(layer, tensors=tensors), batched)


def rearranged(call: NodeCall) -> Mapped | list[Mapped]:
    """Any other operator that only moves elements: its shape is what onnx infers."""
    dims = call.inferred(call.node.output[0])
    return _foreign(call, dims) if dims else call.unknown()


def concat(call: NodeCall) -> FeatureMap | list[Mapped] | Mapped:
    """Concatenation of feature maps; with known tensors among them it is counted by its shape."""
    axis = call.axis(call.integer("axis", 1), call.x)
    alike = len(call.maps) == len(call.inputs) and len({m.batched for m in call.maps}) == 1
    if alike and 0 <= axis <= 2:
        return call.put(Concat(axis))
    every = [call.dims(value) for value in call.inputs if value is not None]
    target = list(every[0])
    at = call.axis_of(call.integer("axis", 1), len(target))
    if any(len(dims) != len(target) for dims in every):
        raise call.refusal(
            f"its inputs have {' and '.join(sorted({str(len(d)) for d in every}))} axes, as many are needed"
        )
    target[at] = sum(dims[at] for dims in every)
    return _foreign(call, tuple(target))


def split(call: NodeCall) -> list[FeatureMap] | list[Mapped]:
    """Split into parts along one axis."""
    x = call.x
    axis, parts = call.axis(call.integer("axis", 0), x), len(call.node.output)
    if not 0 <= axis <= 2 or len(call.maps) > 1:
        return call.unknown()
    size = x.shape[axis]
    sizes = call.integers("split", 1, most=parts)
    sizes = sizes or tuple(min(-(-size // parts), size - i * -(-size // parts)) for i in range(parts))
    edges = [0, *accumulate(sizes)]
    if len(edges) != parts + 1 or min(sizes) < 1 or edges[-1] != size:
        raise call.refusal(f"{size} along axis {axis} cannot be split into {parts:,} outputs of sizes {sizes[:9]}")
    return [call.put(Slice(edges[i], edges[i + 1], axis), x.map, part=str(i + 1)) for i in range(parts)]


def cut(call: NodeCall) -> Mapped | list[Mapped]:
    """Slice: a range along each of some axes; with a step it is counted by its shape."""
    starts, ends, axes = call.integers("starts", 1), call.integers("ends", 2), call.integers("axes", 3)
    steps = call.integers("steps", 4)
    if starts is None or ends is None or len(call.maps) > 1:
        return rearranged(call)
    x, dims = call.x, call.dims(call.x)
    axes = tuple(range(len(starts))) if axes is None else axes
    if len({len(starts), len(ends), len(axes), len(steps or axes)}) > 1 or len(axes) > len(dims) or 0 in (steps or ()):
        raise call.refusal(
            f"starts {starts}, ends {ends}, axes {axes} and steps {steps or 1} do not cut a map of {len(dims)} axes"
        )
    spans = []
    for i, (start, end, axis) in enumerate(zip(starts, ends, axes, strict=True)):
        step = steps[i] if steps else 1
        span = range(dims[call.axis_of(axis, len(dims))])[slice(start, end, step)]
        spans.append((call.axis(axis, x), span))
    pixels = (1, 2) if x.batched and len(x.shape) == 3 else ()
    if not all(
        span and 0 <= axis <= 2 and (span.step == 1 or (span.step > 1 and axis in pixels)) for axis, span in spans
    ):
        target = list(dims)
        for axis, span in spans:
            target[axis + x.batched] = len(span)
        if not all(target):
            raise call.refusal("nothing remains of the map")
        return _foreign(call, tuple(target))
    result = x.map
    for axis, span in spans:
        number = str(axis) if len(spans) > 1 else ""
        if span[-1] - span[0] + span.step < result.shape[axis] or span[0]:
            result = call.put(Slice(span[0], span[-1] + 1, axis), result, part=number)
        if span.step > 1:
            stride = (span.step, 1) if axis == 1 else (1, span.step)
            result = call.put(Subsample(stride), result, part=f"{number}step")
    return Mapped(result, x.batched)


def pad(call: NodeCall) -> FeatureMap | Mapped | list[Mapped]:
    """Zeros around a map; other fillings are counted by their shape, having no operations either."""
    x, sides = call.x, call.integers("pads", 1)
    if sides is None or len(call.maps) > 1:
        return rearranged(call)
    rank, axes = len(call.dims(x)), call.integers("axes", 3)
    axes = tuple(range(rank)) if axes is None else axes
    if len(sides) != 2 * len(axes):
        raise call.refusal(f"pads is {sides}; {2 * len(axes)} numbers are needed")
    amounts = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        amounts[call.axis_of(axis, rank)] = (sides[i], sides[i + len(sides) // 2])
    if not any(map(any, amounts)):
        return x
    zeros = call.text("mode", "constant") == "constant" and call.number("value", 0.0, 2) == 0
    if zeros and x.batched and rank == 4 and min(min(amount) for amount in amounts) >= 0 and not any(amounts[0]):
        if not any(amounts[1]):
            return call.put(ZeroPad((*amounts[2], *amounts[3])))
        if amounts[1:] == [(0, amounts[1][1]), (0, 0), (0, 0)]:
            return call.put(PadChannels(x.shape[0] + amounts[1][1]))
    target = tuple(n + sum(more) for n, more in zip(call.dims(x), amounts, strict=True))
    if min(target) < 1:
        raise call.refusal(f"nothing remains of the map with pads {sides}")
    return _foreign(call, target)


def resize(call: NodeCall) -> FeatureMap | Mapped | list[Mapped]:
    """Resize and Upsample by whole factors, nearest or bilinear; others are counted by the shape of their output.

    What they read besides the map, scales and sizes, is not learned.
    """
    x, dims, mode = call.x, call.dims(call.x), call.text("mode", "nearest")
    place = {"Upsample": 1}.get(call.op, 2 if call.model.opset >= 11 else 1)
    scales = [float(s) for s in call.attributes.get("scales", ())]
    known = call.known(place)
    if known is not None and known.value is not None and known.value.size:
        scales = [float(s) for s in known.value.reshape(-1)]
    target = tuple(int(n * s) for n, s in zip(dims, scales, strict=False)) if len(scales) == len(dims) else None
    target = target or call.integers("", 3) or call.inferred(call.node.output[0])
    if target is None or len(target) != len(dims):
        return call.unknown(learns=False)
    if min(target) < 1:
        raise call.refusal(f"a map of {dims} cannot become {target}")
    whole = (
        len(dims) == 4
        and x.batched
        and target[:2] == dims[:2]
        and not any(t % n for n, t in zip(dims, target, strict=True))
    )
    where = call.text("coordinate_transformation_mode", "half_pixel" if call.op == "Resize" else "asymmetric")
    if whole and (mode == "nearest" or (mode == "linear" and where in ("half_pixel", "pytorch_half_pixel"))):
        factor = (target[2] // dims[2], target[3] // dims[3])
        return call.put(Interpolate(factor, "nearest" if mode == "nearest" else "bilinear"))
    if mode == "cubic":
        return call.unknown(learns=False)
    n = elements(target) // call.model.batch if mode == "linear" else 0
    return _foreign(call, target, Operations(multiply=4 * n, add=3 * n), SPACE, learns=False)


def _block(call: NodeCall) -> int:
    size, dims = call.integer("blocksize", 1), call.dims(call.x)
    divided = dims[1:2] if call.op == "DepthToSpace" else dims[2:]
    unit = size**2 if call.op == "DepthToSpace" else size
    if len(dims) != 4 or size < 1 or any(n % unit for n in divided):
        raise call.refusal(f"blocksize is {size}, which does not divide a map of {dims}")
    return size


def depth_to_space(call: NodeCall) -> FeatureMap | Mapped:
    """Pixel shuffle; the other order of channels (DCR) is counted by its shape."""
    size, dims = _block(call), call.dims(call.x)
    if call.text("mode", "DCR") == "CRD" and call.x.batched:
        return call.put(ChannelToSpace(size))
    return _foreign(call, (dims[0], dims[1] // size**2, dims[2] * size, dims[3] * size))


def space_to_depth(call: NodeCall) -> Mapped:
    """Blocks of pixels as channels, in ONNX's order, which is none of torch's."""
    size, dims = _block(call), call.dims(call.x)
    return _foreign(call, (dims[0], dims[1] * size**2, dims[2] // size, dims[3] // size))
