"""Caffe's layers that move a window over a map: convolutions, pools, and what enlarges a map.

Caffe rounds pooling up by default, and, where nothing is padded, lets the last window start after the end of the map.
"""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.errors import UserError, quoted
from cnnatomy.layers import (
    ArgMaxPool,
    AvgPool,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    Foreign,
    GlobalAvgPool,
    Interpolate,
    MaxPool,
    MaxUnpool,
    TransposedConv,
)
from cnnatomy.layers.layer import CHANNEL_AND_SPACE, REARRANGEMENT, SPACE, Layer, Operations, Pair, Shape, Window
from cnnatomy.limits import MAX_WINDOW
from cnnatomy.readers.caffe import volumes
from cnnatomy.readers.caffe.call import Blob, CaffeRule, LayerCall, outputs, scaled, total
from cnnatomy.readers.caffe.text_format import Message


class CaffeWindows(NamedTuple):
    """Of a window over rows and columns."""

    kernel: Pair
    stride: Pair
    pad: Pair


def _size(message: Message, name: str, short: str, default: int | None) -> Pair:
    """(rows, columns) of `kernel_size`, `stride` or `pad`, which may be given as `kernel_h` and `kernel_w`."""
    both = message.integers(name)
    if len(both) > 2:
        message.fail(f"{name}: expected one number or two (rows, columns), got {len(both)}")
    rows, columns = message.integers(f"{short}_h") or both[:1], message.integers(f"{short}_w") or both[-1:]
    if default is None and not (rows and columns):
        message.fail(f"{name} is missing")
    return ((rows or [default or 0])[-1], (columns or [default or 0])[-1])


def windows(message: Message) -> CaffeWindows:
    """Kernel, stride and padding of a layer on rows and columns."""
    kernel = _size(message, "kernel_size", "kernel", None)
    return CaffeWindows(kernel, _size(message, "stride", "stride", 1), _size(message, "pad", "pad", 0))


def _of_each(rule: CaffeRule) -> CaffeRule:
    """A rule that is applied to each blob by itself, with the same weights, as Caffe's convolutions are."""

    def applied(call: LayerCall) -> Blob | list[Blob]:
        made = [rule(call.of(call.blobs[0]))]
        for blob in call.blobs[1:]:
            again = LayerCall(call.spec, [blob], call.builder, frozenset(("weight", "bias")))
            made.append(rule(again))
        return [x for one in made for x in (one if isinstance(one, list) else [one])]

    return applied


