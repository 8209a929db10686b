"""The tree of a module as scopes of the graph: entered and left by hooks, collapsed, and closed at the end."""

from __future__ import annotations

import functools
import sys
from threading import get_ident
from typing import Any

from torch import nn

from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.layers import Foreign
from cnnatomy.layers.layer import Value, value
from cnnatomy.readers.torch.spec import LAST_STATE, WRITE
from cnnatomy.readers.torch.tracer import Tracer

NodeSpan = tuple[int, int]
"""The numbers of the first node of a scope and of the first after it."""


@value
class TorchModule(Value):
    """What a scope stands for: a torch module, by its class."""

    type: str
    stem = ""

    def __repr__(self) -> str:
        return self.type


_what = functools.cache(TorchModule)


class Scopes:
    """Opens a scope for each module that runs. One that makes a single node by itself becomes that node."""

    def __init__(self, tracer: Tracer, names: dict[nn.Module, str]) -> None:
        self.tracer, self.names = tracer, names
        self.spans: dict[Scope, NodeSpan] = {}
        self.taken: dict[Scope, set[str]] = {tracer.graph.root: set()}
        self.open: list[tuple[nn.Module, Scope | None, str, int, str]] = []  # the last is what names below begin with
        self.thread = get_ident()  # hooks are called for modules that run in other threads too
        self.failed: str | None = None

    def enter(self, module: nn.Module, args: Any) -> None:
        """A hook: called before a module runs, in whatever thread."""
        if get_ident() == self.thread:
            self.begin(module)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """A hook: called after a module has run, or failed."""
        if get_ident() == self.thread:
            if sys.exc_info()[0] is None:
                self.end(module)
            else:
                self.fail(module)

    def begin(self, module: nn.Module) -> None:
        """A module is about to run."""
        self.failed = None
        tracer, path = self.tracer, self.names.get(module)
        below = path + "." if path else ""
        if not self.open:  # the whole module is the root
            self.open.append((module, tracer.graph.root, "", 0, below))
            return
        if path is None:
            below = self.open[-1][4]
        name, start, parent = self.name(module), len(tracer.graph.nodes), tracer.scope
        if not module._modules:  # most leaves of the tree make one node, and then need no scope
            self.open.append((module, None, name, start, below))
            return
        scope = Scope(_what(type(module).__name__), parent)
        parent.children[scope] = name
        self.taken[scope] = set()
        tracer.scope = scope
        self.open.append((module, scope, name, start, below))

    def name(self, module: nn.Module) -> str:
        """Its path below the module that calls it, with a number where that is taken: it was called before."""
        path = self.names.get(module)
        name = type(module).__name__.lower() if path is None else path.removeprefix(self.open[-1][4])
        taken = self.taken[self.tracer.scope]
        free, number = name or "again", 1
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        return free

    def reached(self) -> str:
        """The innermost module that has begun and not ended, or that failed, for messages."""
        if self.failed is not None:
            return self.failed
        module = self.open[-1][0] if self.open else None
        path = self.names.get(module, "") if module else ""
        return f"{path} ({type(module).__name__})" if path else "the module"

    def fail(self, module: nn.Module) -> None:
        """A module has raised an error, which somebody may catch."""
        failed = self.reached()
        self.end(module)
        self.failed = failed

    def end(self, module: nn.Module) -> None:
        """A module has run."""
        self.failed = None
        while self.open and self.open[-1][0] is not module:  # modules that raised, and somebody caught it
            self._close()
        if self.open:
            self._close()

    def _close(self) -> None:
        module, scope, name, start, _ = self.open.pop()
        if scope is None:
            self._close_leaf(module, name, start)
            return
        parent = scope.parent
        if parent is None:
            return
        self.tracer.scope = parent
        children = scope.children
        only = next(iter(children)) if len(children) == 1 else None
        if not children:
            del parent.children[scope]
            self.taken[parent].discard(name)
        elif isinstance(only, Node) and not children[only]:
            del parent.children[scope]
            parent.children[only] = name
            only.scope = parent
        else:
            self.spans[scope] = (start, len(self.tracer.graph.nodes))

    def _close_leaf(self, module: nn.Module, name: str, start: int) -> None:
        """A module without parts: its one node takes its name; several get a scope; none leaves nothing."""
        parent, nodes = self.tracer.scope, self.tracer.graph.nodes
        own = [node for node in nodes[start:] if node.scope is parent and not parent.children[node]]
        if len(own) == 1:
            parent.children[own[0]] = name
        elif not own:
            self.taken[parent].discard(name)
        else:
            scope = Scope(TorchModule(type(module).__name__), parent)
            for node in own:
                del parent.children[node]
                scope.children[node] = ""
                node.scope = scope
            parent.children[scope] = name
            self.spans[scope] = (start, len(nodes))


def without_idle(graph: Graph, spans: dict[Scope, NodeSpan]) -> dict[Scope, NodeSpan]:
    """Drops writes to views whose whole nobody reads afterwards, and states nobody reads; the spans without them."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    before = [0]
    for node in reversed(graph.nodes):
        keep = (
            not isinstance(node.layer, Foreign) or node.layer.what not in (WRITE, LAST_STATE) or node.output in needed
        )
        if keep:
            kept.append(node)
            needed.update(node.inputs)
        else:
            del node.scope.children[node]
        before.append(before[-1] + keep)
    if len(kept) == len(graph.nodes):
        return spans
    graph.nodes[:] = reversed(kept)
    place = [len(kept) - after for after in reversed(before)]
    return {scope: (place[start], place[end]) for scope, (start, end) in spans.items()}


def close_scopes(graph: Graph, spans: dict[Scope, NodeSpan]) -> None:
    """Gives every scope its inputs and outputs: the maps that cross its border, in the order in which they are made."""
    number = {node.output: i for i, node in enumerate(graph.nodes)}
    last: dict[FeatureMap, int] = {}
    inputs: dict[Scope, dict[FeatureMap, None]] = {scope: {} for scope in spans}
    outputs: dict[Scope, dict[FeatureMap, None]] = {scope: {} for scope in spans}
    root = graph.root
    for i, node in enumerate(graph.nodes):
        for x in node.inputs:
            last[x] = i
            made, scope = number.get(x, -1), node.scope  # from the innermost, without the root
            while scope is not root and spans[scope][0] > made:
                inputs[scope][x] = None
                scope = scope.parent or root
    last |= dict.fromkeys(graph.outputs, len(graph.nodes))
    for node in graph.nodes:
        reader, scope = last.get(node.output, -1), node.scope
        while scope is not root and spans[scope][1] <= reader:
            outputs[scope][node.output] = None
            scope = scope.parent or root
    for scope, (_, end) in spans.items():
        scope.inputs = tuple(inputs[scope]) or graph.inputs
        scope.outputs = tuple(outputs[scope]) or (graph.nodes[end - 1].output,)
    graph.root.inputs, graph.root.outputs = graph.inputs, graph.outputs
