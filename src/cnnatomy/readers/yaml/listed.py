"""Designs by nodes: in place of tail, body and head, a list of `nodes`.

Each has its path, its layer, and the paths of what it reads where that is not the node before (`input` is the input of
the network). `read` and `write` are for designs of either form.
"""

from __future__ import annotations

from typing import Any

import yaml

from cnnatomy.design import Network
from cnnatomy.design.graph import check_name
from cnnatomy.design.listed import INPUT, READS, ListedNetwork, ListedNode
from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.layers import Each, Layer
from cnnatomy.readers.yaml import design


def write(network: Design) -> str:
    """A network as YAML, which `read` turns into an equal value."""
    if isinstance(network, Network):
        return design.write(network)
    if not isinstance(network, ListedNetwork):
        raise UserError(f"{network!r} is neither a Network nor a ListedNetwork, so it cannot be written as YAML")
    root: dict[str, Any] = {"name": network.name} if network.name else {}
    return design.dump(root | {"input": list(network.input)}) + "nodes:\n" + "".join(lines_of(network))


def lines_of(network: ListedNetwork) -> list[str]:
    """Each node as a line of the list."""
    paths = [INPUT, *(entry.path for entry in network.entries)]
    lines = []
    for i, entry in enumerate(network.entries):
        node = {entry.path: design.written(entry.layer)}
        node |= {} if entry.reads == (i,) else {READS: [paths[n] for n in entry.reads]}
        lines.append(f"- {design.inline(node)}\n")
    return lines


def read(text: str, source: str = "design") -> Design:
    """A network from YAML, by tail, body and head or by nodes. `source` is the file name for messages.

    Raises:
        UserError: with file, line, key, what was expected and the nearest valid name.
    """
    return read_lines(text, source)[0]


def read_lines(text: str, source: str) -> tuple[Design, dict[int, int]]:
    """A network from YAML, and the line of each of its parts by identity: `lines[id(network.tail)]`.

    Raises:
        UserError: with file, line, key, what was expected and the nearest valid name.
    """
    reader = design.Reader(text, source, design.known_types() | {"Each": Each})
    root = reader.root
    if isinstance(root, yaml.MappingNode) and any(key.value == "nodes" for key, _ in root.value):
        return _listed(reader, root), reader.lines
    return reader.network(), reader.lines


def _listed(reader: design.Reader, root: yaml.MappingNode) -> ListedNetwork:
    items = reader.mapping(root, ("name", "input", "nodes", design.CRITIQUE), "a design by nodes")
    nodes = items["nodes"]
    if "input" not in items or not isinstance(nodes, yaml.SequenceNode) or not nodes.value:
        reader.fail(nodes, "a design by nodes has an input, and a list of at least one node")
    numbers = {INPUT: 0}
    entries = tuple(_entry(reader, node, numbers) for node in nodes.value)
    return ListedNetwork(entries, **reader.about(items))


def _above(path: str) -> list[str]:
    """The parts that a path is in: of a.b.c these are a and a.b."""
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _entry(reader: design.Reader, node: yaml.Node, numbers: dict[str, int]) -> ListedNode:
    """The next node; `numbers` are those of the paths before it, and get its own."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    keys = [key.value for key, _ in pairs]
    if len(pairs) not in (1, 2) or keys[1:] not in ([], [READS]):
        reader.fail(node, "a node is its path and its layer, and `reads` where it does not read the node before it")
    layer = reader.begins(pairs[0][0], reader.part(pairs[0][1], 1))
    if not isinstance(layer, Layer):
        reader.fail(node, f"{keys[0]}: a design by nodes has layers only, got {layer!r}")
    path = keys[0]
    for part in path.split("."):
        reader.refusing(pairs[0][0], check_name, part, "a part of a path")
    if above := next((one for one in _above(path) if one in numbers), None):
        reader.fail(node, f"{quoted(above)} is a node already, so that {quoted(path)} cannot be in it")
    if path in numbers:
        reader.fail(node, f"every node needs a path of its own, {quoted(path)} is there already")
    names = reader.plain(pairs[1][1], list[str], READS) if len(pairs) == 2 else None
    if names == []:
        reader.fail(node, f"{path}: reads is empty; leave it out, and it reads the node before it")
    for name in names or ():
        if name not in numbers:
            reader.fail(node, f"{path} reads {quoted(name)}, which no node before it makes.{nearest(name, numbers)}")
    reads = tuple(numbers[name] for name in names or ()) or (len(numbers) - 1,)
    numbers[path] = len(numbers)
    return ListedNode(path, layer, reads)
