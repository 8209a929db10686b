"""Rules about the range of values: what they find, in which networks, and what fixes it."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.critique import critique
from cnnatomy.critique.ranges import idle_nonlinearity, rectified_bottleneck, unlike_ranges
from cnnatomy.design.build import build
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    Hardtanh,
    LeakyReLU,
    MaxPool,
    ReLU,
    ReLU6,
    TransposedConv,
)
from findings import found, only, said
from helpers import trace
from peers import on_meta


def test_resnet_adds_signed_maps_to_rectified_ones_twelve_times_of_sixteen():
    finding = only(unlike_ranges, "resnet-50")  # the four others have a projection, which is signed too
    assert (finding.quiet, finding.evidence) == (True, {"additions": 16, "unlike": 12})
    assert finding.where[0] == "body.stage1.block2.add"


@pytest.mark.parametrize("name", ["preact-resnet-50", "preact-resnet-18", "mobilenet-v2", "densenet-121", "googlenet"])
def test_pre_activation_linear_bottlenecks_and_dense_blocks_have_like_ranges(name):
    assert found(unlike_ranges, name) == []


def test_a_decoder_that_concatenates_a_rectified_skip_to_a_bare_transposed_convolution_mixes_ranges():
    def unet(x, rectify):
        skip = ReLU()(Conv(8, 3, padding=1)(x))
        y = ReLU()(Conv(16, 3, padding=1)(MaxPool(2)(skip)))
        y = TransposedConv(8, 2, 2)(y)
        return Conv(2, 1)(Concat()(skip, ReLU()(y) if rectify else y))

    finding = only(unlike_ranges, trace(lambda x: unet(x, False), (3, 16, 16)))
    assert (finding.where, finding.evidence) == (("concat",), {"concatenations": 1, "unlike": 1})
    assert found(unlike_ranges, trace(lambda x: unet(x, True), (3, 16, 16))) == []


@pytest.mark.parametrize("after", [BatchNorm(), ReLU()])
def test_what_reads_a_concatenation_can_make_the_ranges_alike(after):
    def describe(x):
        return Conv(4, 1)(after(Concat()(Conv(4, 1)(x), ReLU()(Conv(4, 1)(x)))))

    assert found(unlike_ranges, trace(describe, (3, 8, 8))) == []


def test_squeezenet_rectifies_all_eight_of_its_bottlenecks():
    finding = only(rectified_bottleneck, "squeezenet-1.0")
    assert finding.evidence == {"layers": 8, "before": 128, "channels": 16, "after": 128}  # fire 3
    assert (finding.severity, finding.remedy.change) == ("note", None)  # linear they would be one layer with the next
    assert "to at least 64 channels" in finding.remedy.text


def test_a_rectified_stream_of_inverted_residuals_is_found():
    def describe(x, relu):
        x = BatchNorm()(Conv(16, 3, padding=1)(x))
        for _ in range(2):
            y = ReLU6()(BatchNorm()(Conv(96, 1)(x)))
            y = ReLU6()(BatchNorm()(DepthwiseConv(3, padding=1)(y)))
            x = Add()(x, BatchNorm()(Conv(16, 1)(y)))
            x = ReLU6()(x) if relu else x
        return ReLU()(Conv(128, 1)(x))

    finding = only(rectified_bottleneck, trace(lambda x: describe(x, True), (3, 16, 16)))
    assert finding.evidence == {"layers": 2, "before": 96, "channels": 16, "after": 96}
    assert (finding.severity, finding.remedy.fix) == ("warning", "unsafe")
    assert found(rectified_bottleneck, trace(lambda x: describe(x, False), (3, 16, 16))) == []


def test_bottlenecks_with_a_way_around_may_be_rectified():
    for name in ("resnet-50", "googlenet", "inception-v3", "shufflenet-g3", "vgg-16", "mobilenet-v1-1.0"):
        assert found(rectified_bottleneck, name) == []


def test_idle_nonlinearities_change_no_value():
    def describe(x):
        x = ReLU()(x)
        x = LeakyReLU()(AvgPool(2)(x))  # idle
        x = ReLU6()(x)  # cuts off what is above 6
        x = Concat()(x, MaxPool(3, 1, padding=1)(x))
        x = Hardtanh(0.0, 6.0)(ReLU()(x))  # both idle
        return ReLU()(Conv(4, 1)(x))

    graph = trace(describe, (3, 8, 8))
    finding = only(idle_nonlinearity, graph)
    assert set(finding.where) == {"leakyrelu", "hardtanh", "relu2"}
    assert finding.evidence["elements"] == 3 * 16 + 2 * 6 * 16
    module, x = build(graph), 20 * torch.randn(2, 3, 8, 8)
    without = build(changed(graph, finding.remedy.change))
    without.load_state_dict(module.state_dict())
    assert torch.equal(module(x), without(x))


def test_relu_only_pre_activation_rectifies_what_its_tail_rectified():
    finding = only(idle_nonlinearity, "resnet-110-cifar-relu-only-pre-activation")
    assert finding.where == ("body.stage1.block1.relu1",)
    assert finding.evidence["elements"] == 16 * 32 * 32


def rectified_trunk(blocks):
    """A ResNet of 2 * blocks + 2 layers with a ReLU after each addition."""

    def describe(x):
        x = ReLU()(BatchNorm()(Conv(4, 3, padding=1)(x)))
        for _ in range(blocks):
            y = BatchNorm()(Conv(4, 3, padding=1)(ReLU()(BatchNorm()(Conv(4, 3, padding=1)(x)))))
            x = ReLU()(Add()(x, y))
        return Conv(10, 1)(AvgPool(8)(x))

    return trace(describe, (3, 8, 8))


@pytest.mark.parametrize(("blocks", "expected"), [(9, []), (48, []), (49, ["note"]), (98, ["note"]), (99, ["warning"])])
def test_a_relu_on_the_trunk_matters_from_100_layers_on_and_costs_accuracy_from_200(blocks, expected):
    assert said(unlike_ranges, rectified_trunk(blocks)) == expected
    assert len(found(unlike_ranges, rectified_trunk(blocks))) == 1


@pytest.mark.parametrize("name", ["resnet-50", "inception-resnet-v1", "se-resnet-50-v1-5", "shufflenet-g3"])
def test_good_networks_with_a_rectified_trunk_hear_nothing_of_it(name):
    assert said(unlike_ranges, name) == []


@pytest.mark.parametrize(("name", "expected"), [("resnet-101", "note"), ("inception-resnet-v2", "note")])
def test_deep_ones_get_a_note(name, expected):
    assert said(unlike_ranges, name) == [expected]


@pytest.mark.peers
def test_gates_make_no_network_deeper():
    module, shape = on_meta("timm:regnety_032")  # 21 blocks, of which each has two layers in its gate
    assert said(unlike_ranges, cn.read(module, shape)) == []


def test_a_waist_is_opened_and_not_made_linear():
    def waist(x, channels):
        x = ReLU()(BatchNorm()(Conv(64, 3, padding=1)(x)))
        x = ReLU()(BatchNorm()(Conv(channels, 1)(x)))
        return ReLU()(BatchNorm()(Conv(128, 3, padding=1)(x)))

    finding = only(rectified_bottleneck, trace(lambda x: waist(x, 4), (3, 32, 32)))
    assert (finding.severity, finding.under, finding.remedy.fix) == ("note", ("I5",), None)
    assert "open the narrow map" in finding.remedy.text
    assert said(rectified_bottleneck, trace(lambda x: waist(x, 32), (3, 32, 32))) == []


def test_a_relu_after_an_addition_that_can_only_grow_is_told_with_what_ends_the_branch():
    def describe(x):
        x = ReLU()(Conv(8, 3, padding=1)(x))
        for _ in range(3):
            x = ReLU()(Add()(x, ReLU()(BatchNorm()(Conv(8, 3, padding=1, bias=False)(x)))))
        return Conv(10, 1)(AvgPool(16)(x))

    found = {f.rule.code: f for f in critique(trace(describe, (3, 16, 16)))}
    assert "W6" not in found
    assert "W6" in [f.rule.code for f in found["N8"].consequences]
    assert found["N8"].severity == "warning"
