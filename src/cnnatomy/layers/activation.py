"""Nonlinearities: functions of one number, under the names that torch gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import copysign, erf, erfc, exp, expm1, inf, log1p, pi, sqrt, tanh
from typing import TYPE_CHECKING, Literal

from cnnatomy.errors import UserError
from cnnatomy.layers.element import Elementwise
from cnnatomy.layers.interval import Interval, times
from cnnatomy.layers.layer import Operations, Shape, elements, value
from cnnatomy.layers.memory import INPUT, OUTPUT, Extra, Memory, Saved

if TYPE_CHECKING:
    import torch

_IN_PLACE = Memory(INPUT, in_place=True, copies=True)


@value
class OfOneNumber(Elementwise):
    """A given function of one number, which rises or falls all the way but for the places that `turns` names."""

    def at(self, x: float) -> float:
        """The value for one element; for an infinite one the limit."""
        raise NotImplementedError

    def turns(self) -> tuple[float, ...]:
        """Where it turns from falling to rising or back."""
        return ()

    def interval(self, *inputs: Interval) -> Interval:
        low, high = inputs[0]
        values = [self.at(low), self.at(high), *[self.at(x) for x in self.turns() if low < x < high]]
        return Interval(min(values), max(values))


@value
class Activation(OfOneNumber):
    """A function of one number for which torch has a module of the same name, with the same arguments."""

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        name = type(self).__name__
        kind = getattr(nn, name, None)
        if kind is None:
            remedy = f"say `module = Layer.module` in {name}, and write `compute`"
            raise UserError(f"{name}: torch.nn has no module of this name: {remedy}")
        module: torch.nn.Module = kind(*(getattr(self, field.name) for field in dataclasses.fields(self)))
        return module


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


@value
class ReLU(Activation):
    """max(0, x); the gradient at 0 is 0, as in torch."""

    each = Operations(compare=1)
    memory = Memory(OUTPUT, in_place=True)

    def at(self, x: float) -> float:
        return max(0.0, x)


@value
class ReLU6(Activation):
    """min(max(0, x), 6)"""

    each = Operations(compare=2)
    memory = Memory(INPUT, in_place=True, copies=True)

    def at(self, x: float) -> float:
        return min(max(0.0, x), 6.0)


@value
class LeakyReLU(Activation):
    """x where positive, else slope * x."""

    slope: float = 0.01

    each = Operations(compare=1, multiply=1)
    memory = Memory(INPUT, in_place=True)

    def __post_init__(self) -> None:
        self._finite(slope=self.slope)

    def at(self, x: float) -> float:
        return x if x > 0 else times(self.slope, x)

    def turns(self) -> tuple[float, ...]:
        return (0.0,)


@value
class PReLU(Elementwise):
    """x where positive, else a * x, with a learned slope for each channel or one `shared` by all (He et al. 2015)."""

    slope: float = 0.25
    shared: bool = False

    each = Operations(compare=1, multiply=1)

    def __post_init__(self) -> None:
        self._finite(slope=self.slope)

    def interval(self, *inputs: Interval) -> Interval:
        return inputs[0] if inputs[0].low >= 0 else Interval()

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (1,) if self.shared else inputs[0][:1]}

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.PReLU(1 if self.shared else inputs[0][0], self.slope)


@value
class ELU(Activation):
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""

    alpha: float = 1.0

    each = Operations(compare=1, multiply=1, add=1, exponential=1)
    memory = Memory(INPUT, in_place=True)

    def __post_init__(self) -> None:
        self._finite(alpha=self.alpha)

    def at(self, x: float) -> float:
        return x if x > 0 else self.alpha * expm1(x)

    def turns(self) -> tuple[float, ...]:
        return (0.0,)


@value
class Sigmoid(Activation):
    """1 / (1 + exp(-x))"""

    each = Operations(add=1, divide=1, exponential=1)
    memory = Memory(OUTPUT)

    def at(self, x: float) -> float:
        return _sigmoid(x)


@value
class Tanh(OfOneNumber):
    """amplitude * tanh(slope * x); LeNet-5 uses 1.7159 * tanh(2/3 x)."""

    amplitude: float = 1.0
    slope: float = 1.0

    each = Operations(add=2, divide=1, exponential=1)  # (e^2x - 1) / (e^2x + 1)

    def __post_init__(self) -> None:
        self._finite(amplitude=self.amplitude, slope=self.slope)

    def at(self, x: float) -> float:
        return self.amplitude * tanh(times(self.slope, x))

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        scaled = (self.amplitude != 1) + (self.slope != 1)
        return super().operations(inputs, output)._replace(multiply=scaled * elements(output))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return OUTPUT if self.amplitude == self.slope == 1 else Saved(own=(Extra(elements(output)),))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Tanh() if self.amplitude == self.slope == 1 else super().module(*inputs)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return self.amplitude * (self.slope * inputs[0]).tanh()


@value
class Swish(OfOneNumber):
    """x * sigmoid(beta * x) (Ramachandran et al. 2017); beta 1 is also called SiLU."""

    beta: float = 1.0

    each = Operations(multiply=1, add=1, divide=1, exponential=1)
    memory = Memory(INPUT, in_place=True, copies=True)

    def __post_init__(self) -> None:
        self._finite(beta=self.beta)
        if self.beta != 1:  # several steps
            object.__setattr__(self, "memory", Memory(INPUT))

    def at(self, x: float) -> float:
        return times(x, _sigmoid(times(self.beta, x)))

    def turns(self) -> tuple[float, ...]:
        return (-1.2784645427610738 / self.beta,) if self.beta else ()

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        operations = super().operations(inputs, output)
        return operations._replace(multiply=operations.multiply * (1 if self.beta == 1 else 2))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return INPUT if self.beta == 1 else Saved((0,), own=(Extra(elements(output)),))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.SiLU() if self.beta == 1 else super().module(*inputs)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0] * (self.beta * inputs[0]).sigmoid()


@value
class Erf(OfOneNumber):
    """The error function, twice the integral of exp(-t^2) / sqrt(pi) from 0 to x: of it others make their GELU."""

    each = Operations(exponential=1)
    values = Interval(-1.0, 1.0)

    def at(self, x: float) -> float:
        return erf(x)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return inputs[0].erf()


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Those of SELU (https://arxiv.org/abs/1706.02515, section 3)."""


