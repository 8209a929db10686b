"""Caffe's layer types as layers of ours: a rule for each, in one table. https://caffe.berkeleyvision.org/tutorial/layers

Caffe rounds pooling up by default, flattens before an InnerProduct without saying so, and writes batch norm as two
layers, BatchNorm (no learned tensors) and Scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, printable, quoted
from cnnatomy.layers import (
    ELU,
    Add,
    ArgMax,
    ArgMaxPool,
    AvgPool,
    BatchNorm,
    Bias,
    ChannelShuffle,
    Concat,
    Constant,
    Conv,
    Crop,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    LeakyReLU,
    LocalResponseNorm,
    Maximum,
    MaxPool,
    Multiply,
    Permute,
    PReLU,
    ReLU,
    ReLU6,
    Reshape,
    Scale,
    Sigmoid,
    Slice,
    Softmax,
    Swish,
    Tanh,
    TransposedConv,
)
from cnnatomy.layers.layer import Layer, Pair, Shape, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.limits import MAX_AXES
from cnnatomy.readers.caffe.text_format import Message


class CaffeLayer:
    """One layer of the file: its type without case and underscores, its name, and the blobs it reads and makes."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.kind = printable(message.string("type"))
        self.type = self.kind.replace("_", "").lower()
        self.name = message.string("name") or self.kind
        self.bottoms, self.tops = message.strings("bottom"), message.strings("top")
        if self.type.startswith("softmax"):  # the second that a loss reads is the label
            self.bottoms = self.bottoms[:1]
        self.affine = False  # whether a BatchNorm has the scale and bias of the Scale after it
        self.scale = ""  # the name of that Scale
        if not self.type:
            message.fail("a layer needs a type")

    def tensors(self) -> list[str]:
        """The names by which layers share their learned tensors, in order: "" where none is given."""
        values = [value for value, _ in self.message.every("param")]
        return [value.string("name") if isinstance(value, Message) else str(value) for value in values]


@dataclass(frozen=True)
class LayerCall:
    """A layer of the file, applied: what a rule needs to add nodes."""

    spec: CaffeLayer
    maps: Sequence[FeatureMap]
    builder: Builder
    shared: frozenset[str] = frozenset()

    def param(self, name: str) -> Message:
        """The parameters of the layer, such as `convolution_param`."""
        return self.spec.message.message(name)

    def put(self, layer: Layer, *inputs: FeatureMap, part: str = "") -> FeatureMap:
        """Adds a node under the layer's name (and `part`, for a second node); by default on all inputs."""
        *groups, name = [piece for piece in self.spec.name.split("/") if piece] or [self.spec.type]
        path = (*groups, f"{name}_{part}" if part else name)
        return self.builder.put(layer, inputs or self.maps, path, frozenset() if part else self.shared)

    def unknown(self, shape: Shape | None = None, learned: tuple[tuple[str, Shape], ...] = ()) -> list[FeatureMap]:
        """Keeps the layer as not counted, each output with this shape: by default that of the first input."""
        layer = NotCounted(self.spec.kind, shape or self.maps[0].shape, learned)
        tops = max(1, len(self.spec.tops))
        return [self.put(layer, part=f"top{i}" if i else "") for i in range(tops)]


CaffeRule = Callable[[LayerCall], "FeatureMap | list[FeatureMap]"]


def _size(message: Message, name: str, short: str, default: int | None) -> Pair:
    """(rows, columns) of `kernel_size`, `stride` or `pad`, which may be given as `kernel_h` and `kernel_w`."""
    both = message.integers(name)
    if len(both) > 2:
        message.fail(f"{name}: expected one number or two (rows, columns), got {len(both)}: only 2D is read")
    rows, columns = message.integers(f"{short}_h") or both[:1], message.integers(f"{short}_w") or both[-1:]
    if default is None and not (rows and columns):
        message.fail(f"{name} is missing")
    return ((rows or [default or 0])[-1], (columns or [default or 0])[-1])


class _CaffeWindows(NamedTuple):
    kernel: Pair
    stride: Pair
    pad: Pair


def _windows(message: Message) -> _CaffeWindows:
    kernel = _size(message, "kernel_size", "kernel", None)
    return _CaffeWindows(kernel, _size(message, "stride", "stride", 1), _size(message, "pad", "pad", 0))


def _outputs(message: Message) -> int:
    if not message.has("num_output"):
        message.fail("num_output is missing")
    return message.integer("num_output", 0)


