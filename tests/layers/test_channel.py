"""Layers that combine channels: fully connected, local response normalisation, distances to codes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cnnatomy import UserError
from cnnatomy.design import SqueezeExcitation
from cnnatomy.layers import ArgMax, Conv, FullyConnected, GroupMaximum, Layer, LocalResponseNorm, RadialBasis
from helpers import assert_refused, built, layer_module, learned, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def test_a_fully_connected_layer_is_wx_plus_b() -> None:
    x, module = randn(3, 5), layer_module(FullyConnected(4), (5,))
    expected = torch.stack([module.weight @ vector + module.bias for vector in x])
    torch.testing.assert_close(module(x), expected)
    assert torch.autograd.gradcheck(module, x.requires_grad_())


def test_a_batch_of_vectors_is_one_matrix_product() -> None:
    x, module = randn(6, 5), layer_module(FullyConnected(4), (5,))
    one_by_one = torch.cat([module(vector[None]) for vector in x])
    torch.testing.assert_close(module(x), one_by_one)


def test_a_fully_connected_layer_is_a_1x1_convolution_of_a_1x1_map() -> None:
    x, module = randn(2, 5), layer_module(FullyConnected(4), (5,))
    weights = {"conv.weight": module.weight[:, :, None, None], "conv.bias": module.bias}
    torch.testing.assert_close(run(Conv(4, 1), x[:, :, None, None], weights=weights)[:, :, 0, 0], module(x))


def test_a_fully_connected_layer_on_a_map_is_a_convolution_as_large_as_the_map() -> None:
    x, module = randn(2, 3, 4, 5), layer_module(FullyConnected(7), (60,))
    weights = {"conv.weight": module.weight.view(7, 3, 4, 5), "conv.bias": module.bias}
    torch.testing.assert_close(run(Conv(7, (4, 5)), x, weights=weights).flatten(1), module(x.flatten(1)))


def test_vgg_16_has_102764544_parameters_in_fc6() -> None:
    weight, bias = FullyConnected(4096).parameters((512 * 7 * 7,)).values()
    assert weight[0] * weight[1] + bias[0] == 102_764_544


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalisation_is_the_formula(size: int) -> None:
    """Section 3.3 of the AlexNet paper; alpha is divided by the size, as in Caffe and torch."""
    layer = LocalResponseNorm(size, alpha=0.1, beta=0.75, k=2.0)
    x, expected = randn(2, 7, 2, 3), torch.zeros(2, 7, 2, 3, dtype=DOUBLE)
    for channel in range(7):
        near = x[:, max(0, channel - size // 2) : channel + size // 2 + 1]
        expected[:, channel] = x[:, channel] / (2.0 + 0.1 / size * near.square().sum(1)) ** 0.75
    module = layer_module(layer, (7, 2, 3))
    torch.testing.assert_close(module(x), expected)
    assert not learned(module)


def test_a_code_output_is_minus_the_squared_distance_to_each_code() -> None:
    codes = ((1.0, -1.0, 1.0), (-1.0, -1.0, 1.0), (0.5, 0.0, 2.0))
    x = randn(4, 3)
    distances = (x[:, None] - torch.tensor(codes, dtype=DOUBLE)).square().sum(2)
    module = layer_module(RadialBasis(codes), (3,))
    torch.testing.assert_close(module(x), -distances)
    assert module(torch.tensor(codes, dtype=DOUBLE)).argmax(1).tolist() == [0, 1, 2]


def test_squeeze_and_excitation_is_the_formula() -> None:
    x, module = randn(2, 8, 3, 5), built(SqueezeExcitation(4), (8, 3, 5)).double()
    first, second = module.get_submodule("se.conv1"), module.get_submodule("se.conv2")
    squeezed = x.mean((2, 3))
    hidden = functional.linear(squeezed, first.weight[:, :, 0, 0], first.bias).relu()
    gate = functional.linear(hidden, second.weight[:, :, 0, 0], second.bias).sigmoid()
    assert hidden.shape == (2, 2)
    torch.testing.assert_close(module(x), x * gate[:, :, None, None])


def test_squeeze_and_excitation_depends_on_the_whole_map() -> None:
    module, x = built(SqueezeExcitation(2), (4, 3, 4)).double(), randn(1, 4, 3, 4).requires_grad_()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight"):
                parameter.abs_()  # no dead ReLU
    (gradient,) = torch.autograd.grad(module(x.abs())[0, 0, 0, 0], x)
    assert (gradient[0].abs().sum(0) > 0).all()


def test_squeeze_and_excitation_with_the_gate_at_1_changes_nothing() -> None:
    x = randn(2, 8, 3, 5)
    weights = {"se.conv2.weight": torch.zeros(8, 2, 1, 1), "se.conv2.bias": torch.full((8,), 1e3)}
    assert torch.equal(run(SqueezeExcitation(4), x, weights=weights), x)


def test_arg_max_is_the_number_of_the_largest_feature_or_channel() -> None:
    assert run(ArgMax(), torch.tensor([[0.1, 3.0, -5.0], [2.0, 0.0, 1.0]])).tolist() == [[1], [0]]
    x = randn(2, 5, 3, 4)
    labels = run(ArgMax(), x)
    assert labels.shape == (2, 1, 3, 4)
    torch.testing.assert_close(x.gather(1, labels)[:, 0], x.amax(1))


def test_a_group_is_as_large_as_its_largest_member() -> None:
    x = torch.tensor([[1.0, 5.0, 2.0, -1.0]])
    assert run(GroupMaximum((0, 1, 0, 2)), x).tolist() == [[2.0, 5.0, -1.0]]


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (FullyConnected(10), ((512, 7, 7),), ["FullyConnected(10)", "512x7x7", "Flatten()", "GlobalAvgPool()"]),
        (FullyConnected(10), ((5,), (5,)), ["5 and 5", "one vector"]),
        (LocalResponseNorm(), ((5,),), ["LocalResponseNorm()", "one feature map"]),
        (RadialBasis(((1.0, 2.0),)), ((3,),), ["RadialBasis", "one vector of 2 features"]),
        (GroupMaximum((0, 1, 1)), ((4,),), ["GroupMaximum", "one vector of 3 features"]),
        (ArgMax(), ((4,), (4,)), ["ArgMax()", "one input"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(
    layer: Layer, shapes: tuple[tuple[int, ...]], words: list[str]
) -> None:
    assert_refused(layer, shapes, words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FullyConnected(0),
        lambda: FullyConnected(1.5),
        lambda: FullyConnected((3, 4)),
        lambda: LocalResponseNorm(0),
        lambda: LocalResponseNorm((3, 5)),
        lambda: RadialBasis(()),
        lambda: RadialBasis(((1.0,), (1.0, 2.0))),
        lambda: RadialBasis(((),)),
        lambda: GroupMaximum(()),
        lambda: GroupMaximum((0, 2)),
        lambda: GroupMaximum((1, 2)),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
