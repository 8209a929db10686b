"""What is done with each function of torch that is called while a module is read."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from cnnatomy.errors import UserError
from cnnatomy.readers.torch import aten, resize, rules, views
from cnnatomy.readers.torch.functions import (
    COSTS,
    FREE,
    base_name,
    words,
)
from cnnatomy.readers.torch.spec import CallRule, CallSpec
from cnnatomy.readers.torch.tensors import (
    ValuesNeededError,
)

if TYPE_CHECKING:
    from cnnatomy.readers.torch.tracer import Tracer

Handler = Callable[["Tracer", Any, tuple[Any, ...], dict[str, Any]], Any]

HANDLERS: dict[Any, Handler] = {}
"""What is done with each function of torch, looked up once."""

RULES: dict[Any, CallRule] = rules.RULES | resize.RULES
"""Function, or name of functions with one signature -> rule."""

QUESTIONS = words(
    "size dim ndimension numel nelement stride storage_offset element_size is_contiguous is_floating_point is_complex"
    " __len__ get_device is_signed data_ptr is_nested has_names _assert is_tensor result_type __hash__ dense_dim"
    " is_inference is_pinned is_shared is_same_size is_set_to can_cast promote_types register_hook __repr__"
)
"""Names of functions that ask about shape or type: torch answers them."""


def _native(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _device(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    return t.device  # where the module is: what it makes there by itself is then a constant with values


def _call(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    return t.call(func, args, kwargs)


def _moved(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    return t.call(torch.Tensor.to, (args[0], t.device), {})  # to another device, on which a stand-in is as well


def _copied(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    x = args[0]
    if not t.known(x):
        return func(*args, **kwargs)
    return t.call(torch.Tensor.clone, (x,), {})


def _deep_copied(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`copy.deepcopy` of a tensor, which notes what it has copied."""
    x, memo = args
    if id(x) not in memo:
        memo[id(x)] = _copied(t, func, args, kwargs)
    return memo[id(x)]


def _copied_by_python(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`copy.copy` asks how a tensor is made again."""
    return func(*args, **kwargs) if not t.known(args[0]) else (_copied, (t, func, args, kwargs))


def _sliced(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`aten::slice`, an item by one slice."""
    x, dim, *part = args
    start, stop, step = slice(*part).indices(x.shape[dim])
    whole = (start, stop, step) == (0, x.shape[dim], 1)
    index = (*[slice(None)] * (dim % x.dim()), slice(None) if whole else slice(start, stop, step))
    return views.item(t, torch.Tensor.__getitem__, (x, index), {})


_BY_NAME: dict[str, Handler] = {
    "slice": _sliced,
    **dict.fromkeys(("cpu", "cuda", "xpu", "pin_memory"), _moved),
    "__deepcopy__": _deep_copied,
    "__reduce_ex__": _copied_by_python,
    **views.HANDLED,
}


PROPERTIES_THAT_COMPUTE = {"T", "mT", "H", "mH", "data", "real", "imag"}
_FALSE = dict.fromkeys(
    ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), lambda *_: False
)
_ALONE = types.SimpleNamespace(**{**vars(torch.overrides), **_FALSE})
"""torch.overrides, as it is where nobody overrides anything."""


class _Torch:
    """torch, with those overrides."""

    overrides = _ALONE

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


_OTHERS = {id(torch.overrides): _ALONE, id(torch): _Torch()}


@functools.cache
def _body(func: Any) -> Any:
    """A function of torch that does not ask whether a mode is there: it runs, and what it calls is seen."""
    func = getattr(func, "__wrapped__", func)
    dotted = "overrides" in func.__code__.co_names
    names = {name: _OTHERS[id(x)] for name, x in func.__globals__.items() if id(x) in _OTHERS} if dotted else {}
    body = types.FunctionType(
        func.__code__, {**func.__globals__, **_FALSE, **names}, func.__name__, func.__defaults__, func.__closure__
    )
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _inside(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    with t:
        return _body(func)(*args, **kwargs)


def _ruled(rule: Callable[..., CallSpec | None], otherwise: Handler) -> Handler:
    def handle(t: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
        try:
            spec = rule(*args, **kwargs)
            if spec is not None:
                return t.finish(spec, func, args, kwargs)
        except (UserError, TypeError) as error:  # it does not fit; or an argument by a name that the rule has not
            if isinstance(error, ValuesNeededError):
                raise
        return otherwise(t, func, args, kwargs)

    return handle


def found(func: Any) -> Handler:
    """Who handles a function of torch."""
    name = aten.name_of(func)
    if name == "__get__":
        attribute = func.__self__.__name__
        if attribute == "device":
            return _device
        return _call if attribute in PROPERTIES_THAT_COMPUTE else _native
    if name in QUESTIONS:
        return _native
    if name in _BY_NAME:
        return _BY_NAME[name]
    if aten.is_operator(func):
        rule = aten.RULES.get(name) or RULES.get(aten.like(func)) or RULES.get(name)
    else:
        rule = RULES.get(func) or RULES.get(name)
    return _ruled(rule, _general(func)) if rule else _general(func)


def _general(func: Any) -> Handler:
    """Who handles a function without a rule: one that torch writes in Python, and that has no cost, is run."""
    known = base_name(func)[0]
    if isinstance(func, types.FunctionType) and known not in FREE and known not in COSTS:
        code = getattr(func, "__wrapped__", func).__code__
        return _inside if hasattr(func, "__wrapped__") or not _FALSE.keys().isdisjoint(code.co_names) else _call
    return _call
