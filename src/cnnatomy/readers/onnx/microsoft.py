"""Operators of onnxruntime (`com.microsoft`), which stand in files that it optimised or quantised.

Most are several of ONNX's in one, and are read as those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnnatomy.design.graph import FeatureMap
from cnnatomy.layers import GELU, LayerNorm, Permute, Slice, Swish
from cnnatomy.layers.layer import CHANNEL, ELEMENT, NO_OPERATIONS, Operations, Shape, elements
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.readers.onnx.attention import fused_attention, grouped, multi_head, packed_attention
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.elements import activation, arithmetic, softmax
from cnnatomy.readers.onnx.model import StoredTensor
from cnnatomy.readers.onnx.moves import concat
from cnnatomy.readers.onnx.norms import group_norm, normalised, root_mean_square
from cnnatomy.readers.onnx.pools import global_pool, pool
from cnnatomy.readers.onnx.products import fully_connected, gemm, matmul, multiplied
from cnnatomy.readers.onnx.quantised import OnnxRule, PlainCall, Steps, as_convolution, as_real, every_third, plain
from cnnatomy.readers.onnx.recurrent import recurrent
from cnnatomy.readers.onnx.reductions import reduction
from cnnatomy.readers.onnx.values import Known, Mapped, TensorValue
from cnnatomy.readers.onnx.windows import convolution


def _first(call: NodeCall, made: OnnxResult) -> Mapped:
    """The map that a rule gave for the first output."""
    one: Any = made[0] if isinstance(made, Sequence) else made
    if isinstance(one, FeatureMap):
        return call.model.value(one, call.x, call.type_of())
    if not isinstance(one, Mapped):
        raise call.refusal("its output has no elements")
    return one


def _then(
    call: NodeCall, made: Mapped, op: str, rule: OnnxRule, *others: TensorValue | None, **attributes: Any
) -> Mapped:
    """What another operator makes of a map, the other inputs of which are given."""
    following = PlainCall(call, op, [made, *others], part=op.lower(), attributes=attributes)
    return _first(following, rule(following))


def _activated(call: NodeCall, made: Mapped) -> Mapped:
    """The activation that is named in the node."""
    name, params = call.text("activation"), [float(n) for n in call.attributes.get("activation_params", ())]
    names = ("min", "max") if name == "Clip" else ("alpha", "beta")
    options: dict[str, Any] = dict(zip(names, params, strict=False))
    options |= {key: call.attributes[f"activation_{key}"] for key in names if f"activation_{key}" in call.attributes}
    if not name:
        return made
    if name not in ACTIVATIONS:
        raise call.refusal(f"its activation is {name[:60]}; {', '.join(ACTIVATIONS)} are known")
    return _then(call, made, name, activation, **options)


ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish", "Elu", "Selu", "Softplus",
               "Softsign", "Gelu", "Mish")  # fmt: skip


def fused_convolution(call: NodeCall) -> OnnxResult:
    """A convolution, the addition of a map, and an activation."""
    inner = plain(call, "Conv", (0, 1, 2))
    made = _first(inner, convolution(inner))
    if call.given(3):
        made = _then(call, made, "Add", arithmetic, call.inputs[3])
    return _activated(call, made)


def fused_gemm(call: NodeCall) -> OnnxResult:
    """Gemm and an activation."""
    return _activated(call, _first(call, gemm(call)))


def gemm_gelu(call: NodeCall) -> OnnxResult:
    """A matrix product, a bias and GELU."""
    return _gelu(call, _product(call, 2), approximate=True)


def _gelu(call: NodeCall, x: Mapped, approximate: bool) -> Mapped:
    layer = GELU("tanh") if approximate else GELU()
    return replace(x, map=call.put(layer, x.map, part="" if len(call.inputs) == 1 else "gelu"))


def biased_gelu(call: NodeCall) -> OnnxResult:
    """GELU, or its approximation by tanh, after the addition of a bias if there is one."""
    x = _biased(call, call.x) if call.given(1) else call.x
    return _gelu(call, x, approximate=call.op == "FastGelu")


def _biased(call: NodeCall, x: Mapped, at: int = 1) -> Mapped:
    return _then(call, x, "Add", arithmetic, call.inputs[at])


def quick_gelu(call: NodeCall) -> OnnxResult:
    """x / (1 + exp(-alpha x)), which is Swish where alpha is 1."""
    x, alpha = call.x, call.number("alpha", 1.702)
    if alpha == 1:
        return replace(x, map=call.put(Swish(), x.map))
    n = elements(x.shape)
    return call.foreign(x.dims, Operations(multiply=2 * n, add=n, divide=n, exponential=n), ELEMENT, batch=x.batch)


def split_gelu(call: NodeCall) -> OnnxResult:
    """A bias; then the first half of the features times the GELU of the others."""
    x = _biased(call, call.x)
    half, axis = x.dims[-1] // 2, len(x.shape) - 1
    if x.dims[-1] % 2 or not 0 <= axis <= 2:
        raise call.refusal(f"a map of {x.dims} cannot be halved")
    dims = (*x.dims[:-1], half)
    parts = [
        Mapped(call.put(Slice(i * half, (i + 1) * half, axis), x.map, part=f"half{i + 1}"), dims, x.batch, x.type)
        for i in range(2)
    ]
    return _then(call, parts[0], "Mul", arithmetic, _gelu(call, parts[1], approximate=False))


def biased_softmax(call: NodeCall) -> OnnxResult:
    """Softmax of a sum."""
    return _then(call, _biased(call, call.x), "Softmax", softmax, axis=call.integer("axis", 1))


def bias_add(call: NodeCall) -> OnnxResult:
    """The sum of a map, a bias, and another map if there is one; dropout after it does nothing."""
    made = _biased(call, call.x)
    return _biased(call, made, 2) if call.given(2) else made


def matmul_activation(call: NodeCall) -> OnnxResult:
    """A product and an activation."""
    return _activated(call, _first(call, fused_matmul(call)))


def fused_matmul(call: NodeCall) -> OnnxResult:
    """alpha * A B, either with axes turned."""
    a, b = (
        _batch_turned(call, call.needed(i), call.integer(f"transBatch{name}", 0), name) for i, name in enumerate("AB")
    )
    turned = (bool(call.integer("transA", 0)), bool(call.integer("transB", 0)))
    return multiplied(call, a, b, turned, scaled=call.number("alpha", 1.0) != 1)


def _batch_turned(call: NodeCall, value: TensorValue, turned: int, name: str) -> TensorValue:
    """The first axis of a tensor put before its last."""
    if not turned or len(value.dims) < 3:
        return value
    order = (*range(1, len(value.dims) - 1), 0, len(value.dims) - 1)
    dims = tuple(value.dims[axis] for axis in order)
    if isinstance(value, Known):
        return replace(value, dims=dims, value=None)
    inner = tuple(at for axis in order if (at := call.axis(axis, value)) >= 0)
    made = call.put(Permute(inner), value.map, part=f"turned{name}") if inner != tuple(sorted(inner)) else value.map
    batch = value.batch and value.batch._replace(axis=order.index(value.batch.axis))
    return Mapped(made, dims, batch, value.type)


def _product(call: NodeCall, bias_at: int | None = None) -> Mapped:
    """A matrix product with a bias that is an input of the node itself."""
    a, b = call.needed(0), call.needed(1)
    bias = call.inputs[bias_at] if bias_at is not None and call.given(bias_at) else None
    stored = isinstance(b, Known) and len(b.dims) == 2 and not isinstance(bias, Mapped)
    if stored and isinstance(a, Mapped) and (a.batch is None or a.batch.axis < len(a.dims) - 1):
        return fully_connected(call, a, b.dims[1], b.dims[0], StoredTensor(b, np.transpose), bias)  # type: ignore[arg-type]
    made = _first(call, multiplied(call, a, b))
    return _then(call, made, "Add", arithmetic, bias) if bias is not None else made


def product_with_bias(call: NodeCall) -> OnnxResult:
    """A matrix product with an optional bias after its two factors."""
    return _product(call, 2)


def packed_matmul(call: NodeCall) -> OnnxResult:
    """A product with a matrix whose numbers of few bits are packed into bytes, or whose code is a table's."""
    weight, features, inner = call.known(1), call.integer("N", 0), call.integer("K", 0)
    x = call.inputs[0]
    if weight is None or not isinstance(x, Mapped) or min(features, inner) < 1:
        return call.unknown()
    stored = StoredTensor(weight, _unpacked(call, features, inner))
    return fully_connected(call, x, features, inner, stored, call.known(5) if call.op == "MatMulNBits" else None)


