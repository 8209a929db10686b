"""The receptive field is what gradients say it is, and what the lectures and published tables say of known networks."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, note, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain, ShapeError
from cnnatomy.analysis import ReceptiveField, lecture_rule, receptive_fields
from cnnatomy.analysis.receptive_field import smallest_path
from cnnatomy.design import Block, FeatureMap, NonLocal, SqueezeExcitation
from cnnatomy.layers import (
    Add,
    AvgPool,
    BedOfNails,
    ChannelToSpace,
    Conv,
    Crop,
    DeformableConv,
    DepthwiseConv,
    GlobalAvgPool,
    Interpolate,
    Layer,
    MaxPool,
    Multiply,
    RankFilter,
    Shift,
    Slice,
    SpaceToChannel,
    Subsample,
    TransposedConv,
    ZeroPad,
)
from helpers import built, trace
from random_designs import branches_of


def predicted(describe: Layer | Block, shape: tuple[int, ...]) -> ReceptiveField:
    graph = trace(describe, shape)
    return receptive_fields(graph)[graph.outputs[0]]


SHAPE = (1, 46, 55)


def ran_on_ones(describe: Any, shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    """An image and what becomes of it, in double precision, for gradients between them.

    All weights are 1, so that nothing cancels; max pools are described as average pools, which read the same pixels.
    """
    module = built(describe, shape).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    return x, module(x)[0]


def seen(x: torch.Tensor, y: torch.Tensor, axis: int, outputs: list[int]) -> list[tuple[int, int] | None]:
    """For each output row (axis 0) or column (1): the first and last that it reads of the input's, by gradients."""
    lines = y.sum((0, 2 - axis))
    spans: list[tuple[int, int] | None] = []
    for output in outputs:
        (gradient,) = torch.autograd.grad(lines[output], x, retain_graph=True)
        read = (gradient[0].abs().sum((0, 2 - axis)) > 0).nonzero().flatten().tolist()
        spans.append((read[0], read[-1]) if read else None)
    return spans


MIX = Conv(2, 1, bias=False)
"""After a layer that treats channels differently: from here on every channel reads what any read."""

kernels = st.integers(1, 5) | st.tuples(st.integers(1, 4), st.integers(1, 4))
strides = st.integers(1, 2) | st.tuples(st.integers(1, 3), st.integers(1, 2))
dilations = st.integers(1, 2) | st.tuples(st.integers(1, 3), st.integers(1, 2))
margins = st.integers(0, 3) | st.tuples(*[st.integers(0, 3)] * 4)


def mixed(layer: Layer) -> Chain:
    return Chain(layer, MIX)


windowed = st.one_of(
    st.builds(Conv, st.integers(1, 3), kernels, strides, margins, dilations),
    st.builds(DepthwiseConv, kernels, strides, margins, dilations),
    st.builds(AvgPool, kernels, strides, ceil=st.booleans()),
    st.builds(AvgPool, st.sampled_from([3, (3, 5)]), strides, st.just(1)),
    st.builds(TransposedConv, st.integers(1, 2), kernels, dilation=dilations),
    st.builds(ZeroPad, margins),
    st.builds(Subsample, strides),
    st.builds(SpaceToChannel, st.integers(1, 2)).map(mixed),
    st.sampled_from([3, 5]).map(lambda kernel: Chain(Conv(kernel**2, 1), Shift(kernel), MIX)),
)
first = st.lists(st.builds(Crop, margins) | windowed, max_size=1)
"""What is cropped later may be padded again: there zeros lie where pixels are, and gradients see none."""

repeating = st.one_of(  # each pixel becomes a cell of its own
    st.integers(2, 3).map(lambda stride: TransposedConv(2, stride, stride)),
    st.builds(Interpolate, st.integers(2, 3) | st.just((1, 2))),
    st.integers(2, 3).map(lambda n: Chain(Conv(n * n, 1), ChannelToSpace(n), MIX)),
)
overlapping = st.one_of(  # neighbouring pixels mix, some outputs reading more of them than others
    st.builds(TransposedConv, st.integers(1, 2), kernels, st.integers(2, 3), st.just(0), dilation=dilations),
    st.builds(Interpolate, st.integers(2, 3) | st.just((1, 2)), st.just("bilinear")),
)
nails = st.builds(BedOfNails, st.integers(2, 3) | st.just((2, 1)))
dense = st.builds(Conv, st.just(2), kernels, padding=margins)


