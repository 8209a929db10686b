"""A rule about layers that are linear one after the other: what has no nonlinearity between is one linear layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, depthwise, paths
from cnnatomy.critique.ways import end_of_pointwise, joins_channels
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
    Multiply,
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
from cnnatomy.layers.layer import Layer, Pair, elements, pair

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

    Past a concatenation only where all that it joins is linear, or where it joins what was made with what it was made
    of, as in dense blocks. Where several layers read the map between, the first of them, if all mix channels and all of
    the network passes that map: not what a pyramid gives to several heads.
    """
    return tuple(_pairings(study))


def _pairings(study: Study) -> Iterator[Pairing]:
    trunk = set(study.spine) if len(study.graph.outputs) == 1 else set()
    for node in study.graph.nodes:
        if not _mixes(node):
            continue
        between, x = _linear_way(study, node.output)
        readers = study.readers[x]
        if readers and all(_joins_what_it_was_made_of(study, reader, x) for reader in readers):
            ends = _dense_readers(study, readers[0])
            if ends:
                yield Pairing(node, (*between, readers[0]), ends[0])
            continue
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
    while (reader := _linear_reader(study, x)) is not None:
        way.append(reader)
        x = reader.output
    return way, x


def _linear_reader(study: Study, x: FeatureMap) -> Node | None:
    """The only reader of a map, where it is linear; where a gate reads it too, the product of both."""
    reader = study.only_reader(x)
    if reader is None:
        return _gate(study, x)
    return reader if _passes(reader) or _joins_linear_maps(study, reader) else None


def _gate(study: Study, x: FeatureMap) -> Node | None:
    """The product that scales the channels of a map by what their means say, as squeeze and excitation does."""
    for product in study.readers[x]:
        others = [y for y in product.inputs if y is not x]
        if not isinstance(product.layer, Multiply) or len(others) != 1 or x in study.graph.outputs:
            continue
        (y,) = others
        while y.node is not None and len(y.node.inputs) == 1 and study.only_reader(y) is not None:
            before = y.node.inputs[0]
            if before is x:
                pooled = isinstance(y.node.layer, GlobalAvgPool)
                return product if pooled and len(study.readers[x]) == 2 else None
            y = before
    return None


def _mixes(node: Node) -> bool:
    return isinstance(node.layer, WEIGHTED) and not depthwise(node)


def _passes(node: Node) -> bool:
    return isinstance(node.layer, LINEAR) or depthwise(node)


def _joins_linear_maps(study: Study, node: Node) -> bool:
    """Whether it concatenates channels each of which a layer with weights has made, with nothing nonlinear after it."""
    if not joins_channels(node):
        return False
    for x in node.inputs:
        reader = node
        while x.node is not None and study.only_reader(x) is reader and _passes(x.node):
            reader, x = x.node, x.node.inputs[0]
        if x.node is None or study.only_reader(x) is not reader or not _mixes(x.node):
            return False
    return True


def _joins_what_it_was_made_of(study: Study, join: Node, x: FeatureMap) -> bool:
    """Whether a concatenation has, beside a map, that from which layers that are linear have made it."""
    if not joins_channels(join):
        return False
    while x.node is not None and (_mixes(x.node) or _passes(x.node)):
        x = x.node.inputs[0]
        parts = x.node.inputs if x.node is not None and isinstance(x.node.layer, Concat) else (x,)
        if x in join.inputs or set(parts) <= set(join.inputs):
            return True
        if study.only_reader(x) is None:
            return False
    return False


def _dense_readers(study: Study, join: Node) -> list[Node]:
    """The layers with weights that read a concatenation, beside those that join more to it; none if others do too."""
    x = join.output
    readers = [reader for reader in study.readers[x] if not isinstance(reader.layer, Concat)]
    if len(readers) == 1 and _passes(readers[0]):
        _, x = _linear_way(study, readers[0].output)
        readers = study.readers[x]
    return readers if all(isinstance(reader.layer, WEIGHTED) for reader in readers) else []


