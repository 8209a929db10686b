"""Every network equals the golden integers, in total and stage by stage."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

import cnnatomy as cn
from cnnatomy import catalogue
from cnnatomy.analysis import Account
from cnnatomy.analysis.conventions import conventions

FOLDER = Path(__file__).parents[1] / "goldens"
GOLDENS = json.loads((FOLDER / "networks.json").read_text())
PUBLISHED = json.loads((FOLDER / "published.json").read_text())
FAMILIES = sorted(file for file in Path(catalogue.__file__).parent.glob("*/*.py") if file.name != "__init__.py")


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
    want = PUBLISHED[name]
    account = cn.network(name).account()
    for key in want.keys() & {"parameters", "macs"}:
        got = getattr(account.totals, key)
        assert abs(got - want[key]) <= want.get("within", 0) * want[key], f"{key}: {got:,}, but {want['source']}"
    if "receptive_field" in want:
        assert account.receptive_field.size == (want["receptive_field"],) * 2


def with_goldens() -> set[str]:
    """The networks of the catalogue that a golden speaks of."""
    return {catalogue.find(name.replace("_", "-")).name for name in (*GOLDENS, *PUBLISHED)}


@pytest.fixture(params=FAMILIES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def family(request: pytest.FixtureRequest) -> ModuleType:
    """Each file of the catalogue, whether its index lists it or not."""
    return importlib.import_module(f"{catalogue.__name__}.{request.param.parent.name}.{request.param.stem}")


def test_every_family_is_in_the_index(family):
    where = family.__name__
    assert {"BLOCKS", "ENTRIES"} <= set(vars(family)), f"end {where} with BLOCKS and ENTRIES"
    assert family in catalogue._FAMILIES, f"add {where} to _FAMILIES in src/cnnatomy/catalogue/__init__.py"
    blocks = [kind for kind in vars(family).values() if isinstance(kind, type) and issubclass(kind, cn.Block)]
    own = {kind for kind in blocks if kind.__module__ == where and not kind.__name__.startswith("_")}
    missing = sorted(kind.__name__ for kind in own - set(family.BLOCKS))
    assert not missing, f"add {', '.join(missing)} to the BLOCKS of {where}, so that designs can name them"


def test_every_family_has_a_golden(family):
    names = [entry.name for entry in family.ENTRIES]
    assert not names or with_goldens() & set(names), (
        f"none of {', '.join(names)} has a golden: write what its paper or the code of others counts, and who says so, "
        "to tests/goldens/published.json (totals) or networks.json (totals and stages); see tests/goldens/README.md"
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_count_says_whose_it_is(name):
    assert PUBLISHED[name]["source"]
    assert PUBLISHED[name].keys() & {"parameters", "macs"}


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
