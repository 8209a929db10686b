"""Functions that an ONNX file defines itself, put where they are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import onnx
import onnx.inliner

from cnnatomy.errors import UserError, shown
from cnnatomy.limits import MAX_INLINED_BYTES, MAX_NESTING, MAX_ONNX_NODES


class _Size(NamedTuple):
    nodes: int
    bytes: int


def inlined(model: Any) -> Any:
    """The model without functions of its own; what it would be is counted before it is made.

    Raises:
        UserError: if it would be too large, or functions call one another in a circle.
    """
    if not model.functions:
        return model
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], _Size] = {}

    def size(nodes: Iterable[Any], depth: int) -> _Size:
        if depth > MAX_NESTING:
            raise UserError(f"its functions call one another more than {MAX_NESTING} deep, or in a circle")
        count = content = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in functions:
                if key not in sizes:
                    sizes[key] = size(functions[key].node, depth + 1)
                more = sizes[key]
            else:
                more = _Size(1, node.ByteSize())
            inner = [size(graph.node, depth + 1) for graph in graphs_of(node)]
            count += more.nodes + sum(one.nodes for one in inner)
            content += more.bytes + sum(one.bytes for one in inner)
        if count > MAX_ONNX_NODES or content > MAX_INLINED_BYTES:
            raise UserError(
                f"an ONNX file may have at most {MAX_ONNX_NODES:,} nodes and {MAX_INLINED_BYTES:,} bytes "
                "where its functions are put in place of their calls, this has more"
            )
        return _Size(count, content)

    size(model.graph.node, 0)
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # whatever else a strange model makes of it
        raise UserError(f"its functions cannot be inlined: {shown(error)}") from None


def graphs_of(node: Any) -> Iterator[Any]:
    """The graphs that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_in(graph: Any) -> Iterator[str]:
    """The names that a graph itself gives to tensors."""
    yield from (info.name for info in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    yield from (name for node in graph.node for name in node.output if name)


def rename(graph: Any, new: Mapping[str, str]) -> None:
    """Gives tensors of a graph other names, wherever it or graphs in it read them."""
    if not new:
        return
    tensors = (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    for named in (*graph.input, *graph.output, *graph.value_info, *tensors):
        named.name = new.get(named.name, named.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for inner in graphs_of(node):
            own = set(names_in(inner))
            rename(inner, {name: other for name, other in new.items() if name not in own})
