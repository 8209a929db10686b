"""Caffe's layers that move a window over other than two axes: along a sequence, or through a volume such as a clip.

None of our layers does, but the counts are those of any convolution and pool. C3D (Tran et al. 2015) has types of its
own for clips, whose first axis is named apart: `kernel_depth`, `temporal_stride`, `temporal_pad`.
"""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.errors import quoted
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, SPACE, Operations, dimensions
from cnnatomy.layers.sliding import positions
from cnnatomy.limits import MAX_WINDOW
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, NamedTensors, outputs, total
from cnnatomy.readers.caffe.text_format import Message


class VolumeWindows(NamedTuple):
    """Of a window, a number for each axis."""

    kernel_size: list[int]
    stride: list[int]
    pad: list[int]
    dilation: list[int]


def _checked(options: Message, sizes: VolumeWindows) -> VolumeWindows:
    for name, values, least in zip(sizes._fields, sizes, (1, 1, 0, 1), strict=True):
        if not all(least <= n <= MAX_WINDOW for n in values):
            options.fail(f"{name}: expected numbers from {least} to {MAX_WINDOW:,}, got {values}")
    return sizes


def convolution(call: LayerCall, options: Message, transposed: bool) -> Blob:
    """Caffe's own convolution, over one axis, three or more: each size is given once, or for each axis."""
    axes = len(call.x.item) - 1
    every = []
    for name, default in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1)):
        given = options.integers(name) or [default]
        if len(given) not in (1, axes):
            options.fail(f"{name}: expected one number, or one for each of {axes} axes, got {len(given)}")
        every.append([*given * axes][:axes])
    return _convolved(call, options, VolumeWindows(*every), options.integer("group", 1), transposed)


def _convolved(call: LayerCall, options: Message, sizes: VolumeWindows, groups: int, transposed: bool) -> Blob:
    channels, *size = call.x.item
    made, bias = outputs(options), options.flag("bias_term", True)
    _checked(options, sizes)
    if made < 1 or groups < 1 or channels % groups or made % groups:
        options.fail(f"group: {channels} channels and num_output {made} do not divide into {groups} groups")
    spans = zip(size, *sizes, strict=True)
    if transposed:
        out = [(n - 1) * s - 2 * p + (k - 1) * d + 1 for n, k, s, p, d in spans]
    else:
        out = [positions(n, k, s, p, p, d) for n, k, s, p, d in spans]
    if min(out) < 1:
        options.fail(f"the kernel {sizes.kernel_size} does not fit into a map of {size}, with padding {sizes.pad}")
    shape = (made, *out)
    weight = (channels, made // groups) if transposed else (made, channels // groups)
    learned: NamedTensors = (("weight", (*weight, *sizes.kernel_size)), *((("bias", (made,)),) if bias else ()))
    macs = total(size if transposed else out) * total((*weight, *sizes.kernel_size))
    return call.foreign(Operations(mac=macs, add=total(shape) if bias else 0), shape, CHANNEL_AND_SPACE, learned)


def _of_clips(call: LayerCall, *names: str) -> tuple[Message, VolumeWindows]:
    """The options of a layer of C3D and its window over frames, rows and columns."""
    options = next((call.param(name) for name in names if call.spec.message.has(name)), call.param(names[0]))
    if len(call.x.item) != 4:
        call.fail(f"it reads {dimensions(call.x.shape)}, needs clips: channels, frames, rows and columns")

    def sizes(apart: str, name: str, default: int) -> list[int]:
        size = options.integer(name, default)
        return [options.integer(apart, default), size, size]

    return options, _checked(
        options,
        VolumeWindows(
            sizes("kernel_depth", "kernel_size", 0),
            sizes("temporal_stride", "stride", 1),
            sizes("temporal_pad", "pad", 0),
            [1, 1, 1],
        ),
    )


def _convolution_of_clips(call: LayerCall) -> Blob:
    """C3D's, whose `filter_group` only saves memory."""
    options, sizes = _of_clips(call, "convolution3d_param", "convolution_param")
    return _convolved(call, options, sizes, 1, call.spec.type == "deconvolution3d")


def _pool_of_clips(call: LayerCall) -> Blob:
    """C3D's, rounded up like all of Caffe's, and never padded along the frames."""
    options, sizes = _of_clips(call, "pooling3d_param", "pooling_param")
    given = options.word("pool", "MAX").upper()
    method = {"0": "MAX", "1": "AVE"}.get(given, given)
    if method not in ("MAX", "AVE"):
        options.fail(f"pool: expected MAX or AVE, got {quoted(given)}")
    sizes = sizes._replace(pad=[0, *sizes.pad[1:]])
    spans = zip(call.x.item[1:], *sizes[:3], strict=True)
    out = [-(-(n + 2 * pad - kernel) // stride) + 1 for n, kernel, stride, pad in spans]
    if min(out) < 1:
        options.fail(f"the kernel {sizes.kernel_size} does not fit into {dimensions(call.x.item[1:])}")
    shape = (call.x.item[0], *out)
    read = total(shape) * total(sizes.kernel_size)
    costs = Operations(compare=read) if method == "MAX" else Operations(add=read, divide=total(shape))
    return call.foreign(costs, shape, SPACE)


RULES: dict[str, CaffeRule] = {
    "convolution3d": _convolution_of_clips,
    "deconvolution3d": _convolution_of_clips,
    "pooling3d": _pool_of_clips,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
