"""The format of YAML designs as a JSON Schema, for editors: made from the types of the layers and blocks themselves."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any

from cnnatomy.design import Composition
from cnnatomy.layers.layer import Value
from cnnatomy.readers.yaml.design import CRITIQUE, hints, holds_parts, known_types

FILE = "design.schema.json"

Schema = dict[str, Any]
_PART, _ITEM, _PARTS, _NODE = ({"$ref": f"#/$defs/{name}"} for name in ("part", "item", "parts", "node"))


def text() -> str:
    """The schema as it is written to a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """A JSON Schema (draft 2020-12) that every valid design meets, and most mistakes do not."""
    kinds = known_types()
    sections = {
        "tail": "From data to weak features.",
        "body": "From weak to strong features.",
        "head": "The prediction.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A design of a convolutional network for cnnatomy",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "input": {"description": "Channels, rows, columns.", "type": "array", "items": {"type": "integer"}},
            **{name: {"description": what, **_PART} for name, what in sections.items()},
            "nodes": {"description": "In place of these: the layers by path.", "type": "array", "items": _NODE},
            CRITIQUE: {"description": "Settings of `cnnatomy critique`; see docs/critique.md.", "type": "object"},
        },
        "anyOf": [{"required": list(sections)}, {"required": ["input", "nodes"]}],
        "additionalProperties": False,
        "$defs": {
            "part": {"anyOf": [_alone(kinds), {"type": "array", "items": _ITEM}, {"$ref": "#/$defs/single"}]},
            "item": {"anyOf": [_PART, {"$ref": "#/$defs/repeated"}]},
            "single": _one_of(kinds),
            "repeated": _repeated(kinds),
            "parts": {"anyOf": [{"type": "array", "items": _ITEM}, {"type": "object", "additionalProperties": _PART}]},
            "node": {
                "type": "object",
                "properties": {"reads": {"type": "array", "items": {"type": "string"}}},
                "additionalProperties": _PART,
                "minProperties": 1,
                "maxProperties": 2,
            },
            **{name: _kind(kind) for name, kind in sorted(kinds.items())},
        },
    }


def _alone(kinds: dict[str, type[Value]]) -> Schema:
    """A layer or block without fields: `ReLU`."""
    return {"enum": sorted(name for name, kind in kinds.items() if not _required(kind))}


def _one_of(kinds: dict[str, type[Value]]) -> Schema:
    """`{Conv: {channels: 64, kernel: 3}}`, or `{name: part}`."""
    return {
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in sorted(kinds)},
        "additionalProperties": _PART,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _repeated(kinds: dict[str, type[Value]]) -> Schema:
    """A part with `times`."""
    times = {"description": "How often in a row.", "type": "integer", "minimum": 1}
    one = _one_of(kinds)
    one["properties"]["times"] = times
    return {**one, "required": ["times"], "minProperties": 2, "maxProperties": 2}


def _kind(kind: type[Value]) -> Schema:
    """What stands under the name of a layer or block."""
    described = {"description": (kind.__doc__ or "").strip().partition("\n")[0]}
    fields = {name: _field(hint) for name, hint in hints(typing.cast(Any, kind)).items() if name != "parts"}
    if issubclass(kind, Composition):
        whole = _object({"parts": _PARTS, **fields}, ["parts"])
        return {**described, "anyOf": [{"type": "array", "items": _ITEM}, whole, _named_parts()]}
    alone = [] if _required(kind) else [{"type": "null"}]
    return {**described, "anyOf": [_object(fields, _required(kind)), *alone]}


def _named_parts() -> Schema:
    return {"type": "object", "not": {"required": ["parts"]}, "additionalProperties": _PART}


def _object(fields: dict[str, Schema], required: list[str]) -> Schema:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _required(kind: type[Value]) -> list[str]:
    if issubclass(kind, Composition):
        return []
    fields = dataclasses.fields(typing.cast(Any, kind))
    return [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _field(hint: Any) -> Schema:
    if not holds_parts(hint):
        return _plain(hint)
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return {"anyOf": [_PART, {"type": "null"}]} if type(None) in options else _PART


_TYPES: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}


@functools.cache
def _plain(hint: Any) -> Schema:
    """Numbers, words and lists of them: what `cnnatomy.plain` takes."""
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_plain(option) for option in of]}
    if origin is typing.Literal:
        return {"enum": list(of), "type": "string"}
    if origin is not tuple:
        return _TYPES[hint]
    if of[-1] is ...:
        return {"items": _plain(of[0]), "type": "array"}
    items = [_plain(item) for item in of]
    return {"maxItems": len(of), "minItems": len(of), "prefixItems": items, "type": "array"}
