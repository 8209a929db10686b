"""Activations of one's own: what they say of themselves is compared with what their modules compute."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import cnnatomy as cn
from cnnatomy.errors import UserError
from cnnatomy.layers import ELU, GELU, LAYERS, Conv, Layer, Mish, Swish, Tanh
from cnnatomy.layers.activation import Activation, OfOneNumber
from cnnatomy.layers.checking import check_activation
from cnnatomy.layers.layer import value
from layer_examples import EXAMPLES

OURS = [layer for layer in dict.fromkeys(example.layer for example in EXAMPLES) if isinstance(layer, OfOneNumber)]


def test_every_activation_of_one_number_is_tried() -> None:
    assert {type(layer) for layer in OURS} == {kind for kind in LAYERS if issubclass(kind, OfOneNumber)}


MORE = [ELU(0.3), GELU("tanh"), Mish(), Swish(1.7), Swish(-2.0), Tanh(1.7159, 2 / 3), Tanh(-1.0)]


@pytest.mark.parametrize("layer", [*OURS, *MORE], ids=repr)
def test_ours_are_what_they_say(layer: OfOneNumber) -> None:
    check_activation(layer)


@value
class Bump(Activation):
    """exp(-x^2)"""

    module = Layer.module

    def compute(self, x: Any) -> Any:  # type: ignore[override]
        return torch.exp(-x * x)

    def at(self, x: float) -> float:
        return math.exp(-x * x)

    def turns(self) -> tuple[float, ...]:
        return (0.0,)


@value
class ValueElsewhere(Bump):
    def at(self, x: float) -> float:
        return math.exp(-x * x) + (0.01 if 2 < x < 3 else 0)


@value
class NoTurn(Bump):
    def turns(self) -> tuple[float, ...]:
        return ()


@value
class TurnElsewhere(Bump):
    def turns(self) -> tuple[float, ...]:
        return (0.5,)


@value
class NoLimit(Activation):
    module = Layer.module

    def compute(self, x: Any) -> Any:  # type: ignore[override]
        return x * torch.sigmoid(x)

    def at(self, x: float) -> float:
        return x * (1 / (1 + math.exp(-x)) if x > -700 else 0)

    def turns(self) -> tuple[float, ...]:
        return (-1.2784645427610738,)


@value
class Fails(Bump):
    def at(self, x: float) -> float:
        return math.log(x)


@value
class Cubic(Activation):
    """torch has no module of this name, and none is said."""

    def at(self, x: float) -> float:
        return x**3


class StraightThrough(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (x.sign() - x).detach()


@value
class Step(Activation):
    """The sign, with the gradient of x."""

    def at(self, x: float) -> float:
        return math.copysign(1.0, x)

    def module(self, *inputs: Any) -> torch.nn.Module:
        return StraightThrough()


WRONG = [
    (ValueElsewhere(), r"ValueElsewhere\(\): at\(2\.\d+\) is 0\.0\d+, its module gives 0\.0\d+"),
    (NoTurn(), r"NoTurn\(\): it rises from -.* and falls from .*: `turns` must name where it turns, and names none"),
    (TurnElsewhere(), r"TurnElsewhere\(\): it rises from .* and falls from .* and names 0.5"),
    (NoLimit(), r"NoLimit\(\): `at` of an infinite number is the limit, not nan"),
    (Fails(), r"Fails\(\) failed: ValueError"),
    (Cubic(), r"Cubic: torch.nn has no module of this name: say `module = Layer.module` in Cubic, and write `compute`"),
]


@pytest.mark.parametrize(("layer", "message"), WRONG, ids=[type(layer).__name__ for layer, _ in WRONG])
def test_what_is_wrong_is_noticed_when_the_network_is_built(layer: OfOneNumber, message: str) -> None:
    network = cn.Network(Conv(4, 3), layer, Conv(2, 1), input=(3, 8, 8))
    with pytest.raises(UserError, match=rf"body.*: {message}"):
        network.build()
    with pytest.raises(UserError, match=message):
        check_activation(layer)


def test_one_of_ones_own_is_built() -> None:
    check_activation(Bump())
    network = cn.Network(Conv(4, 3), Bump(), Conv(2, 1), input=(3, 8, 8))
    assert network.build()(torch.rand(1, 3, 8, 8)).shape == (1, 2, 6, 6)


def test_a_gradient_that_is_not_that_of_finite_differences_is_noticed_where_it_is_asked_for() -> None:
    check_activation(Step(), gradient=False)
    with pytest.raises(UserError, match=r"the gradient of its module is 1, finite differences of `at` give 0"):
        check_activation(Step())
