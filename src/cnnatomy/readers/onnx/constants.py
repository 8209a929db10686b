"""Nodes of an ONNX model that no input reaches: small ones are computed, of weights only the shape is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np
import onnx
from onnx.reference.ops import load_op

from cnnatomy.layers.layer import Shape, elements
from cnnatomy.limits import MAX_AXES
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.checks import OFFICIAL
from cnnatomy.readers.onnx.dependent import BOUNDS, dependent
from cnnatomy.readers.onnx.moves import moved
from cnnatomy.readers.onnx.values import FLOAT, REAL, Known

SAME = {"Identity", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout"}
"""The first output is the first input, as far as shapes go."""

BOUNDED = set(
    """Abs Add And Ceil Clip Compress Concat Div Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
    Greater GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not NonZero Or Pow Range ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum Reshape Round ScatterElements ScatterND Shape Sign Size Slice Sqrt Squeeze Sub Sum
    Tile TopK Transpose Trilu Unique Unsqueeze Where Xor""".split()  # noqa: SIM905 - a table of words
)
"""Operators of which `_most` says how large their outputs can be; of others onnx has to."""

CHANCE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
"""What they make is new each time."""

_FIRST_COMPUTED = {"DequantizeLinear": 19}
"""From which version on the reference has an operator where it lacks earlier ones, which compute the same."""

_FEW = 2 * MAX_AXES
"""Elements of what shapes are computed with: they cost no more than the node itself."""


def fold(call: NodeCall) -> list[Known]:
    """The outputs of a node whose inputs are all known."""
    op = call.op
    if op == "Constant":
        return [_constant(call)]
    if op == "ConstantOfShape":
        return [_filled(call)]
    first = call.known(0)
    if op in ("Shape", "Size") and first is not None:
        return [sizes(call, first.dims)]
    if op == "Cast" and first is not None:
        return [_cast(call, first, call.integer("to", FLOAT))]
    if op == "CastLike" and first is not None and call.inputs[1] is not None:
        return [_cast(call, first, call.inputs[1].type)]
    if first is not None and op in SAME:
        if op == "DequantizeLinear" and first.type not in REAL:
            return [_real(call, first)]  # it is rounded in the file, not by a node before this one
        return [replace(first, name=""), *(_inferred(call, i) for i in range(1, len(call.node.output)))]
    if call.computable and call.inputs and op not in CHANCE and call.node.domain in OFFICIAL and _affordable(call):
        return _computed(call)
    if first is not None and op in ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten"):
        dims = moved(call, first.dims)
        if dims is not None:
            return [Known(dims, first.root, None, first.learned, first.type)]
    if op in BOUNDS:
        return [value if isinstance(value, Known) else Known((), "") for value in dependent(call)]
    return [_inferred(call, i) for i in range(len(call.node.output))]


def sizes(call: NodeCall, dims: Shape) -> Known:
    """What Shape and Size make of a tensor of these sizes; a part of them from version 15 on."""
    whole = int(onnx.TensorProto.INT64)
    if call.op == "Size":
        return Known((), call.node.output[0], np.asarray(elements(dims), np.int64), type=whole)
    dims = dims[slice(call.integer("start", 0), call.attributes.get("end"))]
    return Known((len(dims),), call.node.output[0], np.asarray(dims, np.int64), type=whole)


def _cast(call: NodeCall, tensor: Known, to: int) -> Known:
    """The same tensor; real numbers become whole ones by dropping what stands after the point."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(to)
    with np.errstate(all="ignore"):
        value = None if tensor.value is None else tensor.value.astype(kind)
    return replace(tensor, value=value, type=to, name="")


def _real(call: NodeCall, tensor: Known) -> Known:
    """What rounded numbers stand for, real again: they may be learned."""
    value = _computed(call)[0].value if tensor.value is not None and call.computable and _affordable(call) else None
    learned = tensor.learned or (((tensor.root, tensor.dims),) if elements(tensor.dims) > 1 else ())
    return replace(tensor, value=value, learned=learned, type=FLOAT, name="")


def _affordable(call: NodeCall) -> bool:
    """Whether the node may be computed: its elements are few, or there is room for them; then they take it."""
    work = sum(elements(value.dims) for value in call.inputs if isinstance(value, Known)) + _most(call)
    if work <= _FEW:
        return True
    if not work <= call.model.foldable:  # it may be no number
        return False
    call.model.foldable -= int(work)
    return True


