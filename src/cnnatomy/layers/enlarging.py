"""Layers that enlarge the map, each channel by itself: interpolation and unpooling. Of the kind of `space`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cnnatomy.errors import UserError
from cnnatomy.layers.interval import ZERO, Interval
from cnnatomy.layers.layer import SPACE, Layer, Operations, Pair, Shape, Window, elements, pair, value
from cnnatomy.layers.memory import Memory, Saved
from cnnatomy.layers.sliding import pairs

if TYPE_CHECKING:
    import torch


@value
class _Enlarging(Layer):
    scale: int | Pair

    kind = SPACE

    def __post_init__(self) -> None:
        self._positive(scale=self.scale)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        return (channels, rows * pair(self.scale)[0], columns * pair(self.scale)[1])


@value
class Interpolate(_Enlarging):
    """Enlarges the map `scale` times by nearest neighbour or bilinear interpolation (corners not aligned)."""

    mode: Literal["nearest", "bilinear"] = "nearest"

    timed_as = "interpolate"
    values = "kept"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("nearest", "bilinear"):
            raise UserError(f"Interpolate: mode must be 'nearest' or 'bilinear', got {self.mode!r}")

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n = elements(output) if self.mode == "bilinear" else 0
        return Operations(multiply=4 * n, add=3 * n)

    def window(self, *inputs: Shape) -> Window | None:
        # the transposed convolution that computes the same (Long et al. 2015, section 3.3)
        rows, columns = pair(self.scale)
        if self.mode == "nearest":
            return Window((rows, columns), upsample=(rows, columns))
        kernel = (2 * rows - rows % 2, 2 * columns - columns % 2)
        return Window(kernel, padding=(rows // 2, columns // 2), upsample=(rows, columns))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Upsample(scale_factor=tuple(map(float, pair(self.scale))), mode=self.mode)


@value
class BedOfNails(_Enlarging):
    """Enlarges the map `scale` times: each value in the top left corner of its cell, zeros elsewhere."""

    stem = "unpool"
    values = "kept or zero"

    def window(self, *inputs: Shape) -> Window | None:
        return Window((1, 1), upsample=pair(self.scale))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        (x,), (rows, columns) = inputs, pair(self.scale)
        output = x.new_zeros(*x.shape[:2], x.shape[2] * rows, x.shape[3] * columns)
        output[:, :, ::rows, ::columns] = x
        return output


@value
class MaxUnpool(Layer):
    """Puts each value back where the maximum was, zeros elsewhere. Inputs: the pooled map, and its `ArgMaxPool`.

    `size` is (rows, columns) of the map that was pooled, where the pool had dropped a row or column.
    """

    kernel: int | Pair
    stride: int | Pair | None = None
    size: Pair | None = None

    kind = SPACE
    stem = "unpool"
    memory = Memory(Saved((1,)))

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel)
        if self.stride is not None:
            self._positive(stride=self.stride)
        if self.size is not None:
            self._positive(size=self.size)
            object.__setattr__(self, "size", pair(self.size))

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2:
            self._refuse(inputs, "two inputs: a pooled map and the ArgMaxPool of what was pooled")
        channels, *pooled = self._map(self._equal(*inputs))
        kernel, stride = pairs(self.kernel, self.kernel if self.stride is None else self.stride)
        usual = tuple((n - 1) * s + k for n, s, k in zip(pooled, stride, kernel, strict=True))
        if self.size is None:
            return (channels, *usual)
        if any(abs(n - u) >= s for n, u, s in zip(self.size, usual, stride, strict=True)):
            self._refuse(inputs, f"a size that pools to so many pixels, such as {usual}")
        return (channels, *self.size)

    def interval(self, *inputs: Interval) -> Interval:
        return inputs[0].hull(ZERO)

    def window(self, *inputs: Shape) -> Window | None:
        kernel, stride = pairs(self.kernel, self.kernel if self.stride is None else self.stride)
        return Window(kernel, upsample=stride)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import max_unpool2d

        x, where = inputs
        size = self.output_shape(tuple(x.shape[1:]), tuple(where.shape[1:]))[1:]
        kernel, stride = pairs(self.kernel, self.kernel if self.stride is None else self.stride)
        return max_unpool2d(x, where, kernel, stride, output_size=list(size))
