"""Reads any `torch.nn.Module` as a graph, by running its forward on stand-ins for tensors."""

from __future__ import annotations

import contextlib
import linecache
import operator
import sys
import traceback
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnatomy.design.graph import FeatureMap, Graph, no_garbage_collection
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import Shape
from cnnatomy.readers.torch import resize as torch_resize  # noqa: F401 - they fill the tables of rules
from cnnatomy.readers.torch.calls import noted_calls
from cnnatomy.readers.torch.scopes import Scopes, close_scopes, without_idle
from cnnatomy.readers.torch.tensors import Leaves, ValuesNeededError, map_of
from cnnatomy.readers.torch.tracer import Tracer

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized", "torch.nn.intrinsic")


def read(module: nn.Module, *inputs: Shape | torch.Tensor, batch: int | None = 0) -> Graph:
    """The graph of a torch module, in the mode (training or evaluation) in which it is.

    Args:
        inputs: what its forward takes: for each tensor its shape without the batch, such as (3, 224, 224), or an
            example tensor, of which one image is used.
        batch: the axis of the batch in example tensors; None if they have none.

    No weight is allocated or read, and the module is left as it was. Only where it asks for the value of a tensor
    (`if x.sum() > 0:`) and all inputs are examples, is it run on them, under `torch.no_grad`.

    Raises:
        UserError: where the module cannot be read, with the file and line that were reached.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"read: needs a torch.nn.Module, got {type(module).__name__}")
    module = getattr(module, "_orig_mod", module)
    names = _paths(module)
    _refuse(names)
    examples = [_checked(x) for x in inputs]
    if not examples:
        raise UserError("read: give the shape of each input without the batch, such as (3, 224, 224)")
    try:
        with no_garbage_collection():
            return _run(module, names, examples, batch, for_real=False)
    except ValuesNeededError as error:
        if not all(isinstance(x, torch.Tensor) for x in examples):
            raise UserError(
                f"{error}\nStand-ins for tensors have shapes and no values. Give an example tensor in place of a shape:"
                " read(module, torch.rand(1, 3, 224, 224))"
            ) from None
        return _run(module, names, examples, batch, for_real=True)


def _checked(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x
    if isinstance(x, (tuple, list)) and x and all(type(n) is int and n > 0 for n in x):
        return tuple(x)
    raise UserError(f"read: an input is a shape without the batch, such as (3, 224, 224), or a tensor, not {x!r}")


def _paths(module: nn.Module) -> dict[nn.Module, str]:
    """Every part and its path, the first if it has several; without what compiled parts add to theirs."""
    names: dict[nn.Module, str] = {}
    waiting = [(module, "")]
    while waiting:
        part, path = waiting.pop()
        if part in names:
            continue
        names[part] = path
        if part._modules:
            prefix = path + "." if path else ""
            inside = reversed(part._modules.items())
            waiting += [(x, path if name == "_orig_mod" else prefix + name) for name, x in inside if x is not None]
    return names


def _refuse(names: dict[nn.Module, str]) -> None:
    """Modules that cannot be read, by name."""
    bad = {kind for kind in set(map(type, names)) if _suspect(kind)}
    for part, path in names.items() if bad else ():
        where, kind = path or "the module", type(part)
        if isinstance(part, torch.jit.ScriptModule):
            raise UserError(f"{where} is TorchScript, which hides what it computes; read the module it was made from")
        if _quantised(kind):
            raise UserError(f"{where} ({kind.__name__}) is quantised; read the module before it was converted")
        if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():
            raise UserError(f"{where} ({kind.__name__}) has no weights yet; run it once on an input, then read it")


def _quantised(kind: type) -> bool:
    return kind.__module__.startswith(_QUANTISED) and "quantized" in kind.__module__


def _suspect(kind: type) -> bool:
    return issubclass(kind, (torch.jit.ScriptModule, nn.modules.lazy.LazyModuleMixin)) or _quantised(kind)


def _leaves(names: dict[nn.Module, str]) -> Leaves:
    """Every parameter and buffer, under the first of its names."""
    leaves: Leaves = {}
    for part, path in names.items():
        own = part.__dict__
        prefix = path + "." if path else ""
        for learned, tensors in ((True, own["_parameters"]), (False, own["_buffers"])):
            for name, x in tensors.items() if tensors else ():
                if x is not None:
                    leaves.setdefault(id(x), (prefix + name, learned, x))
    return leaves


def _run(module: nn.Module, names: dict[nn.Module, str], inputs: list[Any], batch: int | None, for_real: bool) -> Graph:
    leaves = _leaves(names)
    first = next((x for _, learned, x in leaves.values() if learned and x.is_floating_point()), None)
    device, dtype = (torch.device("cpu"), torch.get_default_dtype()) if first is None else (first.device, first.dtype)
    tracer = Tracer(leaves, device, for_real)
    places = [0 if isinstance(x, tuple) else batch for x in inputs]
    tensors = [
        tracer.input(_stand_in(x, batch, dtype, for_real), place) for x, place in zip(inputs, places, strict=True)
    ]
    scopes = Scopes(tracer, names)
    with _left_as_it_was(names), _eager(), torch.no_grad(), noted_calls(tracer, scopes):
        try:
            with tracer:
                result = module(*tensors)
        except ValuesNeededError as error:
            raise ValuesNeededError(f"{_where(error) or scopes.reached()} needs the value of a tensor") from None
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            got = ", ".join("x".join(map(str, x.shape)) for x in tracer.graph.inputs)
            place = f"{scopes.reached()} failed for the input {got}"
            line = f" at {where}" if (where := _where(error)) else ""
            raise UserError(f"{place}{line}: {type(error).__name__}: {reason}") from error
    graph = tracer.graph
    graph.outputs = tuple(dict.fromkeys(_maps(result)))
    if not graph.outputs or not graph.nodes:
        raise UserError(f"{type(module).__name__} returns no tensor that it computes from its input")
    graph.unused = tracer.tensors.unused()
    close_scopes(graph, without_idle(graph, scopes.spans) if tracer.idle else scopes.spans)
    graph.root.name_children()
    return graph


def _stand_in(x: Any, batch: int | None, dtype: torch.dtype, for_real: bool) -> torch.Tensor:
    """One image: of an example, or of a shape."""
    if isinstance(x, tuple):
        return torch.empty((1, *x), dtype=dtype, device="meta")
    one = x.detach() if batch is None else x.detach().narrow(batch, 0, 1)
    return one.clone() if for_real else torch.empty_like(one, device="meta")


def _maps(result: Any) -> Iterator[FeatureMap]:
    """The feature maps in whatever a module returns."""
    if isinstance(result, torch.Tensor):
        found = map_of(result)
        if found is not None:
            yield found
    elif isinstance(result, dict):
        for item in result.values():
            yield from _maps(item)
    elif isinstance(result, (tuple, list)):
        for item in result:
            yield from _maps(item)
    elif hasattr(result, "__dict__"):  # a dataclass, as Hugging Face returns
        yield from _maps(vars(result))


def _restore(container: Any, before: Any) -> None:
    """Makes a container hold the very objects that it held before."""
    now, held = (container.values(), before.values()) if isinstance(container, dict) else (container, before)
    if len(now) == len(held) and all(map(operator.is_, now, held)):
        return
    container.clear()
    if isinstance(container, list):
        container.extend(before)
    else:
        container.update(before)


def _contents(containers: list[Any]) -> list[Any]:
    return list(chain.from_iterable([x.values() if type(x) is dict else x for x in containers]))


@contextlib.contextmanager
def _left_as_it_was(names: dict[nn.Module, str]) -> Iterator[None]:
    """Whatever a module sets on itself while it runs is undone: attributes, buffers, parameters, lists in them."""
    attributes: list[Any] = [part.__dict__ for part in names]
    values = _contents(attributes)
    inside = [x for x in values if type(x) in _CONTAINERS]
    sizes = [*map(len, inside)]  # most are empty
    filled = [x for x in inside if x]
    copies = [x.copy() for x in (*attributes, *filled)]
    before, random = values + _contents(filled), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(random)
        filled = attributes + filled
        after = _contents(filled)
        if len(after) != len(before) or not all(map(operator.is_, after, before)) or sizes != [*map(len, inside)]:
            for container, size in zip(inside, sizes, strict=True):
                if not size:
                    container.clear()
            for container, held in zip(filled, copies, strict=True):
                _restore(container, held)


_CONTAINERS = frozenset((dict, list, set))


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Modules inside that were compiled run as they were written."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


_OURS = (str(Path(__file__).parent), str(Path(torch.__file__).parent))


def _where(error: BaseException) -> str:
    """The last line outside torch and this package: file, line and text; empty where there is none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OURS)]
    if not frames:
        return ""
    last = frames[-1]
    text = (linecache.getline(last.filename, last.lineno or 0) or "").strip()
    return f"{last.filename}:{last.lineno}: `{text}`"


def open(name: str, input: Shape | None) -> Graph:
    """The graph of `python:package.module:callable`, where calling gives a module, or `python:package.module:object`.

    It is read in evaluation mode. Python code is run: that of the package named; what it prints goes to standard error.

    Raises:
        UserError: if there is nothing of that name, or it is no module.
    """
    from cnnatomy.readers.torch.names import load

    with contextlib.redirect_stdout(sys.stderr):
        return read(load(name), input or (3, 224, 224))


__all__ = ["open", "read"]
