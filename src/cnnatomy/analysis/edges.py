"""Which part of a network reads what another makes: the edges between layers or blocks, by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnatomy.analysis.accounting import Row, Subtotal
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope


class Edges:
    """The edges between the lines of an account, which may be cut at a depth.

    Attributes:
        inputs: what the inputs of the network are called: `input`, or `input1`, `input2` where it has several.
        reads: for each line, what makes the maps that it reads: the paths of other lines, and names of inputs. Those of
            a layer are in the order of its inputs, a map read twice named twice; those of a block are all different.
        outputs: for each output of the network, what makes it.
    """

    def __init__(self, graph: Graph, lines: Sequence[Row | Subtotal]) -> None:
        self.inputs = _input_names(graph, {line.path for line in lines})
        makers: dict[FeatureMap, str] = dict(zip(graph.inputs, self.inputs, strict=True))
        for line in lines:
            makers |= dict.fromkeys((node.output for node in _nodes(line)), line.path)
        self.reads = [_reads(line, makers) for line in lines]
        self.outputs = [makers[x] for x in graph.outputs]


def _input_names(graph: Graph, taken: set[str]) -> list[str]:
    """The names of the inputs; with underscores where a layer of somebody's module has such a name."""
    several = len(graph.inputs) > 1
    names = [f"input{i + 1}" if several else "input" for i in range(len(graph.inputs))]
    while taken.intersection(names):
        names = [name + "_" for name in names]
    return names


def _nodes(line: Row | Subtotal) -> Iterator[Node]:
    return iter((line.node,)) if isinstance(line, Row) else nodes_within(line.scope)


def nodes_within(scope: Scope) -> Iterator[Node]:
    """All nodes of a scope, in the order of its tree."""
    for child in scope.children:
        if isinstance(child, Node):
            yield child
        else:
            yield from nodes_within(child)


def _reads(line: Row | Subtotal, makers: dict[FeatureMap, str]) -> list[str]:
    if isinstance(line, Row):
        return [makers[x] for x in line.node.inputs]
    read = dict.fromkeys(makers[x] for node in _nodes(line) for x in node.inputs)
    read.pop(line.path, None)
    return list(read)
