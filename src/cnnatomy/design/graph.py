"""What a network becomes for one input shape: nodes (compute) joined by feature maps (memory)."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnnatomy.errors import ShapeError, UserError, printable, quoted, shown
from cnnatomy.layers.layer import Layer, Shape, dimensions, elements
from cnnatomy.limits import MAX_AXES, MAX_INPUT_SIZE, MAX_LAYERS, MAX_MAP_ELEMENTS, MAX_MAP_SIDE, MAX_NAME_LENGTH

_ATTRIBUTES = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict
modules mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
"""
MODULE_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""Names that a torch module keeps for itself, so that no layer may have them when the graph is built."""


class FeatureMap:
    """An edge of the graph: a shape (channels, rows, columns), without the batch, and the node that made it."""

    __slots__ = ("graph", "node", "shape")

    def __init__(self, graph: Graph, shape: Shape, node: Node | None = None) -> None:
        self.graph, self.shape, self.node = graph, shape, node

    def apply(self, layer: Layer, inputs: Sequence[FeatureMap]) -> FeatureMap:
        """Adds a node to the graph that this map belongs to."""
        return self.graph.add(layer, inputs)

    @property
    def channels(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FeatureMap({dimensions(self.shape)})"


class Node:
    """One layer applied: the layer, its inputs, its output, and a stable path such as `body.stage3.block2.conv1`.

    `shared` names those of its tensors that an earlier node has already, as where a module is used twice; `overwrites`
    says that a module read from elsewhere writes the output over the first input.
    """

    __slots__ = ("inputs", "layer", "output", "overwrites", "path", "scope", "shared")

    def __init__(self, layer: Layer, inputs: Sequence[FeatureMap], scope: Scope) -> None:
        self.layer, self.inputs, self.scope = layer, tuple(inputs), scope
        self.path = ""
        self.output: FeatureMap
        self.shared: frozenset[str] = frozenset()
        self.overwrites = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"{self.path or '?'}: {self.layer!r} -> {dimensions(self.output.shape)}"


class Scope:
    """One block applied: what paths and built modules nest by. `children` are nodes and further scopes, in order."""

    __slots__ = ("block", "children", "inputs", "outputs", "parent", "path")

    def __init__(self, block: Any, parent: Scope | None, inputs: Sequence[FeatureMap] = ()) -> None:
        self.block, self.parent, self.inputs = block, parent, tuple(inputs)
        self.outputs: tuple[FeatureMap, ...] = ()
        self.children: dict[Node | Scope, str] = {}  # child -> the name it asks for, or "" for an automatic one
        self.path = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def around(self) -> tuple[object, ...]:
        """This block and those that it is in, from the inside."""
        found: list[object] = []
        scope: Scope | None = self
        while scope is not None:
            found.append(scope.block)
            scope = scope.parent
        return tuple(found)

    def name_children(self) -> None:
        """Gives every child its path: the name it asked for, or its stem, numbered where there are several alike."""
        names: Collection[str] = self.children.values()
        if len({"", *names}) <= len(names):
            names = self._named()
        prefix = self.path + "." if self.path else ""
        for child, name in zip(self.children, names, strict=True):
            child.path = prefix + name
            if isinstance(child, Scope):
                child.name_children()

    def _named(self) -> list[str]:
        """The names of the children; those that asked for none get their stem, numbered where there are several."""
        asked = [name for name in self.children.values() if name]
        taken = set(asked)
        if len(taken) != len(asked):
            twice = next(name for name in asked if asked.count(name) > 1)
            raise UserError(f"{self.path or 'the network'}: two parts have the same name {twice!r}")
        stems = [name or _stem(child) for child, name in self.children.items()]
        alike = Counter(stem for stem, name in zip(stems, self.children.values(), strict=True) if not name)
        numbers = dict.fromkeys(alike, 0)
        names: list[str] = []
        for name, stem in zip(self.children.values(), stems, strict=True):
            if not name:
                numbers[stem] += 1
                name = stem if alike[stem] == 1 else f"{stem}{numbers[stem]}"
                while name in taken:
                    name += "_"
                taken.add(name)
            names.append(name)
        return names


def _stem(child: Node | Scope) -> str:
    part = child.layer if isinstance(child, Node) else child.block
    return part.stem or type(part).__name__.lower()


@dataclass(eq=False)
class Graph:
    """The nodes in topological order. `root` holds the tree of scopes: tail, body and head for a network.

    `unused` are learned tensors, by name, that a module read from elsewhere has and does not use; no node owns them.
    `held` says, of such a module's maps, which node was the last to run before the module released the map.
    `deployed` says that it was exported to be run, not trained, as most ONNX files are.
    `assumed` says of nodes that a reader made what it took their sizes to be, which only running the network can tell:
    "300 regions (--regions)", "at most 10 boxes". What reads their outputs rests on that, too: see `resting`.
    """

    inputs: tuple[FeatureMap, ...] = ()
    outputs: tuple[FeatureMap, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    root: Scope = field(default_factory=lambda: Scope(None, None))
    unused: tuple[tuple[str, Shape], ...] = ()
    held: dict[FeatureMap, Node] = field(default_factory=dict)
    deployed: bool = False
    assumed: dict[Node, tuple[str, ...]] = field(default_factory=dict)
    _scope: Scope = field(init=False)
    _asked: str = field(default="", init=False)
    _entered: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._scope = self.root

    @classmethod
    def trace(cls, describe: Callable[..., Any], *shapes: Shape) -> Graph:
        """Runs a description (a block, a function of feature maps) on inputs of these shapes.

        Raises:
            ShapeError: naming the path and layer where a feature map does not fit.
        """
        graph = cls()
        graph.inputs = tuple(FeatureMap(graph, check_shape(shape)) for shape in shapes)
        try:
            graph.outputs = maps_of(describe(*graph.inputs))
        except RecursionError:
            raise UserError("the design nests its blocks too deep, or a block contains itself") from None
        graph.root.inputs, graph.root.outputs = graph.inputs, graph.outputs
        graph.root.name_children()
        return graph

    def add(self, layer: Layer, inputs: Sequence[FeatureMap]) -> FeatureMap:
        """Applies a layer in the current scope."""
        scope = self._scope
        for x in inputs:
            if not isinstance(x, FeatureMap) or x.graph is not self:
                raise UserError(f"{layer!r} got {x!r}, needs feature maps of the network that it is part of")
        node = Node(layer, inputs, scope)
        try:
            shape = layer.output_shape(*[x.shape for x in inputs])
            if len(shape) > 3 or (shape and max(shape) > 100_000):  # three such sizes make no more
                _check_size(layer, shape)
        except ShapeError as error:
            self._enter(node)
            self.root.name_children()
            del scope.children[node]
            refusal = ShapeError(f"{node.path}: {error}" if node.path else str(error))
            refusal.parts = (layer, *scope.around())
            raise refusal from None
        self._enter(node)
        self.nodes.append(node)
        node.output = FeatureMap(self, shape, node)
        return node.output

    def _enter(self, child: Node | Scope) -> None:
        self._scope.children[child] = self._asked
        self._asked = ""
        self._entered += 1
        if self._entered > MAX_LAYERS:
            raise UserError(f"the network has more than {MAX_LAYERS:,} layers and blocks; make it shallower")

    def within(self, block: Any, call: Callable[[], Any], inputs: Sequence[FeatureMap]) -> Any:
        """Runs `call` in a scope of its own for `block`."""
        scope = Scope(block, self._scope, inputs)
        self._enter(scope)
        self._scope = scope
        try:
            result = call()
        except UserError as error:
            error.parts = error.parts or scope.around()
            raise
        finally:
            self._scope = scope.parent or self.root
        scope.outputs = maps_of(result)
        return scope.outputs if isinstance(result, list) else result

    def ask(self, name: str) -> None:
        """The name that the next layer or block shall have in its scope."""
        self._asked = name

    @property
    def takes(self) -> str:
        """The shapes of its inputs as tables print them: `3x224x224`, or of several `77 and 3x224x224`."""
        return " and ".join([dimensions(x.shape) for x in self.inputs])

    def resting(self) -> dict[Node, tuple[str, ...]]:
        """The nodes whose sizes rest on what a reader `assumed`, by themselves or by what they read, and on what."""
        found: dict[Node, tuple[str, ...]] = {}
        for node in self.nodes if self.assumed else ():
            own = self.assumed.get(node, ())
            before = [what for x in node.inputs if x.node is not None for what in found.get(x.node, ())]
            if own or before:
                found[node] = tuple(dict.fromkeys((*before, *own)))
        return found

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __repr__(self) -> str:
        lines = {
            "inputs": " and ".join(dimensions(x.shape) for x in self.inputs),
            "outputs": " and ".join(dimensions(x.shape) for x in self.outputs),
            "layers": f"{len(self.nodes):,}",
        }
        return "\n".join(["Graph", *(f"  {name:<7}  {what}" for name, what in lines.items())])


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Looking for garbage among the thousands of objects of a graph would find none, and take as long as making it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def maps_of(result: Any) -> tuple[FeatureMap, ...]:
    """What a block returned, as a tuple of feature maps."""
    if isinstance(result, FeatureMap):
        return (result,)
    maps = tuple(result) if isinstance(result, (tuple, list)) else ()
    if not maps or not all(isinstance(x, FeatureMap) for x in maps):
        raise UserError(f"a block must return feature maps, not {result!r}")
    return maps


def _check_size(layer: Layer, shape: Shape) -> None:
    long = len(shape) > MAX_AXES or (len(shape) == 3 and max(shape[1:]) > MAX_MAP_SIDE)
    if long or elements(shape) > MAX_MAP_ELEMENTS:
        most = f"at most {MAX_AXES} axes, sides of {MAX_MAP_SIDE:,} and {MAX_MAP_ELEMENTS:,} numbers"
        raise ShapeError(f"{layer!r} makes a map of {shown(dimensions(shape))}; a map has {most}")


def check_shape(shape: Shape) -> Shape:
    """The shape of an input; raises `UserError` unless it is of one to `MAX_AXES` sizes, from 1 to `MAX_INPUT_SIZE`."""
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    if not sizes or len(sizes) > MAX_AXES or not all(type(n) is int and 0 < n <= MAX_INPUT_SIZE for n in sizes):
        raise UserError(
            f"an input shape is (channels, rows, columns), each from 1 to {MAX_INPUT_SIZE:,}, got {shown(shape)}"
        )
    return sizes


def check_name(name: str, what: str = "a name") -> str:
    """A name of the user's; raises `UserError` unless it can stand on a line of a table."""
    if not isinstance(name, str) or printable(name) != name or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise UserError(f"{what} has 1 to {MAX_NAME_LENGTH} characters that can be printed, got {quoted(name)}")
    return name
