"""ONNX operators that normalise."""

from __future__ import annotations

from cnnatomy.layers import (
    BatchNorm,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
)
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult


def batch_norm(call: NodeCall) -> OnnxResult:
    """Batch norm with known statistics."""
    x, scale = call.x, call.known(1)
    if scale is None or not x.batched or len(x.shape) not in (1, 3):
        return call.unknown()
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: call.known(i) for i, name in enumerate(names, 1)}
    for i, known in enumerate(tensors.values(), 1):
        if known is not None and known.dims != x.shape[:1]:
            raise call.refusal(f"it got {x.shape[0]} channels, its input {i + 1} has the sizes {known.dims}")
    layer = BatchNorm(call.number("epsilon", 1e-5), round(1 - call.number("momentum", 0.9), 6))
    return call.put(layer, x.map, tensors=tensors)


def group_norm(call: NodeCall) -> OnnxResult:
    """Instance and group norm."""
    x, scale = call.x, call.known(1)
    groups = x.shape[0] if call.op == "InstanceNormalization" else call.integer("num_groups", 1)
    if scale is None or scale.dims != x.shape[:1] or not x.batched:
        return call.unknown()
    tensors = {"weight": scale, "bias": call.known(2)}
    return call.put(GroupNorm(groups, call.number("epsilon", 1e-5)), x.map, tensors=tensors)


def layer_norm(call: NodeCall) -> OnnxResult:
    """Layer norm over the last axes."""
    x, scale, bias = call.x, call.known(1), call.known(2)
    axes = len(x.dims) - call.axis_of(call.integer("axis", -1), len(x.dims))
    if scale is None or scale.dims != x.shape[len(x.shape) - axes :]:
        return call.unknown()
    layer = LayerNorm(axes, call.number("epsilon", 1e-5), bias=bias is not None)
    return call.put(layer, x.map, tensors={"weight": scale, "bias": bias})


def lrn(call: NodeCall) -> OnnxResult:
    """Local response normalisation across channels."""
    numbers = (call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0))
    return call.put(LocalResponseNorm(call.integer("size", 5), *numbers))
