"""Layers that combine channels at one pixel, or the features of a vector. A 1x1 convolution is `Conv(n, 1)`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import CHANNEL, GLOBAL, Layer, Operations, Shape, Window, elements, value
from cnnatomy.layers.memory import INPUT, INTEGER, Extra, Memory, Saved, Scratch

if TYPE_CHECKING:
    import torch


@value
class FullyConnected(Layer):
    """y = W x + b: a vector of n features becomes `features`; of a sequence (time, n) each step alike."""

    features: int
    bias: bool = True

    kind = CHANNEL
    stem = "fc"
    memory = Memory(INPUT, autocast="low")
    timed_as = "matrix by vector"

    def __post_init__(self) -> None:
        self._count(features=self.features)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) > 2:
            self._refuse(inputs, "one vector", "put Flatten(), or GlobalAvgPool() and Flatten(), before it")
        return (*inputs[0][:-1], self.features)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.features, inputs[0][-1])
        return {"weight": weight, "bias": (self.features,)} if self.bias else {"weight": weight}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        outputs = elements(output)
        return Operations(mac=outputs * inputs[0][-1], add=outputs if self.bias else 0)

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Linear(inputs[0][-1], self.features, self.bias)


@value
class LocalResponseNorm(Layer):
    """Divides each element by (k + alpha/size * sum of squares over `size` channels)^beta.

    Krizhevsky et al. 2012, section 3.3.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    kind = CHANNEL
    stem = "norm"
    memory = Memory(autocast="full")
    timed_as = "local response norm"

    def __post_init__(self) -> None:
        self._count(size=self.size)
        self._finite(alpha=self.alpha, beta=self.beta, k=self.k)

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._map(*inputs)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n = elements(output)
        # squares and their sum over the channels, times alpha / size, plus k, to the power, divide
        return Operations(multiply=n * (self.size + 1), add=n * (self.size + 1), divide=n, exponential=n)

    def interval(self, *inputs: Interval) -> Interval:
        shrinks = min(self.k, self.alpha, self.beta) > 0  # the divisor is at least k^beta
        return inputs[0].times(Interval(0.0, self.k**-self.beta if shrinks else inf))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        channels, n = inputs[0][0], elements(output)
        squares = n // channels * (channels + self.size - 1)  # with channels of zeros before and after
        return Saved((0,), own=(Extra(squares), Extra(n), Extra(n)))  # the sum of squares, and its power

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        n = Extra(elements(output))
        return Scratch((n, n), (n, n, n))  # torch computes it in eight steps

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.LocalResponseNorm(self.size, self.alpha, self.beta, self.k)


@value
class RadialBasis(Layer):
    """Minus the squared distance of a vector to each of some fixed codes: (n,) becomes (codes,).

    LeNet-5's output layer (LeCun et al. 1998, equation 7, with the sign turned so that the largest output wins). The
    codes are given, not learned: a buffer. |x - w|^2 is computed as |x|^2 - 2 w x + |w|^2.
    """

    codes: tuple[tuple[float, ...], ...]

    kind = CHANNEL
    stem = "rbf"
    memory = Memory(INPUT)
    values = Interval(high=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", tuple(tuple(code) for code in self.codes))
        if not self.codes or not self.codes[0] or len(set(map(len, self.codes))) != 1:
            raise UserError("RadialBasis: needs at least one code, all of one length")

    def output_shape(self, *inputs: Shape) -> Shape:
        if list(inputs) != [(len(self.codes[0]),)]:
            self._refuse(inputs, f"one vector of {len(self.codes[0])} features, as many as a code has")
        return (len(self.codes),)

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return {"codes": (len(self.codes), len(self.codes[0]))}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        features, codes = inputs[0][0], output[0]
        return Operations(mac=features * codes, multiply=features + codes, add=features + 2 * codes)

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def initial(self, name: str, shape: Shape) -> torch.Tensor:
        import torch

        return torch.tensor(self.codes, dtype=torch.get_default_dtype())

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        (x,), codes = inputs, tensors["codes"]
        return 2 * (x @ codes.mT) - x.square().sum(1, keepdim=True) - codes.square().sum(1)


@value
class ArgMax(Layer):
    """The number of the largest channel or feature, from 0, as an integer: (C, ...) becomes (1, ...)."""

    kind = CHANNEL
    memory = Memory(integers=True)
    values = Interval(low=0.0)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1:
            self._refuse(inputs, "one input")
        return (1, *inputs[0][1:])

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(compare=elements(inputs[0]))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0].argmax(1, keepdim=True)


@value
class GroupMaximum(Layer):
    """The largest feature of each group: feature i is of group `owners[i]`, counted from 0; (n,) becomes (groups,).

    After `RadialBasis` it lets a class own several codes.
    """

    owners: tuple[int, ...]

    kind = CHANNEL
    stem = "max"
    values = "kept"

    def __post_init__(self) -> None:
        object.__setattr__(self, "owners", tuple(self.owners))
        if not self.owners or set(self.owners) != set(range(len(set(self.owners)))):
            raise UserError(f"{self!r}: the owners must be numbers from 0, none left out")

    def output_shape(self, *inputs: Shape) -> Shape:
        if list(inputs) != [(len(self.owners),)]:
            self._refuse(inputs, f"one vector of {len(self.owners)} features, one for each owner")
        return (len(set(self.owners)),)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        # of each group: who belongs to it, their values, and the largest
        sizes = [self.owners.count(group) for group in range(output[0])]
        return Saved(own=tuple(e for n in sizes for e in (Extra(n, INTEGER, per_image=False), Extra(n), Extra(1))))

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        return Operations(compare=elements(inputs[0]))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        (x,) = inputs
        groups = range(len(set(self.owners)))
        members = [[i for i, owner in enumerate(self.owners) if owner == group] for group in groups]
        return torch.stack([x[:, own].amax(1) for own in members], dim=1)
