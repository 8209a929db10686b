"""Large kernels against stacks of 3x3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnatomy.analysis import account
from cnnatomy.critique.kernels import large_kernel, large_stem_kernel
from cnnatomy.design import Graph
from cnnatomy.edits.change import Cost, changed
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv, GroupNorm, LeakyReLU, ReLU
from findings import chain_on, found


def chain(*layers, shape=(3, 28, 28)) -> Graph:
    return chain_on(shape, *layers)


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "se-resnet-50", "resnext-50-32x4d"])
def test_modern_networks_have_large_kernels_in_the_first_layer_alone(name):
    assert not found(large_kernel, name)


# Simonyan and Zisserman 2014, section 2.3: 3 (9 C^2) for 49 C^2; the lecture: 18 for 25


@pytest.mark.parametrize(("kernel", "layers"), [(5, 2), (7, 3), (11, 5)])
def test_a_stack_of_3x3_has_fewer_weights_and_macs_and_more_nonlinearities(kernel, layers):
    graph = chain(Conv(64, 3, padding=1), Conv(64, kernel, padding=kernel // 2), ReLU())
    (finding,) = found(large_kernel, graph)
    evidence = finding.evidence
    assert evidence["weights"] == kernel**2 * 64 * 64
    assert evidence["weights_stacked"] == layers * 9 * 64 * 64
    assert evidence["macs_stacked"] == layers * 9 * 64 * 64 * 28 * 28
    assert (evidence["nonlinearities"], evidence["nonlinearities_stacked"]) == (1, layers)
    after = changed(graph, finding.remedy.change)
    assert account(after).receptive_field.size == account(graph).receptive_field.size
    assert Cost.of(account(after)) == finding.remedy.after
    assert finding.remedy.fix


def test_normalisation_and_activation_of_the_layer_are_those_between_the_layers_of_the_stack():
    conv = Conv(32, 5, padding=2, bias=False)
    graph = chain(Conv(64, 1), conv, BatchNorm(), LeakyReLU(0.2), Conv(8, 1))
    (finding,) = found(large_kernel, graph)
    three = Conv(32, 3, padding=1, bias=False)
    assert finding.remedy.change.layers == {graph.nodes[1]: (three, BatchNorm(), LeakyReLU(0.2), three)}


def test_between_its_layers_a_stack_has_the_channels_of_the_narrower_side():
    (finding,) = found(large_kernel, "googlenet")
    assert len(finding.where) == 9
    reduced = {16: 32, 24: 64, 32: 64, 48: 128}
    assert all(9 * a * a + 9 * a * b < 25 * a * b for a, b in reduced.items())
    # table 1 of Szegedy et al. 2014, "#5x5 reduce" and "#5x5"
    table = [(16, 32), (32, 96), (16, 48), (24, 64), (24, 64), (32, 64), (32, 128), (32, 128), (48, 128)]
    assert finding.evidence["weights"] == sum(25 * a * b for a, b in table)
    assert finding.evidence["weights_stacked"] == sum(9 * a * a + 9 * a * b for a, b in table)


def test_alexnets_second_layer_keeps_its_groups():
    (finding,) = found(large_kernel, "alexnet")
    assert finding.where == ("body.conv2",)
    assert finding.evidence["weights"] == 25 * 48 * 256
    assert finding.evidence["weights_stacked"] == 9 * 48 * 96 + 9 * 48 * 256


@pytest.mark.parametrize(
    "layer",
    [
        DepthwiseConv(7, padding=3),
        Conv(64, 7, padding=3, groups=64),
        Conv(64, 7, stride=7),
        Conv(64, (1, 7), padding=(0, 3)),
        Conv(64, 28),
        Conv(64, 5, padding=4, dilation=2),
        Conv(64, 6),
    ],
    ids=repr,
)
def test_depthwise_patches_rows_vectorisation_and_dilation_are_another_matter(layer):
    graph = chain(Conv(64, 3, padding=1), layer)
    assert not found(large_kernel, graph)
    assert not found(large_stem_kernel, graph)


def test_the_first_layer_of_resnet_50_would_be_that_of_resnet_c():
    (finding,) = found(large_stem_kernel, "resnet-50")
    assert finding.severity == "note"
    assert finding.evidence["weights"] == 9_408
    assert finding.evidence["weights_stacked"] == 27 * 32 + 9 * 32 * 32 + 9 * 32 * 64
    assert finding.evidence["macs_stacked"] == 112**2 * (27 * 32 + 9 * 32 * 32 + 9 * 32 * 64)
    # ResNet-50-C has 4.3 G "FLOPs" for the 4.1 G of ResNet-50-B (He et al. 2018, table 5)
    assert finding.remedy.after.macs == pytest.approx(4.33e9, rel=0.01)
    assert not finding.remedy.fix


def test_a_first_layer_of_stride_4_becomes_two_of_stride_2_and_one_more():
    (finding,) = found(large_stem_kernel, "alexnet")
    (layers,) = finding.remedy.change.layers.values()
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    assert [(conv.channels, conv.kernel, conv.stride) for conv in convs] == [(48, 3, 2), (48, 3, 2), (96, 3, 1)]


def test_a_first_layer_that_has_much_of_all_work_is_not_made_dearer_still():
    """Of SqueezeNet 1.0's 833 M MACs the 7x7 has 174 M, three 3x3 would have 792 M."""
    assert not found(large_stem_kernel, "squeezenet-1.0")
    assert found(large_stem_kernel, "googlenet")  # 118 M become 358 M, of 1,583 M in all


def test_a_stack_that_a_normalisation_in_groups_cannot_follow_is_not_proposed():
    graph = chain(Conv(9, 3, padding=1), Conv(12, 5, padding=2), GroupNorm(4), ReLU())
    assert not found(large_kernel, graph)


@given(
    kernel=st.sampled_from([5, 7, 9, 11, 13]),
    stride=st.integers(1, 6),
    padding=st.integers(0, 6),
    size=st.integers(14, 40),
    first=st.booleans(),
)
def test_a_stack_sees_at_least_as_much_and_fits_where_it_says_so(kernel, stride, padding, size, first):
    conv = Conv(16, kernel, stride, padding)
    layers = (conv, ReLU()) if first else (Conv(8, 1), conv, ReLU())
    graph = chain(*layers, shape=(3, size, size))
    for finding in found(large_stem_kernel if first else large_kernel, graph):
        if finding.remedy.change is None:  # the output would have another shape
            continue
        ((node, stack),) = finding.remedy.change.layers.items()
        alone = chain(*stack, shape=node.inputs[0].shape)
        assert min(account(alone).receptive_field.size) >= kernel
        assert account(alone).receptive_field.stride == (stride, stride)
        assert not finding.remedy.fix or finding.evidence["weights_stacked"] < finding.evidence["weights"]


def test_what_a_stack_saves_decides_how_much_it_matters():
    """Of AlexNet's MACs 16 %, of GoogLeNet's 4, of Inception V3's 2; LeNet's are 107 thousand."""
    said = {
        name: (finding.severity, finding.quiet)
        for name in ("alexnet", "googlenet", "inception-v3", "lenet-5")
        for finding in found(large_kernel, name)
    }
    assert said["alexnet"] == ("note", False)
    assert said["googlenet"] == ("note", False)
    assert said["inception-v3"][1]
    assert said["lenet-5"][1]


def test_a_large_first_kernel_without_a_stride_is_no_stem():
    assert not found(large_stem_kernel, "lenet-5")
