"""Operators of onnxruntime (`com.microsoft.nchwc`) in files that it optimised for one processor.

Their channels lie in blocks of as many as that processor reads at once.
"""

from __future__ import annotations

from typing import Any

from cnnatomy.layers import PadChannels, Permute, Slice
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.microsoft import fused_convolution
from cnnatomy.readers.onnx.pools import global_pool, pool
from cnnatomy.readers.onnx.quantised import OnnxRule, PlainCall
from cnnatomy.readers.onnx.values import Known, Mapped


def blocked_convolution(call: NodeCall) -> OnnxResult:
    """A fused convolution of channels in blocks: those of its weight are filled up, and those of the map before it.

    The numbers of its weight are in blocks, too, as large as suited the processor, which the file does not say.
    """

    def unknown(array: Any) -> Any:
        raise call.refusal(
            "the order of its weights is that of one processor, and unknown here: take the file from which"
            " onnxruntime made this one, or optimise it for no processor (ORT_ENABLE_EXTENDED)"
        )

    x, weight = call.x, call.needed(1)
    reads = weight.dims[1] * call.integer("group", 1)
    if x.batched and len(x.shape) == 3 and x.shape[0] < reads:
        filled = call.put(PadChannels(reads), x.map, part="filled")
        x = Mapped(filled, (x.dims[0], *filled.shape), x.batch, x.type)
    prepare = {weight.name: unknown} if isinstance(weight, Known) else None
    return fused_convolution(PlainCall(call, call.op, [x, *call.inputs[1:]], prepare))


def reordered(call: NodeCall) -> OnnxResult:
    """Channels put into blocks and back; those that only fill a block are cut off."""
    x, channels = call.x.map, call.integer("channels", 0)
    last = call.integer("channels_last", 0)
    if call.op == "ReorderInput":
        return call.put(Permute((2, 0, 1)), x) if last else call.x
    if 0 < channels < x.shape[0]:
        x = call.put(Slice(0, channels, 0), x)
    if last:
        x = call.put(Permute((1, 2, 0)), x, part="channels_last")
    return call.x if x is call.x.map else x


BLOCKED: dict[str, OnnxRule] = {
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), reordered),
    **dict.fromkeys(("MaxPool", "AveragePool"), pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), global_pool),
    "Conv": blocked_convolution,
}
"""Type of operator -> what adds its nodes."""