def _unpacked(call: NodeCall, features: int, inner: int) -> Any:
    """Numbers of `bits` bits, the lowest first, in blocks each of which has a scale and a zero."""
    bits, block = call.integer("bits", 4), call.integer("block_size", 32)
    scales, zeros = call.known(2), call.known(3)

    def numbers(array: Any) -> Any:
        each = 8 // bits
        shifts = np.arange(each, dtype=np.uint8) * bits
        return (array.reshape(features, -1, 1) >> shifts & (2**bits - 1)).reshape(features, -1).astype(np.float32)

    def prepare(array: Any) -> Any:
        real = call.op == "MatMulNBits" and 8 % bits == 0 and not call.given(4)
        if not real or scales is None or scales.value is None or (zeros is not None and zeros.value is None):
            raise call.refusal("numbers of this kind cannot be read")
        q = numbers(array)
        blocks = q.shape[1] // block
        scale = scales.value.reshape(features, blocks, 1).astype(np.float32)
        if zeros is None:
            zero: Any = np.float32(2 ** (bits - 1))
        elif zeros.value.dtype == np.uint8:
            zero = numbers(zeros.value)[:, :blocks].reshape(features, blocks, 1)
        else:
            zero = zeros.value.reshape(features, blocks, 1).astype(np.float32)
        return ((q.reshape(features, blocks, block) - zero) * scale).reshape(features, -1)[:, :inner]

    return prepare


