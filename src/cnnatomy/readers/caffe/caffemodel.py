"""Caffe's files of weights: the blobs of each layer, read from the protocol buffer as data.

The numbers of fields are those of Caffe's own messages (NetParameter, LayerParameter, V1LayerParameter,
V0LayerParameter, BlobProto, BlobShape), in which files of all ages are written.
https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.errors import UserError, quoted
from cnnatomy.files import read_bytes
from cnnatomy.layers import BatchNorm, Bias
from cnnatomy.layers.layer import Layer, Shape, dimensions, elements
from cnnatomy.limits import MAX_AXES, MAX_CAFFEMODEL_BYTES, MAX_CAFFEMODEL_FIELDS

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""How a field says where it ends."""

_LAYER, _LAYER_V1, _LAYER_V0 = 100, 2, 1
"""Fields of a network that are its layers, today and before, and the oldest kind, within one of those."""


class _Places(NamedTuple):
    """Fields of a layer: its name, its type, its blobs."""

    name: int
    type: int
    blobs: int


_PLACES = {_LAYER: _Places(1, 2, 7), _LAYER_V1: _Places(4, 5, 6), _LAYER_V0: _Places(1, 2, 50)}
_SIZES, _DATA, _SHAPE, _DOUBLES = (1, 2, 3, 4), 5, 7, 8
"""Fields of a blob: its four sizes in old files, its numbers, its sizes, and its numbers in double precision."""


_PRODUCTS = ("InnerProduct", "14", "innerproduct")
"""Types of fully connected layers, in files of all ages."""


class BlobLayer(NamedTuple):
    """A layer of a file of weights: its name, its type (a number in older files), and its blobs as numpy arrays."""

    name: str
    type: str
    blobs: tuple[Any, ...]


def read(path: Path) -> list[BlobLayer]:
    """The layers that have blobs, in their order.

    Raises:
        UserError: if it cannot be read, is no such file, or a blob has other sizes than numbers.
    """
    content = memoryview(read_bytes(path, MAX_CAFFEMODEL_BYTES, "the caffemodel"))
    try:
        found = list(_Reader(content).layers())
    except (_DamagedBlobsError, UnicodeDecodeError):
        raise UserError(f"{path}: not a caffemodel, or not all of it") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not found:
        raise UserError(
            f"{path}: no layer in it has weights; a .caffemodel is expected, not a .prototxt or a solverstate"
        )
    return found


class _DamagedBlobsError(Exception):
    """The bytes are no protocol buffer, or not all of one."""


