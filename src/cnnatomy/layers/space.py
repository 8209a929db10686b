"""Layers that combine pixels, each channel by itself: depthwise convolution, pools, shift, rank filters.

Those that enlarge the map are in `enlarging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.channel_and_space import Conv
from cnnatomy.layers.interval import ZERO, Interval
from cnnatomy.layers.layer import GLOBAL, SPACE, Layer, Operations, Pair, Shape, Window, elements, pair, value
from cnnatomy.layers.memory import INPUT, INTEGER, Extra, Memory, Saved, Scratch
from cnnatomy.layers.sliding import Padding, Pool, check_padding, positions

if TYPE_CHECKING:
    import torch


@value
class DepthwiseConv(Layer):
    """Convolution with its own filter for each channel: (C, R, S) becomes (multiplier * C, R', S')."""

    kernel: int | Pair
    stride: int | Pair = 1
    padding: Padding = 0
    dilation: int | Pair = 1
    multiplier: int = 1
    bias: bool = True

    kind = SPACE
    stem = "conv"
    memory = Memory(INPUT, autocast="low")
    timed_as = "convolution"

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        self._count(multiplier=self.multiplier)
        object.__setattr__(self, "padding", check_padding(self, self.padding))

    def grouped(self, *inputs: Shape) -> Conv:
        """The same layer as a convolution with as many groups as channels."""
        channels = self._map(*inputs)[0]
        sizes = (self.kernel, self.stride, self.padding, self.dilation)
        return Conv(channels * self.multiplier, *sizes, channels, self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._as(self.grouped(*inputs), *inputs)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return self.grouped(*inputs).parameters(*inputs)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return self.grouped(*inputs).operations(inputs, output)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return self.grouped(*inputs).saves(inputs, output)

    def window(self, *inputs: Shape) -> Window | None:
        return self.grouped(*inputs).window(*inputs)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        return self.grouped(*inputs).module(*inputs)


@value
class MaxPool(Pool):
    """The maximum of each window; padding counts as minus infinity."""

    timed_as = "max pool"
    values = "kept"

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output), INTEGER),))  # and where the maxima were

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(compare=elements(output) * elements(pair(self.kernel)))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.MaxPool2d(self.kernel, self._stride, self.padding, ceil_mode=self.ceil)


@value
class ArgMaxPool(Pool):
    """Where in the map the maximum of each window is (row * columns + column), for `MaxUnpool`.

    `beside_pool` says that a `MaxPool` of the same map finds the places, so that this costs nothing more.
    """

    beside_pool: bool = False

    memory = Memory(Saved((0,), output=True), integers=True)
    values = Interval(low=0.0)

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch((Extra(elements(output)),))  # the maxima

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        if self.beside_pool:
            return Operations()
        return Operations(compare=elements(output) * elements(pair(self.kernel)))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        (x,) = inputs
        kernel, stride, padding = self.kernel, self._stride, self.padding
        return functional.max_pool2d(x, kernel, stride, padding, ceil_mode=self.ceil, return_indices=True)[1]


@value
class AvgPool(Pool):
    """The mean of each window; `count_padding` says whether padding counts as pixels of value zero."""

    count_padding: bool = True

    memory = Memory(INPUT)
    timed_as = "average pool"

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(add=elements(output) * elements(pair(self.kernel)), divide=elements(output))

    def interval(self, *inputs: Interval) -> Interval:
        return inputs[0].hull(ZERO) if self.padding != 0 and self.count_padding else inputs[0]

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.AvgPool2d(self.kernel, self._stride, self.padding, self.ceil, self.count_padding)


@value
class GlobalAvgPool(Layer):
    """The mean of each channel over all pixels, whatever the size: (C, R, S) becomes (C, 1, 1)."""

    kind = SPACE
    stem = "pool"
    timed_as = "global average pool"
    values = "kept"

    def output_shape(self, *inputs: Shape) -> Shape:
        return (self._map(*inputs)[0], 1, 1)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(add=elements(inputs[0]), divide=output[0])

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.AdaptiveAvgPool2d(1)


@value
class Subsample(Layer):
    """Every `stride`-th row and column, from the first: decimation without a filter."""

    stride: int | Pair

    kind = SPACE
    memory = Memory(view=True)
    timed_as = "copy"  # the view costs nothing, the next kernel copies it
    values = "kept"

    def __post_init__(self) -> None:
        self._positive(stride=self.stride)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *size = self._map(*inputs)
        return (channels, *(positions(n, 1, s, 0, 0) for n, s in zip(size, pair(self.stride), strict=True)))

    def window(self, *inputs: Shape) -> Window | None:
        return Window((1, 1), pair(self.stride))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        rows, columns = pair(self.stride)
        return inputs[0][:, :, ::rows, ::columns]


@value
class SpatialPyramidPool(Layer):
    """Maxima over grids of several sizes, as one vector of fixed length (He et al. 2014): sum(level^2) * C features."""

    levels: tuple[int, ...] = (1, 2, 4)

    kind = SPACE
    stem = "pool"
    values = "kept"

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=tuple(Extra(inputs[0][0] * level**2, INTEGER) for level in self.levels))

    def __post_init__(self) -> None:
        levels = tuple(self.levels) if isinstance(self.levels, list) else self.levels
        object.__setattr__(self, "levels", levels)
        if not isinstance(levels, tuple) or not levels or not all(type(n) is int and n > 0 for n in levels):
            raise UserError(f"{self!r}: levels must be positive integers")

    def output_shape(self, *inputs: Shape) -> Shape:
        return (self._map(*inputs)[0] * sum(level * level for level in self.levels),)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        channels, *size = inputs[0]

        def covered(n: int, level: int) -> int:  # bin i reads pixels floor(i*n/level) to ceil((i+1)*n/level)
            return sum(-(-(i + 1) * n // level) - i * n // level for i in range(level))

        return Operations(compare=channels * sum(elements(tuple(covered(n, v) for n in size)) for v in self.levels))

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn.functional import adaptive_max_pool2d

        (x,) = inputs
        return torch.cat([adaptive_max_pool2d(x, level).flatten(1) for level in self.levels], dim=1)


@value
class Shift(Layer):
    """Moves each channel by its own offset within a kernel x kernel window; zeros enter (Wu et al. 2017).

    The channels are dealt out to the kernel^2 offsets in turn, floor(C / kernel^2) each; those left over do not move.
    """

    kernel: int = 3

    kind = SPACE
    values = "kept or zero"

    def __post_init__(self) -> None:
        self._count(kernel=self.kernel)
        if self.kernel % 2 == 0:
            raise UserError(f"{self!r}: the kernel must be odd, so that it has a centre")

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._map(*inputs)

    def window(self, *inputs: Shape) -> Window | None:
        if inputs[0][0] < self.kernel**2:
            return None  # too few channels: none moves
        return Window((self.kernel, self.kernel), padding=(self.kernel // 2, self.kernel // 2))

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        channels, rows, columns = inputs[0]
        return Scratch((Extra(channels * (rows + self.kernel - 1) * (columns + self.kernel - 1)),))  # padded

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        (x,) = inputs
        reach, (channels, rows, columns) = self.kernel // 2, x.shape[1:]
        each = channels // self.kernel**2
        padded = torch.nn.functional.pad(x, (reach, reach, reach, reach))
        moved = [
            padded[:, i * each : (i + 1) * each, top : top + rows, left : left + columns]
            for i, (top, left) in enumerate((t, f) for t in range(self.kernel) for f in range(self.kernel))
        ]
        return torch.cat([*moved, x[:, each * self.kernel**2 :]], dim=1)


@value
class RankFilter(Layer):
    """The `rank`-th smallest of each window, from 1; by default the median. The border pixels are repeated outwards."""

    kernel: int = 3
    rank: int | None = None

    kind = SPACE
    values = "kept"

    def __post_init__(self) -> None:
        self._count(kernel=self.kernel)
        if self.kernel % 2 == 0 or not 1 <= self._rank <= self.kernel**2:
            raise UserError(f"{self!r}: needs an odd kernel and a rank from 1 to {self.kernel**2}")

    @property
    def _rank(self) -> int:
        return (self.kernel**2 + 1) // 2 if self.rank is None else self.rank

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._map(*inputs)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n = self.kernel**2  # a merge sort of n values needs at most n * ceil(log2 n) comparisons
        return Operations(compare=elements(output) * n * (n - 1).bit_length())

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output), INTEGER),))

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch((Extra(elements(output), INTEGER), Extra(elements(output) * self.kernel**2)))  # every window

    def window(self, *inputs: Shape) -> Window | None:
        return Window((self.kernel, self.kernel), padding=(self.kernel // 2, self.kernel // 2))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        (x,) = inputs
        padded = torch.nn.functional.pad(x, (self.kernel // 2,) * 4, mode="replicate")
        windows = padded.unfold(2, self.kernel, 1).unfold(3, self.kernel, 1).flatten(4)
        return windows.kthvalue(self._rank, dim=4).values


def MedianFilter(kernel: int = 3) -> RankFilter:  # noqa: N802 - reads as the layer that it makes
    """The median of each window: removes impulse noise and keeps edges."""
    return RankFilter(kernel)
