"""The account of a graph: what every layer costs and can see, one row a node, with totals and subtotals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from cnnatomy.analysis.memory.footprint import Footprint, inference, training
from cnnatomy.analysis.receptive_field import ReceptiveField, receptive_fields
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.errors import LimitError
from cnnatomy.layers.layer import UNKNOWN, Layer, Operations, Shape, dimensions, elements


@lru_cache(1024)
def _source(layer: Layer) -> str:
    return repr(layer)


class Row(NamedTuple):
    """One node: a layer applied once, to one image.

    Attributes:
        node: the node of the graph.
        inputs, output: shapes (channels, rows, columns), without the batch.
        parameters, weights: learned numbers, and those of them that are weights of a convolution or matrix product.
        buffers: numbers stored but not learned, such as batch-norm statistics.
        operations: exact counts by kind.
        receptive_field: what one element of the output sees.
        weight_layers: layers with weights on the longest path from the input to here, this one included.
        rests_on: what a reader took its sizes to be, which only running the network can tell: "300 regions".
    """

    node: Node
    inputs: tuple[Shape, ...]
    output: Shape
    parameters: int
    weights: int
    buffers: int
    operations: Operations
    receptive_field: ReceptiveField
    weight_layers: int
    rests_on: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it is, such as `body.stage3.block2.conv1`."""
        return self.node.path

    @property
    def kind(self) -> str:
        """One of the lectures' seven kinds, by the dimensions that the layer mixes."""
        return self.node.layer.kind

    @property
    def layer(self) -> str:
        """The layer as source code."""
        return _source(self.node.layer)

    @property
    def feature_map_elements(self) -> int:
        """Numbers in the output."""
        return elements(self.output)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.operations.mac


@dataclass(frozen=True)
class Totals:
    """Sums over some rows; `feature_map_elements` counts the output of every node once.

    `not_counted` layers came from a reader that has no rule for them: their operations are missing in the sums. Sizes
    and operations of `assumed` layers rest on what their rows say, and on nothing that the file or module says.
    """

    layers: int
    parameters: int
    weights: int
    buffers: int
    macs: int
    multiplies: int
    adds: int
    compares: int
    divides: int
    exponentials: int
    feature_map_elements: int
    not_counted: int
    assumed: int

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Totals:
        """The sums over these rows."""
        layers = parameters = weights = buffers = maps = unknown = assumed = 0
        mac = multiply = add = compare = divide = exponential = 0
        for row in rows:
            layers += 1
            parameters += row.parameters
            weights += row.weights
            buffers += row.buffers
            maps += elements(row.output)
            unknown += row.kind == UNKNOWN
            assumed += row.rests_on != ()
            operations = row.operations
            mac += operations[0]
            multiply += operations[1]
            add += operations[2]
            compare += operations[3]
            divide += operations[4]
            exponential += operations[5]
        operations = Operations(mac, multiply, add, compare, divide, exponential)
        return cls(layers, parameters, weights, buffers, *operations, maps, unknown, assumed)


@dataclass(frozen=True)
class Subtotal:
    """A part of the tree as one line: its sums, the shape that leaves it, and what that sees."""

    path: str
    what: str
    inputs: tuple[Shape, ...]
    output: Shape
    totals: Totals
    receptive_field: ReceptiveField
    scope: Scope


