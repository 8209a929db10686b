"""Widths of a network changed together: every convolution that has to, so that additions and shortcuts still fit."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import gcd

from cnnatomy.critique.study import Study, depthwise, pointwise
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.layers import Add, Concat, Conv, FullyConnected, Permute
from cnnatomy.layers.layer import Layer

THINNEST = 16
"""Channels below which nothing is narrowed: less is a waist, or too few features for the large maps of a beginning."""

_MULTIPLE = 8
"""Widths are rounded up to multiples of it, as hardware likes."""

_JOINS = (Add, Concat)


def channels_last(study: Study) -> set[FeatureMap]:
    """The maps whose axes stand in another order, so that the first is not that of the channels."""
    found: set[FeatureMap] = set()
    for node in study.graph.nodes:
        if len(node.output.shape) == 3:
            moved = node.inputs[0] in found
            if moved != isinstance(node.layer, Permute):
                found.add(node.output)
    return found


def expansions(study: Study) -> set[FeatureMap]:
    """The maps inside inverted residuals that all information passes: they carry no more than what they are made of.

    A 1x1 convolution widens, a depthwise one filters, a 1x1 convolution ends it, as a rule narrower (Sandler et al.
    2018, section 3.3).
    """
    found: set[FeatureMap] = set()
    inside: list[FeatureMap] = []
    widened = filtered = False  # by the last convolution that mixes channels, and by depthwise ones since
    for x in study.spine:
        filters = x.node is not None and depthwise(x.node)
        if x.node is not None and not filters and (study.rows[x.node].weights or isinstance(x.node.layer, _JOINS)):
            mixes = pointwise(x.node)
            if filtered and mixes:
                found.update(inside)
            wider = mixes and x.shape[0] > x.node.inputs[0].shape[0]
            inside, widened, filtered = [], wider and not filtered, False  # after a depthwise one: MobileNet V1's
        filtered = filtered or filters
        if widened:
            inside.append(x)
    return found


def scaled(study: Study, factor: Callable[[Node], Fraction]) -> dict[Node, Layer]:
    """The layers whose widths change where each dense one becomes `factor` times as wide, but those that give outputs.

    Depthwise convolutions follow the width of what they read. Whether it fits is for `Study.remedy` to find out.
    """
    last = _last(study)
    factors: dict[FeatureMap, Fraction] = {}
    found: dict[Node, Layer] = {}
    for node in study.graph.nodes:
        layer = node.layer
        own = factors.get(node.inputs[0], Fraction(1))
        if isinstance(layer, (Conv, FullyConnected)) and node not in last:
            if not depthwise(node):
                own = factor(node)
            found[node] = _wider(layer, own, depthwise(node))
        factors[node.output] = own
    return {node: layer for node, layer in found.items() if layer != node.layer}


def _wider(layer: Conv | FullyConnected, factor: Fraction, follows: bool) -> Layer:
    if isinstance(layer, FullyConnected):
        return layer.replace(features=times(layer.features, factor))
    channels, groups = times(layer.channels, factor), layer.groups
    if follows:
        groups = times(groups, factor)
    elif factor < 1 < groups:
        groups = gcd(channels, 1 << max(0, int(groups * factor).bit_length() - 1))
    return layer.replace(channels=channels, groups=groups)


def times(channels: int, factor: Fraction) -> int:
    """A width times a factor, rounded up to a multiple of 8; no narrower than `THINNEST`, unless it is already."""
    if factor == 1 or (factor < 1 and channels <= THINNEST):
        return channels
    return max(THINNEST if factor < 1 else 0, int(-(-channels * factor // _MULTIPLE)) * _MULTIPLE)


def _last(study: Study) -> set[Node]:
    """The convolutions and linear layers after which none comes: their widths are those of the outputs."""
    found: set[Node] = set()
    seen: set[Node] = set()
    waiting = [x.node for x in study.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node.layer, (Conv, FullyConnected)):
            found.add(node)
        else:
            waiting += [x.node for x in node.inputs]
    return found
