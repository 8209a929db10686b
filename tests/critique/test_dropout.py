"""Rules about dropout: where it harms, where it is missing, and what fixes it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from statistics import mean

import pytest
import torch

import cnnatomy as cn
from cnnatomy.critique.dropout import dropout_before_batch_norm, high_dropout_rate, vector_head_without_dropout
from cnnatomy.edits.change import changed
from cnnatomy.layers import Add, BatchNorm, Conv, Dropout, Flatten, FullyConnected, GlobalAvgPool, MaxPool, ReLU
from findings import found, only, said
from helpers import trace


def test_dropout_before_batch_norm_shifts_its_variance():
    def describe(x):
        x = Dropout(0.2)(ReLU()(BatchNorm()(Conv(8, 3)(x))))
        x = ReLU()(BatchNorm()(Conv(8, 3)(x)))
        return Dropout(0.5)(x)

    finding = only(dropout_before_batch_norm, trace(describe, (3, 16, 16)))
    assert (finding.where, finding.evidence["rate"]) == (("dropout1",), 0.2)
    kept = torch.nn.functional.dropout(torch.randn(1_000_000), 0.2)
    assert kept.var().item() == pytest.approx(finding.evidence["variance_ratio"], rel=0.02)


def test_dropout_after_the_last_batch_norm_is_welcome():
    for name in ("vgg-16-bn", "mobilenet-v2", "inception-v4", "alexnet"):
        assert found(dropout_before_batch_norm, name) == []
    graph = trace(lambda x: BatchNorm()(Dropout(0.0)(x)), (3, 9, 9))
    assert found(dropout_before_batch_norm, graph) == []


def test_lenet_has_a_vectorised_head_without_dropout():
    finding = only(vector_head_without_dropout, "lenet-5")
    assert (finding.severity, finding.quiet) == ("note", True)  # 58,920 weights
    assert finding.evidence == {"layers": 3, "weights": 400 * 120 + 120 * 84 + 84 * 10, "pixels": 25}
    graph = cn.network("lenet-5").graph()
    after = changed(graph, only(vector_head_without_dropout, graph).remedy.change)
    read = {node.inputs[0].node.path: node.path for node in after if node.inputs[0].node}
    assert [read[node.path] for node in after if isinstance(node.layer, Dropout)] == ["head.f6"]


@pytest.mark.parametrize("name", ["alexnet", "vgg-16", "resnet-50", "squeezenet-1.0"])
def test_heads_with_dropout_or_a_global_average_are_silent(name):
    assert found(vector_head_without_dropout, name) == []


def test_a_batch_norm_in_a_vectorised_head_is_capacity_control_too():
    def describe(x):
        x = Flatten()(ReLU()(Conv(8, 3)(x)))
        return FullyConnected(10)(ReLU()(BatchNorm()(FullyConnected(64)(x))))

    assert found(vector_head_without_dropout, trace(describe, (3, 9, 9))) == []


def normalised(*between, channels=64):
    """Convolution, batch norm, ReLU, twice, with something between."""

    def describe(x):
        x = ReLU()(BatchNorm()(Conv(channels, 3, padding=1)(x)))
        x = Conv(channels, 3, padding=1)(x) if between[0] == "before batch norm" else x
        for layer in between[1:]:
            x = layer(x)
        x = BatchNorm()(x) if between[0] == "before batch norm" else BatchNorm()(Conv(channels, 3, padding=1)(x))
        return FullyConnected(10)(Flatten()(GlobalAvgPool()(ReLU()(x))))

    return trace(describe, (3, 16, 16))


@pytest.mark.parametrize(
    ("place", "rate", "expected"),
    [
        ("before batch norm", 0.5, ["warning"]),
        ("before batch norm", 0.2, ["warning"]),
        ("before batch norm", 0.1, []),
        ("before a convolution", 0.5, ["warning"]),
        ("before a convolution", 0.3, ["warning"]),
        ("before a convolution", 0.2, ["note"]),
        ("before a convolution", 0.05, []),
    ],
)
def test_how_much_dropout_shifts_says_how_severe_it_is(place, rate, expected):
    assert said(dropout_before_batch_norm, normalised(place, Dropout(rate))) == expected
    assert len(found(dropout_before_batch_norm, normalised(place, Dropout(rate)))) == 1


def test_what_was_measured_of_dropout_is_what_the_rule_says():
    runs = json.loads((Path(__file__).parents[2] / "benchmarks/results/dropout_place.json").read_text())["runs"]
    right = {}
    for run in runs:
        right.setdefault((run["place"], run["dropout"]), []).append(run["accuracy"])
    means = {key: f"{mean(values):.1%}".replace("%", " %") for key, values in right.items()}
    page = inspect.getdoc(dropout_before_batch_norm.check)
    assert f"where {means['nowhere', 0.0]} are right" in page
    for rate in (0.5, 0.25, 0.1):
        assert f"| {rate} | {means['before batch norm', rate]} | {means['before a convolution', rate]} |" in page


def test_dropout_after_pooling_harms_as_well():
    assert said(dropout_before_batch_norm, normalised("before a convolution", MaxPool(2), Dropout(0.5))) == ["warning"]


@pytest.mark.parametrize(("channels", "expected"), [(64, "warning"), (160, "note")])
def test_branches_of_wide_resnets_bear_dropout(channels, expected):
    def block(x):
        y = Conv(channels, 3, padding=1)(ReLU()(BatchNorm()(x)))
        return Add()(x, Conv(channels, 3, padding=1)(ReLU()(BatchNorm()(Dropout(0.3)(y)))))

    graph = trace(lambda x: ReLU()(BatchNorm()(block(block(x)))), (channels, 8, 8))
    finding = only(dropout_before_batch_norm, graph)
    assert (finding.severity, finding.remedy.fix) == (expected, "safe")
    assert not [node for node in changed(graph, finding.remedy.change) if isinstance(node.layer, Dropout)]


@pytest.mark.parametrize(("rate", "expected"), [(0.5, []), (0.7, []), (0.8, ["warning"]), (0.95, ["warning"])])
def test_a_rate_near_one_leaves_next_to_nothing(rate, expected):
    graph = trace(lambda x: FullyConnected(10)(Dropout(rate)(Flatten()(GlobalAvgPool()(x)))), (64, 8, 8))
    assert said(high_dropout_rate, graph) == expected
    if expected:
        finding = only(high_dropout_rate, graph)
        assert finding.remedy.fix == "unsafe"
        (after,) = [node.layer for node in changed(graph, finding.remedy.change) if isinstance(node.layer, Dropout)]
        assert after.rate == 0.5


@pytest.mark.parametrize(("rates", "under"), [([0.9], ("N12",)), ([0.9, 0.5], ()), ([0.5], ())])
def test_a_rate_near_one_comes_before_where_it_is(rates, under):
    def describe(x):
        for rate in rates:
            x = BatchNorm()(Conv(64, 3, padding=1)(Dropout(rate)(x)))
        return x

    graph = trace(describe, (64, 8, 8))
    assert only(dropout_before_batch_norm, graph).under == under
    assert all(finding.under == () for finding in found(high_dropout_rate, graph))


@pytest.mark.parametrize(
    ("hidden", "before"), [([1024], [1024]), ([512], [512]), ([128], [64 * 16 * 16]), ([256, 256], [256])]
)
def test_few_features_before_the_scores_are_not_dropped(hidden, before):
    def describe(x):
        x = Flatten()(ReLU()(Conv(64, 3, padding=1)(x)))
        for features in hidden:
            x = ReLU()(FullyConnected(features)(x))
        return FullyConnected(10)(x)

    finding = only(vector_head_without_dropout, trace(describe, (3, 16, 16)))
    assert [node.inputs[0].shape[0] for node in finding.remedy.change.layers] == before


def test_a_head_of_few_features_needs_no_dropout():
    graph = trace(lambda x: FullyConnected(10)(Flatten()(ReLU()(Conv(16, 3, padding=1)(x)))), (3, 4, 4))
    assert "global average pooling" in only(vector_head_without_dropout, graph).remedy.text


def test_a_large_vectorised_head_without_dropout_is_said_unless_there_is_batch_norm():
    def describe(x, norm):
        x = norm(Conv(64, 3, padding=1)(x))
        return FullyConnected(10)(ReLU()(FullyConnected(512)(Flatten()(ReLU()(x)))))

    assert said(vector_head_without_dropout, trace(lambda x: describe(x, ReLU()), (3, 16, 16))) == ["note"]
    assert said(vector_head_without_dropout, trace(lambda x: describe(x, BatchNorm()), (3, 16, 16))) == []
