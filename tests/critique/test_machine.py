"""What machines compute well: reuse of weights and maps, groups, numbers of channels."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.analysis.time import roofline
from cnnatomy.critique import critique
from cnnatomy.critique.budget import single_peak
from cnnatomy.critique.cost import unequal_branches
from cnnatomy.critique.kernels import large_stem_kernel
from cnnatomy.critique.machine import (
    depthwise_reuse,
    groups_never_mix,
    narrow_groups,
    uneven_channels,
    weights_read_once,
)
from cnnatomy.design import Graph
from cnnatomy.edits.change import Change, Cost, changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    ChannelShuffle,
    Conv,
    DepthwiseConv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    MaxPool,
    ReLU,
    Sigmoid,
)
from findings import chain_on, found


def chain(*layers, shape=(3, 28, 28)) -> Graph:
    return chain_on(shape, *layers)


@pytest.mark.parametrize("name", ["resnet-50", "preact-resnet-50", "densenet-121", "se-resnet-50", "inception-v4"])
@pytest.mark.parametrize(
    "rule",
    [weights_read_once, depthwise_reuse, groups_never_mix, uneven_channels, narrow_groups],
    ids=lambda rule: rule.name,
)
def test_modern_networks_have_none_of_it(rule, name):
    assert found(rule, name) == []


# fully connected layers at batch 1


def test_alexnet_reads_224_mib_of_weights_for_a_twelfth_of_its_work():
    (finding,) = found(weights_read_once, "alexnet")
    weights = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    assert finding.where == ("head.fc6", "head.fc7", "head.fc8")
    assert finding.evidence["bytes"] == 4 * weights == 234_487_808
    assert finding.evidence["share_of_macs"] == weights / 724_406_816
    assert finding.evidence["flops_per_byte"] == 0.5
    assert "223.62 MiB" in finding.text
    assert "8.1%" in finding.text
    assert finding.remedy.after.parameters < 4_000_000
    assert not finding.remedy.fix  # the rule about the head does it


@pytest.mark.parametrize("name", ["alexnet", "vgg-16", "zfnet"])
def test_traffic_is_what_the_roofline_counts(name):
    (finding,) = found(weights_read_once, name)
    everything = sum(bound.bytes for bound in roofline.roofline(cn.network(name).account(), roofline.device("t4")))
    assert finding.evidence["share_of_traffic"] == finding.evidence["bytes"] / everything


def test_a_device_says_how_far_from_its_ridge_they_are():
    (finding,) = found(weights_read_once, "vgg-16", device="raspberry-pi-5")
    assert finding.evidence["ridge"] == pytest.approx(153.6 / 17.068)
    assert finding.text.endswith("below 9.0 the device (Raspberry Pi 5, 4 Cortex-A76 cores) waits for memory")
    assert (
        finding.evidence["flops_per_byte"] < finding.evidence["ridge"] < finding.evidence["flops_per_byte_of_the_rest"]
    )


def test_without_a_vectorised_head_smaller_numbers_are_advised():
    (finding,) = found(weights_read_once, chain(FullyConnected(1000), ReLU(), FullyConnected(10), shape=(100,)))
    assert "8 bits" in finding.remedy.text
    assert finding.remedy.change is None


# depthwise layers


def test_mobilenet_v1_spends_3_percent_of_its_macs_and_a_third_of_its_traffic_on_depthwise_layers():
    (finding,) = found(depthwise_reuse, "mobilenet-v1-1.0")
    assert finding.evidence["layers"] == 13
    assert finding.evidence["share_of_macs"] == pytest.approx(0.0306, abs=5e-5)  # Howard et al. 2017, table 2
    assert finding.evidence["share_of_traffic"] == pytest.approx(1 / 3, abs=0.03)


def test_a_depthwise_3x3_does_9_macs_for_two_values_that_it_moves():
    graph = chain(Conv(64, 1, bias=False), DepthwiseConv(3, padding=1, bias=False), Conv(64, 1, bias=False))
    (finding,) = found(depthwise_reuse, graph)
    pixels = 28 * 28
    assert finding.evidence["flops_per_byte"] == 2 * 9 * 64 * pixels / (4 * (2 * 64 * pixels + 9 * 64))
    dense = 2 * (3 + 64) * 64 * pixels / (4 * ((3 + 64 + 64 + 64) * pixels + (3 + 64) * 64))
    assert finding.evidence["flops_per_byte_of_the_rest"] == pytest.approx(dense)
    assert finding.remedy.after.macs - account(graph).totals.macs == 7 * 9 * 64 * pixels  # 8 for 1


def test_depthwise_layers_of_a_torch_module_are_the_same():
    with torch.device("meta"):
        module = torch.nn.Sequential(
            *(torch.nn.Conv2d(3, 64, 1), torch.nn.Conv2d(64, 64, 3, padding=1, groups=64), torch.nn.Conv2d(64, 64, 1))
        )
    (finding,) = found(depthwise_reuse, cn.read(module, (3, 28, 28)))
    assert finding.where == ("1",)


# groups


def test_shufflenet_without_its_shuffles_never_mixes_its_groups():
    graph = cn.network("shufflenet-g3").graph()
    assert not found(groups_never_mix, graph)
    shuffles = {node: () for node in graph if isinstance(node.layer, ChannelShuffle)}
    without = changed(graph, Change(shuffles))
    (finding,) = found(groups_never_mix, without)
    assert len(finding.evidence["pairs"]) == len(shuffles) - 1  # the first unit's first 1x1 convolution has one group
    assert finding.evidence["groups"] == [3]
    assert finding.remedy.fix
    fixed = changed(without, finding.remedy.change)
    assert not found(groups_never_mix, fixed)
    assert Cost.of(account(fixed)) == finding.remedy.after
    assert account(fixed).totals.macs == account(without).totals.macs


def influence(*layers) -> list[bool]:
    """Whether each of 8 input channels reaches the first output channel, as torch's gradients say."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(*[layer.module((8, 4, 4)) for layer in layers]).eval()
    x = torch.rand(1, 8, 4, 4, requires_grad=True)
    module(x)[0, 0].sum().backward()
    return [bool(channel.any()) for channel in x.grad[0]]