@value
class SELU(Activation):
    """1.0507 * ELU with alpha 1.6733: keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    each = Operations(compare=1, multiply=2, add=1, exponential=1)
    memory = Memory(INPUT, in_place=True)

    def at(self, x: float) -> float:
        return SELU_SCALE * (x if x > 0 else SELU_ALPHA * expm1(x))


@value
class GELU(Activation):
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016); `tanh` is the usual approximation."""

    approximate: Literal["none", "tanh"] = "none"

    each = Operations(multiply=3, add=1, exponential=1)  # x * 0.5 * (1 + erf(x * sqrt(0.5)))

    def at(self, x: float) -> float:
        if self.approximate == "none":
            return times(x, 0.5 * erfc(-x / sqrt(2)))
        return times(x, _sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x * x * x)))

    def turns(self) -> tuple[float, ...]:
        return (-0.7517915246935645 if self.approximate == "none" else -0.7524614220710163,)


@value
class Hardsigmoid(Activation):
    """min(max(0, x + 3), 6) / 6 (Howard et al. 2019, section 5.2)."""

    each = Operations(add=1, compare=2, divide=1)
    memory = _IN_PLACE

    def at(self, x: float) -> float:
        return min(max(0.0, x + 3), 6.0) / 6


@value
class Hardswish(Activation):
    """x * min(max(0, x + 3), 6) / 6 (Howard et al. 2019, section 5.2)."""

    each = Operations(multiply=1, add=1, compare=2, divide=1)
    memory = _IN_PLACE

    def at(self, x: float) -> float:
        return times(x, min(max(0.0, x + 3), 6.0) / 6)

    def turns(self) -> tuple[float, ...]:
        return (-1.5,)


@value
class Hardtanh(Activation):
    """x, cut to the range from `least` to `most`."""

    least: float = -1.0
    most: float = 1.0

    each = Operations(compare=2)
    memory = _IN_PLACE

    def __post_init__(self) -> None:
        if not self.least <= self.most:
            raise UserError(f"Hardtanh: least must be at most most, got {self.least} and {self.most}")

    def at(self, x: float) -> float:
        return min(max(self.least, x), self.most)


@value
class Mish(Activation):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    each = Operations(multiply=1, add=3, divide=1, exponential=3)
    memory = _IN_PLACE

    def at(self, x: float) -> float:
        return times(x, tanh(_softplus(x)))

    def turns(self) -> tuple[float, ...]:
        return (-1.1924334138019765,)


@value
class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta: a smooth ReLU."""

    beta: float = 1.0

    each = Operations(multiply=1, add=1, divide=1, exponential=2)

    def __post_init__(self) -> None:
        self._finite(beta=self.beta)
        if not self.beta:
            raise UserError("Softplus: beta must not be 0")

    def at(self, x: float) -> float:
        return _softplus(times(self.beta, x)) / self.beta


@value
class LogSigmoid(Activation):
    """log(1 / (1 + exp(-x)))"""

    each = Operations(add=1, divide=1, exponential=2)

    def at(self, x: float) -> float:
        return -_softplus(-x)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output)),))


@value
class Softsign(Activation):
    """x / (1 + |x|)"""

    each = Operations(compare=1, add=1, divide=1)

    def at(self, x: float) -> float:
        return x / (1 + abs(x)) if abs(x) < inf else copysign(1.0, x)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output)),))
