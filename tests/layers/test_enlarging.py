"""Layers that enlarge the map: interpolation and unpooling."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cnnatomy import ShapeError, UserError
from cnnatomy.layers import ArgMaxPool, BedOfNails, Interpolate, Layer, MaxPool, MaxUnpool, Subsample
from helpers import layer_module, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def test_nearest_neighbour_repeats_values() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert run(Interpolate(2), x)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize("scale", [2, 3, (2, 4)])
def test_bilinear_interpolation_reproduces_linear_ramps(scale: int | tuple[int, int]) -> None:
    rows, columns = (scale, scale) if isinstance(scale, int) else scale

    def ramp(r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (3 * r[:, None] - 2 * c + 1)[None, None]

    x = ramp(torch.arange(6, dtype=DOUBLE), torch.arange(7, dtype=DOUBLE))
    fine = [(torch.arange(n * s, dtype=DOUBLE) + 0.5) / s - 0.5 for n, s in ((6, rows), (7, columns))]
    inner = (..., slice(rows, -rows), slice(columns, -columns))  # outside the outermost pixels' middles it is flat
    torch.testing.assert_close(run(Interpolate(scale, "bilinear"), x)[inner], ramp(*fine)[inner])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_interpolation_is_torchs(mode: str) -> None:
    x = randn(2, 3, 4, 5)
    expected = functional.interpolate(x, scale_factor=(2.0, 3.0), mode=mode)
    torch.testing.assert_close(run(Interpolate((2, 3), mode), x), expected)  # type: ignore[arg-type]


def test_a_bed_of_nails_puts_each_value_in_the_corner_of_its_cell() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert run(BedOfNails(2), x)[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_subsampling_undoes_a_bed_of_nails() -> None:
    x = randn(2, 3, 4, 5)
    assert torch.equal(run(Subsample((2, 3)), run(BedOfNails((2, 3)), x)), x)


def test_max_unpooling_puts_values_back_where_the_maxima_were() -> None:
    x = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    pooled, where = run(MaxPool(2), x), run(ArgMaxPool(2), x)
    unpooled = run(MaxUnpool(2), pooled, where)
    assert unpooled[0, 0].tolist() == [[0, 0, 6, 0], [0, 5, 0, 0], [0, 0, 0, 0], [7, 0, 0, 8]]


@pytest.mark.parametrize("size", [(8, 8), (9, 11)])
def test_pooling_what_was_unpooled_gives_the_pooled_map(size: tuple[int, int]) -> None:
    x = randn(2, 3, *size).abs()
    pooled, where = run(MaxPool(2), x), run(ArgMaxPool(2), x)
    unpooled = run(MaxUnpool(2, size=size), pooled, where)
    assert unpooled.shape == x.shape
    assert torch.equal(run(MaxPool(2), unpooled), pooled)


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(1, 2, 5, 4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(layer_module(Interpolate(2, "bilinear"), (2, 5, 4)), x)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (MaxUnpool(2), ((8, 4, 4),), ["MaxUnpool(2)", "two inputs"]),
        (MaxUnpool(2), ((8, 4, 4), (8, 4, 5)), ["MaxUnpool(2)", "8x4x4 and 8x4x5"]),
        (MaxUnpool(2, size=(10, 9)), ((8, 4, 4), (8, 4, 4)), ["MaxUnpool", "(8, 8)"]),
        (Interpolate(2), ((8,),), ["Interpolate(2)"]),
        (BedOfNails(2), ((8,),), ["BedOfNails(2)"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_shape_that_does_not_fit_is_one_message(
    layer: Layer, shapes: tuple[tuple[int, ...]], words: list[str]
) -> None:
    with pytest.raises(ShapeError) as caught:
        layer.output_shape(*shapes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Interpolate(0),
        lambda: Interpolate(2, "cubic"),
        lambda: BedOfNails(0),
        lambda: MaxUnpool(2, size=0),
        lambda: MaxUnpool(0),
    ],
)
def test_a_wrong_argument_is_the_users_error(wrong) -> None:
    with pytest.raises(UserError):
        wrong()
