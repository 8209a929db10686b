"""Layers that move elements: nothing is lost, nothing computed, and what has an inverse is undone by it."""

from __future__ import annotations

import itertools

import pytest
import torch

from cnnatomy import UserError
from cnnatomy.design import Chain, FeatureMap
from cnnatomy.layers import (
    ChannelShuffle,
    ChannelToSpace,
    Concat,
    Conv,
    Crop,
    Flatten,
    Layer,
    PadChannels,
    Reshape,
    Slice,
    SpaceToChannel,
    ZeroPad,
    split,
)
from helpers import assert_refused, built, run, trace

X = torch.arange(2 * 12 * 4 * 6).float().view(2, 12, 4, 6)


@pytest.mark.parametrize(
    "layer",
    [Reshape((6, 4, 12)), Reshape((-1,)), Flatten(), ChannelToSpace(2), SpaceToChannel(2), ChannelShuffle(3)],
    ids=repr,
)
def test_elements_are_only_moved(layer: Layer) -> None:
    y = run(layer, X)
    assert torch.equal(y.flatten(1).sort(1).values, X.flatten(1).sort(1).values)
    assert not any(layer.operations(((12, 4, 6),), layer.output_shape((12, 4, 6))))


@pytest.mark.parametrize(
    "there_and_back",
    [
        Chain(SpaceToChannel(2), ChannelToSpace(2)),
        Chain(ChannelToSpace(2), SpaceToChannel(2)),
        Chain(ChannelShuffle(3), ChannelShuffle(4)),  # 12 channels: the shuffle of the other factor
        Chain(Flatten(), Reshape((12, 4, 6))),
        Chain(ZeroPad((1, 2, 3, 4)), Crop((1, 2, 3, 4))),
        Chain(PadChannels(20), Slice(0, 12)),
    ],
    ids=repr,
)
def test_what_has_an_inverse_is_undone_by_it(there_and_back: Chain) -> None:
    assert torch.equal(run(there_and_back, X), X)


@pytest.mark.parametrize(("axis", "sections"), [(0, 1), (0, 3), (0, 12), (1, 2), (2, 3)])
def test_split_then_concatenate_is_the_identity(axis: int, sections: int) -> None:
    def describe(x: FeatureMap) -> FeatureMap:
        return Concat(axis)(*split(x, sections, axis))

    assert torch.equal(built(describe, (12, 4, 6))(X), X)


def test_split_parts_are_equal_and_in_order() -> None:
    parts = built(lambda x: tuple(split(x, 3)), (12, 4, 6))(X)
    assert all(torch.equal(part, theirs) for part, theirs in zip(parts, X.chunk(3, 1), strict=True))


def test_concatenation_is_torchs_along_every_axis() -> None:
    for axis in (0, 1, 2):
        assert torch.equal(run(Concat(axis), X, 2 * X), torch.cat([X, 2 * X], axis + 1))


def test_space_to_channel_moves_a_2x2_cell_into_four_channels() -> None:
    assert SpaceToChannel(2).output_shape((3, 8, 10)) == (12, 4, 5)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert run(SpaceToChannel(2), x).flatten().tolist() == [1, 2, 3, 4]


def test_a_subpixel_convolution_is_n_squared_filters_interleaved() -> None:
    """Output pixel (r, c) of a channel is filter (r mod n, c mod n) of it at (r / n, c / n)."""
    x, n = torch.randn(1, 3, 4, 5), 2
    module = built(Chain(conv=Conv(2 * n * n, 3, padding=1), up=ChannelToSpace(n)), (3, 4, 5))
    filtered, y = module.get_submodule("chain.conv")(x), module(x)
    assert y.shape == (1, 2, 4 * n, 5 * n)
    for channel, row, column in itertools.product(range(2), range(n), range(n)):
        torch.testing.assert_close(y[:, channel, row::n, column::n], filtered[:, channel * n * n + row * n + column])


