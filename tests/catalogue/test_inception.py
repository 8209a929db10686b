"""The inception family: what the goldens do not say."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.catalogue.parallel.googlenet import INCEPTIONS, NaiveInception
from cnnatomy.design import Graph
from cnnatomy.layers import Add, Constant, Conv


def test_the_naive_module_keeps_rows_and_columns_and_adds_to_the_channels():
    graph = Graph.trace(NaiveInception(128, 192, 96), (256, 28, 28))
    assert graph.outputs[0].shape == (128 + 192 + 96 + 256, 28, 28)


def test_a_naive_module_costs_what_the_formula_for_mixed_filters_says():
    """channels in * rows * columns * the sum of kernel^2 * channels out."""
    macs = sum(
        node.layer.operations([x.shape for x in node.inputs], node.output.shape).mac
        for node in Graph.trace(NaiveInception(128, 192, 96), (256, 28, 28)).nodes
    )
    assert macs == 256 * 28 * 28 * (1 * 128 + 9 * 192 + 25 * 96)


def test_module_3a_has_fewer_weights_than_one_kernel_of_3x3_or_5x5_for_all_its_channels():
    account = cn.network("googlenet").account().part("body.inception3a")
    assert (account.weights, account.macs) == (163_328, 128_049_152)
    costs = [
        (layer.parameters((192, 28, 28))["weight"], layer.operations([(192, 28, 28)], (256, 28, 28)).mac)
        for layer in (Conv(256, 3, padding=1), Conv(256, 5, padding=2))
    ]
    assert costs == [((256, 192, 3, 3), 346_816_512), ((256, 192, 5, 5), 963_379_200)]


def test_without_reductions_googlenet_costs_eight_times_as_much():
    naive, googlenet = (cn.network(name).account().totals.macs for name in ("googlenet-naive", "googlenet"))
    assert 7.9 < naive / googlenet < 8
    assert set(INCEPTIONS) == {"3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"}


def test_the_stages_of_googlenet_are_56_28_14_and_7_pixels_wide():
    rows = [row.output[1] for row in cn.network("googlenet").account() if len(row.output) == 3 and row.output[1] > 1]
    assert list(dict.fromkeys(rows)) == [112, 56, 28, 14, 7]


def test_the_sizes_of_table_1_of_inception_v2():
    account = cn.network("inception-v2-table-stem").account()
    sizes = [
        account.input[1],
        *(row.output[1] for row in account if row.path.rpartition(".")[2][:4] in ("conv", "pool")),
    ]
    assert sizes == [299, 149, 147, 147, 73, 71, 35, 35]


def test_inception_v4_has_no_residual_connection_and_inception_resnet_scales_all_of_its_own_but_the_last():
    def count(name: str, kind: type) -> int:
        return sum(isinstance(row.node.layer, kind) for row in cn.network(name).account())

    assert count("inception-v4", Add) == 0
    assert (count("inception-resnet-v1", Add), count("inception-resnet-v1", Constant)) == (20, 20)
    assert (count("inception-resnet-v2", Add), count("inception-resnet-v2", Constant)) == (40, 39)


def test_a_network_that_ends_in_features_says_that_it_has_no_classifier():
    with pytest.raises(cn.UserError, match="inception-v2-table-stem has no classifier: it ends in features"):
        cn.network("inception-v2-table-stem", classes=10)
