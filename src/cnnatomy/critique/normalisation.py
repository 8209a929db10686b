"""Rules about what keeps values in range while a network is trained: batch norm and its ancestors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

from cnnatomy.critique.linear import NONLINEARITIES
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.layers import (
    SELU,
    Add,
    BatchNorm,
    Concat,
    Constant,
    Conv,
    DeformableConv,
    DepthwiseConv,
    Derived,
    FullyConnected,
    GroupNorm,
    Hardsigmoid,
    LocalResponseNorm,
    Multiply,
    PixelScale,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
    TransposedConv,
)
from cnnatomy.layers.layer import NO_OPERATIONS, TRAINING, elements

CONVOLUTIONS = (Conv, DepthwiseConv, TransposedConv, DeformableConv)

DEEP = 7
"""Layers with weights in a row from which a chain without normalisation depends on its start: with 7 it learned
nothing from torch's own at a learning rate of 0.01, with 5 it did (benchmarks/no_normalisation.py)."""

FAILURES = {
    7: "a chain of 7 learned nothing at learning rate 0.01 from torch's own start; from He's it learned",
    11: "a chain of 11 learned nothing at 0.01 to 0.1 from torch's own start; from He's it did, worse at 0.1",
    19: "a chain of 19 learned nothing at any learning rate from torch's own start, and from 0.03 on from He's",
}
"""What was measured from how many layers in a row on."""

FORGOTTEN = 0.25
"""Of all convolutions: with so few left without normalisation, they were forgotten; with more it is a pattern."""


@rule(
    "N1",
    "no-normalisation",
    "note",
    "lecture 001, 'Personal Notes For Vision Optimized CNNs'; Ioffe and Szegedy 2015, section 4.2; "
    "He et al. 2015, 'Delving Deep into Rectifiers', section 2.2",
)
def no_normalisation(study: Study) -> Iterator[Case]:
    """A deep network whose convolutions reach the next weights without normalisation, or one that was forgotten.

    "Use batch norm basically after all convolutions": it lets networks train at larger learning rates and without care
    for their start, and is merged into them afterwards. The order does not matter: before the activation, after it, or,
    pre-activated, at the beginning of the next block.

    Measured with plain chains of 3x3 convolutions on Fashion-MNIST, 300 steps of SGD with momentum 0.9
    (benchmarks/no_normalisation.py), accuracy by learning rate 0.01, 0.03 and 0.1:

    | layers | torch's own start | He's start | batch norm |
    | --- | --- | --- | --- |
    | 5 | 47, 66, 74 % | 64, 71, 77 % | 66, 68, 78 % |
    | 7 | 10, 52, 26 % | 71, 72, 75 % | 74, 79, 75 % |
    | 11 | 10, 10, 10 % | 73, 74, 48 % | 73, 80, 78 % |
    | 19 | 9, 10, 10 % | 60, 9, 9 % | 72, 78, 60 % |

    Chance is 10 %. VGG's 16 layers were started from those of its network A, which has 11.

    Of interest from 7 layers in a row on; and where at most a quarter of many convolutions has none, each with a
    nonlinearity after it. Rarely else, so that `--rule no-normalisation` alone says it: in shallower networks, blocks
    with one normalisation for several layers (ConvNeXt), of the first layer or the last alone (DCGAN, DnCNN), networks
    of concatenated branches (SqueezeNet), such as make images of images (EDSR), and those that keep their range in
    another way: standardised weights (NFNet), scaled branches (Fixup), or SELU. Gates are left out, layers on maps of
    one pixel, what ends a residual branch that was normalised before, and files for inference, into which it may have
    been folded. Where there is local response normalisation, replacing that comes first.
    """
    norms = normalisations(study)
    convolutions = [n for n in study.graph.nodes if isinstance(n.layer, CONVOLUTIONS) and pixels(n.output.shape) > 1]
    if all(study.only_reader(node.output) in norms for node in convolutions) or (not norms and study.graph.deployed):
        return
    passing = _bare(study, norms)
    bare = [node for node in convolutions if node in passing]
    if not bare:
        return
    forgotten = [node for node in bare if _is_rectified(study, node)]
    if norms and forgotten and len(bare) <= FORGOTTEN * len(convolutions):
        at_ends = {convolutions[0], convolutions[-1]}.issuperset(forgotten)
        case = _without(study, convolutions, forgotten, ", where the others have it: forgotten?", quiet=at_ends)
        yield case._replace(under=("N4", "W10"))  # a nonlinearity between layers comes first
        return
    longest, shortest = (max(_weights_since_normalisation(study, norms, 0, join).values()) for join in (max, min))
    run = 0 if _keeps_range_otherwise(study) else longest
    if run < DEEP:
        yield _without(study, convolutions, bare, "", quiet=True)
    elif shortest >= DEEP:
        yield _without(study, convolutions, bare, f", {run} layers in a row: {_measured(run)}")
    else:
        sums = sum(isinstance(node.layer, Add) for node in study.graph.nodes)
        grows = f"what {several(sums, 'addition')} sum up grows with each, and nothing brings it back"
        yield _without(study, convolutions, bare, f": {grows}")


