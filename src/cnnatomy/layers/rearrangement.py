"""Layers that move elements and compute nothing: reshape, concatenate, split, shuffle, pad and crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnatomy.errors import LimitError, ShapeError, UserError, shown
from cnnatomy.layers.layer import REARRANGEMENT, Layer, M, Pair, Shape, Sides, Window, elements, value
from cnnatomy.layers.memory import Memory
from cnnatomy.layers.sliding import check_padding, sides
from cnnatomy.limits import MAX_AXES, MAX_MAP_ELEMENTS

if TYPE_CHECKING:
    import torch


@value
class Reshape(Layer):
    """The same elements in another shape; one size may be -1, for as many as remain."""

    shape: Shape

    kind = REARRANGEMENT
    memory = Memory(view=True, same_gradient=True)
    values = "kept"

    def __post_init__(self) -> None:
        if isinstance(self.shape, (list, int)):
            object.__setattr__(self, "shape", tuple(self.shape) if isinstance(self.shape, list) else (self.shape,))
        sizes = self.shape if isinstance(self.shape, tuple) else ()
        if not sizes or sizes.count(-1) > 1 or not all(type(n) is int and (n == -1 or n > 0) for n in sizes):
            raise UserError(f"Reshape: sizes must be positive, and one of them may be -1, got {shown(sizes)}")
        if len(sizes) > MAX_AXES or abs(elements(sizes)) > MAX_MAP_ELEMENTS:
            most = f"{MAX_AXES} sizes, and {MAX_MAP_ELEMENTS:,} elements"
            raise LimitError(f"Reshape: at most {most} are possible, got {shown(sizes)}")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1:
            self._refuse(inputs, "one input")
        total, known = elements(inputs[0]), elements(tuple(n for n in self.shape if n != -1))
        if total % known or (-1 not in self.shape and total != known):
            self._refuse(inputs, f"an input of {known} elements, not {total}")
        return tuple(total // known if n == -1 else n for n in self.shape)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(-1, *self.output_shape(tuple(inputs[0].shape[1:])))


@value
class Flatten(Layer):
    """(channels, rows, columns) becomes a vector: the lectures' vectorise."""

    kind = REARRANGEMENT
    memory = Memory(view=True, same_gradient=True)
    values = "kept"

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1:
            self._refuse(inputs, "one input")
        return (elements(inputs[0]),)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Flatten()


@value
class Permute(Layer):
    """The axes in another order: `Permute((1, 2, 0))` makes (channels, rows, columns) (rows, columns, channels)."""

    order: tuple[int, ...]

    kind = REARRANGEMENT
    memory = Memory(view=True, same_gradient=True)
    values = "kept"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(self.order))
        if sorted(self.order) != list(range(len(self.order))):
            raise UserError(f"{self!r}: needs every axis once, counted from 0")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) != len(self.order):
            self._refuse(inputs, f"one input with {len(self.order)} axes")
        return tuple(inputs[0][axis] for axis in self.order)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0].permute(0, *(axis + 1 for axis in self.order))


def _check_axis(layer: Layer, axis: int) -> None:
    if type(axis) is not int or axis not in (0, 1, 2):
        raise UserError(f"{layer!r}: axis must be 0 (channels), 1 (rows) or 2 (columns)")


@value
class Concat(Layer):
    """Inputs one after another along channels (axis 0), rows (1) or columns (2); the other sizes must agree."""

    axis: int = 0

    kind = REARRANGEMENT
    memory = Memory(same_gradient=True)
    timed_as = "concat"
    values = "kept"

    def __post_init__(self) -> None:
        _check_axis(self, self.axis)

    def output_shape(self, *inputs: Shape) -> Shape:
        if not inputs:
            raise ShapeError(f"{self!r} got no input, needs one or more")
        axis = self.axis
        first = inputs[0]
        rest = first[:axis] + first[axis + 1 :]
        if len(first) <= axis or any(shape[:axis] + shape[axis + 1 :] != rest for shape in inputs):
            remedy = "give the branches equal strides and paddings" if axis == 0 else ""
            self._refuse(inputs, f"inputs that differ only along axis {axis}", remedy)
        return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat(inputs, dim=self.axis + 1)


@value
class Slice(Layer):
    """Elements start to stop (not included) along channels (axis 0), rows (1) or columns (2)."""

    start: int
    stop: int
    axis: int = 0

    kind = REARRANGEMENT
    stem = "split"
    memory = Memory(view=True)
    values = "kept"

    def __post_init__(self) -> None:
        _check_axis(self, self.axis)
        if not (type(self.start) is type(self.stop) is int and 0 <= self.start < self.stop):
            raise UserError(f"{self!r}: needs integers 0 <= start < stop")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) <= self.axis or inputs[0][self.axis] < self.stop:
            self._refuse(inputs, f"one input with at least {self.stop} along axis {self.axis}")
        shape = inputs[0]
        return (*shape[: self.axis], self.stop - self.start, *shape[self.axis + 1 :])

    def window(self, *inputs: Shape) -> Window | None:
        if self.axis == 0 or self.start == 0:
            return None
        return Window((1, 1), padding=(-self.start, 0) if self.axis == 1 else (0, -self.start))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0].narrow(self.axis + 1, self.start, self.stop - self.start)


