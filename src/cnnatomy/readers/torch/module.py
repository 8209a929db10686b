"""Reads any `torch.nn.Module` as a graph, by running its forward on stand-ins for tensors."""

from __future__ import annotations

import contextlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from cnnatomy.design.graph import Graph, no_garbage_collection
from cnnatomy.errors import UserError
from cnnatomy.layers.layer import dimensions
from cnnatomy.readers.inputs import AskedInput
from cnnatomy.readers.torch import resize as torch_resize  # noqa: F401 - they fill the tables of rules
from cnnatomy.readers.torch.calls import noted_calls
from cnnatomy.readers.torch.scopes import Scopes, close_scopes, without_idle
from cnnatomy.readers.torch.scripted import scripts_seen
from cnnatomy.readers.torch.state import left_as_it_was
from cnnatomy.readers.torch.structures import checked, found_in, mapped, placed, results_in, stand_in
from cnnatomy.readers.torch.tensors import TWIN, Leaves, ValuesNeededError, map_of
from cnnatomy.readers.torch.tracer import Tracer
from cnnatomy.readers.torch.vmapped import vmaps_seen

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized", "torch.nn.intrinsic")


def read(module: nn.Module, /, *inputs: Any, batch: int | None = 0, **named: Any) -> Graph:
    """The graph of a torch module, in the mode (training or evaluation) in which it is.

    Args:
        inputs, named: what its forward takes, by position and by name. In place of a tensor stands its shape without
            the batch, such as (3, 224, 224), or `()` for one number for each image; or an example tensor, of which one
            image is used, as where it holds integers. They may be in lists, tuples, dicts and dataclasses. Numbers,
            words and None are given to forward as they are; but `read(module, 7)` is `read(module, (7,))`.
        batch: the axis of the batch in example tensors; None if they have none.

    No weight is allocated or read, and the module is left as it was. Only where it asks for the value of a tensor
    (`if x.sum() > 0:`) and all inputs are examples, is it run on them, under `torch.no_grad`.

    Raises:
        UserError: where the module cannot be read, with the file and line that were reached.
    """
    alone = len(inputs) == 1 and not named and type(inputs[0]) is int
    return _read(module, (tuple(inputs),) if alone else inputs, named, batch)


def _read(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], batch: int | None = 0) -> Graph:
    if not isinstance(module, nn.Module):
        raise UserError(f"read: needs a torch.nn.Module, got {type(module).__name__}")
    module = getattr(module, "_orig_mod", module)
    names = _paths(module)
    _refuse(names)
    arguments = ([checked(x) for x in inputs], {name: checked(x) for name, x in named.items()})
    examples = found_in(arguments)
    if not examples:
        raise UserError("read: give the shape of each input without the batch, such as (3, 224, 224)")
    try:
        with no_garbage_collection():
            return _run(module, names, arguments, batch, for_real=False)
    except ValuesNeededError as error:
        if not all(isinstance(x, (torch.Tensor, PackedSequence)) for x in examples):
            raise UserError(
                f"{error}\nStand-ins for tensors have shapes and no values. Give an example tensor in place of a shape:"
                " read(module, torch.rand(1, 3, 224, 224))"
            ) from None
        return _run(module, names, arguments, batch, for_real=True)


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
        if _quantised(kind):
            raise UserError(f"{where} ({kind.__name__}) is quantised; read the module before it was converted")
        if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():
            raise UserError(f"{where} ({kind.__name__}) has no weights yet; run it once on an input, then read it")


def _quantised(kind: type) -> bool:
    unlike = kind.__name__ in ("FloatFunctional", "FXFloatFunctional")  # functions of real numbers, to be converted
    return kind.__module__.startswith(_QUANTISED) and "quantized" in kind.__module__ and not unlike


def _suspect(kind: type) -> bool:
    return issubclass(kind, nn.modules.lazy.LazyModuleMixin) or _quantised(kind)


def _leaves(names: dict[nn.Module, str]) -> Leaves:
    """Every parameter and buffer, under the first of its names."""
    leaves: Leaves = {}
    for part, path in names.items():
        prefix = path + "." if path else ""
        for learned, tensors in ((True, part._parameters), (False, part._buffers)):
            for name, x in tensors.items() if tensors else ():
                if x is not None:
                    leaves.setdefault(id(x), (prefix + name, learned, x))
    return leaves


CallArguments = tuple[list[Any], dict[str, Any]]
"""Of a call, by position and by name."""


def _run(
    module: nn.Module, names: dict[nn.Module, str], arguments: CallArguments, batch: int | None, for_real: bool
) -> Graph:
    leaves = _leaves(names)
    first = next((x for _, learned, x in leaves.values() if learned and x.is_floating_point()), None)
    device, dtype = (torch.device("cpu"), torch.get_default_dtype()) if first is None else (first.device, first.dtype)
    with left_as_it_was(names) as state, _eager(), torch.no_grad():
        tracer = Tracer(leaves, device, state, for_real)

        def taken_in(x: Any) -> Any:
            if isinstance(x, PackedSequence):  # all its sequences, whose steps are one axis
                return PackedSequence(tracer.input(stand_in(x.data, None, dtype, for_real), None), *x[1:])
            return tracer.input(stand_in(x, batch, dtype, for_real), batch if isinstance(x, torch.Tensor) else 0)

        taken, named = mapped(arguments, taken_in)
        scopes = Scopes(tracer, names)
        with noted_calls(tracer, scopes), scripts_seen(), vmaps_seen():
            result = _ran(module, taken, named, tracer, scopes)
        graph = tracer.graph
        made = (map_of(getattr(x, TWIN, x)) or tracer.alone(x) for x in results_in(result))
        graph.outputs = tuple(dict.fromkeys(x for x in made if x is not None))
    if not graph.outputs or not graph.nodes:
        raise UserError(f"{type(module).__name__} returns no tensor that it computes from its input")
    graph.unused = tracer.tensors.unused()
    close_scopes(graph, without_idle(graph, scopes.spans) if tracer.idle else scopes.spans)
    graph.root.name_children()
    return graph


def _ran(module: nn.Module, taken: Any, named: Any, tracer: Tracer, scopes: Scopes) -> Any:
    """What the module returns, or an error that says where it was."""
    try:
        with tracer:
            result = module(*taken, **named)
            return list(result) if isinstance(result, Iterator) else result  # which runs when it is gone through
    except ValuesNeededError as error:
        raise ValuesNeededError(f"{_where(error) or scopes.reached()} needs the value of a tensor") from None
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        got = ", ".join("x".join(map(str, x.shape)) for x in tracer.graph.inputs)
        place = f"{scopes.reached()} failed for the input {got}"
        line = f" at {where}" if (where := _where(error)) else ""
        raise UserError(f"{place}{line}: {type(error).__name__}: {reason}") from error


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


def open(name: str, input: AskedInput | None) -> Graph:
    """The graph of `python:package.module:callable`, where calling gives a module, or `python:package.module:object`.

    It is read in evaluation mode. Python code is run: that of the package named; what it prints goes to standard error.

    Raises:
        UserError: if there is nothing of that name, or it is no module.
    """
    from cnnatomy.readers.torch.names import load

    with contextlib.redirect_stdout(sys.stderr):
        module = load(name)
        if input is not None:
            return _read(module, *placed(module, input))
        try:
            return _read(module, (IMAGE,), {})
        except UserError as error:
            raise UserError(f"{error}\nNo --input was given, so one image of {dimensions(IMAGE)} was tried.") from None


IMAGE = (3, 224, 224)
"""The input of a module of which a command line says none."""


__all__ = ["open", "read"]
