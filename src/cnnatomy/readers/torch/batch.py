"""Where the batch, an axis of 1, stands in a stand-in: it is first unless noted otherwise, and no part of a shape.

Modules move it: `nn.MultiheadAttention` works on (time, 1, features). It is followed through permutes, reshapes and
products. Where it merges with another axis it is lost, and comes back with the axis of 1 that a reshape makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from cnnatomy.layers.layer import Shape
from cnnatomy.readers.torch.tensors import map_of, tensors_in

BATCH = "_cnnatomy_batch"
"""Attribute of a tensor whose batch is not the first axis: which it is, or `LOST`."""

LOST = -1

RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))
"""Functions whose last states are (layers and directions, batch, features)."""

UNPACKED = "_pad_packed_sequence"
"""What gives steps, of which one axis was all, their axis of sequences back."""

RESHAPES = frozenset(("view", "reshape", "flatten", "unflatten", "view_as", "reshape_as"))
"""Functions that keep the order of the numbers, often with sizes that were computed: those tell of no batch."""

MOVERS = frozenset(("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "T", "mT", "H", "mH", "t"))
MOVERS |= (
    RECURRENT
    | RESHAPES
    | {"__getitem__", "select", "squeeze", "unsqueeze", "unbind", "adjoint", "rot90", "einsum", UNPACKED}
)
"""Functions after which the batch may be elsewhere, or no more, or again; after others it is where it was."""


def place_of(x: torch.Tensor) -> int:
    """The axis of the batch, or `LOST`."""
    place = getattr(x, BATCH, None)
    if place is not None:
        return int(place)
    return 0 if x.dim() > 1 and x.shape[0] == 1 else LOST


def shape_of(x: torch.Tensor) -> Shape:
    """The shape without the batch."""
    shape, place = tuple(x.shape), place_of(x)
    return (shape if place == LOST else shape[:place] + shape[place + 1 :]) or (1,)


def moved(x: torch.Tensor) -> bool:
    """Whether something is noted of the place of the batch."""
    return getattr(x, BATCH, None) is not None


def grown(tensors: Sequence[torch.Tensor], out: torch.Tensor) -> bool:
    """Whether a function may have made an axis before the batch, as `stack` does, and what broadcasts to more axes."""
    return out.shape[:1] != (1,) and 1 in out.shape and out.dim() > min(x.dim() for x in tensors if map_of(x))


def put(x: torch.Tensor, place: int) -> None:
    """Notes the place of the batch, unless it is where it is looked for."""
    if place_of(x) != place:
        setattr(x, BATCH, place)


def follow(func: Any, name: str, args: Any, kwargs: Any, tensors: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Notes where the batch is in what a function made of stand-ins."""
    maps = [x for x in tensors if map_of(x) is not None]
    place = place_of(maps[0])
    if name in RECURRENT:
        put(outputs[0], place_of(tensors[0]))
        for x in outputs[1:]:
            put(x, 1)
    elif name == UNPACKED:
        axis = 0 if args[2] else 1
        put(outputs[0], axis if outputs[0].shape[axis] == 1 else LOST)
    elif name in RESHAPES:
        put(outputs[0], _reshaped(maps[0], place, outputs[0]))
    elif place == LOST and (len(maps) == 1 or all(place_of(x) == LOST for x in maps)):
        for x in outputs:
            put(x, _back(maps[0], x))
    elif len(maps) > 1 or not _known(maps[0], place, name, args, kwargs, outputs):
        _compared(func, args, kwargs, maps, outputs)


def _known(x: torch.Tensor, place: int, name: str, args: Any, kwargs: Any, outputs: Sequence[Any]) -> bool:
    """Notes the place after the most frequent functions, which is quicker told than by comparing."""
    out = outputs[0]
    if name not in MOVERS and all(each.shape == x.shape for each in outputs):
        for each in outputs:
            put(each, place)
    elif kwargs:
        return False
    elif name == "transpose":
        first, second = (axis % x.dim() for axis in args[1:])
        put(out, {first: second, second: first}.get(place, place))
    elif name == "unsqueeze":
        put(out, place + (args[1] % out.dim() <= place))
    elif name == "__getitem__" and type(args[1]) is int:
        put(out, place - 1 if place else LOST)
    else:
        return False
    return True


def _compared(func: Any, args: Any, kwargs: Any, maps: list[torch.Tensor], outputs: Sequence[Any]) -> None:
    """Notes which axis of each output would be wider for a batch of 2."""
    places = {id(x): place_of(x) for x in maps}
    try:
        two = func(*_of_two(args, places), **_of_two(kwargs, places))
    except Exception:  # it says of which size its result is
        two = None
    wider = [*tensors_in(two)]
    for i, x in enumerate(outputs):
        told = i < len(wider) and (x.shape != wider[i].shape or x.dim() != maps[0].dim())
        put(x, _unlike(x, wider[i]) if told else _from_the_right(maps[0], x))


def _of_two(value: Any, places: dict[int, int]) -> Any:
    """Arguments with a batch of 2."""
    if isinstance(value, torch.Tensor):
        shape, place = list(value.shape), places.get(id(value), LOST)
        if place >= 0:
            shape[place] = 2
        return torch.empty(shape, dtype=value.dtype, device="meta")
    if isinstance(value, (tuple, list)):
        items = [_of_two(item, places) for item in value]
        return type(value)(items) if type(value) in (tuple, list, torch.Size) else type(value)(*items)
    if isinstance(value, dict):
        return {key: _of_two(item, places) for key, item in value.items()}
    return value


def _unlike(x: torch.Tensor, wider: torch.Tensor) -> int:
    """The axis that is wider for a batch of 2; the first, where images are multiplied with one another."""
    unlike = [i for i, (n, more) in enumerate(zip(x.shape, wider.shape, strict=False)) if n != more]
    return unlike[0] if unlike and x.dim() == wider.dim() and x.shape[unlike[0]] == 1 else LOST


def _from_the_right(x: torch.Tensor, out: torch.Tensor) -> int:
    """Where functions that are told the sizes of their result leave the batch: as far from the last axis as it was.

    Also by another tensor, as `gather` is.
    """
    place = place_of(x) + out.dim() - x.dim()
    return place if place_of(x) != LOST and place >= 0 and out.shape[place] == 1 else LOST


def _reshaped(x: torch.Tensor, place: int, out: torch.Tensor) -> int:
    """The axis of 1 before which there are as many numbers as before the batch; of a lost one, the one that is new."""
    if out.dim() > 1 and out.shape[0] == 1 != x.shape[0]:
        return 0
    if place == LOST:
        ones = [i for i, n in enumerate(out.shape) if n == 1]
        return ones[0] if len(ones) == 1 and 1 not in x.shape else LOST
    before = prod(x.shape[:place])
    ones, others = _ones(out.shape, before), _ones(x.shape, before).index(place)
    return ones[min(others, len(ones) - 1)] if ones else LOST


def _ones(shape: Sequence[int], before: int) -> list[int]:
    """The axes of 1 that are there after so many numbers."""
    found, numbers = [], 1
    for i, n in enumerate(shape):
        if n == 1 and numbers == before:
            found.append(i)
        numbers *= n
    return found


def _back(x: torch.Tensor, out: torch.Tensor) -> int:
    """Where a lost batch is after another function: first, if that is an axis of 1 that was not there."""
    if out.dim() < 2 or out.shape[0] != 1 or out.dim() < x.dim():
        return LOST
    return 0 if x.shape[0] != 1 or out.dim() > x.dim() else LOST
