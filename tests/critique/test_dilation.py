"""Grids of positions that dilated convolutions in a row leave unread."""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain, Network, Parallel, Residual
from cnnatomy.analysis.coverage import gaps
from cnnatomy.critique.dilation import gridding
from cnnatomy.design import Block, Graph
from cnnatomy.layers import (
    BatchNorm,
    Concat,
    Conv,
    GlobalAvgPool,
    Interpolate,
    ReLU,
)
from cnnatomy.layers.layer import Layer
from findings import after, found, only
from peers import torchvision


def dilated(*dilations: int) -> Graph:
    return Graph.trace(Chain(*[Conv(4, 3, padding=d, dilation=d) for d in dilations]), (3, 40, 40))


def test_three_convolutions_of_dilation_2_read_49_of_169_positions() -> None:
    finding = only(gridding, dilated(2, 2, 2))
    assert finding.text == "chain.conv3 reads 7x7 of 13x13 positions of what chain.conv1 reads: 71% of them are skipped"
    assert finding.evidence == {"read": [7, 7], "span": [13, 13], "unread": pytest.approx(1 - 49 / 169)}
    assert finding.where == ("chain.conv1", "chain.conv2", "chain.conv3")


@pytest.mark.parametrize("dilations", [(1, 2, 5), (1, 2), (2, 1), (1, 1, 1)])
def test_dilations_without_a_common_factor_read_every_position(dilations: tuple[int, ...]) -> None:
    assert found(gridding, dilated(*dilations)) == []


def test_hybrid_dilation_costs_the_same_and_leaves_no_hole() -> None:
    net = Network(Chain(), Chain(*[Conv(4, 3, padding=2, dilation=2) for _ in range(3)]), Conv(2, 1), input=(3, 40, 40))
    finding = only(gridding, net)
    graph = after(finding, net)
    assert gaps(graph) == []
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    assert finding.remedy.after.macs == net.account().totals.macs


def test_a_shortcut_does_not_fill_holes_and_a_convolution_without_dilation_does() -> None:
    def block(dilation: int) -> Residual:
        return Residual(Chain(Conv(3, 3, padding=dilation, dilation=dilation), BatchNorm()))

    assert len(found(gridding, Graph.trace(Chain(block(2), block(2), block(2)), (3, 40, 40)))) == 1
    assert found(gridding, Graph.trace(Chain(block(2), block(2), block(1)), (3, 40, 40))) == []


def mixed(*parts: Layer | Block) -> Graph:
    """At a stride of 2, after a 3x3 without dilation, before a classifier of pixels."""
    start, end = (Conv(4, 3, 2, 1), Conv(4, 3, padding=1)), (Conv(2, 1), Interpolate(2))
    return Graph.trace(Chain(*start, *parts, *end), (3, 128, 128))


def run(*dilations: int) -> Chain:
    return Chain(*[Chain(Conv(4, 3, padding=d, dilation=d), BatchNorm(), ReLU()) for d in dilations])


@pytest.mark.parametrize("dilations", [(2, 2, 2, 4, 4), (2, 2), (3, 3, 3), (2, 4, 2, 4), (4, 4, 4, 1)])
def test_layers_without_dilation_before_a_run_do_not_fill_its_holes(dilations: tuple[int, ...]) -> None:
    finding = only(gridding, mixed(run(*dilations)))
    assert (finding.severity, finding.quiet) == ("warning", False)
    assert len(finding.where) == sum(d > 1 for d in dilations)


@pytest.mark.parametrize(
    "dilations",
    [(2,), (1, 2, 5, 1, 2, 5), (2, 4, 8), (1, 2, 4, 8, 16, 1), (2, 2, 1), (4, 4, 2, 1), (2, 1, 2, 1), (2, 2, 5)],
)
def test_mixed_rates_and_layers_of_less_dilation_after_them_read_every_position(dilations: tuple[int, ...]) -> None:
    assert found(gridding, mixed(run(*dilations))) == []


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_where_nothing_is_said_neighbours_share_what_they_read(dilations: list[int]) -> None:
    """By torch: the gradient of one output reaches all positions within the first dilation of the run, or grows on."""
    finding = found(gridding, mixed(run(*dilations)))
    first = next((i for i, d in enumerate(dilations) if d > 1), None)
    falls = any(b <= a and gcd(a, b) > 1 for a, b in pairwise(dilations))
    if finding or first is None or not falls:
        return
    ones = [torch.nn.Conv2d(1, 1, 3, padding=d, dilation=d, bias=False) for d in dilations[first:]]
    x = torch.zeros(1, 1, 41, 41, requires_grad=True)
    with torch.no_grad():
        for module in ones:
            module.weight.fill_(1.0)
    torch.nn.Sequential(*ones)(x)[0, 0, 20, 20].backward()
    assert x.grad is not None
    reach = dilations[first]
    assert bool((x.grad[0, 0, 20, 21 - reach : 20 + reach] != 0).all())


def test_a_dilated_resnet_grids_and_one_with_degridding_layers_does_not() -> None:
    """DRN-A and DRN-C (Yu et al. 2017, figure 5)."""
    blocks = (*[Residual(run(2, 2)) for _ in range(2)], *[Residual(run(4, 4)) for _ in range(2)])
    assert only(gridding, mixed(*blocks)).severity == "warning"
    assert found(gridding, mixed(*blocks, run(2, 2, 1, 1))) == []
    assert found(gridding, mixed(*[Residual(run(2, 1)) for _ in range(3)])) == []


def test_rates_side_by_side_with_a_dense_branch_leave_no_holes() -> None:
    assert found(gridding, mixed(run(1, 1), Parallel(Conv(4, 1), run(2), run(4), run(8), join=Concat()))) == []
    assert found(gridding, mixed(Parallel(run(1), run(2, 2), join=Concat()))) == []


def test_a_single_dilated_layer_is_for_those_who_ask() -> None:
    graph = Graph.trace(Chain(Conv(4, 3, 2, 1), run(2), GlobalAvgPool()), (3, 64, 64))
    assert only(gridding, graph).quiet


@pytest.mark.peers
def test_the_3x3_of_torchvision_s_deeplab_reads_three_quarters_of_the_rows() -> None:
    """Its last two blocks have dilation 4, the 3x3 after the pyramid 1: 3 of 4 rows and columns."""
    model = torchvision().models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    finding = only(gridding, cn.read(model.eval(), (3, 256, 256)))
    assert finding.where == ("backbone.layer4.1.conv2", "backbone.layer4.2.conv2")


def test_a_3x1_and_a_1x3_are_one_kernel_of_two_layers() -> None:
    """ERFNet: each block has a 3x3 as two layers, then one that is dilated; dilated ones in a row make a grid."""

    def factors(dilation: int) -> tuple[Layer, Layer]:
        return (
            Conv(4, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
            Conv(4, (1, 3), padding=(0, dilation), dilation=(1, dilation)),
        )

    def blocks(*dilations: int, dense: bool = True) -> Graph:
        parts = [Residual(Chain(*(factors(1) if dense else ()), *factors(d))) for d in dilations]
        return Graph.trace(Chain(Conv(4, 1), *parts), (3, 128, 128))

    assert found(gridding, blocks(2, 4, 8, 16, 2, 4, 8, 16)) == []
    assert only(gridding, blocks(4, 4, dense=False)).severity == "warning"
