"""Ways through a graph: what follows a map, what it was made of, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.layers import Concat
from cnnatomy.layers.layer import ELEMENT, TRAINING


def following(study: Study, x: FeatureMap, passes: Callable[[Node], bool]) -> tuple[list[Node], FeatureMap]:
    """The layers that follow a map, each its only reader, as long as they pass, and what the last of them makes."""
    way: list[Node] = []
    while (reader := study.only_reader(x)) is not None and passes(reader):
        way.append(reader)
        x = reader.output
    return way, x


def end_of_pointwise(study: Study, x: FeatureMap) -> FeatureMap:
    """What batch norm and nonlinearities make of a map, as long as nothing else reads it."""
    return following(study, x, lambda node: node.layer.kind in (ELEMENT, TRAINING) and len(node.inputs) == 1)[1]


def joins_channels(node: Node) -> bool:
    """Whether it concatenates the channels of maps."""
    return isinstance(node.layer, Concat) and not node.layer.axis and len(node.output.shape) == 3


def leads_to(
    study: Study, wanted: Callable[[Node], bool], past: Callable[[Node], bool] = lambda node: True
) -> dict[FeatureMap, bool]:
    """Whether a layer that is wanted reads a map, or what becomes of it past layers that one may go past."""
    leads: dict[FeatureMap, bool] = {}
    for node in reversed(study.graph.nodes):
        readers = study.readers[node.output]
        leads[node.output] = any(wanted(r) or (leads[r.output] and past(r)) for r in readers)
    return leads


def most_on_a_way(study: Study, nodes: Collection[Node]) -> int:
    """The most of these nodes that lie on one way through the network."""
    among, most = set(nodes), dict.fromkeys(study.graph.inputs, 0)
    for node in study.graph.nodes:
        most[node.output] = max(most[x] for x in node.inputs) + (node in among)
    return max(most.values())


def comes_from(study: Study, made: Sequence[FeatureMap], maps: Collection[FeatureMap], size: int = 1) -> bool:
    """Whether one of some maps is, or depends on, one of `maps`, by way of maps that have at least `size` pixels."""
    order = _order(study)
    earliest = min((order[x.node] if x.node else -1 for x in maps), default=-1)
    waiting, seen = list(made), set(made)
    while waiting:
        x = waiting.pop()
        if x in maps:
            return True
        if x.node is not None and order[x.node] > earliest and pixels(x.shape) >= size:
            waiting += [y for y in x.node.inputs if y not in seen]
            seen.update(x.node.inputs)
    return False


@lru_cache(1)
def _order(study: Study) -> dict[Node, int]:
    """The place of each node in the order of the graph."""
    return {node: i for i, node in enumerate(study.graph.nodes)}
