"""Fields of a recipe: what each is, and what it may be, is said where it is declared and checked by that."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, get_type_hints

from cnnatomy.errors import UserError, nearest, shown


def number(default: Any, low: float, high: float, about: str, above: bool = False, below: bool = False) -> Any:
    """A field that is a number from `low` to `high`: with `above` not `low` itself, with `below` not `high`."""
    limits = {"range": (low, high), "above": above, "below": below}
    return dataclasses.field(default=default, metadata={"about": about, **limits})


def choice(default: str, choices: tuple[str, ...], about: str) -> Any:
    """A field that is one of some words."""
    return dataclasses.field(default=default, metadata={"about": about, "choices": choices})


def other(default: Any, about: str) -> Any:
    """A field of which its type says all."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata={"about": about})
    return dataclasses.field(default=default, metadata={"about": about})


def about(field: Any) -> str:
    """What a field is, and which words it may be."""
    choices = field.metadata.get("choices")
    return f"{field.metadata['about']}{': ' + ', '.join(choices) if choices else ''}"


def check(record: Any) -> None:
    """Raises `UserError` for the first field of a record that is out of its range, or is none of its choices."""
    kinds = types(record.__class__)
    for field in dataclasses.fields(record):
        _check(field, kinds[field.name], getattr(record, field.name))


@cache
def types(kind: type) -> dict[str, Any]:
    """The type of each field of a kind of record."""
    return get_type_hints(kind)


def _check(field: Any, hint: Any, value: Any) -> None:
    choices, limits = field.metadata.get("choices"), field.metadata.get("range")
    if choices and value not in choices:
        near = nearest(str(value), choices)
        raise UserError(f"recipe: no {field.name} {value}: one of {', '.join(choices)}.{near}")
    if limits is None or value is None:
        return
    low, high = limits
    beyond = (field.metadata["above"] and value == low) or (field.metadata["below"] and value == high)
    if beyond or not low <= value <= high:  # nan is not either
        raise UserError(
            f"recipe: {field.name.replace('_', ' ')} is {shown(value)}, expected {range_text(field, hint)}."
            f" Set {field.name}; on the command line with --set {field.name}=VALUE"
        )


def range_text(field: Any, hint: Any) -> str:
    """Between which numbers a field lies, in words."""
    low, high = field.metadata["range"]
    if hint is int:
        return f"a whole number from {low:g} to {high:,}"
    lowest = f"above {low:g}" if field.metadata["above"] else f"from {low:g}"
    return f"a number {lowest} to {'less than ' * field.metadata['below']}{high:,g}"
