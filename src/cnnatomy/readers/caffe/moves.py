"""Caffe's layers that move elements and compute nothing: concatenate, slice, reshape, permute, tile, crop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from cnnatomy.errors import UserError
from cnnatomy.layers import ChannelShuffle, Concat, Crop, Flatten, Foreign, Permute, Reshape, Slice
from cnnatomy.layers.layer import REARRANGEMENT, Operations, Shape, Window, dimensions
from cnnatomy.limits import MAX_AXES, MAX_LAYER_SIZE
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, total
from cnnatomy.readers.caffe.text_format import Message

OUR_AXES = 3
"""`Concat` and `Slice` work along channels, rows and columns."""


def _moved(call: LayerCall, shape: Shape, *on: Blob, part: str = "", sees: Window | None = None) -> Blob:
    return call.foreign(Operations(), shape, REARRANGEMENT, part=part, on=on, sees=sees)


def _axis(options: Message, old: str, default: int = 1) -> int:
    return options.integer("axis", options.integer(old, default))


def _concat(call: LayerCall) -> Blob:
    axis = _axis(call.param("concat_param"), "concat_dim")
    at, x = call.x.axis(axis), call.x
    if at >= OUR_AXES:
        rest = [(*blob.item[:at], *blob.item[at + 1 :]) for blob in call.blobs]
        if any(one != rest[0] for one in rest):
            raise UserError(
                f"{' and '.join(dimensions(b.shape) for b in call.blobs)} differ not only along axis {axis}"
            )
        size = sum(blob.item[at] for blob in call.blobs)
        return _moved(call, (*x.item[:at], size, *x.item[at + 1 :]), *call.blobs)
    if at >= 0:
        return call.put(Concat(at))
    if (x.batch == 1 and at == -1) or any(blob.images != x.images for blob in call.blobs):
        call.fail("blobs are put together along the images of the batch, which are independent here")
    blobs = [
        b if b.leads else Blob(call.add(Reshape((1, *b.item)), [b.map], f"reshape{i}"), b.images, many=True)
        for i, b in enumerate(call.blobs, 1)
    ]
    return replace(blobs[0], map=call.add(Concat(0), [blob.map for blob in blobs]))


def _slice(call: LayerCall) -> list[Blob]:
    options, x, tops = call.param("slice_param"), call.x, max(1, len(call.spec.tops))
    given = _axis(options, "slice_dim")
    axis = x.axis(given)
    size, points = x.shape[given], options.integers("slice_point")
    if not points and size % tops == 0:
        points = [size // tops * i for i in range(1, tops)]
    if len(points) != tops - 1:
        options.fail(f"slice_point: {tops} tops need {tops - 1} points, or a size that they divide, got {size}")
    edges = [0, *points, size]
    if any(start >= stop for start, stop in pairwise(edges)):
        options.fail(f"slice_point: expected rising numbers below {size}, got {points}")
    if axis < 0:
        return _cut_apart(call, edges)
    if axis >= OUR_AXES:
        parts = [(*x.item[:axis], stop - start, *x.item[axis + 1 :]) for start, stop in pairwise(edges)]
        return [_moved(call, shape, x, part=str(i)) for i, shape in enumerate(parts, 1)]
    return [call.put(Slice(*span, axis), x, part=str(i)) for i, span in enumerate(pairwise(edges), 1)]


def _cut_apart(call: LayerCall, edges: list[int]) -> list[Blob]:
    """Slices along the axis that counts regions, frames or steps; images of a batch stay together."""
    x = call.x
    each = x.images if x.many else 1
    if not x.leads or any(edge % each for edge in edges) or edges[-1] != x.shape[0]:
        call.fail("the images of a batch are taken apart, which are independent here")
    made = []
    for i, (start, stop) in enumerate(pairwise([edge // each for edge in edges]), 1):
        part = call.add(Slice(start, stop), [x.map], str(i))
        if x.many and stop - start == 1:
            made.append(Blob(call.add(Reshape(x.item or (1,)), [part], f"{i}_reshape"), x.images))
        else:
            made.append(replace(x, map=part))
    return made


def _crop(call: LayerCall) -> Blob:
    if len(call.blobs) != 2 or len(call.blobs[1].item) != len(call.x.item):
        raise UserError("Crop reads two blobs: what is cropped, and one of the size that remains")
    options, (x, like) = call.param("crop_param"), call.blobs
    first = max(0, x.axis(options.integer("axis", 2)))
    offsets = options.integers("offset") or [0]
    if len(offsets) not in (1, len(x.item) - first):
        options.fail(f"offset: expected one number, or one for each of {len(x.item) - first} axes, got {len(offsets)}")
    spans = [(0, n) for n in x.item[:first]]
    for i, n in enumerate(like.item[first:]):
        offset = offsets[min(i, len(offsets) - 1)]
        spans.append((offset, offset + n))
    shape = tuple(stop - start for start, stop in spans)
    if min(start for start, _ in spans) < 0:
        options.fail(f"offset: expected numbers of at least 0, got {offsets}")
    if any(stop > n for (_, stop), n in zip(spans, x.item, strict=True)):
        # Caffe refuses to crop to a larger map; Netscope, one of whose presets does, goes on with it
        return call.not_counted(shape, x)
    if len(x.item) != 3:
        return _moved(call, shape, x)
    channels, rows, columns = spans
    if channels != (0, x.item[0]):
        part = "channels" if (rows[1] - rows[0], columns[1] - columns[0]) != x.item[1:] else ""
        x = call.put(Slice(*channels), x, part=part)
        if not part:
            return x
    return call.put(Crop((rows[0], x.item[1] - rows[1], columns[0], x.item[2] - columns[1])), x)


def _reshape(call: LayerCall) -> Blob:
    """Axes from `axis` on, `num_axes` of them, get other sizes: 0 copies one, -1 is found from the others."""
    options, x = call.param("reshape_param"), call.x
    wanted, shape = options.message("shape").integers("dim"), x.shape
    first = options.integer("axis", 0)
    first += len(shape) + 1 if first < 0 else 0
    count = options.integer("num_axes", -1)
    last = len(shape) if count == -1 else first + count
    if not 0 <= first <= last <= len(shape) or count < -1:
        options.fail(f"axis, num_axes: the blob {dimensions(shape)} has {len(shape)} axes")
    if len(wanted) > MAX_AXES:
        options.fail(f"shape: {len(wanted):,} sizes; at most {MAX_AXES} are possible")
    if wanted.count(-1) > 1:
        options.fail("shape: at most one size can be -1, which is then found from the others")
    if min(wanted, default=0) < -1 or max(wanted, default=0) > MAX_LAYER_SIZE:
        options.fail(f"shape: expected sizes, 0 or -1, got {wanted}")
    if any(n == 0 and first + i >= len(shape) for i, n in enumerate(wanted)):
        options.fail(f"shape: 0 copies a size that the blob {dimensions(shape)} does not have")
    inner = [shape[first + i] if n == 0 else n for i, n in enumerate(wanted)]
    known = total([n for n in inner if n != -1]) * total(shape[:first]) * total(shape[last:])
    made = (*shape[:first], *(total(shape) // known if n == -1 else n for n in inner), *shape[last:])
    if min(made, default=1) < 1 or len(made) > MAX_AXES:
        options.fail(f"shape: {wanted} does not go with the blob {dimensions(shape)}")
    layer = None
    if -1 in wanted and first + wanted.index(-1) > 0 and made[:1] == (x.images,) and not x.leads:
        at = first + wanted.index(-1)  # so that the size follows the input where the graph is made for another one
        layer = Reshape((*made[1:at], -1, *made[at + 1 :]))
    return call.reshaped(x, made, layer)


def _flatten(call: LayerCall) -> Blob:
    options, x = call.param("flatten_param"), call.x
    shape = x.shape
    first, last = options.integer("axis", 1), options.integer("end_axis", -1)
    for axis in (first, last):
        x.axis(axis)
    first, last = first % len(shape), last % len(shape)
    if last < first:
        options.fail(f"end_axis: {last} is before axis {first}")
    made = (*shape[:first], total(shape[first : last + 1]), *shape[last + 1 :])
    whole = (first, last) == (1 + x.batch, len(shape) - 1)
    return call.reshaped(x, made, Flatten() if whole else None)


def _permute(call: LayerCall) -> Blob:
    """SSD's: the order of all axes; those that are not named follow. The batch may become the second axis."""
    options, x = call.param("permute_param"), call.x
    order = options.integers("order")
    axes = range(len(x.shape))
    if len(set(order)) != len(order) or not all(axis in axes for axis in order):
        options.fail(f"order: expected each axis from 0 to {len(axes) - 1} at most once, got {order}")
    order += [axis for axis in axes if axis not in order]
    if x.leads:
        if order[: x.batch + 1] != list(range(x.batch + 1)):
            call.fail(f"the axes of {dimensions(x.shape)} that count things stay where they are")
        return call.put(Permute(tuple(axis - 1 - x.batch for axis in order[x.batch + 1 :])))
    batch = order.index(0)
    if batch > 1:
        call.fail(f"order: the batch, axis 0, may become the first or the second axis, not number {batch}")
    ours = tuple(axis - 1 for axis in order if axis)
    return replace(x, map=call.add(Permute(ours), [x.map]), batch=batch)


