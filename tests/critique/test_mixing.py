"""Rules about what layers in a row combine: channels that never meet, and pixels that never do."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique.mixing import depthwise_after_depthwise, pointwise_run
from cnnatomy.design import Chain, LinearHead, Residual
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import BatchNorm, ChannelShuffle, Conv, DepthwiseConv, Flatten, GlobalAvgPool, MaxPool
from findings import RELU, body, found, only
from helpers import trace

BN = BatchNorm()
DEPTHWISE = DepthwiseConv(3, padding=1, bias=False)


def conv(channels: int, kernel: int = 1, **options) -> Conv:
    return Conv(channels, kernel, padding=kernel // 2, **options)


@pytest.mark.parametrize("rule", [depthwise_after_depthwise, pointwise_run], ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", ["mobilenet-v1-1.0", "mobilenet-v2", "xception", "nasnet-a-mobile", "shufflenet-g3"])
def test_published_designs_mix_what_they_should(name, rule):
    assert found(rule, cn.network(name).graph()) == []


UNMIXED = {
    "nothing between": body(DEPTHWISE, DEPTHWISE, conv(64)),
    "batch norm and ReLU between": body(DEPTHWISE, BN, RELU, DEPTHWISE, BN, RELU, conv(64)),
    "a pool between": body(DEPTHWISE, RELU, MaxPool(2), DEPTHWISE, conv(64)),
    "another kernel": body(DepthwiseConv(5, padding=2), BN, DEPTHWISE, conv(64)),
    "as many groups as channels": body(conv(32, 3, groups=32), RELU, conv(32, 3, groups=32), conv(64)),
    "a residual branch": Chain(
        conv(32, 3), RELU, Residual(DEPTHWISE, BN, RELU, DEPTHWISE, BN), conv(64), LinearHead(10)
    ),
}


@pytest.mark.parametrize("name", UNMIXED)
def test_depthwise_convolutions_in_a_row_never_mix_their_channels(name):
    graph = trace(UNMIXED[name], (3, 32, 32))
    finding = only(depthwise_after_depthwise, graph)
    assert (finding.severity, finding.evidence["longest"]) == ("warning", 2)
    for remedy in finding.remedies:
        assert found(depthwise_after_depthwise, changed(graph, remedy.change)) == []


def test_what_torch_computes_in_one_channel_depends_on_no_other_until_they_are_mixed():
    graph = trace(Chain(DEPTHWISE, BN, RELU, DEPTHWISE), (4, 8, 8))
    changes = [remedy.change for remedy in only(depthwise_after_depthwise, graph).remedies]
    (mixed,) = [g for g in (changed(graph, c) for c in changes) if any(isinstance(n.layer, Conv) for n in g)]

    def channels_that_matter(graph: Graph) -> int:
        x = torch.rand(1, 4, 8, 8, requires_grad=True)
        build(graph).eval()(x)[0, 0].sum().backward()
        return int((x.grad.abs().sum(dim=(0, 2, 3)) > 0).sum())

    assert channels_that_matter(graph) == 1
    assert channels_that_matter(mixed) > 1


@pytest.mark.parametrize(("first", "second", "left"), [(1, 2, 2), (2, 1, 2), (1, 1, 1)])
def test_of_depthwise_convolutions_in_a_row_the_one_that_samples_down_is_kept(first, second, left):
    rows = DepthwiseConv(3, first, 1), DepthwiseConv(3, second, 1)
    graph = trace(body(rows[0], RELU, rows[1], conv(64)), (3, 32, 32))
    keep = next(remedy for remedy in only(depthwise_after_depthwise, graph).remedies if "keep one" in remedy.text)
    (kept,) = [node.layer for node in changed(graph, keep.change) if isinstance(node.layer, DepthwiseConv)]
    assert kept.stride == left


def test_where_two_of_them_sample_down_none_is_left_out():
    graph = trace(body(DepthwiseConv(3, 2, 1), RELU, DepthwiseConv(3, 2, 1), conv(64)), (3, 32, 32))
    (remedy,) = only(depthwise_after_depthwise, graph).remedies
    assert remedy.text.startswith("put a 1x1 convolution between")


MIXED = {
    "1x1 between": body(DEPTHWISE, RELU, conv(32), DEPTHWISE, conv(64)),
    "a large kernel taken apart by dilation": body(DepthwiseConv(5, padding=2), DepthwiseConv(7, 1, 9, 3), conv(64)),
    "1x7 and 7x1": body(DepthwiseConv((1, 7), padding=(0, 3)), DepthwiseConv((7, 1), padding=(3, 0)), conv(64)),
    "an addition between": Chain(conv(32, 3), RELU, Residual(DEPTHWISE), DEPTHWISE, conv(64), LinearHead(10)),
}


@pytest.mark.parametrize("name", MIXED)
def test_depthwise_convolutions_may_follow_where_channels_are_mixed_or_one_kernel_is_taken_apart(name):
    assert found(depthwise_after_depthwise, trace(MIXED[name], (3, 32, 32))) == []


RUNS = {
    "three": (body(conv(64), RELU, conv(64), RELU, conv(64)), 3),
    "with batch norm": (body(conv(64), BN, RELU, conv(64), BN, RELU, conv(96), BN), 3),
    "four": (body(*[conv(32), RELU] * 4), 4),
}


@pytest.mark.parametrize("name", RUNS)
def test_three_1x1_convolutions_in_a_row_see_no_more_than_one(name):
    design, longest = RUNS[name]
    graph = trace(design, (3, 32, 32))
    finding = only(pointwise_run, graph)
    assert (finding.severity, finding.evidence["longest"], finding.under) == ("warning", longest, ("S1",))
    assert "stays at 3x3 pixels" in finding.text
    for remedy in finding.remedies:
        after = changed(graph, remedy.change)
        assert found(pointwise_run, after) == []
        assert account(after).totals.macs > account(graph).totals.macs


POINTWISE = {
    "network in network": Chain(
        *(conv(96, 5), RELU, conv(96), RELU, conv(96), RELU, MaxPool(2), conv(192, 5), RELU, conv(192), RELU),
        *(conv(10), RELU, GlobalAvgPool(), Flatten()),
    ),
    "the last makes the scores": Chain(conv(96, 3), RELU, conv(96), RELU, conv(96), RELU, conv(10), GlobalAvgPool()),
    "a pool between": body(conv(64), RELU, conv(64), MaxPool(2), conv(64), RELU),
    "inverted residuals": body(DEPTHWISE, RELU, conv(16), BN, conv(96), RELU, DEPTHWISE),
    "one pixel": Chain(conv(8, 3), GlobalAvgPool(), *[conv(8), RELU] * 4),
    "groups": body(*[conv(32, groups=4), RELU, ChannelShuffle(4)] * 3),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_1x1_convolutions_may_follow_one_another_where_they_are_meant_to(name):
    assert found(pointwise_run, trace(POINTWISE[name], (3, 32, 32))) == []
