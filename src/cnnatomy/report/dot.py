"""A network as a drawing in Graphviz's language: `cnnatomy show NETWORK --format dot | dot -Tsvg > network.svg`."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.analysis import Account, Row, Subtotal
from cnnatomy.analysis.edges import Edges
from cnnatomy.design import Node, Scope
from cnnatomy.layers.layer import (
    CHANNEL,
    CHANNEL_AND_SPACE,
    ELEMENT,
    REARRANGEMENT,
    SPACE,
    TIME,
    TRAINING,
    UNKNOWN,
    dimensions,
)

_COLOURS = {
    CHANNEL_AND_SPACE: "#bcd7f0",
    CHANNEL: "#cfe3c4",
    SPACE: "#f5dfb3",
    ELEMENT: "#f4f4f4",
    TIME: "#d9c9ec",
    REARRANGEMENT: "#e2e2e2",
    TRAINING: "#f3cfd0",
    UNKNOWN: "#ffffff",
    "block": "#ffffff",
}
"""What each kind of layer is filled with."""

MAX_LABEL = 60
"""Characters of source code in a box, for a block may be as long as the whole network; all of it is its tooltip."""


def dot(account: Account, depth: int | None = None) -> str:
    """The graph: a box for each layer or, with a depth, for each part of the tree cut there; blocks around them.

    A box says path, layer, output shape, and parameters and MACs where there are any; an arrow is a feature map.
    """
    parts = account.rows if depth is None else account.at_depth(depth)
    edges = Edges(account.graph, parts)
    boxes = {part.path: _box(part) for part in parts}
    lines = [
        f"digraph {_quoted(account.name or 'network')} {{",
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10]',
        '  graph [fontname="Helvetica", fontsize=10, style=rounded, color="#888888", labeljust=l]',
    ]
    for name, x in zip(edges.inputs, account.graph.inputs, strict=True):
        lines.append(f"  {_quoted(name)} [{_label(name, dimensions(x.shape))}, shape=ellipse, style=solid]")
    lines += _nested(account.graph.root, boxes, "  ")
    for part, reads in zip(parts, edges.reads, strict=True):
        lines += [f"  {_quoted(maker)} -> {_quoted(part.path)}" for maker in reads]
    return "\n".join([*lines, "}"])


def _nested(scope: Scope, boxes: dict[str, str], indent: str) -> Iterator[str]:
    """The boxes of a scope, and a cluster for each block that is not a box itself."""
    for child in scope.children:
        if isinstance(child, Node) or child.path in boxes:
            yield indent + boxes[child.path]
        elif child.children:
            yield f"{indent}subgraph {_quoted('cluster ' + child.path)} {{"
            yield f"{indent}  {_label(child.path, *_kind(child))}"
            yield from _nested(child, boxes, indent + "  ")
            yield indent + "}"


def _kind(scope: Scope) -> list[str]:
    """The block in one word; what groups layers of other people's files has none."""
    what = repr(scope.block).partition("(")[0]
    return [what] if what.isidentifier() else []


def _box(part: Row | Subtotal) -> str:
    if isinstance(part, Row):
        kind, layer, parameters, macs = part.kind, part.layer, part.parameters, part.macs
    else:
        kind, layer, parameters, macs = "block", part.what, part.totals.parameters, part.totals.macs
    costs = [f"{parameters:,} parameters"] * bool(parameters) + [f"{macs:,} MACs"] * bool(macs)
    shown = layer if len(layer) <= MAX_LABEL else layer[: MAX_LABEL - 1] + "…"
    name = part.path.rpartition(".")[2] if isinstance(part, Row) else part.path
    label = _label(name, shown, dimensions(part.output), *[", ".join(costs)] * bool(costs))
    tooltip = _quoted(f"{part.path}\n{layer}")
    return f"{_quoted(part.path)} [{label}, tooltip={tooltip}, fillcolor={_quoted(_COLOURS[kind])}]"


def _label(*lines: str) -> str:
    return "label=" + _quoted("\n".join(lines))


def _quoted(text: str) -> str:
    """A string of the language: quotes, backslashes and ends of lines are escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'