@rule(
    "W10",
    "no-nonlinearity",
    "warning",
    "Goodfellow et al. 2016, 'Deep Learning', section 6.1: of linear layers, the whole network remains linear",
)
def no_nonlinearity(study: Study) -> Iterator[Case]:
    """Two layers with nothing nonlinear between them: together they are one linear layer.

    Batch norm, bias, dropout at inference and average pooling are linear, so that a convolution, batch norm and another
    convolution can tell apart no more than one convolution with a larger kernel; a gate that scales channels by what
    their means say makes little of a difference. On 4,000 images of Fashion-MNIST three 3x3 convolutions without ReLU
    between them cost 8 and 11 points of accuracy.

    It is no objection where the pair is a factorisation, which is cheaper than the one layer that it stands for: a
    depthwise and a 1x1 convolution, in either order; grouped convolutions with a shuffle between; 1x7 and 7x1; a pair,
    one of them 1x1, through fewer channels than both have (low rank), such as the linear bottleneck between two
    inverted residuals, or a narrow projection that is pooled for the classifier. But a 1x1 that reduces before a
    spatial kernel is one where a nonlinearity was forgotten, unless at least three quarters of all layers are in such
    pairs, as in a network that was compressed; and so is low rank in branches that are concatenated. A layer is a
    factor once: a nonlinearity has to follow the pair. Nor is it one after the last layer of a branch that ends in an
    addition or a gate, nor where the map holds a score for each class, which is only enlarged or smoothed. Where an
    inverted residual makes more channels than it has inside, what it read is too narrow, and comes first, as does a
    waist of the trunk.
    """
    found = faults(study)
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
        under=("I5",) if all(_is_waist(study, one) for one in found) else (),
    )


@lru_cache(1)
def faults(study: Study) -> tuple[Pairing, ...]:
    """Layers with nothing nonlinear between that stand for no layer that would cost more."""
    found: list[Pairing] = []
    factors: set[Node] = set()
    for one in pairings(study):
        if _is_about_scores(study, one):
            continue
        if factors.isdisjoint((one.first, one.second)) and _is_factorisation(study, one):
            factors |= {one.first, one.second}
        else:
            found.append(one)
    return tuple(found)


def own_nonlinearity(study: Study) -> Layer:
    """The one that the network has most often, ReLU if it has none."""
    layers = [node.layer for node in study.graph.nodes if isinstance(node.layer, NONLINEARITIES)]
    return Counter(layers).most_common(1)[0][0] if layers else ReLU()


def _is_about_scores(study: Study, one: Pairing) -> bool:
    """Whether the map between two layers has a score for each class, and so has what the second makes of it."""
    scores = one.first.output.shape[0] == study.output.shape[0] == one.second.output.shape[0]
    enlarged = isinstance(one.second.layer, TransposedConv)
    return scores and (enlarged or elements(_kernel(one.first)) == 1)


def _is_waist(study: Study, one: Pairing) -> bool:
    """Whether two layers may have too few channels between them, which then comes first."""
    return ends_inverted_residual(study, one.first) or (_narrows(one) and one.first.output in study.spine)


def _is_low_rank(study: Study, one: Pairing) -> bool:
    """Whether two layers, one of them 1x1, go through fewer channels than both of them read and make.

    Not in branches that are concatenated, whose maps are few already; and a 1x1 that reduces before a spatial kernel is
    a reduction with its nonlinearity forgotten, unless the whole network is of such pairs.
    """
    if not _narrows(one) or _is_concatenated(study, one.second):
        return False
    return elements(_kernel(one.second)) == 1 or elements(_kernel(one.first)) > 1 or _low_rank_throughout(study)


def _narrows(one: Pairing) -> bool:
    through = _through(one)
    kernels = elements(_kernel(one.first)), elements(_kernel(one.second))
    return 1 in kernels and through < min(_read(one), one.second.output.shape[0])


