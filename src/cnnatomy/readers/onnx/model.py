"""What is known of an ONNX model: its nodes, tensors, inputs and names, and what has been made of them so far."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import onnx
from onnx import numpy_helper

from cnnatomy.design.builder import Builder
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.errors import UserError, quoted, shown
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import Shape, elements
from cnnatomy.limits import MAX_AXES, MAX_FOLDED_VALUES, MAX_INPUT_SIZE, MAX_VALUES
from cnnatomy.readers.inputs import TYPES, AskedInput, assigned
from cnnatomy.readers.onnx.functions import names_in
from cnnatomy.readers.onnx.inference import reads, resolved
from cnnatomy.readers.onnx.values import FIRST, REAL, Batch, Known, Mapped, OnnxValue, for_one

STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a damaged model leads to: fields of the wrong type, names that are no text, attributes that are not there."""

WEIGHTS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "LayerNormalization", "InstanceNormalization"), (1, 2)),
    **dict.fromkeys(("GRU", "RNN", "GroupNormalization"), (1, 2, 3)),
    "BatchNormalization": (1, 2, 3, 4),
    "LSTM": (1, 2, 3, 7),
    "PRelu": (1,),
    "RMSNormalization": (1,),
}
"""Where operators read what is learned: an input of the file that only these read is a weight that it was given."""

TYPE_NAMES = {
    getattr(onnx.TensorProto, {"float32": "FLOAT", "float64": "DOUBLE"}.get(name, name.upper())): name for name in TYPES
}
"""What users call the types of inputs."""

TIME_FIRST = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
"""Operators that by default read the steps first, and the images on the second axis."""


Way = Literal[0, 1, "whole"]
"""On which axis the images of inputs are taken to be that do not say so; of the whole input there is one image."""


@dataclass
class ImagesSeen:
    """What nodes say of that axis: one has the images there, one mixes what lies along it, and where it is lost."""

    first: bool = False
    mixed: bool = False
    lost: dict[Node, str] = field(default_factory=dict)


class _Input(NamedTuple):
    dims: Shape
    type: int


class StoredTensor(NamedTuple):
    """What a tensor of a layer is in the file, and what is done to its values: `prepare` gets and gives an array."""

    known: Known
    prepare: Callable[[Any], Any] | None = None


