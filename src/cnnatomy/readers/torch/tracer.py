"""Runs a torch module on stand-ins for tensors and keeps what it calls as a graph.

A mode sees every call of torch while the module runs. A call with a rule (`rules`) becomes a layer of ours: its
shape rule gives the result, and no kernel runs. One whose cost is known (`functions`) becomes `Foreign`, any
other `NotCounted`; their shapes come from torch's meta kernels. A function that torch itself writes in Python, and that
has no rule, is run, so that what it calls is seen in its place. The batch is 1, and no shape of the graph holds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.errors import UserError
from cnnatomy.layers import Derived, Foreign, NotCounted
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, Layer, Shape
from cnnatomy.limits import MAX_LAYERS
from cnnatomy.readers.torch import batch
from cnnatomy.readers.torch.batch import BATCH, shape_of
from cnnatomy.readers.torch.constants import LIKE, constant, like, numbered, stay
from cnnatomy.readers.torch.functions import (
    COSTS,
    FREE,
    OUTPUTS,
    READS_VALUES,
    SIZED_BY_VALUES,
    VIEWS,
    Parts,
    base_name,
    cost_of,
)
from cnnatomy.readers.torch.handlers import HANDLERS, found
from cnnatomy.readers.torch.spec import WRITE, CallSpec, FunctionCost
from cnnatomy.readers.torch.state import State
from cnnatomy.readers.torch.tensors import (
    HOLDER,
    MAP,
    SOURCE,
    TWIN,
    WEIGHTS,
    Leaves,
    Tensors,
    ValuesNeededError,
    Weights,
    WeightWork,
    added,
    map_of,
    merged,
    stand_for,
    taken,
    tensors_in,
)
from cnnatomy.readers.torch.vmapped import refuse_transforms

ALONE = "of parameters"
"""What a node is called that computes an output of parameters alone."""

STORED = ("running_mean", "running_var")
"""Names of tensors of layers that are buffers."""


class Tracer(TorchFunctionMode):
    """The mode. `for_real` computes with values, as far as a module needs them; else shapes are all there is."""

    def __init__(self, leaves: Leaves, device: torch.device, state: State, for_real: bool = False) -> None:
        super().__init__()
        self.graph = Graph()
        self.scope = self.graph.root
        self.weightless = device.type == "meta"
        self.device, self.for_real = torch.device("cpu") if self.weightless else device, for_real
        self.state = state
        self.marked: list[torch.Tensor] = []  # that have an attribute of ours until the end, maybe of the module
        state.undo.append(self.unmark)
        self.tensors = Tensors(leaves, for_real)
        self.blanks: dict[Any, torch.Tensor] = {}
        self.kept: set[Any] = set()  # what the state has been told of
        self.idle = False
        """Whether there may be nodes that only say something, and are dropped if nobody reads them."""

    def input(self, x: torch.Tensor, axis: int | None = 0) -> torch.Tensor:
        """Makes a tensor, whose batch is this axis, an input of the graph."""
        if x.dim() > 1:
            batch.put(x, batch.LOST if axis is None else axis % x.dim())
        fmap = FeatureMap(self.graph, shape_of(x))
        self.graph.inputs = (*self.graph.inputs, fmap)
        stand_for(x, fmap)
        return x

    def unmark(self) -> None:
        """Takes off what tensors of the module were marked with."""
        for x in self.marked:
            for name in {MAP, WEIGHTS, SOURCE, TWIN, HOLDER} & vars(x).keys():
                delattr(x, name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if kwargs and "out" in kwargs:
            return self.call(func, args, kwargs)
        handler = HANDLERS.get(func)
        if handler is None:
            handler = HANDLERS[func] = found(func)
        return handler(self, func, args, kwargs or {})

    def add(
        self, layer: Layer, maps: Sequence[FeatureMap], shape: Shape, shared: Iterable[str] = (), name: str = ""
    ) -> FeatureMap:
        """One more node in the current scope."""
        graph, scope = self.graph, self.scope
        node = Node(layer, maps, scope)
        fmap = node.output = FeatureMap(graph, shape, node)
        if shared:
            node.shared = frozenset(shared)
        scope.children[node] = name
        graph.nodes.append(node)
        if len(graph.nodes) > MAX_LAYERS:
            raise UserError(f"the module computes more than {MAX_LAYERS:,} functions for one input")
        return fmap

    def owned(self, weights: Weights) -> tuple[dict[str, Any], list[str]]:
        """The fields `learned` and `stored` of a layer that reads these, and the names that earlier nodes have."""
        shared = [leaf.name for leaf in weights.leaves if not self.tensors.first_use(leaf.tensor)]
        learned = tuple((leaf.name, leaf.shape) for leaf in weights.leaves if leaf.learned)
        stored = tuple((leaf.name, leaf.shape) for leaf in weights.leaves if not leaf.learned)
        return {"learned": learned, "stored": stored}, shared

    def apply(self, spec: CallSpec) -> FeatureMap:
        """The node of a layer with its tensors; a layer whose weights are computed from others becomes `Derived`."""
        layer, maps = spec.layer, spec.maps
        shape = spec.shape or layer.output_shape(*[x.shape for x in maps])
        shared: list[str] = []
        if spec.tensors:
            names, tensors = zip(*spec.tensors, strict=True)
            found = self.tensors.take(tensors, names, [own not in STORED for own in names])
            if found is not None:
                shared = found
            else:
                weights = merged(filter(None, (self.tensors.weights(x) for x in tensors if x is not None)))
                owned, shared = self.owned(weights)
                costs, unknown = taken(weights.works)
                layer = Derived(layer, **owned, costs=costs, unknown=unknown)
        return self.add(layer, maps, shape, shared)

    def finish(self, spec: CallSpec, func: Any, args: Any, kwargs: Any) -> Any:
        """The result of a call that has a rule."""
        fmap = self.apply(spec)
        if self.for_real:
            out = func(*self.swapped(args), **self.swapped(kwargs))
        else:
            out = self.blank(spec.like, spec.maps[0].shape, fmap.shape, spec.inplace)
        place = getattr(spec.like, BATCH, None)
        if place is not None:
            setattr(out, BATCH, place)
        return self.stands(out, fmap, spec.inplace)

    def blank(self, like: torch.Tensor, before: Shape, shape: Shape, inplace: bool) -> torch.Tensor:
        """What a layer returns for a tensor whose map had another shape before: a new tensor, unless it is in place.

        It is detached from another of its shape, which takes a fraction of the time that making one takes.
        """
        if inplace:
            return like
        if shape == before:
            return like.detach()
        place = getattr(like, BATCH, 0) if like.dim() > len(before) else None
        key = (shape, like.dtype, place)
        blank = self.blanks.get(key)
        if blank is None:
            sizes = shape if place is None else (*shape[:place], 1, *shape[place:])
            blank = self.blanks[key] = torch.empty(sizes, dtype=like.dtype, device="meta")
        return blank.detach()

    def stands(self, out: torch.Tensor, fmap: FeatureMap, inplace: bool) -> torch.Tensor:
        """Makes the result of a layer stand for its map."""
        stand_for(out, fmap)
        if inplace:
            if fmap.node:
                fmap.node.overwrites = True
            self.written(out)
        return out

    def swapped(self, value: Any, found: list[torch.Tensor] | None = None) -> Any:
        """Arguments with stand-ins in place of parameters and buffers, and of constants beside stand-ins."""
        if isinstance(value, torch.Tensor):
            if map_of(value) is None and getattr(value, WEIGHTS, None) is None:
                leaf = self.tensors.leaf(value)
                if leaf:
                    value = self.tensors.twin(leaf)
                elif self.for_real:
                    self.keep(value)
                else:
                    written = getattr(value, TWIN, None)
                    if written is not None:
                        value = written
                    elif not value.is_meta:
                        value = torch.empty_like(value, device="meta")
            if found is not None:
                found.append(value)
            return value
        if isinstance(value, (tuple, list)):
            items = [self.swapped(item, found) for item in value]
            return type(value)(items) if type(value) in (tuple, list, torch.Size) else type(value)(*items)
        if isinstance(value, dict):
            return {key: self.swapped(item, found) for key, item in value.items()}
        return value

    def keep(self, x: torch.Tensor) -> None:
        """Of a tensor that the module holds beside parameters and buffers, and that a function may write to."""
        if x.layout is torch.strided:
            place = (x.data_ptr(), x.shape, x.stride())
            if place not in self.kept:
                self.kept.add(place)
                self.state.before_writing(x)

    def known(self, value: Any) -> bool:
        """Whether any of these tensors is a feature map, or computed from parameters or buffers."""
        if isinstance(value, torch.Tensor):
            known = map_of(value) is not None or self.tensors.weights(value) is not None
            return known or getattr(value, TWIN, None) is not None
        if isinstance(value, (tuple, list)):
            return any(map(self.known, value))
        return isinstance(value, dict) and any(map(self.known, value.values()))

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A call without a rule for a layer: torch gives the shapes; the cost is looked up by name."""
        refuse_transforms()
        if not self.known(args) and not self.known(kwargs):
            return constant(self, func, args, kwargs)
        name, inplace = base_name(func)
        if name in LIKE:
            return like(self, func, args, kwargs)
        targets = [*tensors_in(args[:1] if inplace else kwargs.get("out"))]
        wholes = [self.whole(x) if map_of(x) is None else None for x in targets]
        tensors: list[torch.Tensor] = []
        if name == "__getitem__":
            args = (args[0], _by_position(args[1]))
        new_args, new_kwargs = self.swapped(args, tensors), self.swapped(kwargs, tensors)
        if not self.for_real and (name == "to" or "device" in kwargs):
            new_args, new_kwargs = stay(name, new_args, new_kwargs)
        try:
            output = OUTPUTS.get(name) if not self.for_real else None
            result = output(*new_args, **new_kwargs) if output else None
            parts = None if name in COSTS or name in FREE else Parts()
            if result is None:
                with parts or contextlib.nullcontext():
                    result = func(*new_args, **new_kwargs)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            if self.for_real or not (name in READS_VALUES or "meta" in str(error).lower()):
                raise
            return self.with_numbers(func, args, kwargs, error)
        outputs = [tensors[0]] if name == "__setitem__" else [*tensors_in(result)]
        if not outputs:
            return result
        written = [*tensors_in(new_args[:1] if inplace else new_kwargs.get("out"))]
        for target, stand, whole in zip(targets, written, wholes, strict=True):
            if target is not stand:
                setattr(target, TWIN, stand)  # a constant or buffer that a feature map was written to
            if whole is not None:
                setattr(stand, SOURCE, whole)
        maps = list(dict.fromkeys(x for x in map(map_of, tensors) if x is not None))
        weights = merged(filter(None, (getattr(x, WEIGHTS, None) for x in tensors)))
        given = {**dict(enumerate(new_args)), **new_kwargs}
        cost = parts.cost() if parts else None if name in FREE else cost_of(name, given, tensors, outputs[0])
        if not maps:
            if cost is None and name not in FREE:
                weights = Weights(weights.leaves, (WeightWork(weights.works, NO_OPERATIONS, (name,)),))
            elif cost is not None and cost.costs != NO_OPERATIONS:
                weights = Weights(weights.leaves, (WeightWork(weights.works, cost.costs, ()),))
            for x in outputs:
                setattr(x, WEIGHTS, weights)
            return result
        if not inplace and (name in batch.MOVERS or any(map(batch.moved, tensors)) or batch.grown(tensors, outputs[0])):
            batch.follow(func, name, new_args, new_kwargs, tensors, outputs)
        if name in FREE:
            stand_for(outputs[0], maps[0])
        else:
            self.opaque(name, cost, outputs, maps, weights)
            if self.for_real and _by_values(name, new_args):
                self.graph.assumed[self.graph.nodes[-1]] = (f"the values of the example ({name})",)
        if name in VIEWS:
            for x in outputs:
                setattr(x, SOURCE, tensors[0])
        for stand in written:
            self.written(stand)
        return result

    def opaque(
        self,
        name: str,
        cost: FunctionCost | None,
        outputs: list[torch.Tensor],
        maps: list[FeatureMap],
        weights: Weights,
    ) -> None:
        """The nodes of a function that is none of our layers: one for each of its outputs, the first with the cost."""
        owned, shared = self.owned(weights)
        costs, unknown = taken(weights.works)
        for i, x in enumerate(outputs):
            shape = shape_of(x)
            if cost is None or unknown:
                what = ", ".join(dict.fromkeys((*unknown, *([name] if cost is None else []))))
                layer: Layer = NotCounted(what, shape, owned["learned"] if not i else ())
            else:
                total = NO_OPERATIONS if i else added(cost.costs, costs)
                layer = Foreign(name, shape, total, cost.kind, **({} if i else owned))
            stand_for(x, self.add(layer, maps, shape, () if i else shared))

    def alone(self, x: torch.Tensor) -> FeatureMap | None:
        """What the module returns and has computed of parameters alone, where no node has that work yet.

        Every node reads something: this one is given the first input.
        """
        weights = self.tensors.weights(x)
        if weights is None or not weights.works:
            return None
        costs, unknown = taken(weights.works)
        if costs == NO_OPERATIONS and not unknown:
            return None
        owned, shared = self.owned(weights)
        layer: Layer = Foreign(ALONE, shape_of(x), costs, **owned)
        if unknown:
            layer = NotCounted(", ".join(unknown), shape_of(x), owned["learned"])
        return self.add(layer, self.graph.inputs[:1], shape_of(x), shared)

    def written(self, x: torch.Tensor) -> None:
        """After a change in place of a view: what it is a view of has changed too."""
        source, fmap = getattr(x, SOURCE, None), map_of(x)
        while isinstance(source, torch.Tensor) and fmap is not None:
            whole = map_of(source)
            if whole is fmap:
                return
            self.idle = True
            write = Foreign(WRITE, shape_of(source), mixes=REARRANGEMENT)
            fmap = self.add(write, (fmap,) if whole is None else (whole, fmap), shape_of(source))
            stand_for(source, fmap)
            source = getattr(source, SOURCE, None)

    def whole(self, view: torch.Tensor) -> torch.Tensor | None:
        """What a tensor, no map, that is about to be written to is a view of, or its stand-in; None if it is none."""
        self.marked.append(view)
        constant = view._base
        if constant is None or self.tensors.leaf(view) is not None or self.tensors.leaf(constant) is not None:
            return None
        self.marked.append(constant)
        if self.for_real:
            return constant
        twin = getattr(constant, TWIN, None)
        if twin is None:
            twin = torch.empty_like(constant, device="meta")
            setattr(constant, TWIN, twin)
        return twin

    def with_numbers(self, func: Any, args: Any, kwargs: Any, error: Exception) -> Any:
        """A call that needs values: with those of its constants, or of a buffer or parameter."""
        numbers: list[torch.Tensor] = []
        args, kwargs = numbered(self, args, numbers), numbered(self, kwargs, numbers)
        return self.call(func, args, kwargs) if numbers else self.value(func, args, error)

    def value(self, func: Any, args: Any, error: Exception) -> Any:
        """The value of a buffer or parameter that is as it was, or an error that says who asked for a value."""
        x = args[0] if args and isinstance(args[0], torch.Tensor) else None
        leaf = self.tensors.leaf(x) if x is not None else None
        if leaf:
            x = self.tensors.twin(leaf)
        weights = getattr(x, WEIGHTS, None)
        if weights and len(weights.leaves) == 1 and not weights.works and map_of(x) is None:
            real = weights.leaves[0].tensor
            if not real.is_meta and x is not None and x.shape == real.shape:
                return func(real.detach().clone(), *args[1:])
        raise ValuesNeededError(str(error)) from None


def _by_values(name: str, args: Any) -> bool:
    """Whether how large the result is depends on values, so that it is as large as an example made it."""
    masks = args[1] if name == "__getitem__" and isinstance(args[1], tuple) else args[1:2]
    return name in SIZED_BY_VALUES or (
        name == "__getitem__" and any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in masks)
    )


def _by_position(index: Any) -> Any:
    """An index by a constant mask, as positions: how many a mask selects depends on its values, which are known."""
    if isinstance(index, tuple):
        return tuple(x for item in index for x in _positions(item))
    positions = _positions(index)
    return positions[0] if len(positions) == 1 else tuple(positions)


def _positions(item: Any) -> list[Any]:
    if isinstance(item, torch.Tensor) and item.dtype == torch.bool and not item.is_meta and map_of(item) is None:
        return list(item.nonzero(as_tuple=True))
    return [item]
