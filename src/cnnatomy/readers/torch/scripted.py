"""Scripted and traced functions and modules, whose calls no mode sees: their TorchScript is run call by call instead.

Names of nodes are those of the operators; the parts of a scripted module are not scopes of their own.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from threading import get_ident
from typing import Any

import torch

from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_LAYERS


@contextlib.contextmanager
def scripts_seen() -> Iterator[None]:
    """Functions and methods of TorchScript that are called meanwhile, in this thread, are run call by call."""
    thread = get_ident()
    kinds: list[Any] = [torch.jit.ScriptFunction, torch._C.ScriptMethod]
    as_ever = [kind.__call__ for kind in kinds]

    def seen(call: Any, inside: Callable[..., Any]) -> Any:
        def run(script: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() != thread or not torch._C._is_torch_function_mode_enabled():
                return call(script, *args, **kwargs)
            return inside(script, args, kwargs)

        return run

    def function(script: Any, args: Any, kwargs: Any) -> Any:
        return _Run(script.name).called(script, args, kwargs)

    def method(script: Any, args: Any, kwargs: Any) -> Any:
        return _Run(script.name).called(script, (script.owner, *args), kwargs)

    try:
        for kind, call, inside in zip(kinds, as_ever, (function, method), strict=True):
            kind.__call__ = seen(call, inside)
        yield
    finally:
        for kind, call in zip(kinds, as_ever, strict=True):
            kind.__call__ = call


ScriptValues = dict[str, Any]
"""By the name that TorchScript gives to a value."""


class _Run:
    """One run of a graph of TorchScript, in which functions that it calls are written out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0

    def called(self, script: Any, args: Any, kwargs: Any) -> Any:
        """What a function returns for these arguments."""
        named = {argument.name: argument for argument in script.schema.arguments}
        given = dict(zip(named, args, strict=False)) | kwargs
        given = {name: given.get(name, argument.default_value) for name, argument in named.items()}
        graph = script.inlined_graph if hasattr(script, "inlined_graph") else _inlined(script.graph)
        values = {x.debugName(): value for x, value in zip(graph.inputs(), given.values(), strict=True)}
        results = self.block(graph, values)
        return results[0] if len(results) == 1 else tuple(results)

    def block(self, block: Any, values: ScriptValues) -> list[Any]:
        """What a block (or a whole graph) gives."""
        for node in block.nodes():
            self.steps += 1
            if self.steps > MAX_LAYERS:
                raise UserError(f"the scripted function {self.name} makes more than {MAX_LAYERS:,} steps")
            results = self.node(node, values)
            values |= zip([x.debugName() for x in node.outputs()], results, strict=True)
        return [values[x.debugName()] for x in block.outputs()]

    def node(self, node: Any, values: ScriptValues) -> Iterable[Any]:
        """What a node gives."""
        kind = node.kind()
        inputs = [values[x.debugName()] for x in node.inputs()]
        if kind.startswith("aten::"):
            if not _followed(node, kind[6:]):
                raise self.refusal(kind)
            return _several(node, _operator(node, kind[6:], inputs))
        if kind in _PRIMITIVES:
            return (_PRIMITIVES[kind](node, inputs),)
        if kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            return list(inputs[0])
        if kind == "prim::If":
            yes, no = node.blocks()
            return self.block(yes if inputs[0] else no, values)
        if kind == "prim::Loop":
            return self.loop(node, inputs, values)
        if kind == "prim::RaiseException":
            raise RuntimeError(str(inputs[0]))
        raise self.refusal(kind)

    def loop(self, node: Any, inputs: list[Any], values: ScriptValues) -> list[Any]:
        """`for` and `while`: how often at most, whether to begin, and what is carried from round to round."""
        (body,) = node.blocks()
        most, more, *carried = inputs
        count = 0
        while count < most and more:
            names = [x.debugName() for x in body.inputs()]
            more, *carried = self.block(body, values | dict(zip(names, [count, *carried], strict=True)))
            count += 1
        return carried

    def refusal(self, kind: str) -> UserError:
        """What is said where TorchScript does what is not followed."""
        return UserError(
            f"{self.name or 'a function'} is TorchScript, which hides what it computes: {kind} in it is not followed;"
            " read the module with the function that it was made from (PYTORCH_JIT=0)"
        )


def _inlined(graph: Any) -> Any:
    graph = graph.copy()
    torch._C._jit_pass_inline(graph)
    return graph


def _several(node: Any, result: Any) -> Iterable[Any]:
    count = node.outputsSize()
    return (result,) if count == 1 else result if count else ()