def check(design: Layer | Block) -> None:
    """What each inner output reads along each axis, one by one."""
    try:
        field = predicted(design, SHAPE)
    except ShapeError:
        assume(False)
    note(f"{design!r} {field}")
    assume(min(field.size))  # nails may be missed altogether
    checked = 0
    x, y = ran_on_ones(design)
    (gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    assume(gradient.any())  # a kernel with holes may fit round a small map, and read zeros alone
    for axis, sees in enumerate((field.rows, field.columns)):
        spans = [sees.span(o) for o in range(y.shape[axis + 1])]
        margin = 5  # what is cropped, and then may be padded with zeros
        inner = [o for o, s in enumerate(spans) if s is None or (s[0] >= margin and s[1] < SHAPE[axis + 1] - margin)]
        middle = [o for o in inner if inner and inner[len(inner) // 2] - 8 <= o <= inner[len(inner) // 2] + 8]
        assert [spans[o] for o in middle] == seen(x, y, axis, middle)
        checked += len(middle)
    assume(checked)


@pytest.mark.slow
@settings(max_examples=100)
@given(first, st.lists(windowed, min_size=1, max_size=4))
def test_every_output_sees_the_pixels_that_gradients_say(before: Any, layers: Any) -> None:
    check(Chain(*before, *layers))


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(dense, max_size=2), repeating | overlapping | nails, st.lists(windowed, max_size=3))
def test_also_where_a_layer_enlarges_the_map(before: Any, up: Any, after: Any) -> None:
    check(Chain(*before, up, *after))


@pytest.mark.slow
@settings(max_examples=60)
@example(Conv(1, 1), 4, Interpolate(4), [Conv(2, 3)])
@given(windowed, st.sampled_from([2, 3, 4]), repeating, st.lists(windowed, max_size=2))
def test_also_where_a_map_is_reduced_and_then_enlarged(before: Any, factor: int, up: Any, after: Any) -> None:
    check(Chain(before, AvgPool(factor), up, *after))


def test_three_rows_of_a_map_enlarged_four_times_meet_two_of_its_rows() -> None:
    """8 pixels, though three quarters of a step of 4 pixels are only 3 more than one step."""
    design = Chain(AvgPool(4), Interpolate(4), Conv(2, 3))
    assert predicted(design, SHAPE).size == (8, 8)


@st.composite
def same_size(draw: st.DrawFn) -> Layer:
    """Layers that keep the size, so that branches of them meet; not all are centred."""
    kernel = draw(st.sampled_from([1, 3, 5, (1, 3), (5, 1), (3, 5)]))
    channels = draw(st.integers(1, 3))
    return draw(
        st.sampled_from(
            [
                Conv(channels, kernel, padding="same", dilation=draw(dilations)),
                DepthwiseConv(kernel, padding="same"),
                AvgPool(3, 1, 1),
                Conv(channels, 3, padding=(2, 0, 0, 2)),
                Conv(channels, (2, 3), padding=(0, 1, 2, 0)),
                Chain(Conv(9, 1), Shift(3), MIX),
            ]
        )
    )


branching = branches_of(same_size(), Conv(2, 3, padding=1), 6)


@pytest.mark.slow
@settings(max_examples=60)
@given(first, branching, st.lists(windowed, max_size=1))
def test_also_where_paths_join(before: Any, middle: Any, after: Any) -> None:
    check(Chain(*before, middle, *after))


def test_two_and_three_3x3_see_5x5_and_7x7() -> None:
    for layers, extent in ((1, 3), (2, 5), (3, 7)):
        assert predicted(Chain(*[Conv(4, 3, padding=1)] * layers), (4, 16, 16)).size == (extent, extent)


def test_1x1_filters_see_no_more() -> None:
    before = predicted(Conv(4, 5), (3, 16, 16))
    assert predicted(Chain(Conv(4, 5), Conv(9, 1), Conv(2, 1)), (3, 16, 16)) == before


def test_a_dilated_filter_sees_d_times_f_minus_1_plus_1() -> None:
    assert predicted(Conv(4, 3, dilation=(4, 2)), (3, 16, 16)).size == (9, 5)


def test_1x7_then_7x1_see_7x7() -> None:
    assert predicted(Chain(Conv(4, (1, 7)), Conv(4, (7, 1))), (3, 16, 16)).size == (7, 7)


def test_the_standard_tail_sees_11_pixels_at_stride_4() -> None:
    net = cn.network("resnet-50")
    (row,) = net.account().at_depth(1)[:1]
    assert row.path == "tail"
    field = row.receptive_field
    assert (field.size, field.stride, field.centre) == ((11, 11), (4, 4), (0.0, 0.0))


def test_a_pixel_is_a_fraction_of_one_where_the_map_is_finer_than_the_input() -> None:
    field = predicted(Interpolate(2), (1, 8, 8))
    assert (field.size, field.stride) == ((1, 1), (Fraction(1, 2), Fraction(1, 2)))
    assert [field.rows.span(o) for o in range(5)] == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2)]
    assert predicted(Chain(Interpolate(2), Conv(1, 3, padding=1)), (1, 8, 8)).size == (2, 2)
    back = predicted(Chain(TransposedConv(2, 2, 2), Conv(2, 2, 2)), (1, 8, 8))
    assert (back.stride, back.centre) == ((1, 1), (0.0, 0.0))


