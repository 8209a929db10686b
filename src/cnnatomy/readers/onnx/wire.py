"""How many nodes and fields an ONNX file has, counted in its bytes before anything is made of them.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx

from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_ONNX_FIELDS, MAX_ONNX_NODES

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""How a field says where it ends; the other ways are of older versions of the format."""


class DamagedError(Exception):
    """The bytes are no protocol buffer, or not all of one."""


def check_size(content: bytes) -> None:
    """Refuses a file of too many nodes, or of too many fields of other kinds.

    Raises:
        UserError: naming what there is too much of. `DamagedError` where the bytes end before a field does.
    """
    nodes = fields = 0
    todo = [(onnx.ModelProto.DESCRIPTOR, 0, len(content))]
    while todo:
        kind, at, end = todo.pop()
        messages, lists, texts = _inside(kind)
        while at < end:
            tag, at = _varint(content, at, end)
            number, form = tag >> 3, tag & 7
            fields += 1
            if form == _LENGTH:
                size, at = _varint(content, at, end)
                if number in messages:
                    inner = messages[number]
                    nodes += inner is onnx.NodeProto.DESCRIPTOR
                    todo.append((inner, at, at + size))
                elif number in lists:
                    fields += size
                elif number in texts:
                    _check_text(content[at : at + size])
                at += size
            elif form == _VARINT:
                _, at = _varint(content, at, end)
            elif form in (_FIXED64, _FIXED32):
                at += 8 if form == _FIXED64 else 4
            else:
                raise DamagedError
            if nodes > MAX_ONNX_NODES:
                raise UserError(f"an ONNX file may have at most {MAX_ONNX_NODES:,} nodes, this has more")
            if fields > MAX_ONNX_FIELDS:
                raise UserError(
                    f"an ONNX file may have at most {MAX_ONNX_FIELDS:,} names, sizes and other fields, this has more"
                )
        if at > end:
            raise DamagedError


@cache
def _inside(kind: Any) -> tuple[dict[int, Any], frozenset[int], frozenset[int]]:
    """The fields of a message that are messages, lists of numbers (not a tensor's own), and texts."""
    messages = {field.number: field.message_type for field in kind.fields if field.message_type}
    lists = {
        field.number
        for field in kind.fields
        if field.cpp_type not in (field.CPPTYPE_MESSAGE, field.CPPTYPE_STRING) and not field.name.endswith("_data")
    }
    texts = {field.number for field in kind.fields if field.type == field.TYPE_STRING}
    return messages, frozenset(lists), frozenset(texts)


def _check_text(text: bytes) -> None:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise UserError(f"a name in it is no text in UTF-8: {text[:20]!r}") from None


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at a place, and where it ends."""
    if at < end and content[at] < 128:  # as most
        return content[at], at + 1
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise DamagedError
