"""Tensors that a module makes by itself, from no input and no parameter: small ones are computed.

So a mask of ones has values, and `if mask.all():` is answered, also where the module itself is on the meta device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from cnnatomy.limits import MAX_CONSTANT_ELEMENTS
from cnnatomy.readers.torch.functions import READS_VALUES, base_name, words
from cnnatomy.readers.torch.tensors import ValuesNeededError

if TYPE_CHECKING:
    from cnnatomy.readers.torch.tracer import Tracer

LIKE = words(
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like"
    " new_zeros new_ones new_empty new_full new_tensor new_empty_strided"
)
"""Names of functions that ask a tensor for its shape or type, and make one that does not depend on its values."""

_FROM_SIZES = words("zeros ones empty full rand randn randint arange linspace logspace eye tril_indices triu_indices")
_META = torch.device("meta")


def constant(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """What a function returns that no input and no parameter reaches."""
    name, inplace = base_name(func)
    if inplace and args and isinstance(args[0], torch.Tensor):
        t.state.before_writing(args[0])
    if isinstance(out := kwargs.get("out"), torch.Tensor):
        t.state.before_writing(out)
    if name in _FROM_SIZES and t.weightless and _is_large(func(*args, **{**kwargs, "device": _META})):
        return func(*args, **{**kwargs, "device": _META})
    try:
        return func(*args, **kwargs)
    except (RuntimeError, NotImplementedError):
        if t.for_real or not any(x.is_meta for x in _tensors((args, kwargs))):
            raise
        if name in READS_VALUES:
            raise ValuesNeededError(f"{name} of a tensor on the meta device") from None
        new_args, new_kwargs = stay(name, t.swapped(args), t.swapped(kwargs))
        return func(*new_args, **new_kwargs)


def like(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """A new tensor of the shape or type of one that is known."""
    if t.for_real:
        return func(*t.swapped(args), **t.swapped(kwargs))
    args, kwargs = t.swapped([args[0], *numbered(t, args[1:], [])]), t.swapped(numbered(t, kwargs, []))
    result = func(*args, **{**kwargs, "device": _META})
    if _is_large(result) or any(x.is_meta for x in _tensors((args[1:], kwargs))):
        return result
    return func(*args, **{**kwargs, "device": t.device})


def numbered(t: Tracer, value: Any, found: list[torch.Tensor]) -> Any:
    """Arguments with numbers in place of constants that are one number, such as a size that was computed."""
    if isinstance(value, torch.Tensor):
        if value.dim() or value.is_meta or t.known(value):
            return value
        found.append(value)
        return value.item()
    if isinstance(value, (tuple, list)):
        return [numbered(t, item, found) for item in value]
    if isinstance(value, dict):
        return {key: numbered(t, item, found) for key, item in value.items()}
    return value


def stay(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call of stand-ins that wants its result on some device: it stays where stand-ins are."""
    if "device" in kwargs:
        kwargs = {**kwargs, "device": _META}
    return [_META if isinstance(x, torch.device) or (name == "to" and type(x) is str) else x for x in args], kwargs


def _is_large(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.numel() > MAX_CONSTANT_ELEMENTS


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for x in value:
            yield from _tensors(x)
