"""A change of a graph, layer by layer: what it costs afterwards, and the graph that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cnnatomy.analysis import Account
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.errors import ShapeError
from cnnatomy.layers import Concat
from cnnatomy.layers.layer import Layer, Shape, dimensions, elements


class Cost(NamedTuple):
    """What a whole network costs: learned numbers, multiply-accumulates, and elements of all feature maps."""

    parameters: int
    macs: int
    maps: int

    @classmethod
    def of(cls, account: Account) -> Cost:
        """The totals of an account."""
        totals = account.totals
        return cls(totals.parameters, totals.macs, totals.feature_map_elements)


@dataclass(frozen=True)
class Change:
    """What some nodes become: each a chain of layers, the first of which reads what the node read.

    An empty chain passes the node's only input on; `dropped` are nodes that are left out with all that reads them, but
    for concatenations, which go on with the inputs that are left.
    """

    layers: Mapping[Node, tuple[Layer, ...]] = field(default_factory=dict)
    dropped: frozenset[Node] = frozenset()
    input: Shape | None = None


DEAR = 1.5
"""Times as many parameters or multiply-accumulates as before: what a change may cost without being called dear."""

Fix = Literal["safe", "unsafe"]


class Remedy(NamedTuple):
    """What to do about it.

    Attributes:
        text: a sentence in the imperative, with numbers.
        change: the same as a change of the graph; None where it cannot be said as one.
        after: what the whole network costs then.
        fix: whether a program may apply it: "safe" where what is left can compute all that there was, for no more, and
            nothing goes that was of use; "unsafe" where that is for a person to say; None where no program can.
    """

    text: str
    change: Change | None = None
    after: Cost | None = None
    fix: Fix | None = None

    def is_dear(self, before: Cost) -> bool:
        """Whether the network costs more than `DEAR` times as much after it; not where that is unknown."""
        after = self.after
        return after is not None and (after.parameters > DEAR * before.parameters or after.macs > DEAR * before.macs)


def cost_after(account: Account, change: Change) -> Cost:
    """What the network costs after a change; only what changes is counted again.

    Raises:
        ShapeError: if a layer does not fit any more, or an output of the network has another shape.
    """
    parameters, macs, maps = Cost.of(account)
    graph = account.graph
    shapes: dict[FeatureMap, Shape] = {}
    if change.input is not None:
        shapes[graph.inputs[0]] = change.input
    for row in account.rows:
        node = row.node
        layers = change.layers.get(node)
        if node in change.dropped:
            layers = None
        elif layers is None:
            if len(_kept(node, change)) == len(node.inputs) and not any(x in shapes for x in node.inputs):
                continue
            layers = (node.layer,)
        parameters -= row.parameters
        macs -= row.operations.mac
        maps -= elements(row.output)
        if layers is None:
            continue
        inputs: tuple[Shape, ...] = tuple([shapes.get(x, x.shape) for x in _kept(node, change)])
        output = _passed(node, inputs) if not layers else ()
        for layer in layers:
            output = layer.output_shape(*inputs)
            kept = node.shared if layer == node.layer else ()
            parameters += sum(elements(s) for name, s in layer.parameters(*inputs).items() if name not in kept)
            macs += layer.operations(inputs, output).mac
            maps += elements(output)
            inputs = (output,)
        if output != row.output:
            shapes[node.output] = output
    if change.input is None:
        for x in graph.outputs:
            _same_output(x.shape, shapes.get(x, x.shape))
    return Cost(parameters, macs, maps)


def _same_output(before: Shape, after: Shape) -> None:
    if before != after:
        raise ShapeError(f"the output would be {dimensions(after)} in place of {dimensions(before)}")


def _kept(node: Node, change: Change) -> Sequence[FeatureMap]:
    """What a node still reads; of a concatenation that is what is not dropped."""
    if not change.dropped or not isinstance(node.layer, Concat):
        return node.inputs
    return [x for x in node.inputs if x.node not in change.dropped]


def _passed(node: Node, inputs: tuple[Shape, ...]) -> Shape:
    if len(inputs) != 1:
        raise ShapeError(f"{node.path} reads {len(inputs)} maps: none of them can take its place")
    return inputs[0]


def changed(graph: Graph, change: Change) -> Graph:
    """The graph after a change: the same scopes and names, without those that have become empty.

    Raises:
        ShapeError: where a layer does not fit any more, or an output has another shape.
    """
    maps: dict[FeatureMap, FeatureMap] = {}

    def play(scope: Scope, new: Graph) -> None:
        for child, name in scope.children.items():
            if isinstance(child, Scope):
                _play_scope(child, name, new)
            elif child not in change.dropped:
                _play_node(child, name, new)

    def _play_scope(scope: Scope, name: str, new: Graph) -> None:
        def inside() -> Any:
            play(scope, new)
            return [maps[x] for x in scope.outputs if x in maps]

        if any(node not in change.dropped for node in nodes_in(scope)):
            new.ask(name)
            new.within(scope.block, inside, [maps[x] for x in scope.inputs])

    def _play_node(node: Node, name: str, new: Graph) -> None:
        inputs = [maps[x] for x in _kept(node, change)]
        layers = change.layers.get(node, (node.layer,))
        if not layers:
            _passed(node, tuple(x.shape for x in inputs))
            maps[node.output] = inputs[0]
        successor = next((i for i, layer in enumerate(layers) if type(layer) is type(node.layer)), 0)
        for i, layer in enumerate(layers):
            if i == successor:
                new.ask(name)
            output = new.add(layer, inputs)
            if layer == node.layer and output.node:
                output.node.shared, output.node.overwrites = node.shared, node.overwrites
            maps[node.output] = output
            inputs = [output]

    def describe(*inputs: FeatureMap) -> tuple[FeatureMap, ...]:
        maps.update(zip(graph.inputs, inputs, strict=True))
        play(graph.root, inputs[0].graph)
        return tuple(maps[x] for x in graph.outputs if x in maps)

    shapes = [x.shape for x in graph.inputs]
    if change.input is not None:
        shapes[0] = change.input
    after = Graph.trace(describe, *shapes)
    after.unused, after.deployed = graph.unused, graph.deployed
    for x, node in graph.held.items():
        last = maps[node.output].node if node.output in maps else None
        if x in maps and last is not None:
            after.held[maps[x]] = last
    for x in graph.outputs:
        if x in maps and change.input is None:
            _same_output(x.shape, maps[x].shape)
    return after


def nodes_in(scope: Scope) -> list[Node]:
    """The nodes at or below a scope, in order."""
    found: list[Node] = []
    for child in scope.children:
        found += [child] if isinstance(child, Node) else nodes_in(child)
    return found
