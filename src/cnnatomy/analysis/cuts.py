"""Where all information must pass: cuts of a graph, the fewest values that lie between its input and an output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import inf
from typing import NamedTuple

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.layers.layer import elements


class Cut(NamedTuple):
    """Maps of which every path passes one, and the number of their elements."""

    maps: tuple[FeatureMap, ...]
    volume: int


class Waist(NamedTuple):
    """A cut that is narrower than what lies on either side of it.

    `before` and `after` are the volumes of the widest cuts on that side, up to where a cut as narrow as this one comes.
    """

    cut: Cut
    before: int
    after: int


def cuts(graph: Graph, source: FeatureMap | None = None, sink: FeatureMap | None = None) -> list[Cut]:
    """The cuts between the source (by default all inputs) and the sink (the first output), in order.

    Each map that all paths pass is a cut by itself. Between two such maps that no shortcut joins, as around a module of
    parallel branches, lies one more: the set of maps with the fewest elements. The narrowest cut of all is among them.
    """
    ways = _Ways(graph, source, sink)
    last = len(ways.maps) - 1
    found: list[Cut] = []
    gate = reach = 0  # the last map that all paths pass, and the last reader of the maps before the one at hand
    for i in range(1, last + 1):
        reach = max(reach, ways.last_reader[i - 1])
        if reach > i:
            continue
        if gate + 1 < i and gate not in ways.reads[i]:
            between = range(gate + 1, i + 1)
            reads = tuple(tuple(x - gate for x in sorted(ways.reads[n])) for n in between)
            volumes = tuple(ways.volumes[n] for n in between)
            found.append(ways.cut({gate + n for n in _narrowest_between(reads, volumes)}))
        if i < last:
            found.append(ways.cut({i}))
        gate = i
    return found


def narrowest(graph: Graph, source: FeatureMap | None = None, sink: FeatureMap | None = None) -> Cut | None:
    """The cut of fewest elements, the first of several; None where some path has no map between them."""
    return min(cuts(graph, source, sink), key=lambda cut: cut.volume, default=None)


def waists(cuts: Sequence[Cut]) -> list[Waist]:
    """Those of the cuts, given in order, after which the network is wider again, as it was before them."""
    before = _peaks([cut.volume for cut in cuts], like=0)
    after = _peaks([cut.volume for cut in reversed(cuts)], like=1)[::-1]
    sides = zip(cuts, before, after, strict=True)
    return [Waist(cut, left, right) for cut, left, right in sides if min(left, right) > cut.volume]


def _peaks(volumes: Sequence[int], like: int) -> list[int]:
    """For each volume the largest before it, back to the last that is below it (or equal, unless `like` is 1)."""
    peaks: list[int] = []
    lower: list[tuple[int, int]] = []  # rising volumes, each with the largest between it and the one before
    for volume in volumes:
        peak = 0
        while lower and lower[-1][0] + like > volume:
            peak = max(peak, *lower.pop())
        lower.append((volume, peak))
        peaks.append(peak)
    return peaks


class _Ways:
    """The maps on paths from the source to the sink, by number: 0 is the source (all of them), the last is the sink.

    `reads` are the maps that each is made of, `last_reader` the last that is made of it, `volumes` their elements.
    """

    def __init__(self, graph: Graph, source: FeatureMap | None, sink: FeatureMap | None) -> None:
        sources = graph.inputs if source is None else (source,)
        needed = {sink or graph.outputs[0]}.difference(sources)
        for node in reversed(graph.nodes):
            if node.output in needed:
                needed.update([x for x in node.inputs if x not in sources])
        self.maps: list[FeatureMap] = [sources[0]]
        self.reads: list[set[int]] = [set()]
        self.last_reader = [0]
        numbers = dict.fromkeys(sources, 0)
        for node in graph.nodes:
            if node.output not in needed:
                continue
            reads = {numbers[x] for x in node.inputs if x in numbers}
            if reads:
                number = numbers[node.output] = len(self.maps)
                self.maps.append(node.output)
                self.reads.append(reads)
                self.last_reader.append(0)
                for x in reads:
                    self.last_reader[x] = number
        self.volumes = [elements(x.shape) for x in self.maps]

    def cut(self, numbers: set[int]) -> Cut:
        return Cut(tuple(self.maps[i] for i in sorted(numbers)), sum(self.volumes[i] for i in numbers))


@lru_cache(1024)  # of a module that comes again it is the same
def _narrowest_between(reads: tuple[tuple[int, ...], ...], volumes: tuple[int, ...]) -> tuple[int, ...]:
    """The maps of the narrowest cut between map 0 and the last, the nearest to the first of several.

    `reads` and `volumes` are of the maps from 1 on; the last does not read 0. It is a minimum cut, found by maximum
    flow (Dinic 1970: of all shortest paths at once): map i is an edge from 2i to 2i + 1 that carries its volume, and
    `free` is what an edge can still carry.
    """
    last = len(volumes)
    source, sink = 1, 2 * last
    free: dict[int, dict[int, float]] = {n: {} for n in range(2 * last + 2)}
    for i, (read, volume) in enumerate(zip(reads, volumes, strict=True), start=1):
        for start, end, most in ((2 * i, 2 * i + 1, volume), *[(2 * x + 1, 2 * i, inf) for x in read]):
            free[start][end], free[end][start] = most, 0
    while True:
        steps = {source: 0}  # from the source
        waiting = [source]
        for n in waiting:  # grows as we go
            for end, most in free[n].items():
                if most and end not in steps:
                    steps[end] = steps[n] + 1
                    waiting.append(end)
        if sink not in steps:
            return tuple(i for i in range(1, last) if 2 * i in steps and 2 * i + 1 not in steps)
        _fill(free, steps, source, sink)


def _fill(free: dict[int, dict[int, float]], steps: dict[int, int], source: int, sink: int) -> None:
    """Sends through every shortest path what it can still carry."""
    ends = {n: list(free[n]) for n in steps}  # where a path may go on; what was tried in vain is taken out
    path = [source]
    while path:
        n = path[-1]
        if n == sink:
            edges = list(pairwise(path))
            flow = min(free[start][end] for start, end in edges)
            for start, end in edges:
                free[start][end] -= flow
                free[end][start] += flow
            full = next(i for i, (start, end) in enumerate(edges) if not free[start][end])
            del path[full + 1 :]
            continue
        while ends[n] and not (free[n][ends[n][-1]] and steps.get(ends[n][-1]) == steps[n] + 1):
            ends[n].pop()
        if ends[n]:
            path.append(ends[n][-1])
        else:
            path.pop()
            if path:
                ends[path[-1]].pop()