class OnnxModel:
    """What is known of a model, whose tensors may be without values, before and while its nodes are read."""

    def __init__(self, proto: Any, input: AskedInput | None, way: Way = 0, number: int = 1) -> None:
        """`way` is where images lie in inputs that do not say so, `number` how many, where that is open."""
        self.proto, self.way, self.number = proto, way, number
        self.images_seen = ImagesSeen()
        self.doubtful: dict[str, Shape] = {}  # inputs of which only custom says where their images lie
        self.opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
        if self.opset < 1:
            raise UserError(f"its operators are of version {self.opset}; versions begin with 1")
        self.nodes = list(proto.graph.node)
        self.readers: dict[str, list[Any]] = defaultdict(list)
        self.env: dict[str, OnnxValue] = {}
        self.stored: set[str] = set()  # tensors that are in the file
        self.graphs: list[Any] = []  # the whole one, and the branches that are read in its place
        self.named: set[str] = set()  # the tensors of those
        self.initialise(proto.graph)
        self.sizes: dict[str, int] = {}  # names of open sizes, and what they are
        inputs = self._inputs(input)
        self.images = next((info.dims[batch.axis] for info, batch in inputs.values() if batch), 1)
        self.declared = {} if self.resized else self._declared()
        self.outputs = {output.name for output in proto.graph.output}
        self.foldable = MAX_FOLDED_VALUES  # elements that may still be computed
        self.owned: set[str] = set()
        self.merged: set[int] = set()  # nodes that are part of another, such as the addition of a bias
        self.scales: set[str] = set()  # of maps that are quantised as the network runs
        self.bodies: dict[tuple[int, str], Any] = {}  # graphs in nodes, by node and attribute, once they were read
        self.taken: dict[str, set[str]] = defaultdict(set)  # what outputs of If nodes are in branches
        self.unrolled = 0  # nodes of such graphs, as often as they were read
        self.intervals: dict[FeatureMap, Interval] = {}  # as far as they were asked for
        self.sources: dict[Node, dict[str, StoredTensor]] = {}
        self.integers: dict[int, Node] = {}  # id of a node of the file -> the product of integers that it makes real
        self.resting: dict[FeatureMap, tuple[str, ...]] = {}  # maps whose sizes rest on what was assumed, and on what
        self.paths = self.name_nodes(self.nodes)
        found = {name: (dims, self._shared(name, dims, batch), kind) for name, ((dims, kind), batch) in inputs.items()}
        self.builder = Builder([for_one(dims, batch, self.images) for dims, batch, _ in found.values()])
        for (name, (dims, batch, kind)), x in zip(found.items(), self.builder.graph.inputs, strict=True):
            self.env[name] = Mapped(x, dims, batch, kind)

    def initialise(self, graph: Any) -> None:
        """Takes over the tensors of a graph, and who reads which."""
        self.graphs.append(graph)
        self.named.update(names_in(graph))
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        for tensor in graph.initializer:
            self.env[tensor.name] = self.constant(tensor, tensor.name, tensor.data_type in REAL)
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            self.env[name] = Known(tuple(sparse.dims), name, type=sparse.values.data_type, name=name)

    def constant(self, tensor: Any, root: str, learned: bool = False) -> Known:
        """A tensor of the file, with its values if they are few and in the file; `learned` if it may be."""
        dims, value = tuple(tensor.dims), None
        self.stored.add(root)
        numbers = tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.data_type != onnx.TensorProto.STRING
        if numbers and elements(dims) <= MAX_VALUES:
            try:
                value = numpy_helper.to_array(tensor)
            except (*STRANGE, RuntimeError) as error:
                raise UserError(f"the tensor {quoted(tensor.name)} is damaged: {shown(error)}") from None
        return Known(dims, root, value, ((root, dims),) if learned else (), tensor.data_type, root)

    def _inputs(self, input: AskedInput | None) -> dict[str, tuple[_Input, Batch | None]]:
        """The inputs that some node reads, with all sizes, and where their images are."""
        names = set(reads(self.proto.graph))
        read = [info for info in self.proto.graph.input if info.name not in self.env and info.name in names]
        weights = [self._is_weight(info) for info in read[1:]]
        if any(weights):
            weights = [found or self._is_weight(info, True) for found, info in zip(weights, read[1:], strict=True)]
        for info, is_weight in zip(read, [False, *weights], strict=False):
            if is_weight:
                dims = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
                kind = info.type.tensor_type.elem_type
                learned = ((info.name, dims),) if kind in REAL else ()
                self.env[info.name] = Known(dims, info.name, learned=learned, type=kind, name=info.name)
            elif _is_empty(info):
                self.env[info.name] = Known((0,), info.name, type=info.type.tensor_type.elem_type, name=info.name)
        found: dict[str, tuple[_Input, Batch | None]] = {}
        self.resized = False
        free = [info for info in read if info.name not in self.env]
        asked = assigned(input, {info.name: self._axes(info) for info in free}, dict(map(_typed, free)))
        for info in free:
            dims = info.type.tensor_type.shape.dim
            if not info.type.HasField("tensor_type"):
                raise UserError(
                    f"the input {quoted(info.name)} is no tensor but a sequence, or may be missing: what is in it "
                    "is not known before it runs; export the network with tensors as inputs"
                )
            if len(dims) > MAX_AXES:
                raise UserError(
                    f"the input {quoted(info.name)} has {len(dims):,} axes; at most {MAX_AXES} are possible"
                )
            batch = self._batch(info)
            sizes = [d.dim_value if d.HasField("dim_value") else self.sizes.get(d.dim_param, 0) for d in dims]
            if info.name in asked:
                batch, sizes = self._given(info, batch, asked[info.name].shape)
            if batch and sizes[batch.axis] < 1:  # open
                sizes[batch.axis] = self.number
            said = info.name in asked or info.type.tensor_type.HasField("shape")
            if not said or min(sizes, default=1) < 1 or max(sizes, default=1) > MAX_INPUT_SIZE:
                example = ("" if len(free) == 1 else f"{info.name}:") + _example(sizes, batch)
                raise UserError(f"the input {quoted(info.name)} has no fixed size; give --input, as in {example}")
            self.sizes |= {d.dim_param: n for d, n in zip(dims, sizes, strict=False) if d.dim_param}
            found[info.name] = _Input(tuple(sizes), info.type.tensor_type.elem_type), batch
            if len(dims) > 1 and not (dims[0].HasField("dim_value") and dims[0].dim_value == 1):
                self.doubtful[info.name] = tuple(sizes)
        if not found:
            raise UserError("no node of it reads an input")
        if any(self._named_batch(info) is not None for info in free):
            self.doubtful.clear()
        return found

    def _axes(self, info: Any) -> int | None:
        """How many axes an input has without that of its images; None where the file does not say."""
        kind = info.type.tensor_type
        return len(kind.shape.dim) - (self._batch(info) is not None) if kind.HasField("shape") else None

    def _given(self, info: Any, batch: Batch | None, shape: Shape) -> tuple[Batch | None, list[int]]:
        """Where the images of an input are for which a shape for one image is given, and all its sizes."""
        kind = info.type.tensor_type
        if not kind.HasField("shape"):
            batch = FIRST
        old = [d.dim_value for d in kind.shape.dim]
        new = list(shape)
        if batch is not None:
            new.insert(batch.axis, old[batch.axis] if old else 1)
        self.resized |= any(o > 0 and o != n for o, n in zip(old, new, strict=False))
        return batch, new

    def _shared(self, name: str, dims: Shape, batch: Batch | None) -> Batch | None:
        """Where the images of all inputs lie in one of these sizes; None where it has not as many."""
        places = [batch, FIRST] if name in self.doubtful else [batch]
        return next((one for one in places if batch and one and dims[one.axis] == self.images), None)

    def _batch(self, info: Any) -> Batch | None:
        """The axis of an input on which its images are: one that the file tells, else by custom the first."""
        named = self._named_batch(info)
        if named is not None:
            return named
        axes = len(info.type.tensor_type.shape.dim)
        if axes < 2 or self.way == "whole":
            return None
        return Batch(self.way if axes > 2 else 0)

    def _named_batch(self, info: Any) -> Batch | None:
        """The axis that is called so, or the second of what a recurrent layer reads; None where neither tells."""
        name, dims = info.name, info.type.tensor_type.shape.dim
        if len(dims) > 2 and any(
            node.op_type in TIME_FIRST
            and node.input[0] == name
            and not any(a.name == "layout" and a.i for a in node.attribute)
            for node in self.readers[name]
        ):
            return Batch(1)
        called = next((axis for axis, d in enumerate(dims) if "batch" in d.dim_param.lower()), None)
        if called is None and dims and dims[0].dim_param in ("N", "B"):
            called = 0
        return None if called is None or len(dims) < 2 else Batch(called)

    def _is_weight(self, info: Any, among_weights: bool = False) -> bool:
        """Whether an input of the file is a weight: its sizes are fixed and all that read it read it as one.

        `among_weights` says that others are: then a matrix that is only multiplied with, and a vector that is only
        added or multiplied with, are, too.
        """
        dims = info.type.tensor_type.shape.dim
        places = [
            i in WEIGHTS.get(node.op_type, ()) or (among_weights and _may_be_weight(node, i, dims, self.readers))
            for node in self.readers[info.name]
            for i, name in enumerate(node.input)
            if name == info.name
        ]
        return bool(places) and all(places) and all(d.dim_value > 0 for d in dims)

    def _declared(self) -> dict[str, Shape]:
        """The sizes of tensors that the file says, all of them."""
        infos = [*self.proto.graph.value_info, *self.proto.graph.output]
        found = {info.name: resolved(info, self.sizes) for info in infos}
        return {name: dims for name, dims in found.items() if dims is not None}

    def resting_on(self, maps: Iterable[FeatureMap]) -> tuple[str, ...]:
        """What the sizes of some maps rest on that only running the network can tell."""
        if not self.resting:
            return ()
        return tuple(dict.fromkeys(what for x in maps for what in self.resting.get(x, ())))

    def interval(self, x: FeatureMap) -> Interval:
        """Bounds of a map, whatever the weights and inputs are."""
        for node in self.builder.graph.nodes[len(self.intervals) :]:
            bounds = [self.intervals.get(one, Interval()) for one in node.inputs]
            self.intervals[node.output] = node.layer.interval(*bounds)
        return self.intervals.get(x, Interval())

    def value(self, made: FeatureMap, like: Mapped, kind: int) -> Mapped:
        """What a layer of ours made of a map: its images are where they were."""
        if like.batched:
            return Mapped(made, (self.images, *made.shape), FIRST, kind)
        if made.shape == like.shape:
            return Mapped(made, like.dims, like.batch, kind)
        if like.batch is None:
            return Mapped(made, made.shape, None, kind)
        raise ValueError(f"a map of {like.dims} became one of {made.shape}")

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


