"""ONNX operators on signals: what Fourier transforms cost depends on how they are computed, so they are not counted."""

from __future__ import annotations

from cnnatomy.layers.unknown import NotCounted
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.values import Mapped


def short_time_transform(call: NodeCall) -> OnnxResult:
    """STFT: windows along the signal, and of each the frequencies, which are half as many of a real signal."""
    x, step, window, length = call.inputs[0], call.known(1), call.known(2), call.known(3)
    given = window.dims[0] if window is not None and len(window.dims) == 1 else None
    frame = length.number if length is not None else given
    if not isinstance(x, Mapped) or len(x.dims) != 3 or step is None or step.number is None or frame is None:
        return call.unknown(learns=False)
    size, every = int(frame), int(step.number)
    if not 1 <= size <= x.dims[1] or every < 1:
        raise call.refusal(f"windows of {size} every {every} do not fit a signal of {x.dims[1]}")
    frequencies = size // 2 + 1 if call.integer("onesided", 1) else size
    dims = (x.dims[0], (x.dims[1] - size) // every + 1, frequencies, 2)
    return Mapped(call.put(NotCounted(call.op, call.shape_of(dims, x.batch)), x.map), dims, x.batch, x.type)