def _most(call: NodeCall) -> float:
    """The most elements that the outputs can have, from the sizes of the inputs and the numbers in them."""
    known = [value for value in call.inputs if isinstance(value, Known)]
    sizes = [elements(value.dims) for value in known]
    if not known:
        return 0
    if call.op not in BOUNDED:
        made = [call.inferred(name) for name in call.node.output if name]
        return float(sum(elements(dims) for dims in made if dims is not None)) if None not in made else inf
    if call.op == "Concat":
        return sum(sizes)
    if call.op in ("Gather", "GatherND"):
        axis = call.integer("axis", 0) if call.op == "Gather" else 0
        along = known[0].dims[axis] if -len(known[0].dims) <= axis < len(known[0].dims) else 1
        return sizes[0] * sizes[-1] / max(1, along if call.op == "Gather" else 1)
    if call.op in ("Expand", "Tile"):
        return sizes[0] * (elements(tuple(abs(n) for n in call.integers("", 1) or ())) if sizes[-1] <= _FEW else inf)
    if call.op == "Range":
        start, limit, step = (call.number("", 0, i) for i in range(3))
        return abs(limit - start) / abs(step) if step else 0
    if call.op == "NonZero":
        return sizes[0] * len(known[0].dims)
    if call.op in ("Compress", "Unique"):
        return 4 * sizes[0]
    try:
        return float(prod(np.broadcast_shapes(*(value.dims for value in known[:_FEW]))))
    except ValueError:
        return sum(sizes)


def _learned(call: NodeCall) -> tuple[tuple[str, Shape], ...]:
    """The learned tensors that an output is computed from."""
    found = [value for value in call.inputs if isinstance(value, Known)]
    return tuple(dict.fromkeys(tensor for known in found for tensor in known.learned if elements(tensor[1]) > 1))


def _inferred(call: NodeCall, i: int) -> Known:
    """An output of which only the shape is known: as onnx infers it, or the file says."""
    name = call.node.output[i]
    if not name:
        return Known((), "")
    return Known(call.sizes_of(i), name, None, _learned(call), call.type_of(i), name)


def _constant(call: NodeCall) -> Known:
    root = call.node.output[0]
    call.model.stored.add(root)
    for name, got in call.attributes.items():
        if name == "value":
            return call.model.constant(got, root)
        if name == "sparse_value":
            return Known(tuple(got.dims), root, type=got.values.data_type)
        kind = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if name in kind:
            value = np.asarray(got, dtype=kind[name])
            return Known(value.shape, root, value, type=onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    return Known((), root)


def _filled(call: NodeCall) -> Known:
    """`ConstantOfShape`: in graphs whose weights were taken out, each weight is one."""
    sizes, root = call.integers("", 0), call.node.output[0]
    if sizes is None:
        return _inferred(call, 0)
    if any(n < 0 for n in sizes):
        raise call.refusal(f"the sizes of a tensor are at least 0, got {sizes}")
    tensor = call.attributes.get("value")
    fill = call.model.constant(tensor, root).value if tensor is not None else np.zeros(1, np.float32)
    if fill is None or fill.size != 1:
        raise call.refusal("the attribute value must be one number")
    # sizes that were computed are those of what is filled as the network runs, such as a grid of anchors
    stored = (known := call.known(0)) is not None and known.root in call.model.stored
    learned = ((root, sizes),) if stored and np.issubdtype(fill.dtype, np.floating) else ()
    kind = onnx.helper.np_dtype_to_tensor_dtype(fill.dtype)
    filled = Known(sizes, root, None, learned, kind)  # which refuses what numpy cannot hold
    return replace(filled, value=np.broadcast_to(fill.reshape(()), sizes))  # no memory of its own


def computed(node: Any, opset: int, values: Sequence[Any]) -> Sequence[Any]:
    """The outputs of a node of ONNX's own, by its reference implementation; raises whatever that does."""
    options = {"log": lambda *_: None, "opsets": {"": opset}, "verbose": 0, "new_ops": None}
    version = max(opset, _FIRST_COMPUTED.get(node.op_type, 1))
    with np.errstate(all="ignore"):
        results: Sequence[Any] = load_op("", node.op_type, version)(node, options).run(*values)
    return results


def _computed(call: NodeCall) -> list[Known]:
    node = call.node
    values = [value.value if isinstance(value, Known) else None for value in call.inputs]
    try:
        results = computed(node, call.model.opset, values)
    except Exception:  # such as types that only some runtimes mix: the shape may still be known
        return [_inferred(call, i) for i in range(len(node.output))]
    found = []
    for name, result in zip(node.output, results, strict=False):
        value = np.asarray(result)
        learned = _learned(call) if np.issubdtype(value.dtype, np.floating) else ()
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype) if value.dtype.kind not in "OSU" else 0
        found.append(Known(value.shape, name, value, learned, kind, name))
    return found
