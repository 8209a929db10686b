"""Convolutions in all their forms, against explicit loops and the identities of the lectures."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from cnnatomy import UserError
from cnnatomy.design import Deformable, NonLocal
from cnnatomy.layers import Conv, DeformableConv, MajorityVote, MatMul, PartialConv, TransposedConv
from cnnatomy.layers.layer import pair
from helpers import assert_refused, built, layer_module, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def by_loops(layer: Conv, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolution as the lectures define it: a sum over channels and window, one output at a time."""
    images, channels, rows, columns = x.shape
    out_channels, out_rows, out_columns = layer.output_shape((channels, rows, columns))
    top, _, left, _ = layer._sides(rows, columns)
    (stride, across), (dilate, dilate_across) = pair(layer.stride), pair(layer.dilation)
    each, group_inputs = out_channels // layer.groups, channels // layer.groups
    y = x.new_zeros(images, out_channels, out_rows, out_columns)
    for n, o, r, c in itertools.product(*map(range, y.shape)):
        first = o // each * group_inputs
        for i, fr, fc in itertools.product(*map(range, weight.shape[1:])):
            row, column = r * stride - top + fr * dilate, c * across - left + fc * dilate_across
            if 0 <= row < rows and 0 <= column < columns:
                y[n, o, r, c] += weight[o, i, fr, fc] * x[n, first + i, row, column]
    return y if bias is None else y + bias[:, None, None]


def test_every_pixel_has_one_vote() -> None:
    x = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    x[0, 2, 0, 0] = x[0, 2, 0, 1] = x[0, 2, 1, 0] = 1.0
    x[0, 1, 1, 1] = 99.0  # how sure a pixel is does not count
    assert run(MajorityVote(), x).tolist() == [[0.0, 0.25, 0.75]]


def test_votes_pass_the_gradient_of_mean_softmax() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, dtype=torch.float64)
    (through,) = torch.autograd.grad((run(MajorityVote(), x) * weights).sum(), x)
    (soft,) = torch.autograd.grad((x.softmax(1).mean((2, 3)) * weights).sum(), x)
    torch.testing.assert_close(through, soft)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        Conv(4, 3),
        Conv(4, (2, 3), stride=(2, 1), padding=(1, 2)),
        Conv(4, 3, dilation=(2, 1), padding=1, groups=2),
        Conv(2, 3, padding=(0, 2, 1, 0), stride=2, groups=2, bias=False),
        Conv(4, 4, padding="same", stride=(1, 2)),
        Conv(8, 3, groups=4),
    ],
    ids=repr,
)
def test_a_convolution_equals_an_explicit_loop(layer: Conv) -> None:
    x = randn(2, 4, 6, 7)
    module = layer_module(layer, (4, 6, 7))
    expected = by_loops(layer, x, module.weight, getattr(module, "bias", None))
    torch.testing.assert_close(module(x), expected)


def test_a_convolution_is_a_matrix_product_with_the_unrolled_input() -> None:
    """Filter matrix No x (Ni*Fr*Fc) times Toeplitz style input matrix (Ni*Fr*Fc) x (Mr*Mc), plus bias."""
    x, module = randn(1, 3, 6, 5), layer_module(Conv(4, (3, 2), padding=1), (3, 6, 5))
    columns = functional.unfold(x, (3, 2), padding=1)
    filters = module.weight.flatten(1)
    assert filters.shape == (4, 3 * 3 * 2)
    assert columns.shape == (1, 3 * 3 * 2, 6 * 6)
    torch.testing.assert_close((filters @ columns + module.bias[:, None]).view(1, 4, 6, 6), module(x))


def test_a_convolution_is_a_sparse_matrix_whose_transpose_is_the_input_gradient() -> None:
    module = layer_module(Conv(2, 3, stride=2, padding=1, bias=False), (2, 5, 4))
    units = torch.eye(2 * 5 * 4, dtype=DOUBLE).view(-1, 2, 5, 4)
    matrix = module(units).flatten(1).T  # column i is the response to pixel i
    x = randn(1, 2, 5, 4).requires_grad_()
    y = module(x)
    torch.testing.assert_close(matrix @ x.flatten(), y.flatten())
    upstream = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(matrix.T @ upstream.flatten(), gradient.flatten())
    assert (matrix == 0).double().mean() > 0.5