def _attribute(node: Any, inputs: list[Any]) -> Any:
    return getattr(inputs[0], node.s("name"))


def _constant(node: Any, inputs: list[Any]) -> Any:
    return node.output().toIValue()


_PRIMITIVES: dict[str, Callable[[Any, list[Any]], Any]] = {
    "prim::Constant": _constant,
    "prim::GetAttr": _attribute,
    "prim::ListConstruct": lambda node, inputs: list(inputs),
    "prim::TupleConstruct": lambda node, inputs: tuple(inputs),
    "prim::DictConstruct": lambda node, inputs: dict(zip(inputs[::2], inputs[1::2], strict=True)),
    "prim::TupleIndex": lambda node, inputs: inputs[0][inputs[1]],
    "prim::unchecked_cast": lambda node, inputs: inputs[0],
    "prim::Uninitialized": lambda node, inputs: None,
    "prim::NumToTensor": lambda node, inputs: inputs[0],
    "prim::dtype": lambda node, inputs: inputs[0].dtype,
    "prim::device": lambda node, inputs: inputs[0].device,
    "prim::type": lambda node, inputs: inputs[0].type,  # of a device
    "prim::layout": lambda node, inputs: inputs[0].layout,
    "prim::is_cuda": lambda node, inputs: inputs[0].is_cuda,
    "prim::is_nested": lambda node, inputs: False,
    "prim::requires_grad": lambda node, inputs: inputs[0].requires_grad,
    "prim::min": lambda node, inputs: min(*inputs),
    "prim::max": lambda node, inputs: max(*inputs),
    "prim::Print": lambda node, inputs: None,
}


def _changed(method: str) -> Callable[..., Any]:
    """A method of lists that changes one, which is what it returns, too."""

    def change(items: list[Any], *args: Any) -> list[Any]:
        getattr(items, method)(*args)
        return items

    return change


def _quotient(one: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """`div` of numbers; sizes are divided so in what was traced."""
    if rounding_mode is None:
        return one / other
    return one // other if rounding_mode == "floor" else int(one / other)


_OF_PYTHON: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "neg")},
    **{f"__{name}__": getattr(operator, f"{name}_") for name in ("is", "not", "and", "or")},
    **{name: getattr(math, name) for name in ("ceil", "floor", "sqrt", "log", "exp", "pow")},
    "__isnot__": operator.is_not,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "div": _quotient,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    **{run.__name__: run for run in (len, any, all)},
    **{name: _changed(name) for name in ("append", "extend", "insert", "reverse")},
    "_set_item": _changed("__setitem__"),
    **dict.fromkeys(("list", "copy"), copy),
    "slice": lambda x, start=None, stop=None, step=1: x[start:stop:step],
    "Int": int,
    "Float": float,
    "Bool": bool,
    "str": str,
    "format": lambda text, *args: text.format(*args),
    "keys": lambda x: list(x),
    "values": lambda x: list(x.values()),
    "items": lambda x: list(x.items()),
    "warn": lambda *args: None,
    "is_grad_enabled": lambda: True,  # else one operator does the work of a whole layer
    **dict.fromkeys(("is_autocast_enabled", "is_autocast_cpu_enabled"), lambda: False),
}
"""Operators of numbers, words and lists."""


def _followed(node: Any, name: str) -> bool:
    """Whether an operator is one of torch, of tensors, or one that is known here."""
    schema = torch._C.parse_schema(node.schema())
    return name in _OF_PYTHON or any("Tensor" in str(x.type) for x in (*schema.arguments, *schema.returns))


def _operator(node: Any, name: str, inputs: list[Any]) -> Any:
    """The call of an operator: of torch where it has a tensor, else of Python."""
    of_items = bool(inputs) and isinstance(inputs[0], (list, tuple, dict))
    tensors = not of_items and any(isinstance(x, torch.Tensor) for x in inputs)
    if name in ("__is__", "__isnot__", "warn") or (name in _OF_PYTHON and not tensors):
        return _OF_PYTHON[name](*inputs)
    if name in ("Int", "Float", "Bool", "IntImplicit", "FloatImplicit", "ScalarImplicit"):
        return inputs[0].item()
    schema = torch._C.parse_schema(node.schema())
    by_name = [argument.kwarg_only for argument in schema.arguments]
    args = [x for x, named in zip(inputs, by_name, strict=True) if not named]
    kwargs = {
        argument.name: x
        for argument, x in zip(schema.arguments, inputs, strict=True)
        if argument.kwarg_only and x is not None
    }
    return getattr(torch.ops.aten, name)(*args, **kwargs)
