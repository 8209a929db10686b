"""A rule about two linear layers in a row that one layer could do for less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd

from cnnatomy.critique.linear import LINEAR_BETWEEN, Pairing, ends_inverted_residual, faults, pairings
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study
from cnnatomy.design.graph import Node
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv, FullyConnected, TransposedConv
from cnnatomy.layers.layer import Layer, Shape, Sides, elements, pair
from cnnatomy.layers.sliding import pairs, sides


@rule("W5", "linear-pair", "warning", "Goodfellow et al. 2016, section 6.3; Guo et al. 2020, 'ExpandNets'")
def linear_pair(study: Study) -> Iterator[Case]:
    """Two linear layers with nothing between them, which one layer could do for less.

    Without a nonlinearity between them, or with batch norm alone, two convolutions compute no more than one could. That
    is a factorisation, and meant, where one would cost more: a depthwise and a 1x1 convolution, 1x7 and 7x1, a linear
    bottleneck. Here one layer would cost no more multiply-accumulates and no more weights. (Up to what padding does at
    the border. Training sometimes goes better with the pair, which can then be merged for inference, as in ExpandNets.)
    Most often a nonlinearity was forgotten, and no-nonlinearity asks for it: then this is said with `--pedantic` or
    `--rule linear-pair` alone.
    """
    forgotten = {node for one in faults(study) for node in (one.first, one.second)}
    for quiet in (False, True):
        those = [one for one in pairings(study) if quiet != forgotten.isdisjoint((one.first, one.second))]
        yield from _linear_pairs(study, those, quiet)


def _linear_pairs(study: Study, those: Sequence[Pairing], quiet: bool) -> Iterator[Case]:
    merged: dict[Node, tuple[Node, Conv | FullyConnected]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for first, between, second in those:
        if first in changes or not all(isinstance(node.layer, LINEAR_BETWEEN) for node in between):
            continue
        if ends_inverted_residual(study, first) or isinstance(second.layer, TransposedConv):
            continue
        if study.only_reader(second.inputs[0]) is not second:
            continue
        after = study.only_reader(second.output)
        biased = bool(between) or any("bias" in n.layer.parameters(n.inputs[0].shape) for n in (first, second))
        layer = _merged(first, second, bias=biased and not (after and isinstance(after.layer, BatchNorm)))
        if layer is not None and _is_cheaper(study, layer, first, second):
            merged[first] = (second, layer)
            changes |= dict.fromkeys((first, *between), ()) | {second: (layer,)}
    if not merged:
        return
    rows = [study.rows[node] for first, (second, _) in merged.items() for node in (first, second)]
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    first, (second, layer) = next(iter(merged.items()))
    yield Case(
        where=tuple(row.path for row in rows),
        text=f"{several(len(merged), 'pair')} of linear layers, {weights:,} weights and {macs:,} MACs, nothing between",
        evidence={"pairs": len(merged), "weights": weights, "macs": macs},
        remedy=study.remedy(
            f"make each pair one layer ({first.path} and {second.path}: {layer!r})", changes, fix="unsafe"
        ),
        quiet=quiet,
    )


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