def test_what_mixes_all_pixels_says_so() -> None:
    for design in (GlobalAvgPool(), NonLocal(), SqueezeExcitation(2)):
        assert predicted(design, (4, 8, 8)).sees_all
    for design in (Conv(4, 3), MaxPool(2), RankFilter(3)):
        assert not predicted(design, (4, 8, 8)).sees_all


def test_a_slice_or_crop_of_rows_moves_the_centre() -> None:
    assert predicted(Slice(3, 7, axis=1), (4, 9, 9)).centre == (3.0, 0.0)
    assert predicted(Slice(3, 7, axis=2), (4, 9, 9)).centre == (0.0, 3.0)
    assert predicted(Slice(1, 3), (4, 9, 9)) == ReceptiveField()
    assert predicted(Crop((1, 0, 2, 0)), (4, 9, 9)).centre == (1.0, 2.0)


def test_a_deformable_convolution_sees_what_its_offsets_see() -> None:
    def describe(x: Any) -> Any:
        return DeformableConv(4, 3, padding=1)(x, Conv(18, 5, padding=2)(x))

    assert predicted(describe, (4, 9, 9)).size == (7, 7)  # type: ignore[arg-type]


KNOWN = {
    "lenet-5": 16,
    "alexnet": 195,
    "alexnet-ungrouped": 195,
    "caffenet": 195,
    "vgg-16": 212,
    "googlenet": 715,
    "resnet-50": 427,
    "resnet-50-v1": 483,
    "resnet-101-v1": 1027,
    "resnet-101": 971,
    "resnet-152-v1": 1507,
    "resnet-152": 1451,
    "densenet-121": 2071,
}


@pytest.mark.parametrize(("name", "pixels"), KNOWN.items())
def test_published_receptive_fields_of_the_last_map_before_the_head(name: str, pixels: int) -> None:
    assert cn.network(name).account().receptive_field.size == (pixels, pixels)


@pytest.mark.parametrize(("name", "pixels"), [("vgg-16", 243), ("alexnet", 226), ("lenet-5", 19)])
def test_the_lectures_recipe_gives_exact_plus_stride_minus_1(name: str, pixels: int) -> None:
    field = cn.network(name).account().receptive_field
    assert lecture_rule(field) == (pixels, pixels)
    assert pixels == field.size[0] + field.stride[0] - 1


@pytest.mark.parametrize(("name", "stride"), [("lenet-5", 4), ("vgg-16", 32), ("resnet-50", 32), ("googlenet", 32)])
def test_the_stride_of_the_last_map_is_the_product_of_all_strides(name: str, stride: int) -> None:
    assert cn.network(name).account().receptive_field.stride == (stride, stride)