def _tile(call: LayerCall) -> Blob:
    options, x = call.param("tile_param"), call.x
    axis, tiles = x.axis(options.integer("axis", 1)), options.integer("tiles", 0)
    if not 1 <= tiles <= MAX_LAYER_SIZE:
        options.fail(f"tiles: expected a number from 1 to {MAX_LAYER_SIZE:,}, got {tiles}")
    if axis >= 0:
        return _moved(call, (*x.item[:axis], tiles * x.item[axis], *x.item[axis + 1 :]))
    if x.batch == 1:
        call.fail("steps and sequences are not repeated")
    lead = x.map.shape[0] if x.many else 1
    shape = (lead * tiles, *x.item)
    made = call.add(Foreign(call.spec.kind, shape, mixes=REARRANGEMENT), [x.map])
    return Blob(made, x.images, many=True)


def _batch_reindex(call: LayerCall) -> Blob:
    """The images, or regions, that the second blob lists, in its order."""
    if len(call.blobs) != 2:
        raise UserError("BatchReindex reads two blobs: one of several things, and the numbers of those that are taken")
    x, which = call.blobs
    count = which.shape[0]
    if x.batch or count % x.images:
        call.fail(f"{count} numbers do not divide among the {x.images} images of the batch")
    if not x.many and count == x.images:
        return _moved(call, x.item, x)
    shape = (count // x.images, *x.item)
    made = call.add(Foreign(call.spec.kind, shape, mixes=REARRANGEMENT), [x.map])
    return Blob(made, x.images, many=True)


def _filter(call: LayerCall) -> list[Blob]:
    """The images that the last blob selects: here all of them."""
    if len(call.blobs) < 2:
        raise UserError("Filter reads blobs, and last the one that says which images are taken")
    kept = []
    for i, blob in enumerate(call.blobs[:-1]):
        layer = Foreign(call.spec.kind, blob.map.shape, mixes=REARRANGEMENT)
        made = call.add(layer, [blob.map], f"top{i}" if i else "", "Filter selecting every image")
        kept.append(replace(blob, map=made))
    return kept


def _reorganise(call: LayerCall) -> Blob:
    """YOLOv2's: each square of pixels becomes channels, in an order of its own; or the reverse."""
    options, x = call.param("reorg_param"), call.x
    stride, back = options.integer("stride", 0), options.flag("reverse", False)
    if len(x.item) != 3 or not 1 <= stride <= max(x.item):
        options.fail(f"stride: {stride} does not go with a map {dimensions(x.item)}")
    channels, rows, columns = x.item
    divides = channels % stride**2 == 0 if back else rows % stride == columns % stride == 0
    if not divides:
        options.fail(f"stride: {stride} does not divide a map {dimensions(x.item)}")
    pair = (stride, stride)
    if back:
        return _moved(call, (channels // stride**2, rows * stride, columns * stride), sees=Window(pair, upsample=pair))
    return _moved(call, (channels * stride**2, rows // stride, columns // stride), sees=Window(pair, pair))


def _shuffle(call: LayerCall) -> Blob:
    return call.put(ChannelShuffle(call.param("shuffle_channel_param").integer("group", 1)))


RULES: dict[str, CaffeRule] = {
    "concat": _concat,
    "slice": _slice,
    "split": lambda call: [call.x] * max(1, len(call.spec.tops)),
    "implicit": lambda call: call.x,  # how Netscope's files mark a blob that leaves the network
    "crop": _crop,
    "reshape": _reshape,
    "flatten": _flatten,
    "permute": _permute,
    "tile": _tile,
    "batchreindex": _batch_reindex,
    "filter": _filter,
    "reorg": _reorganise,
    "shufflechannel": _shuffle,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
