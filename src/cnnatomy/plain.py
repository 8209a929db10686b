"""Plain data, as YAML and JSON hold it (numbers, words, lists, mappings), checked against the type of a field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cnnatomy.errors import UserError, literal


def checked(got: Any, hint: Any, name: str) -> Any:
    """`got` as a value of the type `hint`: tuples where that has tuples, and numbers with a point where it has `float`.

    It is as strict as a type checker: `True` is no `int`, 3.0 is none either, but 3 is a `float`.

    Raises:
        UserError: naming the field, the type that was expected and what it got.
    """
    try:
        return _fitted(got, hint)
    except (ValueError, OverflowError):
        raise UserError(f"{name}: expected {type_text(hint)}, got {literal(got)}") from None


SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
"""Of the units of short times."""


def seconds(text: str, units: Mapping[str, float] = SECONDS) -> float | None:
    """A time as people write it, such as `20ms`; None where it is none, or none above 0."""
    match = re.fullmatch(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([a-zµ]+)\s*", text.lower(), re.ASCII)
    return float(match[1]) * units[match[2]] or None if match and match[2] in units else None


def sides(text: str) -> tuple[int, int] | None:
    """`24:400`, from the smallest to the largest side, or `32` for one size; None where it is neither."""
    match = re.fullmatch(r"\s*(\d{1,7})(?:\s*:\s*(\d{1,7}))?\s*", text, re.ASCII)
    smallest, largest = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    return (smallest, largest) if 0 < smallest <= largest else None


_WORDS: dict[Any, str] = {
    Any: "anything",
    int: "int",
    float: "float",
    str: "text",
    bool: "true or false",
    type(None): "null",
}


def type_text(hint: Any) -> str:
    """A type as people read it: `int or [int, int]`."""
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_text(option) for option in options))
    if origin is Literal:
        return " or ".join(map(str, options))
    if origin is list or (origin is tuple and options[-1] is ...):
        return f"list of {type_text(options[0])}"
    if origin is tuple:
        return f"[{', '.join(map(type_text, options))}]"
    if origin is dict:
        return f"mapping of {type_text(options[0])} to {type_text(options[1])}"
    return _WORDS.get(hint) or str(hint.__name__)


def _fitted(got: Any, hint: Any) -> Any:
    """The same; raises ValueError or OverflowError for what does not fit."""
    origin, of = get_origin(hint), get_args(hint)
    if hint is Any:
        return got
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
    elif hint is float and type(got) is int:
        return float(got)
    elif type(got) is hint:
        return got
    raise ValueError
