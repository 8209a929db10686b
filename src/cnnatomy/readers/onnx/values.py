"""Tensors of an ONNX model as the reader knows them: `Known`, which no input changes, and `Mapped`, feature maps.

All sizes of a tensor are those of ONNX, the batch among them. Where the batch stands is followed beside them: a feature
map is the same tensor for one image, wherever its batch is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import onnx

from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, quoted
from cnnatomy.layers.layer import Shape, elements
from cnnatomy.limits import MAX_AXES, MAX_ELEMENTS, MAX_FOLDED_TENSORS, MAX_VALUES

FLOAT = int(onnx.TensorProto.FLOAT)
REAL = {FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
"""Types of the tensors that may be learned."""


@dataclass(frozen=True)
class Known:
    """A tensor that does not depend on the input: its sizes, and its values if they are few and are numbers.

    Attributes:
        dims: all sizes.
        root: the tensor of the file that it is, or that of the node that computes it.
        value: an array, where it is small.
        learned: the tensors of the file that it is, or is computed from, and that may be learned: the file does not say
            which are, so all are that hold real numbers and are no constants in the middle of the graph.
        type: the number of its type, as ONNX has it.
        name: what nodes call it that read it.
        assumed: what its sizes or values rest on, as in `Graph.assumed`: those of a map whose size is not known.
    """

    dims: Shape
    root: str
    value: Any = None
    learned: tuple[tuple[str, Shape], ...] = ()
    type: int = FLOAT
    name: str = ""
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.dims) > MAX_AXES or elements(self.dims) > MAX_ELEMENTS:
            raise UserError(
                f"the tensor {quoted(self.root)} would have {len(self.dims):,} axes; "
                f"at most {MAX_AXES}, and 2^63 - 1 elements, are possible"
            )
        if len(self.learned) > MAX_FOLDED_TENSORS:
            raise UserError(
                f"the tensor {quoted(self.root)} is computed from more than {MAX_FOLDED_TENSORS:,} tensors of the file"
            )
        if self.value is not None and (self.value.size > MAX_VALUES or self.value.dtype.kind in "OSU"):
            object.__setattr__(self, "value", None)

    @property
    def number(self) -> float | None:
        """The value of a single number."""
        return float(self.value.reshape(-1)[0]) if self.value is not None and elements(self.dims) == 1 else None


class Batch(NamedTuple):
    """Where in a tensor its images lie: the axis, and how many elements of that axis come before them.

    `outer` is 1 unless other things were merged with them: of (time, image, feature) as (time x image, feature) it is
    the time.
    """

    axis: int
    outer: int = 1


FIRST = Batch(0)


@dataclass(frozen=True)
class Mapped:
    """A feature map, and the tensor that it is for one image: all its sizes, and where its images lie in it.

    `batch` is None where a tensor has the images no more, as after a sum over them.
    """

    map: FeatureMap
    dims: Shape
    batch: Batch | None = FIRST
    type: int = FLOAT

    @property
    def shape(self) -> Shape:
        """That of the feature map: for one image."""
        return self.map.shape

    @property
    def batched(self) -> bool:
        """Whether the first axis is the images, and the map has all others."""
        return self.batch == FIRST and len(self.shape) == len(self.dims) - 1


TensorValue = Known | Mapped


@dataclass(frozen=True)
class TensorList:
    """A sequence of tensors, as `SequenceConstruct` makes one, where it is known how many it has."""

    items: tuple[TensorValue, ...] = ()


OnnxValue = Known | Mapped | TensorList


def for_one(dims: Shape, batch: Batch | None, images: int) -> Shape:
    """The shape of a tensor for one of so many images; (1,) where nothing is left."""
    if batch is None:
        return dims or (1,)
    axis = batch.axis
    rest = dims[axis] // images
    return (*dims[:axis], *((rest,) if dims[axis] != images else ()), *dims[axis + 1 :]) or (1,)


def after_reshape(dims: Shape, batch: Batch | None, target: Shape, images: int) -> Batch | None:
    """Where the images lie when a tensor gets other sizes: as many elements come before them."""
    if batch is None:
        return None
    before = elements(dims[: batch.axis]) * batch.outer
    first: Batch | None = None
    outer = 1
    for axis, size in enumerate(target):
        # by themselves, or with what comes after them, as heads do; to fewer axes they go with what comes before
        if outer == before and size % images == 0 and (size == images or len(target) >= len(dims)):
            return Batch(axis)
        if first is None and before % outer == 0 and size % (before // outer * images) == 0:
            first = Batch(axis, before // outer)
        outer *= size
        if not 0 < outer <= before:
            break
    return first


def after_others(dims: Shape, maps: list[Mapped], images: int) -> Batch | None:
    """Where the images lie in the output of an operator of which only the sizes are known.

    As far from the end as in an input of another number of axes, at the same axis in one of the same number.
    """
    for x in maps:
        if x.batch is None:
            continue
        axis = x.batch.axis + len(dims) - len(x.dims)
        for at in dict.fromkeys((axis, 0)):
            if 0 <= at < len(dims) and dims[at] and dims[at] % images == 0:
                same = len(dims) == len(x.dims) and dims[at] == x.dims[x.batch.axis]
                if same or dims[at] == images:
                    return Batch(at, x.batch.outer if same else 1)
    return None