@dataclass(frozen=True, eq=False)
class Account:
    """What the analysis makes of a graph."""

    name: str
    graph: Graph
    rows: tuple[Row, ...]
    fields: dict[FeatureMap, ReceptiveField]

    @property
    def input(self) -> Shape:
        """The shape of the (first) input."""
        return self.graph.inputs[0].shape

    @property
    def has_pixels(self) -> bool:
        """Whether an input is an image, of whose rows and columns layers see a part: no sound, film or vector."""
        return any(len(x.shape) == 3 for x in self.graph.inputs)

    @cached_property
    def totals(self) -> Totals:
        """Sums over the whole network."""
        return Totals.of(self.rows)

    @cached_property
    def rests_on(self) -> tuple[str, ...]:
        """What sums of the network rest on that only running it can tell; empty for most networks."""
        return tuple(dict.fromkeys(what for row in self.rows for what in row.rests_on))

    @cached_property
    def depth(self) -> int:
        """Layers with weights on the longest path: 50 for ResNet-50."""
        return max((row.weight_layers for row in self.rows), default=0)

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """Of the last feature map before the head; for a graph without tail, body and head, of its first output."""
        return self.fields[self.features]

    @cached_property
    def inference_memory(self) -> Footprint:
        """Where the memory of one forward pass has its peak: one image, float32."""
        return inference(self.graph)

    @cached_property
    def training_memory(self) -> Footprint:
        """The same for a training step with momentum: one image, float32."""
        return training(self.graph)

    @cached_property
    def features(self) -> FeatureMap:
        """The last feature map before the head; of a body that returns several, the one made last."""
        for scope in self.graph.root.children:
            if isinstance(scope, Scope) and scope.path == "head":
                order = {node.output: i for i, node in enumerate(self.graph.nodes)}
                return max(scope.inputs, key=lambda x: order.get(x, -1))
        return self.graph.outputs[0]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        lines = {
            "input": self.graph.takes,
            "parameters": f"{self.totals.parameters:,}",
            "MACs": f"{self.totals.macs:,}",
            "layers": f"{self.totals.layers:,}",
            "receptive field": dimensions(self.receptive_field.size),
        }
        return "\n".join([f"Account of {self.name or 'a network'}", *(f"  {k:<15}  {v}" for k, v in lines.items())])

    def part(self, path: str) -> Totals:
        """The sums of everything at or below a path: `account.part("body.stage2").macs`.

        Raises:
            KeyError: if no node has this path or lies below it.
        """
        rows = [row for row in self.rows if row.path == path or row.path.startswith(path + ".")]
        if not rows:
            raise KeyError(path)
        return Totals.of(rows)

    def at_depth(self, depth: int) -> list[Row | Subtotal]:
        """The tree cut at a depth: 1 is tail, body and head; what lies deeper is summed up in its scope."""
        by_node = {row.node: row for row in self.rows}
        lines: list[Row | Subtotal] = []

        def visit(scope: Scope, level: int) -> None:
            for child in scope.children:
                if isinstance(child, Node):
                    lines.append(by_node[child])
                elif level < depth:
                    visit(child, level + 1)
                else:
                    lines.append(self._subtotal(child, by_node))

        visit(self.graph.root, 1)
        return lines

    def _subtotal(self, scope: Scope, by_node: dict[Node, Row]) -> Subtotal:
        def nodes(part: Scope) -> Iterator[Node]:
            for child in part.children:
                yield from (child,) if isinstance(child, Node) else nodes(child)

        totals = Totals.of(by_node[node] for node in nodes(scope))
        output = scope.outputs[0]
        inputs = tuple(x.shape for x in scope.inputs)
        return Subtotal(scope.path, repr(scope.block), inputs, output.shape, totals, self.fields[output], scope)


def account(graph: Graph, name: str = "") -> Account:
    """Counts every node of a graph: integer arithmetic on shapes, no tensor, no torch.

    Raises:
        LimitError: as `receptive_fields` does.
    """
    try:
        fields = receptive_fields(graph)
    except LimitError as error:
        raise LimitError(f"{name}: {error}" if name else str(error)) from None
    depths: dict[FeatureMap, int] = dict.fromkeys(graph.inputs, 0)
    resting = graph.resting()
    rows: list[Row] = []
    for node in graph.nodes:
        output = node.output
        inputs = tuple([x.shape for x in node.inputs])
        shape = output.shape
        parameters, weights, buffers, operations = _counted(node.layer, inputs, shape, node.shared)
        depth = max([depths[x] for x in node.inputs]) + (1 if weights else 0)
        depths[output] = depth
        row = (node, inputs, shape, parameters, weights, buffers, operations, fields[output], depth)
        rows.append(Row(*row, resting.get(node, ())))
    return Account(name, graph, tuple(rows), fields)


@lru_cache(1 << 14)
def _counted(
    layer: Layer, inputs: tuple[Shape, ...], output: Shape, shared: frozenset[str]
) -> tuple[int, int, int, Operations]:
    """Parameters, those of them that are weights, buffers and operations of a layer: networks repeat themselves."""
    parameters = weights = 0
    for name, shape in layer.parameters(*inputs).items():
        if name not in shared:
            parameters += elements(shape)
            weights += elements(shape) if len(shape) > 1 else 0
    buffers = sum(elements(shape) for name, shape in layer.buffers(*inputs).items() if name not in shared)
    return parameters, weights, buffers, layer.operations(inputs, output)
