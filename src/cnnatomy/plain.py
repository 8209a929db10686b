"""Plain data, as YAML and JSON hold it (numbers, words, lists, mappings), checked against the type of a field."""

from __future__ import annotations

import re
import reprlib
from contextlib import suppress
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cnnatomy.errors import UserError

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)
"""The numbers that YAML 1.1 takes for words: 1e12, 1.5e-3. YAML 1.2 and JSON know them."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 100, 30, 100
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8


def checked(got: Any, hint: Any, name: str) -> Any:
    """`got` as a value of the type `hint`: tuples where that has tuples, and numbers with a point where it has `float`.

    It is as strict as a type checker: `True` is no `int`, 3.0 is none either, but 3 is a `float`.

    Raises:
        UserError: naming the field, the type that was expected and what it got.
    """
    try:
        return _fitted(got, hint)
    except (ValueError, OverflowError):
        raise UserError(f"{name}: expected {type_text(hint)}, got {shown(got)}") from None


def shown(got: Any) -> str:
    """Any value as messages print it: a long or deep one in part."""
    return _SHORT.repr(got)


def type_text(hint: Any) -> str:
    """A type as messages print it: `int | tuple[int, int]`."""
    return str(hint).replace("typing.", "").replace("<class '", "").replace("'>", "")


def _fitted(got: Any, hint: Any) -> Any:
    """The same; raises ValueError or OverflowError for what does not fit."""
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for option in of:
            with suppress(ValueError, OverflowError):
                return _fitted(got, option)
    elif origin is Literal:
        if any(type(got) is type(option) and got == option for option in of):
            return got
    elif origin in (tuple, list):
        if isinstance(got, (tuple, list)):
            kinds = of[:1] * len(got) if origin is list or of[-1] is ... else of
            return origin(_fitted(item, kind) for item, kind in zip(got, kinds, strict=True))
    elif origin is dict:
        if isinstance(got, dict):
            return {_fitted(key, of[0]): _fitted(item, of[1]) for key, item in got.items()}
    elif not isinstance(hint, type):
        raise TypeError(f"plain data is not checked against {hint!r}")
    elif hint is float and (type(got) is int or (isinstance(got, str) and _EXPONENT.fullmatch(got))):
        return float(got)
    elif type(got) is hint:
        return got
    raise ValueError
