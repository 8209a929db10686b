"""Rules about what keeps values in range while a network is trained: batch norm, its ancestors, and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Conv,
    DeformableConv,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GroupNorm,
    Hardsigmoid,
    LocalResponseNorm,
    Multiply,
    Reshape,
    Sigmoid,
    Softmax,
    TransposedConv,
)
from cnnatomy.layers.layer import NO_OPERATIONS, TRAINING, elements

CONVOLUTIONS = (Conv, DepthwiseConv, TransposedConv, DeformableConv)

SHALLOW = 11
"""VGG's network A has 11 layers with weights, "shallow enough to be trained with random initialisation"; deeper ones
were started from its weights (Simonyan and Zisserman 2014, section 3.1)."""


@rule(
    "N1",
    "no-normalisation",
    "warning",
    "lecture 001, 'Personal Notes For Vision Optimized CNNs'; Ioffe and Szegedy 2015, section 4.2",
)
def no_normalisation(study: Study) -> Iterator[Case]:
    """A convolution whose output reaches the next weights without normalisation.

    "Use batch norm basically after all convolutions": it lets networks train many times faster, at larger learning
    rates and without care for their start, and is merged into them afterwards. The order does not matter: before the
    activation, after it, or, pre-activated, at the beginning of the next block. Gates are left out, layers on maps of
    one pixel, what ends a residual branch that was normalised before, and files for inference, into which it may have
    been folded. A note in networks of at most 11 layers, which train without, and where others are normalised: one
    may have been forgotten, but blocks with one normalisation for several layers (ConvNeXt) are meant to be so.
    """
    norms = _normalisations(study)
    convolutions = [n for n in study.graph.nodes if isinstance(n.layer, CONVOLUTIONS) and pixels(n.output.shape) > 1]
    if all(study.only_reader(node.output) in norms for node in convolutions) or (not norms and study.graph.deployed):
        return
    since = _weights_since_normalisation(study, norms)
    passing = _bare(study, since, norms)
    bare = [node for node in convolutions if node in passing]
    if not bare:
        return
    every = several(len(convolutions), "convolution")
    yield Case(
        where=tuple(node.path for node in bare),
        text=f"{len(bare)} of {every} without normalisation before the next weights"
        + ("" if norms else f", none at all in a network {study.account.depth} layers deep"),
        evidence={"convolutions": len(convolutions), "without": len(bare), "depth": study.account.depth},
        remedy=study.remedy(
            f"put batch norm after {several(len(bare), 'convolution')}, whose biases it makes superfluous",
            {node: (node.layer.replace(bias=False), BatchNorm()) for node in bare},
            fix=None if norms else "unsafe",
        ),
        severity="note" if norms or study.account.depth <= SHALLOW else None,
    )


def _normalisations(study: Study) -> set[Node]:
    """The layers that normalise; of the layers that are there for training, dropout computes nothing."""
    return {row.node for row in study.account.rows if row.kind == TRAINING and row.operations != NO_OPERATIONS}


def _gates(study: Study) -> set[Node]:
    """The nodes on the one way from where a gate branches off to where it multiplies: SE, spatial attention."""
    gates: set[Node] = set()
    for product in study.graph.nodes:
        if not isinstance(product.layer, Multiply):
            continue
        for x in product.inputs:
            way: list[Node] = []
            while x.node is not None and len(x.node.inputs) == 1 and study.only_reader(x) is not None:
                way.append(x.node)
                x = x.node.inputs[0]
            if any(isinstance(node.layer, (Sigmoid, Hardsigmoid, Softmax)) for node in way):
                gates.update(way)
    return gates


def _weights_since_normalisation(study: Study, norms: set[Node]) -> dict[FeatureMap, float]:
    """How many layers with weights lie between a map and the last normalisation before it; infinite without one."""
    since: dict[FeatureMap, float] = dict.fromkeys(study.graph.inputs, inf)
    for node in study.graph.nodes:
        before = [since[x] for x in node.inputs]
        least = min(before) if isinstance(node.layer, Multiply) else max(before)  # a gate has weights of its own
        since[node.output] = 0 if node in norms else least + _multiplies(study, node)
    return since


def _multiplies(study: Study, node: Node) -> bool:
    """Whether a layer has weights that it multiplies with (unlike an embedding of positions, which is added)."""
    row = study.rows[node]
    return row.weights > 0 and row.macs > 0


def _bare(study: Study, since: dict[FeatureMap, float], norms: set[Node]) -> set[Node]:
    """The nodes with a way from them, through nonlinearities, to weights, on which no normalisation lies.

    Weights that follow at once are half of one layer, as in separable convolutions. A product of two maps, as attention
    has, ends the way; so do gates and the offsets of a deformable convolution. Gates are left out, and so is what
    ends a residual branch if at most one layer lies between it and a normalisation.
    """
    rows, readers, gates = study.rows, study.readers, _gates(study)
    reaches: dict[FeatureMap, bool] = {}  # some way from here leads to weights first
    added: dict[FeatureMap, bool] = {}  # every way from here leads to an addition first
    for node in reversed(study.graph.nodes):
        x = node.output
        reached, joined = False, bool(readers[x])
        for reader in readers[x]:
            if reader in gates:
                continue
            if _multiplies(study, reader):
                reached |= not _multiplies(study, node) and (
                    not isinstance(reader.layer, DeformableConv) or x is reader.inputs[0]
                )
                joined = False
            elif not rows[reader].macs and reader not in norms:
                reached |= reaches[reader.output]
                joined &= isinstance(reader.layer, Add) or added[reader.output]
        reaches[x], added[x] = reached, joined
    return {
        node
        for node in study.graph.nodes
        if reaches[node.output] and node not in gates and not (added[node.output] and since[node.inputs[0]] <= 1)
    }


@rule("N2", "bias-before-batch-norm", "warning", "Ioffe and Szegedy 2015, section 3.2")
def bias_before_batch_norm(study: Study) -> Iterator[Case]:
    """Biases right before a batch norm, which takes them away again.

    Batch norm subtracts the mean of each channel, and with it whatever was added to the channel: the bias learns
    nothing, and is stored, read and updated all the same. Batch norm has a bias of its own. (It is not so before
    group or layer norm, whose means are over several channels.)
    """
    found: list[Node] = []
    biases = 0
    for node in study.graph.nodes:
        if not _takes_means_away(node) or node.inputs[0].node is None:
            continue
        before, shape = node.inputs[0].node, node.output.shape
        if (
            isinstance(before.layer, (*CONVOLUTIONS, FullyConnected))
            and before.layer.bias
            and len(node.inputs[0].shape) != 2  # of a sequence, batch norm's channels are the steps
            and study.only_reader(before.output) is node
        ):
            found.append(before)
            biases += 0 if "bias" in before.shared else shape[0]
    if not found:
        return
    biased = f"{biases:,} bias" + ("es" if biases > 1 else "")
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'layer')} with {biased}, which the batch norm after it takes away",
        evidence={"layers": len(found), "offsets": biases},
        remedy=study.remedy(
            f"leave {biased} out",
            {node: (node.layer.replace(bias=False),) for node in found},
            fix="safe",
        ),
    )


def _takes_means_away(node: Node) -> bool:
    """Whether a layer subtracts the mean of each channel: batch norm, and instance norm."""
    layer = node.layer
    return isinstance(layer, BatchNorm) or (isinstance(layer, GroupNorm) and layer.groups == node.output.shape[0])


@rule("N4", "response-normalisation", "warning", "lecture 000, 'Channel'; Simonyan and Zisserman 2014, section 2.1")
def response_normalisation(study: Study) -> Iterator[Case]:
    """Local response normalisation, which costs memory and time and does not help.

    VGG measured it: no gain on ImageNet, more memory, more time. Batch norm does what it was meant to do, makes
    training faster, and right after a convolution it is folded into that for inference.
    """
    nodes = [node for node in study.graph.nodes if isinstance(node.layer, LocalResponseNorm)]
    if not nodes:
        return
    maps = sum(elements(node.output.shape) for node in nodes)
    share = maps / study.account.totals.feature_map_elements
    since = _weights_since_normalisation(study, _normalisations(study))
    yield Case(
        where=tuple(node.path for node in nodes),
        text=f"{several(len(nodes), 'layer')} of it write {maps:,} values, {share:.0%} of all feature maps",
        evidence={"layers": len(nodes), "elements": maps, "share_of_maps": share},
        remedy=study.remedy(
            "replace it by batch norm, unless there is one before",
            {node: () if since[node.inputs[0]] == 0 else (BatchNorm(),) for node in nodes},
            fix="unsafe",
        ),
    )


@rule(
    "N6",
    "dropout-before-batch-norm",
    "warning",
    "lecture 003, 'Batch Normalization'; "
    "Li et al. 2019, 'Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift'",
)
def dropout_before_batch_norm(study: Study) -> Iterator[Case]:
    """Dropout with a batch norm after it.

    Dropout makes the variance of what it lets through larger in training alone, and batch norm divides by the variance
    of training at inference, where it is no longer that. Rate p multiplies it by 1 / (1 - p) where the mean is 0, and
    by more where it is not; every batch norm after it is off. Both are capacity control, so that batch norm needs no
    dropout; where it is wanted, it belongs after the last batch norm. Wide layers, as in Wide ResNets, suffer less.
    """
    nodes = [node for node in study.graph.nodes if isinstance(node.layer, Dropout) and node.layer.rate > 0]
    if not nodes:
        return
    normalised_later: dict[FeatureMap, bool] = {}
    for node in reversed(study.graph.nodes):
        readers = study.readers[node.output]
        normalised_later[node.output] = any(
            isinstance(r.layer, BatchNorm) or normalised_later[r.output] for r in readers
        )
    found = {
        node: node.layer.rate for node in nodes if normalised_later[node.output] and isinstance(node.layer, Dropout)
    }
    if not found:
        return
    rate = max(found.values())
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'dropout')} with batch norm after it: rate {rate:g} makes the variance of "
        f"values around 0 {1 / (1 - rate):.3g} times as large in training as at inference",
        evidence={"layers": len(found), "rate": rate, "variance_ratio": 1 / (1 - rate)},
        remedy=study.remedy("leave the dropout out", dict.fromkeys(found, ()), fix="safe"),
    )


@rule(
    "N7",
    "vector-head-without-dropout",
    "note",
    "lecture 000, 'Feature Map To Feature Vector Transform'; Krizhevsky et al. 2012, section 4.2",
)
def vector_head_without_dropout(study: Study) -> Iterator[Case]:
    """A vectorised head without dropout.

    A fully connected layer that reads every pixel by itself has a lot of redundancy, and weights enough to learn its
    training images by heart; AlexNet "exhibits substantial overfitting" without dropout there. Global average pooling
    does away with the weights and with the need. It matters less where there are as many images as weights, as there
    are digits for LeNet; files for inference have lost their dropout.
    """
    collapse = study.collapse
    if collapse is None or study.graph.deployed or not isinstance(collapse.layer, (Flatten, Reshape, Conv)):
        return
    first = study.spine.index(collapse.output)
    head = [x.node for x in study.spine[first - 1 :] if x.node is not None]
    norms = _normalisations(study)
    if any(node in norms or (isinstance(node.layer, Dropout) and node.layer.rate) for node in head):
        return
    layers = [node for node in head if study.rows[node].weights and pixels(node.output.shape) == 1]
    if not layers:
        return
    weights = sum(study.rows[node].weights for node in layers)
    places = pixels(collapse.inputs[0].shape)
    hidden = layers[1:] or layers
    yield Case(
        where=tuple(node.path for node in layers),
        text=f"{several(len(layers), 'layer')} with {weights:,} weights after a map of {places} pixels, no dropout",
        evidence={"layers": len(layers), "weights": weights, "pixels": places},
        remedy=study.remedy(
            f"put dropout of 0.5 before {', '.join(node.path for node in hidden)}",
            {node: (Dropout(0.5), node.layer) for node in hidden},
            fix="unsafe",
        ),
    )
