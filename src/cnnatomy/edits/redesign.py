"""A changed graph as a network again: a value that is described, written and built like any other.

Blocks of which nothing has changed stay as they are. One that is touched is taken apart into what it is made of:
chains, residuals, dense and parallel branches, as far as its graph is series-parallel (Valdes et al. 1979). What comes
out is compared with the changed graph node by node, so that nothing is believed that is not so.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from cnnatomy.design import Block, Chain, Dense, Heads, Named, Network, Parallel, Residual, TappedChain
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design
from cnnatomy.edits.change import Change, changed, nodes_in
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, Concat, Layer, Maximum, Multiply

PARTS = ("tail", "body", "head")
COMMUTATIVE = (Add, Maximum, Multiply)
Child = Node | Scope
FeatureMaps = tuple[FeatureMap, ...]


def redesign(design: Design, graph: Graph, change: Change) -> Design:
    """The design whose graph is this one, that of `design`, after a change of its nodes; of the same form.

    Raises:
        ShapeError: where a layer does not fit any more.
        UserError: where what is left cannot be said in a design of that form.
    """
    after = changed(graph, change)
    if isinstance(design, ListedNetwork):
        listed = ListedNetwork.of(after, design.name)
        _prove(listed, after)
        return listed
    return described(after).replace(name=design.name)


def described(graph: Graph, keep: bool = True) -> Network:
    """A network that has this graph, up to the order of independent nodes and paths inside blocks that are taken apart.

    `keep` leaves blocks as they are where they give what their scope holds; otherwise everything is taken apart.

    Raises:
        UserError: if the graph has no tail, body and head, or is not series-parallel.
    """
    groups: dict[str, list[Child]] = {name: [] for name in PARTS}
    current = PARTS[0]
    for child, name in graph.root.children.items():
        current = name if name in PARTS else current  # a part that was one layer may be several, or none
        groups[current].append(child)
    if not groups["body"] and not groups["head"]:
        raise UserError("only a network of tail, body and head can be written down")
    writer = _Writer(graph, keep)
    parts = [[writer.part(child) for child in groups[name]] for name in PARTS]
    tail, body, head = (part[0] if len(part) == 1 else Chain(*part) for part in parts)
    network = Network(tail, body, head, graph.inputs[0].shape)
    _prove(network, graph)
    return network


def _prove(design: Design, graph: Graph) -> None:
    if not alike(design.graph(), graph):
        raise UserError("what can be written down is not what was meant")


class Region(NamedTuple):
    """A part of a graph that is a graph itself."""

    inputs: FeatureMaps
    nodes: Sequence[Node]
    outputs: FeatureMaps


def alike(one: Graph | Region, other: Graph | Region) -> bool:
    """Whether two graphs compute the same: layers, connections and shapes, in any order that respects the edges.

    True is a proof: every map has its one twin, made by the same layer from the twins of what that reads. Where equal
    branches meet in a sum and one of them is read elsewhere too, the other may be taken for it, and False be wrong.
    """
    known: dict[Hashable, int] = {}
    first, second = _Numbered(one, known), _Numbered(other, known)
    if len(first.ends) != len(second.ends) or len(one.nodes) != len(other.nodes):
        return False
    waiting = list(zip(first.ends, second.ends, strict=True))
    twins: dict[FeatureMap, FeatureMap] = {}
    backwards: dict[FeatureMap, FeatureMap] = {}
    while waiting:
        x, y = waiting.pop()
        if twins.get(x) is y:
            continue
        if x in twins or y in backwards or first.numbers[x] != second.numbers[y]:
            return False
        twins[x], backwards[y] = y, x
        waiting += zip(first.reads.get(x, ()), second.reads.get(y, ()), strict=True)
    return True


class _Numbered:
    """The maps of a graph with numbers: equal where the same layers made them from inputs of the same shapes.

    `reads` says from which maps one is made, in an order that does not depend on the graph's where the layer does not
    mind; `ends` are the outputs, and what nobody reads.
    """

    def __init__(self, graph: Graph | Region, known: dict[Hashable, int]) -> None:
        self.numbers = {x: known.setdefault((i, x.shape), len(known)) for i, x in enumerate(graph.inputs)}
        self.reads: dict[FeatureMap, FeatureMaps] = {}
        unread: dict[FeatureMap, None] = {}
        for node in graph.nodes:
            for x in node.inputs:
                unread.pop(x, None)
                self.numbers.setdefault(x, known.setdefault(x, len(known)))  # from outside: like itself alone
            reads = node.inputs
            if isinstance(node.layer, COMMUTATIVE):
                reads = tuple(sorted(reads, key=self.numbers.__getitem__))
            self.reads[node.output] = reads
            key = (node.layer, tuple(self.numbers[x] for x in reads))
            self.numbers[node.output] = known.setdefault(key, len(known))
            unread[node.output] = None
        self.ends = [*graph.outputs, *sorted(unread, key=self.numbers.__getitem__)]


class _Writer:
    """Turns scopes into blocks."""

    def __init__(self, graph: Graph, keep: bool) -> None:
        self.keep = keep
        self.outputs = set(graph.outputs)
        self.readers: dict[FeatureMap, list[Node]] = {}
        for node in graph.nodes:
            for x in node.inputs:
                self.readers.setdefault(x, []).append(node)

    def part(self, child: Child) -> Layer | Block:
        """What stands for a node or scope in a design."""
        if isinstance(child, Node):
            return child.layer
        block: Block = child.block
        needed = self.needed(child)
        kept = self.keep and _gives(block, child)
        if kept and needed == child.outputs:
            return block
        try:
            return self.heads(child) if isinstance(child.block, Heads) else _Opened(self, child).whole(needed)
        except UserError:
            if kept:
                return block
            raise

    def needed(self, child: Child) -> FeatureMaps:
        """Those outputs that are read elsewhere, or are outputs of the network."""
        if isinstance(child, Node):
            return (child.output,)
        inside = set(nodes_in(child))
        return tuple(
            x
            for x in child.outputs
            if x in self.outputs or any(reader not in inside for reader in self.readers.get(x, ()))
        )

    def heads(self, scope: Scope) -> Layer | Block:
        """The heads that are left; a single one needs no name."""
        children = [child for child in scope.children if isinstance(child, Node) or nodes_in(child)]
        if len(children) == 1:
            return self.part(children[0])
        read = {x for child in children for x in child.inputs}
        maps = [x for x in scope.inputs if x in read]
        names = [child.name for child in children]
        return Heads(
            *[Named(child.name, self.part(child)) for child in children],
            reads=[(child.name, maps.index(child.inputs[0])) for child in children if child.inputs[0] != maps[0]],
            auxiliary=[name for name in scope.block.auxiliary if name in names],
        )


def _gives(block: object, scope: Scope) -> bool:
    """Whether a block, read again, gives exactly what its scope holds."""
    if not isinstance(block, Block):
        return False
    try:
        graph = Graph.trace(block, *[x.shape for x in scope.inputs])
    except UserError:
        return False
    (made,) = graph.root.children
    held = Region(scope.inputs, nodes_in(scope), scope.outputs)
    paths = [node.path.removeprefix(made.path) for node in graph.nodes]
    return paths == [node.path.removeprefix(scope.path) for node in held.nodes] and alike(held, graph)


class _Step(NamedTuple):
    """A part of a chain, and the node or scope whose outputs it gives."""

    child: Child
    part: Layer | Block | Named


class _Opened:
    """One scope taken apart: its children are the steps of chains and branches."""

    def __init__(self, writer: _Writer, scope: Scope) -> None:
        self.writer, self.scope = writer, scope
        children = [child for child in scope.children if isinstance(child, Node) or nodes_in(child)]
        self.needed = {child: writer.needed(child) for child in children}
        self.maker = {x: child for child in children for x in self.needed[child]}
        self.parts = {child: writer.part(child) for child in children}
        self.dominator: dict[FeatureMap, FeatureMap | None] = dict.fromkeys(scope.inputs)
        """The last map that every path to a map passes: its immediate dominator."""
        self.level: dict[FeatureMap, int] = dict.fromkeys(scope.inputs, 0)
        for child in children:
            x = self.meeting(child.inputs)
            for y in self.needed[child]:
                self.dominator[y], self.level[y] = x, self.level.get(x, 0) + 1 if x else 0
        rewritten = {_stem(child) for child in children if _stem(child) != _part_stem(self.parts[child])}
        self.named = {child for child in children if scope.children[child] or _stem(child) in rewritten}
        self.taken: set[Child] = set()

    def whole(self, outputs: FeatureMaps) -> Block:
        """A block that gives these outputs of the scope."""
        if len(outputs) == 1 or outputs == self.needed.get(self.maker.get(outputs[0], self.scope)):
            return _block(self.chain(self.scope.inputs, outputs))
        steps = self.chain(self.scope.inputs, outputs[:1])
        taps = []
        for x in outputs[1:]:
            i = next((i for i, step in enumerate(steps) if self.needed[step.child] == (x,)), None)
            if i is None:
                raise self.tangled(x)
            child, part = steps[i]
            steps[i] = _Step(child, part if isinstance(part, Named) else Named(child.name, part))
            taps.append(child.name)
        return TappedChain(*[step.part for step in steps], taps=taps)

    def chain(self, start: FeatureMaps, end: FeatureMaps) -> list[_Step]:
        """The steps that lead from one place to another, none of which is part of another chain."""
        steps: list[_Step] = []
        while end != start:
            child = self.maker.get(end[0])
            if child is None or self.needed[child] != end or child in self.taken:
                raise self.tangled(end[0])
            self.taken.add(child)
            reads = child.inputs
            if len(reads) == 1 or reads == start or reads == self.needed.get(self.maker.get(reads[0], child)):
                steps.append(_Step(child, self.name(child)))
                end = reads
                continue
            meeting = self.meeting(reads)
            if meeting is None:
                raise self.tangled(end[0])
            branches = [[step.part for step in self.chain((meeting,), (x,))] for x in reads]
            steps.append(_Step(child, _joined(self.parts[child], branches)))
            end = (meeting,)
        return _merged(steps[::-1])

    def meeting(self, maps: Iterable[FeatureMap]) -> FeatureMap | None:
        """The last map that every path to all of these passes."""
        first, *others = maps
        common: FeatureMap | None = first
        for x in others:
            other: FeatureMap | None = x
            while common is not other:
                if common is None or other is None or common not in self.dominator or other not in self.dominator:
                    return None
                if self.level[common] > self.level[other]:
                    common = self.dominator[common]
                else:
                    other = self.dominator[other]
        return common

    def name(self, child: Child) -> Layer | Block | Named:
        part = self.parts[child]
        return Named(child.name, part) if child in self.named else part

    def tangled(self, x: FeatureMap) -> UserError:
        where = x.node.path if x.node else "the input"
        return UserError(f"{self.scope.path}: what leads to {where} is neither a chain nor made of branches")


def _joined(join: Layer | Block, branches: list[list[Layer | Block | Named]]) -> Block:
    """Branches from one map that meet in a layer."""
    if len(branches) == 2:
        shorter, longer = sorted(branches, key=len)
        if join == Add() and longer:
            return Residual(*longer, shortcut=_one(shorter) if shorter else None)
        if join == Concat() and not branches[0] and branches[1]:
            return Dense(*(branches[1] if len(branches[1]) == 1 else [Chain(*branches[1])]))
    return Parallel(*[parts[0] if len(parts) == 1 else Chain(*parts) for parts in branches], join=join)


def _one(parts: list[Layer | Block | Named]) -> Layer | Block:
    only = parts[0]
    return Chain(*parts) if len(parts) > 1 or isinstance(only, Named) else only


def _merged(steps: list[_Step]) -> list[_Step]:
    """Dense steps in a row are one dense block; blocks of other scopes stay apart, as their names do."""
    merged: list[_Step] = []
    for step in steps:
        pair = (merged[-1], step) if merged else ()
        parts = [s.part for s in pair if isinstance(s.child, Node) and isinstance(s.part, Dense)]
        if len(parts) == 2:
            merged[-1] = _Step(step.child, Dense(*parts[0].parts, *parts[1].parts))
        else:
            merged.append(step)
    return merged


def _block(steps: list[_Step]) -> Block:
    """Steps as one block, without a chain around what is a block by itself."""
    parts = [step.part for step in steps]
    if len(parts) == 2 and isinstance(parts[0], Residual) and parts[0].after is None and isinstance(parts[1], Layer):
        return parts[0].replace(after=parts[1])
    if len(parts) == 1 and isinstance(parts[0], (Residual, Dense, Parallel)):
        return parts[0]
    return Chain(*parts)


def _stem(child: Child) -> str:
    return _part_stem(child.layer if isinstance(child, Node) else child.block)


def _part_stem(part: object) -> str:
    stem: str = getattr(part, "stem", "")
    return stem or type(part).__name__.lower()
