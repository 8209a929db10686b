"""Layers that treat each element by itself: scale and bias, arithmetic of several inputs, maxout and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from cnnatomy.errors import UserError
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import ELEMENT, Layer, Operations, Shape, elements, value
from cnnatomy.layers.memory import INPUT, INPUTS, NOTHING, OUTPUT, Extra, Memory, Saved, Scratch

if TYPE_CHECKING:
    import torch


@value
class Elementwise(Layer):
    """One input, one output of the same shape, the same operations for each element."""

    each: ClassVar[Operations] = Operations()
    """What one element costs."""

    kind = ELEMENT
    memory = Memory(INPUT)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1:
            self._refuse(inputs, "one input")
        return inputs[0]

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n = elements(output)
        mac, multiply, add, compare, divide, exponential = self.each
        return Operations(n * mac, n * multiply, n * add, n * compare, n * divide, n * exponential)

    def kernels(self, *inputs: Shape) -> str:
        return self.timed_as or ("exponential" if self.each.exponential else "clamp")


@value
class Maxout(Layer):
    """The maximum of each `pieces` consecutive channels: (C, ...) becomes (C/pieces, ...) (Goodfellow et al. 2013)."""

    pieces: int = 2

    kind = ELEMENT
    values = "kept"
    memory = Memory(Saved((0,), output=True))

    def __post_init__(self) -> None:
        self._count(pieces=self.pieces)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or inputs[0][0] % self.pieces:
            self._refuse(inputs, f"one input with channels that divide by {self.pieces}")
        return (inputs[0][0] // self.pieces, *inputs[0][1:])

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(compare=elements(inputs[0]))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        pieces: torch.Tensor = inputs[0].unflatten(1, (-1, self.pieces))
        return pieces.amax(2)


@value
class Softmax(Elementwise):
    """exp(x) / sum of exp(x) along one axis of the shape, by default the first: channels or features."""

    axis: int = 0

    each = Operations(add=1, divide=1, exponential=1)
    values = Interval(0.0, 1.0)
    memory = Memory(OUTPUT, autocast="full")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or not 0 <= self.axis < len(inputs[0]):
            self._refuse(inputs, f"one input that has axis {self.axis}")
        return inputs[0]

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Softmax(self.axis + 1)


@value
class _PerChannel(Elementwise):
    """A learned number for each channel."""

    timed_as = "scale"

    def _broadcast(self, tensor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return tensor.view(-1, *(1,) * (x.dim() - 2))


@value
class Scale(_PerChannel):
    """w * x with one learned w for each channel."""

    each = Operations(multiply=1)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": inputs[0][:1]}

    def initial(self, name: str, shape: Shape) -> torch.Tensor:
        import torch

        return torch.ones(shape)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0] * self._broadcast(tensors["weight"], inputs[0])


@value
class Bias(_PerChannel):
    """x + b with one learned b for each channel."""

    each = Operations(add=1)
    memory = Memory(NOTHING, same_gradient=True)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"bias": inputs[0][:1]}

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0] + self._broadcast(tensors["bias"], inputs[0])


@value
class PixelScale(Elementwise):
    """w * x with one learned w for each pixel, the same for all channels, for maps of one size (weights row by row)."""

    each = Operations(multiply=1)
    timed_as = "scale"

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._map(*inputs)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (elements(inputs[0][1:]),)}

    def initial(self, name: str, shape: Shape) -> torch.Tensor:
        import torch

        return torch.ones(shape)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        (x,), weight = inputs, tensors["weight"]
        return x * weight.view(x.shape[2:])


@value
class Normalise(Elementwise):
    """(x - mean) / std with one given mean and std for each channel: the data normalised inside the network.

    The numbers belong to the description, as those of `Constant` do: they are neither learned nor stored with weights.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    each = Operations(add=1, divide=1)

    def interval(self, *inputs: Interval) -> Interval:
        ends = [[(end - mean) / std for mean, std in zip(self.mean, self.std, strict=True)] for end in inputs[0]]
        return Interval(min(ends[0]), max(ends[1]))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved(own=(Extra(len(self.std), per_image=False),))

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(f"{self!r}: needs a mean and a positive std for each channel")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or inputs[0][0] != len(self.mean):
            self._refuse(inputs, f"one input of {len(self.mean)} channels, as many as there are means")
        return inputs[0]

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        shape = (-1, *(1,) * (x.dim() - 2))
        return (x - x.new_tensor(self.mean).view(shape)) / x.new_tensor(self.std).view(shape)


@value
class Constant(Elementwise):
    """`scale` * x with a number that is given, not learned, such as Inception-ResNet's 0.17."""

    scale: float

    each = Operations(multiply=1)
    memory = Memory(NOTHING)
    timed_as = "scale"

    def __post_init__(self) -> None:
        self._finite(scale=self.scale)

    def interval(self, *inputs: Interval) -> Interval:
        return inputs[0].times(Interval(self.scale, self.scale))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return self.scale * inputs[0]


@value
class AddConstant(Elementwise):
    """x + `shift` with a number that is given, not learned, such as the 3 in x * min(max(0, x + 3), 6) / 6."""

    shift: float

    each = Operations(add=1)
    memory = Memory(NOTHING, same_gradient=True)
    timed_as = "scale"

    def __post_init__(self) -> None:
        self._finite(shift=self.shift)

    def interval(self, *inputs: Interval) -> Interval:
        return Interval(inputs[0].low + self.shift, inputs[0].high + self.shift)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0] + self.shift


@value
class Add(Layer):
    """The sum of two or more inputs of one shape."""

    kind = ELEMENT
    memory = Memory(same_gradient=True)
    timed_as = "add"

    def interval(self, *inputs: Interval) -> Interval:
        return Interval(sum([x.low for x in inputs]), sum([x.high for x in inputs]))

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch((Extra(elements(output)),) if len(inputs) > 2 else ())  # the sum so far

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._equal(*inputs)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(add=elements(output) * (len(inputs) - 1))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        total = inputs[0] + inputs[1]
        for x in inputs[2:]:
            total = total + x
        return total


@value
class Maximum(Layer):
    """The larger of two or more inputs of one shape, element by element."""

    kind = ELEMENT
    timed_as = "add"

    def interval(self, *inputs: Interval) -> Interval:
        return Interval(max([x.low for x in inputs]), max([x.high for x in inputs]))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved(tuple(range(len(inputs))), own=(Extra(elements(output)),) * (len(inputs) - 2))

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._equal(*inputs)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(compare=elements(output) * (len(inputs) - 1))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        largest = inputs[0].maximum(inputs[1])
        for x in inputs[2:]:
            largest = largest.maximum(x)
        return largest


@value
class Multiply(Layer):
    """The product of two inputs; a size of 1 in either is repeated, so that (C, 1, 1) gates (C, R, S)."""

    kind = ELEMENT
    memory = Memory(INPUTS)

    def interval(self, *inputs: Interval) -> Interval:
        return inputs[0].times(inputs[1])

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch(backward=() if inputs[0] == inputs[1] else (Extra(elements(output)),))  # before it is summed

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or len(inputs[0]) != len(inputs[1]):
            self._refuse(inputs, "two inputs with equally many axes")
        sizes = list(zip(*inputs, strict=True))
        if any(a != b and 1 not in (a, b) for a, b in sizes):
            self._refuse(inputs, "sizes that are equal or 1")
        return tuple(map(max, sizes))

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(multiply=elements(output))

    def kernels(self, *inputs: Shape) -> str:
        return "add" if inputs[0] == inputs[1] else "gate"

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0] * inputs[1]
