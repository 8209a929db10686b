"""Accounts: rows add up to totals at every depth, and each operation is counted by its kind."""

from __future__ import annotations

import dataclasses

import pytest

import cnnatomy as cn
from cnnatomy.analysis import Totals
from cnnatomy.analysis.conventions import conventions
from cnnatomy.layers import AvgPool, BatchNorm, Conv, Flatten, FullyConnected, MaxPool, ReLU, Softmax
from kinds import each_kind

QUICK = (
    "lenet-5-1998",
    "vgg-16",
    "googlenet-aux",
    "densenet-121",
    "se-resnet-50",
    "nasnet-a-mobile",
    "msdnet-imagenet",
)
NAMES = [
    entry.name if entry.name in QUICK else pytest.param(entry.name, marks=pytest.mark.slow) for entry in cn.ENTRIES
]


def parts(account, depth):
    for line in account.at_depth(depth):
        yield line.totals if hasattr(line, "totals") else Totals.of([line])


@pytest.mark.slow
@each_kind
def test_subtotals_add_up_to_the_total_at_every_depth(name):
    account = cn.network(name).account()
    for depth in (1, 2, 3, 9):
        sums = map(sum, zip(*map(dataclasses.astuple, parts(account, depth)), strict=True))
        assert tuple(sums) == dataclasses.astuple(account.totals)


def test_depth_1_is_tail_body_and_head():
    lines = cn.network("resnet-50").account().at_depth(1)
    assert [line.path for line in lines] == ["tail", "body", "head"]
    assert [line.output for line in lines] == [(64, 56, 56), (2048, 7, 7), (1000,)]


def test_the_last_stage_of_resnet_50_has_most_of_its_parameters():
    account = cn.network("resnet-50").account()
    assert account.part("body.stage4").parameters == 14_964_736
    assert account.part("tail").parameters == 9_536
    with pytest.raises(KeyError):
        account.part("body.stage9")


def test_operations_by_kind_checked_by_hand():
    network = cn.Network(
        tail=Conv(4, 3, padding=1),  # 4*6*6 outputs of 2*9 MACs and one offset
        body=cn.Chain(BatchNorm(), ReLU(), MaxPool(2), AvgPool(3)),
        head=cn.Chain(Flatten(), FullyConnected(5), Softmax()),
        input=(2, 6, 6),
    )
    totals = network.account().totals
    assert totals.macs == 4 * 36 * 18 + 5 * 4
    assert totals.multiplies == 4 * 36  # batch norm, folded
    assert totals.adds == 4 * 36 + 4 * 36 + 4 * 9 + 5 + 5  # offsets, batch norm, average pool, fc offsets, softmax
    assert totals.compares == 4 * 36 + 4 * 9 * 4  # ReLU, max pool
    assert totals.divides == 4 + 5  # average pool, softmax
    assert totals.exponentials == 5
    assert totals.feature_map_elements == 3 * 4 * 36 + 4 * 9 + 4 + 4 + 5 + 5
    assert totals.parameters == 4 * 18 + 4 + 8 + 25
    assert totals.buffers == 8


def test_local_response_norm_does_not_count_as_macs():
    with_norm, without = (cn.network(name).account().totals for name in ("vgg-a-lrn", "vgg-a"))
    assert with_norm.macs == without.macs
    assert with_norm.exponentials - without.exponentials == 64 * 224 * 224


def test_parameter_conventions_by_name():
    named = conventions(cn.network("resnet-50").account())["parameters"]
    assert named == {
        "learned": 25_557_032,
        "weights only": 25_502_912,
        "with statistics": 25_610_152,
        "without classifier": 25_557_032 - 2_049_000,
    }


# https://github.com/albanie/convnet-burden/tree/master/reports: MB of features at 224x224, which are MiB
BURDENS = {
    "se-resnet-50": (26_928_536, 103),
    "se-resnet-101": (40_612_312, 155),
    "se-resnext-50-32x4d": (34_555_288, 132),
}


@pytest.mark.parametrize("name", BURDENS)
def test_with_relu_in_place_a_gate_is_written_over_its_input_too_as_in_the_convnet_burden_tables(name):
    counted, printed = BURDENS[name]
    assert conventions(cn.network(name).account())["feature_map_elements"]["ReLU in place"] == counted
    assert round(4 * counted / 2**20) == printed


def test_a_network_accounts_for_any_input_that_fits():
    assert cn.network("resnet-50").account((3, 512, 1024)).features.shape == (2048, 16, 32)
    with pytest.raises(cn.ShapeError, match=r"body\.pool5: MaxPool\(3, stride=2\) got 256x2x2"):
        cn.network("alexnet-torchvision").account((3, 50, 50))


def test_wide_inputs_see_the_same_along_rows_and_columns():
    field = cn.network("vgg-16").account((3, 64, 320)).receptive_field
    assert field.size == (212, 212)