def test_a_network_that_is_not_square_has_two_fields() -> None:
    field = predicted(Chain(Conv(2, (1, 7), stride=(1, 2)), MaxPool((3, 2))), (3, 40, 40))
    assert (field.size, field.stride, field.centre) == ((3, 9), (3, 4), (1.0, 4.0))


Path = tuple[int, int, int, int]
"""What a path sees and by how much it steps: rows, columns, step along rows, along columns."""


@st.composite
def graphs_with_paths(draw: st.DrawFn) -> tuple[Any, dict[FeatureMap, list[Path]]]:
    """A random graph of convolutions and additions, and all paths from the input to each of its maps, one by one."""
    paths: dict[FeatureMap, list[Path]] = {}

    def describe(x: FeatureMap) -> FeatureMap:
        maps, paths[x] = [x], [(1, 1, 1, 1)]
        for _ in range(draw(st.integers(1, 8))):
            first = draw(st.sampled_from(maps))
            alike = [y for y in maps if y.shape == first.shape and y is not first]
            if alike and draw(st.booleans()):
                inputs = [first, *draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2, unique=True))]
                maps.append(Add()(*inputs))
                paths[maps[-1]] = [path for y in inputs for path in paths[y]]
                continue
            kernel, dilation = draw(st.tuples(*[st.integers(1, 5)] * 2)), draw(st.tuples(*[st.integers(1, 2)] * 2))
            stride = draw(st.sampled_from([1, 1, 2]))
            maps.append(Conv(1, kernel, stride, "same", dilation)(first))
            reach = ((kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1])
            paths[maps[-1]] = [
                (r + reach[0] * down, c + reach[1] * right, down * stride, right * stride)
                for r, c, down, right in paths[first]
            ]
        return maps[-1]

    return trace(describe, (1, 64, 64)), paths


@given(graphs_with_paths())
def test_the_smallest_field_is_that_of_the_path_that_sees_least(drawn: Any) -> None:
    graph, paths = drawn
    smallest, largest = receptive_fields(graph, smallest_path), receptive_fields(graph)
    for x, ways in paths.items():
        assert smallest[x].size == (min(way[0] for way in ways), min(way[1] for way in ways))
        assert largest[x].size[0] >= max(way[0] for way in ways)


def test_the_smallest_field_goes_around_gates_and_not_through_what_all_paths_pass() -> None:
    def smallest(design: Layer | Block) -> ReceptiveField:
        graph = trace(design, (4, 8, 8))
        return receptive_fields(graph, smallest_path)[graph.outputs[0]]

    gated = smallest(Chain(Conv(4, 3), SqueezeExcitation(2)))
    assert (gated.size, gated.sees_all) == ((3, 3), False)
    assert smallest(Chain(Conv(4, 3), GlobalAvgPool())).sees_all


def test_in_a_residual_network_the_smallest_field_is_that_of_the_shortcuts() -> None:
    """11 pixels: the tail's. In VGG, which has one path, it is the only one."""
    for name, pixels in (("resnet-18", 11), ("vgg-16", 212)):
        account = cn.network(name).account()
        assert receptive_fields(account.graph, smallest_path)[account.features].size == (pixels, pixels)


@st.composite
def graphs_whose_strides_meet(draw: st.DrawFn) -> Any:
    """Convolutions, pools, margins and additions of maps that were cropped or padded to one size, as a description."""
    steps = draw(st.lists(st.tuples(*[st.integers(0, 99)] * 6), min_size=3, max_size=8))

    def describe(x: FeatureMap) -> FeatureMap:
        maps = [x]
        for kind, which, kernel, stride, padding, other in steps:
            first, second = maps[which % len(maps)], maps[-1]
            size = kernel % 3 + 1
            if kind % 3 == 0 and first is not second:
                fitted = first
                for axis in (0, 1):
                    more = second.shape[axis + 1] - fitted.shape[axis + 1]
                    before = other % (abs(more) + 1)
                    sides = (before, abs(more) - before)
                    margin = (*sides, 0, 0) if axis == 0 else (0, 0, *sides)
                    fitted = ZeroPad(margin)(fitted) if more > 0 else Crop(margin)(fitted) if more else fitted
                maps.append(Add()(fitted, second))
            elif min(second.shape[1:]) > 4:
                layer: Layer = Conv(1, size, (stride % 3 + 1, 1 + stride % 2), padding % 3, bias=False)
                maps.append((AvgPool(size, stride % 3 + 1) if kind % 3 == 1 else layer)(second if other % 3 else first))
        return maps[-1]

    return describe


