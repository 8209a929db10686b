"""What the reader of torch modules knows about tensors: learned, stored, computed from those, or a feature map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import NO_OPERATIONS, Operations, Shape

MAP, WEIGHTS, SOURCE, TWIN = "_cnnatomy_map", "_cnnatomy_weights", "_cnnatomy_source", "_cnnatomy_twin"
HOLDER = "_cnnatomy_holder"
"""Attributes of tensors: the feature map that it stands for; or what it was computed from; the tensor that it is a view
of; and, of a constant, the stand-in that was written to in its place."""


class Leaf(NamedTuple):
    """A parameter (learned) or buffer (stored) of the module that is read."""

    name: str
    learned: bool
    tensor: torch.Tensor

    @property
    def shape(self) -> Shape:
        """Its own."""
        return tuple(self.tensor.shape)


Leaves = dict[int, tuple[str, bool, torch.Tensor]]
"""By the identity of the tensor: what makes a `Leaf`, which is made only where it is needed."""


class WeightWork:
    """What a function did on parameters and buffers alone, after what was done for its arguments.

    It is done once, however many read the result: the first node that does has its cost.
    """

    __slots__ = ("costs", "counted", "sources", "unknown")

    def __init__(self, sources: tuple[WeightWork, ...], costs: Operations, unknown: tuple[str, ...]) -> None:
        self.sources, self.costs, self.unknown = sources, costs, unknown
        self.counted = False


class Weights(NamedTuple):
    """A tensor that is computed from parameters and buffers alone: from which, by what work."""

    leaves: tuple[Leaf, ...] = ()
    works: tuple[WeightWork, ...] = ()


def merged(several: Iterable[Weights]) -> Weights:
    """What several such tensors together were computed from, each leaf and each work once."""
    leaves: dict[int, Leaf] = {}
    works: dict[WeightWork, None] = {}
    for weights in several:
        leaves |= {id(leaf.tensor): leaf for leaf in weights.leaves}
        works |= dict.fromkeys(weights.works)
    return Weights(tuple(leaves.values()), tuple(works))


def taken(works: Iterable[WeightWork]) -> tuple[Operations, tuple[str, ...]]:
    """The cost of works that no node has yet, and by what without a rule; from now on one has them."""
    waiting = list(works)
    if not waiting:
        return NO_OPERATIONS, ()
    costs = NO_OPERATIONS
    unknown: list[str] = []
    while waiting:
        work = waiting.pop()
        if not work.counted:
            work.counted = True
            costs = added(costs, work.costs)
            unknown += work.unknown
            waiting += work.sources
    return costs, tuple(dict.fromkeys(reversed(unknown)))


def added(first: Operations, second: Operations) -> Operations:
    """Both."""
    return Operations(*map(sum, zip(first, second, strict=True))) if second is not NO_OPERATIONS else first


def map_of(x: Any) -> FeatureMap | None:
    """The feature map that a tensor stands for."""
    return getattr(x, MAP, None)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in what a function takes or returns, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


class _Holder:
    """Ends with the tensor that stands for a map, or when that stands for another, and notes how far the module was."""

    __slots__ = ("fmap",)

    def __init__(self, fmap: FeatureMap) -> None:
        self.fmap = fmap

    def __del__(self) -> None:
        graph = self.fmap.graph
        if graph.nodes:
            graph.held[self.fmap] = graph.nodes[-1]


def stand_for(x: torch.Tensor, fmap: FeatureMap) -> None:
    """Makes a tensor stand for a feature map."""
    setattr(x, MAP, fmap)
    setattr(x, HOLDER, _Holder(fmap))


def _is_counter(leaf: Leaf) -> bool:
    """One integer that is no weight, such as the batches that a batch norm has seen: its copy has a value."""
    x = leaf.tensor
    return not leaf.learned and x.dim() == 0 and not x.is_floating_point() and not x.is_meta


class Tensors:
    """The parameters and buffers of a module, by identity. None is read or written: stand-ins take their place.

    `for_real` copies each before the first use.
    """

    def __init__(self, leaves: Leaves, for_real: bool) -> None:
        self.leaves, self.for_real = leaves, for_real
        self.twins: dict[int, torch.Tensor] = {}
        self.counted: set[int] = set()
        self.kept: list[torch.Tensor] = []  # what is known by its identity must live as long as that is used

    def leaf(self, x: torch.Tensor) -> Leaf | None:
        """The parameter or buffer that a tensor is."""
        found = self.leaves.get(id(x))
        if found is None and isinstance(x, nn.Parameter):
            found = self.leaves[id(x)] = (f"unregistered{len(self.kept) + 1}", True, x)
            self.kept.append(x)
        return Leaf(*found) if found else None

    def weights(self, x: torch.Tensor) -> Weights | None:
        """What a tensor was computed from, if it does not depend on the input; None for constants."""
        weights: Weights | None = getattr(x, WEIGHTS, None)
        if weights is not None:
            return weights
        leaf = self.leaf(x)
        return Weights((leaf,)) if leaf else None

    def twin(self, leaf: Leaf) -> torch.Tensor:
        """The stand-in for a parameter or buffer; always the same one."""
        twin = self.twins.get(id(leaf.tensor))
        if twin is None:
            real = leaf.tensor.detach()
            if not self.for_real and not _is_counter(leaf):
                twin = torch.empty_like(real, device="meta")
            else:
                twin = real.clone()  # what a module clips or normalises while it runs stays as it was
            setattr(twin, WEIGHTS, Weights((leaf,)))
            self.twins[id(leaf.tensor)] = twin
        return twin

    def first_use(self, x: torch.Tensor) -> bool:
        """Whether no node has this parameter or buffer yet; from now on one has."""
        key = id(x)
        if key in self.counted:
            return False
        self.counted.add(key)
        return True

    def take(self, tensors: Sequence[Any], names: Sequence[str], learned: Sequence[bool]) -> list[str] | None:
        """Notes that a node has these, if they are parameters (learned) and buffers (not), or None.

        Returns the names of those that an earlier node has; None, with nothing noted, if any is neither.
        """
        leaves, counted = self.leaves, self.counted
        shared: list[str] = []
        new: list[int] = []
        for x, name, wanted in zip(tensors, names, learned, strict=True):
            if x is not None:
                key = id(x)
                found = leaves.get(key) or self.leaf(x)
                if found is None or found[1] is not wanted:
                    counted.difference_update(new)
                    return None
                if key in counted:
                    shared.append(name)
                else:
                    counted.add(key)
                    new.append(key)
        return shared

    def unused(self) -> tuple[tuple[str, Shape], ...]:
        """The learned tensors that no node has."""
        left = [Leaf(*found) for key, found in self.leaves.items() if found[1] and key not in self.counted]
        return tuple((leaf.name, leaf.shape) for leaf in left)


class ValuesNeededError(UserError):
    """The module asked for the value of a tensor that is only a shape here."""
