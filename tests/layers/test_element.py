"""Nonlinearities against their formulas, scale and offset, and the arithmetic of two inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from cnnatomy import UserError
from cnnatomy.design import Chain
from cnnatomy.layers import (
    ELU,
    SELU,
    Add,
    Bias,
    Constant,
    Conv,
    FullyConnected,
    Layer,
    LeakyReLU,
    Maximum,
    Maxout,
    Multiply,
    Normalise,
    PixelScale,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from helpers import assert_refused, layer_module, run

DOUBLE = torch.float64
POINTS = torch.tensor([[-30.0, -6.5, -2.0, -1.0, -0.1, 0.1, 0.5, 1.0, 5.9, 6.1, 30.0]], dtype=DOUBLE)
ALPHA, LAMBDA = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, section 2

FORMULAS: list[tuple[Layer, Callable[[float], float]]] = [
    (ReLU(), lambda x: max(0, x)),
    (ReLU6(), lambda x: min(max(0, x), 6)),
    (LeakyReLU(), lambda x: x if x > 0 else 0.01 * x),
    (LeakyReLU(0.3), lambda x: x if x > 0 else 0.3 * x),
    (PReLU(), lambda x: x if x > 0 else 0.25 * x),
    (ELU(), lambda x: x if x > 0 else math.exp(x) - 1),
    (ELU(0.7), lambda x: x if x > 0 else 0.7 * (math.exp(x) - 1)),
    (SELU(), lambda x: LAMBDA * (x if x > 0 else ALPHA * (math.exp(x) - 1))),
    (Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    (Tanh(), math.tanh),
    (Tanh(1.7159, 2 / 3), lambda x: 1.7159 * math.tanh(2 / 3 * x)),
    (Swish(), lambda x: x / (1 + math.exp(-x))),
    (Swish(1.7), lambda x: x / (1 + math.exp(-1.7 * x))),
    (Constant(0.17), lambda x: 0.17 * x),
    (Scale(), lambda x: x),  # as they start
    (Bias(), lambda x: x),
]


@pytest.mark.parametrize(("layer", "formula"), FORMULAS, ids=[repr(layer) for layer, _ in FORMULAS])
def test_the_value_is_the_formula(layer: Layer, formula: Callable[[float], float]) -> None:
    expected = torch.tensor([[formula(x) for x in POINTS[0].tolist()]], dtype=DOUBLE)
    torch.testing.assert_close(run(layer, POINTS), expected)


@pytest.mark.parametrize("layer", [layer for layer, _ in FORMULAS] + [Softmax()], ids=repr)
def test_the_gradient_is_that_of_finite_differences(layer: Layer) -> None:
    x = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(layer_module(layer, tuple(POINTS.shape[1:])), x)


def test_the_slope_of_a_sigmoid_is_s_times_1_minus_s() -> None:
    x = POINTS.clone().requires_grad_()
    s = run(Sigmoid(), x)
    (gradient,) = torch.autograd.grad(s.sum(), x)
    torch.testing.assert_close(gradient, s * (1 - s))


def test_lenets_squash_maps_1_to_1() -> None:
    ones = torch.ones(1, 1, dtype=DOUBLE)
    assert run(Tanh(1.7159, 2 / 3), ones).item() == pytest.approx(1, abs=1e-4)


def test_a_prelu_with_slope_0_is_a_relu_and_its_slope_learns() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(run(PReLU(0.0), x), run(ReLU(), x))
    module = layer_module(PReLU(), (3, 4, 5), dtype=torch.float32)
    module(x).sum().backward()
    torch.testing.assert_close(module.weight.grad, x.clamp(max=0).sum((0, 2, 3)))


def test_selu_keeps_mean_0_and_variance_1_through_twenty_layers() -> None:
    """Weights of variance 1 / fan-in (Klambauer et al. 2017)."""
    torch.manual_seed(0)
    x = torch.randn(2000, 256)
    for _ in range(20):
        x = run(SELU(), x @ torch.randn(256, 256) / 16)
    assert x.mean().item() == pytest.approx(0, abs=0.1)
    assert x.var().item() == pytest.approx(1, abs=0.2)


def test_swish_tends_to_relu_as_beta_grows_and_to_half_x_as_it_vanishes() -> None:
    torch.testing.assert_close(run(Swish(1e6), POINTS), run(ReLU(), POINTS))
    torch.testing.assert_close(run(Swish(0.0), POINTS), POINTS / 2)


def test_maxout_is_the_maximum_of_consecutive_channels() -> None:
    x = torch.randn(2, 6, 3, 4)
    expected = torch.stack([x[:, :3].amax(1), x[:, 3:].amax(1)], 1)
    assert torch.equal(run(Maxout(3), x), expected)


def test_maxout_of_x_and_0_is_a_relu() -> None:
    x = torch.randn(2, 5)
    assert torch.equal(run(Maxout(2), torch.stack([x, torch.zeros_like(x)], 2).flatten(1)), run(ReLU(), x))


def test_maxout_after_a_linear_layer_is_the_maximum_of_linear_maps() -> None:
    module = layer_module(FullyConnected(6), (4,), dtype=DOUBLE)
    x = torch.randn(3, 4, dtype=DOUBLE)
    maps = zip(module.weight.split(3), module.bias.split(3), strict=True)
    expected = torch.stack([(x @ weight.T + bias).amax(1) for weight, bias in maps], 1)
    torch.testing.assert_close(run(Maxout(3), module(x)), expected)


def test_softmax_sums_to_1_and_keeps_the_largest() -> None:
    x = torch.randn(4, 10) * 3
    y = run(Softmax(), x)
    torch.testing.assert_close(y.sum(1), torch.ones(4))
    assert torch.equal(y.argmax(1), x.argmax(1))
    torch.testing.assert_close(y, x.exp() / x.exp().sum(1, keepdim=True))
    assert run(Softmax(), torch.tensor([[1e4, 0.0]])).tolist() == [[1, 0]]


def test_softmax_runs_along_the_axis_it_is_told() -> None:
    x = torch.randn(2, 3, 4, 5)
    for axis in (0, 1, 2):
        torch.testing.assert_close(run(Softmax(axis), x), x.softmax(axis + 1))


def test_scale_and_offset_act_on_each_channel() -> None:
    x, weight = torch.randn(2, 3, 4, 5), torch.tensor([2.0, -1.0, 0.5])
    column = weight[:, None, None]
    assert torch.equal(run(Scale(), x, weights={"scale.weight": weight}), x * column)
    assert torch.equal(run(Bias(), x, weights={"bias.bias": weight}), x + column)


def test_normalise_gives_mean_0_and_standard_deviation_1() -> None:
    x = 3 * torch.randn(5, 2, 8, 8, dtype=DOUBLE) + torch.tensor([4.0, -7.0], dtype=DOUBLE)[:, None, None]
    std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    y = run(Normalise(tuple(mean.tolist()), tuple(std.tolist())), x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(2, dtype=DOUBLE))
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(2, dtype=DOUBLE))


def test_a_pixel_scale_starts_at_1_and_weights_every_channel_alike() -> None:
    x = torch.randn(2, 4, 2, 3, dtype=DOUBLE)
    torch.testing.assert_close(run(PixelScale(), x), x)
    weights = torch.arange(6.0, dtype=DOUBLE)
    torch.testing.assert_close(run(PixelScale(), x, weights={"pixelscale.weight": weights}), x * weights.view(2, 3))


def test_scale_and_offset_fold_into_a_convolution() -> None:
    x, scale, offset = torch.randn(2, 3, 5, 5), torch.randn(4), torch.randn(4)
    conv = layer_module(Conv(4, 3), (3, 5, 5), dtype=torch.float32)
    weights = {"conv.weight": conv.weight, "conv.bias": conv.bias, "scale.weight": scale, "offset.bias": offset}
    separate = run(
        Chain(conv=Conv(4, 3), scale=Scale(), offset=Bias()),
        x,
        weights={f"chain.{name}": weight for name, weight in weights.items()},
    )
    folded = {"conv.weight": conv.weight * scale[:, None, None, None], "conv.bias": conv.bias * scale + offset}
    torch.testing.assert_close(run(Conv(4, 3), x, weights=folded), separate)


def test_add_maximum_and_multiply_are_what_they_say() -> None:
    a, b, c = torch.randn(3, 2, 3, 4, 5)
    assert torch.equal(run(Add(), a, b), a + b)
    assert torch.equal(run(Add(), a, b, c), a + b + c)
    assert torch.equal(run(Multiply(), a, b), a * b)
    assert torch.equal(run(Maximum(), a, b, c), torch.maximum(a, b).maximum(c))


def test_the_gradient_of_a_maximum_goes_to_the_larger_input() -> None:
    a, b = torch.tensor([[1.0, 5.0]]).requires_grad_(), torch.tensor([[3.0, 2.0]]).requires_grad_()
    run(Maximum(), a, b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.tolist(), b.grad.tolist()) == ([[0, 1]], [[1, 0]])


def test_a_gate_of_one_number_a_channel_multiplies_the_whole_map() -> None:
    x, gate = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 1, 1)
    assert torch.equal(run(Multiply(), x, gate), x * gate)
    assert torch.equal(run(Multiply(), gate, x), x * gate)


def test_relu_keeps_the_gradient_of_a_deep_network_alive_where_sigmoid_kills_it() -> None:
    """Why ReLU (Krizhevsky et al. 2012, section 3.1): the first layer's gradient through ten layers."""

    def first_gradient(nonlinearity: Layer) -> float:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(64, 64) for _ in range(10)]
        x = torch.randn(32, 64)
        for layer in layers:
            torch.nn.init.kaiming_normal_(layer.weight)
            x = run(nonlinearity, layer(x))
        x.square().mean().backward()
        gradient = layers[0].weight.grad
        assert gradient is not None
        return float(gradient.norm())

    assert first_gradient(ReLU()) > 100 * first_gradient(Sigmoid())


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (Add(), ((64, 56, 56), (64, 28, 28)), ["Add()", "64x56x56 and 64x28x28", "one shape", "1x1 convolution"]),
        (Add(), ((64, 56, 56),), ["Add()", "two or more inputs"]),
        (Maximum(), ((3,), (4,)), ["Maximum()", "3 and 4"]),
        (Multiply(), ((3, 4, 4), (3, 2, 2)), ["Multiply()", "3x4x4 and 3x2x2", "equal or 1"]),
        (Multiply(), ((3, 4, 4), (3,)), ["Multiply()", "equally many axes"]),
        (Multiply(), ((3,),), ["Multiply()", "two inputs"]),
        (ReLU(), ((3,), (3,)), ["ReLU()", "one input"]),
        (Maxout(3), ((4, 2, 2),), ["Maxout(pieces=3)", "4x2x2", "divide by 3"]),
        (Softmax(2), ((4,),), ["Softmax(axis=2)", "axis 2"]),
        (Scale(), ((3,), (3,)), ["Scale()", "one input"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(layer, shapes, words) -> None:
    assert_refused(layer, shapes, words)


@pytest.mark.parametrize("wrong", [lambda: Maxout(0), lambda: Maxout((2, 3)), lambda: Maxout(2.0), lambda: Add()()])
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
