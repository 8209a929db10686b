"""The nodes of an ONNX model, one after another, as nodes of ours."""

from __future__ import annotations

from typing import Any

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.errors import UserError, nearest
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.constants import fold
from cnnatomy.readers.onnx.model import STRANGE, Mapped, OnnxModel, TensorValue
from cnnatomy.readers.onnx.ops import RULES


def walk(model: OnnxModel) -> Graph:
    """The graph of all nodes."""
    for node in model.nodes:
        if id(node) not in model.merged:
            _read(model, node)
    outputs = [model.env.get(output.name) for output in model.proto.graph.output]
    maps = [value.map for value in outputs if isinstance(value, Mapped)]
    if not maps or not model.builder.graph.nodes:
        raise model.fail("no output of it depends on an input")
    model.builder.graph.deployed = True
    return model.builder.finish(maps)


def _read(model: OnnxModel, node: Any) -> None:
    missing = next((name for name in node.input if name and name not in model.env), None)
    if missing is not None:
        hint = nearest(missing, model.env)
        raise model.fail(f"node {node.name or node.op_type!r} reads {missing!r}, which no node before it makes.{hint}")
    inputs = [model.env[name] if name else None for name in node.input]
    call = NodeCall(node, inputs, model)
    made: Any
    try:
        if call.op == "If" and (choice := call.known(0)) is not None and choice.number is not None:
            made = _branch(model, call.attributes["then_branch" if choice.number else "else_branch"])
        elif not call.maps:
            made = fold(call)
        else:
            rule = RULES.get(call.op) if node.domain in ("", "ai.onnx", "com.microsoft") else None
            made = rule(call) if rule else call.unknown()
    except UserError as error:
        raise model.fail(str(error)) from None
    except STRANGE as error:
        raise model.fail(f"node {node.name or node.op_type!r} ({node.op_type}) is not valid: {error}") from error
    outputs = made if isinstance(made, list) else [made]
    for name, value in zip(node.output, outputs, strict=False):
        if name:
            batched = call.x.batched if call.maps else True
            model.env[name] = Mapped(value, batched) if isinstance(value, FeatureMap) else value


def _branch(model: OnnxModel, graph: Any) -> list[TensorValue]:
    """The outputs of the branch of an If whose condition is known, read as if it stood in the If's place."""
    model.initialise(graph)
    model.paths |= model.name_nodes(list(graph.node))
    for node in graph.node:
        if id(node) not in model.merged:
            _read(model, node)
    return [model.env[output.name] for output in graph.output]
