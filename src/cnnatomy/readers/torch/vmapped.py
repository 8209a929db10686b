"""`torch.vmap`, which hides from every mode what it computes: its function is run for each part, one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

import torch
from torch._functorch import apis
from torch._functorch.vmap import _process_batched_inputs
from torch.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

from cnnatomy.errors import UserError


@contextlib.contextmanager
def vmaps_seen() -> Iterator[None]:
    """Functions that are mapped meanwhile, in this thread, are run for each part."""
    thread, as_ever = get_ident(), vars(apis)["vmap_impl"]

    def run(func: Any, in_dims: Any, out_dims: Any, randomness: Any, chunk_size: Any, *args: Any, **kwargs: Any) -> Any:
        if get_ident() != thread or not torch._C._is_torch_function_mode_enabled():
            return as_ever(func, in_dims, out_dims, randomness, chunk_size, *args, **kwargs)
        return _each(func, in_dims, out_dims, args, kwargs)

    vars(apis)["vmap_impl"] = run
    try:
        yield
    finally:
        vars(apis)["vmap_impl"] = as_ever


def _each(func: Callable[..., Any], in_dims: Any, out_dims: Any, args: Any, kwargs: Any) -> Any:
    """What the function returns for each part, put together along the axes that `out_dims` says."""
    count, axes, inputs, spec = _process_batched_inputs(in_dims, args, func)
    results: list[list[Any]] = []
    made: Any = None
    for i in range(count):
        parts = [x if axis is None else x.select(axis, i) for x, axis in zip(inputs, axes, strict=True)]
        flat, made = tree_flatten(func(*tree_unflatten(parts, spec), **kwargs))
        results.append(flat)
    dims = _broadcast_to_and_flatten(out_dims, made)
    if dims is None:
        raise ValueError(f"vmap: out_dims={out_dims} does not fit what the function returns")
    several = zip(*results, strict=True)
    whole = [same[0] if axis is None else torch.stack(same, axis) for same, axis in zip(several, dims, strict=True)]
    return tree_unflatten(whole, made)


def refuse_transforms() -> None:
    """Refuses what `torch.func.grad`, `jvp` and their kin compute.

    Raises:
        UserError: within one of them.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise UserError("torch.func (grad, vjp, jvp, jacrev, ...) hides what it computes; only torch.vmap is followed")
