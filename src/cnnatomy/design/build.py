"""A graph as a torch module: nested as the description nests, named as the paths are, no module used twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnatomy.design.blocks import Heads
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.errors import ShapeError, UserError
from cnnatomy.layers import LAYERS
from cnnatomy.layers.activation import OfOneNumber
from cnnatomy.layers.checking import check_activation
from cnnatomy.layers.layer import Layer, Shape, dimensions, elements
from cnnatomy.machine import memory


class BuiltFor(NamedTuple):
    """What the module of a node was built for: its path, its layer, and the shapes of its inputs."""

    path: str
    layer: Layer
    shapes: tuple[Shape, ...]

    def check(self, got: Sequence[Shape]) -> None:
        """Raises `ShapeError` where inputs of these shapes do not fit the layer, or its tensors as they were built."""
        sizes, built = _listed(got), _listed(self.shapes)
        try:
            self.layer.output_shape(*got)
            fits = self._tensors(got) == self._tensors(self.shapes)
        except ShapeError as error:
            raise ShapeError(f"{self.path}: {error}; it was built for {built}") from None
        except IndexError:  # other axes than those that the layer reads
            fits = False
        if not fits:
            remedy = "build the network for this input"
            if got[0][:1] == self.shapes[0][:1] or len(self.shapes[0]) == 1:
                remedy += ", or use a head that takes any size"
            raise ShapeError(f"{self.path}: {self.layer!r} got {sizes}, was built for {built}: {remedy}")

    def _tensors(self, shapes: Sequence[Shape]) -> tuple[dict[str, Shape], dict[str, Shape]]:
        return self.layer.parameters(*shapes), self.layer.buffers(*shapes)


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(dimensions, shapes))


Caller = Callable[..., Any]
BUILT_FOR = "built_for"
"""The attribute in which the module of a node keeps it, wherever it is moved or copied to."""


def _call(child: nn.Module, *maps: torch.Tensor) -> Any:
    return child(*maps)


def _call_and_explain(child: nn.Module, *maps: torch.Tensor) -> Any:
    """The same; an error of a module that was built for inputs of another shape says so."""
    try:
        return child(*maps)
    except (RuntimeError, ShapeError) as error:
        built_for = getattr(child, BUILT_FOR, None)
        if isinstance(built_for, BuiltFor) and all(isinstance(x, torch.Tensor) for x in maps):
            try:
                built_for.check([tuple(x.shape[1:]) for x in maps])
            except ShapeError as explained:
                raise explained from error
        raise  # these shapes fit: it is another error, such as that of a hook


def _caller() -> Caller:
    """How a module calls its children. torch.compile cannot break a graph inside a `try`, so there it is left out."""
    return _call if torch.compiler.is_compiling() else _call_and_explain


class Composite(nn.Module):
    """Runs its children in order, each on the feature maps that it reads, and releases a map after its last reader.

    `plan` has a step for each child: its name, the numbers of the maps it reads, of those it makes, and of those that
    nobody reads afterwards. The inputs are numbered from 0.
    """

    def __init__(self, plan: list[tuple[str, list[int], list[int], list[int]]], outputs: list[int]) -> None:
        super().__init__()
        self._plan, self._outputs = plan, outputs

    def forward(self, *inputs: torch.Tensor) -> Any:
        maps: dict[int, Any] = dict(enumerate(inputs))
        del inputs
        call = _caller()
        for name, reads, makes, frees in self._plan:
            result = call(getattr(self, name), *[maps[i] for i in reads])
            if len(makes) == 1:
                maps[makes[0]] = result
            else:
                maps.update(zip(makes, result, strict=True))
            del result
            for i in frees:
                del maps[i]
        return maps[self._outputs[0]] if len(self._outputs) == 1 else tuple(maps[i] for i in self._outputs)


class HeadsModule(nn.Module):
    """Several heads on one body: a dictionary by name, or the one tensor where a single head is active."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        reads = dict(heads.reads)
        self._reads = {name: reads.get(name, 0) for name in (part.name for part in heads.parts)}  # type: ignore[union-attr]
        self.auxiliary_heads = heads.auxiliary

    def forward(self, *maps: torch.Tensor) -> Any:
        active = [name for name in self._reads if self.training or name not in self.auxiliary_heads]
        call = _caller()
        results = {name: call(getattr(self, name), maps[self._reads[name]]) for name in active}
        return results[active[0]] if len(active) == 1 else results


PARTS = ("tail", "body", "head")


