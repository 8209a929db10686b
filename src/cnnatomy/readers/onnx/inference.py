"""The shapes that onnx infers for one node from what is known of its inputs.

Of one node, not of the whole model: sizes that are computed on the way are known here as numbers, and onnx's own
following of them has no bounds.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_AXES, MAX_NAME_LENGTH
from cnnatomy.readers.onnx.functions import graphs_of

_MAX_WORK = 2_000_000
"""Nodes in the graphs of a node, times its bytes: onnx may keep a list of sizes for each of them."""


class Inferred(NamedTuple):
    """All sizes of an output, and the number of its type (0 where onnx does not say)."""

    dims: Shape
    type: int


def infer(
    node: Any, known: Callable[[str], tuple[Shape, int, Any] | None], imports: Iterable[Any]
) -> dict[str, Inferred]:
    """The outputs whose sizes follow; `known` gives the sizes of a tensor, its type, and its values or None."""
    graphs = list(graphs_of(node))
    if sum(map(_nodes, graphs)) * node.ByteSize() > _MAX_WORK:
        return {}
    infos, tensors = [], []
    try:
        for name in dict.fromkeys([*node.input, *(name for graph in graphs for name in reads(graph))]):
            found = known(name)
            if found is None:
                continue
            dims, kind, value = found
            if value is not None and value.size <= 2 * MAX_AXES:
                tensors.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(dims), name))
            else:
                infos.append(helper.make_tensor_value_info(name, kind, dims))
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "one", infos, outputs, tensors)
        model = helper.make_model(graph, opset_imports=list(imports), ir_version=8)
        inferred = shape_inference.infer_shapes(model).graph.output
    except Exception:  # whatever a strange node makes of it
        return {}
    found_sizes = {info.name: (resolved(info, {}), info.type.tensor_type.elem_type) for info in inferred}
    return {name: Inferred(dims, kind) for name, (dims, kind) in found_sizes.items() if dims is not None}


def resolved(info: Any, known: Mapping[str, int]) -> Shape | None:
    """All sizes of a value that is described; None where it says none, or some are open and have no known name."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    dims = tuple(d.dim_value if d.HasField("dim_value") else _size(d.dim_param, known) for d in kind.shape.dim)
    return dims if len(dims) <= MAX_AXES and min(dims, default=0) >= 0 else None


_SUMS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
"""How exporters compute sizes of others: `h//8`, `2*w + 1`."""


def _size(text: str, known: Mapping[str, int]) -> int:
    """A size by its name, or by a sum of such; -1 where it is not known."""
    if text in known or not text or text.isidentifier() or len(text) > MAX_NAME_LENGTH:
        return known.get(text, -1)
    try:
        return _value(ast.parse(text, mode="eval").body, known)
    except (ArithmeticError, LookupError, RecursionError, SyntaxError, ValueError, MemoryError):
        return -1


def _value(part: ast.expr, known: Mapping[str, int]) -> int:
    if isinstance(part, ast.BinOp):
        return _SUMS[type(part.op)](_value(part.left, known), _value(part.right, known))
    if isinstance(part, ast.Constant) and type(part.value) is int:
        return part.value
    if isinstance(part, ast.Name):
        return known[part.id]
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "floor" and part.args:
        inner = part.args[0]  # `floor(h/8)`
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Div):
            return _value(inner.left, known) // _value(inner.right, known)
        return _value(inner, known)
    raise ValueError(part)


def reads(graph: Any) -> Iterator[str]:
    """The names that the nodes of a graph read, and those of graphs in it."""
    for node in graph.node:
        yield from node.input
        for inner in graphs_of(node):
            yield from reads(inner)


def _nodes(graph: Any) -> int:
    return sum(1 + sum(map(_nodes, graphs_of(node))) for node in graph.node)
