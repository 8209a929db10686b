"""Rules about what is computed for nothing."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique.dead_weight import dropped_channels, unread_output
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Crop,
    MaxPool,
    ReLU,
    Slice,
    TransposedConv,
)
from findings import found, only
from helpers import trace


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "densenet-121", "dpn-92", "nasnet-a-mobile", "xception"])
@pytest.mark.parametrize("rule", [unread_output, dropped_channels], ids=lambda rule: rule.name)
def test_published_designs_carry_no_dead_weight(name, rule):
    assert found(rule, cn.network(name).graph()) == []


def test_layers_that_no_output_depends_on_are_found_and_left_out():
    def describe(x):
        y = ReLU()(Conv(8, 3)(x))
        BatchNorm()(Conv(4, 3)(y))
        return Conv(2, 1)(y)

    graph = trace(describe, (3, 8, 8))
    finding = only(unread_output, graph)
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

    finding = only(unread_output, cn.read(Spare(), (3, 8, 8)))
    assert finding.where == ("spare.weight", "spare.bias")
    assert finding.evidence == {"tensors": 2, "parameters": 55}


def test_channels_that_a_slice_leaves_out_need_not_be_made():
    def describe(x):
        return Conv(2, 1)(Slice(0, 12)(ReLU()(BatchNorm()(Conv(16, 3, bias=False)(x)))))

    graph = trace(describe, (3, 8, 8))
    finding = only(dropped_channels, graph)
    assert finding.evidence == {"layers": 1, "share_read": 0.75, "macs": 4 * 27 * 36}
    assert finding.remedy.after.macs == 12 * 27 * 36 + 2 * 12 * 36
    assert found(dropped_channels, changed(graph, finding.remedy.change)) == []


def test_channels_that_are_split_among_all_are_read():
    def describe(x):
        y = Conv(16, 3)(x)
        return Concat()(ReLU()(Slice(0, 8)(y)), Slice(8, 16)(y))

    assert found(dropped_channels, trace(describe, (3, 8, 8))) == []


def test_pixels_that_a_crop_cuts_off_were_computed_for_nothing():
    graph = trace(lambda x: ReLU()(Crop(2)(Conv(4, 3, padding=1)(x))), (3, 10, 10))
    finding = only(dropped_channels, graph)
    assert finding.evidence == {"layers": 1, "share_read": 0.36, "macs": round(4 * 27 * 100 * 0.64)}
    assert found(dropped_channels, trace(lambda x: Crop(1)(TransposedConv(4, 4, 2)(x)), (3, 8, 8))) == []


def branches(*slices: Slice, count: int = 2):
    def describe(x):
        ends = [ReLU()(BatchNorm()(Conv(8, 3, bias=False)(x))) for _ in range(count)]
        y = Concat()(*ends)
        return Concat()(*[Conv(4, 1)(part(y)) for part in slices])

    return trace(describe, (3, 8, 8))


@pytest.mark.parametrize(
    ("slices", "count", "left"),
    [
        ([Slice(0, 8)], 2, []),  # the second is not read
        ([Slice(8, 16)], 2, []),  # the first
        ([Slice(0, 16)], 3, []),
        ([Slice(16, 24)], 3, []),
        ([Slice(0, 8), Slice(16, 24)], 3, [Slice(0, 8), Slice(8, 16)]),
        ([Slice(4, 8)], 2, [Slice(4, 8)]),
    ],
)
def test_a_branch_of_which_every_reader_drops_all_channels_is_deleted(slices, count, left):
    graph = branches(*slices, count=count)
    finding = only(dropped_channels, graph)
    dead = count - len({i // 8 for part in slices for i in range(part.start, part.stop)})
    assert finding.severity == "warning"
    assert finding.evidence == {"layers": 3 * dead, "parameters": dead * (8 * 27 + 16), "macs": dead * 8 * 27 * 36}
    assert finding.remedy.fix == "safe"
    after = changed(graph, finding.remedy.change)
    assert [node.layer for node in after if isinstance(node.layer, Slice)] == left
    assert finding.remedy.after.macs == account(after).totals.macs
    x = torch.rand(1, 3, 8, 8)
    before, smaller = build(graph).eval(), build(after).eval()
    kept = [node for node in graph if node not in finding.remedy.change.dropped]
    weights = [node for node in kept if node.layer.parameters(*[y.shape for y in node.inputs])]
    twins = [node for node in after if node.layer.parameters(*[y.shape for y in node.inputs])]
    for node, twin in zip(weights, twins, strict=True):
        smaller.get_submodule(twin.path).load_state_dict(before.get_submodule(node.path).state_dict())
    torch.testing.assert_close(smaller(x), before(x))


def test_a_branch_that_is_read_in_part_is_to_make_less():
    finding = only(dropped_channels, branches(Slice(0, 12)))
    assert (finding.where, finding.evidence) == (("relu2",), {"branches": 1, "channels_read": 4, "channels": 8})
    assert finding.remedy.text == "let the branch that ends in relu2 make 4 channels"


def test_what_is_read_elsewhere_stays_and_is_not_used_where_it_is_joined_and_dropped():
    def read_elsewhere(x):
        y = Conv(8, 3)(x)
        z = ReLU()(Conv(6, 3)(x))
        return Conv(4, 1)(Slice(0, 8)(Concat()(y, z))), z

    graph = trace(read_elsewhere, (3, 8, 8))
    finding = only(dropped_channels, graph)
    assert (finding.severity, finding.where) == ("warning", ("concat", "split"))
    assert finding.evidence == {"joins": 1, "channels_read": 8, "channels": 14}
    assert finding.text == "the skip from relu is not used: concat joins its 6 channels, and split drops all of them"
    use, leave_out = finding.remedies
    assert use.fix == "unsafe"
    assert use.after.parameters == account(graph).totals.parameters + 4 * 6  # the 1x1 reads 14 channels for 8
    assert found(dropped_channels, changed(graph, use.change)) == []
    assert leave_out.text == "leave the skip out, with concat and split: the same output"


def down_and_up(*ends, keep: Slice) -> Graph:
    """A skip around a pool and an enlargement; what follows their concatenation, and the slice of it."""

    def describe(x):
        fine = ReLU()(Conv(6, 3, padding=1)(x))
        coarse = TransposedConv(8, 2, 2)(Conv(12, 3, padding=1)(MaxPool(2)(fine)))
        y = Concat()(coarse, fine)
        for end in ends:
            y = end(y)
        return Conv(2, 1)(keep(y))

    return trace(describe, (3, 8, 8))


@pytest.mark.parametrize("ends", [(), (BatchNorm(), ReLU())], ids=["at once", "after batch norm"])
def test_the_skip_of_an_encoder_is_sliced_away(ends):
    assert "is not used" in only(dropped_channels, down_and_up(*ends, keep=Slice(0, 8))).text
    assert found(dropped_channels, down_and_up(*ends, keep=Slice(0, 14))) == []
    part = only(dropped_channels, down_and_up(*ends, keep=Slice(0, 11)))
    assert part.text.endswith(" 3 of 6 channels are read after concat")
    assert part.remedy.text == "leave split out, so that all is read"


def test_a_branch_goes_without_what_it_was_made_of_where_that_is_joined_and_read():
    graph = down_and_up(keep=Slice(8, 14))
    finding = only(dropped_channels, graph)
    assert finding.where == ("pool", "conv2", "deconv")
    after = changed(graph, finding.remedy.change)
    assert [node.layer for node in after] == [Conv(6, 3, padding=1), ReLU(), Conv(2, 1)]


def test_where_more_channels_do_not_fit_a_1x1_reads_them_all():
    def describe(x):
        y = ReLU()(Conv(8, 3, padding=1)(x))
        z = Slice(0, 8)(Concat()(Conv(8, 3, padding=1)(y), y))
        return Add()(z, ReLU()(Conv(8, 3, padding=1)(z)))

    graph = trace(describe, (3, 8, 8))
    remedy = only(dropped_channels, graph).remedy
    assert remedy.text == "put 1x1 convolutions, which read all, in place of split"
    assert found(dropped_channels, changed(graph, remedy.change)) == []


def test_a_slice_of_a_concatenation_in_torch_is_one_too():
    class Skip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.more, self.end = (torch.nn.Conv2d(n, m, 1) for n, m in ((3, 6), (6, 8), (8, 2)))

        def forward(self, x):
            fine = self.fine(x).relu()
            return self.end(torch.cat([self.more(fine), fine], 1)[:, :8])

    assert "is not used" in only(dropped_channels, cn.read(Skip(), (3, 8, 8))).text
