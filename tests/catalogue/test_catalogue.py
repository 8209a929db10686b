"""The contract that every network of the catalogue keeps."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import cnnatomy as cn
from cnnatomy.catalogue import BLOCKS, find
from cnnatomy.design import BLOCKS as GENERAL
from cnnatomy.layers import LAYERS

NAMES = [entry.name for entry in cn.ENTRIES]


def deep_ones_slowly(entry):
    slow = len(entry.network().graph().nodes) > 100
    return pytest.param(entry.name, marks=pytest.mark.slow) if slow else entry.name


@pytest.mark.parametrize("name", [deep_ones_slowly(entry) for entry in cn.ENTRIES])
def test_the_built_module_is_what_the_description_predicts(name):
    """Shapes at every node, parameters, buffers and MACs, as torch itself reports them (on the meta device)."""
    network = cn.network(name)
    account = network.account()
    with torch.device("meta"):
        module = network.build()
        x = torch.empty(2, *network.input)  # in training batch norm needs two values for each channel
    module.train()  # with auxiliary heads
    shapes: dict[str, tuple[int, ...]] = {}
    for path, part in module.named_modules():
        part.register_forward_hook(lambda _m, _i, out, path=path: shapes.update({path: getattr(out, "shape", ())[1:]}))
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert {row.path: row.output for row in account} == {row.path: tuple(shapes[row.path]) for row in account}
    assert sum(p.numel() for p in module.parameters()) == account.totals.parameters
    buffers = {n: b for n, b in module.named_buffers() if not n.endswith("num_batches_tracked")}
    assert sum(b.numel() for b in buffers.values()) == account.totals.buffers
    assert counter.get_total_flops() == 2 * 2 * account.totals.macs


@pytest.mark.parametrize("name", NAMES)
def test_other_numbers_of_classes_change_the_last_layer_alone(name):
    entry = find(name)
    if entry.fixed_classes:
        with pytest.raises(cn.UserError, match=r"exactly 10|no classifier"):
            entry.network(classes=7)
        return
    network = entry.network(classes=7)
    assert network.graph().outputs[0].shape == (7,)
    assert (network.tail, network.body) == (entry.network().tail, entry.network().body)


def test_every_name_and_alias_is_accepted_in_any_case_and_with_any_separator():
    for entry in cn.ENTRIES:
        for name in (entry.name, *entry.aliases):
            for written in (name.upper(), name.replace("-", "_"), name.replace("-", "")):
                assert find(written) is entry


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vgg-d", "vgg-16"),
        ("resnet-50-v1-5", "resnet-50"),
        ("ResNet50", "resnet-50"),
        ("alexnet-grouped", "alexnet"),
        ("LeNet5", "lenet-5"),
        ("resnet-18-optA", "resnet-18-option-a"),
        ("squeezenet1_0", "squeezenet-1.0"),
    ],
)
def test_what_people_call_them(name, meant):
    assert find(name).name == meant


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(cn.UserError, match=r"'resnet-51'\. Did you mean resnet-50"):
        cn.network("resnet-51")


def test_no_two_blocks_have_one_name():
    kinds = [kind.__name__ for kind in (*LAYERS, *GENERAL, *BLOCKS)]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("entry", cn.ENTRIES, ids=NAMES)
def test_every_entry_says_what_it_is(entry):
    assert entry.family in ("chain", "parallel", "dense", "residual", "searched")
    assert entry.summary
    assert str(entry.year)[:2] in ("19", "20")
    assert entry.paper
