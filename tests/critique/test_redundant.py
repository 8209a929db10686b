"""Rules about layers that repeat what the one before them did: torch says that the output stays the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cnnatomy as cn
from cnnatomy.critique.redundant import norm_after_norm, pool_after_pool
from cnnatomy.design import Chain, LinearHead, Residual
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.errors import ShapeError, UserError
from cnnatomy.layers import (
    GELU,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Interpolate,
    MaxPool,
    ReLU6,
    Scale,
)
from findings import RELU, conv, found, only
from helpers import trace

BN, RELU6 = BatchNorm(), ReLU6()
FEW = settings(max_examples=100, deadline=None)


def body(*layers) -> Chain:
    return Chain(conv(8), RELU, *layers, conv(16), RELU, LinearHead(10))


@pytest.mark.parametrize("rule", [pool_after_pool, norm_after_norm], ids=lambda rule: rule.name)
@pytest.mark.parametrize("name", ["vgg-16", "googlenet", "nasnet-a-mobile", "preact-resnet-18", "dpn-92"])
def test_published_designs_repeat_nothing(name, rule):
    assert [f for f in found(rule, cn.network(name).graph()) if not f.quiet] == []


def outputs(graph: Graph, x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    module = build(graph).eval()
    module.load_state_dict(weights)
    return module(x)


IDLE = {
    "a pool of one pixel": body(AvgPool(1)),
    "a maximum of one pixel": body(MaxPool(1)),
    "an enlargement by 1": body(Interpolate(1)),
    "a global average of one": Chain(conv(8), RELU, GlobalAvgPool(), LinearHead(10)),
    "an average before the global one": Chain(conv(8), RELU, AvgPool(4), LinearHead(10)),
}


@pytest.mark.parametrize("name", IDLE)
def test_a_pool_that_changes_nothing_is_left_out_and_the_output_is_the_same(name):
    graph = trace(IDLE[name], (3, 16, 16))
    finding = only(pool_after_pool, graph)
    assert (finding.severity, finding.quiet, finding.remedy.fix) == ("warning", False, "safe")
    x, module = torch.rand(2, 3, 16, 16), build(graph).eval()
    after = outputs(changed(graph, finding.remedy.change), x, module.state_dict())
    torch.testing.assert_close(after, module(x))


def test_a_pool_of_one_pixel_is_called_so():
    texts = [
        only(pool_after_pool, trace(body(*layers), (3, 16, 16))).text for layers in ([MaxPool(1)], [Interpolate(1)])
    ]
    assert texts == [
        "1 pool of one pixel: none of 2,048 values can change",
        "1 enlargement by 1: none of 2,048 values can change",
    ]
    both = only(pool_after_pool, trace(body(AvgPool(1), MaxPool(1), Interpolate(1)), (3, 16, 16)))
    assert both.text.startswith("2 pools of one pixel and 1 enlargement by 1: ")


def test_an_adaptive_pool_for_other_sizes_of_a_module_that_was_read_is_said_where_it_is_asked():
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(288, 10)]
    assert only(pool_after_pool, cn.read(nn.Sequential(*layers), (3, 8, 8))).quiet


sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1))


@FEW
@given(kind=st.sampled_from([MaxPool, AvgPool]), first=sizes, second=sizes, size=st.integers(12, 17))
def test_one_pool_gives_what_two_gave(kind, first, second, size):
    try:
        graph = trace(Chain(kind(*first), kind(*second)), (2, size, size))
    except (ShapeError, UserError):
        return
    made_one = [
        remedy for f in found(pool_after_pool, graph) for remedy in f.remedies if remedy.text.startswith("make each")
    ]
    x = torch.rand(1, 2, size, size)
    for remedy in made_one:
        assert remedy.fix == "safe"
        torch.testing.assert_close(build(changed(graph, remedy.change))(x), build(graph)(x))


def test_two_maxima_of_stride_1_are_one_too_many():
    pool = MaxPool(3, 1, 1)
    finding = only(pool_after_pool, trace(body(pool, pool), (3, 16, 16)))
    assert finding.evidence == {"pairs": [("chain.pool1", "chain.pool2")]}
    assert [remedy.text for remedy in finding.remedies] == [
        "leave chain.pool2 out",
        "make each two one pool: MaxPool(5, stride=1, padding=2) for chain.pool2",
    ]


REPEATED = {
    "maxima that halve": body(MaxPool(2), MaxPool(2)),
    "with ReLU between": body(MaxPool(3, 2, 1), RELU, MaxPool(3, 2, 1)),
    "with batch norm between": body(MaxPool(2), BN, MaxPool(2)),
    "averages": body(AvgPool(2), AvgPool(2)),
    "a maximum and an average": body(MaxPool(2), AvgPool(2)),
    "an average and a maximum, with ReLU between": body(AvgPool(2), RELU, MaxPool(2)),
    "averages with dropout between": body(AvgPool(2), Dropout(0.1), AvgPool(2)),
    "an average and a maximum, with dropout between": body(AvgPool(2), Dropout(0.1), MaxPool(2)),
    "three": body(*[MaxPool(3, 1, 1)] * 3),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_pool_after_a_pool_is_a_warning(name):
    finding = only(pool_after_pool, trace(REPEATED[name], (3, 16, 16)))
    assert finding.severity == "warning"


def pyramid(x):
    pools = [x]
    for _ in range(3):
        pools.append(MaxPool(5, 1, 2)(pools[-1]))
    return Conv(8, 1)(Concat()(*pools))


ONCE = {
    "the pyramid of YOLO": lambda x: pyramid(conv(8)(x)),
    "a maximum that is smoothed": body(MaxPool(2, 1), AvgPool(2)),
    "a global average after a maximum": Chain(conv(8), RELU, MaxPool(2), LinearHead(10)),
    "a convolution between": body(MaxPool(2), conv(8), MaxPool(2)),
}


@pytest.mark.parametrize("name", ONCE)
def test_pools_that_are_meant_are_no_objection(name):
    assert found(pool_after_pool, trace(ONCE[name], (3, 16, 16))) == []


NORMED_TWICE = {
    "batch norm": body(conv(8), BN, BN),
    "dropout between": body(conv(8), BN, Dropout(0.1), BN),
    "group norm": body(conv(8), GroupNorm(4), GroupNorm(4)),
    "of a vector": Chain(GlobalAvgPool(), Flatten(), FullyConnected(8), BN, BN, RELU, FullyConnected(10)),
}


@pytest.mark.parametrize("name", NORMED_TWICE)
def test_a_norm_after_a_norm_is_left_out(name):
    graph = trace(NORMED_TWICE[name], (3, 16, 16))
    finding = only(norm_after_norm, graph)
    assert (finding.severity, finding.evidence["layers"], finding.remedy.fix) == ("warning", 1, "safe")
    after = changed(graph, finding.remedy.change)
    assert found(norm_after_norm, after) == []
    assert len(after.nodes) == len(graph.nodes) - 1


def test_of_two_batch_norms_the_one_without_weights_goes():
    graph = trace(body(conv(8), BatchNorm(affine=False), BN), (3, 16, 16))
    (gone,) = only(norm_after_norm, graph).remedy.change.layers
    assert gone.layer == BatchNorm(affine=False)


def test_torch_computes_the_same_with_one_batch_norm_as_with_two():
    graph = trace(Chain(BN, BN), (3, 8, 8))
    after = changed(graph, only(norm_after_norm, graph).remedy.change)
    x = 5 + 3 * torch.randn(16, 3, 8, 8)
    torch.testing.assert_close(build(after).train()(x), build(graph).train()(x), atol=1e-4, rtol=1e-4)


NORMED_ONCE = {
    "an addition between": Chain(conv(8), Residual(conv(8), BN), BN, RELU, LinearHead(10)),
    "a shortcut reads it too": Chain(conv(8), BN, Residual(BN, RELU, conv(8)), RELU, LinearHead(10)),
    "weights between": body(conv(8), BN, RELU, conv(8), BN),
}


@pytest.mark.parametrize("name", NORMED_ONCE)
def test_batch_norms_of_different_things_are_no_objection(name):
    assert found(norm_after_norm, trace(NORMED_ONCE[name], (3, 16, 16))) == []


@pytest.mark.parametrize(
    ("between", "times", "expected"),
    [
        ([RELU], 1, "note"),
        ([MaxPool(2)], 1, "note"),
        ([RELU6, Scale()], 2, "note"),
        ([RELU], 3, "warning"),
        ([GELU(), MaxPool(2)], 3, "warning"),
    ],
)
def test_a_norm_with_no_weights_since_the_one_before_is_a_warning_where_it_is_the_habit(between, times, expected):
    graph = trace(body(*[conv(8), BN, *between, BN] * times), (3, 16, 16))
    finding = only(norm_after_norm, graph)
    assert (finding.severity, finding.evidence["layers"], finding.remedy.fix) == (expected, times, "unsafe")
    assert not finding.quiet
    assert found(norm_after_norm, changed(graph, finding.remedy.change)) == []


def test_the_stem_of_a_pre_activated_network_may_be_activated():
    assert only(norm_after_norm, cn.network("preact-resnet-50").graph()).quiet