def _read(one: Pairing) -> int:
    """How many channels the first layer reads."""
    return one.first.inputs[0].shape[_axis(one)]


def _through(one: Pairing) -> int:
    """How many channels there are between two layers, what is joined to them included."""
    joined = [node.output.shape[0] for node in one.between if isinstance(node.layer, Concat)]
    return max(one.first.output.shape[_axis(one)], *joined, 0)


def _axis(one: Pairing) -> int:
    return 0 if len(one.first.output.shape) == 3 else -1


def _is_concatenated(study: Study, node: Node) -> bool:
    """Whether what a layer makes is joined to other channels, with at most batch norm and nonlinearities between."""
    reader = study.only_reader(end_of_pointwise(study, node.output))
    return reader is not None and isinstance(reader.layer, Concat) and not reader.layer.axis


@lru_cache(1)
def _low_rank_throughout(study: Study) -> bool:
    """Whether at least three quarters of the layers that mix channels are in low-rank pairs."""
    pairs = {node for one in pairings(study) if _narrows(one) for node in (one.first, one.second)}
    return 4 * len(pairs) >= 3 * sum(map(_mixes, study.graph.nodes))


def _is_factorisation(study: Study, one: Pairing) -> bool:
    """Whether two layers stand for one that would cost more."""
    first, between, second = one
    read, through = _read(one), _through(one)
    a, b = _kernel(first), _kernel(second)
    if isinstance(second.layer, TransposedConv) and second.layer.groups > 1:
        return True
    if min(_groups(first), _groups(second)) > 1 and any(isinstance(node.layer, ChannelShuffle) for node in between):
        return True
    bottleneck = elements(a) == 1 and through <= read and ends_inverted_residual(study, first)
    if any(depthwise(node) for node in between):  # a factor with the 1x1 after it: there are three in a row
        return bottleneck and through < read and not _ends_separable(first)
    if _is_separated(a, b):
        return True
    if _is_low_rank(study, one):
        return True
    if elements(a) > 1 or through > read:
        return False
    pooled = any(isinstance(node.layer, GlobalAvgPool) for node in between)
    if pooled and through < read:
        return True
    return bottleneck and (through < read or not _ends_separable(first))


def _groups(node: Node) -> int:
    return node.layer.groups if isinstance(node.layer, (Conv, TransposedConv)) else 1


def _kernel(node: Node) -> Pair:
    layer = node.layer
    return pair(layer.kernel) if isinstance(layer, (Conv, TransposedConv)) else (1, 1)


def _is_separated(a: Pair, b: Pair) -> bool:
    """Whether one kernel reaches along rows alone and the other along columns alone."""
    return any(one[0] == other[1] == 1 < min(one[1], other[0]) for one, other in ((a, b), (b, a)))


def ends_inverted_residual(study: Study, node: Node) -> bool:
    """Whether a 1x1 layer reads what a depthwise one made, perhaps through a nonlinearity and a gate.

    Or what a spatial convolution made of less than half the channels, as in fused inverted residuals.
    """
    x, joined = node.inputs[0], False
    while x.node is not None and not study.rows[x.node].weights:
        joined |= isinstance(x.node.layer, Concat)
        x = max(x.node.inputs, key=lambda y: elements(y.shape))
    if x.node is None or depthwise(x.node):
        return x.node is not None
    expands = x.shape[0] > 2 * x.node.inputs[0].shape[0] and study.rows[x.node].weight_layers > 1
    return expands and not joined and isinstance(x.node.layer, Conv) and elements(_kernel(x.node)) > 1


def _ends_separable(node: Node) -> bool:
    """Whether a layer reads what a depthwise one made, with nothing nonlinear between."""
    x = node.inputs[0]
    while x.node is not None and isinstance(x.node.layer, LINEAR_BETWEEN):
        x = x.node.inputs[0]
    return x.node is not None and depthwise(x.node)