def _without(
    study: Study, convolutions: Sequence[Node], bare: Sequence[Node], because: str, quiet: bool = False
) -> Case:
    """The case of these convolutions without normalisation."""
    every = several(len(convolutions), "convolution")
    kept = sum(elements(node.output.shape) for node in bare)
    biased = " in place of the bias" if any(getattr(node.layer, "bias", False) for node in bare) else ""
    return Case(
        where=tuple(node.path for node in bare),
        text=f"{len(bare)} of {every} without normalisation before the next weights{because}",
        evidence={"convolutions": len(convolutions), "without": len(bare), "depth": study.account.depth},
        remedy=study.remedy(
            f"put batch norm after {several(len(bare), 'convolution')}{biased}; training then keeps "
            f"{kept:,} more values of each image, and at inference it is folded into the weights",
            {node: (node.layer.replace(bias=False), BatchNorm()) for node in bare},
            fix="unsafe",
        ),
        quiet=quiet,
        under=("N4",),
    )


def _measured(run: float) -> str:
    """What was measured of plain chains of at most so many layers."""
    return next(text for depth, text in reversed(FAILURES.items()) if depth <= run)


def _is_rectified(study: Study, node: Node) -> bool:
    """Whether a nonlinearity is all that reads a layer; SELU, which keeps the range itself, is none."""
    reader = study.only_reader(node.output)
    kinds = (*NONLINEARITIES, Sigmoid, Tanh)
    return reader is not None and isinstance(reader.layer, kinds) and not isinstance(reader.layer, SELU)


def _keeps_range_otherwise(study: Study) -> bool:
    """Whether a network is evidently meant to be without normalisation.

    Its weights are computed from others (standardised), its branches are scaled before they are added, at every few
    layers maps are concatenated, it makes images of images, or its nonlinearity normalises (SELU).
    """
    nodes, output, source = study.graph.nodes, study.output.shape, study.graph.inputs[0].shape
    scaled = any(
        isinstance(x.node.layer, (Scale, PixelScale, Constant))
        for node in nodes
        if isinstance(node.layer, Add)
        for x in node.inputs
        if x.node is not None
    )
    concatenations = sum(isinstance(node.layer, Concat) for node in nodes)
    responses = any(isinstance(node.layer, LocalResponseNorm) for node in nodes)
    images = len(output) == 3 and output[0] == source[0] and pixels(output) >= pixels(source)
    return (
        scaled
        or images
        or (4 * concatenations >= study.account.depth and not responses)
        or any(isinstance(node.layer, (Derived, SELU)) for node in nodes)
    )


def normalisations(study: Study) -> set[Node]:
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


def _weights_since_normalisation(
    study: Study, norms: set[Node], start: float = inf, across_additions: Callable[[list[float]], float] = max
) -> dict[FeatureMap, float]:
    """How many layers with weights lie between a map and the last normalisation before it.

    Where there is none, it is those since the input and `start` more. Of what is added, `max` or `min` counts.
    """
    since: dict[FeatureMap, float] = dict.fromkeys(study.graph.inputs, start)
    for node in study.graph.nodes:
        before = [since[x] for x in node.inputs]
        # Of a product the least: a gate has weights of its own.
        join = across_additions if isinstance(node.layer, Add) else min if isinstance(node.layer, Multiply) else max
        since[node.output] = 0 if node in norms else join(before) + _multiplies(study, node)
    return since


def _multiplies(study: Study, node: Node) -> bool:
    """Whether a layer has weights that it multiplies with (unlike an embedding of positions, which is added)."""
    row = study.rows[node]
    return row.weights > 0 and row.macs > 0


def _bare(study: Study, norms: set[Node]) -> set[Node]:
    """The nodes with a way from them, through nonlinearities, to weights, on which no normalisation lies.

    Weights that follow at once are half of one layer, as in separable convolutions. A product of two maps, as attention
    has, ends the way; so do gates and the offsets of a deformable convolution. Gates are left out, and so is what
    ends a residual branch if at most one layer lies between it and a normalisation.
    """
    rows, readers, gates = study.rows, study.readers, _gates(study)
    since = _weights_since_normalisation(study, norms)
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


@rule("N2", "bias-before-batch-norm", "note", "Ioffe and Szegedy 2015, section 3.2")
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
    biased, them = f"{biases:,} bias" + ("es" if biases > 1 else ""), "it" if len(found) == 1 else "them"
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'layer')} with {biased}, which the batch norm after {them} takes away",
        evidence={"layers": len(found), "offsets": biases},
        remedy=study.remedy(
            f"leave {biased} out",
            {node: (node.layer.replace(bias=False),) for node in found},
            fix="safe",
        ),
        under=("N10",),
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
    since = _weights_since_normalisation(study, normalisations(study))
    yield Case(
        where=tuple(node.path for node in nodes),
        text=f"{maps:,} values, {share:.0%} of all feature maps, are written by {several(len(nodes), 'layer')} of it",
        evidence={"layers": len(nodes), "elements": maps, "share_of_maps": share},
        remedy=study.remedy(
            "replace local response normalisation by batch norm, or leave it out where there is one before",
            {node: () if since[node.inputs[0]] == 0 else (BatchNorm(),) for node in nodes},
            fix="unsafe",
        ),
    )