def _convolution(call: LayerCall) -> Blob:
    options = call.param("convolution_param")
    x = call.x
    axis = x.axis(options.integer("axis", 1))
    if axis != 0:
        options.fail(f"axis: expected 1, that of the channels, got {options.integer('axis', 1)}")
    transposed = call.spec.type == "deconvolution"
    if len(x.item) != 3 and len(x.item) > 1:
        return volumes.convolution(call, options, transposed)
    sizes, channels = windows(options), outputs(options)
    dilation = _size(options, "dilation", "dilation", 1)
    inputs = x.item[0]
    groups = inputs if "depthwise" in call.spec.type else options.integer("group", 1)
    bias = options.flag("bias_term", True)
    if transposed:
        return call.put(TransposedConv(channels, *sizes, 0, dilation, groups, bias))
    if groups == inputs > 1 and channels % groups == 0:
        return call.put(DepthwiseConv(*sizes, dilation, channels // groups, bias))
    return call.put(Conv(channels, *sizes, dilation, groups, bias))


def _im2col(call: LayerCall) -> Blob:
    options = call.param("convolution_param")
    sizes, dilation = windows(options), _size(options, "dilation", "dilation", 1)
    layer = Conv(1, *sizes, dilation)
    _, *size = layer.output_shape(call.x.item)
    shape = (call.x.item[0] * total(sizes.kernel), *size)
    return call.foreign(Operations(), shape, REARRANGEMENT, sees=layer.window(call.x.item))


METHODS = {"MAX": "MAX", "AVE": "AVE", "STOCHASTIC": "STOCHASTIC", "0": "MAX", "1": "AVE", "2": "STOCHASTIC"}


def _method(options: Message) -> str:
    given = options.word("pool", "MAX")
    if given.upper() not in METHODS:
        options.fail(f"pool: expected MAX, AVE or STOCHASTIC, got {quoted(given)}")
    return METHODS[given.upper()]


def _pooling(call: LayerCall) -> Blob | list[Blob]:
    options, x = call.param("pooling_param"), call.x
    method = _method(options)
    if options.flag("global_pooling", False):
        if method == "AVE":
            return call.put(GlobalAvgPool(), x)
        rows, columns = x.item[1:] if len(x.item) == 3 else (1, 1)
        sizes = CaffeWindows((rows, columns), (1, 1), (0, 0))
    else:
        sizes = windows(options)
    ceil = options.word("round_mode", "CEIL").upper() not in ("FLOOR", "1") and options.flag("ceil_mode", True)
    return pool(call, method, sizes, ceil, mask=len(call.spec.tops) > 1)


def pool(
    call: LayerCall, method: str, sizes: CaffeWindows, ceil: bool = True, mask: bool = False, part: str = ""
) -> list[Blob]:
    """A pool as Caffe computes it: a layer of ours where that gives the same size, `Foreign` where Caffe's is odd."""
    x = call.x
    layer: Layer = AvgPool(*sizes, ceil) if method == "AVE" and _at_most_half(sizes) else _largest(sizes, ceil)
    ours = layer.output_shape(x.item) if _at_most_half(sizes) or len(x.item) != 3 else None
    shape = (x.item[0], *_pooled(x.item[1:], sizes, ceil))
    if method == "STOCHASTIC" or shape != ours:
        made = [_foreign_pool(call, method, sizes, shape, part)]
    else:
        made = [call.put(layer, x, part=part)]
    if not mask:
        return made
    if method == "MAX" and shape == ours:
        return [*made, call.put(ArgMaxPool(*sizes, ceil, beside_pool=True), x, part="mask")]
    return [*made, call.foreign(Operations(), shape, SPACE, part="mask", sees=_window(sizes), on=[x])]


def _largest(sizes: CaffeWindows, ceil: bool) -> MaxPool:
    return MaxPool(*sizes, ceil) if _at_most_half(sizes) else MaxPool(sizes.kernel, sizes.stride, 0, ceil)


def _at_most_half(sizes: CaffeWindows) -> bool:
    return all(2 * pad <= kernel for kernel, pad in zip(sizes.kernel, sizes.pad, strict=True))


def _pooled(size: Shape, sizes: CaffeWindows, ceil: bool) -> Shape:
    """Rows and columns as `PoolingLayer::Reshape` has them."""
    made = []
    for n, kernel, stride, pad in zip(size, *sizes, strict=True):
        if pad >= kernel:
            raise UserError(f"a padding of {pad} is not smaller than the kernel of {kernel}")
        room = n + 2 * pad - kernel
        count = (-(-room // stride) if ceil else room // stride) + 1
        if any(sizes.pad) and (count - 1) * stride >= n + pad:
            count -= 1
        if count < 1:
            raise UserError(f"a kernel of {kernel} does not fit into {n} pixels with a padding of {pad}")
        made.append(count)
    return tuple(made)


def _window(sizes: CaffeWindows) -> Window:
    return Window(sizes.kernel, sizes.stride, sizes.pad)


def _foreign_pool(call: LayerCall, method: str, sizes: CaffeWindows, shape: Shape, part: str) -> Blob:
    """Stochastic: in the test phase the mean of each window, weighted by its own values."""
    made = total(shape)
    read = made * total(sizes.kernel)
    costs = {
        "MAX": Operations(compare=read),
        "AVE": Operations(add=read, divide=made),
        "STOCHASTIC": Operations(multiply=read, add=2 * read, divide=made),
    }[method]
    return call.foreign(costs, shape, SPACE, part=part, sees=_window(sizes), on=[call.x])


def _pyramid(call: LayerCall) -> Blob:
    """Spatial pyramid pooling: level i has 2^i bins along each axis, padded to equal ones."""
    options, x = call.param("spp_param"), call.x
    levels, method = options.integer("pyramid_height", 0), _method(options)
    if not 1 <= levels <= 20:
        options.fail(f"pyramid_height: expected a number from 1 to 20, got {levels}")
    if len(x.item) != 3:
        raise UserError(f"it reads {'x'.join(map(str, x.item))}, needs channels, rows and columns")
    made = []
    for level in range(levels):
        bins = 2**level
        kernel = tuple(-(-n // bins) for n in x.item[1:])
        pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, x.item[1:], strict=True))
        sizes = CaffeWindows((kernel[0], kernel[1]), (kernel[0], kernel[1]), (pad[0], pad[1]))
        name = f"{bins}x{bins}" if levels > 1 else ""
        made += pool(call, method, sizes, part=name)
    if levels == 1:
        return made[0]
    flat = [call.put(Flatten(), blob, part=f"flatten{2**i}") for i, blob in enumerate(made)]
    return call.put(Concat(), *flat)


def _interpolation(call: LayerCall) -> Blob:
    """Bilinear interpolation of aligned corners (Chen et al. 2014, Zhao et al. 2017): four products for each number."""
    options, x = call.param("interp_param"), call.x
    if len(x.item) != 3:
        raise UserError(f"it reads {'x'.join(map(str, x.item))}, needs channels, rows and columns")
    cut = options.integer("pad_beg", 0) + options.integer("pad_end", 0)
    rows, columns = (n + cut for n in x.item[1:])
    shrink, zoom = options.integer("shrink_factor", 1), options.integer("zoom_factor", 1)
    if min(shrink, zoom) < 1 or min(rows, columns) < 1 or cut > 0:
        options.fail("factors must be positive, and pad_beg and pad_end cut away less than there is")
    sized = options.has("height") and options.has("width")
    if len(call.blobs) == 2 and len(call.blobs[1].item) == 3:  # as large as another map
        rows, columns = call.blobs[1].item[1:]
    elif sized and options.has("shrink_factor") == options.has("zoom_factor"):
        rows, columns = options.integer("height", 0), options.integer("width", 0)
    elif options.has("shrink_factor") or options.has("zoom_factor"):
        rows, columns = ((n - 1) // shrink + 1 for n in (rows, columns))
        rows, columns = (n + (n - 1) * (zoom - 1) for n in (rows, columns))
    else:
        options.fail("height and width, or a factor, are missing")
    if not 1 <= min(rows, columns) <= max(rows, columns) <= MAX_WINDOW:
        options.fail(f"height and width must be from 1 to {MAX_WINDOW:,}, got {rows} and {columns}")
    shape = (x.item[0], rows, columns)
    return call.foreign(scaled(total(shape), Operations(multiply=4, add=3)), shape, SPACE, on=[x])


def _upsample(call: LayerCall) -> Blob:
    """SegNet's, which puts the values back where a pool took them from; with one blob, each pixel is repeated."""
    options, x = call.param("upsample_param"), call.x
    scale = _size(options, "scale", "scale", 2)
    if len(x.item) != 3 or not 1 <= min(scale) <= max(scale) <= MAX_WINDOW:
        options.fail(f"it needs a map of channels, rows and columns, and a scale from 1 to {MAX_WINDOW:,}")
    short = (options.flag("pad_out_h", False), options.flag("pad_out_w", False))
    usual = tuple(n * s - less for n, s, less in zip(x.item[1:], scale, short, strict=True))
    size = tuple(options.integer(f"upsample_{side}", n) for side, n in zip("hw", usual, strict=True))
    if not 1 <= min(size) <= max(size) <= MAX_WINDOW:
        options.fail(f"upsample_h and upsample_w must be from 1 to {MAX_WINDOW:,}, got {size}")
    if len(call.blobs) < 2:
        if size != tuple(n * s for n, s in zip(x.item[1:], scale, strict=True)):
            options.fail("without the mask of a pool a map can only be enlarged by its scale")
        return call.put(Interpolate(scale))
    shape, mask = (x.item[0], size[0], size[1]), call.blobs[1]
    if mask.item != x.item:
        raise UserError(f"the mask is {'x'.join(map(str, mask.item))}, the map {'x'.join(map(str, x.item))}")
    of_pool = mask.map.node.layer if mask.map.node is not None else None
    if not isinstance(of_pool, ArgMaxPool):
        return call.foreign(Operations(), shape, SPACE)
    layer = MaxUnpool(of_pool.kernel, of_pool.stride, (size[0], size[1]))
    if layer.replace(size=None).output_shape(x.item, mask.item) == shape:
        return call.put(layer.replace(size=None))
    whole = of_pool.output_shape(shape) == x.item and not of_pool.padding
    return call.put(layer) if whole else call.foreign(Operations(), shape, SPACE)


def _correlation(call: LayerCall) -> Blob:
    """FlowNet's: products of the patches of one map with those of another around the same place, averaged."""
    options, x = call.param("correlation_param"), call.x
    names = ("pad", "kernel_size", "max_displacement", "stride_1", "stride_2")
    pad, kernel, reach, stride, step = (options.integer(n, int(n.startswith("stride"))) for n in names)
    if len(call.blobs) != 2 or len(x.item) != 3 or call.blobs[1].item != x.item:
        raise UserError("Correlation reads two maps of one size")
    if kernel % 2 == 0 or min(kernel, stride, step) < 1 or min(pad, reach) < 0:
        options.fail("kernel_size must be odd, max_displacement and the strides positive")
    border = reach + kernel // 2
    size = [-(-(n + 2 * pad - 2 * border) // stride) for n in x.item[1:]]
    if min(size) < 1:
        options.fail("its displacements reach beyond the map; they need more padding")
    shape = ((2 * (reach // step) + 1) ** 2, *size)
    products = total(shape) * kernel**2 * x.item[0]
    subtracts = options.word("correlation_type", "MULTIPLY").upper() in ("SUBTRACT", "1")
    costs = Operations(mac=0 if subtracts else products, add=2 * products * subtracts, divide=total(shape))
    return call.put(Foreign(call.spec.kind, shape, costs, CHANNEL_AND_SPACE))


RULES: dict[str, CaffeRule] = {
    **dict.fromkeys(
        ("convolution", "convolutiondepthwise", "depthwiseconvolution", "deconvolution"), _of_each(_convolution)
    ),
    "im2col": _of_each(_im2col),
    "pooling": _pooling,
    "spp": _pyramid,
    "interp": _interpolation,
    "upsample": _upsample,
    "correlation": _correlation,
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