class NetworkModule(nn.Module):
    """A built network: `head(body(tail(x)))`.

    Its forward, as that of its parts, raises `ShapeError` where a layer was built for inputs of another shape.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, x: torch.Tensor) -> Any:
        if x.dim() != 1 + len(self._shape):
            remedy = ": x[None] makes a batch of one" if x.dim() == len(self._shape) else ""
            wanted = f"a batch of {dimensions(self._shape)}, {1 + len(self._shape)} axes{remedy}"
            raise ShapeError(f"the network got {dimensions(tuple(x.shape))}, needs {wanted}")
        call = _caller()
        for name in PARTS:
            part = getattr(self, name)
            x = call(part, *x) if isinstance(x, tuple) else call(part, x)
        return x


def build(graph: Graph) -> nn.Module:
    """The module of a whole graph.

    A network's graph becomes a `NetworkModule`; any other graph a `Composite`.

    Raises:
        UserError: if the parameters and one image's feature maps are more than the memory of this machine, before any
            is allocated.
    """
    if torch.get_default_device().type == "cpu":
        _check_memory(graph)
    if tuple(child.name for child in graph.root.children) == PARTS and _one_after_another(graph.root):
        return _with_children(NetworkModule(graph.inputs[0].shape), graph.root)
    return _composite(graph.root)


def _one_after_another(scope: Scope) -> bool:
    """Whether each child reads what the child before it makes: in a module that was read it may be otherwise."""
    maps = scope.inputs
    for child in scope.children:
        if child.inputs != maps:
            return False
        maps = _made(child)
    return maps == scope.outputs


def _made(child: Node | Scope) -> tuple[FeatureMap, ...]:
    return (child.output,) if isinstance(child, Node) else child.outputs


def _check_memory(graph: Graph) -> None:
    """The least that a forward pass holds: all weights, and what one layer reads and makes."""
    here = memory()
    if here is None:
        return
    size = torch.get_default_dtype().itemsize
    weights = 0
    for node in graph.nodes:
        shapes = [x.shape for x in node.inputs]
        weights += size * sum(map(elements, node.layer.parameters(*shapes).values()))
        if weights > here:
            raise UserError(
                f"{node.path}: with this layer ({node.layer!r}) the parameters need {weights / 2**30:,.1f} GiB,"
                f" and this machine has {here / 2**30:,.1f} GiB"
            )
    for node in graph.nodes:
        reads = [x.shape for x in node.inputs]
        maps = size * sum(map(elements, reads + ([] if node.layer.is_view(training=False) else [node.output.shape])))
        if weights + maps > here:
            raise UserError(
                f"{node.path}: the feature maps of this layer ({node.layer!r}, {_listed(reads)}"
                f" to {dimensions(node.output.shape)}) need {maps / 2**30:,.1f} GiB for one image, the parameters"
                f" {weights / 2**30:,.1f} GiB, and this machine has {here / 2**30:,.1f} GiB: choose a smaller input"
            )


def _with_children(module: nn.Module, scope: Scope) -> nn.Module:
    for child in scope.children:
        name = _name(child, scope)
        if hasattr(module, name):
            raise UserError(f"{child.path}: a torch module keeps the name {name!r} for itself; choose another")
        module.add_module(name, _module(child))
    return module


def _name(child: Node | Scope, scope: Scope) -> str:
    """The name in its scope: that of its path, in which a list of a module that was read may leave a dot."""
    return child.path.removeprefix(f"{scope.path}.").replace(".", "_")


def _module(child: Node | Scope) -> nn.Module:
    if isinstance(child, Node):
        built_for = BuiltFor(child.path, child.layer, tuple(x.shape for x in child.inputs))
        try:
            if isinstance(child.layer, OfOneNumber) and type(child.layer) not in LAYERS:
                check_activation(child.layer, gradient=False)
            module = child.layer.module(*built_for.shapes)
        except UserError as error:
            raise UserError(f"{child.path}: {error}") from None
        setattr(module, BUILT_FOR, built_for)
        return module
    if isinstance(child.block, Heads):
        return _with_children(HeadsModule(child.block), child)
    return _composite(child)


def _composite(scope: Scope) -> nn.Module:
    numbers: dict[FeatureMap, int] = {x: i for i, x in enumerate(scope.inputs)}
    plan: list[tuple[str, list[int], list[int], list[int]]] = []
    for child in scope.children:
        made = _made(child)
        if any(x not in numbers for x in child.inputs):
            raise UserError(
                f"{child.path} reads a feature map that its block was not given; pass it to the block's call"
            )
        reads = [numbers[x] for x in child.inputs]
        for x in made:
            numbers.setdefault(x, len(scope.inputs) + len(numbers))  # an input may be given twice
        plan.append((_name(child, scope), reads, [numbers[x] for x in made], []))
    if any(x not in numbers for x in scope.outputs):
        raise UserError(f"{scope.path or 'the network'} returns a feature map that it neither made nor was given")
    outputs = [numbers[x] for x in scope.outputs]
    needed = set(outputs)
    for _, reads, makes, frees in reversed(plan):
        frees += sorted((set(reads) | set(makes)) - needed)
        needed |= set(reads)
    return _with_children(Composite(plan, outputs), scope)
