"""A node of an ONNX model, with what is known of its inputs: what the rules for operators work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx

from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, printable, quoted
from cnnatomy.layers import Derived, Flatten, Foreign
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT, Layer, Operations, Shape, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.limits import MAX_AXES
from cnnatomy.readers.onnx.checks import node_text
from cnnatomy.readers.onnx.inference import Inferred, infer
from cnnatomy.readers.onnx.model import OnnxModel, StoredTensor
from cnnatomy.readers.onnx.values import FLOAT, Batch, Known, Mapped, TensorList, TensorValue, after_others, for_one

OnnxResult = FeatureMap | Mapped | Known | TensorList | Sequence[FeatureMap | Mapped | Known | TensorList | None]
"""What a rule gives for the outputs of a node: a layer's map, whose images are where they were, or with its sizes."""


class NodeCall:
    """A node of the file: its attributes and inputs, and how to add nodes of ours for it."""

    def __init__(self, node: Any, inputs: Sequence[TensorValue | None], model: OnnxModel) -> None:
        self.node, self.inputs, self.model = node, inputs, model
        self.op = printable(node.op_type)  # as tables may print it
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        empty = next((name for name, got in self.attributes.items() if got is None), None)
        if empty is not None:
            raise self.refusal(f"the attribute {printable(empty)} has no value")
        self.maps = [value for value in inputs if isinstance(value, Mapped)]
        self._assumed: list[str] = []

    @property
    def x(self) -> Mapped:
        """The first feature map."""
        return self.maps[0]

    def known(self, position: int) -> Known | None:
        """The input at a position, where it is known."""
        value = self.inputs[position] if position < len(self.inputs) else None
        return value if isinstance(value, Known) else None

    @property
    def computable(self) -> bool:
        """Whether all inputs are known, with their values."""
        return all(value is None or getattr(value, "value", None) is not None for value in self.inputs)

    def given(self, position: int) -> bool:
        """Whether there is an input at a position."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def needed(self, position: int) -> TensorValue:
        """The input at a position, which must be there."""
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is None:
            raise self.refusal(f"its input {position + 1} is missing")
        return value

    def output(self, position: int) -> str:
        """The name of an output that some node, or the network, gives out; else empty."""
        name = self.node.output[position] if position < len(self.node.output) else ""
        return name if name and (self.model.readers[name] or name in self.model.outputs) else ""

    def number(self, name: str, default: float, position: int | None = None) -> float:
        """A number from an attribute, or in later versions of ONNX from an input."""
        known = self.known(position) if position is not None else None
        if known is not None and known.number is not None:
            return known.number
        return float(self.attributes.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        """A text attribute."""
        got = self.attributes.get(name, default)
        return got.decode("utf-8", "replace") if isinstance(got, bytes) else str(got)

    def integers(self, name: str, position: int | None = None, most: int = 2 * MAX_AXES) -> tuple[int, ...] | None:
        """Integers from an attribute, or in later versions of ONNX from an input.

        Raises:
            UserError: if they are more than `most`: a number for each axis, or two.
        """
        known = self.known(position) if position is not None else None
        if known is not None and known.value is not None:
            found = np.ravel(known.value)
        elif name in self.attributes:
            found = self.attributes[name]
        else:
            return None
        if len(found) > most:
            raise self.refusal(
                f"{name or self.node.input[position or 0]} has {len(found):,} numbers; at most {most} make sense"
            )
        return tuple(int(n) for n in found)

    def groups(self, channels: int) -> int:
        """The attribute `group`, which divides a number of channels."""
        groups = self.integer("group", 1)
        if groups < 1 or channels % groups:
            raise self.refusal(f"group is {groups}; a number that divides {channels} channels is needed")
        return groups

    def refusal(self, what: str) -> UserError:
        """What is wrong with the node, with its name."""
        return UserError(f"{node_text(self.node)}: {what}")

    def inferred(self, name: str) -> Shape | None:
        """All sizes of an output, as onnx infers them or else the file declares them; None where neither does."""
        found = self._of_onnx.get(name)
        return found.dims if found else self.model.declared.get(name)

    @cached_property
    def _of_onnx(self) -> dict[str, Inferred]:
        return infer(self.node, self._sized, self.model.proto.opset_import)

    def _sized(self, name: str) -> tuple[Shape, int, Any] | None:
        """The sizes of a tensor, its type, and its values where they are known."""
        value = self.model.env.get(name)
        if value is None or isinstance(value, TensorList):
            return None
        return (value.dims, value.type, getattr(value, "value", None))

    def sizes_of(self, output: int) -> Shape:
        """All sizes of an output.

        Raises:
            UserError: if neither onnx nor the file says them: nothing is guessed.
        """
        dims = self.inferred(self.node.output[output])
        if dims is None:
            raise self.refusal(
                f"the sizes of its output {quoted(self.node.output[output])} are not known: there is no rule for this"
                " operator that gives them, onnx infers none, and the file says none. Write them into the file"
                " (`value_info` of its graph, by onnx.helper.make_tensor_value_info)"
            )
        return dims

    def type_of(self, output: int = 0) -> int:
        """The number of the type of an output: that of the first map, unless the operator makes another."""
        if self.op == "Cast":
            return self.integer("to", FLOAT)
        if self.op == "CastLike" and len(self.inputs) > 1 and self.inputs[1] is not None:
            return self.inputs[1].type
        if self.op in TYPES:
            return TYPES[self.op]
        found = self._of_onnx.get(self.node.output[output]) if "_of_onnx" in self.__dict__ else None
        first = self.maps[0] if self.maps else self.known(0)
        return found.type if found and found.type else first.type if first else FLOAT

    def axis(self, axis: int, value: Mapped) -> int:
        """An axis of the shape for one image, from 0; -1 for that of the images."""
        axis = self.axis_of(axis, len(value.dims))
        batch = value.batch
        if batch is None or value.dims[batch.axis] != self.model.images:
            return axis
        return -1 if axis == batch.axis else axis - (axis > batch.axis)

    def along(self, axis: int, value: Mapped) -> int:
        """An axis of the shape for one image that is all of that axis of the tensor; -1 where images are in it."""
        at = self.axis_of(axis, len(value.dims))
        return -1 if value.batch is not None and value.batch.axis == at else self.axis(at, value)

    def shape_of(self, dims: Shape, batch: Batch | None) -> Shape:
        """The shape for one image of a tensor of these sizes."""
        return for_one(dims, batch, self.model.images)

    def batch_of(self, dims: Shape) -> Batch | None:
        """Where the images most likely lie in an output of these sizes."""
        return after_others(dims, self.maps, self.model.images)

    def axis_of(self, axis: int, rank: int) -> int:
        """An axis from 0; negative ones count from the end.

        Raises:
            UserError: if there is no such axis.
        """
        if not -rank <= axis < rank:
            raise self.refusal(f"there is no axis {axis} in a tensor with {rank} axes")
        return axis % rank

    def put(
        self,
        layer: Layer,
        *inputs: FeatureMap,
        part: str = "",
        tensors: Mapping[str, Known | StoredTensor | None] | None = None,
    ) -> FeatureMap:
        """Adds a node, by default on all feature maps. `tensors` are those of the file that the layer's own are.

        Where they are computed from several, or from one of another size, the layer is `Derived` from those.
        """
        model, derived = self.model, False
        found = {
            name: one if isinstance(one, StoredTensor) else StoredTensor(one)
            for name, one in (tensors or {}).items()
            if one is not None
        }
        read: dict[str, tuple[str, Shape]] = {}
        for name, (known, _) in found.items():
            tensors_read = known.learned or ((known.root, known.dims),)
            derived = derived or len(tensors_read) > 1 or elements(tensors_read[0][1]) != elements(known.dims)
            read |= {f"{name}_{i}" if i else name: tensor for i, tensor in enumerate(tensors_read)}
        shared = {name for name, (root, _) in read.items() if root in model.owned}
        model.owned |= {root for root, _ in read.values()}
        if derived and not isinstance(layer, (Foreign, NotCounted)):
            layer = Derived(layer, tuple((name, dims) for name, (_, dims) in read.items()))
        path = model.path(self.node)
        if part:
            path = (*path[:-1], f"{path[-1]}_{part}")
        read_maps = inputs or [m.map for m in self.maps]
        before, assumed = model.resting_on(read_maps), self.assumed
        made = model.builder.put(layer, read_maps, path, frozenset(shared), assumed)
        if before or assumed:
            model.resting[made] = tuple(dict.fromkeys((*before, *assumed)))
        if found and made.node is not None:
            model.sources[made.node] = found
        return made

    def assume(self, what: str) -> None:
        """What the sizes of the outputs are taken to be: "at most 10 boxes", where only running can tell."""
        self._assumed.append(f"{what} ({printable(self.node.name or self.node.output[0])})")

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the sizes of the outputs rest on by this node itself, and by what is known that it reads."""
        known = [what for k in self.inputs if isinstance(k, Known) and k.assumed for what in k.assumed]
        return tuple(dict.fromkeys((*known, *self._assumed))) if known or self._assumed else ()

    def foreign(
        self,
        dims: Shape,
        costs: Operations = NO_OPERATIONS,
        mixes: str = REARRANGEMENT,
        *inputs: FeatureMap,
        batch: Batch | Literal["found"] | None = "found",
        learns: bool = True,
        output: int = 0,
        tensors: Mapping[str, Known | StoredTensor | None] | None = None,
        part: str = "",
    ) -> Mapped | Known:
        """Adds a node that is none of our layers: its output has these sizes, and one image costs so much.

        `tensors` are those of the file that it learns, by name; where none are named, `learns` says that all known
        tensors that it reads may be learned. An empty tensor is no map: it is known.
        """
        if 0 in dims:
            return self.empty(dims, output)
        where = self.batch_of(dims) if batch == "found" else batch
        if tensors is None:
            tensors = self.learned() if learns else {}
        named = tuple((name, stored_dims(known)) for name, known in tensors.items() if known is not None)
        layer = Foreign(self.op, self.shape_of(dims, where), costs, mixes, named)
        part = part or (f"output{output + 1}" if output else "")
        return Mapped(self.put(layer, *inputs, part=part, tensors=tensors), dims, where, self.type_of(output))

    def empty(self, dims: Shape, output: int = 0) -> Known:
        """A tensor without elements."""
        kind = self.type_of(output)
        value = np.zeros(dims, onnx.helper.tensor_dtype_to_np_dtype(kind))
        return Known(dims, self.node.output[output], value, type=kind)

    def put_flat(self, x: FeatureMap) -> FeatureMap:
        """Adds a node that makes a vector of a map."""
        return self.put(Flatten(), x, part="flatten")

    def learned(self) -> dict[str, Known]:
        """The tensors that may be learned from which what this node reads is made; single numbers are options."""
        found = [self.known(i) for i in range(len(self.inputs))]
        tensors = dict(tensor for known in found if known is not None for tensor in known.learned)
        large = [(root, dims) for root, dims in tensors.items() if elements(dims) > 1]
        return {f"input{i}": Known(dims, root) for i, (root, dims) in enumerate(large, 1)}

    def unknown(self, learns: bool = True) -> list[Mapped | Known | None]:
        """Keeps the node as not counted, with the sizes that onnx infers or the file says.

        `learns` says that the tensors that it reads may be learned.

        Raises:
            UserError: if the sizes of an output are not known.
        """
        outputs: list[Mapped | Known | None] = []
        for i, name in enumerate(self.node.output):
            if not name or (i and not self.output(i)):
                outputs.append(None)
                continue
            dims = self.sizes_of(i)
            if 0 in dims:
                outputs.append(self.empty(dims, i))
                continue
            batch = self.batch_of(dims)
            tensors = {} if any(outputs) or not learns else self.learned()
            named = tuple((key, known.dims) for key, known in tensors.items())
            layer = NotCounted(self.op, self.shape_of(dims, batch), named)
            made = self.put(layer, part=f"output{i + 1}" if i else "", tensors=tensors)
            outputs.append(Mapped(made, dims, batch, self.type_of(i)))
        return outputs


def stored_dims(tensor: Known | StoredTensor) -> Shape:
    """The sizes of a tensor of the file that a layer reads."""
    return tensor.dims if isinstance(tensor, Known) else tensor.known.dims


TYPES: dict[str, int] = {
    **dict.fromkeys(
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"),
        int(onnx.TensorProto.BOOL),
    ),
    **dict.fromkeys(("Shape", "Size", "NonZero", "ArgMax", "ArgMin"), int(onnx.TensorProto.INT64)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), int(onnx.TensorProto.INT32)),
}
"""Types of the outputs of operators that make others than they read."""
