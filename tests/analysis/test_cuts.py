"""The narrowest cuts are those that trying every set of maps finds; and what they say of known networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis.cuts import Cut, Waist, cuts, narrowest, waists
from cnnatomy.design import Graph
from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import Foreign
from cnnatomy.layers.layer import elements


@st.composite
def random_graphs(draw: st.DrawFn, most: int = 9, least: int = 1, inputs: int = 2) -> Graph:
    """Any acyclic graph of maps of a few elements; some maps are read by none, and there can be two inputs."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=least, max_size=most))
    sources = draw(st.integers(1, inputs))

    def describe(*given: FeatureMap) -> FeatureMap:
        maps = list(given)
        for size in sizes:
            read = draw(st.lists(st.sampled_from(maps[-4:]), min_size=1, max_size=3, unique=True))
            maps.append(Foreign("any", (size,))(*read))
        return maps[-1]

    return Graph.trace(describe, *[(3,)] * sources)


def readers(graph: Graph) -> dict[FeatureMap, set[FeatureMap]]:
    """For each map the maps that are made of it."""
    found: dict[FeatureMap, set[FeatureMap]] = {x: set() for x in (*graph.inputs, *[n.output for n in graph.nodes])}
    for node in graph.nodes:
        for x in node.inputs:
            found[x].add(node.output)
    return found


def reached(after: dict[Any, set[Any]], starts: Iterable[Any], without: Iterable[Any] = ()) -> set[Any]:
    """The maps that some path leads to, starts included, that passes none of those left out."""
    found, waiting = set(starts), list(starts)
    while waiting:
        new = after[waiting.pop()] - found - set(without)
        found |= new
        waiting += new
    return found


def parts(graph: Graph, starts: Iterable[FeatureMap], end: FeatureMap, maps: Iterable[FeatureMap]) -> bool:
    """Whether every path passes one of the maps."""
    return end not in reached(readers(graph), starts, maps)


def between(graph: Graph, starts: Iterable[FeatureMap], end: FeatureMap) -> list[FeatureMap]:
    """The maps on paths, without both ends."""
    after = readers(graph)
    inner = reached(after, starts) - set(starts) - {end}
    return [x for x in after if x in inner and end in reached(after, [x])]


def fewest(graph: Graph, starts: Iterable[FeatureMap], end: FeatureMap) -> int | None:
    """The elements of the narrowest cut, by trying every set of maps."""
    inner = between(graph, starts, end)
    sets = itertools.chain.from_iterable(itertools.combinations(inner, n) for n in range(len(inner) + 1))
    volumes = [sum(elements(x.shape) for x in maps) for maps in sets if parts(graph, starts, end, maps)]
    return min(volumes, default=None)


@pytest.mark.slow
@settings(max_examples=200)
@given(random_graphs())
def test_no_set_of_maps_is_narrower(graph: Graph) -> None:
    (end,) = graph.outputs
    cut = narrowest(graph)
    assert (cut.volume if cut else None) == fewest(graph, graph.inputs, end)
    if cut:
        assert parts(graph, graph.inputs, end, cut.maps)
        assert cut.volume == sum(elements(x.shape) for x in cut.maps)


@pytest.mark.slow
@settings(max_examples=150)
@given(random_graphs())
def test_the_cuts_are_all_maps_that_all_paths_pass_and_the_narrowest_between_each_two(graph: Graph) -> None:
    (end,) = graph.outputs
    gates = [x for x in between(graph, graph.inputs, end) if parts(graph, graph.inputs, end, [x])]
    expected: list[int] = []
    ends: list[tuple[FeatureMap, ...]] = [graph.inputs, *[(x,) for x in gates]]
    for starts, gate in zip(ends, [*gates, end], strict=True):
        volume = fewest(graph, starts, gate)
        if volume is not None and between(graph, starts, gate):
            expected.append(volume)
        if gate is not end:
            expected.append(elements(gate.shape))
    found = cuts(graph)
    assert [cut.volume for cut in found] == expected
    assert [cut.maps[0] for cut in found if len(cut.maps) == 1 and cut.maps[0] in gates] == gates
    assert all(parts(graph, graph.inputs, end, cut.maps) for cut in found)


