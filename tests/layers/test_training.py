"""Layers that are there for training: what they do in training, and what is left of them in evaluation."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.nn import functional

from cnnatomy import UserError
from cnnatomy.layers import BatchNorm, Dropout, GroupNorm, Layer, LayerNorm
from helpers import assert_refused, layer_module, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def test_batch_norm_is_the_formula_with_the_biased_variance_in_training() -> None:
    """Ioffe and Szegedy 2015, algorithm 1."""
    x, module = 3 * randn(8, 4, 5, 6) + 2, layer_module(BatchNorm(1e-3), (4, 5, 6)).train()
    with torch.no_grad():
        module.weight.copy_(randn(4))
        module.bias.copy_(randn(4))
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    normalised = (x - mean) / (variance + 1e-3).sqrt()
    torch.testing.assert_close(module(x), normalised * module.weight[:, None, None] + module.bias[:, None, None])


@pytest.mark.parametrize("shape", [(4, 5, 6), (4,)])
def test_batch_norm_gives_every_channel_mean_0_and_variance_1(shape: tuple[int, ...]) -> None:
    y = layer_module(BatchNorm(), shape).train()(3 * randn(64, *shape) + 2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(y.mean(1), torch.zeros(4, dtype=DOUBLE), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(4, dtype=DOUBLE), atol=1e-3, rtol=0)


def test_batch_norm_uses_running_statistics_in_evaluation() -> None:
    x, module = randn(8, 4, 5, 6), layer_module(BatchNorm(momentum=0.3), (4, 5, 6))
    for _ in range(3):
        module.train()(randn(8, 4, 5, 6) * 2 + 1)
    before = module.running_mean.clone()
    y = module.eval()(x)
    column = module.running_var[:, None, None]
    torch.testing.assert_close(y, (x - before[:, None, None]) / (column + 1e-5).sqrt())
    assert torch.equal(module.running_mean, before)


def test_batch_norm_moves_its_statistics_by_the_momentum() -> None:
    x, module = randn(8, 4, 5, 6), layer_module(BatchNorm(momentum=0.3), (4, 5, 6)).train()
    module(x)
    torch.testing.assert_close(module.running_mean, 0.3 * x.mean((0, 2, 3)))
    torch.testing.assert_close(module.running_var, 0.7 + 0.3 * x.var((0, 2, 3)))  # the unbiased one is stored


def test_batch_norm_is_noise_in_training_and_none_in_evaluation() -> None:
    """The same image in two batches: different in training, equal in evaluation."""
    x, first, second = randn(1, 4, 5, 6), randn(7, 4, 5, 6), randn(7, 4, 5, 6)
    module = layer_module(BatchNorm(), (4, 5, 6))
    module.train()
    assert not torch.allclose(module(torch.cat([x, first]))[0], module(torch.cat([x, second]))[0])
    module.eval()
    assert torch.equal(module(torch.cat([x, first]))[0], module(torch.cat([x, second]))[0])


def test_batch_norm_in_evaluation_is_one_scale_and_one_offset() -> None:
    module = layer_module(BatchNorm(), (4, 5, 6))
    module.train()(randn(8, 4, 5, 6))
    module.eval()
    scale = module.weight / (module.running_var + 1e-5).sqrt()
    offset = module.bias - module.running_mean * scale
    x = randn(2, 4, 5, 6)
    torch.testing.assert_close(module(x), x * scale[:, None, None] + offset[:, None, None])
    n = 4 * 5 * 6
    operations = BatchNorm().operations(((4, 5, 6),), (4, 5, 6))
    assert (operations.multiply, operations.add, sum(operations)) == (n, n, 2 * n)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3,)])
def test_batch_norm_has_two_parameters_and_two_buffers_a_channel(shape: tuple[int, ...]) -> None:
    assert BatchNorm().parameters(shape) == {"weight": (3,), "bias": (3,)}
    assert BatchNorm().buffers(shape) == {"running_mean": (3,), "running_var": (3,)}
    assert BatchNorm(affine=False).parameters(shape) == {}


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(2)], ids=repr)
def test_gradients_are_those_of_finite_differences(layer: Layer) -> None:
    module = layer_module(layer, (4, 2, 3)).train()
    assert torch.autograd.gradcheck(module, randn(3, 4, 2, 3).requires_grad_())


def test_group_norm_is_the_formula() -> None:
    x = 3 * randn(2, 6, 4, 5) + 1
    groups = x.view(2, 3, -1)
    mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, correction=0)
    expected = ((groups - mean) / (variance + 1e-5).sqrt()).view_as(x)
    torch.testing.assert_close(run(GroupNorm(3), x), expected)


def test_group_norm_counts_mean_deviation_root_and_scale_of_each_group() -> None:
    """6x4x5 in three groups of 40 numbers, step by step."""
    n, groups = 6 * 4 * 5, 3
    means = {"add": n, "divide": groups}
    variances = {"add": n + n, "multiply": n, "divide": groups}  # less the mean, squared, summed, divided
    roots = {"add": groups, "exponential": groups}  # sqrt(variance + epsilon)
    scaled = {"divide": n, "multiply": n, "add": n}
    total = sum((Counter(step) for step in (means, variances, roots, scaled)), Counter())
    shape = (6, 4, 5)
    assert Counter(GroupNorm(3).operations((shape,), shape)._asdict()) + Counter() == total
    assert GroupNorm(1).operations((shape,), shape) == LayerNorm(3).operations((shape,), shape)


def test_group_norm_does_not_look_at_other_images() -> None:
    x, module = randn(5, 6, 4, 5), layer_module(GroupNorm(3), (6, 4, 5))
    for mode in (True, False):
        module.train(mode)
        torch.testing.assert_close(module(x)[2:3], module(x[2:3]))


def test_group_norm_with_one_group_is_layer_norm_and_with_one_a_channel_instance_norm() -> None:
    x = randn(2, 6, 4, 5)
    torch.testing.assert_close(run(GroupNorm(1), x), functional.layer_norm(x, (6, 4, 5)))
    torch.testing.assert_close(run(GroupNorm(6), x), functional.instance_norm(x))


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.5])
def test_dropout_keeps_the_mean_and_zeroes_its_share(rate: float) -> None:
    torch.manual_seed(0)
    y = layer_module(Dropout(rate), (1000,)).train()(torch.ones(100, 1000, dtype=DOUBLE))
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert (y == 0).double().mean().item() == pytest.approx(rate, abs=0.01)
    assert y.max().item() == pytest.approx(1 / (1 - rate))


def test_dropout_in_evaluation_is_the_identity() -> None:
    x = randn(2, 6, 4, 5)
    assert torch.equal(run(Dropout(0.9), x), x)


def test_dropout_draws_again_every_time() -> None:
    module, x = layer_module(Dropout(), (100,)).train(), torch.ones(1, 100, dtype=DOUBLE)
    assert not torch.equal(module(x), module(x))


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (BatchNorm(), ((5, 4),), ["BatchNorm()", "5x4", "feature map or vector"]),
        (BatchNorm(), ((5,), (5,)), ["BatchNorm()"]),
        (GroupNorm(4), ((6, 3, 3),), ["GroupNorm(4)", "6x3x3", "4 groups"]),
        (GroupNorm(6), ((6, 1, 1),), ["GroupNorm(6)", "6x1x1", "two values"]),
        (Dropout(), ((6,), (6,)), ["Dropout()", "one input"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(layer, shapes, words) -> None:
    assert_refused(layer, shapes, words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Dropout(1),
        lambda: Dropout(-0.1),
        lambda: Dropout("half"),
        lambda: GroupNorm(0),
        lambda: GroupNorm(1.0),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
