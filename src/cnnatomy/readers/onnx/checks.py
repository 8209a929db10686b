"""What must be true of any ONNX model: each tensor is written once, each node has what its operator asks for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import onnx

from cnnatomy.errors import UserError, nearest, printable, quoted
from cnnatomy.readers.onnx.functions import graphs_of

OFFICIAL = ("", "ai.onnx")
"""Domains of ONNX's own operators."""


def node_text(node: Any) -> str:
    """A node as messages name it: `node 'conv1' (Conv)`; by its first output where it has no name."""
    name = node.name or next(iter(node.output), "")
    return f"node {quoted(name)} ({printable(node.op_type)})"


def check_names(graph: Any, outer: tuple[Any, ...] = ()) -> None:
    """Each tensor of a graph is an input, a tensor of the file or the output of one node, and its outputs are there.

    Raises:
        UserError: naming the tensor, and the nodes that write it.
    """
    given = {info.name: "an input" for info in graph.input}
    given |= {tensor.name: "a tensor" for tensor in graph.initializer}
    given |= {sparse.values.name: "a tensor" for sparse in graph.sparse_initializer}
    writers: dict[str, Any] = {}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in given:
                raise UserError(f"{node_text(node)} writes {quoted(name)}, which is {given[name]} of the file already")
            if name in writers:
                raise UserError(
                    f"{node_text(writers[name])} and {node_text(node)} both write {quoted(name)}, which one may"
                )
            writers[name] = node
        for inner in graphs_of(node):
            check_names(inner, (*outer, given, writers))
    for output in graph.output:
        if not any(output.name in names for names in (given, writers, *outer)):
            hint = nearest(output.name, writers)
            raise UserError(f"its output {quoted(output.name)} is made by no node.{hint}")


def check_node(node: Any, opset: int) -> None:
    """Inputs, outputs and attributes are as many, and of the kind, that ONNX's own operator of this version has.

    Raises:
        UserError: naming the node, what was wrong, and what is needed.
    """
    schema = _schema(node.op_type, opset) if node.domain in OFFICIAL else None
    if schema is None:
        return
    for what, got, least, most in (
        ("input", len(node.input), schema.min_input, schema.max_input),
        ("output", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= got <= most:
            needed = f"at least {least}" if got < least else f"at most {most}"
            raise UserError(f"{node_text(node)} has {got:,} {what}{'s' * (got != 1)}, {needed} are needed")
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    for i in range(schema.min_input):
        if not node.input[i] and schema.inputs[min(i, len(schema.inputs) - 1)].option == single:
            raise UserError(f"{node_text(node)} has no input {i + 1} ({schema.inputs[i].name}), which is needed")
    for wrong in _attributes(node, schema):
        raise UserError(f"{node_text(node)}: {wrong}")


def _attributes(node: Any, schema: Any) -> Iterator[str]:
    """What is wrong with the attributes of a node."""
    found = {attribute.name: attribute for attribute in node.attribute}
    for name, wanted in schema.attributes.items():
        if name not in found:
            if wanted.required:
                yield f"the attribute {name} is missing"
            continue
        got, expected = found[name].type, int(wanted.type.value)
        if got and got != expected:  # the oldest files do not say the type
            names = onnx.AttributeProto.AttributeType
            yield f"the attribute {name} is of type {names.Name(got)}, {names.Name(expected)} is needed"


@cache
def _schema(op: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(op, opset, "")
    except (onnx.defs.SchemaError, TypeError):  # no such operator, or a version that is no small number
        return None
