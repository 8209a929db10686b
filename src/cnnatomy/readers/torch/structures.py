"""What a module takes and returns: tensors in lists, tuples, dicts, dataclasses and whatever holds them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from cnnatomy.errors import UserError, shown
from cnnatomy.limits import MAX_AXES
from cnnatomy.readers.inputs import AskedInput, GivenInput, assigned, given

_AS_IT_IS = (type(None), bool, int, float, complex, str, torch.dtype, torch.device)
"""Types of what a forward takes beside tensors."""


def checked(value: Any) -> Any:
    """The same structure with shapes as `GivenInput`, beside tensors, numbers, words and None.

    Raises:
        UserError: naming what is neither a shape nor anything else that a module can be given.
    """
    return tree_map(_leaf, value, is_leaf=lambda x: _is_shape(x) or isinstance(x, PackedSequence))


def _is_shape(value: Any) -> bool:
    """Whether it is sizes: a tuple or list of integers; `()` for one number for each image."""
    if type(value) not in (tuple, list, torch.Size) or value == []:
        return False
    return all(type(size) is int for size in value)


def _leaf(value: Any) -> Any:
    if _is_shape(value) and len(value) < MAX_AXES and all(size > 0 for size in value):
        return GivenInput(tuple(value))
    if isinstance(value, (torch.Tensor, GivenInput, PackedSequence, *_AS_IT_IS)):
        return value
    if (again := _rebuilt(value, checked)) is not None:
        return again
    raise UserError(
        f"read: an input is a shape without the batch, such as (3, 224, 224), or a tensor, not {shown(value)}"
    )


def _rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """A mapping of another class or a dataclass, with what is in it changed; None for anything else."""
    if isinstance(value, MutableMapping):
        again = copy(value)
        for key in value:
            again[key] = change(value[key])
        return again
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(value, **{name: change(part) for name, part in inside.items()})
    return None


def mapped(structure: Any, change: Callable[[Any], Any]) -> Any:
    """A checked structure in which shapes, tensors and packed sequences are changed."""

    def one(value: Any) -> Any:
        if isinstance(value, (torch.Tensor, GivenInput, PackedSequence)):
            return change(value)
        again = _rebuilt(value, lambda inside: mapped(inside, change))
        return value if again is None else again

    return tree_map(one, structure, is_leaf=lambda x: isinstance(x, PackedSequence))


def found_in(structure: Any) -> list[Any]:
    """The shapes and tensors of a checked structure, in order."""
    found: list[Any] = []

    def note(value: Any) -> Any:
        found.append(value)
        return value

    mapped(structure, note)
    return found


def results_in(result: Any, within: tuple[Any, ...] = ()) -> Iterator[torch.Tensor]:
    """The tensors in whatever a module returns."""
    if isinstance(result, torch.Tensor):
        yield result
        return
    if isinstance(result, Mapping):
        parts = list(result.values())
    elif isinstance(result, (tuple, list, set, frozenset)):
        parts = list(result)
    elif dataclasses.is_dataclass(result):
        parts = [getattr(result, field.name) for field in dataclasses.fields(result)]
    else:
        parts = list(vars(result).values()) if hasattr(result, "__dict__") and not isinstance(result, type) else []
    if parts and not any(result is outer for outer in within):
        for part in parts:
            yield from results_in(part, (*within, result))


def placed(module: nn.Module, asked: AskedInput) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a command line gives, as arguments of forward: those with a name by it, the others in order.

    Raises:
        UserError: where forward has no argument of a name, or not so many.
    """
    inputs = given(asked)
    if not any(one.name for one in inputs):
        return inputs, {}
    parameters = list(inspect.signature(module.forward).parameters.values())
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters):
        return tuple(one for one in inputs if not one.name), {one.name: one for one in inputs if one.name}
    found = assigned(asked, dict.fromkeys(one.name for one in parameters))
    before = [one.name for one in parameters if one.kind is one.POSITIONAL_ONLY and one.name in found]
    return tuple(found.pop(name) for name in before), found


def stand_in(x: GivenInput | torch.Tensor, batch: int | None, dtype: torch.dtype, for_real: bool) -> torch.Tensor:
    """One image: of an example, or of a shape.

    Raises:
        UserError: where an example is no array of numbers, is empty, or has no such axis.
    """
    if isinstance(x, GivenInput):
        kind: torch.dtype = getattr(torch, x.type) if x.type else dtype
        return torch.empty((1, *x.shape), dtype=kind, device="meta")
    if x.is_nested or x.layout is not torch.strided:
        raise UserError(
            "read: an example is a dense tensor, not a nested or sparse one; give its shape, or x.to_dense()"
        )
    if not x.numel():
        raise UserError(f"read: an example of the shape {tuple(x.shape)} is empty; one image is needed")
    one = x.detach()
    if batch is not None and x.dim():
        one = one.narrow(batch_axis(x, batch), 0, 1)
    return one.clone() if for_real else torch.empty_like(one, device="meta")


def batch_axis(x: torch.Tensor, batch: int) -> int:
    """The axis of the batch in an example; a vector, such as the lengths of sequences, has only one.

    Raises:
        UserError: where it has no such axis.
    """
    axes = x.dim()
    if axes == 1:
        return 0
    if not -axes <= batch < axes:
        raise UserError(f"read: batch={batch} is no axis of an example of {axes} axes, {tuple(x.shape)}")
    return batch % axes


__all__ = ["batch_axis", "checked", "found_in", "mapped", "placed", "results_in", "stand_in"]
