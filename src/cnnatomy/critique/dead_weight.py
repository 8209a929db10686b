"""Rules about what is computed or stored and makes no difference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import gcd

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    BatchNorm,
    Bias,
    Constant,
    Conv,
    Crop,
    DepthwiseConv,
    FullyConnected,
    Normalise,
    Scale,
    Slice,
)
from cnnatomy.layers.layer import ELEMENT, NO_OPERATIONS, TRAINING, Layer, Shape, Sides, elements, pair
from cnnatomy.layers.sliding import pairs, sides


@rule("W3", "unread-output", "warning", "dead code: Aho et al. 2006, 'Compilers', section 9.1.6")
def unread_output(study: Study) -> Iterator[Case]:
    """Layers whose output nobody reads, and learned tensors that no layer uses.

    They are computed, or stored and loaded, for nothing: what is left of a branch that was cut, a head that was
    replaced, an exported network of which one output is used. Modules keep weights that only training uses (auxiliary
    heads), which need not be shipped.
    """
    dead: dict[Node, None] = {}
    outputs = set(study.graph.outputs)
    for node in reversed(study.graph.nodes):
        if node.output not in outputs and all(reader in dead for reader in study.readers[node.output]):
            dead[node] = None
    if any(study.rows[node].parameters or study.rows[node].operations != NO_OPERATIONS for node in dead):
        parameters = sum(study.rows[node].parameters for node in dead)
        macs = sum(study.rows[node].macs for node in dead)
        yield Case(
            where=tuple(node.path for node in reversed(dead)),
            text=f"no output depends on {several(len(dead), 'layer')} with {several(parameters, 'parameter')} and "
            f"{several(macs, 'MAC')}",
            evidence={"layers": len(dead), "parameters": parameters, "macs": macs},
            remedy=study.remedy(f"leave {several(len(dead), 'layer')} out", dropped=tuple(dead), fix="safe"),
        )
    unused = study.graph.unused
    if unused:
        numbers = sum(elements(shape) for _, shape in unused)
        yield Case(
            where=tuple(name for name, _ in unused),
            text=f"{several(len(unused), 'learned tensor')} with {numbers:,} numbers that no layer reads",
            evidence={"tensors": len(unused), "parameters": numbers},
            remedy=Remedy(f"do not store {several(len(unused), 'tensor')}: {numbers:,} numbers less"),
        )


@rule("W4", "dropped-channels", "warning", "Li et al. 2016, 'Pruning Filters for Efficient ConvNets', section 3")
def dropped_channels(study: Study) -> Iterator[Case]:
    """A layer with weights of whose output only a part is read.

    Channels that a slice leaves out, or pixels that a crop cuts off, were computed for nothing; the layer can make
    what is read and no more. Cropping what a transposed convolution or an interpolation made is how its size is set,
    and no objection.
    """
    found: dict[Node, tuple[float, list[int]]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in study.convolutions:
        x = _end_of_pointwise(study, node)
        readers = study.readers[x]
        if not readers or x in study.graph.outputs or not all(isinstance(r.layer, (Slice, Crop)) for r in readers):
            continue
        parts = [_part_read(reader.layer, x.shape) for reader in readers]
        read = [len(set().union(*(part[axis] for part in parts))) for axis in range(3)]
        share = elements(tuple(read)) / elements(x.shape)
        if share < 1:
            found[node] = (share, read)
            changes |= _narrowed(node, readers, x.shape, read)
    if not found:
        return
    wasted = sum(round(study.rows[node].macs * (1 - share)) for node, (share, _) in found.items())
    worst = min(found, key=lambda node: found[node][0])
    share, (channels, rows, columns) = found[worst]
    shape = worst.output.shape
    text = f"make what is read and no more: of {worst.path} {channels} channels of {rows}x{columns} pixels"
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'convolution')} read in part: of {worst.path} {channels} of {shape[0]} channels, "
        f"{rows}x{columns} of {shape[1]}x{shape[2]} pixels; {wasted:,} MACs for nothing",
        evidence={"layers": len(found), "share_read": share, "macs": wasted},
        remedy=study.remedy(text, changes, fix="safe") if changes else Remedy(text),
    )


def _end_of_pointwise(study: Study, node: Node) -> FeatureMap:
    """What batch norm and nonlinearities make of the output of a layer, as long as nothing else reads it."""
    x = node.output
    reader = study.only_reader(x)
    while reader is not None and reader.layer.kind in (ELEMENT, TRAINING) and len(reader.inputs) == 1:
        x = reader.output
        reader = study.only_reader(x)
    return x


def _part_read(layer: Layer, shape: Shape) -> list[range]:
    """The channels, rows and columns that a slice or crop lets through."""
    part = [range(size) for size in shape]
    if isinstance(layer, Slice):
        part[layer.axis] = range(layer.start, layer.stop)
    elif isinstance(layer, Crop):
        top, bottom, left, right = sides(layer.margin, (0, 0), (1, 1), (1, 1), (1, 1))
        part[1:] = [range(top, shape[1] - bottom), range(left, shape[2] - right)]
    return part


def _narrowed(node: Node, readers: list[Node], shape: Shape, read: list[int]) -> dict[Node, tuple[Layer, ...]]:
    """The change, where one slice takes some of the channels and the layer can make fewer."""
    if len(readers) > 1 or tuple(read[1:]) != shape[1:] or node.shared:
        return {}
    if not isinstance(node.layer, Conv) or node.layer.groups > 1:
        return {}
    return {node: (node.layer.replace(channels=read[0]),), readers[0]: ()}


LINEAR_BETWEEN = (BatchNorm, Scale, Bias, Constant, Normalise)
"""What is linear and treats each channel by itself, so that it changes nothing about what two layers could learn."""


@rule("W5", "linear-pair", "warning", "Goodfellow et al. 2016, section 6.3; Guo et al. 2020, 'ExpandNets'")
def linear_pair(study: Study) -> Iterator[Case]:
    """Two linear layers with nothing between them, which one layer could do for less.

    Without a nonlinearity between them, or with batch norm alone, two convolutions compute no more than one could. That
    is a factorisation, and meant, where one would cost more: a depthwise and a 1x1 convolution, 1x7 and 7x1, a linear
    bottleneck. Here one layer would cost no more multiply-accumulates and no more weights. (Up to what padding does at
    the border. Training sometimes goes better with the pair, which can then be merged for inference, as in ExpandNets.)
    """
    merged: dict[Node, tuple[Node, Conv | FullyConnected]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in study.graph.nodes:
        if not _is_linear(node) or node in changes:
            continue
        way = [node]
        second = study.only_reader(node.output)
        while second is not None and isinstance(second.layer, LINEAR_BETWEEN):
            way.append(second)
            second = study.only_reader(second.output)
        if second is None or not _is_linear(second):
            continue
        after = study.only_reader(second.output)
        biased = len(way) > 1 or any("bias" in n.layer.parameters(n.inputs[0].shape) for n in (node, second))
        one = _merged(node, second, bias=biased and not (after and isinstance(after.layer, BatchNorm)))
        if one is not None and _is_cheaper(study, one, node, second):
            merged[node] = (second, one)
            changes |= dict.fromkeys(way, ()) | {second: (one,)}
    if not merged:
        return
    rows = [study.rows[node] for first, (second, _) in merged.items() for node in (first, second)]
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    first, (second, one) = next(iter(merged.items()))
    yield Case(
        where=tuple(row.path for row in rows),
        text=f"{several(len(merged), 'pair')} of linear layers, {weights:,} weights and {macs:,} MACs, nothing between",
        evidence={"pairs": len(merged), "weights": weights, "macs": macs},
        remedy=study.remedy(
            f"make each pair one layer ({first.path} and {second.path}: {one!r}), or put a nonlinearity between",
            changes,
            fix="unsafe",
        ),
    )


def _is_linear(node: Node) -> bool:
    return isinstance(node.layer, (Conv, DepthwiseConv, FullyConnected))


def _is_cheaper(study: Study, one: Layer, first: Node, second: Node) -> bool:
    """Whether one layer costs no more weights and no more multiply-accumulates than two, and gives the same shape."""
    output, weights, macs = _cost(one, first.inputs[0].shape)
    a, b = study.rows[first], study.rows[second]
    return output == second.output.shape and weights <= a.weights + b.weights and macs <= a.macs + b.macs


@lru_cache(1024)
def _cost(layer: Layer, shape: Shape) -> tuple[Shape, int, int]:
    """The shape of the output, weights and multiply-accumulates of a layer that reads a map."""
    output = layer.output_shape(shape)
    weights = sum(elements(size) for size in layer.parameters(shape).values() if len(size) > 1)
    return output, weights, layer.operations((shape,), output).mac


def _merged(first: Node, second: Node, bias: bool) -> Conv | FullyConnected | None:
    """One layer that computes what two do; None where none of ours does."""
    if isinstance(first.layer, FullyConnected) and isinstance(second.layer, FullyConnected):
        return FullyConnected(second.layer.features, bias)
    a, b = _as_convolution(first), _as_convolution(second)
    return _one_convolution(a, b, first.inputs[0].shape, second.inputs[0].shape, bias) if a and b else None


@lru_cache(1024)
def _one_convolution(a: Conv, b: Conv, before: Shape, between: Shape, bias: bool) -> Conv:
    """One convolution that computes what `b` does after `a`; `before` and `between` are the maps that they read."""
    kernels, strides, dilations = [], [], []
    sizes = pairs(a.kernel, b.kernel, a.stride, b.stride, a.dilation, b.dilation)
    for k, n, s, t, d, e in zip(*sizes, strict=True):  # along rows, along columns
        wide = (n - 1) * e * s  # the second window in pixels of the first's input
        kernel, dilation = (k, d) if n == 1 else (n, e * s) if k == 1 else ((k - 1) * d + wide + 1, 1)
        kernels.append(kernel)
        dilations.append(dilation)
        strides.append(s * t)
    rows, columns = pair(a.stride)
    steps = (rows, rows, columns, columns)
    top, bottom, left, right = (p + q * s for p, q, s in zip(_sides(a, before), _sides(b, between), steps, strict=True))
    return Conv(
        b.channels,
        (kernels[0], kernels[1]),
        (strides[0], strides[1]),
        (top, bottom, left, right),
        (dilations[0], dilations[1]),
        gcd(a.groups, b.groups),
        bias,
    )


def _as_convolution(node: Node) -> Conv | None:
    layer = node.layer
    if isinstance(layer, DepthwiseConv):
        return layer.grouped(node.inputs[0].shape)
    return layer if isinstance(layer, Conv) else None


def _sides(layer: Conv, shape: Shape) -> Sides:
    """The padding of a convolution as numbers."""
    _, rows, columns = shape
    return sides(layer.padding, (rows, columns), *pairs(layer.kernel, layer.stride, layer.dilation))