class _Span(NamedTuple):
    """A field: its number, how it ends, the number that it is (or 0), and where its bytes are."""

    number: int
    form: int
    value: int
    start: int
    end: int


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self.content, self.fields_left = content, MAX_CAFFEMODEL_FIELDS

    def layers(self) -> Iterator[BlobLayer]:
        """The layers with blobs of the whole message."""
        for field in self.fields(0, len(self.content)):
            if field.number in (_LAYER, _LAYER_V1) and field.form == _LENGTH:
                layer = self.layer(field.number, field.start, field.end)
                if layer.blobs:
                    yield layer

    def layer(self, kind: int, start: int, end: int) -> BlobLayer:
        """One layer; the oldest are a layer within a layer."""
        places, name, type_ = _PLACES[kind], "", ""
        spans: list[_Span] = []
        for field in self.fields(start, end):
            if kind == _LAYER_V1 and field.number == _LAYER_V0 and field.form == _LENGTH:
                return self.layer(_LAYER_V0, field.start, field.end)
            if field.number == places.name:
                name = str(self.content[field.start : field.end], "utf-8")
            elif field.number == places.type:
                type_ = (
                    str(field.value) if field.form == _VARINT else str(self.content[field.start : field.end], "utf-8")
                )
            elif field.number == places.blobs and field.form == _LENGTH:
                spans.append(field)
        return BlobLayer(name, type_, tuple(self.blob(name, span.start, span.end) for span in spans))

    def blob(self, layer: str, start: int, end: int) -> Any:
        """The numbers of one blob."""
        import numpy as np

        old, sizes, parts = [0, 0, 0, 0], None, []
        at = start
        while at < end:
            field = self.field(at, end)
            at = field.end
            if field.number in (_DATA, _DOUBLES) and field.form in (_LENGTH, _FIXED32, _FIXED64):
                kind = "<f4" if field.number == _DATA else "<f8"
                found, at = self.numbers(field, kind, end)
                parts.append(found)
            elif field.number in _SIZES and field.form == _VARINT:
                old[field.number - 1] = field.value
            elif field.number == _SHAPE and field.form == _LENGTH:
                sizes = self.sizes(field)
        shape = tuple(old) if sizes is None else sizes
        numbers = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if len(shape) > MAX_AXES or elements(shape) != numbers.size:
            said = dimensions(shape[:MAX_AXES]) or "1"
            raise UserError(f"layer {quoted(layer)}: a blob of {said} has {numbers.size:,} numbers in it")
        return numbers.reshape(shape)

    def numbers(self, field: _Span, kind: str, end: int) -> tuple[Any, int]:
        """Numbers in one field, or in as many fields as there are of that kind in a row; and where they end."""
        import numpy as np

        size = np.dtype(kind).itemsize
        if field.form == _LENGTH:
            if (field.end - field.start) % size:
                raise _DamagedBlobsError
            return np.frombuffer(self.content[field.start : field.end], kind), field.end
        if field.end - field.start != size:
            raise _DamagedBlobsError
        first = field.start - 1  # the fields of both have numbers below 16, so their tags take a byte
        rows = np.frombuffer(self.content[first : first + (end - first) // (size + 1) * (size + 1)], np.uint8)
        rows = rows.reshape(-1, size + 1)
        others = np.flatnonzero(rows[:, 0] != rows[0, 0])
        count = int(others[0]) if others.size else len(rows)
        return np.ascontiguousarray(rows[:count, 1:]).view(kind).reshape(-1), first + count * (size + 1)

    def sizes(self, field: _Span) -> Shape:
        """The sizes in a shape, packed or not."""
        found: list[int] = []
        for each in self.fields(field.start, field.end):
            if each.number == 1 and each.form == _VARINT:
                found.append(each.value)
            elif each.number == 1 and each.form == _LENGTH:
                at = each.start
                while at < each.end and len(found) <= MAX_AXES:
                    value, at = self.varint(at, each.end)
                    found.append(value)
        return tuple(found)

    def fields(self, start: int, end: int) -> Iterator[_Span]:
        """The fields between two places."""
        while start < end:
            field = self.field(start, end)
            yield field
            start = field.end

    def field(self, at: int, end: int) -> _Span:
        """The field that begins at a place."""
        self.fields_left -= 1
        if self.fields_left < 0:
            raise UserError(f"it has more than {MAX_CAFFEMODEL_FIELDS:,} fields; a network with its blobs is expected")
        tag, at = self.varint(at, end)
        number, form, value, start = tag >> 3, tag & 7, 0, at
        if form == _VARINT:
            value, stop = self.varint(at, end)
        elif form == _LENGTH:
            size, start = self.varint(at, end)
            stop = start + size
        elif form in (_FIXED64, _FIXED32):
            stop = at + (8 if form == _FIXED64 else 4)
        else:
            raise _DamagedBlobsError
        if stop > end or not number:
            raise _DamagedBlobsError
        return _Span(number, form, value, start, stop)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at a place, and where it ends."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self.content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise _DamagedBlobsError


def statistics(blobs: Sequence[Any], epsilon: float) -> dict[str, Any]:
    """Mean and variance of Caffe's BatchNorm, which keeps sums and the factor by which they are to be divided.

    Others' BN has four blobs: scale, bias, mean and variance; or, with the statistics in them already, the first two.
    """
    import numpy as np

    if len(blobs) == 3 and blobs[2].size == 1:
        factor = float(blobs[2].reshape(-1)[0])
        by = 1 / factor if factor else 0.0
        return {"running_mean": blobs[0] * by, "running_var": blobs[1] * by}
    if len(blobs) == 4:
        return dict(zip(("weight", "bias", "running_mean", "running_var"), blobs, strict=True))
    if len(blobs) == 2:
        none = np.zeros(blobs[0].size, np.float32)
        return {"weight": blobs[0], "bias": blobs[1], "running_mean": none, "running_var": none + (1 - epsilon)}
    raise UserError(f"a batch norm has {len(blobs)} blobs; three (mean, variance, factor), four or two are read")


def tensors_of(
    layer: Layer, blobs: Sequence[Any], scale: Sequence[Any] = (), transposed: bool = False
) -> dict[str, Any]:
    """The tensors of a layer of ours, by name, from the blobs of Caffe's; `scale` are those of the Scale after it."""
    if isinstance(layer, BatchNorm):
        return statistics(blobs, layer.epsilon) | dict(zip(("weight", "bias"), scale, strict=False))
    if isinstance(layer, Bias):  # also the second half of a Scale
        return {"bias": blobs[-1]} if blobs else {}
    found = dict(zip(("weight", "bias"), blobs, strict=False))
    if transposed and "weight" in found:
        found["weight"] = found["weight"].reshape(found["weight"].shape[-2:]).T
    return found


def in_order(name: str) -> Iterator[tuple[str, Any]]:
    """All tensors of a file of weights by themselves, in order, named by their layers: `conv1.weight`, `conv1.bias`."""
    layers = read(Path(name))
    merged: set[int] = set()
    for i, (layer, after) in enumerate(zip(layers, [*layers[1:], None], strict=True)):
        if i in merged:
            continue
        found = dict(zip(("weight", "bias"), layer.blobs, strict=False))
        if layer.type in ("BatchNorm", "BN"):
            found = statistics(layer.blobs, BatchNorm().epsilon)
            if layer.type == "BatchNorm" and after is not None and after.type == "Scale":
                found |= dict(zip(("weight", "bias"), after.blobs, strict=False))
                merged.add(i + 1)
        for own, array in found.items():
            if own != "weight":
                array = array.reshape(-1)
            elif layer.type in _PRODUCTS:  # older files give everything four sizes
                array = array.reshape(array.shape[-2:])
            yield f"{layer.name}.{own}", array.astype("float32")
