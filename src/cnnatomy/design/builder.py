"""Graphs from other people's files: nodes are added under the names that they have there, and nest by those names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from cnnatomy.design.graph import MODULE_ATTRIBUTES, FeatureMap, Graph, Node, Scope
from cnnatomy.layers.layer import Layer, Shape

NodePath = tuple[str, ...]


def safe(name: str) -> str:
    """A name as part of a path: no dot, no leading underscore, nothing that a torch module keeps for itself."""
    name = name.strip().replace(".", "_").replace(" ", "_").lstrip("_") or "layer"
    return name + "_" if name in MODULE_ATTRIBUTES else name


class PrefixGroup:
    """What the layers of one prefix are: `inception_3a` of `inception_3a/1x1`."""

    stem = "group"

    def __init__(self, layers: int) -> None:
        self.layers = layers

    def __repr__(self) -> str:
        return f"{self.layers} layers" if self.layers > 1 else "1 layer"


class Builder:
    """Builds a graph of which each node has a path of its own."""

    def __init__(self, inputs: Sequence[Shape]) -> None:
        self.graph = Graph()
        self.graph.inputs = tuple(FeatureMap(self.graph, tuple(shape)) for shape in inputs)
        self._paths: dict[Node, NodePath] = {}
        self._taken: set[str] = set()

    def put(
        self, layer: Layer, inputs: Sequence[FeatureMap], path: NodePath, shared: frozenset[str] = frozenset()
    ) -> FeatureMap:
        """Adds a node; `shared` names its tensors that an earlier node has already.

        Raises:
            ShapeError: naming the path, where a map does not fit.
        """
        path = tuple(map(safe, path)) or (layer.stem or "layer",)
        self.graph.ask(free(".".join(path).replace(".", "_"), self._taken))
        output = self.graph.add(layer, inputs)
        node = self.graph.nodes[-1]
        node.shared = shared
        self._paths[node] = path
        return output

    def finish(self, outputs: Iterable[FeatureMap]) -> Graph:
        """The graph, its nodes nested in scopes by their paths."""
        graph = self.graph
        graph.outputs = tuple(dict.fromkeys(outputs))
        graph.root.inputs, graph.root.outputs = graph.inputs, graph.outputs
        readers: dict[FeatureMap, list[Node]] = {}
        for node in graph.nodes:
            for x in node.inputs:
                readers.setdefault(x, []).append(node)
        self._nest(graph.root, graph.nodes, 0, readers)
        graph.root.name_children()
        return graph

    def _nest(self, scope: Scope, nodes: Sequence[Node], level: int, readers: dict[FeatureMap, list[Node]]) -> None:
        scope.children.clear()
        taken: set[str] = set()

        def prefix(node: Node) -> tuple[str, Node | None]:
            path = self._paths[node]
            return (path[level], None) if len(path) > level + 1 else (path[level], node)

        for (name, single), members in groupby(nodes, key=prefix):
            run = list(members)
            if single is not None:
                scope.children[single] = free(name, taken)
                single.scope = scope
                continue
            group = Scope(PrefixGroup(len(run)), scope)
            inside = set(run)
            group.inputs = tuple(
                dict.fromkeys(x for node in run for x in node.inputs if x.node is None or x.node not in inside)
            )
            made = [node.output for node in reversed(run)]
            group.outputs = tuple(
                x
                for x in made
                if x in self.graph.outputs or x not in readers or any(reader not in inside for reader in readers[x])
            )
            scope.children[group] = free(name, taken)
            self._nest(group, run, level + 1, readers)


def free(name: str, taken: set[str]) -> str:
    """The name, or the name with the first number that makes it new."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found
