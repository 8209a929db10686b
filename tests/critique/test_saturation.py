"""The rule about saturating nonlinearities: in which bodies it finds them, and what is a gate."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.critique import critique
from cnnatomy.critique.saturation import saturating_body
from cnnatomy.design import ListedNetwork
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Hardsigmoid,
    MaxPool,
    Multiply,
    ReLU,
    Sigmoid,
    Softsign,
    Tanh,
)
from findings import PLAIN, found, only, said
from helpers import trace
from peers import on_meta

SIGMOIDS = PLAIN.replace("ReLU", "Sigmoid")


def test_eight_sigmoids_one_after_another_are_replaced_by_relu():
    text = SIGMOIDS.replace("TIMES", "7")
    finding = only(saturating_body, text)
    assert (finding.severity, finding.evidence) == ("warning", {"layers": 8, "in_a_row": 8})
    assert "each passes at most a quarter" in finding.text
    assert finding.remedy.fix == "unsafe"


@pytest.mark.parametrize(
    ("cut", "expected"),
    [("{least: -1, most: 1}", ["warning"]), ("{least: 0, most: 6}", []), ("{least: -10, most: 10}", [])],
)
def test_a_hard_tanh_saturates_where_it_cuts_both_sides_of_normalised_values(cut, expected):
    text = SIGMOIDS.replace("TIMES", "7").replace("Sigmoid", f"{{Hardtanh: {cut}}}")
    assert said(saturating_body, text) == expected


@pytest.mark.parametrize(("times", "expected"), [(1, []), (2, []), (3, ["note"]), (4, ["warning"]), (9, ["warning"])])
def test_networks_of_the_size_of_lenet_learn_with_them(times, expected):
    assert said(saturating_body, SIGMOIDS.replace("TIMES", str(times))) == expected


@pytest.mark.parametrize(("name", "expected"), [("lenet-5", ["note"]), ("lenet-5-1998", ["note"]), ("vgg-16", [])])
def test_lenet_gets_a_note(name, expected):
    assert said(saturating_body, name) == expected


@pytest.mark.parametrize("kind", [Sigmoid, Tanh, Hardsigmoid, Softsign])
@pytest.mark.parametrize("norm", [True, False])
def test_batch_norm_residuals_and_pooling_do_not_help(kind, norm):
    def layer(x):
        x = Conv(8, 3, padding=1)(x)
        return kind()(BatchNorm()(x) if norm else x)

    def describe(x):
        x = MaxPool(2)(layer(x))
        for _ in range(3):
            x = kind()(Add()(x, Conv(8, 3, padding=1)(layer(x))))
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))

    graph = trace(describe, (3, 16, 16))
    finding = only(saturating_body, graph)
    assert (finding.severity, finding.evidence["layers"]) == ("warning", 7)
    after = changed(graph, finding.remedy.change)
    assert [type(node.layer) for node in after].count(ReLU) == 7
    assert found(saturating_body, after) == []
    listed = ListedNetwork.of(graph, "listed")
    assert [found.rule.code for found in critique(listed)][:1] == ["N9"]


def gated(gate):
    """Five blocks, each of which multiplies a map by a gate."""

    def describe(x):
        for _ in range(5):
            x = ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))
            x = gate(x)
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))

    return trace(describe, (3, 16, 16))


def squeeze_and_excitation(x):
    return Multiply()(x, Sigmoid()(Conv(8, 1)(ReLU()(Conv(2, 1)(GlobalAvgPool()(x))))))


def swish(x):
    return Multiply()(x, Sigmoid()(x))


def hard_swish(x):
    return Multiply()(x, Hardsigmoid()(x))


def gated_linear_unit(x):
    return Multiply()(Tanh()(Conv(8, 1)(x)), Sigmoid()(Conv(8, 1)(x)))


@pytest.mark.parametrize("gate", [squeeze_and_excitation, swish, hard_swish, gated_linear_unit])
def test_gates_are_meant_to_saturate(gate):
    assert found(saturating_body, gated(gate)) == []


def test_a_body_of_sigmoids_with_gates_is_still_one():
    def describe(x):
        for _ in range(5):
            x = squeeze_and_excitation(Sigmoid()(BatchNorm()(Conv(8, 3, padding=1)(x))))
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))

    finding = only(saturating_body, trace(describe, (3, 16, 16)))
    assert finding.evidence == {"layers": 5, "in_a_row": 5}


def test_outputs_and_heads_of_coordinates_may_saturate():
    def describe(x):
        x = Flatten()(GlobalAvgPool()(ReLU()(BatchNorm()(Conv(8, 3, padding=1)(x)))))
        for _ in range(5):
            x = Tanh()(FullyConnected(16)(x))
        return Sigmoid()(FullyConnected(4)(x))

    assert found(saturating_body, trace(describe, (3, 16, 16))) == []


@pytest.mark.peers
@pytest.mark.parametrize("name", ["mobilenetv3_large_100", "efficientnet_b0", "regnety_032", "hardcorenas_a"])
def test_networks_with_gates_hear_nothing(name):
    module, shape = on_meta(f"timm:{name}")
    assert found(saturating_body, cn.read(module, shape)) == []
