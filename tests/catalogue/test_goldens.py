"""Every network equals the golden integers, in total and stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cnnatomy as cn
from cnnatomy.analysis import Account
from cnnatomy.analysis.conventions import conventions

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "networks.json").read_text())

# Not in the goldens: (parameters, MACs, receptive field), as printed by the papers or counted by torchvision.
PUBLISHED = {
    "vgg-19": (143_667_240, 19_632_062_464, 268),
    "resnet-18": (11_689_512, 1_814_073_344, 435),
    "resnet-34": (21_797_672, 3_663_761_408, 899),
    "resnet-50": (25_557_032, 4_089_184_256, 427),
    "resnet-101": (44_549_160, 7_801_405_440, 971),
    "resnet-101-v1": (44_549_160, 7_570_194_432, 1027),
    "resnet-152": (60_192_808, 11_513_626_624, 1451),
    "resnet-18-option-c": (12_043_816, None, 435),
    "lenet-5-1998": (60_000, None, 16),
}


@pytest.fixture(params=GOLDENS)
def golden(request: pytest.FixtureRequest) -> tuple[dict, Account]:
    want = GOLDENS[request.param]
    return want, cn.network(request.param.replace("_", "-"), input=tuple(want["input"])).account()


def test_totals_equal_the_golden_ones(golden):
    want, account = golden
    totals = account.totals
    got = {"parameters": totals.parameters, "weights": totals.weights, "buffers": totals.buffers, "macs": totals.macs}
    assert got == {key: want[key] for key in got}
    assert account.receptive_field.size == (want["receptive_field"],) * 2
    assert account.receptive_field.stride == (want["stride"],) * 2


def test_feature_maps_equal_the_golden_ones_under_each_convention(golden):
    want, account = golden
    counted = conventions(account)["feature_map_elements"]
    assert {name: counted[name] for name in want["feature_maps"]} == want["feature_maps"]


def test_stages_follow_one_another_as_in_the_paper(golden):
    """Each stage is the shortest run of layers that ends with its parameters, MACs, shape and receptive field."""
    want, account = golden
    rows = iter(account.rows)
    for name, output, field, stride, parameters, macs in want["stages"]:
        if name.startswith("aux"):  # auxiliary heads come after the body in the graph: counted in the totals
            continue
        spent = [0, 0]
        for row in rows:
            spent[0] += row.parameters
            spent[1] += row.macs
            shape = (*row.output, 1, 1)[: max(3, len(row.output))]
            here = row.receptive_field
            if (spent, list(shape)) == ([parameters, macs], output) and (here.size[0], here.stride[0]) == (
                field,
                stride,
            ):
                break
            assert spent[0] <= parameters, f"{name}: {row.path} has too many parameters"
            assert spent[1] <= macs, f"{name}: {row.path} has too many MACs"
        else:
            pytest.fail(f"the stage {name} is not to be found")
    if not any(stage[0].startswith("aux") for stage in want["stages"]):
        assert sum(row.parameters + row.macs for row in rows) == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    parameters, macs, field = PUBLISHED[name]
    account = cn.network(name).account()
    assert account.totals.parameters == parameters
    assert macs is None or account.totals.macs == macs
    assert account.receptive_field.size == (field, field)


def test_lenet_5_of_1998_has_the_trainable_parameters_of_each_layer_that_the_paper_gives():
    account = cn.network("lenet-5-1998").account()
    parts = ("tail.c1", "tail.s2", "body.c3", "body.s4", "head.c5", "head.f6")
    assert [account.part(part).parameters for part in parts] == [156, 12, 1516, 32, 48120, 10164]


@pytest.mark.parametrize(
    ("name", "depth"),
    [("alexnet", 8), ("vgg-11", 11), ("vgg-16", 16), ("vgg-19", 19), ("googlenet", 22), ("densenet-121", 121)]
    + [(f"resnet-{depth}", depth) for depth in (18, 34, 50, 101, 152)],
)
def test_depth_is_the_number_in_the_name(name, depth):
    assert cn.network(name).account().depth == depth


@pytest.mark.parametrize(
    ("name", "neurons"),
    # figure 2 of the AlexNet paper; its 253,440 for the first layer is an error: 55 * 55 * 96 = 290,400
    [("alexnet", [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000])],
)
def test_neurons_of_each_layer(name, neurons):
    assert [row.feature_map_elements for row in cn.network(name).account() if row.weights] == neurons
