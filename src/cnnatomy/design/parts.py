"""What many networks are made of: convolution with batch norm, shortcuts, squeeze and excitation, stem."""

from __future__ import annotations

from typing import Any

from cnnatomy.design.blocks import Block, Chain, Named, composition
from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    Crop,
    DeformableConv,
    GlobalAvgPool,
    Interpolate,
    Layer,
    MatMul,
    MaxPool,
    Multiply,
    PadChannels,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Subsample,
)
from cnnatomy.layers.layer import Pair, value


def conv_bn(
    x: FeatureMap,
    channels: int,
    kernel: int | Pair,
    stride: int = 1,
    padding: Any = None,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> FeatureMap:
    """Convolution without bias, and batch norm; padded by half the kernel unless told otherwise."""
    if padding is None:
        padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    return BatchNorm(epsilon)(Conv(channels, kernel, stride, padding, groups=groups, bias=False)(x))


def conv_bn_relu(
    x: FeatureMap,
    channels: int,
    kernel: int | Pair,
    stride: int = 1,
    padding: Any = None,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> FeatureMap:
    """Convolution without bias, batch norm, ReLU."""
    return ReLU()(conv_bn(x, channels, kernel, stride, padding, groups, epsilon))


@composition
class TappedChain(Chain):
    """A chain that returns, after its output, the maps that leave the parts named in `taps`: for heads half way up."""

    taps: tuple[str, ...] = ()

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        object.__setattr__(self, "taps", tuple(self.taps))
        names = [part.name for part in self.parts if isinstance(part, Named)]
        for name in self.taps:
            if name not in names:
                raise UserError(f"TappedChain has no part named {name!r}.{nearest(name, names)}")

    def __call__(self, *maps: FeatureMap) -> Any:
        (x,), tapped = maps, {}
        for part in self.parts:
            x = part(x)
            if isinstance(part, Named):
                tapped[part.name] = x
        return (x, *[tapped[name] for name in self.taps])


def bn_relu_conv(
    x: FeatureMap, channels: int, kernel: int, stride: int = 1, groups: int = 1, epsilon: float = 1e-5
) -> FeatureMap:
    """Batch norm, ReLU, convolution without bias, padded by half the kernel: the order of pre-activation."""
    x = ReLU()(BatchNorm(epsilon)(x))
    return Conv(channels, kernel, stride, kernel // 2, groups=groups, bias=False)(x)


def gated(x: FeatureMap, gate: Layer | Block | None) -> FeatureMap:
    """What the gate of a block, if it has one, lets pass; see `with_gates`."""
    return gate(x) if gate else x


@value
class _Shortcut(Block):
    channels: int
    stride: int = 1

    stem = "shortcut"


@value
class Projection(_Shortcut):
    """The shortcut of a residual block, made to fit: a 1x1 convolution with batch norm, and the block's stride."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return conv_bn(x, self.channels, 1, self.stride)


@value
class ZeroShortcut(_Shortcut):
    """A shortcut without parameters: every `stride`-th pixel, zeros for new channels (He et al. 2015, option A)."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        if self.stride > 1:
            x = Subsample(self.stride)(x)
        return PadChannels(self.channels)(x)


@value
class SqueezeExcitation(Block):
    """Gates each channel by the whole map: average, 1x1 to C / reduction, ReLU, 1x1, sigmoid (Hu et al. 2018).

    With `grid` above 1 it squeezes to (C, grid, grid) rather than (C, 1, 1), so that each window of the map has gates
    of its own: the lecture's idea for segmentation. (A map that does not divide has fewer windows, the last ones cut.)
    """

    reduction: int = 16
    grid: int = 1

    stem = "se"

    def __post_init__(self) -> None:
        self._count(reduction=self.reduction, grid=self.grid)

    def __call__(self, x: FeatureMap) -> FeatureMap:
        channels, rows, columns = x.shape
        window = (-(-rows // self.grid), -(-columns // self.grid))  # rounded up
        y = (GlobalAvgPool() if self.grid == 1 else AvgPool(window, ceil=True))(x)
        y = ReLU()(Conv(max(1, channels // self.reduction), 1)(y))
        y = Sigmoid()(Conv(channels, 1)(y))
        if self.grid > 1:
            y = Interpolate(window)(y)
            surplus = (0, y.shape[1] - rows, 0, y.shape[2] - columns)
            y = Crop(surplus)(y) if any(surplus) else y
        return Multiply()(x, y)


@value
class NonLocal(Block):
    """Every pixel reads every other, weighted by likeness, added to the input (Wang et al. 2018, embedded Gaussian).

    The embeddings have C / reduction channels; the attention is a (pixels, pixels) matrix.
    """

    reduction: int = 2

    stem = "attention"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        channels = max(1, x.channels // self.reduction)

        def embedded() -> FeatureMap:
            return Reshape((channels, -1))(Conv(channels, 1)(x))

        theta, phi, g = embedded(), embedded(), embedded()
        attention = Softmax(axis=1)(MatMul(transpose_first=True)(theta, phi))
        y = Reshape((channels, *x.shape[1:]))(MatMul(transpose_second=True)(g, attention))
        return Add()(x, Conv(x.channels, 1)(y))


@value
class Deformable(Block):
    """A deformable convolution with the convolution that learns its offsets (Dai et al. 2017, figure 2)."""

    channels: int
    kernel: int = 3
    stride: int = 1

    def __call__(self, x: FeatureMap) -> FeatureMap:
        offsets = Conv(2 * self.kernel**2, self.kernel, self.stride, self.kernel // 2)(x)
        return DeformableConv(self.channels, self.kernel, self.stride, self.kernel // 2)(x, offsets)


@value
class Stem(Block):
    """The standard tail: 7x7 convolution of stride 2, batch norm, ReLU, 3x3 max pool of stride 2.

    The pool is padded, as in torchvision, or with `ceil` not padded but rounded up, as in Caffe.
    """

    width: int = 64
    ceil: bool = False

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = conv_bn_relu(x, self.width, 7, stride=2)
        return MaxPool(3, 2, padding=0 if self.ceil else 1, ceil=self.ceil)(x)
