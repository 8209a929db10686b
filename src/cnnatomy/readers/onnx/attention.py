"""Attention in one node: ONNX's own operator and those of onnxruntime, with caches, masks and projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnatomy.layers import Foreign
from cnnatomy.layers.layer import (
    CHANNEL_AND_SPACE,
    ELEMENT,
    NO_OPERATIONS,
    REARRANGEMENT,
    Operations,
    Shape,
    elements,
)
from cnnatomy.layers.unknown import NotCounted
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import FIRST, Batch, Known, Mapped, TensorValue


class HeadSizes(NamedTuple):
    """The sizes of attention: heads of queries and of keys, steps, and the features of a head."""

    heads: int
    groups: int
    queries: int
    keys: int
    size: int
    value_size: int

    def costs(self, masked: bool, softcap: bool = False, scaled: bool = True) -> Operations:
        """Scores, their softmax, and the sums that they weigh, as of torch's `scaled_dot_product_attention`."""
        scores = self.heads * self.queries * self.keys
        capped = 2 if softcap else 0  # a quotient, a tanh of two additions, and a product
        return Operations(
            mac=scores * (self.size + self.value_size),
            multiply=scores * (scaled + softcap),
            add=scores * (1 + masked + capped),
            divide=scores * (1 + capped),
            exponential=scores * (1 + softcap),
        )


def _needs(call: NodeCall, condition: bool, what: str) -> None:
    if not condition:
        shapes = " and ".join(str(value.dims) for value in call.inputs if value is not None)
        raise call.refusal(f"it got {shapes}; {what}")


def attention(call: NodeCall) -> OnnxResult:
    """ONNX's Attention, of (images, steps, heads x features) or (images, heads, steps, features)."""
    query, key, value = map(call.needed, range(3))
    mask, past = (call.inputs[i] if call.given(i) else None for i in (3, 4))
    four = len(query.dims) == 4
    q, k, v = (_by_heads(call, x, name) for x, name in ((query, "q"), (key, "kv"), (value, "kv")))
    before = past.dims[2] if past is not None else 0
    _needs(call, q[3] == k[3] and k[1:3] == v[1:3] and q[1] % k[1] == 0, "heads and features that fit are needed")
    its = HeadSizes(q[1], k[1], q[2], before + k[2], q[3], v[3])
    costs = its.costs(mask is not None or bool(call.integer("is_causal", 0)), bool(call.number("softcap", 0)))
    dims = (q[0], q[1], q[2], v[3]) if four else (q[0], q[2], q[1] * v[3])
    kept = [(q[0], k[1], its.keys, k[3]), (q[0], k[1], its.keys, v[3]), (q[0], q[1], q[2], its.keys)]
    return _made(call, dims, costs, kept)


