"""Sizes of maps that a stride does not divide: dropped rows, rounded sizes, outputs of another size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain, Network, ShapeError
from cnnatomy.critique.sizes import undivided_sizes
from cnnatomy.design import Block, FeatureMap, Graph, LinearHead, MapHead
from cnnatomy.layers import (
    Concat,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Interpolate,
    MaxPool,
    ReLU,
    ZeroPad,
)
from findings import after, found, only
from helpers import built


@given(st.integers(5, 40), st.integers(1, 5), st.integers(2, 4), st.integers(0, 2))
def test_rows_that_a_stride_drops_are_those_without_gradient(n: int, k: int, s: int, p: int) -> None:
    assume(k >= s)
    design = Chain(Conv(1, (k, 1), (s, 1), (p, 0), bias=False), Conv(2, 1), ReLU())
    try:
        graph = Graph.trace(design, (1, n, 2))
        module = built(design, (1, n, 2)).double()
    except ShapeError:
        assume(False)
    assume(graph.nodes[0].output.shape[1] > 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    x = torch.ones(1, 1, n, 2, dtype=torch.float64, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    read = x.grad[0, 0, :, 0].nonzero().flatten()
    unread = n - 1 - int(read[-1])
    findings = [f for f in found(undivided_sizes, graph, task="classification") if "rows" in f.evidence]
    assert [finding.evidence["rows"] for finding in findings] == [unread] * (unread > 0)


def test_squeezenet_was_made_for_227_pixels_and_drops_a_row_of_224() -> None:
    assert found(undivided_sizes, "squeezenet-1.0") == []
    finding = only(undivided_sizes, "squeezenet-1.0-224")
    assert finding.text == "tail.conv1 leaves 1 row and 1 column of 224x224 unread"
    assert found(undivided_sizes, after(finding, "squeezenet-1.0-224")) == []


def test_a_stride_above_the_kernel_is_no_matter_of_sizes() -> None:
    assert found(undivided_sizes, "resnet-50-v1") == []


def segmentation(side: int) -> Network:
    return cn.network("resnet-18").replace(head=MapHead(21), input=(3, side, side))


def test_what_gives_a_map_wants_an_input_that_its_strides_divide() -> None:
    finding = only(undivided_sizes, segmentation(500))
    assert finding.severity == "warning"
    assert finding.evidence["stride"] == [32, 32]
    assert finding.remedy is not None
    assert finding.remedy.text == "use an input of 512x512"
    assert finding.remedy.after is not None
    assert finding.remedy.after.macs == segmentation(512).account().totals.macs
    assert found(undivided_sizes, segmentation(512)) == []


def test_maps_that_go_down_and_up_again_meet_only_for_multiples_of_the_stride() -> None:
    class UNet(Block):
        def __call__(self, x: FeatureMap) -> FeatureMap:
            fine = Conv(8, 3, padding=1)(x)
            coarse = Conv(16, 3, padding=1)(MaxPool(2)(MaxPool(2)(fine)))
            return Concat()(fine, Interpolate(4)(coarse))

    net = Network(Chain(), UNet(), Conv(3, 1), input=(3, 32, 32))
    finding = only(undivided_sizes, net)
    assert (finding.severity, finding.quiet, finding.evidence) == ("warning", True, {"multiple": 4})
    with pytest.raises(ShapeError):
        net.graph((3, 33, 33))


def test_an_odd_input_is_rounded_up_at_every_stage_of_a_resnet() -> None:
    finding = only(undivided_sizes, "resnet-50", (3, 225, 225))
    assert (finding.severity, finding.quiet) == ("note", False)
    assert finding.evidence["sizes"] == [[225, 225], [113, 113], [57, 57], [29, 29], [15, 15]]
    assert [remedy.text for remedy in finding.remedies] == ["use an input of 224x224", "use an input of 256x256"]
    assert found(undivided_sizes, after(finding, "resnet-50", (3, 225, 225))) == []


def test_the_layers_that_clash_are_named() -> None:
    finding = only(undivided_sizes, "resnet-50", (3, 200, 200))
    assert finding.text.endswith(
        ": body.stage3.block1.conv2 makes 13x13 of 25x25, body.stage4.block1.conv2 makes 7x7 of 13x13"
    )
    assert "body.stage4.block1.conv2" in finding.where
    assert only(undivided_sizes, "vgg-16", (3, 200, 200)).where == ("body.block4.pool4",)


@pytest.mark.parametrize(
    ("name", "side"), [("resnet-50", 112), ("squeezenet-1.1", 224), ("xception", 299), ("nasnet-a-mobile", 224)]
)
def test_one_odd_size_and_a_tail_without_padding_are_for_those_who_ask(name: str, side: int) -> None:
    assert [finding.quiet for finding in found(undivided_sizes, name, (3, side, side))] == [True]


@pytest.mark.parametrize(("name", "side"), [("alexnet", 227), ("inception-v3", 299), ("resnet-50", 224)])
def test_windows_that_fit_exactly_are_as_good_as_padding(name: str, side: int) -> None:
    assert found(undivided_sizes, name, (3, side, side)) == []


@pytest.mark.parametrize("side", [100, 50])
def test_no_other_input_is_proposed_but_a_near_one(side: int) -> None:
    finding = only(undivided_sizes, "resnet-18", (3, side, side))
    inputs = [remedy.text for remedy in finding.remedies]
    assert inputs == {100: ["use an input of 96x96"], 50: ["pad images to 64x64, or sample down less often"]}[side]


def test_padding_may_be_a_layer_of_its_own() -> None:
    """Of 30 rows with one more above and below, a 3x3 with stride 2 reads 31: what it leaves is padding."""
    even, odd = (
        Graph.trace(Chain(ZeroPad(1), Conv(8, 3, 2), ReLU(), Conv(8, 3, padding=1), GlobalAvgPool()), (3, n, n))
        for n in (30, 31)
    )
    assert found(undivided_sizes, even) == []
    assert only(undivided_sizes, odd).evidence["sizes"] == [[31, 31]]


def test_rows_that_hardly_matter_do_not_hide_that_the_input_is_rounded_up() -> None:
    """201 pixels become 101, 50 and, with one of the 50 unread, 24."""
    tail = Chain(Conv(8, 3, 2, 1), ReLU(), MaxPool(3, 2))
    net = Network(tail, Chain(Conv(8, 3, padding=1), ReLU(), MaxPool(3, 2)), LinearHead(10), input=(3, 201, 201))
    finding = only(undivided_sizes, net)
    assert (finding.severity, finding.quiet) == ("note", False)
    assert finding.text == "sizes that do not divide by the stride are rounded up: tail.conv makes 101x101 of 201x201"


@pytest.mark.parametrize(
    ("shape", "quiet"), [((1, 49, 10), True), ((1, 49, 81), True), ((1, 49, 49), False), ((3, 49, 81), False)]
)
def test_frames_and_bands_are_no_choice_of_size(shape: tuple[int, int, int], quiet: bool) -> None:
    net = Network(Conv(8, 3, 2, 1), Chain(ReLU(), Conv(8, 3, padding=1), ReLU()), LinearHead(10), input=shape)
    assert only(undivided_sizes, net).quiet is quiet


def test_an_input_that_all_windows_fit_stands_beside_rounding_up() -> None:
    """Of 66 rows a 5x5 with stride 2 makes 31, then 14, then 5, and leaves 1, none and 1 of 4 pixels: 5 in all.

    Of 200 columns it makes 98, 47 and 22, and leaves 1, 1 of 2 pixels and none.
    """
    body = [layer for width in (36, 48) for layer in (Conv(width, 5, 2), ReLU())]
    head = Chain(Flatten(), FullyConnected(10))
    net = Network(Chain(Conv(24, 5, 2), ReLU()), Chain(*body), head, input=(3, 66, 200))
    finding = only(undivided_sizes, net)
    assert finding.severity == "note"
    (fitting,) = [remedy for remedy in finding.remedies if "which all windows fit" in remedy.text]
    assert fitting.text == "use an input of 61x197, which all windows fit"
    assert fitting.after is not None
    assert fitting.after.parameters == net.account().totals.parameters
    assert found(undivided_sizes, net.graph((3, 61, 197))) == []


def test_another_input_comes_first_where_its_size_is_a_choice() -> None:
    """200 pixels are halved to 25 and then to 12; the 32 of digits are what they are."""
    stages = [layer for width in (8, 16, 32, 64) for layer in (Conv(width, 3, padding=1), ReLU(), MaxPool(2))]
    net = Network(Chain(*stages[:3]), Chain(*stages[3:]), LinearHead(10), input=(3, 200, 200))
    near, round_up = (remedy.text for remedy in only(undivided_sizes, net).remedies)
    assert near == "use an input of 192x192, which all windows fit"
    digits = [remedy.text for remedy in only(undivided_sizes, "lenet-kainz-code").remedies]
    assert digits == [round_up, "use an input of 30x30, which all windows fit"]