def channels_last(rule: OnnxRule, always: bool = False) -> OnnxRule:
    """The rule for maps with the channels first, of which the node may have them last."""

    def turned(call: NodeCall) -> OnnxResult:
        x = call.x
        if (not always and not call.integer("channels_last", 0)) or not x.batched:
            return rule(call)
        axes = len(x.shape)
        first = call.put(Permute((axes - 1, *range(axes - 1))), x.map, part="channels_first")
        front = Mapped(first, (x.dims[0], *first.shape), x.batch, x.type)
        inputs = [front if value is x else value for value in call.inputs]
        inner = PlainCall(call, call.op, inputs, _prepared(call))
        made = _first(inner, rule(inner))
        last = call.put(Permute((*range(1, axes), 0)), made.map, part="channels_last")
        return Mapped(last, (x.dims[0], *last.shape), x.batch, made.type)

    return turned


def _prepared(call: NodeCall) -> Mapping[str, Any] | None:
    return call.prepare if isinstance(call, PlainCall) else None


def skip_layer_norm(call: NodeCall) -> OnnxResult:
    """The sum of two maps, and a bias, normalised; the sum is another output."""
    simple = call.op == "SkipSimplifiedLayerNormalization"
    bias_at = 3 if simple else 4
    x, skip = call.inputs[:2]
    found = next(value for value in (x, skip) if isinstance(value, Mapped))
    made = _then(call, found, "Add", arithmetic, skip if found is x else x)
    if call.given(bias_at):
        following = PlainCall(call, "Add", [made, call.inputs[bias_at]], part="bias", attributes={})
        made = _first(following, arithmetic(following))
    start = len(made.dims) - 1
    inner = PlainCall(call, call.op, [made, *call.inputs[2:]])
    if simple:
        outputs = list(root_mean_square(inner, made, call.known(2), start, part="norm"))
    else:
        outputs = list(normalised(inner, made, call.known(2), call.known(3), start, part="norm"))
    return [*outputs[:3], *[None] * (3 - len(outputs)), made]


def embedding(call: NodeCall) -> OnnxResult:
    """Rows of tables for words, places and segments, summed and normalised."""
    ids, words = call.needed(0), call.needed(2)
    quantised = call.op == "QEmbedLayerNormalization"
    if len(ids.dims) != 2:
        raise call.refusal("it needs words of (images, steps) and a table")
    dims = (*ids.dims, words.dims[-1])
    batch = call.batch_of(dims)
    shape = call.shape_of(dims, batch)
    tables = 2 + call.given(4)
    costs = LayerNorm().operations([shape], shape)
    costs = costs._replace(add=costs.add + (tables - 1) * elements(shape))
    names = ("word", "position", "segment", "weight", "bias")
    tensors = {name: call.known(i) for i, name in enumerate(names, 2)}
    made = call.foreign(dims, costs, CHANNEL, batch=batch, tensors=tensors)
    if not isinstance(made, Mapped):
        return made
    outputs: list[Mapped | Known | None] = [made, None, None]
    for i, sizes in ((1, ids.dims[:1]), (2, dims)):
        if call.output(i) and not (quantised and i == 2):
            outputs[i] = call.foreign(sizes, NO_OPERATIONS, CHANNEL, made.map, batch=batch, output=i, learns=False)
    return outputs


def group_norm_of_maps(call: NodeCall) -> OnnxResult:
    """GroupNorm and SkipGroupNorm, of maps with the channels last, and Swish after it."""
    made, total = call.x, None
    if call.op == "SkipGroupNorm":
        for at in (3, 4):
            if call.given(at):
                made = total = _biased(call, made, at)
    options = {"num_groups": call.integer("groups", 1), "epsilon": call.number("epsilon", 1e-5),
               "channels_last": call.integer("channels_last", 1)}  # fmt: skip
    inner = PlainCall(call, "GroupNorm", [made, *call.inputs[1:3]], part="norm" if total else "", attributes=options)
    made = _first(inner, channels_last(group_norm)(inner))
    if call.integer("activation", 0):
        made = replace(made, map=call.put(Swish(), made.map, part="swish"))
    return [made, total]