def test_a_dilated_convolution_equals_one_with_a_zero_stuffed_filter() -> None:
    x, dilated = randn(1, 2, 12, 13), layer_module(Conv(3, 3, dilation=(2, 3)), (2, 12, 13))
    stuffed = layer_module(Conv(3, (5, 7)), (2, 12, 13))  # d * (F - 1) + 1
    with torch.no_grad():
        stuffed.weight.zero_()
        stuffed.weight[:, :, ::2, ::3] = dilated.weight
        stuffed.bias.copy_(dilated.bias)
    torch.testing.assert_close(dilated(x), stuffed(x))


def test_a_strided_convolution_keeps_every_sth_output() -> None:
    x, strided = randn(1, 3, 11, 10), layer_module(Conv(4, 3, stride=(2, 3), padding=1), (3, 11, 10))
    dense = layer_module(Conv(4, 3, padding=1), (3, 11, 10))
    dense.load_state_dict(strided.state_dict())
    torch.testing.assert_close(strided(x), dense(x)[:, :, ::2, ::3])


def test_asymmetric_padding_pads_as_it_says() -> None:
    """AlexNet's (1, 2) padding: 224 pixels, an 11x11 window of stride 4, 55 positions."""
    assert Conv(96, 11, stride=4, padding=(1, 2, 1, 2)).output_shape((3, 224, 224)) == (96, 55, 55)
    x, module = randn(1, 2, 5, 6), layer_module(Conv(3, 3, padding=(1, 2, 0, 3)), (2, 5, 6))
    padded = functional.pad(x, (0, 3, 1, 2))
    torch.testing.assert_close(module(x), functional.conv2d(padded, module.weight, module.bias))


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_leaves_size_over_stride_rounded_up(size: int, kernel: int, stride: int) -> None:
    shape = Conv(1, kernel, stride, padding="same").output_shape((1, size, size + 1))
    assert shape == (1, -(-size // stride), -(-(size + 1) // stride))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_is_torchs_at_stride_1() -> None:
    x, module = randn(1, 2, 6, 7), layer_module(Conv(3, (4, 2), dilation=(1, 3), padding="same"), (2, 6, 7))
    theirs = functional.conv2d(x, module.weight, module.bias, padding="same", dilation=(1, 3))
    torch.testing.assert_close(module(x), theirs)


def test_equal_paddings_are_one_value() -> None:
    same = {Conv(4, 3, padding=p) for p in (1, (1, 1), (1, 1, 1, 1), [1, 1])}
    assert same == {Conv(4, 3, padding=1)}
    assert Conv(4, 3, padding="valid") == Conv(4, (3, 3), stride=(1, 1))
    assert Conv(4, 3, padding=(1, 1, 2, 2)) == Conv(4, 3, padding=(1, 2))


def test_the_bias_gradient_is_the_sum_of_the_output_gradient() -> None:
    x, module = randn(2, 3, 5, 5), layer_module(Conv(4, 3), (3, 5, 5))
    y = module(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    torch.testing.assert_close(module.bias.grad, upstream.sum((0, 2, 3)))


def test_shifting_the_input_shifts_the_output() -> None:
    x, module = randn(1, 2, 9, 9), layer_module(Conv(3, 3), (2, 9, 9))
    shifted = torch.roll(x, (1, 2), (2, 3))
    torch.testing.assert_close(module(shifted)[:, :, 1:, 2:], module(x)[:, :, :-1, :-2])


def test_a_grouped_convolution_is_its_groups_side_by_side() -> None:
    x, module = randn(1, 6, 5, 5), layer_module(Conv(4, 3, groups=2), (6, 5, 5))
    parts = zip(x.chunk(2, 1), module.weight.chunk(2), module.bias.chunk(2), strict=True)
    torch.testing.assert_close(module(x), torch.cat([functional.conv2d(*part) for part in parts], 1))


def test_alexnets_second_convolution_has_307200_weights_in_two_groups() -> None:
    assert Conv(256, 5, padding=2, groups=2).parameters((96, 27, 27))["weight"] == (256, 48, 5, 5)
    assert 256 * 48 * 5 * 5 == 307_200


def test_a_1x1_convolution_is_a_matrix_product_at_every_pixel() -> None:
    x, module = randn(2, 5, 3, 4), layer_module(Conv(7, 1), (5, 3, 4))
    expected = torch.einsum("oi,nirc->norc", module.weight[:, :, 0, 0], x) + module.bias[:, None, None]
    torch.testing.assert_close(module(x), expected)


def test_two_1x1_convolutions_are_a_perceptron_applied_to_every_pixel() -> None:
    x = randn(1, 3, 2, 4)
    first, second = layer_module(Conv(5, 1), (3, 2, 4)), layer_module(Conv(2, 1), (5, 2, 4))
    pixels = x.permute(0, 2, 3, 1)
    hidden = functional.linear(pixels, first.weight[:, :, 0, 0], first.bias).relu()
    out = functional.linear(hidden, second.weight[:, :, 0, 0], second.bias)
    torch.testing.assert_close(second(first(x).relu()), out.permute(0, 3, 1, 2))


def test_reducing_by_1x1_before_a_5x5_saves_nine_tenths_of_the_products() -> None:
    """Lecture 004: 192 maps of 28x28 to 32 by 5x5, directly or through 16 maps."""

    def macs(layer: Conv, channels: int) -> int:
        shape = (channels, 28, 28)
        return layer.operations((shape,), layer.output_shape(shape)).mac

    direct = macs(Conv(32, 5, padding=2), 192)
    reduced = macs(Conv(16, 1), 192) + macs(Conv(32, 5, padding=2), 16)
    assert (direct, reduced) == (120_422_400, 12_443_648)


def test_1x7_and_7x1_have_14_weights_for_the_49_of_a_7x7() -> None:
    def weights(layer: Conv) -> int:
        return torch.Size(layer.parameters((8, 9, 9))["weight"]).numel()

    assert weights(Conv(8, (1, 7))) + weights(Conv(8, (7, 1))) == 14 * 8 * 8
    assert weights(Conv(8, 7)) == 49 * 8 * 8


def test_a_kernel_of_rank_1_is_a_column_filter_after_a_row_filter() -> None:
    x, column, row = randn(1, 1, 8, 9), randn(1, 1, 5, 1), randn(1, 1, 1, 3)
    full = run(Conv(1, (5, 3), bias=False), x, weights={"conv.weight": column @ row})
    rows = run(Conv(1, (1, 3), bias=False), x, weights={"conv.weight": row})
    torch.testing.assert_close(run(Conv(1, (5, 1), bias=False), rows, weights={"conv.weight": column}), full)


def test_convolution_gradients_are_those_of_finite_differences() -> None:
    module = layer_module(Conv(2, 3, stride=2, padding=(1, 0, 1, 1)), (2, 5, 4))
    assert torch.autograd.gradcheck(module, randn(1, 2, 5, 4).requires_grad_())


@pytest.mark.parametrize(
    "layer",
    [TransposedConv(3, 3, 2, bias=False), TransposedConv(4, (3, 2), (2, 1), (1, 0), groups=2, bias=False)],
    ids=repr,
)
def test_a_transposed_convolution_is_the_gradient_of_a_convolution(layer: TransposedConv) -> None:
    module = layer_module(layer, (2, 4, 5))
    y = randn(1, 2, 4, 5)
    x = torch.zeros_like(module(y)).requires_grad_()
    conv = functional.conv2d(x, module.weight, None, pair(layer.stride), pair(layer.padding), groups=layer.groups)
    (gradient,) = torch.autograd.grad(conv, x, y)
    torch.testing.assert_close(module(y), gradient)


def test_a_transposed_convolution_turns_2x2_into_4x4() -> None:
    layer = TransposedConv(1, 3, bias=False)
    assert layer.output_shape((1, 2, 2)) == (1, 4, 4)
    units = torch.eye(16, dtype=DOUBLE).view(16, 1, 4, 4)
    module = layer_module(layer, (1, 2, 2))
    matrix = functional.conv2d(units, module.weight).flatten(1).T  # 4 x 16: the ordinary convolution
    x = randn(1, 1, 2, 2)
    torch.testing.assert_close(module(x).flatten(), matrix.T @ x.flatten())


def test_a_fractional_stride_is_a_convolution_of_the_zero_stuffed_input() -> None:
    x, module = randn(1, 2, 3, 4), layer_module(TransposedConv(3, 3, stride=2, bias=False), (2, 3, 4))
    stuffed = x.new_zeros(1, 2, 5, 7)
    stuffed[:, :, ::2, ::2] = x
    turned = module.weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(module(x), functional.conv2d(stuffed, turned, padding=2))


def test_a_transposed_convolution_of_kernel_3_and_stride_2_leaves_a_checkerboard() -> None:
    ones = torch.ones(1, 1, 6, 6, dtype=DOUBLE)
    weights = {"deconv.weight": torch.ones(1, 1, 3, 3)}
    uneven = run(TransposedConv(1, 3, stride=2, bias=False), ones, weights=weights)[0, 0, 2:-2, 2:-2]
    assert set(uneven.unique().tolist()) == {1.0, 2.0, 4.0}
    enlarged = functional.interpolate(ones, scale_factor=2)
    even = run(Conv(1, 3, bias=False), enlarged, weights={"conv.weight": torch.ones(1, 1, 3, 3)})
    assert even.unique().tolist() == [9.0]
    weights = {"deconv.weight": torch.ones(1, 1, 4, 4)}
    divisible = run(TransposedConv(1, 4, stride=2, bias=False), ones, weights=weights)[0, 0, 2:-2, 2:-2]
    assert divisible.unique().tolist() == [4.0]  # the kernel is a multiple of the stride


def zero_offsets(layer: DeformableConv, shape: tuple[int, int, int]) -> torch.Tensor:
    kernel = pair(layer.kernel)
    return torch.zeros(1, 2 * kernel[0] * kernel[1], *layer._plain().output_shape(shape)[1:], dtype=DOUBLE)


@pytest.mark.parametrize(
    "layer",
    [
        DeformableConv(4, 3, padding=1),
        DeformableConv(4, (2, 3), stride=(2, 1), padding=(0, 1), bias=False),
        DeformableConv(4, 3, stride=2, dilation=(2, 1), padding=2),
        DeformableConv(4, 1),
    ],
    ids=repr,
)
def test_a_deformable_convolution_without_offsets_is_a_convolution(layer: DeformableConv) -> None:
    x, offsets = randn(1, 3, 7, 8), zero_offsets(layer, (3, 7, 8))
    module = layer_module(layer, (3, 7, 8), tuple(offsets.shape[1:]))
    plain = layer_module(layer._plain(), (3, 7, 8))
    plain.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(x, offsets), plain(x))


def test_whole_offsets_sample_that_many_pixels_away() -> None:
    """The second of nine samples, one row up and two columns right, is a convolution with its weight moved there."""
    layer = DeformableConv(2, 3, padding=1, bias=False)
    x, offsets = randn(1, 3, 9, 9), zero_offsets(layer, (3, 9, 9))
    offsets[:, 2], offsets[:, 3] = -1, 2  # sample 1, at (row -1, column 0) of the window
    module = layer_module(layer, (3, 9, 9), (18, 9, 9))
    moved = x.new_zeros(2, 3, 5, 5)
    moved[:, :, 1:4, 1:4] = module.weight
    moved[:, :, 1, 2] = 0
    moved[:, :, 0, 4] += module.weight[:, :, 0, 1]
    torch.testing.assert_close(module(x, offsets), functional.conv2d(x, moved, padding=2))


def test_half_offsets_sample_the_mean_of_two_pixels() -> None:
    layer = DeformableConv(1, 1, bias=False)
    x = randn(1, 1, 4, 5)
    module = layer_module(layer, (1, 4, 5), (2, 4, 5))
    offsets = torch.zeros(1, 2, 4, 5, dtype=DOUBLE)
    offsets[:, 1] = 0.5
    means = (x[..., :-1] + x[..., 1:]) / 2 * module.weight
    torch.testing.assert_close(module(x, offsets)[..., :-1], means)


def test_offsets_receive_a_gradient() -> None:
    layer = DeformableConv(2, 3, padding=1)
    module = layer_module(layer, (2, 4, 5), (18, 4, 5))
    x, offsets = (
        randn(1, 2, 4, 5).requires_grad_(),
        (0.3 + 0.2 * torch.rand(1, 18, 4, 5, dtype=DOUBLE)).requires_grad_(),
    )
    assert torch.autograd.gradcheck(module, (x, offsets))
    module(x, offsets).sum().backward()
    assert offsets.grad is not None
    assert (offsets.grad != 0).all(dim=(2, 3)).any()


def test_the_deformable_block_learns_its_offsets_from_its_input() -> None:
    x = randn(1, 3, 6, 7)
    zero = {"deformable.conv.weight": torch.zeros(18, 3, 3, 3), "deformable.conv.bias": torch.zeros(18)}
    module = built(Deformable(4, stride=2), (3, 6, 7)).double()
    with torch.no_grad():
        for name, weight in zero.items():
            module.get_parameter(name).copy_(weight)
    weights = dict(module.named_parameters())
    weight, bias = weights["deformable.deformableconv.weight"], weights["deformable.deformableconv.bias"]
    y = module(x)
    torch.testing.assert_close(y, functional.conv2d(x, weight, bias, stride=2, padding=1))
    y.square().sum().backward()
    gradient = weights["deformable.conv.bias"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_every_pixel_of_a_non_local_block_depends_on_every_pixel() -> None:
    module, x = built(NonLocal(), (4, 3, 4)).double(), randn(1, 4, 3, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0, :, 0, 0].sum(), x)
    assert (gradient.abs().sum(1) > 0).all()


def test_a_non_local_block_whose_last_convolution_is_zero_is_the_identity() -> None:
    x = randn(2, 4, 3, 5)
    last = {"attention.conv4.weight": torch.zeros(4, 2, 1, 1), "attention.conv4.bias": torch.zeros(4)}
    assert torch.equal(run(NonLocal(), x, weights=last), x)


def test_a_non_local_block_is_the_formula_of_the_paper() -> None:
    """y = x + W_z softmax(theta^T phi) g, over all pixels (Wang et al. 2018, embedded Gaussian)."""
    module, x = built(NonLocal(), (4, 3, 2)).double(), randn(1, 4, 3, 2)
    convs = [module.get_submodule(f"attention.conv{i}") for i in (1, 2, 3, 4)]
    theta, phi, g = (conv(x).flatten(2)[0] for conv in convs[:3])
    expected = torch.zeros(2, 6, dtype=DOUBLE)
    for i in range(6):
        likeness = torch.stack([theta[:, i] @ phi[:, j] for j in range(6)]).exp()
        expected[:, i] = sum(likeness[j] / likeness.sum() * g[:, j] for j in range(6))
    torch.testing.assert_close(module(x), x + convs[3](expected.view(1, 2, 3, 2)))


def test_a_partial_convolution_reads_only_the_maps_of_its_table() -> None:
    table = ((0, 2), (1,), (3, 0, 2), (2,), (3, 1))
    layer = PartialConv(table, (3, 2))
    module, x = layer_module(layer, (4, 6, 6)), randn(2, 4, 6, 6).requires_grad_()
    y = module(x)
    for output, reads in enumerate(table):
        (gradient,) = torch.autograd.grad(y[:, output].sum(), x, retain_graph=True)
        assert set(gradient.abs().sum((0, 2, 3)).nonzero().flatten().tolist()) == set(reads)


def test_a_partial_convolution_is_a_full_one_with_zeros() -> None:
    table = ((0, 2), (1,), (3, 0, 2), (2,), (3, 1))
    module, x = layer_module(PartialConv(table, 3), (4, 6, 6)), randn(2, 4, 6, 6)
    full = torch.zeros(5, 4, 3, 3, dtype=DOUBLE)
    seen = {1: 0, 2: 0, 3: 0}
    for output, reads in enumerate(table):
        weight = module.get_parameter(f"weight{len(reads)}")[seen[len(reads)]]
        seen[len(reads)] += 1
        full[output, list(reads)] = weight
    torch.testing.assert_close(module(x), functional.conv2d(x, full, module.bias))


def test_a_matrix_product_is_torchs() -> None:
    a, b = randn(2, 3, 4), randn(2, 5, 4)
    torch.testing.assert_close(run(MatMul(transpose_second=True), a, b), a @ b.mT)
    torch.testing.assert_close(run(MatMul(transpose_first=True), a, a), a.mT @ a)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (Conv(64, 7), ((3, 5, 9),), ["Conv(64, 7)", "3x5x9", "at least 7x7"]),
        (Conv(64, 3, groups=4), ((6, 9, 9),), ["groups=4", "6x9x9", "divide into 4 groups"]),
        (Conv(64, 3), ((3, 9),), ["Conv(64, 3)", "3x9", "one feature map"]),
        (Conv(64, 3), ((3, 9, 9), (3, 9, 9)), ["3x9x9 and 3x9x9", "one feature map"]),
        (Conv(64, 3, dilation=4), ((3, 8, 8),), ["at least 9x9"]),
        (TransposedConv(4, 1, padding=3), ((3, 2, 2),), ["TransposedConv", "3x2x2", "smaller padding"]),
        (TransposedConv(4, 3, groups=2), ((3, 2, 2),), ["TransposedConv", "2 groups"]),
        (DeformableConv(4, 3), ((3, 9, 9),), ["DeformableConv(4, 3)", "two inputs"]),
        (DeformableConv(4, 3), ((3, 9, 9), (18, 9, 9)), ["DeformableConv(4, 3)", "18x7x7"]),
        (DeformableConv(4, 3), ((3, 2, 2), (18, 1, 1)), ["DeformableConv(4, 3)", "at least 3x3"]),
        (PartialConv(((0,), (5,)), 3), ((3, 9, 9),), ["PartialConv", "3x9x9", "at least 6 channels"]),
        (PartialConv(((0,),), 5), ((3, 4, 9),), ["PartialConv", "at least 5x5"]),
        (MatMul(), ((3, 4), (3, 4)), ["MatMul()", "3x4 and 3x4", "inner sizes"]),
        (MatMul(), ((3, 4),), ["MatMul()", "two matrices"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(
    layer: Conv, shapes: tuple[tuple[int, ...]], words: list[str]
) -> None:
    assert_refused(layer, shapes, words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Conv(0, 3),
        lambda: Conv(64, 0),
        lambda: Conv(64, 3, stride=0),
        lambda: Conv(64, 3, padding=-1),
        lambda: Conv(64, 3, padding="full"),
        lambda: Conv(64, 3, padding=(1, 2, 3)),
        lambda: Conv(64, 3, groups=3),
        lambda: Conv(64, (3, 3, 3)),
        lambda: Conv(64, 2.5),
        lambda: Conv("64", 3),
        lambda: Conv(64, True),
        lambda: TransposedConv(4, 3, output_padding=1),
        lambda: TransposedConv(4, 3, stride=(2, 1), output_padding=1),
        lambda: TransposedConv(4, 3, padding="same"),
        lambda: TransposedConv(4, 3, padding=-1),
        lambda: TransposedConv(5, 3, groups=2),
        lambda: DeformableConv(4, 3, padding="same"),
        lambda: DeformableConv(0, 3),
        lambda: PartialConv((), 3),
        lambda: PartialConv(((0,), ()), 3),
        lambda: PartialConv(((-1,),), 3),
        lambda: Conv(4, 3)(),
        lambda: Conv(4, 3)(torch.zeros(1, 3, 9, 9)),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
