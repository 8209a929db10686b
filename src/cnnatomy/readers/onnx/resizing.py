"""ONNX operators that sample a map at other places: Resize and Upsample, grids, and columns put back into images."""

from __future__ import annotations

from math import ceil, floor, prod

import numpy as np

from cnnatomy.layers import Interpolate
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, SPACE, Operations, Shape, elements
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.moves import rearranged
from cnnatomy.readers.onnx.values import Mapped

_WIDTHS = {"nearest": 0, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
"""Elements along an axis that one is interpolated from."""

_HALF = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
"""Names of the same places, where a map is enlarged by whole factors."""

_NEAREST = {
    "floor": floor,
    "ceil": ceil,
    "round_prefer_floor": lambda at: ceil(at - 0.5),
    "round_prefer_ceil": lambda at: floor(at + 0.5),
}


def resize(call: NodeCall) -> OnnxResult:
    """Resize and Upsample: a layer of ours for whole factors, nearest or bilinear; else counted by the taps.

    What they read besides the map, scales and sizes, is not learned.
    """
    x = call.inputs[0]
    if not isinstance(x, Mapped):
        return rearranged(call)
    dims, mode = x.dims, call.text("mode", "nearest")
    target = _resized(call, dims) or call.sizes_of(0)
    if len(target) != len(dims) or min(target, default=1) < 1:
        raise call.refusal(f"a map of {dims} cannot become {target}")
    factor = _factor(call, x, target, mode)
    if factor is not None:
        return call.put(Interpolate(factor, "nearest" if mode == "nearest" else "bilinear"), x.map)
    if mode not in _WIDTHS:
        return call.unknown(learns=False)
    changed = [i for i, (n, t) in enumerate(zip(dims, target, strict=True)) if n != t]
    axes = range(2, len(dims)) if not changed or changed[0] >= 2 else changed
    widen = [max(1.0, dims[i] / target[i]) if call.integer("antialias", 0) else 1.0 for i in axes]
    taps = prod(ceil(_WIDTHS[mode] * more) for more in widen) if changed else 0
    costs = interpolated(elements(call.shape_of(target, x.batch)), taps)
    return call.foreign(target, costs, SPACE, x.map, batch=x.batch, learns=False)


def interpolated(made: int, taps: int) -> Operations:
    """The products and sums of so many elements, each interpolated from so many."""
    return Operations(multiply=taps * made, add=max(0, taps - 1) * made)


def _factor(call: NodeCall, x: Mapped, target: Shape, mode: str) -> tuple[int, int] | None:
    """How many times a map is enlarged along rows and columns, where `Interpolate` computes the same."""
    dims = x.dims
    if len(dims) != 4 or not x.batched or target[:2] != dims[:2] or target[2] % dims[2] or target[3] % dims[3]:
        return None
    factor = (target[2] // dims[2], target[3] // dims[3])
    where = call.text("coordinate_transformation_mode", "half_pixel" if _has_modes(call) else "asymmetric")
    half = where in _HALF
    if mode == "linear":
        return factor if half else None
    nearest = _NEAREST.get(call.text("nearest_mode", "round_prefer_floor" if _has_modes(call) else "floor"))
    if mode != "nearest" or nearest is None or not (half or where == "asymmetric"):
        return None
    ends = [(i + 0.5) / n - 0.5 if half else i / n for n in factor for i in (0, n - 1)]
    return None if any(nearest(at) for at in ends) else factor


def _has_modes(call: NodeCall) -> bool:
    """Whether the operator says where its pixels lie: since version 11."""
    return call.op == "Resize" and call.model.opset >= 11


def _resized(call: NodeCall, dims: Shape) -> Shape | None:
    """The sizes after a Resize or Upsample; None where its options are not known."""
    axes = call.integers("axes")
    at = [call.axis_of(axis, len(dims)) for axis in axes] if axes is not None else list(range(len(dims)))
    scales = [np.float32(s) for s in call.attributes.get("scales", ())]
    known = call.known(2 if _has_modes(call) else 1)
    if known is not None and known.value is not None and known.value.size:
        scales = [np.float32(s) for s in np.ravel(known.value)]
    sizes = call.integers("", 3) if call.op == "Resize" else None
    target = list(dims)
    if len(scales) == len(at):
        spans = _spans(call, len(at))
        if spans is None:
            return None
        for axis, scale, span in zip(at, scales, spans, strict=True):
            target[axis] = int(np.floor(np.float32(dims[axis]) * span * scale))
        return tuple(target)
    if not sizes or len(sizes) != len(at):
        return None
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy in ("not_larger", "not_smaller"):
        ratios = [size / dims[axis] for axis, size in zip(at, sizes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        sizes = tuple(floor(ratio * dims[axis] + 0.5) for axis in at)
    for axis, size in zip(at, sizes, strict=True):
        target[axis] = size
    return tuple(target)


def _spans(call: NodeCall, axes: int) -> list[np.float32] | None:
    """Which part of each axis is enlarged: all, but where a region is cropped out first."""
    if call.text("coordinate_transformation_mode") != "tf_crop_and_resize":
        return [np.float32(1)] * axes
    region = call.known(1)
    if region is None or region.value is None or region.value.size != 2 * axes:
        return None
    starts, ends = np.float32(np.ravel(region.value)).reshape(2, axes)
    return list(ends - starts)


def grid_sample(call: NodeCall) -> OnnxResult:
    """GridSample: the map at the places of a grid, interpolated."""
    x, grid = call.inputs[:2]
    if x is None or grid is None or len(x.dims) != len(grid.dims) or len(x.dims) < 3:
        raise call.refusal("a map and a grid of as many axes are needed")
    target = (*x.dims[:2], *grid.dims[1:-1])
    width = _WIDTHS.get(call.text("mode", "linear"))
    if width is None:
        return call.unknown()
    batch = call.batch_of(target)
    made = elements(call.shape_of(target, batch))
    return call.foreign(target, interpolated(made, width ** (len(x.dims) - 2)), SPACE, batch=batch)


def affine_grid(call: NodeCall) -> OnnxResult:
    """AffineGrid: a small matrix times each place of a grid, whose sizes are an input."""
    theta, sizes = call.inputs[0], call.integers("", 1)
    if sizes is None:
        return call.unknown(learns=False)
    if not isinstance(theta, Mapped) or len(sizes) not in (4, 5):
        raise call.refusal(f"a matrix that depends on the input, and 4 or 5 sizes are needed, not {sizes}")
    axes = len(sizes) - 2
    target = (sizes[0], *sizes[2:], axes)
    batch = call.batch_of(target)
    costs = Operations(mac=elements(call.shape_of(target, batch)) * (axes + 1))
    return call.foreign(target, costs, CHANNEL_AND_SPACE, theta.map, batch=batch)


def columns_to_image(call: NodeCall) -> OnnxResult:
    """Col2Im: each number of the columns is added to the pixel that it is of."""
    x, image, block = call.inputs[0], call.integers("", 1), call.integers("", 2)
    if not isinstance(x, Mapped) or image is None or block is None:
        return call.unknown(learns=False)
    if len(x.dims) != 3 or min(block, default=0) < 1 or x.dims[1] % elements(block):
        raise call.refusal(f"blocks of {block} do not make up columns of {x.dims}")
    target = (x.dims[0], x.dims[1] // elements(block), *image)
    return call.foreign(target, Operations(add=elements(x.shape)), SPACE, x.map, batch=x.batch)
