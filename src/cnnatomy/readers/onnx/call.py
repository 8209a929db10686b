"""A node of an ONNX model, with what is known of its inputs: what the rules for operators work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, printable
from cnnatomy.layers import Derived, Flatten, Foreign
from cnnatomy.layers.layer import Layer, Shape, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.limits import MAX_AXES
from cnnatomy.readers.onnx.checks import node_text
from cnnatomy.readers.onnx.inference import infer
from cnnatomy.readers.onnx.model import Known, Mapped, OnnxModel, TensorValue


class NodeCall:
    """A node of the file: its attributes and inputs, and how to add nodes of ours for it."""

    def __init__(self, node: Any, inputs: Sequence[TensorValue | None], model: OnnxModel) -> None:
        self.node, self.inputs, self.model = node, inputs, model
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        empty = next((name for name, got in self.attributes.items() if got is None), None)
        if empty is not None:
            raise self.refusal(f"the attribute {printable(empty)} has no value")
        self._inferred: dict[str, Shape] | None = None
        self.maps = [value for value in inputs if isinstance(value, Mapped)]

    @property
    def op(self) -> str:
        """The type of the node, as tables may print it."""
        return printable(self.node.op_type)

    @property
    def x(self) -> Mapped:
        """The first feature map."""
        return self.maps[0]

    def known(self, position: int) -> Known | None:
        """The input at a position, where it is known."""
        value = self.inputs[position] if position < len(self.inputs) else None
        return value if isinstance(value, Known) else None

    def given(self, position: int) -> bool:
        """Whether there is an input at a position."""
        return position < len(self.inputs) and self.inputs[position] is not None

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
        if self._inferred is None:
            self._inferred = infer(self.node, self._sized, self.model.proto.opset_import)
        return self._inferred.get(name) or self.model.declared.get(name)

    def _sized(self, name: str) -> tuple[Shape, Any] | None:
        """The sizes of a tensor, and its values where they are known."""
        value = self.model.env.get(name)
        return None if value is None else (self.dims(value), getattr(value, "value", None))

    def dims(self, value: TensorValue) -> Shape:
        """All sizes of a tensor, the batch too."""
        if isinstance(value, Known):
            return value.dims
        batch = self.model.batch
        return (batch, *value.shape) if value.batched else (batch * value.shape[0], *value.shape[1:])

    def without_batch(self, dims: Shape) -> tuple[Shape, bool]:
        """The shape for one image, and whether the first of the sizes was the batch."""
        batch = self.model.batch
        if dims and dims[0] == batch:
            return dims[1:] or (1,), True
        if dims and dims[0] % batch == 0:
            return (dims[0] // batch, *dims[1:]), False
        return dims or (1,), False

    def axis(self, axis: int, value: Mapped) -> int:
        """An axis of the shape, from 0; -1 for the batch."""
        axis = self.axis_of(axis, len(self.dims(value)))
        return axis - 1 if value.batched else axis

    def axis_of(self, axis: int, rank: int) -> int:
        """An axis from 0; negative ones count from the end.

        Raises:
            UserError: if there is no such axis.
        """
        if not -rank <= axis < rank:
            raise self.refusal(f"there is no axis {axis} in a tensor with {rank} axes")
        return axis % rank

    def put(
        self, layer: Layer, *inputs: FeatureMap, part: str = "", tensors: Mapping[str, Known | None] | None = None
    ) -> FeatureMap:
        """Adds a node, by default on all feature maps. `tensors` are those of the file that the layer's own are.

        Where they are computed from several, or from one of another size, the layer is `Derived` from those.
        """
        owned, derived = self.model.owned, False
        sources: dict[str, tuple[str, Shape]] = {}
        for name, known in (tensors or {}).items():
            if known is None:
                continue
            tensors_read = known.learned or ((known.root, known.dims),)
            derived = derived or len(tensors_read) > 1 or elements(tensors_read[0][1]) != elements(known.dims)
            sources |= {f"{name}_{i}" if i else name: tensor for i, tensor in enumerate(tensors_read)}
        shared = {name for name, (root, _) in sources.items() if root in owned}
        owned |= {root for root, _ in sources.values()}
        if derived and not isinstance(layer, (Foreign, NotCounted)):
            layer = Derived(layer, tuple((name, dims) for name, (_, dims) in sources.items()))
        path = self.model.path(self.node)
        if part:
            path = (*path[:-1], f"{path[-1]}_{part}")
        return self.model.builder.put(layer, inputs or [m.map for m in self.maps], path, frozenset(shared))

    def put_flat(self, x: FeatureMap) -> FeatureMap:
        """Adds a node that makes a vector of a map."""
        return self.put(Flatten(), x, part="flatten")

    def learned(self) -> dict[str, Known]:
        """The tensors that may be learned from which what this node reads is made; single numbers are options."""
        found = [self.known(i) for i in range(len(self.inputs))]
        tensors = dict(tensor for known in found if known is not None for tensor in known.learned)
        large = [(root, dims) for root, dims in tensors.items() if elements(dims) > 1]
        return {f"input{i}": Known(dims, root) for i, (root, dims) in enumerate(large, 1)}

    def unknown(self, learns: bool = True) -> list[Mapped]:
        """Keeps the node as not counted. The shapes of its outputs are those that onnx infers, or that of its input.

        `learns` says that the tensors that it reads may be learned.
        """
        outputs = []
        for i, name in enumerate(self.node.output):
            inferred = self.inferred(name)
            shape, batched = self.without_batch(inferred) if inferred else (self.x.shape, self.x.batched)
            tensors = {} if i or not learns else self.learned()
            layer = NotCounted(self.op, shape, tuple((key, known.dims) for key, known in tensors.items()))
            outputs.append(Mapped(self.put(layer, part=f"output{i + 1}" if i else "", tensors=tensors), batched))
        return outputs