def _by_heads(call: NodeCall, x: TensorValue, which: str) -> Shape:
    """(images, heads, steps, features) of a query, key or value."""
    if len(x.dims) == 4:
        return x.dims
    heads = call.integer(f"{which}_num_heads", 0)
    _needs(call, len(x.dims) == 3 and heads > 0 and x.dims[2] % heads == 0, f"{heads} heads do not divide that")
    return (x.dims[0], heads, x.dims[1], x.dims[2] // heads)


def _made(
    call: NodeCall,
    dims: Shape,
    costs: Operations,
    further: Sequence[Shape],
    tensors: dict[str, Known] | None = None,
    counted: bool = True,
) -> OnnxResult:
    """One node with all that each sequence costs; what it gives out besides, such as keys, is found in passing."""
    batched = any(m.batch is not None for m in call.maps)
    batch = FIRST if batched and dims[0] == call.model.images else call.batch_of(dims)
    costs = Operations(*(n * dims[0] // (call.model.images if batched else 1) for n in costs))
    if 0 in dims:
        return call.empty(dims)
    tensors = call.learned() if tensors is None else tensors
    named = tuple((name, known.dims) for name, known in tensors.items())
    shape = call.shape_of(dims, batch)
    layer = Foreign(call.op, shape, costs, CHANNEL_AND_SPACE, named) if counted else NotCounted(call.op, shape, named)
    made = call.put(layer, tensors=tensors)
    outputs: list[Mapped | Known | None] = [Mapped(made, dims, batch, call.x.type)]
    for i, sizes in enumerate(further, 1):
        outputs.append(_further(call, made, sizes, i) if call.output(i) else None)
    return outputs


def _further(call: NodeCall, made: object, dims: Shape, i: int) -> Mapped | Known:
    axis = 1 if len(dims) == 5 else 0  # keys and values in one tensor are (2, images, ...)
    batch = Batch(axis) if any(m.batch for m in call.maps) and dims[axis] == call.model.images else None
    return call.foreign(dims, NO_OPERATIONS, REARRANGEMENT, made, batch=batch, output=i, learns=False)  # type: ignore[arg-type]


def _head_count(call: NodeCall, name: str = "num_heads") -> int:
    heads = call.integer(name, 0)
    _needs(call, heads > 0, f"{name} must be positive")
    return heads


def fused_attention(call: NodeCall) -> OnnxResult:
    """onnxruntime's Attention and QAttention: the projections of queries, keys and values, then attention."""
    quantised = call.op == "QAttention"
    x, weight = call.needed(0), call.needed(1)
    past, mask, bias = (call.inputs[i] if call.given(i) else None for i in ((8, 5, 2) if quantised else (4, 3, 2)))
    extra = not quantised and call.given(5)
    heads = _head_count(call)
    _needs(call, len(x.dims) == 3 and len(weight.dims) == 2, "a sequence and a weight are needed")
    images, steps, features = x.dims
    each = call.integers("qkv_hidden_sizes") or (weight.dims[1] // 3,) * 3
    _needs(
        call,
        weight.dims == (features, sum(each)) and len(each) == 3 and not any(n % heads for n in each),
        f"a weight of {features} x {sum(each)} and {heads} heads are needed",
    )
    before = past.dims[3] if past is not None and len(past.dims) == 5 else 0
    shared = bool(call.integer("past_present_share_buffer", 0))
    keys = before if shared else before + steps
    its = HeadSizes(heads, heads, steps, keys, each[0] // heads, each[2] // heads)
    costs = its.costs(bool(mask or extra or call.integer("unidirectional", 0)))
    projected = steps * sum(each)
    costs = costs._replace(mac=costs.mac + projected * features, add=costs.add + (projected if bias is not None else 0))
    if call.integer("do_rotary", 0):
        costs = _plus(costs, rotary_costs(steps * (each[0] + each[1])))
    tensors = {name: one for name, one in (("weight", weight), ("bias", bias)) if isinstance(one, Known)}
    return _made(call, (images, steps, each[2]), costs, [(2, images, heads, keys, each[0] // heads)], tensors)


def _plus(first: Operations, second: Operations) -> Operations:
    return Operations(*map(sum, zip(first, second, strict=True)))


def packed_attention(call: NodeCall) -> OnnxResult:
    """onnxruntime's PackedAttention, of the tokens of all sequences in a row; how long each is, the data says."""
    x, weight = call.needed(0), call.needed(1)
    _needs(call, len(x.dims) == len(weight.dims) == 2, "tokens and a weight are needed")
    each = call.integers("qkv_hidden_sizes") or (weight.dims[1] // 3,) * 3
    return _made(call, (x.dims[0], each[2]), NO_OPERATIONS, [], counted=False)


def multi_head(call: NodeCall) -> OnnxResult:
    """onnxruntime's MultiHeadAttention, whose queries, keys and values may be packed into one input or two."""
    query = call.needed(0)
    key, value, bias = (call.inputs[i] if call.given(i) else None for i in range(1, 4))
    masked = call.given(4) or call.given(5) or bool(call.integer("unidirectional", 0))
    past = call.inputs[6] if call.given(6) else None
    heads = _head_count(call)
    images, steps = query.dims[:2]
    if len(query.dims) == 5:  # (images, steps, heads, 3, features)
        size = value_size = query.dims[4]
        keys = steps
    else:
        key = call.needed(1)
        _needs(call, len(query.dims) == 3, "a query of three axes is needed")
        size = query.dims[2] // heads
        if len(key.dims) == 5:  # (images, steps, heads, 2, features)
            keys, value_size = key.dims[1], key.dims[4]
        elif len(key.dims) == 4:  # (images, heads, steps, features)
            keys, value_size = key.dims[2], (value or key).dims[3]
        else:
            value = call.needed(2)
            keys, value_size = key.dims[1], value.dims[-1] // (heads if len(value.dims) == 3 else 1)
    before = past.dims[2] if past is not None else 0
    its = HeadSizes(heads, heads, steps, before + keys, size, value_size)
    costs = its.costs(masked)
    if bias is not None:
        added = heads * (steps * size + keys * (size + value_size))
        costs = costs._replace(add=costs.add + added)
    kept = [(images, heads, its.keys, size), (images, heads, its.keys, value_size), (images, heads, steps, its.keys)]
    return _made(call, (images, steps, heads * value_size), costs, kept)


def grouped(call: NodeCall) -> OnnxResult:
    """onnxruntime's GroupQueryAttention, with its cache and the turning of queries and keys."""
    query, past = call.needed(0), call.inputs[3] if call.given(3) else None
    heads, groups = _head_count(call), _head_count(call, "kv_num_heads")
    _needs(call, len(query.dims) == 3 and heads % groups == 0, "queries of three axes are needed")
    images, steps, features = query.dims
    size = features // heads if call.given(1) else features // (heads + 2 * groups)
    total = call.known(6)
    before = past.dims[2] if past is not None else 0
    keys = int(total.number) if total is not None and total.number else before + steps
    its = HeadSizes(heads, groups, steps, keys, size, size)
    costs = its.costs(True, bool(call.number("softcap", 0)))
    if call.integer("do_rotary", 0):
        costs = _plus(costs, rotary_costs(steps * (heads + groups) * size))
    kept = [(images, groups, max(keys, before), size)] * 2
    return _made(call, (images, steps, heads * size), costs, kept, {})


def rotary_costs(turned: int) -> Operations:
    """So many features turned by angles: of each pair two products and their sum, twice."""
    return Operations(multiply=2 * turned, add=turned)


def rotary(call: NodeCall) -> OnnxResult:
    """RotaryEmbedding: features, or the first of them, turned in pairs. The angles that it reads are not learned."""
    x = call.x
    heads, some = call.integer("num_heads", 0), call.integer("rotary_embedding_dim", 0)
    size = x.dims[-1] // heads if heads and len(x.dims) == 3 else x.dims[-1]
    turned = elements(x.shape) * (some or size) // size
    return call.foreign(x.dims, rotary_costs(turned), ELEMENT, batch=x.batch, learns=False)
