"""Regularisation that changes a built network for its training: the rate of its dropout, and stochastic depth."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnatomy.design.build import BUILT_FOR
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.errors import UserError
from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    Bias,
    Conv,
    GroupNorm,
    MaxPool,
    PadChannels,
    Scale,
    Slice,
    Subsample,
)

PROJECTIONS = (Conv, BatchNorm, GroupNorm, AvgPool, MaxPool, Subsample, PadChannels, Slice, Scale, Bias)
"""What a shortcut may be made of, beside nothing: what makes the channels and sides of its input those of the sum."""


def set_dropout(module: nn.Module, rate: float) -> None:
    """Gives every dropout of a built network this rate.

    Raises:
        UserError: if it has none, or the rate is none below 1.
    """
    _check("dropout", rate)
    found = [layer for layer in module.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    if not found:
        raise UserError("recipe: dropout is set, and the network has no dropout: leave it out, or add Dropout layers")
    for layer in found:
        layer.p = rate


def _check(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise UserError(f"recipe: {name} is {rate:g}, expected a share from 0 that is below 1")


class Addition(NamedTuple):
    """A residual addition, and which of its inputs are branches: all but the shortcut."""

    node: Node
    branches: tuple[int, ...]


def stochastic_depth(graph: Graph, module: nn.Module, rate: float) -> list[RemovableHandle]:
    """Leaves out residual branches at random while the module built of `graph` is trained.

    Huang et al. 2016, "Deep networks with stochastic depth": of L branches, the l-th is left out with the probability
    `rate` l / L (equation 4, where its survival is 1 - l / L (1 - p_L)). As in torchvision and timm, it is drawn for
    each image by itself, and what is kept is divided by its survival, so that evaluation needs no other scale. Random
    numbers are those of torch's global generator. Removing the handles ends it.

    Raises:
        UserError: if the network has no residual branch, or the rate is none below 1.
    """
    _check("stochastic_depth", rate)
    found = residual_additions(graph)
    if not found:
        raise UserError(
            "recipe: stochastic_depth is set, and the network has no residual branch: leave it out, or take a network"
            " with shortcuts that are added"
        )
    modules = {getattr(one, BUILT_FOR).path: one for one in module.modules() if hasattr(one, BUILT_FOR)}
    return [
        modules[addition.node.path].register_forward_pre_hook(_LeftOut(addition.branches, rate * number / len(found)))
        for number, addition in enumerate(found, 1)
    ]


class _LeftOut:
    """A hook that multiplies branches by 0 or by 1 / (1 - rate), the same for all branches of an image."""

    def __init__(self, branches: tuple[int, ...], rate: float) -> None:
        self.branches, self.rate = branches, rate

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not module.training or self.rate == 0:
            return None
        x: Tensor = inputs[0]
        kept = torch.empty(len(x), *(1,) * (x.dim() - 1), dtype=x.dtype, device=x.device)
        kept.bernoulli_(1 - self.rate).div_(1 - self.rate)
        return tuple(x * kept if number in self.branches else x for number, x in enumerate(inputs))


def residual_additions(graph: Graph) -> list[Addition]:
    """The additions of a shortcut and what else is computed from the same map, in their order.

    A shortcut is that map itself, or what `PROJECTIONS` make of it with one convolution at most. It is none where a
    branch enlarges maps, as decoders and feature pyramids do, or where a branch has such additions inside itself.
    """
    origins = _Origins(graph)
    found: dict[Node, Addition] = {}
    for node in graph.nodes:
        if not isinstance(node.layer, Add):
            continue
        ways = [_projected_from(x) for x in node.inputs]
        for number in sorted(range(len(ways)), key=lambda i: len(ways[i])):
            branches = tuple(i for i in range(len(ways)) if i != number)
            source = next((x for x in ways[number] if all(origins.has(node.inputs[i], x) for i in branches)), None)
            if source is None:
                continue
            inside = [one for i in branches for one in origins.between(source, node.inputs[i])]
            if inside and not any(one in found or _enlarges(one) for one in inside):
                found[node] = Addition(node, branches)
            break
    return list(found.values())


def _projected_from(x: FeatureMap) -> list[FeatureMap]:
    """The maps from which this one is made by a shortcut's layers, itself first."""
    maps, convolutions = [x], 0
    while x.node is not None and isinstance(x.node.layer, PROJECTIONS) and len(x.node.inputs) == 1:
        convolutions += isinstance(x.node.layer, Conv)
        if convolutions > 1:
            break
        x = x.node.inputs[0]
        maps.append(x)
    return maps


def _enlarges(node: Node) -> bool:
    """Whether its output has more rows than any of its inputs."""
    rows = [x.shape[1] if len(x.shape) == 3 else 1 for x in (node.output, *node.inputs)]
    return rows[0] > max(rows[1:])


class _Origins:
    """From which maps each map is computed: the bits of an integer, one for each map of the graph."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = graph.nodes
        self._bits: dict[FeatureMap, int] = {x: 1 << number for number, x in enumerate(graph.inputs)}
        self._origins: dict[FeatureMap, int] = dict(self._bits)
        for number, node in enumerate(graph.nodes, len(graph.inputs)):
            self._bits[node.output] = 1 << number
            self._origins[node.output] = 1 << number
            for x in node.inputs:
                self._origins[node.output] |= self._origins[x]

    def has(self, x: FeatureMap, source: FeatureMap) -> bool:
        """Whether `x` is computed from `source`, and is another map."""
        return x is not source and bool(self._origins[x] & self._bits[source])

    def between(self, source: FeatureMap, x: FeatureMap) -> list[Node]:
        """The nodes on the ways from `source` to `x`, with that which makes `x`."""
        return [
            node for node in self._nodes if self._origins[x] & self._bits[node.output] and self.has(node.output, source)
        ]
