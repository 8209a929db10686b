"""A network as the list of its nodes: what a graph that was read from elsewhere becomes, to be kept, built and trained.

As YAML it is a design with `nodes` in place of tail, body and head: each has its path, its layer, and the paths of what
it reads where that is not the node before (`input` is the input of the network).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import yaml

from cnnatomy.errors import ShapeError, UserError, nearest
from cnnatomy.layers import LAYERS, Conv, Each, FullyConnected, Layer, Softmax
from cnnatomy.layers.layer import Shape, Value, elements, value
from cnnatomy.network import Network
from cnnatomy.network.graph import Graph, Node, Scope, check_shape
from cnnatomy.readers import design
from cnnatomy.readers.paths import Builder, free

if TYPE_CHECKING:
    import torch

INPUT, READS = "input", "reads"


@value
class Entry(Value):
    """One node: its path, its layer, and what it reads: 0 is the input of the network, n what the n-th node makes."""

    path: str
    layer: Layer
    reads: tuple[int, ...]


@value
class ListedNetwork(Value):
    """A network as its nodes, in an order in which they can run; the last one makes its output.

    `input` is the default input shape (channels, rows, columns); `name` says what tables call it and is not compared.
    """

    entries: tuple[Entry, ...]
    input: Shape
    name: str = dataclasses.field(default="", compare=False)

    @classmethod
    def of(cls, graph: Graph, name: str) -> Self:
        """The nodes of a graph that its output depends on.

        Raises:
            UserError: naming the first node that is none of our layers, or shares its weights with another, or where
                there is not one input and one output.
        """
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
            raise UserError(f"{name} has {counts}; to be built and trained, a network that is read needs one of each")
        numbers = {graph.inputs[0]: 0}
        entries: list[Entry] = []
        taken = {INPUT, READS}
        paths = dict(_paths(graph.root, ""))
        for node in _needed(graph):
            _check(node, name)
            path = free(paths[node], taken)
            entries.append(Entry(path, node.layer, tuple(numbers[x] for x in node.inputs)))
            numbers[node.output] = len(entries)
        return cls(tuple(entries), graph.inputs[0].shape, name)

    def for_classes(self, classes: int | None) -> Self:
        """For training: without a softmax at the end, which the loss computes, and with so many classes.

        They are given to the convolution or fully connected layer from which nothing branches off before the output,
        if the output is one number for each of its channels.
        """
        *rest, last = self.entries
        if rest and isinstance(last.layer, Softmax) and last.reads == (len(rest),):
            *rest, last = rest
        entries = (*rest, last)
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
        builder = Builder([check_shape(tuple(input or self.input))])
        maps = list(builder.graph.inputs)
        for entry in self.entries:
            maps.append(builder.put(entry.layer, [maps[i] for i in entry.reads], tuple(entry.path.split("."))))
        return builder.finish(maps[-1:])

    def build(self, input: Shape | None = None) -> torch.nn.Module:
        """An ordinary torch module, nested and named as the paths of the graph."""
        from cnnatomy.network.build import build

        return build(self.graph(input))


def _needed(graph: Graph) -> list[Node]:
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


def _check(node: Node, name: str) -> None:
    layer = node.layer
    while isinstance(layer, Each):
        layer = layer.layer
    if type(layer) not in LAYERS:
        what = getattr(layer, "what", "") or f"{type(layer).__name__} {layer.stem}".strip()
        raise UserError(
            f"{name}: {node.path} ({what}) is none of our layers, so the network cannot be built or trained"
        )
    if node.shared:
        raise UserError(
            f"{name}: {node.path} shares its {' and '.join(sorted(node.shared))} with a layer before it,"
            " which a network that is built here cannot"
        )


def write(network: Network | ListedNetwork) -> str:
    """A network as YAML, which `read` turns into an equal value."""
    if isinstance(network, Network):
        return design.write(network)
    root: dict[str, Any] = {"name": network.name} if network.name else {}
    paths = [INPUT, *(entry.path for entry in network.entries)]
    lines = []
    for i, entry in enumerate(network.entries):
        node = {entry.path: design.written(entry.layer)}
        node |= {} if entry.reads == (i,) else {READS: [paths[n] for n in entry.reads]}
        lines.append("- " + yaml.safe_dump(node, sort_keys=False, default_flow_style=True, width=sys.maxsize))
    return design.dump(root | {"input": list(network.input)}) + "nodes:\n" + "".join(lines)


def read(text: str, source: str = "design") -> Network | ListedNetwork:
    """A network from YAML, by tail, body and head or by nodes. `source` is the file name for messages.

    Raises:
        UserError: with file, line, key, what was expected and the nearest valid name.
    """
    root = design.parse(text, source)
    reader = design.Reader(source, design.known_types() | {"Each": Each})
    if isinstance(root, yaml.MappingNode) and any(key.value == "nodes" for key, _ in root.value):
        return _listed(reader, root)
    return reader.network(root)


def _listed(reader: design.Reader, root: yaml.MappingNode) -> ListedNetwork:
    items = reader.mapping(root, ("name", "input", "nodes"), "a design by nodes")
    nodes = items["nodes"]
    if "input" not in items or not isinstance(nodes, yaml.SequenceNode) or not nodes.value:
        reader.fail(nodes, "a design by nodes has an input, and a list of at least one node")
    numbers = {INPUT: 0}
    entries = tuple(_entry(reader, node, numbers) for node in nodes.value)
    input = reader.plain(items["input"], tuple[int, ...], "input")
    name = reader.plain(items["name"], str, "name") if "name" in items else ""
    return ListedNetwork(entries, input, name)


def _entry(reader: design.Reader, node: yaml.Node, numbers: dict[str, int]) -> Entry:
    """The next node; `numbers` are those of the paths before it, and get its own."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    keys = [key.value for key, _ in pairs]
    if len(pairs) not in (1, 2) or keys[1:] not in ([], [READS]):
        reader.fail(node, "a node is its path and its layer, and `reads` where it does not read the node before it")
    layer = reader.part(pairs[0][1], 1)
    if not isinstance(layer, Layer):
        reader.fail(node, f"{keys[0]}: a design by nodes has layers only, got {layer!r}")
    if not isinstance(keys[0], str) or not keys[0] or keys[0] in numbers:
        reader.fail(node, f"every node needs a path of its own, got {keys[0]!r}")
    names = reader.plain(pairs[1][1], list[str], READS) if len(pairs) == 2 else []
    for name in names:
        if name not in numbers:
            reader.fail(node, f"{keys[0]} reads {name!r}, which no node before it makes.{nearest(name, numbers)}")
    reads = tuple(numbers[name] for name in names) or (len(numbers) - 1,)
    numbers[keys[0]] = len(numbers)
    return Entry(keys[0], layer, reads)
