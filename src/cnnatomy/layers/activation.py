"""More nonlinearities, under the names that torch gives them: what networks since 2017 use beside ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cnnatomy.layers.element import Elementwise
from cnnatomy.layers.layer import Operations, Shape, elements, value
from cnnatomy.layers.memory import INPUT, Extra, Memory, Saved

_IN_PLACE = Memory(INPUT, in_place=True, copies=True)


@value
class SELU(Elementwise):
    """1.0507 * ELU with alpha 1.6733: keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    each = Operations(compare=1, multiply=2, add=1, exponential=1)
    memory = Memory(INPUT, in_place=True)


@value
class GELU(Elementwise):
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016); `tanh` is the usual approximation."""

    approximate: Literal["none", "tanh"] = "none"

    each = Operations(multiply=3, add=1, exponential=1)  # x * 0.5 * (1 + erf(x * sqrt(0.5)))


@value
class Hardsigmoid(Elementwise):
    """min(max(0, x + 3), 6) / 6 (Howard et al. 2019, section 5.2)."""

    each = Operations(add=1, compare=2, divide=1)
    memory = _IN_PLACE


@value
class Hardswish(Elementwise):
    """x * min(max(0, x + 3), 6) / 6 (Howard et al. 2019, section 5.2)."""

    each = Operations(multiply=1, add=1, compare=2, divide=1)
    memory = _IN_PLACE


@value
class Hardtanh(Elementwise):
    """x, cut to the range from `least` to `most`."""

    least: float = -1.0
    most: float = 1.0

    each = Operations(compare=2)
    memory = _IN_PLACE


@value
class Mish(Elementwise):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    each = Operations(multiply=1, add=3, divide=1, exponential=3)
    memory = _IN_PLACE


@value
class Softplus(Elementwise):
    """log(1 + exp(beta * x)) / beta: a smooth ReLU."""

    beta: float = 1.0

    each = Operations(multiply=1, add=1, divide=1, exponential=2)


@value
class LogSigmoid(Elementwise):
    """log(1 / (1 + exp(-x)))"""

    each = Operations(add=1, divide=1, exponential=2)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output)),))


@value
class Softsign(Elementwise):
    """x / (1 + |x|)"""

    each = Operations(compare=1, add=1, divide=1)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(elements(output)),))
