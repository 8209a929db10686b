"""Graphs from other people's files: nodes are added under the names that they have there, and nest by those names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from cnnatomy.design.graph import MODULE_ATTRIBUTES, FeatureMap, Graph, Node, Scope
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Layer, Shape
from cnnatomy.limits import MAX_LAYERS, MAX_NAME_LENGTH, MAX_NESTING

NodePath = tuple[str, ...]


def safe(name: str) -> str:
    """A name as part of a path: no dot, no leading underscore, nothing that a torch module keeps for itself.

    What cannot be printed in a line, such as control characters, is an underscore; what is too long is cut.
    """
    if not name.isprintable():
        name = "".join(c if c.isprintable() else "_" for c in name)
    name = name.strip().replace(".", "_").replace(" ", "_").lstrip("_")[:MAX_NAME_LENGTH] or "layer"
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
        self._taken: dict[str, int] = {}
        self._scopes = 0

    def put(
        self,
        layer: Layer,
        inputs: Sequence[FeatureMap],
        path: NodePath,
        shared: frozenset[str] = frozenset(),
        assumed: tuple[str, ...] = (),
    ) -> FeatureMap:
        """Adds a node; `shared` names its tensors that an earlier node has already; for `assumed` see `Graph`.

        Raises:
            UserError: naming the path, where a map does not fit or would be larger than a tensor can be.
        """
        path = tuple(map(safe, [*path[: MAX_NESTING - 1], *path[MAX_NESTING - 1 :][-1:]])) or (layer.stem or "layer",)
        self.graph.ask(free("_".join(path), self._taken))
        output = self.graph.add(layer, inputs)
        node = self.graph.nodes[-1]
        node.shared = shared
        if assumed:
            self.graph.assumed[node] = assumed
        self._paths[node] = path
        return output

    def finish(self, outputs: Iterable[FeatureMap]) -> Graph:
        """The graph, its nodes nested in scopes by their paths.

        Raises:
            UserError: if the paths nest in too many scopes.
        """
        graph = self.graph
        graph.outputs = tuple(dict.fromkeys(outputs))
        graph.root.inputs, graph.root.outputs = graph.inputs, graph.outputs
        readers: dict[FeatureMap, list[Node]] = {}
        for node in graph.nodes:
            for x in node.inputs:
                readers.setdefault(x, []).append(node)
        self._nest(graph.root, graph.nodes, 0, readers, frozenset(graph.outputs))
        graph.root.name_children()
        return graph

    def _nest(
        self,
        scope: Scope,
        nodes: Sequence[Node],
        level: int,
        readers: dict[FeatureMap, list[Node]],
        outputs: frozenset[FeatureMap],
    ) -> None:
        scope.children.clear()
        taken: dict[str, int] = {}

        def prefix(node: Node) -> tuple[str, Node | None]:
            path = self._paths[node]
            return (path[level], None) if len(path) > level + 1 else (path[level], node)

        for (name, single), members in groupby(nodes, key=prefix):
            run = list(members)
            if single is not None:
                scope.children[single] = free(name, taken)
                single.scope = scope
                continue
            self._scopes += 1
            if self._scopes > MAX_LAYERS:
                raise UserError(f"the names of its layers nest in more than {MAX_LAYERS:,} blocks")
            group = Scope(PrefixGroup(len(run)), scope)
            inside = set(run)
            group.inputs = tuple(
                dict.fromkeys(x for node in run for x in node.inputs if x.node is None or x.node not in inside)
            )
            made = [node.output for node in reversed(run)]
            group.outputs = tuple(
                x
                for x in made
                if x in outputs or x not in readers or any(reader not in inside for reader in readers[x])
            )
            scope.children[group] = free(name, taken)
            self._nest(group, run, level + 1, readers, outputs)


def free(name: str, taken: dict[str, int]) -> str:
    """The name, or the name with the first number that makes it new. `taken` has the last number of each name."""
    if name not in taken:
        taken[name] = 1
        return name
    number = taken[name] + 1
    while (found := f"{name}_{number}") in taken:
        number += 1
    taken[name], taken[found] = number, 1
    return found
