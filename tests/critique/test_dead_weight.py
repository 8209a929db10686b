"""Rules about what is computed for nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.critique.dead_weight import dropped_channels, unread_output
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    BatchNorm,
    Concat,
    Conv,
    Crop,
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
@pytest.mark.parametrize("rule", [unread_output, dropped_channels], ids=lambda rule: rule.name)
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
