"""Rules about what is computed for nothing: torch says what one layer can do instead of two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.critique.dead_weight import dropped_channels, linear_pair, unread_output
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    DepthwiseConv,
    FullyConnected,
    ReLU,
    Slice,
    TransposedConv,
)
from helpers import trace

FEW = settings(max_examples=60, deadline=None)


def findings(rule: Rule, graph: Graph) -> list[Finding]:
    return list(rule(Study(account(graph), Purpose())))


def one(rule: Rule, graph: Graph) -> Finding:
    (finding,) = findings(rule, graph)
    return finding


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "dpn-92", "nasnet-a-mobile", "xception"])
@pytest.mark.parametrize("rule", [unread_output, dropped_channels, linear_pair], ids=lambda rule: rule.name)
def test_published_designs_carry_no_dead_weight(name, rule):
    assert findings(rule, cn.network(name).graph()) == []


def test_layers_that_no_output_depends_on_are_found_and_left_out():
    def describe(x):
        y = ReLU()(Conv(8, 3)(x))
        BatchNorm()(Conv(4, 3)(y))
        return Conv(2, 1)(y)

    graph = trace(describe, (3, 8, 8))
    finding = one(unread_output, graph)
    assert finding.where == ("conv2", "bn")
    assert finding.evidence == {"layers": 2, "parameters": 4 * 8 * 9 + 4 + 8, "macs": 4 * 8 * 9 * 16}
    assert [node.layer for node in changed(graph, finding.remedy.change)] == [Conv(8, 3), ReLU(), Conv(2, 1)]


def test_learned_tensors_that_no_layer_reads_are_named():
    class Spare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(10, 5)

        def forward(self, x):
            return self.used(x)

    finding = one(unread_output, cn.read(Spare(), (3, 8, 8)))
    assert finding.where == ("spare.weight", "spare.bias")
    assert finding.evidence == {"tensors": 2, "parameters": 55}


def test_channels_that_a_slice_leaves_out_need_not_be_made():
    def describe(x):
        return Conv(2, 1)(Slice(0, 12)(ReLU()(BatchNorm()(Conv(16, 3, bias=False)(x)))))

    graph = trace(describe, (3, 8, 8))
    finding = one(dropped_channels, graph)
    assert finding.evidence == {"layers": 1, "share_read": 0.75, "macs": 4 * 27 * 36}
    assert finding.remedy.after.macs == 12 * 27 * 36 + 2 * 12 * 36
    assert findings(dropped_channels, changed(graph, finding.remedy.change)) == []


def test_channels_that_are_split_among_all_are_read():
    def describe(x):
        y = Conv(16, 3)(x)
        return Concat()(ReLU()(Slice(0, 8)(y)), Slice(8, 16)(y))

    assert findings(dropped_channels, trace(describe, (3, 8, 8))) == []


def test_pixels_that_a_crop_cuts_off_were_computed_for_nothing():
    graph = trace(lambda x: ReLU()(Crop(2)(Conv(4, 3, padding=1)(x))), (3, 10, 10))
    finding = one(dropped_channels, graph)
    assert finding.evidence == {"layers": 1, "share_read": 0.36, "macs": round(4 * 27 * 100 * 0.64)}
    assert findings(dropped_channels, trace(lambda x: Crop(1)(TransposedConv(4, 4, 2)(x)), (3, 8, 8))) == []


def test_two_fully_connected_layers_without_a_nonlinearity_are_one():
    graph = trace(lambda x: FullyConnected(10)(FullyConnected(400)(x)), (100,))
    finding = one(linear_pair, graph)
    assert finding.evidence == {"pairs": 1, "weights": 100 * 400 + 400 * 10, "macs": 100 * 400 + 400 * 10}
    assert finding.remedy.after.parameters == 100 * 10 + 10
    assert findings(linear_pair, trace(lambda x: FullyConnected(100)(FullyConnected(10)(x)), (100,))) == []


FACTORISATIONS = {
    "depthwise and 1x1": lambda x: Conv(64, 1)(DepthwiseConv(3)(x)),
    "1x1 and depthwise": lambda x: DepthwiseConv(3)(Conv(64, 1)(x)),
    "1x7 and 7x1": lambda x: Conv(32, (7, 1))(Conv(32, (1, 7))(x)),
    "3x3 and 3x3": lambda x: Conv(32, 3)(Conv(32, 3)(x)),
    "a linear bottleneck": lambda x: Conv(96, 1)(BatchNorm()(Conv(8, 1)(x))),
    "a nonlinearity between": lambda x: Conv(32, 1)(ReLU()(Conv(32, 1)(x))),
    "another reader": lambda x: (lambda y: Add()(Conv(32, 1)(y), y))(Conv(32, 1)(x)),
    "1x1 before a stride": lambda x: Conv(64, 3, 2)(Conv(4, 1)(x)),
}


@pytest.mark.parametrize("name", FACTORISATIONS)
def test_factorisations_are_meant(name):
    assert findings(linear_pair, trace(FACTORISATIONS[name], (32, 12, 12))) == []


@pytest.mark.slow
@FEW
@given(data=st.data())
def test_one_layer_computes_what_a_linear_pair_did(data):
    channels = st.sampled_from([4, 8, 12])
    kernel = st.sampled_from([1, 3])

    def convolution() -> Conv:
        k, groups = data.draw(kernel), data.draw(st.sampled_from([1, 2, 4]))
        d = data.draw(st.integers(1, 2))
        return Conv(data.draw(channels), k, data.draw(st.integers(1, 2)), dilation=d, groups=groups, bias=False)

    first, second = convolution(), convolution()
    graph = trace(lambda x: second(first(x)), (8, 23, 23))
    got = findings(linear_pair, graph)
    assume(got)
    change = got[0].remedy.change
    (one_layer,) = change.layers[graph.nodes[1]]
    pair, merged = build(graph).double(), build(changed(graph, change)).double()
    # the response to an impulse at each place of the window is the weight there
    k, d = one_layer.kernel, one_layer.dilation
    size = (k - 1) * d + 1
    weight = torch.autograd.functional.jacobian(pair, torch.zeros(1, 8, size, size, dtype=torch.double))[0, :, 0, 0, 0]
    read = weight[:, :, ::d, ::d]
    assert weight.abs().sum() == pytest.approx(read.abs().sum().item())  # there is nothing in the holes
    (parameter,) = merged.parameters()
    width = 8 // one_layer.groups
    for i, output in enumerate(read):
        group = i // (one_layer.channels // one_layer.groups)
        parameter.data[i] = output[group * width : (group + 1) * width]
    x = torch.randn(1, 8, 23, 23, dtype=torch.double)
    torch.testing.assert_close(merged(x), pair(x))