def split(x: M, sections: int, axis: int = 0) -> list[M]:
    """Cuts a map into equal parts along channels (axis 0), rows (1) or columns (2)."""
    if sections < 1 or not 0 <= axis < len(x.shape) or x.shape[axis] % sections:
        raise UserError(f"split: {x.shape} does not divide into {sections} parts along axis {axis}")
    size = x.shape[axis] // sections
    return [Slice(i * size, (i + 1) * size, axis)(x) for i in range(sections)]


@value
class _Subpixel(Layer):
    factor: int

    kind = REARRANGEMENT
    values = "kept"

    def __post_init__(self) -> None:
        self._count(factor=self.factor)


@value
class ChannelToSpace(_Subpixel):
    """(C * factor^2, R, S) becomes (C, R * factor, S * factor): the second half of a subpixel convolution."""

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        if channels % self.factor**2:
            self._refuse(inputs, f"channels that divide by {self.factor**2}")
        return (channels // self.factor**2, rows * self.factor, columns * self.factor)

    def window(self, *inputs: Shape) -> Window | None:
        return Window((self.factor, self.factor), upsample=(self.factor, self.factor))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.PixelShuffle(self.factor)


@value
class SpaceToChannel(_Subpixel):
    """(C, R, S) becomes (C * factor^2, R / factor, S / factor)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        if rows % self.factor or columns % self.factor:
            self._refuse(inputs, f"rows and columns that divide by {self.factor}", "pad or crop before it")
        return (channels * self.factor**2, rows // self.factor, columns // self.factor)

    def window(self, *inputs: Shape) -> Window | None:
        return Window((self.factor, self.factor), (self.factor, self.factor))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.PixelUnshuffle(self.factor)


@value
class ChannelShuffle(Layer):
    """Deals the channels of each group out to all groups (Zhang et al. 2017): channel g*n + i moves to i*groups + g."""

    groups: int

    kind = REARRANGEMENT
    stem = "shuffle"
    timed_as = "copy"
    values = "kept"

    def __post_init__(self) -> None:
        self._count(groups=self.groups)

    def output_shape(self, *inputs: Shape) -> Shape:
        if self._map(*inputs)[0] % self.groups:
            self._refuse(inputs, f"channels that divide into {self.groups} groups")
        return inputs[0]

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.ChannelShuffle(self.groups)


@value
class _Border(Layer):
    margin: int | Pair | Sides

    kind = REARRANGEMENT

    def __post_init__(self) -> None:
        if isinstance(self.margin, str):
            raise UserError(f"{self!r}: the margin must be numbers")
        object.__setattr__(self, "margin", check_padding(self, self.margin))

    @property
    def _sides(self) -> Sides:
        return sides(self.margin, (0, 0), (1, 1), (1, 1), (1, 1))

    def _grown(self, sign: int, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        top, bottom, left, right = self._sides
        output = (channels, rows + sign * (top + bottom), columns + sign * (left + right))
        if min(output) < 1:
            self._refuse(inputs, "a map larger than what is cut away")
        return output


@value
class ZeroPad(_Border):
    """Zeros around the map: one number, (rows, columns), or (top, bottom, left, right) pixels."""

    stem = "pad"
    timed_as = "copy"
    values = "kept or zero"

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._grown(1, *inputs)

    def window(self, *inputs: Shape) -> Window | None:
        top, _, left, _ = self._sides
        return Window((1, 1), padding=(top, left))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        top, bottom, left, right = self._sides
        return nn.ZeroPad2d((left, right, top, bottom))


@value
class Crop(_Border):
    """Cuts the border off: one number, (rows, columns), or (top, bottom, left, right) pixels."""

    memory = Memory(view=True)
    values = "kept"

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._grown(-1, *inputs)

    def window(self, *inputs: Shape) -> Window | None:
        top, _, left, _ = self._sides
        return Window((1, 1), padding=(-top, -left))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        (x,), (top, bottom, left, right) = inputs, self._sides
        return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


@value
class PadChannels(Layer):
    """Channels of zeros after the others, `channels` in all: ResNet's parameter-free shortcut (option A)."""

    channels: int

    kind = REARRANGEMENT
    stem = "pad"
    timed_as = "copy"
    values = "kept or zero"

    def __post_init__(self) -> None:
        self._count(channels=self.channels)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        if channels > self.channels:
            self._refuse(inputs, f"at most {self.channels} channels")
        return (self.channels, rows, columns)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import pad

        return pad(inputs[0], (0, 0, 0, 0, 0, self.channels - inputs[0].shape[1]))
