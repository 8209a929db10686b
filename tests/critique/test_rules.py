"""What every rule keeps to, whatever graph it is asked about."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain
from cnnatomy.analysis import account
from cnnatomy.critique import RULES, Finding, Purpose, Study, critique
from cnnatomy.design import Graph, LinearHead, ListedNetwork
from cnnatomy.edits.change import Cost, changed
from cnnatomy.errors import ShapeError
from cnnatomy.layers import (
    LSTM,
    Add,
    Concat,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Interpolate,
    LayerNorm,
    NotCounted,
    ReLU,
    Reshape,
    Slice,
    Softmax,
)
from cnnatomy.layers.layer import Layer
from random_designs import MAX_ELEMENTS, layers, networks

PURPOSES = (
    Purpose(),
    Purpose(task="segmentation", classes=19, objects=(3, 9)),
    Purpose(task="detection", objects=(1, 100)),
    Purpose(task="classification", classes=1000),
    Purpose(device="rtx-4090", memory=3000, latency=1e-7),
)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, (int, float)):
        yield value


def findings_that_keep_to_the_rules(graph: Graph, purpose: Purpose) -> list[Finding]:
    """All findings; each has evidence that can be written down, places that there are, and the cost it announces."""
    study = Study(account(graph), purpose)
    findings = [finding for rule in RULES for finding in rule(study)]
    places = {"input", *[node.path for node in graph.nodes], *[name for name, _ in graph.unused]}
    for finding in findings:
        json.dumps(finding.evidence)
        assert all(map(math.isfinite, numbers(finding.evidence)))
        assert finding.where
        assert set(finding.where) <= places
        remedy = finding.remedy
        if remedy is not None and remedy.change is not None:
            assert Cost.of(account(changed(graph, remedy.change))) == remedy.after
        assert finding.severity != "error" or finding.rule.code in ("W7", "N10", "B3", "B4")
    return findings


@pytest.mark.slow
@settings(max_examples=40)
@given(networks(), st.sampled_from(PURPOSES))
def test_of_any_design_rules_say_what_can_be_checked(network, purpose):
    try:
        graph = network.graph()
    except ShapeError:
        assume(False)
    assume(all(math.prod(node.output.shape) <= MAX_ELEMENTS for node in graph.nodes))
    findings_that_keep_to_the_rules(graph, purpose)


ODD = {
    "nothing": Graph.trace(lambda x: x, (3, 8, 8)),
    "one pixel": Graph.trace(Chain(Conv(4, 3, 2, 1), LinearHead(10)), (3, 1, 1)),
    "one row": Graph.trace(Chain(Conv(4, (1, 3), (1, 2), (0, 1)), LinearHead(10)), (3, 1, 100)),
    "a vector": Graph.trace(Chain(FullyConnected(4), ReLU(), FullyConnected(10)), (7,)),
    "a sequence": Graph.trace(FullyConnected(10), (5, 7)),
    "two inputs": Graph.trace(lambda x, y: Concat()(Conv(4, 3, padding=1)(x), y), (3, 8, 8), (2, 8, 8)),
    "a vector and a map": Graph.trace(lambda x, y: (FullyConnected(2)(x), Conv(4, 3, 2)(y)), (5,), (3, 8, 8)),
    "two outputs": Graph.trace(lambda x: (Conv(4, 3)(x), LinearHead(3)(x)), (3, 8, 8)),
    "dead ends": Graph.trace(lambda x: (Conv(4, 3)(x), ReLU()(x))[1], (3, 8, 8)),
    "enlarged": Graph.trace(Chain(Conv(4, 3, 2), Interpolate(4)), (3, 9, 9)),
}


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("graph", ODD.values(), ids=list(ODD))
def test_of_odd_graphs_rules_say_what_can_be_checked(graph, purpose):
    findings_that_keep_to_the_rules(graph, purpose)


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
kinds = st.sampled_from(
    [
        *(FullyConnected(4), LayerNorm(), LSTM(3), Softmax(), Flatten(), GlobalAvgPool(), Reshape((-1,))),
        *(Slice(0, 1), NotCounted("unknown", (3, 2, 2)), NotCounted("unknown", (5,)), Conv(8, 3, stride=2)),
    ]
)
joins = st.sampled_from([Add(), Concat()])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph: maps, sequences and vectors, several inputs and outputs, kinds that are not known, ends unread."""

    def describe(*inputs):
        maps = list(inputs)
        for _ in range(draw(st.integers(1, 8))):
            layer: Layer = draw(kinds | joins | layers.filter(lambda drawn: isinstance(drawn, Layer)))
            recent = st.sampled_from(maps[-3:])
            read = [draw(recent) for _ in range(1 + isinstance(layer, (Add, Concat)))]
            try:
                layer.output_shape(*[x.shape for x in read])
            except ShapeError:
                continue
            maps.append(layer(*read))
        assume(len(maps) > len(inputs))
        return tuple(draw(st.lists(st.sampled_from(maps[len(inputs) :]), min_size=1, max_size=3, unique=True)))

    return Graph.trace(describe, *draw(st.lists(shapes, min_size=1, max_size=3)))


@pytest.mark.slow
@settings(max_examples=100)
@given(graphs(), st.sampled_from(PURPOSES))
def test_of_any_graph_rules_say_what_can_be_checked(graph, purpose):
    assume(all(math.prod(node.output.shape) <= MAX_ELEMENTS for node in graph.nodes))
    findings_that_keep_to_the_rules(graph, purpose)


def test_the_network_of_the_personal_notes_gets_four_notes_if_any_and_their_pages_say_so():
    """The lectures ask for wide groups and like ranges, and their own example has neither."""
    network = cn.network("personal-notes")
    assert critique(network) == []
    found = critique(network, pedantic=RULES)
    assert sorted((f.severity, f.rule.code) for f in found) == [("note", code) for code in ("C10", "C9", "N3", "W1")]
    for finding in found:
        assert "personal notes" in " ".join(finding.rule.why.split())


def test_a_design_by_nodes_is_criticised_as_the_network_that_it_lists():
    network = cn.network("alexnet")
    listed = ListedNetwork.of(network.graph(), network.name)
    assert [(f.rule.code, f.where, f.text) for f in critique(listed)] == [
        (f.rule.code, f.where, f.text) for f in critique(network)
    ]
