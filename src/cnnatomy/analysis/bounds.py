"""Which values a feature map can hold, whatever the weights: non-negative after ReLU, at most 1 after a sigmoid."""

from __future__ import annotations

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.layers.interval import ANY, Interval


def intervals(graph: Graph, input: Interval = ANY) -> dict[FeatureMap, Interval]:
    """Bounds of the elements of every feature map at inference, for inputs within `input`.

    They hold for all weights and for all inputs, and are as narrow as the layers' own rules make them one by one: where
    two paths meet, nothing is known of how they depend on one another. By default the input is any number, as images
    are that were normalised.
    """
    found = dict.fromkeys(graph.inputs, input)
    for node in graph.nodes:
        found[node.output] = node.layer.interval(*[found[x] for x in node.inputs])
    return found
