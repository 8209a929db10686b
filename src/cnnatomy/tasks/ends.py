"""How heads end: an activation that the loss computes, too, is left to it; one that spoils the scores is said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cnnatomy.design.blocks import Chain, Heads, Named
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.design.network import Design, Network
from cnnatomy.errors import UserError
from cnnatomy.layers import (
    Flatten,
    GroupMaximum,
    Layer,
    RadialBasis,
    Reshape,
    Softmax,
)
from cnnatomy.layers.interval import ANY
from cnnatomy.layers.layer import ELEMENT, Shape
from cnnatomy.layers.training import NORMALISATIONS
from cnnatomy.tasks.task import Output, Task, outputs_of

RESHAPING = (Flatten, Reshape)
"""Layers that leave the numbers and their order as they are."""


class End(NamedTuple):
    """The last layer of a head that computes anything, and what the loss computes of what the head gives."""

    output: Output
    node: Node
    in_loss: type[Layer]

    @property
    def is_in_loss(self) -> bool:
        """Whether the layer is what the loss computes: a sigmoid, or a softmax over the classes and nothing else.

        The classes are the first axis of the output that has more than one index, whatever reshaping comes before.
        """
        layer = self.node.layer
        if not isinstance(layer, self.in_loss):
            return False
        if not isinstance(layer, Softmax):
            return True
        shape = self.node.output.shape
        return _first(shape) == layer.axis and shape[layer.axis] == self.output.shape[_first(self.output.shape)]


def _first(shape: Shape) -> int:
    """The first axis with more than one index."""
    return next((axis for axis, size in enumerate(shape) if size > 1), 0)


def ends(network: Design, graph: Graph, task: Task) -> Iterator[End]:
    """Of the heads whose loss computes a sigmoid or softmax of what they give."""
    for output, given in zip(outputs_of(network, graph), graph.outputs, strict=True):
        in_loss, node = task.activation(output.name), _before(graph, given, RESHAPING)
        if in_loss is not None and node is not None:
            yield End(output, node, in_loss)


def _before(graph: Graph, given: FeatureMap, passing: tuple[type[Layer], ...]) -> Node | None:
    """The node that made this output, before layers of these kinds; None where others read it on the way."""
    reads = Counter(x for node in graph.nodes for x in node.inputs)
    reads.update(graph.outputs)
    node = given.node
    while node is not None and isinstance(node.layer, passing) and reads[node.output] == 1:
        node = node.inputs[0].node
    return node if node is not None and reads[node.output] == 1 else None


def without_activation(network: Design, shape: Shape, task: Task) -> tuple[Design, str]:
    """The network without the sigmoids or softmaxes of its heads that the task's loss computes; and which, in words.

    Raises:
        UserError: naming the layer, where it is in a block of several heads that cannot be written without it.
    """
    graph = network.graph(shape)
    found = [end for end in ends(network, graph, task) if end.is_in_loss]
    if not found:
        return network, ""
    said = " and ".join(f"the {type(end.node.layer).__name__.lower()} at the end ({end.node.path})" for end in found)
    if isinstance(network, Network):
        shorter = network.replace(head=_shortened(network.head, {end.output.name: end.in_loss for end in found}))
        if len(shorter.graph(shape).nodes) == len(graph.nodes) - len(found):
            return shorter, said
    try:
        listed = network if isinstance(network, ListedNetwork) else ListedNetwork.of(graph, network.name)
    except UserError:
        raise UserError(
            f"{network.name or 'the network'}: the loss of {task.kind} computes {said}, too, so that it would be done"
            " twice; as several heads, of a block of one's own, cannot be written without it, remove it from the design"
        ) from None
    return _unlisted(listed, found[0].in_loss), said


def _shortened(head: Any, kinds: dict[str, type[Layer]]) -> Any:
    """A head, or several, without the activations at the ends of those that are named."""
    if not isinstance(head, Heads):
        (kind,) = kinds.values()
        return _without_last(head, kind) or head
    parts = [
        Named(part.name, _without_last(part.part, kinds[part.name]) or part.part) if part.name in kinds else part
        for part in head.parts
        if isinstance(part, Named)
    ]
    return Heads(*parts, **head.options())


def _without_last(part: Any, kind: type[Layer]) -> Any:
    """A chain without the activation at its end, before layers that reshape; None where a block hides it."""
    if isinstance(part, kind):
        return Chain()
    if type(part) is not Chain:
        return None
    for i in reversed(range(len(part.parts))):
        whole = part.parts[i]
        inner = whole.part if isinstance(whole, Named) else whole
        shorter = _without_last(inner, kind)
        if shorter is None:
            if isinstance(inner, RESHAPING):
                continue
            return None
        left = [Named(whole.name, shorter) if isinstance(whole, Named) else shorter] if shorter != Chain() else []
        return Chain(*part.parts[:i], *left, *part.parts[i + 1 :])
    return None


def _unlisted(network: ListedNetwork, kind: type[Layer]) -> ListedNetwork:
    """A list of nodes without that activation."""
    entries, number = network.entries, len(network.entries)
    while not isinstance(entries[number - 1].layer, kind):
        (number,) = entries[number - 1].reads
    (before,) = entries[number - 1].reads
    moved = [before if i == number else i - (i > number) for i in range(len(entries) + 1)]
    left = [entry.replace(reads=tuple(moved[i] for i in entry.reads)) for entry in entries]
    return network.replace(entries=(*left[: number - 1], *left[number:]))


def spoiled(network: Design, shape: Shape, task: Task) -> list[str]:
    """A line for each head whose scores are bounded, or normalised, by the layer that it ends with."""
    return [
        f"{said}: the loss computes the {wanted} of scores of any size, and this layer {effect}, so that it learns"
        " worse or not at all. Remove it from the design"
        for said, wanted, effect in bounded(network, shape, task)
    ]


def bounded(network: Design, shape: Shape, task: Task) -> Iterator[tuple[str, str, str]]:
    """With which layer such a head ends, what is computed of its scores, and what the layer does to them, in words."""
    for output, node, in_loss in ends(network, network.graph(shape), task):
        layer, wanted = node.layer, in_loss.__name__.lower()
        low, high = layer.interval(ANY) if layer.kind == ELEMENT and len(node.inputs) == 1 else ANY
        if isinstance(layer, NORMALISATIONS):
            effect = "normalises them over the images of a batch or within each image"
        elif math.isfinite(low) or math.isfinite(high):
            effect = "keeps them " + " and ".join(
                f"{side} {bound:.3g}" for side, bound in (("above", low), ("below", high)) if math.isfinite(bound)
            )
        else:
            continue
        yield f"{_head(output)} ends with {type(layer).__name__} ({node.path})", wanted, effect


def _head(output: Output) -> str:
    return "the network" if output.name.startswith("output ") else f"the head {output.name}"


def check_codes(network: Design, shape: Shape, loss: str, by_head: Mapping[str, str]) -> None:
    """Raises `UserError` where scores are no distances to codes, so that the loss `distance` would have no bound."""
    graph = network.graph(shape)
    for output, given in zip(outputs_of(network, graph), graph.outputs, strict=True):
        if by_head.get(output.name, loss) != "distance":
            continue
        node = _before(graph, given, (*RESHAPING, GroupMaximum))
        if node is None or not isinstance(node.layer, RadialBasis):
            last = f" ends with {type(node.layer).__name__} ({node.path})" if node is not None else " has no codes"
            raise UserError(
                f"the loss distance is minus the score of the right class, which has a bound only where scores are"
                f" minus distances to codes; {_head(output)}{last}. Use cross-entropy, or a head that ends with"
                " CodeHead: {codes: [[1, -1, ...], ...]} (`cnnatomy layers CodeHead`)"
            )
