"""A network as the list of its nodes: what a graph that was read becomes, to be kept, built and trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Self

from cnnatomy.design.builder import Builder, free
from cnnatomy.design.graph import Graph, Node, Scope, check_shape
from cnnatomy.design.network import Design, Network
from cnnatomy.errors import ShapeError, UserError, counted
from cnnatomy.layers import LAYERS, Conv, Derived, Each, FullyConnected, Layer
from cnnatomy.layers.layer import Shape, Value, elements, value

INPUT, READS = "input", "reads"
"""Words of the YAML format, which no node may have as its path."""


@value
class ListedNode(Value):
    """One node: its path, its layer, and what it reads: 0 is the input of the network, n what the n-th node makes."""

    path: str
    layer: Layer
    reads: tuple[int, ...]


@value
class ListedNetwork(Design):
    """A network as its nodes, in an order in which they can run; the last one makes its output.

    `input` is the default input shape (channels, rows, columns); `name` says what tables call it and is not compared.
    """

    entries: tuple[ListedNode, ...]
    input: Shape
    name: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of(cls, graph: Graph, name: str, stored: Collection[Node] = ()) -> Self:
        """The nodes of a graph that its output depends on.

        `stored` are nodes whose own tensors are known: they may be computed from others, or be those of others, too, as
        each gets them as its own.

        Raises:
            UserError: naming the first node that is none of our layers, or shares its weights with another, or where
                there is not one input and one output.
        """
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            counts = f"{counted(len(graph.inputs), 'input')} and {counted(len(graph.outputs), 'output')}"
            raise UserError(f"{name} has {counts}; to be built and trained, a network that is read needs one of each")
        numbers = {graph.inputs[0]: 0}
        entries: list[ListedNode] = []
        taken = {INPUT: 1, READS: 1}
        paths = dict(_paths(graph.root, ""))
        for node in needed(graph):
            layer = plain(node.layer) if node in stored else node.layer
            _check(node, layer, name, shared=node not in stored)
            path = free(paths[node], taken)
            entries.append(ListedNode(path, layer, tuple(numbers[x] for x in node.inputs)))
            numbers[node.output] = len(entries)
        return cls(tuple(entries), graph.inputs[0].shape, name)

    def for_classes(self, classes: int | None) -> Self:
        """With so many classes, as many as there are where None is given.

        They are given to the convolution or fully connected layer from which nothing branches off before the output,
        if the output is one number for each of its channels.
        """
        entries = self.entries
        i = len(entries) - 1
        while i and not isinstance(entries[i].layer, (Conv, FullyConnected)) and entries[i].reads == (i,):
            i -= 1
        layer = entries[i].layer
        if classes is not None and isinstance(layer, (Conv, FullyConnected)) and getattr(layer, "groups", 1) == 1:
            width = "features" if isinstance(layer, FullyConnected) else "channels"
            changed = entries[i].replace(layer=layer.replace(**{width: classes}))
            network = self.replace(entries=(*entries[:i], changed, *entries[i + 1 :]))
            with suppress(ShapeError):  # a Reshape to sizes that are given
                if elements(network.graph().outputs[0].shape) == classes:
                    return network
        return self.replace(entries=entries)

    def graph(self, input: Shape | None = None) -> Graph:
        """The nodes and feature maps for one input shape (default: its own).

        Raises:
            ShapeError: naming the layer where a feature map does not fit.
        """
        builder = Builder([check_shape(self.input if input is None else input)])
        maps = list(builder.graph.inputs)
        for entry in self.entries:
            maps.append(builder.put(entry.layer, [maps[i] for i in entry.reads], tuple(entry.path.split("."))))
        return builder.finish(maps[-1:])


def for_classes(network: Design, classes: int) -> Design:
    """The same network with so many classes: by the `classes` of its head, or else of its last layer, as nodes.

    Paths stay as they are, and so do the names of weights.
    """
    if isinstance(network, Network) and hasattr(network.head, "classes"):
        return network.replace(head=network.head.replace(classes=classes))
    return ListedNetwork.of(network.graph(), network.name).for_classes(classes)


def needed(graph: Graph) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    needed = set(graph.outputs)
    found = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            found.append(node)
    return found[::-1]


def _paths(scope: Scope, prefix: str) -> Iterator[tuple[Node, str]]:
    """Every node with its path, in which a dot always separates scopes."""
    for child in scope.children:
        path = prefix + child.path.removeprefix(f"{scope.path}.").replace(".", "_")
        if isinstance(child, Node):
            yield child, path
        else:
            yield from _paths(child, path + ".")


def plain(layer: Layer) -> Layer:
    """The layer that has the tensors itself which a `Derived` one computes."""
    return layer.layer if isinstance(layer, Derived) else layer


def _check(node: Node, layer: Layer, name: str, shared: bool) -> None:
    while isinstance(layer, Each):
        layer = layer.layer
    if type(layer) not in LAYERS:
        what = getattr(layer, "what", "") or f"{type(layer).__name__} {layer.stem}".strip()
        raise UserError(
            f"{name}: {node.path} ({what}) is none of our layers, so the network cannot be built or trained"
        )
    if node.shared and shared:
        raise UserError(
            f"{name}: {node.path} shares its {' and '.join(sorted(node.shared))} with a layer before it,"
            " which a network that is built here cannot"
        )
