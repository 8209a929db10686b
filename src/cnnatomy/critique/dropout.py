"""Rules about dropout: where batch norm reads it, where it drops nearly everything, and where it is missing."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.normalisation import normalisations
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.critique.ways import leads_to
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import BatchNorm, Conv, Dropout, Flatten, Reshape
from cnnatomy.layers.layer import elements

TINY, STRONG, USUAL, TOO_HIGH = 0.1, 0.3, 0.5, 0.8
"""Rates: shifting a variance by a ninth, by nearly a half, usual before classifiers, leaving a fifth."""

WIDE = 128
"""Channels of the narrowest layers with dropout of Wide ResNets: 160 in WRN-28-10, 128 in WRN-16-8."""

FEW = 512
"""Features before the scores, of which dropout would leave too few: heads that have it there have 512 to 4,096."""

MANY_WEIGHTS = 1_000_000
"""Weights of a head that no usual data set has images for."""


def _rates(study: Study) -> dict[Node, float]:
    """The rates of the dropouts that drop anything."""
    layers = [(node, node.layer) for node in study.graph.nodes]
    return {node: layer.rate for node, layer in layers if isinstance(layer, Dropout) and layer.rate}


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
    dropout; where it is wanted, it belongs after the last batch norm.

    Measured in one place of a residual network: 64 and 54 points of accuracy. In two places of a chain of 7 layers of
    32 channels (benchmarks/dropout_place.py, Fashion-MNIST, 300 steps, mean of four seeds), where 79.0 % are right
    without:

    | rate | right before batch norm | after ReLU, before a convolution |
    | --- | --- | --- |
    | 0.5 | 67.7 % | 76.5 % |
    | 0.25 | 70.7 % | 79.7 % |
    | 0.1 | 75.5 % | 78.4 % |

    So it is a note with weights between up to a rate of 0.3, and up to 0.5 inside residual branches, where Wide ResNets
    have it and gained by it; right before batch norm in branches of 128 channels or more, which suffer less (Li et
    al.). Rates of at most 0.1 are said with `--pedantic` or `--rule dropout-before-batch-norm` alone. Stochastic depth
    leaves out whole branches of an image, which is no dropout. Where all rates leave next to nothing, that comes first.
    """
    rates = _rates(study)
    normalised_later = leads_to(study, lambda reader: isinstance(reader.layer, BatchNorm)) if rates else {}
    found = {node: rate for node, rate in rates.items() if normalised_later[node.output]}
    if not found:
        return
    rate = max(found.values())
    harmful = any(r > TINY and _shifts(study, node, r) for node, r in found.items())
    them = "it" if len(found) == 1 else "them"
    at_once = all(_reaches_at_once(study, node) for node in found)
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'dropout')} with batch norm after {them}: rate {rate:g} makes the variance of "
        f"values around 0 {1 / (1 - rate):.3g} times as large in training as at inference",
        evidence={"layers": len(found), "rate": rate, "variance_ratio": 1 / (1 - rate)},
        remedy=study.remedy(
            f"leave {several(len(found), 'dropout')} out, or put one before the classifier",
            dict.fromkeys(found, ()),
            fix="safe" if at_once else "unsafe",
        ),
        severity=None if harmful else "note",
        quiet=rate <= TINY,
        under=("N12",) if min(found.values()) >= TOO_HIGH else (),
    )


def _shifts(study: Study, node: Node, rate: float) -> bool:
    """Whether such a dropout costs accuracy: right before batch norm, or strong, on the trunk more than in a branch."""
    if node.output in study.spine:
        return rate >= STRONG or _reaches_at_once(study, node)
    return rate > USUAL or (_reaches_at_once(study, node) and node.output.shape[0] < WIDE)


def _reaches_at_once(study: Study, node: Node) -> bool:
    """Whether no layer with weights lies between a dropout and what reads it."""
    reader = study.only_reader(node.output)
    return reader is not None and not study.rows[reader].macs


@rule("N12", "high-dropout-rate", "warning", "Srivastava et al. 2014, 'Dropout', section 7.3 and appendix A.4")
def high_dropout_rate(study: Study) -> Iterator[Case]:
    """Dropout that leaves next to nothing: a rate is what is dropped, not what is kept.

    With a rate of 0.8 one value in five is left, five times as large: the noise drowns what there is to learn. Its
    authors found half of hidden units good, and a fifth of inputs; they wrote p for what is kept, so that a "p of 0.8"
    of a paper may be a rate of 0.2 here.
    """
    found = {node: rate for node, rate in _rates(study).items() if rate >= TOO_HIGH}
    if not found:
        return
    rate = max(found.values())
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'dropout')} with a rate of up to {rate:g}: {1 - rate:.0%} of the values are left, "
        f"{1 / (1 - rate):.3g} times as large",
        evidence={"layers": len(found), "rate": rate},
        remedy=study.remedy(
            f"take a rate of {USUAL} before a classifier, and {1 - rate:.2g} if it was meant to be what is kept",
            {node: (node.layer.replace(rate=USUAL),) for node in found},
            fix="unsafe",
        ),
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
    are digits for LeNet: with less than a million weights, or where batch norm is in the network, it is said with
    `--pedantic` or `--rule vector-head-without-dropout` alone. Files for inference have lost their dropout.
    """
    collapse = study.collapse
    if collapse is None or study.graph.deployed or not isinstance(collapse.layer, (Flatten, Reshape, Conv)):
        return
    first = study.spine.index(collapse.output)
    head = [x.node for x in study.spine[first - 1 :] if x.node is not None]
    norms = normalisations(study)
    if not norms.union(_rates(study)).isdisjoint(head):
        return
    layers = [node for node in head if study.rows[node].weights and pixels(node.output.shape) == 1]
    if not layers:
        return
    weights = sum(study.rows[node].weights for node in layers)
    places = pixels(collapse.inputs[0].shape)
    hidden = [node for node in layers[1:] if node is not layers[-1] or elements(node.inputs[0].shape) >= FEW]
    hidden = hidden or [node for node in layers[:1] if elements(node.inputs[0].shape) >= FEW]
    yield Case(
        where=tuple(node.path for node in layers),
        text=f"{several(len(layers), 'layer')} with {weights:,} weights after a map of {places} pixels, no dropout",
        evidence={"layers": len(layers), "weights": weights, "pixels": places},
        remedy=study.remedy(
            f"put dropout of {USUAL} before {', '.join(node.path for node in hidden)}",
            {node: (Dropout(USUAL), node.layer) for node in hidden},
            fix="unsafe",
        )
        if hidden
        else Remedy("replace the vectorisation by global average pooling: too few features are left to drop any"),
        quiet=weights < MANY_WEIGHTS or bool(norms),
        under=("C1",),
    )