def test_torchs_gradients_say_that_groups_do_not_mix_and_that_a_shuffle_mixes_them():
    grouped = Conv(8, 1, groups=2)
    layers = grouped, BatchNorm(), ReLU(), DepthwiseConv(3, padding=1), MaxPool(3, 1, padding=1), grouped
    assert found(groups_never_mix, chain(*layers, shape=(8, 4, 4)))
    assert influence(*layers) == 4 * [True] + 4 * [False]
    shuffled = *layers[:-1], ChannelShuffle(2), grouped
    assert not found(groups_never_mix, chain(*shuffled, shape=(8, 4, 4)))
    assert influence(*shuffled) == 8 * [True]


@pytest.mark.parametrize(
    "between", [Conv(8, 1), ChannelShuffle(4), Conv(8, 1, groups=4)], ids=["dense", "shuffle", "other groups"]
)
def test_what_mixes_groups_is_enough(between):
    layers = Conv(8, 3, padding=1, groups=2), between, Conv(8, 3, padding=1, groups=2)
    assert not found(groups_never_mix, chain(*layers, shape=(8, 4, 4)))


def test_alexnet_has_one_pair_for_its_two_gpus():
    (finding,) = found(groups_never_mix, "alexnet")
    assert finding.evidence["pairs"] == [("body.conv4", "body.conv5")]
    assert not found(groups_never_mix, "alexnet-ungrouped")


def test_gates_may_keep_groups_apart():
    layers = GlobalAvgPool(), Conv(8, 1, groups=2), ReLU(), Conv(8, 1, groups=2)
    assert not found(groups_never_mix, chain(*layers, shape=(8, 4, 4)))


def test_depthwise_layers_in_a_row_are_no_groups():
    assert not found(groups_never_mix, chain(DepthwiseConv((1, 5)), DepthwiseConv((5, 1)), Conv(9, 3, groups=3)))


# numbers of channels


