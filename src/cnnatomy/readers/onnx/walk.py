"""The nodes of an ONNX model, one after another, as nodes of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.errors import UserError, nearest, quoted, shown
from cnnatomy.limits import MAX_LAYERS
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.checks import OFFICIAL, check_node, node_text
from cnnatomy.readers.onnx.constants import fold
from cnnatomy.readers.onnx.control import CONTROL, Control
from cnnatomy.readers.onnx.dependent import BOUNDS, dependent
from cnnatomy.readers.onnx.mixing import look
from cnnatomy.readers.onnx.model import STRANGE, OnnxModel
from cnnatomy.readers.onnx.ops import rule_for
from cnnatomy.readers.onnx.sequences import SEQUENCES
from cnnatomy.readers.onnx.values import Known, Mapped, OnnxValue, TensorList


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
    listed = [item for value in outputs for item in (value.items if isinstance(value, TensorList) else (value,))]
    maps = [value.map for value in listed if isinstance(value, Mapped)]
    if not maps:
        raise UserError("no output of it depends on an input")
    model.builder.graph.deployed = not any(map(_is_in_training_mode, model.nodes))
    return model.builder.finish(maps)


def _read(model: OnnxModel, node: Any) -> None:
    check_node(node, model.opset)
    missing = next((name for name in node.input if name and name not in model.env), None)
    if missing is not None:
        raise UserError(f"{node_text(node)} reads {quoted(missing)}, {_why_missing(model, node, missing)}")
    read = [model.env[name] if name else None for name in node.input]
    listed = TensorList in map(type, read)
    inputs: list[Any] = [None if isinstance(value, TensorList) else value for value in read] if listed else read
    made: Any
    try:
        call = NodeCall(node, inputs, model)
        official = node.domain in OFFICIAL
        if official and call.op in CONTROL:
            made = CONTROL[call.op](Control(call, read, _read))
        elif official and call.op in SEQUENCES:
            made = SEQUENCES[call.op](call, read)
        elif listed:
            made = _with_sequences(call, read)
        elif not call.maps:
            made = fold(call)
        elif official and call.op in BOUNDS:
            made = dependent(call)
        else:
            rule = rule_for(node)
            made = rule(call) if rule else call.unknown()
    except STRANGE as error:
        raise UserError(f"{node_text(node)} is not valid: {shown(error)}") from error
    all_made = made if isinstance(made, list) else [made]
    for i, (name, value) in enumerate(zip(node.output, all_made, strict=False)):
        if not name or value is None:
            continue
        if isinstance(value, FeatureMap):
            value = model.value(value, call.x, call.type_of(i))
        elif isinstance(value, Known) and (value.name != name or call.assumed):
            value = replace(value, name=name, assumed=value.assumed or call.assumed)
        model.env[name] = value
    look(model, node, read, [model.env.get(name) for name in node.output[: len(all_made)] if name])


def _with_sequences(call: NodeCall, read: list[OnnxValue | None]) -> OnnxValue:
    """What an operator on tensors makes of a sequence: only `Identity` takes one."""
    if call.op == "Identity" and read[0] is not None:
        return read[0]
    raise call.refusal("it reads a sequence of tensors, for which there is no rule")


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
