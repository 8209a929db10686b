"""Rules about layers that are linear one after the other: what has no nonlinearity between is one linear layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, depthwise, paths
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.layers import (
    ELU,
    GELU,
    SELU,
    AvgPool,
    BatchNorm,
    Bias,
    ChannelShuffle,
    Concat,
    Constant,
    Conv,
    Crop,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Hardswish,
    LeakyReLU,
    Mish,
    Normalise,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    Subsample,
    Swish,
    TransposedConv,
    ZeroPad,
)
from cnnatomy.layers.layer import Layer, Pair, Shape, Sides, elements, pair
from cnnatomy.layers.sliding import pairs, sides

LINEAR_BETWEEN = (BatchNorm, Scale, Bias, Constant, Normalise)
"""What is linear and treats each channel by itself, so that it changes nothing about what two layers could learn."""

LINEAR = (
    *(*LINEAR_BETWEEN, GroupNorm, Dropout),
    *(AvgPool, GlobalAvgPool, Subsample, ZeroPad, Crop, ChannelShuffle, Flatten),
)
"""What is linear at inference and mixes no channels, so that two layers with weights are one linear map across it.

Group norm is, but for one factor for each group."""

NONLINEARITIES = (ReLU, ReLU6, LeakyReLU, PReLU, ELU, SELU, GELU, Swish, Hardswish, Mish)
"""What networks have between their layers; sigmoid and tanh are for gates."""

WEIGHTED = (Conv, DepthwiseConv, FullyConnected, TransposedConv)


class Pairing(NamedTuple):
    """Two layers with weights, and what is between them: all of it linear, and read by nothing else."""

    first: Node
    between: tuple[Node, ...]
    second: Node


@lru_cache(1)
def pairings(study: Study) -> tuple[Pairing, ...]:
    """Layers that mix channels with the next such layer, where nothing nonlinear is between; depthwise ones between.

    Past a concatenation only where all that it joins is linear. Where several layers read the map between, the first of
    them, if all mix channels and all of the network passes that map: not what a pyramid gives to several heads.
    """
    return tuple(_pairings(study))


def _pairings(study: Study) -> Iterator[Pairing]:
    trunk = set(study.spine) if len(study.graph.outputs) == 1 else set()
    for node in study.graph.nodes:
        if not _mixes(node):
            continue
        between, x = _linear_way(study, node.output)
        readers = study.readers[x]
        if len(readers) > 1 and x in trunk:
            ways = [_linear_way(study, reader.output) for reader in readers if _passes(reader)]
            ends = [reader for reader in readers if not _passes(reader)]
            ends += [end for _, y in ways for end in [study.only_reader(y)] if end is not None]
            if len(ends) < len(readers) or not all(isinstance(end.layer, WEIGHTED) for end in ends):
                continue
            readers = ends[:1]
        if len(readers) == 1 and isinstance(readers[0].layer, WEIGHTED) and x not in study.graph.outputs:
            yield Pairing(node, tuple(between), readers[0])


def _linear_way(study: Study, x: FeatureMap) -> tuple[list[Node], FeatureMap]:
    """The linear layers that follow a map, each its only reader, and what the last of them makes."""
    way: list[Node] = []
    reader = study.only_reader(x)
    while reader is not None and (_passes(reader) or _joins_linear_maps(study, reader)):
        way.append(reader)
        x = reader.output
        reader = study.only_reader(x)
    return way, x


def _mixes(node: Node) -> bool:
    return isinstance(node.layer, WEIGHTED) and not depthwise(node)


def _passes(node: Node) -> bool:
    return isinstance(node.layer, LINEAR) or depthwise(node)


def _joins_linear_maps(study: Study, node: Node) -> bool:
    """Whether it concatenates channels each of which a layer with weights has made, with nothing nonlinear after it."""
    if not isinstance(node.layer, Concat) or node.layer.axis or len(node.output.shape) != 3:
        return False
    for x in node.inputs:
        reader = node
        while x.node is not None and study.only_reader(x) is reader and _passes(x.node):
            reader, x = x.node, x.node.inputs[0]
        if x.node is None or study.only_reader(x) is not reader or not _mixes(x.node):
            return False
    return True


@rule(
    "W10",
    "no-nonlinearity",
    "warning",
    "Goodfellow et al. 2016, 'Deep Learning', section 6.1: of linear layers, the whole network remains linear",
)
def no_nonlinearity(study: Study) -> Iterator[Case]:
    """Two layers with nothing nonlinear between them: together they are one linear layer.

    Batch norm, bias, dropout at inference and average pooling are linear, so that a convolution, batch norm and another
    convolution can tell apart no more than one convolution with a larger kernel. On 4,000 images of Fashion-MNIST
    three 3x3 convolutions without ReLU between them cost 8 and 11 points of accuracy.

    It is no objection where the pair is a factorisation, which is cheaper than the one layer that it stands for: a
    depthwise and a 1x1 convolution, in either order; grouped convolutions that mix in turn; 1x7 and 7x1; a pair, one of
    them 1x1, through fewer channels than both have (low rank), such as the linear bottleneck between two inverted
    residuals, or a narrow projection that is pooled for the classifier. Nor after the last layer of a branch that ends
    in an addition or a gate, nor where the map holds a score for each class, which is only enlarged or smoothed.
    """
    found = [one for one in pairings(study) if not _is_factorisation(study, one)]
    if not found:
        return
    nonlinearity = own_nonlinearity(study)
    changes: dict[Node, tuple[Layer, ...]] = {}
    for first, between, _ in found:
        last = between[0] if between and isinstance(between[0].layer, (*LINEAR_BETWEEN, GroupNorm)) else first
        changes[last] = (last.layer, nonlinearity)
    first, _, second = found[0]
    name = type(nonlinearity).__name__
    more = f" and {several(len(found) - 1, 'other pair')}" if len(found) > 1 else ""
    where = dict.fromkeys(node.path for one in found for node in (one.first, one.second))
    yield Case(
        where=tuple(where),
        text=f"nothing nonlinear between {first.path} and {second.path}{more}: each pair computes one linear layer",
        evidence={"pairs": [(one.first.path, one.second.path) for one in found]},
        remedy=study.remedy(f"put {name} after {paths(list(changes))}", changes, fix="unsafe"),
    )


def own_nonlinearity(study: Study) -> Layer:
    """The one that the network has most often, ReLU if it has none."""
    layers = [node.layer for node in study.graph.nodes if isinstance(node.layer, NONLINEARITIES)]
    return Counter(layers).most_common(1)[0][0] if layers else ReLU()


def _is_factorisation(study: Study, one: Pairing) -> bool:
    """Whether two layers stand for one that would cost more, or the map between them is one of scores."""
    first, between, second = one
    axis = 0 if len(first.output.shape) == 3 else -1
    read, made = first.inputs[0].shape[axis], second.output.shape[0]
    through = max(first.output.shape[axis], *(node.output.shape[0] for node in between if _is_join(node)), 0)
    a, b = _kernel(first), _kernel(second)
    scores = through == study.output.shape[0] == made
    if scores and (elements(a) == 1 or isinstance(second.layer, TransposedConv)):
        return True
    if _groups(first) > 1 or _groups(second) > 1:
        return True
    if _is_separated(a, b):
        return True
    if 1 in (elements(a), elements(b)) and through < min(read, made):
        return True
    pooled = any(isinstance(node.layer, GlobalAvgPool) for node in between)
    if elements(a) == 1 and pooled and through < read:
        return True
    return elements(a) == 1 and through <= read and _ends_inverted_residual(study, first)


def _is_join(node: Node) -> bool:
    return isinstance(node.layer, Concat)


def _groups(node: Node) -> int:
    return node.layer.groups if isinstance(node.layer, (Conv, TransposedConv)) else 1


def _kernel(node: Node) -> Pair:
    layer = node.layer
    return pair(layer.kernel) if isinstance(layer, (Conv, TransposedConv)) else (1, 1)


def _is_separated(a: Pair, b: Pair) -> bool:
    """Whether one kernel reaches along rows alone and the other along columns alone."""
    return any(one[0] == other[1] == 1 < min(one[1], other[0]) for one, other in ((a, b), (b, a)))


def _ends_inverted_residual(study: Study, node: Node) -> bool:
    """Whether a 1x1 layer reads what a depthwise one made, perhaps through a nonlinearity and a gate."""
    x = node.inputs[0]
    while x.node is not None and not study.rows[x.node].weights:
        x = max(x.node.inputs, key=lambda y: elements(y.shape))
    return x.node is not None and depthwise(x.node)


@rule("W5", "linear-pair", "warning", "Goodfellow et al. 2016, section 6.3; Guo et al. 2020, 'ExpandNets'")
def linear_pair(study: Study) -> Iterator[Case]:
    """Two linear layers with nothing between them, which one layer could do for less.

    Without a nonlinearity between them, or with batch norm alone, two convolutions compute no more than one could. That
    is a factorisation, and meant, where one would cost more: a depthwise and a 1x1 convolution, 1x7 and 7x1, a linear
    bottleneck. Here one layer would cost no more multiply-accumulates and no more weights. (Up to what padding does at
    the border. Training sometimes goes better with the pair, which can then be merged for inference, as in ExpandNets.)
    Most often a nonlinearity was forgotten: then this goes with that objection.
    """
    merged: dict[Node, tuple[Node, Conv | FullyConnected]] = {}
    changes: dict[Node, tuple[Layer, ...]] = {}
    for one in pairings(study):
        first, between, second = one
        if first in changes or not all(isinstance(node.layer, LINEAR_BETWEEN) for node in between):
            continue
        if _ends_inverted_residual(study, first) or isinstance(second.layer, TransposedConv):
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
        under=("W10",),
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
