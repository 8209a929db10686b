"""The rule about what stands between a classifier and its loss: where it finds class scores, and what it takes out."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique.logits import bent_logits
from cnnatomy.design import Chain
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Foreign,
    FullyConnected,
    GlobalAvgPool,
    LeakyReLU,
    NotCounted,
    ReLU,
    ReLU6,
    Softmax,
    Swish,
    Tanh,
)
from cnnatomy.readers.yaml import listed
from findings import found, only, said
from helpers import trace

DESIGN = """
input: [3, 32, 32]
tail: [{Conv: {channels: 16, kernel: 3, padding: 1, bias: false}}, BatchNorm, ReLU]
body: {MaxPool: {kernel: 2}}
head: HEAD
"""


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("[{LinearHead: {classes: 10}}, BatchNorm, ReLU]", "error"),
        ("[{LinearHead: {classes: 10}}, ReLU]", "error"),
        ("[{LinearHead: {classes: 2}}, ReLU]", "error"),
        ("[{VectorHead: {classes: 10, hidden: [32]}}, ReLU6]", "error"),
        ("[{MapHead: {channels: 21, scale: 2}}, ReLU]", "error"),
        ("[{Conv: {channels: 21, kernel: 1}}, ReLU, {Interpolate: {scale: 2}}]", "warning"),
        ("[{Conv: {channels: 5, kernel: 3, padding: 1}}, BatchNorm, ReLU]", "warning"),
        ("[GlobalAvgPool, Flatten, {FullyConnected: {features: 10}}, ReLU]", "warning"),
        ("[GlobalAvgPool, {Conv: {channels: 10, kernel: 1}}, ReLU, Flatten]", "warning"),
        ("[{Conv: {channels: 10, kernel: 1}}, GlobalAvgPool, Flatten, ReLU]", "warning"),
        ("[{LinearHead: {classes: 10}}, BatchNorm]", "warning"),
        ("[{LinearHead: {classes: 10}}, Tanh]", "warning"),
        ("[{LinearHead: {classes: 10}}, Swish]", "warning"),
        ("[{LinearHead: {classes: 10}}, {Dropout: {rate: 0.5}}]", "warning"),
        ("[{LinearHead: {classes: 10}}, ReLU, Softmax]", "error"),
        ("[{Conv: {channels: 10, kernel: 1}}, ReLU, GlobalAvgPool, Flatten]", "note"),
        ("[{Conv: {channels: 10, kernel: 1}}, BatchNorm, ReLU, GlobalAvgPool, Flatten]", "warning"),
        ("[{Conv: {channels: 10, kernel: 1}}, BatchNorm, GlobalAvgPool, Flatten]", "warning"),
        ("[{Conv: {channels: 10, kernel: 1}}, GELU, GlobalAvgPool, Flatten]", "warning"),
    ],
)
def test_a_classifier_ends_in_its_linear_layer(head, expected):
    graph = listed.read(DESIGN.replace("HEAD", head)).graph()
    finding = only(bent_logits, graph)
    assert (finding.severity, finding.quiet) == (expected, False)
    assert finding.remedy.fix == ("unsafe" if head.endswith("GlobalAvgPool, Flatten]") else "safe")
    assert found(bent_logits, changed(graph, finding.remedy.change)) == []


@pytest.mark.parametrize(
    "head",
    [
        "{LinearHead: {classes: 10}}",
        "[{LinearHead: {classes: 10}}, Softmax]",
        "[{LinearHead: {classes: 10}}, Sigmoid]",
        "{LinearHead: {classes: 10, dropout: 0.5}}",
        "[{LinearHead: {classes: 10}}, {Dropout: {rate: 0}}]",
        "{VectorHead: {classes: 10, hidden: [32]}}",
        "{MapHead: {channels: 21, scale: 2}}",
        "[{MapHead: {channels: 1, scale: 2}}, ReLU]",
        "[{KeypointHead: {keypoints: 17, doublings: 1}}, ReLU]",
    ],
)
def test_ends_that_are_linear_or_probabilities_are_none_of_its_business(head):
    assert found(bent_logits, DESIGN.replace("HEAD", head)) == []


@pytest.mark.parametrize(
    "end",
    [
        (FullyConnected(1), ReLU()),  # a number that is not negative
        (FullyConnected(4), Tanh()),  # between bounds
        (FullyConnected(2), Tanh()),
        (FullyConnected(512), BatchNorm()),  # an embedding
        (FullyConnected(4096), ReLU()),  # features
        (BatchNorm(),),
    ],
)
def test_vectors_that_are_no_class_scores_may_end_as_they_like(end):
    def describe(x):
        x = Flatten()(GlobalAvgPool()(ReLU()(BatchNorm()(Conv(64, 3, padding=1)(x)))))
        for layer in end:
            x = layer(x)
        return x

    assert found(bent_logits, trace(describe, (3, 16, 16))) == []


@pytest.mark.parametrize(
    "end",
    [
        (Conv(1, 1), ReLU()),  # a density, a depth
        (Conv(3, 1), ReLU()),  # an image
        (Conv(3, 1), Tanh()),
        (Conv(64, 3, padding=1), BatchNorm(), ReLU()),  # features
        (Conv(10, 1), ReLU()),  # not described as a network of tail, body and head: who knows
    ],
)
def test_maps_that_are_no_class_scores_may_end_as_they_like(end):
    def describe(x):
        x = ReLU()(BatchNorm()(Conv(16, 3, padding=1)(x)))
        for layer in end:
            x = layer(x)
        return x

    assert found(bent_logits, trace(describe, (3, 16, 16))) == []


def test_the_features_of_a_body_without_a_head_may_be_normalised_and_rectified():
    body = [Conv(32, 3, padding=1), ReLU(), Conv(96, 3, padding=1), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten()]
    assert found(bent_logits, trace(Chain(*body), (3, 16, 16))) == []


@pytest.mark.parametrize("logarithm", [Foreign("log_softmax", (10,)), NotCounted("LogSoftmax", (10,))])
def test_the_logarithm_of_a_softmax_hides_no_relu(logarithm):
    graph = trace(lambda x: logarithm(ReLU()(FullyConnected(10)(Flatten()(GlobalAvgPool()(x))))), (64, 16, 16))
    finding = only(bent_logits, graph)
    assert (finding.severity, finding.where) == ("warning", ("relu",))


def test_what_is_said_of_a_network_makes_its_outputs_class_scores():
    graph = trace(lambda x: ReLU()(FullyConnected(128)(Flatten()(GlobalAvgPool()(x)))), (64, 16, 16))
    assert found(bent_logits, graph) == []
    assert only(bent_logits, graph, classes=128).severity == "error"
    assert only(bent_logits, graph, task="classification").severity == "error"


def test_of_a_file_for_inference_it_is_a_note():
    graph = trace(lambda x: ReLU()(FullyConnected(10)(Flatten()(GlobalAvgPool()(x)))), (64, 16, 16))
    assert only(bent_logits, graph).severity == "warning"
    graph.deployed = True
    assert only(bent_logits, graph).severity == "note"


@pytest.mark.parametrize("kind", [ReLU(), ReLU6(), LeakyReLU(), Swish(), Dropout(0.3)])
def test_all_that_is_after_the_scores_goes(kind):
    graph = trace(lambda x: Softmax()(kind(FullyConnected(10)(Flatten()(GlobalAvgPool()(x))))), (64, 16, 16))
    after = changed(graph, only(bent_logits, graph).remedy.change)
    assert [type(node.layer) for node in after] == [GlobalAvgPool, Flatten, FullyConnected, Softmax]


@pytest.mark.parametrize(
    ("kind", "biased", "more"), [(BatchNorm(), False, 10 - 20), (BatchNorm(), True, -20), (ReLU(), False, 0)]
)
def test_where_batch_norm_goes_its_layer_gets_the_bias(kind, biased, more):
    graph = trace(lambda x: kind(FullyConnected(10, bias=biased)(Flatten()(GlobalAvgPool()(x)))), (64, 16, 16))
    before, remedy = sum(row.parameters for row in account(graph).rows), only(bent_logits, graph).remedy
    assert remedy.fix == "safe"
    assert remedy.after.parameters - before == more
    assert changed(graph, remedy.change).nodes[-1].layer == FullyConnected(10, bias=biased or more < 0)
    assert (", with a bias: leave " in remedy.text) is (more == 10 - 20)


def test_squeezenet_rectifies_its_scores_before_it_averages_them():
    assert said(bent_logits, "squeezenet-1.0") == ["note"]


def test_no_other_network_of_the_catalogue_bends_its_scores():
    bent = {entry.name for entry in cn.ENTRIES if found(bent_logits, entry.network())}
    assert {name.partition("-")[0] for name in bent} == {"squeezenet"}
