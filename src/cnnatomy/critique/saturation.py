"""A rule about nonlinearities that saturate: what a deep body of sigmoids does to gradients."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.critique.ways import comes_from, leads_to, most_on_a_way
from cnnatomy.design.graph import Node
from cnnatomy.layers import Hardsigmoid, Hardtanh, Multiply, ReLU, Sigmoid, Softsign, Tanh
from cnnatomy.layers.layer import ELEMENT, REARRANGEMENT, Layer

SATURATING = (Sigmoid, Hardsigmoid, Tanh, Softsign)

DEEP = 4
"""Saturating layers one after another from which it is no matter of taste."""
USUAL = 3
"""Standard deviations within which nearly all values lie: what cuts farther out cuts next to nothing."""
SHALLOW = 5
"""Layers with weights of LeNet-5, which learns with tanh."""


@rule(
    "N9",
    "saturating-body",
    "warning",
    "Glorot and Bengio 2010, section 3.1; Krizhevsky et al. 2012, section 3.1 and figure 1",
)
def saturating_body(study: Study) -> Iterator[Case]:
    """Sigmoid or tanh, also a hard one, after the convolutions of a deep body.

    A sigmoid passes at most a quarter of the gradient, and next to nothing where it saturates, as a tanh does too; of a
    layer before several of them nothing is learned. Measured with 8 convolutions with sigmoids (Fashion-MNIST, 3 epochs
    of 4,000 images): chance without batch norm, 25 points below ReLU with it. Krizhevsky et al. reached a training
    error with ReLU six times sooner than with tanh, in four layers.

    Counted are those on one way, from the second on maps on. From 4 on it is a warning; a note in networks of at most 5
    layers, such as LeNet-5. No objection are gates, which multiply another map (squeeze and excitation, attention,
    LSTM, GLU, and Swish made of x * sigmoid(x)), what is only followed by layers without weights, such as the
    probabilities or coordinates of an output, and up to 3 of them elsewhere.
    """
    candidates = [node for node in study.graph.nodes if _saturates(node.layer)]
    if len(candidates) < DEEP:
        return
    weights_later = leads_to(study, lambda reader: study.rows[reader].macs > 0)
    saturating = [node for node in candidates if weights_later[node.output] and not _is_gate(study, node)]
    if sum(pixels(node.output.shape) > 1 for node in saturating) < 2:
        return
    row = most_on_a_way(study, saturating)
    if row < DEEP:
        return
    kinds = " and ".join(sorted({type(node.layer).__name__.lower() for node in saturating}))
    sigmoids = all(isinstance(node.layer, (Sigmoid, Hardsigmoid)) for node in saturating)
    effect = "each passes at most a quarter of the gradient" if sigmoids else "gradients vanish where they saturate"
    yield Case(
        where=tuple(node.path for node in saturating),
        text=f"{several(row, 'layer')} of {kinds} one after another: {effect}",
        evidence={"layers": len(saturating), "in_a_row": row},
        remedy=study.remedy(
            f"put ReLU in place of {several(len(saturating), 'layer')} of {kinds}",
            {node: (ReLU(),) for node in saturating},
            fix="unsafe",
        ),
        severity="note" if study.account.depth <= SHALLOW else None,
    )


def _saturates(layer: Layer) -> bool:
    """Whether it is flat on both sides of 0, near enough to it for normalised values."""
    cut = isinstance(layer, Hardtanh) and -USUAL <= layer.least < 0 < layer.most <= USUAL
    return cut or isinstance(layer, SATURATING)


def _is_gate(study: Study, node: Node) -> bool:
    """Whether what it makes multiplies a map that was not made of it."""
    waiting = [node.output]
    while waiting:
        x = waiting.pop()
        for reader in study.readers[x]:
            if isinstance(reader.layer, Multiply):
                others = [y for y in reader.inputs if y is not x]
                if others and not any(comes_from(study, [y], {node.output}) for y in others):
                    return True
            elif len(reader.inputs) == 1 and reader.layer.kind in (ELEMENT, REARRANGEMENT):
                waiting.append(reader.output)
    return False
