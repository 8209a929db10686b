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
from helpers import trace
from peers import on_meta
from rule_findings import findings, one, said


def test_resnet_110_with_relu_before_the_addition_only_ever_adds():
    finding = one(relu_before_addition, "resnet-110-cifar-relu-before-addition")
    assert finding.evidence["additions"] == finding.evidence["layers"] == 52  # of 54; two have a projection
    graph = cn.network("resnet-110-cifar-relu-before-addition").graph()
    after = changed(graph, one(relu_before_addition, graph).remedies[1].change)
    assert findings(relu_before_addition, after) == []
    assert findings(unlike_ranges, after)  # ReLU after the addition: of 110 layers, pre-activation is the better remedy
    assert "pre-activation" in finding.remedy.text
    assert findings(relu_before_addition, "resnet-110-cifar") == []


def test_a_gate_after_the_relu_does_not_hide_it():
    def describe(x):
        x = ReLU()(Conv(8, 1)(x))
        y = ReLU()(Conv(8, 3, padding=1)(x))
        gate = Sigmoid()(Conv(8, 1)(AvgPool(8)(y)))
        return Add()(x, Multiply()(gate, y))

    with pytest.raises(Exception, match="equal or 1"):
        trace(lambda x: Multiply()(x, AvgPool(4)(x)), (8, 8, 8))
    assert one(relu_before_addition, trace(describe, (3, 8, 8))).where == ("relu2",)


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
    assert findings(relu_before_addition, network(24, ends)) == []


def test_the_relu_of_a_branch_moves_to_after_the_addition():
    graph = network(3, (BatchNorm(), ReLU()))
    finding = one(relu_before_addition, graph)
    assert finding.remedy.fix == "unsafe"
    after = changed(graph, finding.remedy.change)
    assert [node.layer for node in after] == [node.layer for node in network(3, (BatchNorm(),), (ReLU(),))]
    assert findings(relu_before_addition, after) == []


def test_a_decoder_that_adds_its_encoders_maps_is_no_residual():
    def linknet(x):
        skip = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))
        y = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(MaxPool(2)(skip))))
        y = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(Interpolate(2)(y))))
        return Conv(4, 1)(Add()(skip, y))

    assert findings(relu_before_addition, trace(linknet, (3, 16, 16))) == []


@pytest.mark.parametrize(("blocks", "expected"), [(2, ["note"]), (23, ["note"]), (24, ["warning"])])
@pytest.mark.parametrize("after", [(BatchNorm(), ReLU()), (ReLU(), BatchNorm()), (BatchNorm(),)])
def test_batch_norm_after_the_addition_costs_accuracy_from_50_layers_on(blocks, expected, after):
    graph = network(blocks, (), after)
    assert said(batch_norm_after_addition, graph) == expected
    finding = one(batch_norm_after_addition, graph)
    assert len(finding.where) == blocks - 1  # the last is before the head
    repaired = changed(graph, finding.remedy.change)
    assert findings(batch_norm_after_addition, repaired) == []
    kept = [sum(isinstance(node.layer, BatchNorm) for node in one) for one in (graph, repaired)]
    assert kept[0] == kept[1]  # each has moved into its branch


def test_pre_activated_branches_and_the_last_batch_norm_are_not_on_the_trunk():
    for name in ("preact-resnet-50", "preact-resnet-110-cifar", "densenet-121", "dpn-92", "resnet-50"):
        assert findings(batch_norm_after_addition, name) == []


@pytest.mark.peers
@pytest.mark.parametrize("name", ["repvgg_a2", "mobileone_s1", "convmixer_768_32"])
def test_a_batch_norm_that_is_a_branch_of_its_own_is_not_on_the_trunk(name):
    module, shape = on_meta(f"timm:{name}")
    assert findings(batch_norm_after_addition, cn.read(module, shape)) == []


def test_resnet_110_of_figure_4b_has_its_batch_norm_on_the_trunk():
    finding = one(batch_norm_after_addition, "resnet-110-cifar-bn-after-addition")
    assert (finding.severity, len(finding.where)) == ("warning", 53)  # of 54; the last is before the head
