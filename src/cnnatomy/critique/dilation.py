"""The rule about dilated convolutions in a row, which read a grid of positions and nothing between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from math import gcd
from typing import NamedTuple

from cnnatomy.analysis.coverage import Coverage, gaps
from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv, DepthwiseConv
from cnnatomy.layers.layer import GLOBAL, Layer, Pair, Window, pair


@rule(
    "S4",
    "gridding",
    "warning",
    "Wang et al. 2018, 'Understanding Convolution for Semantic Segmentation', section 3.2; "
    "Yu et al. 2017, 'Dilated Residual Networks', section 4",
)
def gridding(study: Study) -> Iterator[Case]:
    """Dilated convolutions that leave a grid of positions unread.

    A run of convolutions with one dilation reads every d-th row and column of its map and nothing between, so
    neighbours are made of unlike positions: checkered outputs, small objects missed. Convolutions without dilation
    before the run do not help: they tell neighbours apart, and the run does not put them together again (Yu et al.:
    their remedy are layers of less and less dilation after it, and no shortcuts around those). Wang et al. mix the
    rates: those without a common factor, such as 1, 2 and 5, read every position with as many weights. There is no
    objection to rates that grow from each layer to the next after layers without dilation (1, 2, 4, 8), to a single
    dilated layer, to rates side by side with a branch that reads all positions, or to holes that later layers of
    the same resolution fill. A 3x1 and a 1x3 are one kernel of two layers: each axis has rates of its own.
    """
    if not any(getattr(getattr(node.layer, "layer", node.layer), "dilation", 1) != 1 for node in study.graph.nodes):
        return
    told: set[Node] = set()
    for first, last, coverage in _runs_with_holes(study):
        run = _in_a_row(study.graph, _dilated(study.graph, last, first))
        if not told.issuperset(run):
            told.update(run)
            yield _case(study, run, coverage, last, f" of what {first.path} reads")
    for gap in gaps(study.graph):
        run = _dilated(study.graph, gap.node)
        if not told.issuperset(run):
            yield _case(study, run, gap.coverage, gap.node, "", quiet=len(_in_a_row(study.graph, run)) < 2)


def _case(study: Study, run: Sequence[Node], coverage: Coverage, last: Node, of_what: str, quiet: bool = False) -> Case:
    rows, columns = coverage.rows, coverage.columns
    return Case(
        where=tuple(node.path for node in run),
        text=f"{last.path} reads {rows.read}x{columns.read} of {rows.span}x{columns.span} positions{of_what}: "
        f"{coverage.unread:.0%} of them are skipped",
        evidence={
            "read": [rows.read, columns.read],
            "span": [rows.span, columns.span],
            "unread": coverage.unread,
        },
        remedy=(
            _hybrid(study, run),
            Remedy("follow them with 3x3 convolutions of less and less dilation, down to 1, without shortcuts"),
        ),
        quiet=quiet,
    )


class _Run(NamedTuple):
    """Layers that begin with a dilated one: what an element after them reads of the map before them.

    Attributes:
        coverage: the positions.
        dense: layers without dilation on the way to its beginning.
        rate: its first dilation.
        repeated: whether in it a dilation follows one that is no smaller and has a factor in common with it.
    """

    coverage: Coverage
    dense: int
    rate: int
    repeated: bool = False


class _Way(NamedTuple):
    """What lies before a map, since the map became smaller or larger.

    Attributes:
        steps: layers with a window of several pixels.
        dense: those of them without dilation.
        rates: the last dilations along rows and columns.
        runs: the runs that are not filled yet, by their first layers.
    """

    steps: int = 0
    dense: int = 0
    rates: Pair = (1, 1)
    runs: Mapping[Node, _Run] = {}


def _runs_with_holes(study: Study) -> list[tuple[Node, Node, Coverage]]:
    """The runs of dilated layers that end with holes: their first layer, the last that reads on, and what is read."""
    graph = study.graph
    ways: dict[FeatureMap, _Way] = dict.fromkeys(graph.inputs, _Way())
    filled: set[Node] = set()
    ends: dict[Node, tuple[FeatureMap, Coverage]] = {}

    def end(x: FeatureMap, way: _Way, window: Window | None) -> None:
        for first, run in way.runs.items():
            after = run.coverage if window is None else run.coverage.through(window, x.shape, x.shape)
            if _is_filled(after, run.rate):
                filled.add(first)
            elif run.repeated:
                ends.setdefault(first, (x, run.coverage))

    for node in graph.nodes:
        x, window = node.inputs[0], node.layer.window(*[y.shape for y in node.inputs])
        way = _joined([ways[y] for y in node.inputs], filled)
        if window is GLOBAL:
            if len(study.readers[x]) == 1:
                end(x, way, None)
            way = _Way()
        elif window is not None and (max(window.stride) > 1 or max(window.upsample) > 1):
            end(x, way, window if max(window.upsample) == 1 else None)
            way = _Way()
        elif window is not None and max(window.kernel) > 1:
            way = _through(way, node, window, filled)
        ways[node.output] = way
    for x in graph.outputs:
        end(x, ways[x], None)
    found = []
    for first, (x, coverage) in ends.items():
        last = x.node
        while last is not None and len(last.inputs) == 1 and _reads_one(last):
            last = last.inputs[0].node
        if first not in filled and last is not None:
            found.append((first, last, coverage))
    return found


def _through(way: _Way, node: Node, window: Window, filled: set[Node]) -> _Way:
    """After a layer with a window of several pixels."""
    before, after = node.inputs[0].shape, node.output.shape
    axes = [axis for axis in (0, 1) if window.kernel[axis] > 1]
    now = [(window.dilation[axis], way.rates[axis]) for axis in axes]
    rate = max(rate for rate, _ in now)
    again = any(rate <= last and gcd(rate, last) > 1 for rate, last in now)
    runs: dict[Node, _Run] = {}
    for first, run in way.runs.items():
        coverage = run.coverage.through(window, before, after)
        if _is_filled(coverage, run.rate):
            filled.add(first)
        else:
            runs[first] = run._replace(coverage=coverage, repeated=run.repeated or again)
    if any(rate not in (1, last) and (last == 1 or gcd(rate, last) > 1) for rate, last in now):
        runs[node] = _Run(Coverage().through(window, before, after), way.dense, rate)  # others fill one another's holes
    rows, columns = [window.dilation[axis] if axis in axes else way.rates[axis] for axis in (0, 1)]
    return _Way(way.steps + 1, way.dense + (rate == 1), (rows, columns), runs)


def _is_filled(coverage: Coverage, rate: int) -> bool:
    """Whether all positions are read, or all between those that the first layer of a run reads next to one another."""
    return coverage.unread == 0 or (coverage.rows.all_within(rate) and coverage.columns.all_within(rate))


def _joined(ways: Sequence[_Way], filled: set[Node]) -> _Way:
    """Where ways meet: what any of them reads is read; one that reads all positions beside a run fills its holes."""
    longest = max(ways, key=lambda way: way.steps)
    if len(ways) == 1:
        return longest
    runs: dict[Node, _Run] = {}
    for way in ways:
        for first, run in way.runs.items():
            if any(first not in other.runs and other.dense > run.dense for other in ways):
                filled.add(first)
            elif first in runs:
                known = runs[first]
                rows = known.coverage.rows.joined(run.coverage.rows)
                columns = known.coverage.columns.joined(run.coverage.columns)
                both = known.repeated or run.repeated
                runs[first] = known._replace(coverage=Coverage(rows, columns), repeated=both)
            else:
                runs[first] = run
    return longest._replace(dense=max(way.dense for way in ways), runs=runs)


def _reads_one(node: Node) -> bool:
    window = node.layer.window(*[x.shape for x in node.inputs])
    return window is None or (window is not GLOBAL and max(window.kernel) == 1 and max(window.upsample) == 1)


def _dilated(graph: Graph, last: Node, first: Node | None = None) -> list[Node]:
    """The dilated layers on the ways at one resolution to a layer, in order; those from `first` on if it is given."""
    before: set[Node] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        window = node.layer.window(*[x.shape for x in node.inputs])
        if node in before or (window is not None and (max(window.stride) > 1 or max(window.upsample) > 1)):
            continue
        before.add(node)
        waiting += [x.node for x in node.inputs if x.node is not None and window is not GLOBAL]
    after = {first.output} if first is not None else set(graph.inputs)
    found = [first] if first is not None else []
    for node in graph.nodes:
        if first is None or not after.isdisjoint(node.inputs):
            after.add(node.output)
            window = node.layer.window(*[x.shape for x in node.inputs])
            if node in before and window is not None and window is not GLOBAL and max(window.dilation) > 1:
                found.append(node)
    return found


def _in_a_row(graph: Graph, layers: Sequence[Node]) -> list[Node]:
    """Those of some layers beside which there is no other, in order."""
    depth: dict[FeatureMap, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        depth[node.output] = max(depth[x] for x in node.inputs) + (node in layers)
    beside = Counter(depth[node.output] for node in layers)
    return [node for node in layers if beside[depth[node.output]] == 1]


def _hybrid(study: Study, run: Sequence[Node]) -> Remedy:
    """Dilations of 1, 2 and 5 in turn (hybrid dilated convolution), where the layers keep the size of their map."""
    text = "give them dilations of 1, 2 and 5 in turn"
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node, dilation in zip(run, cycle((1, 2, 5)), strict=False):
        layer, same = node.layer, node.inputs[0].shape[1:] == node.output.shape[1:]
        if not isinstance(layer, (Conv, DepthwiseConv)) or not same or not all(n % 2 for n in pair(layer.kernel)):
            return Remedy(text)
        rows, columns = pair(layer.kernel)
        padding = (dilation * (rows // 2), dilation * (columns // 2))
        layers[node] = (layer.replace(dilation=dilation, padding=padding),)
    return study.remedy(text, layers)