@pytest.mark.slow
@settings(max_examples=150)
@given(graphs_whose_strides_meet())
def test_no_element_sees_more_than_is_said_where_paths_of_unlike_strides_meet(describe: Any) -> None:
    shape = (1, 17, 14)
    try:
        graph = trace(describe, shape)
    except ShapeError:
        assume(False)
    assume(graph.nodes and graph.outputs[0].node)
    field = receptive_fields(graph)[graph.outputs[0]]
    x, y = ran_on_ones(describe, shape)
    for axis, sees in enumerate((field.rows, field.columns)):
        found = seen(x, y, axis, list(range(y.shape[axis + 1])))
        for element, span in enumerate(found):
            if span is not None:
                said = sees.span(element)
                assert said is not None
                assert said[0] <= span[0] <= span[1] <= said[1]
        assert sees.extent >= max((span[1] - span[0] + 1 for span in found if span), default=0)


def misaligned(x: FeatureMap) -> FeatureMap:
    """The network with which google-research/receptive_field shows misaligned paths."""
    coarse = Conv(1, 5, 2)(ZeroPad((2, 1, 2, 1))(x))
    return Add()(coarse, Conv(1, 3)(Conv(1, 3)(x)))


def test_what_an_element_sees_where_unlike_strides_meet_depends_on_where_it_lies() -> None:
    """2 i - 2 to 2 i + 2 along one path, i to i + 4 along the other: 7 pixels of which 2 are padding, 6, and 5."""
    graph = trace(misaligned, (1, 7, 7))
    field = receptive_fields(graph)[graph.outputs[0]]
    assert [field.rows.span(i) for i in range(3)] == [(-2, 4), (0, 5), (2, 6)]
    assert (field.size, field.centre) == ((7, 7), (1.0, 1.0))
    x, y = ran_on_ones(misaligned, (1, 7, 7))
    assert seen(x, y, 0, [0, 1, 2]) == [(0, 4), (0, 5), (2, 6)]


def test_a_window_after_unlike_strides_sees_what_its_elements_see() -> None:
    def describe(x: FeatureMap) -> FeatureMap:
        return Conv(1, 2)(misaligned(x))

    graph = trace(describe, (1, 7, 7))
    field = receptive_fields(graph)[graph.outputs[0]]
    assert [field.columns.span(i) for i in range(2)] == [(-2, 5), (0, 6)]
    assert field.size == (8, 8)


def test_under_all_elements_lies_a_map_of_one_pixel() -> None:
    """A gate made by a convolution over the whole map, of stride 2: every element sees all 8 pixels, and its own 3."""

    def describe(x: FeatureMap) -> FeatureMap:
        gate = Conv(1, 8, 2)(x)
        return Multiply()(Conv(1, 3, padding=1)(x), gate)

    graph = trace(describe, (1, 8, 8))
    field = receptive_fields(graph)[graph.outputs[0]]
    assert [field.rows.span(i) for i in (0, 4, 7)] == [(-1, 7), (0, 7), (0, 8)]
    assert field.size == (9, 9)


def test_a_pooled_gate_leaves_the_extent() -> None:
    def describe(x: FeatureMap) -> FeatureMap:
        y = Conv(1, 3, padding=1)(x)
        return Multiply()(y, Interpolate(6)(GlobalAvgPool()(y)))

    graph = trace(describe, (1, 6, 6))
    field = receptive_fields(graph)[graph.outputs[0]]
    assert (field.size, field.sees_all) == ((3, 3), True)
