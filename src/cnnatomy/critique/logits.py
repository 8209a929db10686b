"""A rule about what stands between a classifier and its loss: nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnatomy.critique.linear import NONLINEARITIES
from cnnatomy.critique.ranges import RECTIFIERS
from cnnatomy.critique.rule import Case, Severity, rule
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design import KeypointHead, LinearHead, MapHead, VectorHead
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    AvgPool,
    Conv,
    Crop,
    Dropout,
    Foreign,
    FullyConnected,
    GlobalAvgPool,
    Hardsigmoid,
    Hardtanh,
    Interpolate,
    Layer,
    NotCounted,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from cnnatomy.layers.layer import REARRANGEMENT, pair
from cnnatomy.layers.training import NORMALISATIONS

BENT = (*NONLINEARITIES, Tanh, Hardtanh)
"""Nonlinearities that are no probabilities; sigmoid and softplus are outputs that people mean."""
PASSED = (Softmax, Sigmoid, Interpolate, Crop, Dropout)
"""What may be after scores, and leaves them what they are or makes probabilities of them."""
FEATURES = 64
"""Embeddings have a multiple of so many features, numbers of classes seldom: 10, 100, 1,000, 19, 21, 80, 150."""
MEASURES = 4
"""Numbers that a box has; with fewer it may be a point, a colour, a normal."""


class Scores(NamedTuple):
    """The last layer with weights, and what stands between it and the output.

    `evident` says whether its numbers are class scores beyond doubt, `averaged` whether all of it is before the global
    average, `published` whether that is a ReLU alone, as in SqueezeNet.
    """

    layer: Node
    after: list[Node]
    evident: bool
    averaged: bool
    published: bool


@rule(
    "N10",
    "bent-logits",
    "warning",
    "Goodfellow et al. 2016, section 6.2.2.3: the softmax reads unnormalised log probabilities of a linear layer",
)
def bent_logits(study: Study) -> Iterator[Case]:
    """A nonlinearity, normalisation or dropout between the classifier and the loss.

    The loss wants scores of any size and sign. After a ReLU no class can be less likely than another whose score is 0,
    and a score below 0 gets no gradient: such a class may be dead for good. Batch norm makes all classes equally likely
    over a batch, and lets each score depend on the other images of it. Measured with ReLU on the scores (Fashion-MNIST,
    two seeds): 7.1 and 22.8 points of accuracy.

    An error where a ReLU is on what is evidently class scores (a classifier's head, or what `--task` or `--classes`
    says), else a warning; a note in a file for inference. Softmax and sigmoid as an output are softmax-before-loss's
    matter. No objection are outputs that are no class scores: one number, embeddings (64 features or a multiple of it),
    images, heat maps of keypoints, two to four numbers between bounds. A ReLU alone right before the global average, as
    in SqueezeNet, is a note: a class that is nowhere positive gets no gradient, but there are many pixels. Anything
    else there is a warning.
    """
    for output in study.graph.outputs:
        scores = _scores(study, output)
        if scores is None:
            continue
        made = scores.layer.output.shape[0]
        names = ", ".join(sorted({type(node.layer).__name__ for node in scores.after}))
        rectified = any(isinstance(node.layer, RECTIFIERS) for node in scores.after)
        severity: Severity = "error" if rectified and scores.evident and not scores.averaged else "warning"
        effect = "no score can be negative" if rectified else "the loss does not get the scores that the layer makes"
        yield Case(
            where=tuple(node.path for node in scores.after),
            text=f"{names} after {scores.layer.path}, which makes {made:,} class scores: {effect}",
            evidence={"classes": made, "layers": len(scores.after)},
            remedy=_end_in_scores(study, scores),
            severity="note" if study.graph.deployed or scores.published else severity,
        )


def _end_in_scores(study: Study, scores: Scores) -> Remedy:
    """All that is after the scores left out; a bias in its place where a normalisation goes and there is none."""
    node, names = scores.layer, ", ".join(node.path for node in scores.after)
    changes: dict[Node, tuple[Layer, ...]] = dict.fromkeys(scores.after, ())
    assert isinstance(node.layer, (FullyConnected, Conv))
    unbiased = not node.layer.bias and any(isinstance(one.layer, NORMALISATIONS) for one in scores.after)
    if unbiased:
        changes[node] = (node.layer.replace(bias=True),)
    text = f"end in {node.path}{', with a bias' * unbiased}: leave {names} out"
    return study.remedy(text, changes, fix="unsafe" if scores.averaged else "safe")


def _scores(study: Study, output: FeatureMap) -> Scores | None:
    """The layer that makes the class scores of an output, and what changes them; None where they are none."""
    node, after = output.node, []
    while node is not None and len(node.inputs) == 1:
        layer = node.layer
        if isinstance(layer, (*BENT, *NORMALISATIONS)) or (isinstance(layer, Dropout) and layer.rate):
            after.append(node)
        elif not (layer.kind == REARRANGEMENT or _is_log_softmax(layer) or isinstance(layer, PASSED)):
            break
        node = node.inputs[0].node
    after.reverse()
    before: list[Node] = []  # the global average
    if node is not None and isinstance(node.layer, (GlobalAvgPool, AvgPool)) and pixels(node.output.shape) == 1:
        node = node.inputs[0].node
        while node is not None and isinstance(node.layer, (*BENT, *NORMALISATIONS)):
            before.insert(0, node)
            node = node.inputs[0].node
    if node is None or len(output.shape) not in (1, 3) or not isinstance(node.layer, (FullyConnected, Conv)):
        return None
    if isinstance(node.layer, Conv) and pixels(node.output.shape) == 1 < max(pair(node.layer.kernel)):
        return None
    evident = _is_evident(study, node, output)
    changed = [*before, *after]
    if not changed or not (evident or _may_be_scores(study, node, changed)):
        return None
    published = not after and [type(one.layer) for one in before] == [ReLU]
    if before and not (after or evident or published) and node.output.shape[0] >= node.inputs[0].shape[0]:
        return None  # features: scores are fewer than what they are made of
    return Scores(node, changed, evident, averaged=not after, published=published)


def _is_log_softmax(layer: Layer) -> bool:
    """Whether it is the logarithm of a softmax, which is none of our layers."""
    return isinstance(layer, (Foreign, NotCounted)) and layer.what.replace("_", "").lower() == "logsoftmax"


def _is_evident(study: Study, node: Node, output: FeatureMap) -> bool:
    """Whether these are class scores by what was said, or by the head that makes them."""
    channels, purpose = node.output.shape[0], study.purpose
    if output is study.output and (purpose.classes == channels or purpose.task == "classification"):
        return True
    heads = (LinearHead, VectorHead, MapHead) if channels > MEASURES else (LinearHead, VectorHead)
    return channels > 1 and any(isinstance(block, heads) for block in node.scope.around())


def _may_be_scores(study: Study, node: Node, after: Sequence[Node]) -> bool:
    """Whether so many numbers are likely to be class scores: more than measures or coordinates, and no embedding."""
    channels, source = node.output.shape[0], study.graph.inputs[0].shape[0]
    heat_maps = any(isinstance(block, KeypointHead) for block in node.scope.around())
    if channels == 1 or channels % FEATURES == 0 or heat_maps:
        return False
    if pixels(study.output.shape) > 1:
        return study.described and channels > MEASURES and channels != source and channels % 16 != 0
    bounded = all(isinstance(one.layer, (Tanh, Hardtanh, Hardsigmoid)) for one in after)
    return channels > MEASURES or (channels < MEASURES and not bounded)