def test_channels_are_filled_up_to_eights():
    graph = chain(
        *(Conv(20, 3, padding=1, bias=False), ReLU(), Conv(30, 3, padding=1, bias=False), GlobalAvgPool()),
        *(Flatten(), FullyConnected(10)),
    )
    (finding,) = found(uneven_channels, graph)
    assert finding.where == ("conv1", "conv2", "fc")
    assert finding.evidence["channels"] == [20, 30]
    pixels = 28 * 28
    assert finding.evidence["macs_filled_up"] == 9 * pixels * (3 * 24 + 24 * 32) + 32 * 10
    assert finding.remedy.after.macs == finding.evidence["macs_filled_up"]
    assert finding.remedy.fix
    assert not found(uneven_channels, changed(graph, finding.remedy.change))


def test_the_image_the_classes_and_depthwise_layers_are_not_asked():
    layers = Conv(16, 3), DepthwiseConv(3), Conv(24, 1), GlobalAvgPool(), Flatten(), FullyConnected(10)
    assert not found(uneven_channels, chain(*layers))


def test_the_channels_of_every_output_are_given():
    def describe(x):
        x = ReLU()(Conv(16, 3)(x))
        return [Conv(21, 1)(x), Sigmoid()(Conv(5, 1)(x)), Conv(4, 1)(x)]

    assert not found(uneven_channels, Graph.trace(describe, (3, 28, 28)))


def test_where_maps_are_joined_rounding_up_is_advice():
    def describe(x):
        return Add()(Conv(20, 1)(x), Conv(20, 1)(x))

    (finding,) = found(uneven_channels, Graph.trace(lambda x: Conv(8, 1)(describe(x)), (3, 28, 28)))
    assert not finding.remedy.fix
    assert finding.remedy.after.macs == 28 * 28 * (2 * 3 * 24 + 24 * 8)


@pytest.mark.parametrize("name", ["nasnet-a-mobile", "shufflenet-g2", "lenet-5"])
def test_some_published_networks_have_uneven_channels(name):
    assert found(uneven_channels, name)


def test_resnext_has_groups_of_4_in_its_first_stage():
    (finding,) = found(narrow_groups, "resnext-50-32x4d")
    assert finding.where == tuple(f"body.stage1.block{i}.conv2" for i in (1, 2, 3))
    assert finding.evidence["widths"] == [4]
    macs = 3 * 56 * 56 * 128 * 4 * 9
    assert finding.evidence["macs"] == macs
    assert finding.remedy.after.macs == account(cn.network("resnext-50-32x4d").graph()).totals.macs + macs  # 8 for 4


def test_groups_of_8_are_wide_enough_and_depthwise_layers_no_groups():
    assert not found(narrow_groups, chain(Conv(32, 1), Conv(32, 3, groups=4), Conv(32, 3, groups=32)))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (depthwise_reuse, "mobilenet-v2"),
        (uneven_channels, "shufflenet-g2"),
        (narrow_groups, "resnext-50-32x4d"),
        (large_stem_kernel, "resnet-50"),
        (unequal_branches, "googlenet"),
        (single_peak, "mobilenet-v2"),
    ],
)
def test_what_is_a_matter_of_the_device_is_told_where_one_is_given_or_asked_for(rule, name):
    assert [finding.quiet for finding in found(rule, name)] == [True]
    assert [finding.quiet for finding in found(rule, name, device="rtx-4090")] == [False]


def test_two_halves_of_two_layers_may_be_meant_and_a_chain_of_groups_not():
    assert found(groups_never_mix, "alexnet")[0].severity == "note"
    halves = [Conv(16, 3, padding=1, groups=2), ReLU()]
    chain = chain_on((3, 32, 32), Conv(16, 3, padding=1), *(halves * 3))
    assert found(groups_never_mix, chain)[0].severity == "warning"


def test_weights_read_once_go_with_the_head_that_has_them_or_the_input_that_is_too_small():
    for name, shape, cause in (("vgg-16", None, "C1"), ("resnet-18", (3, 32, 32), "I3")):
        findings = critique(cn.network(name).graph(shape) if shape else cn.network(name))
        (top,) = [f for f in findings if any(c.rule is weights_read_once for c in f.consequences)]
        assert top.rule.code == cause


def test_uneven_channels_of_less_than_a_million_macs_are_nobody_s_concern():
    """LeNet-5 has 0.4 million."""
    assert found(uneven_channels, "lenet-5", device="rtx-4090")[0].quiet
    assert not found(uneven_channels, "shufflenet-g2", device="rtx-4090")[0].quiet
