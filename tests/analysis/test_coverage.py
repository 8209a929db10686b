"""The positions that a run of layers reads are those that gradients say, and the holes those that papers describe."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain, Parallel, Residual, ShapeError
from cnnatomy.analysis.coverage import Coverage, Reads, coverages, gaps, repeated
from cnnatomy.design import Block, SqueezeExcitation
from cnnatomy.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Crop,
    DepthwiseConv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Interpolate,
    Layer,
    ReLU,
    Shift,
    TransposedConv,
    ZeroPad,
)
from helpers import built, trace
from random_designs import branches_of

SHAPE = (1, 61, 64)


def reads(describe: Layer | Block, shape: tuple[int, ...], axis: int, output: int) -> list[int]:
    """The rows (axis 0) or columns (1) that an output row or column reads, by gradients with all weights 1."""
    module = built(describe, shape).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x)[0].sum((0, 2 - axis))[output], x)
    positions: list[int] = (gradient[0].abs().sum((0, 2 - axis)) > 0).nonzero().flatten().tolist()
    return positions


def predicted(describe: Layer | Block, shape: tuple[int, ...] = SHAPE) -> Coverage:
    graph = trace(describe, shape)
    coverage = coverages(graph)[graph.outputs[0]]
    assert coverage
    return coverage


MIX = Conv(2, 1, bias=False)
kernels = st.integers(1, 4) | st.tuples(st.integers(1, 3), st.integers(1, 3))
dilations = st.integers(1, 4) | st.tuples(st.integers(1, 5), st.integers(1, 3))
margins = st.integers(0, 3) | st.tuples(*[st.integers(0, 3)] * 4)
windowed = st.one_of(
    st.builds(Conv, st.integers(1, 3), kernels, st.just(1), margins, dilations),
    st.builds(DepthwiseConv, kernels, st.just(1), margins, dilations),
    st.builds(TransposedConv, st.integers(1, 2), kernels, dilation=dilations),
    st.builds(ZeroPad, margins),
    st.sampled_from([AvgPool(3, 1, 1), AvgPool(2, 1), BatchNorm(), Chain(Conv(9, 1), Shift(3), MIX)]),
)


@st.composite
def same_size(draw: st.DrawFn) -> Layer:
    """Layers that keep the size, so that branches of them meet; not all are centred."""
    kernel = draw(st.sampled_from([1, 2, 3, (1, 3), (5, 1)]))
    skewed = Conv(2, 3, padding=(2, 0, 0, 2))
    return draw(st.sampled_from([Conv(2, kernel, padding="same", dilation=draw(dilations)), skewed, AvgPool(3, 1, 1)]))


branching = branches_of(same_size(), Conv(2, 3, padding=3, dilation=3), 5)
first = st.lists(st.builds(Crop, margins), max_size=1)


@pytest.mark.slow
@settings(max_examples=150)
@given(first, st.lists(windowed | branching, min_size=1, max_size=4))
def test_an_element_reads_the_positions_that_gradients_say(before: Any, layers: Any) -> None:
    design = Chain(*before, *layers)
    try:
        shape = trace(design, SHAPE).outputs[0].shape
    except ShapeError:
        assume(False)
    coverage = predicted(design)
    for axis, expected in enumerate(coverage):
        output = shape[axis + 1] // 2
        positions = [output + offset for offset in expected.offsets]
        margin = 5  # what is cropped, and then may be padded with zeros
        assume(positions[0] >= margin)
        assume(positions[-1] < SHAPE[axis + 1] - margin)
        assert positions == reads(design, SHAPE, axis, output)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 9), st.integers(1, 9))
def test_what_is_always_padding_is_not_read(size: int, kernel: int, padding: int, dilation: int) -> None:
    design = Conv(1, kernel, padding=padding, dilation=dilation)
    try:
        outputs = trace(design, (1, size, size)).outputs[0].shape[1]
    except ShapeError:
        assume(False)
    found = {q - p for p in range(outputs) for q in reads(design, (1, size, size), 0, p)}
    assume(found)
    assert predicted(design, (1, size, size)).rows.offsets == sorted(found)


def dilated(*rates: int, kernel: int = 3) -> list[Layer]:
    return [Conv(4, kernel, padding="same", dilation=rate) for rate in rates]


@pytest.mark.parametrize(
    ("rates", "read", "span"),
    [
        ((1, 1, 1), 7, 7),
        ((2, 2, 2), 7, 13),  # Wang et al. 2018, figure 2: the grid
        ((1, 2, 3), 13, 13),  # and what they recommend
        ((1, 2, 5), 17, 17),
        ((1, 2, 9), 21, 25),  # and what they do not, because M2 = 5 > 3
        ((5, 2, 1), 17, 17),
        ((1, 2), 7, 7),
        ((2,), 3, 5),
        ((2, 4), 7, 13),
        ((1, 2, 4, 8, 16), 63, 63),  # Yu and Koltun 2016, section 3: exponentially many, none left out
    ],
)
def test_the_rates_of_hybrid_dilated_convolution(rates: tuple[int, ...], read: int, span: int) -> None:
    coverage = predicted(Chain(*dilated(*rates)), (4, 99, 99))
    assert coverage.rows == coverage.columns
    assert (coverage.rows.read, coverage.rows.span) == (read, span)
    assert coverage.unread == 1 - read**2 / span**2


def found(*parts: Layer | Block) -> list[tuple[str, float]]:
    """The gaps of a chain: the paths, and the shares that are not read."""
    graph = trace(Chain(*parts), (4, 40, 40))
    return [(gap.node.path.removeprefix("chain."), gap.coverage.unread) for gap in gaps(graph)]


def test_three_3x3_of_dilation_2_leave_71_percent_unread() -> None:
    assert found(*dilated(2, 2, 2), BatchNorm(), ReLU()) == [("conv3", 1 - 49 / 169)]


def test_holes_that_a_later_layer_fills_are_none() -> None:
    assert found(*dilated(5, 2, 1)) == []
    assert found(*dilated(1, 2, 2)) == []
    assert found(*dilated(2), Conv(4, 3, stride=2, padding=1)) == []
    assert found(*dilated(2), Conv(4, 1, stride=2)) == [("conv1", 1 - 9 / 25)]
    assert found(Residual(*dilated(2, 2)), Conv(4, 2)) == []


def test_dilation_within_residual_blocks_stays_on_its_grid() -> None:
    ((path, unread),) = found(*[Residual(*dilated(2, 2)) for _ in range(3)])
    assert path == "residual3.add"
    assert unread == 1 - 13**2 / 25**2


def test_parallel_rates_leave_less_out_than_one() -> None:
    """Atrous spatial pyramid pooling (Chen et al. 2017) after a convolution of one, or of no, 3x3 before it."""
    pyramid = Parallel(*[Chain(*dilated(rate)) for rate in (1, 2, 3)], Chain(GlobalAvgPool(), Interpolate(40)))
    assert found(pyramid) == []
    wide = Parallel(*[Chain(*dilated(rate)) for rate in (6, 12, 18)], Conv(4, 1))
    ((path, unread),) = found(wide)
    assert path == "parallel.concat"
    assert unread == 1 - 7**2 / 37**2
    assert found(*dilated(1, 1), wide) == [("parallel.concat", 1 - 35**2 / 41**2)]


def test_a_gate_fills_no_hole_and_ends_no_run() -> None:
    assert found(*dilated(2), SqueezeExcitation(2), *dilated(1)) == []
    assert [unread for _, unread in found(*dilated(2), SqueezeExcitation(2))] == [1 - 9 / 25]


def test_a_run_begins_anew_where_the_resolution_changes() -> None:
    assert found(*dilated(1, 1), Conv(4, 3, stride=2, padding=1), *dilated(2)) == [("conv4", 1 - 9 / 25)]
    assert found(*dilated(2), GlobalAvgPool(), Flatten(), FullyConnected(3)) == [("conv", 1 - 9 / 25)]


def test_dilation_beyond_the_map_reads_one_position() -> None:
    """Where a 3x3 of rate 40 stands on 40 rows, only its middle is ever inside (Chen et al. 2017, figure 4)."""
    assert predicted(Conv(4, 3, padding=40, dilation=40), (4, 40, 40)) == Coverage()
    assert predicted(Conv(4, 3, padding=39, dilation=39), (4, 40, 40)).rows == Reads(-39, 1 << 78 | 1 << 39 | 1)


@pytest.mark.slow
def test_no_network_of_the_catalogue_has_gaps() -> None:
    assert [entry.name for entry in cn.ENTRIES if gaps(cn.network(entry.name).account().graph)] == []


@given(st.integers(0, 2**12), st.integers(0, 40), st.integers(1, 9))
def test_bits_are_repeated(mask: int, times: int, step: int) -> None:
    expected = 0
    for i in range(times):
        expected |= mask << i * step
    assert repeated(mask, times, step) == expected


def test_a_kernel_of_a_million_pixels_is_followed() -> None:
    reads = Reads().through(1_000_000, 500_000, 1, 1_000_000, 1_000_001)
    assert (reads.span, reads.read) == (1_000_000, 1_000_000)
