"""Layers that combine pixels: depthwise convolution, pooling, shift, rank filters."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cnnatomy import ShapeError, UserError
from cnnatomy.layers import (
    AvgPool,
    Conv,
    DepthwiseConv,
    GlobalAvgPool,
    Layer,
    MaxPool,
    MedianFilter,
    RankFilter,
    Shift,
    SpatialPyramidPool,
    Subsample,
)
from helpers import assert_refused, layer_module, learned, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def macs(layer: Layer, shape: tuple[int, ...]) -> int:
    return layer.operations((shape,), layer.output_shape(shape)).mac


def test_a_depthwise_convolution_filters_each_channel_by_itself() -> None:
    x, module = randn(2, 3, 6, 7), layer_module(DepthwiseConv(3, stride=2, padding=1), (3, 6, 7))
    channels = [
        functional.conv2d(x[:, c : c + 1], module.weight[c : c + 1], module.bias[c : c + 1], stride=2, padding=1)
        for c in range(3)
    ]
    torch.testing.assert_close(module(x), torch.cat(channels, 1))


def test_a_depthwise_convolution_is_a_fully_grouped_one_with_9c_weights() -> None:
    assert DepthwiseConv(3, bias=False).parameters((32, 9, 9)) == {"weight": (32, 1, 3, 3)}
    assert DepthwiseConv(3).parameters((32, 9, 9)) == Conv(32, 3, groups=32).parameters((32, 9, 9))
    assert DepthwiseConv(3, multiplier=2).output_shape((32, 9, 9)) == (64, 7, 7)


def test_a_depthwise_separable_convolution_costs_one_part_in_n_plus_one_in_9() -> None:
    shape = (32, 14, 14)
    separable = macs(DepthwiseConv(3, padding=1), shape) + macs(Conv(64, 1), shape)
    full = macs(Conv(64, 3, padding=1), shape)
    assert separable / full == pytest.approx(1 / 64 + 1 / 9)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "floor", "ceil"),
    [
        (112, 3, 2, 0, 55, 56),  # GoogLeNet's first pool needs ceil: 56
        (111, 3, 2, 0, 55, 55),  # SqueezeNet at 227
        (109, 3, 2, 0, 54, 54),  # SqueezeNet at 224 pixels
        (55, 3, 2, 0, 27, 27),  # AlexNet
        (55, 2, 2, 0, 27, 28),
        (112, 3, 2, 1, 56, 57),  # ResNet
        (7, 3, 3, 1, 3, 3),
        (2, 3, 2, 0, 0, 1),
        (4, 2, 3, 1, 2, 2),  # the third window would start in the padding after the map
    ],
)
def test_pools_round_down_or_up_as_torch_does(
    size: int, kernel: int, stride: int, padding: int, floor: int, ceil: int
) -> None:
    x = torch.randn(1, 1, size, size)
    for up, expected in ((False, floor), (True, ceil)):
        for kind in (MaxPool, AvgPool):
            layer = kind(kernel, stride, padding, ceil=up)
            if expected == 0:
                with pytest.raises(ShapeError):
                    layer.output_shape((1, size, size))
                continue
            assert layer.output_shape((1, size, size)) == (1, expected, expected)
            assert run(layer, x).shape[2:] == (expected, expected)


def test_pool_sizes_are_torchs_for_every_small_case() -> None:
    for size in range(1, 8):
        x = torch.zeros(1, 1, size, size)
        for kernel in (1, 2, 3, 5):
            for stride in (1, 2, 3):
                for padding in range(kernel // 2 + 1):
                    for ceil in (False, True):
                        try:
                            theirs = functional.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil).shape[2]
                        except RuntimeError:
                            theirs = 0
                        try:
                            ours = MaxPool(kernel, stride, padding, ceil=ceil).output_shape((1, size, size))[1]
                        except ShapeError:
                            ours = 0
                        assert ours == theirs, (size, kernel, stride, padding, ceil)


def test_overlapping_and_plain_pools_make_27_of_alexnets_55() -> None:
    assert MaxPool(3, 2).output_shape((96, 55, 55)) == (96, 27, 27)
    assert MaxPool(2).output_shape((96, 55, 55)) == (96, 27, 27)


def test_a_max_pool_is_the_maximum_of_each_window() -> None:
    x = randn(1, 2, 5, 6)
    windows = x.unfold(2, 3, 2).unfold(3, 3, 2)
    torch.testing.assert_close(run(MaxPool(3, 2), x), windows.amax((4, 5)))


def test_the_gradient_of_a_max_pool_goes_to_the_maximum() -> None:
    x = torch.tensor([[[[1.0, 4.0], [2.0, 3.0]]]]).requires_grad_()
    run(MaxPool(2), x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[[[0, 1], [0, 0]]]]


def test_an_average_pool_is_a_depthwise_convolution_with_a_constant() -> None:
    x = randn(2, 3, 7, 8)
    constant = torch.full((3, 1, 3, 3), 1 / 9, dtype=DOUBLE)
    weights = {"conv.weight": constant}
    same = run(DepthwiseConv(3, stride=2, padding=1, bias=False), x, weights=weights)
    torch.testing.assert_close(run(AvgPool(3, 2, padding=1), x), same)


def test_an_average_counts_padding_or_not() -> None:
    ones = torch.ones(1, 1, 4, 4)
    assert run(AvgPool(3, padding=1), ones)[0, 0, 0, 0] == pytest.approx(4 / 9)
    assert run(AvgPool(3, padding=1, count_padding=False), ones)[0, 0, 0, 0] == 1


def test_pooling_makes_a_shift_by_one_matter_less() -> None:
    x = functional.interpolate(randn(8, 4, 8, 8), scale_factor=4, mode="bilinear")
    shifted = torch.roll(x, 1, 3)

    def change(layer: Layer) -> float:
        before, after = run(layer, x), run(layer, shifted)
        return float((before - after)[..., 1:-1].norm() / before.norm())

    assert change(MaxPool(4)) < change(Subsample(4))
    assert change(AvgPool(4)) < change(Subsample(4))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (5, 12)])
def test_a_global_average_is_the_mean_whatever_the_size(size: tuple[int, int]) -> None:
    x = randn(2, 3, *size)
    torch.testing.assert_close(run(GlobalAvgPool(), x), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 7), (13, 10), (224, 224)])
def test_a_spatial_pyramid_gives_21_features_a_channel_for_any_size(size: tuple[int, int]) -> None:
    assert SpatialPyramidPool().output_shape((3, *size)) == (21 * 3,)
    assert run(SpatialPyramidPool(), torch.randn(1, 3, *size)).shape == (1, 63)


def test_a_spatial_pyramid_is_the_maxima_of_its_cells() -> None:
    x = randn(2, 3, 8, 12)
    parts = [x.amax((2, 3), keepdim=True), run(MaxPool((4, 6)), x), run(MaxPool((2, 3)), x)]
    expected = torch.cat([part.flatten(1) for part in parts], 1)
    torch.testing.assert_close(run(SpatialPyramidPool((1, 2, 4)), x), expected)


def test_a_shift_moves_each_channel_by_its_own_offset() -> None:
    x = randn(1, 10, 4, 5)  # nine offsets, and one channel left over, which stays
    y = run(Shift(3), x)
    for channel in range(9):
        down, right = 1 - channel // 3, 1 - channel % 3
        expected = torch.zeros(4, 5, dtype=DOUBLE)
        for r in range(4):
            for c in range(5):
                if 0 <= r - down < 4 and 0 <= c - right < 5:
                    expected[r, c] = x[0, channel, r - down, c - right]
        assert torch.equal(y[0, channel], expected)
    assert torch.equal(y[0, 9], x[0, 9])


def test_a_shift_costs_nothing() -> None:
    assert not any(Shift().operations(((18, 5, 5),), (18, 5, 5)))
    assert not learned(Shift().module((18, 5, 5)))


def test_nine_shifts_and_a_1x1_convolution_are_a_3x3_convolution() -> None:
    x, weight = randn(2, 3, 6, 7), randn(4, 3, 3, 3)
    copies = x.repeat(1, 9, 1, 1)  # each of the nine groups is all the channels
    mixed = weight.permute(0, 2, 3, 1).reshape(4, 27, 1, 1)
    y = run(Conv(4, 1, bias=False), run(Shift(3), copies), weights={"conv.weight": mixed})
    torch.testing.assert_close(y, functional.conv2d(x, weight, padding=1))


def test_a_median_removes_an_impulse_and_keeps_an_edge() -> None:
    clean = torch.zeros(1, 1, 9, 9)
    clean[..., 5:] = 1
    noisy = clean.clone()
    noisy[0, 0, 2, 2], noisy[0, 0, 6, 7] = 5, -5
    assert torch.equal(run(MedianFilter(3), noisy), clean)


def test_the_last_rank_is_the_maximum_and_the_first_the_minimum() -> None:
    x = randn(2, 3, 5, 6)
    repeated = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    assert torch.equal(run(RankFilter(3, rank=9), x), run(MaxPool(3, 1), repeated))
    assert torch.equal(run(RankFilter(3, rank=1), x), -run(MaxPool(3, 1), -repeated))
    assert MedianFilter(5) == RankFilter(5, rank=None)
    assert torch.equal(run(RankFilter(5), x), run(RankFilter(5, rank=13), x))


@pytest.mark.parametrize(
    "layer",
    [
        MaxPool(3, 2, 1),
        AvgPool(2, ceil=True),
        Shift(),
        RankFilter(),
        SpatialPyramidPool((1, 2)),
    ],
    ids=repr,
)
def test_gradients_are_those_of_finite_differences(layer: Layer) -> None:
    x = torch.randperm(9 * 5 * 4).double().view(1, 9, 5, 4).div(7).requires_grad_()  # no two alike, no ties
    assert torch.autograd.gradcheck(layer_module(layer, (9, 5, 4)), x)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (MaxPool(3), ((8, 2, 9),), ["MaxPool(3)", "8x2x9", "at least 3"]),
        (AvgPool(7), ((8, 6, 6),), ["AvgPool(7)", "8x6x6", "enlarge the input"]),
        (MaxPool(3), ((8,),), ["MaxPool(3)", "one feature map"]),
        (DepthwiseConv(5), ((8, 4, 9),), ["DepthwiseConv(5) got 8x4x9", "at least 5x5"]),
        (DepthwiseConv(5), ((8,),), ["DepthwiseConv(5) got 8", "one feature map"]),
        (GlobalAvgPool(), ((8,),), ["GlobalAvgPool()", "one feature map"]),
        (SpatialPyramidPool(), ((8, 3),), ["SpatialPyramidPool()", "8x3"]),
        (Shift(), ((8,),), ["Shift()"]),
        (RankFilter(), ((8,),), ["RankFilter()"]),
        (Subsample(2), ((8,),), ["Subsample(2)"]),
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
        lambda: MaxPool(0),
        lambda: MaxPool(2, 0),
        lambda: MaxPool(2, padding=2),
        lambda: MaxPool(2, padding=-1),
        lambda: MaxPool(2, padding="same"),
        lambda: DepthwiseConv(3, padding=-1),
        lambda: DepthwiseConv(3, padding="full"),
        lambda: DepthwiseConv(3, multiplier=0),
        lambda: SpatialPyramidPool(()),
        lambda: SpatialPyramidPool((0,)),
        lambda: SpatialPyramidPool(2),
        lambda: Shift(2),
        lambda: Shift((3, 5)),
        lambda: RankFilter(4),
        lambda: RankFilter(3, rank=10),
        lambda: RankFilter(3, rank=0),
        lambda: RankFilter((3, 5)),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