def uncounted(dims: Callable[[NodeCall], Shape]) -> OnnxRule:
    """A rule that gives the sizes, and counts nothing."""

    def rule(call: NodeCall) -> OnnxResult:
        sizes, x = dims(call), call.x
        layer = NotCounted(call.op, call.shape_of(sizes, x.batch))
        return Mapped(call.put(layer), sizes, x.batch, x.type)

    return rule


def _spectrum(call: NodeCall) -> Shape:
    """Of the last axis half, and the two numbers of a complex one; or back."""
    dims = call.x.dims
    whole = not call.integer("onesided", 1)
    if call.op == "Rfft":
        return (*dims[:-1], dims[-1] if whole else dims[-1] // 2 + 1, 2)
    return (*dims[:-2], dims[-2] if whole else 2 * (dims[-2] - 1))


def complex_product(call: NodeCall) -> OnnxResult:
    """Products of complex numbers, whose two parts are on the last axis."""
    dims = tuple(int(n) for n in np.broadcast_shapes(*(value.dims for value in call.inputs if value)))
    batch = call.batch_of(dims)
    n = elements(call.shape_of(dims, batch))
    return call.foreign(dims, Operations(multiply=2 * n, add=n), ELEMENT, batch=batch)


def same(call: NodeCall) -> OnnxResult:
    """What only sets some elements to zero."""
    return call.foreign(call.x.dims, NO_OPERATIONS, ELEMENT, batch=call.x.batch)


MICROSOFT: dict[str, OnnxRule] = {
    **dict.fromkeys(("Attention", "QAttention"), fused_attention),
    **dict.fromkeys(("MultiHeadAttention",), multi_head),
    **dict.fromkeys(("PackedAttention",), packed_attention),
    **dict.fromkeys(("BiasAdd", "BiasDropout"), bias_add),
    **dict.fromkeys(("BiasGelu", "FastGelu"), biased_gelu),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul"), fused_matmul),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), skip_layer_norm),
    **dict.fromkeys(("EmbedLayerNormalization", "QEmbedLayerNormalization"), embedding),
    **dict.fromkeys(("GroupNorm", "SkipGroupNorm"), group_norm_of_maps),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), packed_matmul),
    **dict.fromkeys(("Rfft", "Irfft"), uncounted(_spectrum)),
    **dict.fromkeys(("ComplexMul", "ComplexMulConj"), complex_product),
    "Inverse": uncounted(lambda call: call.x.dims),
    "Trilu": same,
    "GroupQueryAttention": grouped,
    "FusedConv": fused_convolution,
    "NhwcConv": channels_last(convolution, always=True),
    "NhwcFusedConv": channels_last(fused_convolution, always=True),
    "NhwcMaxPool": channels_last(as_real("MaxPool", 0)(pool), always=True),
    "FusedGemm": fused_gemm,
    "FusedMatMulActivation": matmul_activation,
    "GemmFastGelu": gemm_gelu,
    "QuickGelu": quick_gelu,
    "BiasSoftmax": biased_softmax,
    "BiasSplitGelu": split_gelu,
    "DynamicQuantizeLSTM": recurrent,
    "DynamicQuantizeMatMul": as_real("MatMul", 0, 1, 4, steps={1: Steps((2,), 3, -1)})(product_with_bias),
    "MatMulIntegerToFloat": as_real("MatMul", 0, 1, 6, steps={1: Steps((3,), 5, -1)})(product_with_bias),
    "MatMulInteger16": as_real("MatMul", 0, 1)(matmul),
    "MulInteger": as_real("Mul", 0, 2)(arithmetic),
    "QLinearAdd": as_real("Add", 0, 3, steps={0: Steps((1,), 2), 3: Steps((4,), 5)}, made=Steps((6,), 7))(arithmetic),
    "QLinearMul": as_real("Mul", 0, 3, steps={0: Steps((1,), 2), 3: Steps((4,), 5)}, made=Steps((6,), 7))(arithmetic),
    "QLinearConcat": every_third("Concat")(concat),
    "QLinearConv": channels_last(as_convolution(convolution)),
    "QLinearSigmoid": as_real("Sigmoid", 0)(activation),
    "QLinearLeakyRelu": as_real("LeakyRelu", 0)(activation),
    "QLinearGlobalAveragePool": channels_last(as_real("GlobalAveragePool", 0)(global_pool)),
    "QLinearAveragePool": channels_last(as_real("AveragePool", 0)(pool)),
    "QLinearSoftmax": as_real("Softmax", 0)(softmax),
    "QLinearReduceMean": as_real("ReduceMean", 0)(reduction),
    "QGemm": lambda call: gemm(
        plain(call, "Gemm", (0, 3, 6), {3: Steps((4,), 5, 0 if call.integer("transB", 0) else 1), 6: Steps((1, 4))})
    ),
}
"""Type of operator -> what adds its nodes, where ONNX has none of this name, or another."""
