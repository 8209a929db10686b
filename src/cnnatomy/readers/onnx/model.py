"""What is known of an ONNX model: its nodes, tensors, inputs and names, and what has been made of them so far.

A tensor is either `Known`, which no input changes, or `Mapped`, a feature map. The batch is the first axis of a map; a
map that has lost it, as where windows are cut out and stacked, says so.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import onnx
from onnx import numpy_helper

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import FeatureMap
from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.layers.layer import Shape, elements
from cnnatomy.limits import MAX_AXES, MAX_ELEMENTS, MAX_FOLDED_TENSORS, MAX_FOLDED_VALUES, MAX_INPUT_SIZE, MAX_VALUES
from cnnatomy.readers.onnx.inference import reads, sizes

REAL = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
"""Types of the tensors that may be learned."""

STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a damaged model leads to: fields of the wrong type, names that are no text, attributes that are not there."""


@dataclass(frozen=True)
class Known:
    """A tensor that does not depend on the input: its sizes, its name, its values if they are few and are numbers.

    `learned` are the tensors of the file that it is, or is computed from, and that may be learned: the file does not
    say which are, so all are that hold real numbers and are no constants in the middle of the graph.
    """

    dims: Shape
    root: str
    value: Any = None
    learned: tuple[tuple[str, Shape], ...] = ()

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


@dataclass(frozen=True)
class Mapped:
    """A feature map; `batched` unless its first axis is one of its own."""

    map: FeatureMap
    batched: bool = True

    @property
    def shape(self) -> Shape:
        """Without the batch."""
        return self.map.shape


TensorValue = Known | Mapped


class OnnxModel:
    """What is known of a model, whose tensors may be without values, before and while its nodes are read."""

    def __init__(self, proto: Any, input: Shape | None) -> None:
        self.proto = proto
        self.opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
        if self.opset < 1:
            raise UserError(f"its operators are of version {self.opset}; versions begin with 1")
        self.nodes = list(proto.graph.node)
        self.readers: dict[str, list[Any]] = defaultdict(list)
        self.env: dict[str, TensorValue] = {}
        self.initialise(proto.graph)
        inputs = self._inputs(input)
        self.batch = next((dims[0] for dims in inputs.values() if len(dims) > 1), 1)
        infos = [*proto.graph.value_info, *proto.graph.output]
        self.declared = {} if input is not None else {info.name: dims for info in infos if (dims := sizes(info))}
        self.outputs = {output.name for output in proto.graph.output}
        self.foldable = MAX_FOLDED_VALUES  # elements that may still be computed
        self.owned: set[str] = set()
        self.merged: set[int] = set()  # nodes that are part of another, such as the addition of a bias
        self.paths = self.name_nodes(self.nodes)
        shapes = [dims[1:] if len(dims) > 1 else dims for dims in inputs.values()]
        self.builder = Builder(shapes)
        for (name, dims), x in zip(inputs.items(), self.builder.graph.inputs, strict=True):
            self.env[name] = Mapped(x, len(dims) > 1)

    def initialise(self, graph: Any) -> None:
        """Takes over the tensors of a graph, and who reads which."""
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        for tensor in graph.initializer:
            known = self.constant(tensor, tensor.name)
            learned = ((tensor.name, known.dims),) if tensor.data_type in REAL else ()
            self.env[tensor.name] = replace(known, learned=learned)
        for sparse in graph.sparse_initializer:
            self.env[sparse.values.name] = Known(tuple(sparse.dims), sparse.values.name)

    def constant(self, tensor: Any, root: str) -> Known:
        """A tensor of the file, with its values if they are few and in the file."""
        dims, value = tuple(tensor.dims), None
        numbers = tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.data_type != onnx.TensorProto.STRING
        if numbers and elements(dims) <= MAX_VALUES:
            try:
                value = numpy_helper.to_array(tensor)
            except (*STRANGE, RuntimeError) as error:
                raise UserError(f"the tensor {quoted(tensor.name)} is damaged: {shown(error)}") from None
        return Known(dims, root, value)

    def _inputs(self, input: Shape | None) -> dict[str, Shape]:
        """The inputs that some node reads, with all sizes."""
        names = set(reads(self.proto.graph))
        read = [info for info in self.proto.graph.input if info.name not in self.env and info.name in names]
        found: dict[str, Shape] = {}
        for i, info in enumerate(read):
            dims = info.type.tensor_type.shape.dim
            if len(dims) > MAX_AXES:
                raise UserError(
                    f"the input {quoted(info.name)} has {len(dims):,} axes; at most {MAX_AXES} are possible"
                )
            sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in dims]
            if input is not None and not i:
                sizes = [(sizes or [1])[0], *input]
            if sizes and sizes[0] < 1:  # the batch is open
                sizes[0] = 1
            if not sizes or min(sizes) < 1 or max(sizes) > MAX_INPUT_SIZE:
                raise UserError(f"the input {quoted(info.name)} has no fixed size; give --input, as in 3x224x224")
            found[info.name] = tuple(sizes)
        if not found:
            raise UserError("no node of it reads an input")
        return found

    def name_nodes(self, nodes: list[Any]) -> dict[int, tuple[str, ...]]:
        named = [(node, _path(node)) for node in nodes]
        alike = Counter(path[:-1] for node, path in named if node.op_type != "Constant")
        return {  # `layer1.conv1.Conv`, alone in `layer1.conv1`, is that
            id(node): path[:-1] if len(path) > 1 and alike[path[:-1]] == 1 and _is_type(path[-1], node) else path
            for node, path in named
        }

    def path(self, node: Any) -> tuple[str, ...]:
        """The path of a node by its name."""
        return self.paths[id(node)]

    def only_reader(self, name: str) -> Any:
        """The one node that reads a tensor, or None."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def _is_type(part: str, node: Any) -> bool:
    return part.rstrip("0123456789").rstrip("_") == str(node.op_type)


def _path(node: Any) -> tuple[str, ...]:
    """`/layer1/layer1.0/conv1/Conv` is layer1, 0, conv1, Conv; nodes without a name have that of their output."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":  # torch's newer exporter
            try:
                scopes = [str(scope) for scope in ast.literal_eval(entry.value)]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                break
            return (
                (*(part for part in scopes[-2].split(".") if part), node.op_type) if len(scopes) > 1 else (scopes[0],)
            )
    name = node.name or next(iter(node.output), "") or node.op_type
    path: list[str] = []
    before = ""
    for part in name.split("/"):
        if part:
            path.append(part.removeprefix(before + ".") if before else part)
            before = part
    return tuple(path) or (node.op_type,)
