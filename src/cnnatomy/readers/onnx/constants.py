"""Nodes of an ONNX model that no input reaches: small ones are computed, of weights only the shape is followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cnnatomy.layers.layer import Shape, elements
from cnnatomy.readers.onnx.call import NodeCall
from cnnatomy.readers.onnx.model import MAX_VALUES, Known
from cnnatomy.readers.onnx.moves import moved

SAME = {"Identity", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout", "CastLike"}
"""The first output is the first input, as far as shapes go."""

FOLDED = set(
    """Abs Add And Ceil Clip Concat Div Equal Exp Expand Flatten Floor Gather GatherElements GatherND Greater
    GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not NonZero Or Pow Range ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum Reshape Round ScatterElements ScatterND Shape Size Slice Split Sqrt Squeeze Sub Sum Tile TopK
    Transpose Trilu Unsqueeze Where""".split()  # noqa: SIM905 - a table of words
)
"""Computed with onnx's reference implementation, where all inputs and the output are small."""

MAX_ELEMENTS = 1_000_000
"""Of an output, at the most that the values of the inputs allow."""


def fold(call: NodeCall) -> list[Known]:
    """The outputs of a node whose inputs are all known."""
    op = call.op
    if op == "Constant":
        return [_constant(call)]
    if op == "ConstantOfShape":
        return [_filled(call)]
    values = [value for value in call.inputs if value is not None]
    first = call.known(0)
    if op == "Cast" and first is not None:
        return [_cast(call, first)]
    if first is not None and op in SAME:
        return [first, *(_inferred(call, i) for i in range(1, len(call.node.output)))]
    small = all(getattr(value, "value", None) is not None for value in values)
    if small and op in FOLDED and _largest(call) <= MAX_ELEMENTS:
        return _computed(call)
    if first is not None and op in ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten"):
        dims = moved(call, first.dims)
        if dims is not None:
            return [Known(dims, first.root, None, first.learned)]
    return [_inferred(call, i) for i in range(len(call.node.output))]


def _cast(call: NodeCall, tensor: Known) -> Known:
    """The same tensor; real numbers become whole ones by dropping what stands after the point."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(call.integer("to", onnx.TensorProto.FLOAT))
    return replace(tensor, value=None if tensor.value is None else tensor.value.astype(kind))


def _largest(call: NodeCall) -> float:
    """The most elements that the output of an operator can have which makes more than it reads."""
    first, second = call.known(0), call.known(1)
    if first is None or second is None:
        return 0
    size = elements(first.dims)
    if call.op in ("Gather", "GatherND", "GatherElements"):
        return size * elements(second.dims)
    if call.op in ("Expand", "Tile"):
        return size * elements(tuple(abs(n) for n in call.integers("", 1) or ()))
    if call.op == "Range":
        start, limit, step = (call.number("", 0, i) for i in range(3))
        return abs(limit - start) / abs(step) if step else 0
    broadcast = max(len(first.dims), len(second.dims)) > 1
    return size * elements(second.dims) if broadcast else 0


def _behind(call: NodeCall) -> tuple[tuple[str, Shape], ...]:
    """The learned tensors that an output is computed from."""
    found = [value for value in call.inputs if isinstance(value, Known)]
    return tuple(dict.fromkeys(tensor for known in found for tensor in known.learned if elements(tensor[1]) > 1))


def _inferred(call: NodeCall, i: int) -> Known:
    """An output of which only the shape is known: as onnx infers it, or that of the first input."""
    name = call.node.output[i]
    first = call.known(0)
    dims = call.model.inferred.get(name) or (first.dims if first else ())
    return Known(dims, name, None, _behind(call))


def _constant(call: NodeCall) -> Known:
    root = call.node.output[0]
    for name, got in call.attributes.items():
        if name == "value":
            return call.model.constant(got, root)
        if name == "sparse_value":
            return Known(tuple(got.dims), root)
        kind = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if name in kind:
            value = np.asarray(got, dtype=kind[name])
            return Known(value.shape, root, value)
    return Known((), root)


def _filled(call: NodeCall) -> Known:
    """`ConstantOfShape`: in graphs whose weights were taken out, each weight is one."""
    sizes, root = call.integers("", 0), call.node.output[0]
    if sizes is None:
        return _inferred(call, 0)
    if any(n < 0 for n in sizes):
        raise ValueError(f"a shape of {sizes}")
    tensor = call.attributes.get("value")
    fill = call.model.constant(tensor, root).value if tensor is not None else np.zeros(1, np.float32)
    if fill is None:
        raise ValueError("no value to fill with")
    learned = ((root, sizes),) if np.issubdtype(fill.dtype, np.floating) else ()
    small = elements(sizes) <= MAX_VALUES
    return Known(sizes, root, np.full(sizes, fill.reshape(-1)[0]) if small else None, learned)


def _computed(call: NodeCall) -> list[Known]:
    node, opset = call.node, call.model.opset
    feeds = {name: value.value for name, value in zip(node.input, call.inputs, strict=True) if isinstance(value, Known)}
    infos = [onnx.helper.make_tensor_value_info(name, 0, None) for name in feeds]
    outputs = [onnx.helper.make_tensor_value_info(name, 0, None) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one", infos, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # such as types that only some runtimes mix: the shape may still be known
        return [_inferred(call, i) for i in range(len(node.output))]
    found = iter(results)
    computed = []
    for name in node.output:
        value = np.asarray(next(found)) if name else np.zeros(())
        learned = _behind(call) if np.issubdtype(value.dtype, np.floating) else ()
        computed.append(Known(value.shape, name, value, learned))
    return computed