@pytest.mark.slow
@settings(max_examples=200)
@given(random_graphs(least=4), st.data())
def test_also_between_any_two_maps(graph: Graph, data: st.DataObject) -> None:
    maps = list(readers(graph))
    source, sink = data.draw(st.sampled_from(maps)), data.draw(st.sampled_from(maps))
    cut = narrowest(graph, source, sink)
    joined = source is not sink and sink in reached(readers(graph), [source])
    assert (cut.volume if cut else None) == (fewest(graph, [source], sink) if joined else None)


@pytest.mark.slow
@settings(max_examples=75)
@given(random_graphs(most=14, least=10))
def test_also_in_larger_graphs(graph: Graph) -> None:
    cut = narrowest(graph)
    assert (cut.volume if cut else None) == fewest(graph, graph.inputs, graph.outputs[0])


@example([5, 2, 2, 2, 5])
@example([3, 1, 3, 2, 3, 1, 4])
@given(st.lists(st.integers(1, 6), max_size=9))
def test_a_waist_is_narrower_than_some_cut_on_either_side_before_one_as_narrow(volumes: list[int]) -> None:
    expected = []
    for i, volume in enumerate(volumes):
        left = list(itertools.takewhile(lambda v: v > volume, reversed(volumes[:i])))  # noqa: B023 - used at once
        right = list(itertools.takewhile(lambda v: v >= volume, volumes[i + 1 :]))  # noqa: B023 - used at once
        if left and max(right, default=0) > volume:
            expected.append(Waist(Cut((), volume), max(left), max(right)))
    assert waists([Cut((), volume) for volume in volumes]) == expected


def graph_of(name: str) -> Graph:
    return cn.network(name).account().graph


def paths(cut: Cut) -> list[str]:
    return [x.node.path for x in cut.maps if x.node]


def test_all_of_squeezenet_passes_the_squeeze_layers() -> None:
    found = waists(cuts(graph_of("squeezenet-1.0")))
    assert [paths(waist.cut) for waist in found] == [[f"body.fire{i}.conv1"] for i in range(2, 10)]
    assert [waist.cut.maps[0].shape for waist in found[:2]] == [(16, 55, 55)] * 2
    assert all(min(waist.before, waist.after) >= 4 * waist.cut.volume for waist in found)


def test_all_that_resnet_50_tells_is_2048_averages() -> None:
    cut = narrowest(graph_of("resnet-50"))
    assert cut
    assert (paths(cut), cut.volume) == (["head.pool"], 2048)


def test_identity_shortcuts_lead_around_what_is_narrow_inside_a_block() -> None:
    graph = graph_of("resnet-50")
    cut_maps = {path for cut in cuts(graph) for path in paths(cut)}
    assert not any(path.startswith("body.stage1.block2.conv") for path in cut_maps)
    assert "body.stage1.block2.relu3" in cut_maps


def test_a_gate_narrows_nothing() -> None:
    """A squeeze and excitation has few values, but the map that it gates goes around it."""
    accounts = [cn.network(name).account() for name in ("resnet-50", "se-resnet-50")]
    plain, gated = (narrowest(account.graph, sink=account.features) for account in accounts)
    assert plain
    assert gated
    assert paths(plain) == paths(gated) == ["body.stage4.block1.add"]
    assert plain.volume == gated.volume == 2048 * 7 * 7


def test_of_parallel_branches_the_narrowest_maps_of_all_together_are_the_cut() -> None:
    found = {cut.volume for cut in cuts(graph_of("googlenet")) if "body.inception4a.conv2" in paths(cut)}
    assert found == {(192 + 96 + 16 + 64) * 14 * 14}  # 1x1, and what is before 3x3, 5x5 and after the pool


def test_an_output_on_the_side_opens_no_way_around() -> None:
    def describe(x: FeatureMap) -> tuple[FeatureMap, FeatureMap]:
        narrow = Foreign("any", (2,))(Foreign("any", (5,))(x))
        return Foreign("any", (9,))(narrow), Foreign("any", (1,))(x)

    graph = Graph.trace(describe, (7,))
    assert [cut.volume for cut in cuts(graph)] == [5, 2]
    assert cuts(graph, sink=graph.outputs[1]) == []
    assert narrowest(graph, sink=graph.outputs[1]) is None


@pytest.mark.parametrize("name", ["densenet-121", "nasnet-a-mobile", "msdnet-cifar", "se-inception-v3"])
def test_cuts_of_networks_of_many_paths_part_input_and_output(name: str) -> None:
    graph = graph_of(name)
    for cut in cuts(graph):
        assert parts(graph, graph.inputs, graph.outputs[0], cut.maps)
