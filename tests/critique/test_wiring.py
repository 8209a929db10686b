"""Rules about strides and kernels, with torch as the judge."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique.wiring import stride_skips_pixels, uneven_transposed_convolution
from cnnatomy.design import KeypointHead, Residual
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    Flatten,
    MaxPool,
    ReLU,
    Shift,
    Subsample,
    TransposedConv,
    ZeroPad,
)
from findings import found, only
from helpers import trace

RULES = (stride_skips_pixels, uneven_transposed_convolution)
FEW = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "resnext-50-32x4d", "vgg-16"])
def test_good_wiring_gets_no_warning(name):
    assert [f for rule in RULES for f in found(rule, name) if f.severity != "note"] == []


# strides


def test_resnet_as_published_throws_three_quarters_of_three_maps_away():
    finding = only(stride_skips_pixels, "resnet-50-v1")
    assert finding.severity == "warning"
    assert finding.evidence == {"maps": 3, "layers": 6, "share_read": 0.25}  # 1x1 convolutions: branch and shortcut
    after = cn.network("resnet-50").account().totals  # v1.5
    assert finding.remedy.after == (after.parameters, after.macs, after.feature_map_elements)
    assert after.macs / cn.network("resnet-50-v1").account().totals.macs == pytest.approx(1.06, abs=0.001)


def test_the_shortcuts_of_v1_5_are_a_note_and_become_those_of_resnet_d():
    finding = only(stride_skips_pixels, "resnet-50")
    assert (finding.severity, finding.evidence) == ("note", {"layers": 3, "share_read": 1})
    assert finding.quiet  # said where it is asked
    graph = cn.network("resnet-50").graph()
    after = changed(graph, only(stride_skips_pixels, graph).remedy.change)
    assert found(stride_skips_pixels, after) == []
    pools = [node for node in after if isinstance(node.layer, AvgPool)]
    assert [node.layer.kernel for node in pools] == [2, 2, 2]


@pytest.mark.parametrize("name", ["mobilenet-v2", "densenet-121", "vgg-16", "alexnet", "googlenet", "squeezenet-1.0"])
def test_windows_that_touch_leave_nothing_out(name):
    assert found(stride_skips_pixels, name) == []


def test_half_of_the_pixels_is_what_two_shifted_subsamplings_read():
    def factorized(x):
        x = ReLU()(x)
        odd = Crop((1, 0, 1, 0))(ZeroPad((0, 1, 0, 1))(x))
        return Concat()(Conv(4, 1)(Subsample(2)(x)), Conv(4, 1)(Subsample(2)(odd)))

    finding = only(stride_skips_pixels, trace(factorized, (3, 8, 8)))
    assert finding.evidence == {"layers": 2, "share_read": 0.5}
    assert (finding.severity, finding.quiet) == ("note", True)  # as in NASNet, and meant


def test_a_stride_goes_to_the_convolution_before_and_the_output_is_the_same():
    graph = trace(
        cn.Chain(Conv(8, 3, padding=1, bias=False), BatchNorm(), ReLU(), Conv(16, 1, 2, bias=False)), (3, 9, 8)
    )
    finding = only(stride_skips_pixels, graph)
    assert finding.evidence["share_read"] == 20 / 72  # 5 rows of 9, 4 columns of 8
    assert finding.remedy.fix == "safe"
    assert finding.remedy.after.macs == 8 * 27 * 20 + 16 * 8 * 20
    after = changed(graph, finding.remedy.change)
    one_module, other = build(graph).eval(), build(after).eval()
    for mine, theirs in zip(other.parameters(), one_module.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    x = torch.randn(2, 3, 9, 8)
    torch.testing.assert_close(other(x), one_module(x))


def test_of_a_stride_on_a_trunk_after_an_addition_the_pixels_are_averaged_or_read_by_larger_kernels():
    block = Residual(Conv(8, 3, padding=1), ReLU(), Conv(8, 3, padding=1), after=ReLU())
    graph = trace(cn.Chain(Conv(8, 3, padding=1), ReLU(), block, Conv(8, 1, 2), block), (3, 32, 32))
    finding = only(stride_skips_pixels, graph)
    assert (finding.severity, finding.where) == ("warning", ("chain.conv2",))
    average, larger = finding.remedies
    assert average.text.startswith("average the pixels before chain.conv2, ")
    assert (average.after.parameters, average.after.macs) == (
        account(graph).totals.parameters,
        account(graph).totals.macs,
    )
    assert larger.text == "give chain.conv2 3x3 kernels, so that no pixel is skipped"
    for remedy in finding.remedies:
        assert found(stride_skips_pixels, changed(graph, remedy.change)) == []


def test_a_first_layer_that_skips_pixels_of_the_image_goes_with_its_large_kernel():
    finding = only(stride_skips_pixels, trace(Conv(64, 7, 8, padding=3), (3, 224, 224)))
    assert (finding.severity, finding.under) == ("warning", ("C6",))


QUIET = {
    "a 1x1 beside a 3x3, as in RepVGG": lambda x: Add()(Conv(8, 3, 2, padding=1)(x), Conv(8, 1, 2)(x)),
    "a 1x1 after a shift": lambda x: Conv(8, 1, 2)(Shift(3)(x)),
}


@pytest.mark.parametrize("name", QUIET)
def test_pixels_that_are_skipped_on_purpose_are_said_where_it_is_asked(name):
    (finding,) = found(stride_skips_pixels, trace(lambda x: QUIET[name](Conv(9, 3)(x)), (3, 18, 18)))
    assert (finding.severity, finding.quiet) == ("note", True)


def test_a_dilated_kernel_can_read_every_second_pixel_only():
    graph = trace(lambda x: Conv(4, 3, 2, padding=2, dilation=2)(ReLU()(x)), (3, 16, 16))
    finding = only(stride_skips_pixels, graph)
    assert finding.evidence["share_read"] == 0.25
    assert finding.remedy.change is None


readers = st.one_of(
    st.builds(
        lambda k, s, p, d: (Conv(2, k, s, min(p, k // 2), d, bias=False),),
        st.integers(1, 3),
        st.integers(2, 4),
        st.integers(0, 1),
        st.integers(1, 3),
    ),
    st.builds(lambda s: (ReLU(), Subsample(s)), st.integers(2, 3)),
    st.builds(lambda t, s: (Crop((t, 0, t, 1)), Conv(1, 1, s, bias=False)), st.integers(0, 2), st.integers(2, 3)),
    st.builds(lambda t: (ZeroPad((t, 1, 0, 2)), ReLU(), MaxPool(1, 2)), st.integers(0, 2)),
)


@FEW
@given(chains=st.lists(readers, min_size=1, max_size=3), rows=st.integers(14, 17), columns=st.integers(14, 17))
def test_the_share_that_is_read_is_the_share_that_has_a_gradient(chains, rows, columns):
    def describe(x):
        ends = []
        for chain in chains:
            y = x
            for layer in chain:
                y = layer(y)
            ends.append(Flatten()(y))
        return Concat()(*ends)

    graph = trace(describe, (1, rows, columns))
    gaps = [f for f in found(stride_skips_pixels, graph) if f.evidence["share_read"] < 1]
    module = build(graph)
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    x = torch.rand(1, 1, rows, columns).add(0.1).requires_grad_()
    module(x).sum().backward()
    read = (x.grad != 0).float().mean().item()
    if gaps:
        assert gaps[0].evidence["share_read"] == pytest.approx(read, abs=1e-6)
    else:  # all are read, but for rows and columns at the end that no window reaches: another rule's concern
        first = [chain[0] for chain in chains if isinstance(chain[0], Conv)]
        touching = [c for c in first if len({i * c.dilation % c.stride for i in range(c.kernel)}) == c.stride]
        assert read == 1 or touching


# transposed convolutions


def test_a_3x3_transposed_convolution_of_stride_2_is_uneven_by_four_to_one():
    graph = trace(TransposedConv(8, 3, 2, padding=1, output_padding=1, bias=False), (16, 7, 7))
    finding = only(uneven_transposed_convolution, graph)
    assert finding.evidence == {"layers": 1, "most": 4, "least": 1}
    layers = {remedy.change.layers[graph.nodes[0]][0]: remedy for remedy in finding.remedies if remedy.change}
    usual, cheap = TransposedConv(8, 4, 2, padding=1, bias=False), TransposedConv(8, 2, 2, bias=False)
    assert list(layers) == [cheap, usual]  # 16 products for 9 are dear where the network is this one layer
    assert layers[usual].after.macs == 16 * 8 * 16 * 7 * 7
    for layer in layers:
        assert found(uneven_transposed_convolution, trace(layer, (16, 7, 7))) == []


def test_the_smaller_even_kernel_comes_first_where_its_windows_overlap():
    def enlarged(kernel: int, padding: int) -> Graph:
        layer = TransposedConv(4, kernel, 2, padding, 1, bias=False)
        return trace(cn.Chain(Conv(64, 3, padding=1), layer, layer), (32, 7, 7))

    finding = only(uneven_transposed_convolution, enlarged(5, 2))
    assert finding.text.startswith("2 transposed convolutions with uneven overlap: of a channel's weights 9 meet ")
    assert [remedy.text for remedy in finding.remedies[:2]] == ["take kernels of 4x4", "take kernels of 6x6"]
    finding = only(uneven_transposed_convolution, enlarged(3, 1))
    assert [remedy.text for remedy in finding.remedies[:2]] == ["take kernels of 4x4", "take kernels of 2x2"]


sizes = st.integers(1, 5)


@FEW
@given(k=sizes, s=st.integers(2, 4), p=st.integers(0, 2), o=st.integers(0, 1), d=st.integers(1, 2))
def test_as_many_weights_meet_in_a_pixel_as_torch_adds_up(k, s, p, o, d):
    assume((7 - 1) * s - 2 * p + d * (k - 1) + o + 1 >= 1)
    layer = TransposedConv(1, k, s, p, o, d, bias=False)
    graph = trace(layer, (1, 7, 7))

    def sums(layer):
        ones = torch.ones(1, 1, 15, 15)
        weight = torch.ones(1, 1, layer.kernel, layer.kernel)
        y = torch.nn.functional.conv_transpose2d(ones, weight, None, layer.stride, dilation=layer.dilation)
        middle = y[0, 0, 5 * s : -5 * s, 5 * s : -5 * s]  # where the border plays no part
        return int(middle.max()), int(middle.min())

    got = found(uneven_transposed_convolution, graph)
    most, least = sums(layer)
    assert bool(got) == (most != least)
    if got:
        assert (got[0].evidence["most"], got[0].evidence["least"]) == (most, least)
        for change in [remedy.change for remedy in got[0].remedies if remedy.change]:
            (evened,) = change.layers[graph.nodes[0]]
            assert evened.output_shape((1, 7, 7)) == graph.outputs[0].shape
            if math.gcd(s, d) == 1:
                assert len(set(sums(evened))) == 1


def test_the_head_of_keypoints_is_even():
    network = cn.network("resnet-18").replace(head=KeypointHead(17))
    assert found(uneven_transposed_convolution, network) == []