def test_a_shuffle_deals_the_channels_of_each_group_to_all() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert run(ChannelShuffle(2), x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    reshaped = X.view(2, 3, 4, 4, 6).transpose(1, 2).flatten(1, 2)  # reshape, transpose, flatten
    assert torch.equal(run(ChannelShuffle(3), X), reshaped)


def test_two_grouped_convolutions_with_a_shuffle_between_see_all_inputs() -> None:
    def reads(*layers: Layer) -> int:
        x = torch.randn(1, 9, 1, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(built(Chain(*layers), (9, 1, 1))(x)[0, 0, 0, 0], x)
        return int((gradient != 0).sum())

    grouped = Conv(9, 1, groups=3)
    assert reads(grouped, grouped) == 3
    assert reads(grouped, ChannelShuffle(3), grouped) == 9


def test_padding_adds_zeros_where_it_says() -> None:
    y = run(ZeroPad((1, 2, 3, 4)), torch.ones(1, 1, 2, 2))
    assert y.shape == (1, 1, 5, 9)
    assert y.sum() == 4
    assert y[0, 0, 1:3, 3:5].sum() == 4


def test_cropping_cuts_where_it_says() -> None:
    assert torch.equal(run(Crop((1, 2, 3, 1)), X), X[:, :, 1:2, 3:5])
    assert torch.equal(run(Crop(1), X), X[:, :, 1:-1, 1:-1])
    assert torch.equal(run(Crop(0), X), X)


def test_new_channels_are_zeros_after_the_others() -> None:
    y = run(PadChannels(15), X)
    assert torch.equal(y[:, :12], X)
    assert (y[:, 12:] == 0).all()


def test_margins_that_are_equal_are_one_value() -> None:
    assert ZeroPad((1, 1, 1, 1)) == ZeroPad(1) == ZeroPad([1, 1])  # type: ignore[arg-type]
    assert Reshape([3, 4]) == Reshape((3, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (Concat(), ((64, 28, 28), (64, 14, 14)), ["Concat()", "64x28x28 and 64x14x14", "axis 0", "equal strides"]),
        (Concat(1), ((3, 4, 4), (3, 4, 5)), ["Concat(axis=1)", "along axis 1"]),
        (Concat(2), ((3,), (3,)), ["Concat(axis=2)"]),
        (Concat(), ((3, 4, 4), (3,)), ["Concat()"]),
        (Concat(), (), ["Concat()", "no input"]),
        (Reshape((5, -1)), ((3, 4, 4),), ["Reshape((5, -1))", "3x4x4", "48"]),
        (Reshape((5, 5)), ((3, 4, 4),), ["25", "48"]),
        (Slice(2, 5), ((4, 3, 3),), ["Slice(2, 5)", "4x3x3", "at least 5"]),
        (Slice(0, 2, axis=2), ((4,),), ["axis 2"]),
        (ChannelToSpace(2), ((6, 3, 3),), ["ChannelToSpace(2)", "6x3x3", "divide by 4"]),
        (SpaceToChannel(2), ((6, 3, 4),), ["SpaceToChannel(2)", "6x3x4", "pad or crop"]),
        (ChannelShuffle(4), ((6, 3, 3),), ["ChannelShuffle(4)", "4 groups"]),
        (Crop(2), ((6, 4, 9),), ["Crop(2)", "6x4x9"]),
        (ZeroPad(2), ((6,),), ["ZeroPad(2)", "one feature map"]),
        (PadChannels(4), ((6, 3, 3),), ["PadChannels(4)", "at most 4"]),
        (Flatten(), ((6,), (6,)), ["Flatten()", "one input"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(layer, shapes, words) -> None:
    assert_refused(layer, shapes, words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Reshape(()),
        lambda: Reshape((-1, -1)),
        lambda: Reshape((0, 3)),
        lambda: Reshape(("a",)),
        lambda: Reshape("ab"),
        lambda: Concat(3),
        lambda: Concat(-1),
        lambda: Concat("channels"),
        lambda: Slice(3, 3),
        lambda: Slice(-1, 3),
        lambda: Slice(0, 1.5),
        lambda: Slice(0, 1, axis=3),
        lambda: ChannelToSpace(0),
        lambda: SpaceToChannel((2, 2)),
        lambda: ChannelShuffle(0),
        lambda: ZeroPad(-1),
        lambda: ZeroPad("same"),
        lambda: Crop((1, 2, 3)),
        lambda: PadChannels(0),
        lambda: trace(lambda x: split(x, 5), (12, 4, 6)),
        lambda: trace(lambda x: split(x, 0), (12, 4, 6)),
        lambda: trace(lambda x: split(x, 2, axis=3), (12, 4, 6)),
        lambda: trace(lambda x: split(x, 2, axis=-1), (12, 4, 6)),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
