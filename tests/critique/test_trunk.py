"""Rules about the trunk of residual networks: what they find, in which networks, and what fixes it."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.critique.ranges import unlike_ranges
from cnnatomy.critique.trunk import batch_norm_after_addition, relu_before_addition
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Interpolate,
    MaxPool,
    Multiply,
    ReLU,
    ReLU6,
    Sigmoid,
    Swish,
)
from findings import found, only, said
from helpers import trace
from peers import on_meta


def test_resnet_110_with_relu_before_the_addition_only_ever_adds():
    finding = only(relu_before_addition, "resnet-110-cifar-relu-before-addition")
    assert finding.evidence["additions"] == finding.evidence["layers"] == 54  # two of them beside a projection
    assert "54 of 54 residuals" in finding.text
    graph = cn.network("resnet-110-cifar-relu-before-addition").graph()
    after = changed(graph, only(relu_before_addition, graph).remedies[1].change)
    assert found(relu_before_addition, after) == []
    assert found(unlike_ranges, after)  # ReLU after the addition: of 110 layers, pre-activation is the better remedy
    assert "pre-activation" in finding.remedy.text
    assert found(relu_before_addition, "resnet-110-cifar") == []


@pytest.mark.parametrize("pooled", [False, True])
def test_a_branch_beside_a_projection_counts_too(pooled):
    """Three residuals, two whose branch ends in a ReLU: one beside an identity, one beside a projection."""

    def branch(x, channels, stride, *ends):
        y = Conv(channels, 3, padding=1)(ReLU()(Conv(channels, 3, stride=stride, padding=1)(x)))
        for layer in ends:
            y = layer(y)
        return y

    def describe(x):
        x = ReLU()(Conv(8, 3, padding=1)(x))
        x = Add()(x, branch(x, 8, 1, BatchNorm(), ReLU()))
        x = Add()(x, branch(x, 8, 1, BatchNorm()))
        shortcut = Conv(16, 1)(AvgPool(2)(x)) if pooled else Conv(16, 1, stride=2)(x)
        return Add()(BatchNorm()(shortcut), branch(x, 16, 2, BatchNorm(), ReLU()))

    graph = trace(describe, (3, 16, 16))
    finding = only(relu_before_addition, graph)
    assert "2 of 3 residuals" in finding.text
    assert "move 2 ReLUs" in finding.remedy.text
    assert found(relu_before_addition, changed(graph, finding.remedy.change)) == []


def test_the_sum_of_two_convolved_branches_is_no_residual():
    def describe(x):
        x = ReLU()(Conv(8, 3, padding=1)(x))
        return Add()(ReLU()(Conv(8, 3, padding=1)(x)), ReLU()(Conv(8, 5, padding=2)(x)))

    assert found(relu_before_addition, trace(describe, (3, 16, 16))) == []


def test_a_gate_after_the_relu_does_not_hide_it():
    def describe(x):
        x = ReLU()(Conv(8, 1)(x))
        y = ReLU()(Conv(8, 3, padding=1)(x))
        gate = Sigmoid()(Conv(8, 1)(AvgPool(8)(y)))
        return Add()(x, Multiply()(gate, y))

    with pytest.raises(Exception, match="equal or 1"):
        trace(lambda x: Multiply()(x, AvgPool(4)(x)), (8, 8, 8))
    assert only(relu_before_addition, trace(describe, (3, 8, 8))).where == ("relu2",)


def test_a_product_of_a_column_of_channels_and_a_map_of_pixels_is_no_branch_that_ends_in_relu():
    def describe(x):
        x = ReLU()(Conv(8, 3, padding=1)(x))
        channels, places = Sigmoid()(Conv(8, 1)(AvgPool(8)(x))), ReLU()(Conv(1, 1)(x))
        return Add()(x, Multiply()(channels, places))

    assert found(relu_before_addition, trace(describe, (3, 8, 8))) == []


def network(blocks, ends=(), after=(), start=None):
    """2 * blocks + 2 layers: branches of conv, batch norm, ReLU, conv, `ends`; `after` the addition."""

    def describe(x):
        x = (start or ReLU())(BatchNorm()(Conv(4, 3, padding=1)(x)))
        for _ in range(blocks):
            y = Conv(4, 3, padding=1)(ReLU()(BatchNorm()(Conv(4, 3, padding=1)(x))))
            for layer in ends:
                y = layer(y)
            x = Add()(x, y)
            for layer in after:
                x = layer(x)
        return Conv(10, 1)(AvgPool(8)(x))

    return trace(describe, (3, 8, 8))


@pytest.mark.parametrize(("blocks", "expected"), [(1, ["note"]), (3, ["note"]), (23, ["note"]), (24, ["warning"])])
@pytest.mark.parametrize("ends", [(BatchNorm(), ReLU()), (ReLU(),), (BatchNorm(), ReLU6(), Dropout(0.1))])
def test_a_branch_that_ends_in_relu_costs_accuracy_from_50_layers_on(blocks, expected, ends):
    assert said(relu_before_addition, network(blocks, ends)) == expected


def test_a_signed_trunk_can_only_grow_too():
    assert said(relu_before_addition, network(24, (BatchNorm(), ReLU()), start=Dropout(0.0))) == ["warning"]


@pytest.mark.parametrize("ends", [(BatchNorm(),), (BatchNorm(), Swish()), ()])
def test_branches_that_can_take_away_are_fine(ends):
    assert found(relu_before_addition, network(24, ends)) == []


def test_the_relu_of_a_branch_moves_to_after_the_addition():
    graph = network(3, (BatchNorm(), ReLU()))
    finding = only(relu_before_addition, graph)
    assert finding.remedy.fix == "unsafe"
    after = changed(graph, finding.remedy.change)
    assert [node.layer for node in after] == [node.layer for node in network(3, (BatchNorm(),), (ReLU(),))]
    assert found(relu_before_addition, after) == []


def test_a_decoder_that_adds_its_encoders_maps_is_no_residual():
    def linknet(x):
        skip = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))
        y = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(MaxPool(2)(skip))))
        y = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(Interpolate(2)(y))))
        return Conv(4, 1)(Add()(skip, y))

    assert found(relu_before_addition, trace(linknet, (3, 16, 16))) == []


@pytest.mark.parametrize(("blocks", "expected"), [(2, ["note"]), (23, ["note"]), (24, ["warning"])])
@pytest.mark.parametrize("after", [(BatchNorm(), ReLU()), (ReLU(), BatchNorm()), (BatchNorm(),)])
def test_batch_norm_after_the_addition_costs_accuracy_from_50_layers_on(blocks, expected, after):
    graph = network(blocks, (), after)
    assert said(batch_norm_after_addition, graph) == expected
    finding = only(batch_norm_after_addition, graph)
    assert len(finding.where) == blocks - 1  # the last is before the head
    repaired = changed(graph, finding.remedy.change)
    assert found(batch_norm_after_addition, repaired) == []
    kept = [sum(isinstance(node.layer, BatchNorm) for node in one) for one in (graph, repaired)]
    assert kept[0] == kept[1]  # each has moved into its branch


def test_pre_activated_branches_and_the_last_batch_norm_are_not_on_the_trunk():
    for name in ("preact-resnet-50", "preact-resnet-110-cifar", "densenet-121", "dpn-92", "resnet-50"):
        assert found(batch_norm_after_addition, name) == []


@pytest.mark.peers
@pytest.mark.parametrize("name", ["repvgg_a2", "mobileone_s1", "convmixer_768_32"])
def test_a_batch_norm_that_is_a_branch_of_its_own_is_not_on_the_trunk(name):
    module, shape = on_meta(f"timm:{name}")
    assert found(batch_norm_after_addition, cn.read(module, shape)) == []


def test_resnet_110_of_figure_4b_has_its_batch_norm_on_the_trunk():
    finding = only(batch_norm_after_addition, "resnet-110-cifar-bn-after-addition")
    assert (finding.severity, len(finding.where)) == ("warning", 53)  # of 54; the last is before the head
