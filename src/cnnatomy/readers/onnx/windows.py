"""ONNX operators with a window: convolutions, with padding on any side or found automatically; pools are in `pools`."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.errors import UserError, quoted
from cnnatomy.layers import Conv, Crop, DeformableConv, DepthwiseConv, TransposedConv
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, NO_OPERATIONS, Layer, Operations, Shape, dimensions, elements
from cnnatomy.layers.sliding import positions
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Known, Mapped, TensorValue

AUTOMATIC = ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER")
"""Values of `auto_pad`."""


class Windows(NamedTuple):
    """A window along each axis: of two for images, of one or three for other data."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    before: Shape
    after: Shape

    def positions(self, size: Shape, ceil: bool = False) -> Shape:
        """How many windows fit along each axis."""
        axes = zip(size, *self, strict=True)
        counts = tuple(positions(n, k, s, before, after, d, ceil) for n, k, s, d, before, after in axes)
        if min(counts) < 1:
            raise UserError(f"a map of {dimensions(size)} is smaller than the window {dimensions(self.kernel)}")
        return counts


def windows_of(call: NodeCall, size: Shape, kernel: Shape) -> Windows:
    """The window of a node for a map of this size."""

    def given(name: str, default: int, count: int) -> Shape:
        return fitting(name, call.integers(name) or (default,) * count, default, count)

    def fitting(name: str, got: Shape, least: int, count: int) -> Shape:
        if len(got) != count or min(got) < least:
            raise call.refusal(f"{name} is {got}; {count} sizes of at least {least} are needed")
        return got

    axes = len(size)
    fitting("the kernel", kernel, 1, axes)
    stride, dilation, automatic = (
        given("strides", 1, axes),
        given("dilations", 1, axes),
        call.text("auto_pad", "NOTSET"),
    )
    if automatic not in AUTOMATIC:
        raise call.refusal(f"auto_pad is {quoted(automatic)}; {', '.join(filter(None, AUTOMATIC))} are known")
    pads = given("pads", 0, 2 * axes) if automatic in ("NOTSET", "") else (0,) * 2 * axes
    before, after = list(pads[:axes]), list(pads[axes:])
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        for i, n in enumerate(size):
            total = max((-(-n // stride[i]) - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - n, 0)
            less, more = total // 2, total - total // 2
            before[i], after[i] = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return Windows(kernel, stride, dilation, tuple(before), tuple(after))


def convolution(call: NodeCall) -> OnnxResult:
    """Conv; along one axis or three, or with a weight that the network computes, it is counted and cannot be built."""
    x, weight, bias = _operands(call)
    if len(weight.dims) != len(x.dims) or len(x.dims) < 3:
        raise call.refusal(f"it got {x.dims} and a weight of {weight.dims}; as many axes, at least 3, are needed")
    channels, inner, *kernel = weight.dims
    groups, inputs = call.groups(channels), x.dims[1]
    if inner * groups != inputs:
        raise call.refusal(f"it got {inputs} channels, its weight reads {inner * groups}")
    windows = windows_of(call, x.dims[2:], tuple(kernel))
    given = call.integers("kernel_shape")
    if given and given != windows.kernel:
        raise call.refusal(f"kernel_shape is {given}, its weight has {windows.kernel}")
    _check_bias(call, bias, channels)
    tensors = _ours(x, weight, bias)
    if tensors is None:
        dims = (x.dims[0], channels, *windows.positions(x.dims[2:]))
        return _counted(call, x, dims, elements(weight.dims[1:]), bias)
    (top, left), (bottom, right) = windows.before, windows.after
    rows, columns = windows.kernel
    sizes = ((rows, columns), windows.stride, (top, bottom, left, right), windows.dilation)
    if groups == inputs > 1 and channels % groups == 0:
        layer: Layer = DepthwiseConv(*sizes, channels // groups, bias is not None)  # type: ignore[arg-type]
    else:
        layer = Conv(channels, *sizes, groups, bias is not None)  # type: ignore[arg-type]
    return call.put(layer, call.x.map, tensors=tensors)


def _operands(call: NodeCall) -> tuple[TensorValue, TensorValue, TensorValue | None]:
    """The map, the weight, and the bias if there is one: tensors of the file or maps, each."""
    return call.needed(0), call.needed(1), call.inputs[2] if call.given(2) else None


def _ours(x: TensorValue, weight: TensorValue, bias: TensorValue | None) -> dict[str, Known | None] | None:
    """The tensors of a layer of ours, which convolves images with a weight of the file; else None."""
    stored = isinstance(weight, Known) and not isinstance(bias, Mapped)
    if not stored or not isinstance(x, Mapped) or not x.batched or len(x.shape) != 3:
        return None
    return {"weight": weight, "bias": bias}  # type: ignore[dict-item]


def _counted(
    call: NodeCall,
    x: TensorValue,
    dims: Shape,
    weights: int,
    bias: TensorValue | None,
    reads: int | None = None,
    more: Operations = NO_OPERATIONS,
) -> OnnxResult:
    """A convolution that no layer of ours computes: so many weights for each output, or for each of `reads` inputs."""
    batch = x.batch if isinstance(x, Mapped) and x.batch and x.batch.axis == 0 else call.batch_of(dims)
    outputs = elements(call.shape_of(dims, batch))
    macs, adds = (outputs if reads is None else reads) * weights, outputs if bias is not None else 0
    costs = more._replace(mac=macs, add=more.add + adds)
    known = {name: call.known(at) for name, at in (("input", 0), ("weight", 1), ("bias", 2))}
    tensors = {name: one for name, one in known.items() if one is not None and (name == "weight" or one.learned)}
    return call.foreign(dims, costs, CHANNEL_AND_SPACE, batch=batch, tensors=tensors)


def _check_bias(call: NodeCall, bias: TensorValue | None, channels: int) -> None:
    if bias is not None and bias.dims != (channels,):
        raise call.refusal(f"its bias has the sizes {bias.dims}, ({channels},) is needed")


def transposed_convolution(call: NodeCall) -> OnnxResult:
    """ConvTranspose; what is padded more at the end than at the start is cropped after it."""
    x, weight, bias = _operands(call)
    if len(weight.dims) != len(x.dims) or len(x.dims) < 3:
        raise call.refusal(f"it got {x.dims} and a weight of {weight.dims}; as many axes, at least 3, are needed")
    inner, per_group, *kernel = weight.dims
    windows = windows_of(call, x.dims[2:], tuple(kernel))
    if inner != x.dims[1]:
        raise call.refusal(f"it got {x.dims[1]} channels, its weight reads {inner}")
    groups = call.groups(inner)
    channels = per_group * groups
    _check_bias(call, bias, channels)
    begins, extras, crops, size = _upwards(call, x.dims[2:], windows)
    steps = zip(extras, windows.stride, windows.dilation, strict=True)
    tensors = _ours(x, weight, bias) if all(more < max(s, d) for more, s, d in steps) else None
    if tensors is None:
        reads = elements(call.shape_of(x.dims, x.batch) if isinstance(x, Mapped) else x.dims)
        return _counted(call, x, (x.dims[0], channels, *size), elements(weight.dims[1:]), bias, reads)
    sizes = (tuple(kernel), windows.stride, begins, extras, windows.dilation)
    layer = TransposedConv(channels, *sizes, groups, bias is not None)  # type: ignore[arg-type]
    made = call.put(layer, call.x.map, tensors=tensors)
    return call.put(Crop((0, crops[0], 0, crops[1])), made, part="crop") if any(crops) else made


def _upwards(call: NodeCall, size: Shape, windows: Windows) -> tuple[Shape, Shape, Shape, Shape]:
    """Along each axis of a ConvTranspose: what is padded at both ends, what is added, then cropped, and what remains.

    Where `output_shape` says more than the windows reach, the rest is added at the end.
    """
    axes = len(size)
    wanted, automatic = call.integers("output_shape"), call.text("auto_pad", "NOTSET")
    more = call.integers("output_padding") or (0,) * axes
    if len(more) != axes or min(more) < 0 or (wanted is not None and (len(wanted) < axes or min(wanted) < 1)):
        raise call.refusal(f"output_padding {more} and output_shape {wanted} do not fit a map of {axes} axes")
    found = []
    for axis, (n, kernel, stride, dilation, begin, end) in enumerate(zip(size, *windows, strict=True)):
        extra = more[axis]
        reach = (n - 1) * stride + dilation * (kernel - 1) + 1 + extra
        if wanted is not None or automatic.startswith("SAME"):
            total = reach - (wanted[axis - axes] if wanted is not None else n * stride)
            if total < 0:
                extra, total = extra - (total if wanted is not None else 0), 0
            less, rest = total // 2, total - total // 2
            begin, end = (less, rest) if automatic == "SAME_UPPER" else (rest, less)
            reach += extra - more[axis]
        left = reach - begin - end
        if begin > end:  # keep at the end what is kept there
            extra, end = extra + begin - end, begin
        if left < 1:
            raise call.refusal(f"nothing remains of a map of {dimensions(size)}")
        found.append((begin, extra, end - begin, left))
    begins, extras, crops, remaining = zip(*found, strict=True)
    return begins, extras, crops, remaining


def deformable_convolution(call: NodeCall) -> OnnxResult:
    """DeformConv: with one group of offsets and no mask it is ours, of images with others it is counted."""
    x, weight, offsets = map(call.needed, range(3))
    bias, mask = (call.inputs[i] if call.given(i) else None for i in (3, 4))
    if len(x.dims) != 4 or len(weight.dims) != 4:
        return call.unknown()
    channels, inner, *kernel = weight.dims
    groups = call.groups(channels)
    if inner * groups != x.dims[1]:
        raise call.refusal(f"it got {x.dims[1]} channels, its weight reads {inner * groups}")
    windows = windows_of(call, x.dims[2:], tuple(kernel))
    _check_bias(call, bias, channels)
    tensors = _ours(x, weight, bias)
    plain = groups == call.integer("offset_group", 1) == 1 and mask is None and windows.before == windows.after
    if tensors is not None and plain and isinstance(x, Mapped) and isinstance(offsets, Mapped) and offsets.batched:
        sizes = (windows.kernel, windows.stride, windows.before, windows.dilation)
        layer = DeformableConv(channels, *sizes, bias is not None)  # type: ignore[arg-type]
        return call.put(layer, x.map, offsets.map, tensors=tensors)
    dims = (x.dims[0], channels, *windows.positions(x.dims[2:]))
    samples = x.dims[1] * elements(windows.kernel) * elements(dims[2:])  # of four pixels each
    more = Operations(multiply=(4 + (mask is not None)) * samples, add=3 * samples)
    return _counted(call, x, dims, elements(weight.dims[1:]), bias, more=more)
