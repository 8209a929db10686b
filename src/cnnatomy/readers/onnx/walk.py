"""The nodes of an ONNX model, one after another, as nodes of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.errors import UserError, nearest, quoted, shown
from cnnatomy.limits import MAX_LAYERS
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.checks import check_node, node_text
from cnnatomy.readers.onnx.constants import fold
from cnnatomy.readers.onnx.model import STRANGE, OnnxModel
from cnnatomy.readers.onnx.ops import rule_for
from cnnatomy.readers.onnx.values import Known, Mapped, TensorValue


def walk(model: OnnxModel) -> Graph:
    """The graph of all nodes.

    Raises:
        UserError: naming the node that does not fit.
    """
    made = sum(len(node.output) for node in model.nodes)
    if made > MAX_LAYERS:
        raise UserError(f"its nodes make {made:,} tensors, at most {MAX_LAYERS:,} are expected")
    for node in model.nodes:
        if id(node) not in model.merged:
            _read(model, node)
    outputs = [model.env.get(output.name) for output in model.proto.graph.output]
    maps = [value.map for value in outputs if isinstance(value, Mapped)]
    if not maps:
        raise UserError("no output of it depends on an input")
    model.builder.graph.deployed = not any(map(_is_in_training_mode, model.nodes))
    return model.builder.finish(maps)


def _read(model: OnnxModel, node: Any) -> None:
    check_node(node, model.opset)
    missing = next((name for name in node.input if name and name not in model.env), None)
    if missing is not None:
        raise UserError(f"{node_text(node)} reads {quoted(missing)}, {_why_missing(model, node, missing)}")
    inputs = [model.env[name] if name else None for name in node.input]
    made: Any
    try:
        call = NodeCall(node, inputs, model)
        if call.op == "If" and (choice := call.known(0)) is not None and choice.number is not None:
            made = _branch(model, call.attributes["then_branch" if choice.number else "else_branch"])
        elif not call.maps:
            made = fold(call)
        else:
            rule = rule_for(node)
            made = rule(call) if rule else call.unknown()
    except STRANGE as error:
        raise UserError(f"{node_text(node)} is not valid: {shown(error)}") from error
    for i, (name, value) in enumerate(zip(node.output, made if isinstance(made, list) else [made], strict=False)):
        if not name or value is None:
            continue
        if isinstance(value, FeatureMap):
            value = model.value(value, call.x, call.type_of(i))
        elif isinstance(value, Known) and (value.name != name or call.assumed):
            value = replace(value, name=name, assumed=value.assumed or call.assumed)
        model.env[name] = value


def _is_in_training_mode(node: Any) -> bool:
    """Whether it is a batch norm in training mode, by the statistics of the batch."""
    training = node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)
    return bool(training)


def _why_missing(model: OnnxModel, node: Any, name: str) -> str:
    """Why a tensor is not there that a node reads."""
    if name in node.output:
        return "which it makes itself"
    writer = next((one for one in model.nodes if name in one.output), None)
    if writer is not None:
        return f"which {node_text(writer)} makes only after it: the nodes are in a wrong order, or in a circle"
    return f"which no node before it makes.{nearest(name, model.env)}"


def _branch(model: OnnxModel, graph: Any) -> list[TensorValue]:
    """The outputs of the branch of an If whose condition is known, read as if it stood in the If's place."""
    model.initialise(graph)
    model.paths |= model.name_nodes(list(graph.node))
    for node in graph.node:
        if id(node) not in model.merged:
            _read(model, node)
    missing = next((output.name for output in graph.output if output.name not in model.env), None)
    if missing is not None:
        raise UserError(f"an output of a branch, {quoted(missing)}, is made by no node")
    return [model.env[output.name] for output in graph.output]