def _typed(info: Any) -> tuple[str, str]:
    """The name of an input, and its type as users write it."""
    kind = info.type.tensor_type.elem_type
    return info.name, TYPE_NAMES.get(kind, "")


def _may_be_weight(node: Any, place: int, dims: Any, readers: Mapping[str, list[Any]]) -> bool:
    """Whether an operator that also reads two maps may read a weight of these sizes at a place."""
    if sum(d.dim_value > 1 for d in dims) < 2:
        return node.op_type in ("Add", "Mul")
    if len(dims) == 2 and node.op_type == "Transpose":
        after = readers[node.output[0]]
        return bool(after) and all(r.op_type == "MatMul" and r.input[1] == node.output[0] for r in after)
    return len(dims) == 2 and node.op_type == "MatMul" and place == 1


def _example(sizes: list[int], batch: Batch | None) -> str:
    """What may be asked of an input with open sizes, for one image."""
    rest = [n for axis, n in enumerate(sizes) if batch is None or axis != batch.axis]
    usual = [3, 224, 224] if len(rest) == 3 else [224] * len(rest)
    return "x".join(str(n if n > 0 else one) for n, one in zip(rest, usual, strict=True))


def _is_empty(info: Any) -> bool:
    """Whether an input has one axis and no elements: it is known, as nothing can be put in."""
    dims = info.type.tensor_type.shape.dim
    return len(dims) == 1 and dims[0].HasField("dim_value") and dims[0].dim_value == 0


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