def _convolution(call: LayerCall) -> FeatureMap:
    options = call.param("convolution_param")
    windows, channels = _windows(options), _outputs(options)
    dilation = _size(options, "dilation", "dilation", 1)
    if (axis := options.integer("axis", 1)) not in (1, -3):
        options.fail(f"axis: expected 1, that of the channels, got {axis}")
    depthwise = "depthwise" in call.spec.type
    inputs = call.maps[0].channels
    groups = inputs if depthwise else options.integer("group", 1)
    bias = options.flag("bias_term", True)
    if groups == inputs > 1 and channels % groups == 0:
        return call.put(DepthwiseConv(*windows, dilation, channels // groups, bias))
    return call.put(Conv(channels, *windows, dilation, groups, bias))


def _deconvolution(call: LayerCall) -> FeatureMap:
    options = call.param("convolution_param")
    windows, channels = _windows(options), _outputs(options)
    dilation = _size(options, "dilation", "dilation", 1)
    groups, bias = options.integer("group", 1), options.flag("bias_term", True)
    return call.put(TransposedConv(channels, *windows, 0, dilation, groups, bias))


def _inner_product(call: LayerCall) -> FeatureMap:
    options, x = call.param("inner_product_param"), call.maps[0]
    if len(x.shape) > 1:
        x = call.put(Flatten(), x, part="flatten")
    return call.put(FullyConnected(_outputs(options), options.flag("bias_term", True)), x)


def _pooling(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options, x = call.param("pooling_param"), call.maps[0]
    method = options.string("pool", "MAX").upper()
    if method not in ("MAX", "AVE", "STOCHASTIC"):
        options.fail(f"pool: expected MAX, AVE or STOCHASTIC, got {quoted(method)}")
    if options.flag("global_pooling", False):
        if method == "AVE":
            return call.put(GlobalAvgPool())
        rows, columns = x.shape[1:] if len(x.shape) == 3 else (1, 1)
        windows = _CaffeWindows((rows, columns), (1, 1), (0, 0))
    else:
        windows = _windows(options)
    ceil = options.string("round_mode", "CEIL").upper() != "FLOOR" and options.flag("ceil_mode", True)
    largest = MaxPool(*windows, ceil)
    if method == "AVE":
        return call.put(AvgPool(*windows, ceil))
    if method != "MAX":
        return call.unknown(largest.output_shape(x.shape))
    if len(call.spec.tops) < 2:
        return call.put(largest)
    return [call.put(largest), call.put(ArgMaxPool(*windows, ceil), part="mask")]


def _lrn(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("lrn_param")
    if options.string("norm_region", "ACROSS_CHANNELS").upper() != "ACROSS_CHANNELS":
        return call.unknown()
    alpha, beta, k = (options.number(*default) for default in (("alpha", 1.0), ("beta", 0.75), ("k", 1.0)))
    return call.put(LocalResponseNorm(options.integer("local_size", 5), alpha, beta, k))


def _relu(call: LayerCall) -> FeatureMap:
    slope = call.param("relu_param").number("negative_slope", 0.0)
    return call.put(LeakyReLU(slope) if slope else ReLU())


def _prelu(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    if call.param("prelu_param").flag("channel_shared", False):
        return call.unknown(learned=(("weight", (1,)),))
    return call.put(PReLU())


def _power(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("power_param")
    if options.number("power", 1.0) != 1 or options.number("shift", 0.0):
        return call.unknown()
    return call.put(Constant(options.number("scale", 1.0)))


def _batch_norm(call: LayerCall) -> FeatureMap:
    options = call.param("batch_norm_param")
    affine = call.spec.affine or call.spec.type == "bn"
    return call.put(BatchNorm(epsilon=options.number("eps", 1e-5), affine=affine))


def _scale(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("scale_param")
    if len(call.maps) == 2:
        x, gate = call.maps
        missing = len(x.shape) - len(gate.shape)
        if missing and gate.shape == x.shape[: len(gate.shape)]:  # a number for each channel
            gate = call.put(Reshape((*gate.shape, *(1,) * missing)), gate, part="reshape")
        return call.put(Multiply(), x, gate)
    x = call.maps[0]
    if (options.integer("axis", 1), options.integer("num_axes", 1)) != (1, 1):
        return call.unknown()
    scaled = call.put(Scale(), x)
    return call.put(Bias(), scaled, part="bias") if options.flag("bias_term", False) else scaled


def _bias(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("bias_param")
    one = len(call.maps) == 1 and (options.integer("axis", 1), options.integer("num_axes", 1)) == (1, 1)
    return call.put(Bias()) if one else call.unknown()


def _eltwise(call: LayerCall) -> FeatureMap:
    options = call.param("eltwise_param")
    operation = options.string("operation", "SUM").upper()
    if operation == "PROD":
        product = call.put(Multiply(), *call.maps[:2])
        for i, x in enumerate(call.maps[2:], 2):
            product = call.put(Multiply(), product, x, part=str(i))
        return product
    if operation not in ("SUM", "MAX"):
        options.fail(f"operation: expected SUM, PROD or MAX, got {quoted(operation)}")
    coefficients = [value for value, _ in options.every("coeff") if isinstance(value, (int, float))]
    maps = list(call.maps)
    for i, factor in enumerate(coefficients[: len(maps)]):
        if factor != 1:
            maps[i] = call.put(Constant(float(factor)), maps[i], part=f"coeff{i + 1}")
    return call.put(Add() if operation == "SUM" else Maximum(), *maps)


def _axis(call: LayerCall, options: Message, old: str, default: int = 1) -> int:
    """The axis of our shapes, which have no batch; negative ones count from the end."""
    axis = options.integer("axis", options.integer(old, default))
    if axis < 0:
        axis += 1 + len(call.maps[0].shape)
    return axis - 1


def _concat(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    axis = _axis(call, call.param("concat_param"), "concat_dim")
    return call.unknown() if axis < 0 else call.put(Concat(axis))


def _slice(call: LayerCall) -> list[FeatureMap]:
    options, x, tops = call.param("slice_param"), call.maps[0], max(1, len(call.spec.tops))
    axis = _axis(call, options, "slice_dim")
    if not 0 <= axis < len(x.shape):
        return call.unknown()
    size, points = x.shape[axis], options.integers("slice_point")
    if not points and size % tops == 0:
        points = [size // tops * i for i in range(1, tops)]
    if len(points) != tops - 1:
        options.fail(f"slice_point: {tops} tops need {tops - 1} points, or a size that they divide, got {size}")
    edges = [0, *points, size]
    spans = enumerate(pairwise(edges), 1)
    return [call.put(Slice(*span, axis), part=str(i)) for i, span in spans]


def _crop(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    if len(call.maps) != 2 or len(call.maps[1].shape) != 3:
        raise UserError("Crop reads two blobs: what is cropped, and one of the size that remains")
    options, (x, like) = call.param("crop_param"), call.maps
    axis = _axis(call, options, "axis", 2)
    offsets = options.integers("offset") or [0]
    sides = []
    for i in (1, 2):
        offset = offsets[min(i - axis, len(offsets) - 1)] if i >= axis else 0
        kept = like.shape[i] if i >= axis else x.shape[i]
        sides += [offset, x.shape[i] - kept - offset]
    if min(sides) < 0:  # Caffe refuses to crop to a larger map; Netscope, one of whose presets does, goes on with it
        return call.unknown((x.channels, like.shape[1], like.shape[2]))
    return call.put(Crop((sides[0], sides[1], sides[2], sides[3])), x)


def _reshape(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options, shape = call.param("reshape_param"), call.maps[0].shape
    sizes = options.message("shape").integers("dim")
    if options.integer("axis", 0) or options.integer("num_axes", -1) != -1 or not sizes or len(sizes) < 2:
        return call.unknown()
    if len(sizes) > MAX_AXES:
        options.fail(f"shape: {len(sizes):,} sizes; at most {MAX_AXES} are possible")
    if sizes.count(-1) > 1:
        options.fail("shape: at most one size can be -1, which is then found from the others")
    copied = tuple(shape[i] if n == 0 and i < len(shape) else n for i, n in enumerate(sizes[1:]))
    if sizes[0] == -1 and elements(copied) != elements(shape):
        return call.unknown()  # moves elements into the batch
    return call.put(Reshape(copied))


def _flatten(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("flatten_param")
    whole = (options.integer("axis", 1), options.integer("end_axis", -1)) == (1, -1)
    return call.put(Flatten()) if whole else call.unknown()


def _softmax(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    axis = _axis(call, call.param("softmax_param"), "axis")
    return call.unknown() if axis < 0 else call.put(Softmax(axis))


def _argmax(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    options = call.param("argmax_param")
    one = options.integer("top_k", 1) == 1 and options.integer("axis", 0) == 1
    return call.put(ArgMax()) if one and not options.flag("out_max_val", False) else call.unknown()


def _permute(call: LayerCall) -> FeatureMap | list[FeatureMap]:
    """SSD's: the order of all axes, the batch first."""
    order = call.param("permute_param").integers("order")
    return call.put(Permute(tuple(axis - 1 for axis in order[1:]))) if order[:1] == [0] else call.unknown()


def _constant(layer: Layer) -> CaffeRule:
    return lambda call: call.put(layer)


RULES: dict[str, CaffeRule] = {
    "convolution": _convolution,
    "convolutiondepthwise": _convolution,
    "depthwiseconvolution": _convolution,
    "deconvolution": _deconvolution,
    "innerproduct": _inner_product,
    "pooling": _pooling,
    "lrn": _lrn,
    "relu": _relu,
    "relu6": _constant(ReLU6()),
    "prelu": _prelu,
    "elu": lambda call: call.put(ELU(call.param("elu_param").number("alpha", 1.0))),
    "sigmoid": _constant(Sigmoid()),
    "swish": lambda call: call.put(Swish(call.param("swish_param").number("beta", 1.0))),
    "tanh": _constant(Tanh()),
    "power": _power,
    "batchnorm": _batch_norm,
    "bn": _batch_norm,
    "scale": _scale,
    "bias": _bias,
    "eltwise": _eltwise,
    "concat": _concat,
    "slice": _slice,
    "split": lambda call: [call.maps[0]] * max(1, len(call.spec.tops)),
    "crop": _crop,
    "reshape": _reshape,
    "flatten": _flatten,
    "permute": _permute,
    "shufflechannel": lambda call: call.put(ChannelShuffle(call.param("shuffle_channel_param").integer("group", 1))),
    "softmax": _softmax,
    "softmaxwithloss": _softmax,
    "softmaxloss": _softmax,
    "argmax": _argmax,
    "dropout": lambda call: call.put(Dropout(call.param("dropout_param").number("dropout_ratio", 0.5))),
}
"""Type, in lower case and without underscores -> what adds its nodes and returns its outputs."""
