"""What a rule makes of a call of torch, and what rules ask of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers.layer import Layer, Operations, Shape
from cnnatomy.readers.torch.batch import BATCH
from cnnatomy.readers.torch.tensors import map_of

WRITE, LAST_STATE = "write", "last state"
"""What nodes are called that only say: a view of this map was written to; this is the last state of a recurrent layer.
They are dropped where nobody reads them."""


class CallSpec(NamedTuple):
    """What a rule makes of a call: a layer, the maps that it reads, its tensors by name, what is written to."""

    layer: Layer
    maps: tuple[FeatureMap, ...]
    tensors: tuple[tuple[str, Any], ...] = ()
    like: Any = None
    inplace: bool = False
    shape: Shape | None = None


CallRule = Callable[..., CallSpec | None]
"""The arguments of a call -> the layer that it is, or None where it is none of ours."""


class FunctionCost(NamedTuple):
    """Operations of a call that is none of our layers, and the kind of layer that it is."""

    costs: Operations
    kind: str


Arguments = Mapping[int | str, Any]
"""The arguments of a call, each by its position or its name, as it was given."""

CostRule = Callable[[Arguments, list[torch.Tensor], torch.Tensor], Operations]
"""The arguments of a call, the tensors among them in order, and its first output -> what it costs."""


def times(n: int, each: Operations) -> Operations:
    """So often these operations."""
    return Operations(*(n * count for count in each))


def total(*several: Operations) -> Operations:
    """All of these operations."""
    return Operations(*map(sum, zip(*several, strict=True)))


def size(number: Any) -> Any:
    """One number, or a pair of unlike ones."""
    if isinstance(number, int):
        return number
    numbers = tuple(number)
    return numbers[0] if len(set(numbers)) == 1 else numbers


def batched(x: Any, axes: int | None = None) -> FeatureMap | None:
    """The map of a tensor whose first axis is the batch, and which has so many axes; else None."""
    fmap = one_image(x)
    if fmap is None or (axes is not None and x.dim() != axes) or getattr(x, BATCH, 0):
        return None
    return fmap


def one_image(x: Any) -> FeatureMap | None:
    """The map of a tensor one of whose axes is the batch, wherever that stands, but not the last; else None."""
    fmap = map_of(x)
    if fmap is None or x.dim() != len(fmap.shape) + 1 or getattr(x, BATCH, 0) == x.dim() - 1:
        return None
    return fmap


def weights(*tensors: Any) -> bool:
    """Whether none of these depends on the input."""
    return all(x is None or (isinstance(x, torch.Tensor) and map_of(x) is None) for x in tensors)
