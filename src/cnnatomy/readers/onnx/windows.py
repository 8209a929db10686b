"""ONNX operators with a window: convolutions and pools, with padding on any side or found automatically."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, quoted
from cnnatomy.layers import AvgPool, Conv, Crop, DepthwiseConv, Foreign, MaxPool, TransposedConv
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, SPACE, Layer, Operations, Shape, dimensions, elements
from cnnatomy.layers.sliding import Pool, positions
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Known

WEIGHT_AND_BIAS = {"Conv": (1, 2), "ConvInteger": (1, 99), "QLinearConv": (3, 8)}
"""Where the weight and the bias are among the inputs."""


AUTOMATIC = ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER")
"""Values of `auto_pad`."""


class _Windows2D(NamedTuple):
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


def _windows(call: NodeCall, size: Shape, kernel: Shape) -> _Windows2D:
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
    return _Windows2D(kernel, stride, dilation, tuple(before), tuple(after))


def convolution(call: NodeCall) -> OnnxResult:
    """Conv, also quantised, with a known weight; along one axis or three it is counted and cannot be built."""
    at, bias_at = WEIGHT_AND_BIAS[call.op]
    weight, bias, x = call.known(at), call.known(bias_at), call.x
    if weight is None or len(weight.dims) < 3 or len(x.shape) < 2 or not x.batched:
        return call.unknown()
    channels, inner, *kernel = weight.dims
    groups, inputs = call.groups(channels), x.shape[0]
    if inner * groups != inputs:
        raise call.refusal(f"it got {inputs} channels, its weight reads {inner * groups}")
    windows = _windows(call, x.shape[1:], tuple(kernel))
    given = call.integers("kernel_shape")
    if given and given != windows.kernel:
        raise call.refusal(f"kernel_shape is {given}, its weight has {windows.kernel}")
    tensors = {"weight": weight, "bias": bias}
    if len(kernel) != 2:
        return _other_convolution(call, windows, channels, tensors)
    (top, left), (bottom, right) = windows.before, windows.after
    rows, columns = windows.kernel
    sizes = ((rows, columns), windows.stride, (top, bottom, left, right), windows.dilation)
    if groups == inputs > 1 and channels % groups == 0:
        layer: Layer = DepthwiseConv(*sizes, channels // groups, bias is not None)  # type: ignore[arg-type]
    else:
        layer = Conv(channels, *sizes, groups, bias is not None)  # type: ignore[arg-type]
    _check_bias(call, bias, channels)
    return call.put(layer, x.map, tensors=tensors)


def _check_bias(call: NodeCall, bias: Known | None, channels: int) -> None:
    if bias is not None and bias.dims != (channels,):
        raise call.refusal(f"its bias has the sizes {bias.dims}, ({channels},) is needed")


def _other_convolution(
    call: NodeCall, windows: _Windows2D, channels: int, tensors: dict[str, Known | None]
) -> FeatureMap:
    shape = (channels, *windows.positions(call.x.shape[1:]))
    found = {name: known for name, known in tensors.items() if known is not None}
    outputs = elements(shape)
    costs = Operations(outputs * elements(found["weight"].dims[1:]), add=outputs if "bias" in found else 0)
    learned = tuple((name, known.dims) for name, known in found.items())
    layer = Foreign(call.op, shape, costs, CHANNEL_AND_SPACE, learned)
    return call.put(layer, call.x.map, tensors=tensors)


def transposed_convolution(call: NodeCall) -> OnnxResult:
    """ConvTranspose; what is padded more at the end than at the start is cropped after it."""
    weight, bias, x = call.known(1), call.known(2), call.x
    if weight is None or len(weight.dims) != 4 or len(x.shape) != 3 or not x.batched:
        return call.unknown()
    inner, per_group, *kernel = weight.dims
    windows = _windows(call, x.shape[1:], tuple(kernel))
    if inner != x.shape[0]:
        raise call.refusal(f"it got {x.shape[0]} channels, its weight reads {inner}")
    wanted, automatic = call.integers("output_shape"), call.text("auto_pad", "NOTSET")
    more = call.integers("output_padding") or (0, 0)
    begins, extras, crops = [], [], []
    for axis, (stride, dilation) in enumerate(zip(windows.stride, windows.dilation, strict=True)):
        begin, end, extra = windows.before[axis], windows.after[axis], more[axis]
        n = x.shape[1 + axis]
        if wanted is not None or automatic.startswith("SAME"):
            size = (n - 1) * stride + dilation * (kernel[axis] - 1) + 1 + extra
            total = max(0, size - (wanted[axis - 2] if wanted is not None else n * stride))
            less, rest = total // 2, total - total // 2
            begin, end = (less, rest) if automatic == "SAME_UPPER" else (rest, less)
        if begin > end:  # keep at the end what is kept there
            extra, end = extra + begin - end, begin
        begins.append(begin)
        extras.append(extra)
        crops += [0, end - begin]
    groups = call.groups(inner)
    sizes = (tuple(kernel), windows.stride, tuple(begins), tuple(extras), windows.dilation)
    layer = TransposedConv(per_group * groups, *sizes, groups, bias is not None)  # type: ignore[arg-type]
    _check_bias(call, bias, per_group * groups)
    made = call.put(layer, x.map, tensors={"weight": weight, "bias": bias})
    return call.put(Crop((crops[0], crops[1], crops[2], crops[3])), made, part="crop") if any(crops) else made


def pool(call: NodeCall) -> OnnxResult:
    """MaxPool and AveragePool. Where the maxima were, if anything reads that, is not counted.

    Padding that differs at both ends is that of a window which hangs over the end, if it means the same; otherwise, and
    with dilation, the pool is counted and cannot be built.
    """
    x, largest = call.x, call.op == "MaxPool"
    read = len(call.node.output) > 1 and call.model.readers[call.node.output[1]]
    if read or len(x.shape) < 2 or not x.batched:
        return call.unknown()
    windows = _windows(call, x.shape[1:], call.integers("kernel_shape") or ())
    ceil, counted = bool(call.integer("ceil_mode", 0)), bool(call.integer("count_include_pad", 0))
    shape = (x.shape[0], *windows.positions(x.shape[1:], ceil))
    exact = windows.before == windows.after or largest or not counted
    if len(shape) == 3 and exact and set(windows.dilation) == {1}:
        for up in (ceil, True):
            sizes = (windows.kernel, windows.stride, windows.before, up)
            try:
                layer: Pool = MaxPool(*sizes) if largest else AvgPool(*sizes, counted or not any(windows.before))  # type: ignore[arg-type]
                if layer.output_shape(x.shape) == shape:
                    return call.put(layer, x.map)
            except UserError:  # padding of more than half the kernel
                break
    reads = elements(shape) * elements(windows.kernel)
    costs = Operations(compare=reads) if largest else Operations(add=reads, divide=elements(shape))
    return call.put(Foreign(call.op, shape, costs, SPACE), x.map)
