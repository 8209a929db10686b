"""The contract that every network of the catalogue keeps."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from torch import nn

import cnnatomy as cn
from cnnatomy.analysis import Account
from cnnatomy.catalogue import BLOCKS, find
from cnnatomy.design import BLOCKS as GENERAL
from cnnatomy.layers import LAYERS
from helpers import Watched, described, learned, on_meta, stored, watch
from kinds import KINDS, NAMES, by_depth, one_of_each_kind


class Built(NamedTuple):
    """A network, and what torch says of its module, which is built and run once for all tests."""

    network: cn.Network
    account: Account
    module: nn.Module
    ran: Watched


@pytest.fixture(scope="module", params=by_depth())
def built(request: pytest.FixtureRequest) -> Built:
    """Without numbers, and in training, so that auxiliary heads run as well."""
    network = cn.network(request.param)
    module, x = on_meta(network)
    return Built(network, network.account(), module, watch(module.train(), x))


def test_every_map_has_the_shape_that_was_predicted(built: Built):
    predicted = {row.path: row.output for row in built.account}
    assert {path: built.ran.shapes[path] for path in predicted} == predicted


def test_two_flops_a_mac_are_what_torch_counts(built: Built):
    assert built.ran.flops == 2 * 2 * built.account.totals.macs  # of two images


def test_every_tensor_is_where_the_description_says_and_all_are_counted(built: Built):
    parameters, buffers = described(built.network.graph())
    assert learned(built.module) == parameters
    assert stored(built.module) == buffers
    totals = built.account.totals
    assert sum(p.numel() for p in built.module.parameters()) == totals.parameters
    assert sum(built.module.get_buffer(name).numel() for name in buffers) == totals.buffers


def test_module_names_are_the_paths_of_the_graph(built: Built):
    paths = [node.path for node in built.network.graph()]
    assert len(set(paths)) == len(paths)
    # no module is used twice: otherwise torch would name it once
    every_name = [path for path, _ in built.module.named_modules(remove_duplicate=False)]
    assert every_name == [path for path, _ in built.module.named_modules()]
    assert set(paths) <= set(every_name)
    leaves = {path for path, part in built.module.named_modules() if not list(part.children())}
    assert set(paths) >= {path for path in leaves if learned(built.module.get_submodule(path))}
    assert all(path.split(".")[0] in ("tail", "body", "head") for path in paths)
    assert [child for child, _ in built.module.named_children()] == ["tail", "body", "head"]


def test_networks_of_one_kind_differ_in_depth_and_width_alone():
    """What `make test` takes for granted when it asks one of each kind, checked where people would say so."""
    kinds = {names[0]: set(names[1:]) for names in KINDS.values()}
    assert set(kinds) == one_of_each_kind()
    assert kinds["resnet-50"] == {"resnet-101", "resnet-152"}  # the stride is elsewhere in resnet-50-v1
    assert kinds["densenet-121"] == {"densenet-161", "densenet-169", "densenet-201", "densenet-264"}
    assert kinds["resnext-50-32x4d"] == {"resnext-101-32x4d", "resnext-101-64x4d"}
    assert kinds["preact-resnet-110-cifar"] == kinds["inception-v4"] == set()


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
