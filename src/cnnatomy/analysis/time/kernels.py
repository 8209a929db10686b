"""How much work and traffic a layer has for the kernel that computes it in eager torch on a CPU: integers, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import NamedTuple

from cnnatomy.layers import Conv, DepthwiseConv
from cnnatomy.layers.layer import Layer, Shape, elements, pair

BYTES = 4
"""Of a float32 number: what is calibrated."""


class Work(NamedTuple):
    """One layer applied to a batch, as a kernel sees it.

    Attributes:
        kernel: the class of kernels that computes it; `""` where there is none that is calibrated.
        operations: what its arithmetic grows with (multiply-accumulates, or values read by windows).
        read, weights, written: bytes of inputs, of learned tensors and of the output.
        place: logarithms (base 2) of its sizes: kernels with near places run at like speeds.
    """

    kernel: str
    operations: int
    read: int
    weights: int
    written: int
    place: tuple[float, ...]


WINDOWED = ("max pool", "average pool")


def work(layer: Layer, inputs: Sequence[Shape], output: Shape, batch: int = 1, threads: int = 1) -> Work:
    """The kernel of a layer and its work; `inputs` and `output` are shapes without the batch."""
    read = batch * BYTES * sum(map(elements, inputs))
    written = batch * BYTES * elements(output)
    weights = BYTES * sum(map(elements, layer.parameters(*inputs).values()))
    kernel = layer.kernels(*inputs)
    if kernel == "convolution":
        assert isinstance(layer, (Conv, DepthwiseConv))
        conv = layer if isinstance(layer, Conv) else layer.grouped(*inputs)
        return _convolution(conv, inputs[0], output, (batch, threads), (read, weights, written))
    if kernel == "view":
        return Work(kernel, 0, 0, 0, 0, ())
    if kernel == "matrix by vector":
        macs = batch * layer.operations(inputs, output).mac
        return Work(kernel, macs, read, weights, written, (log2(batch), log2(weights + 1)))
    place: tuple[float, ...] = (log2(read + written),)
    operations = 0
    if kernel in WINDOWED and (window := layer.window(*inputs)):
        operations = batch * elements(output) * elements(window.kernel)
        place += (log2(operations * BYTES / written),)
    if kernel in ("global average pool", "concat"):
        place += (log2(batch * sum(shape[0] for shape in inputs)),)
    return Work(kernel, operations, read, weights, written, place)


def _convolution(conv: Conv, input: Shape, output: Shape, run: tuple[int, int], traffic: tuple[int, int, int]) -> Work:
    batch, _ = run
    ins, outs = input[0] // conv.groups, output[0] // conv.groups
    area = elements(pair(conv.kernel))
    pixels = batch * elements(output[1:])
    kernel = convolution_kernel(conv, input, *run)
    if kernel in ("convolution", "convolution 1x1"):
        ins, outs = padded(ins) if ins > 4 else ins, padded(outs)
    macs = pixels * conv.groups * ins * outs * area
    step = log2(elements(pair(conv.stride)))
    sizes = (log2(ins), log2(outs), log2(pixels), log2(area), step)
    place = sizes if conv.groups == 1 else (*sizes, log2(conv.groups))
    if kernel == "depthwise convolution":  # slower where the channels do not fill the last 16 lanes
        place = (*place, 2.0 * bool(conv.groups % 16))
    return Work(kernel, macs, *traffic, place)


def padded(channels: int) -> int:
    """Channels with those that oneDNN adds to fill the 16 lanes of its blocked layouts."""
    return -(-channels // 16) * 16


def convolution_kernel(conv: Conv, input: Shape, batch: int, threads: int) -> str:
    """Which class computes a convolution in float32 on a CPU.

    torch uses oneDNN except for small ungrouped cases, where a matrix product is faster (`use_mkldnn` in
    aten/src/ATen/native/Convolution.cpp).
    """
    rows, columns = pair(conv.kernel)
    pointwise = rows == columns == 1
    large = batch > 1 or elements(input) > 20480 or (rows > 3 and columns > 3)
    busy = not pointwise or batch >= 16 or threads > 1 or not conv.stride == conv.dilation == 1
    if not (busy and (large or conv.groups > 1)):
        return "convolution as matrix" if conv.groups == 1 else "grouped convolution as matrix"
    if conv.groups > 1:
        return "depthwise convolution" if conv.groups == input[0] else "grouped convolution"
    return "convolution 1x1" if pointwise else "convolution"
