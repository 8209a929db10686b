"""The rule about the tail, and whatever else takes the resolution away: neither too timidly nor too fast."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import log2
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study, paths, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import AvgPool, BatchNorm, Conv, MaxPool, ReLU
from cnnatomy.layers.layer import GLOBAL, Layer, dimensions, elements, pair

POOLS = (MaxPool, AvgPool)

LARGE = 80 * 80
"""Positions of a map that are not many, whatever the input: three halvings lead from there to the 8 of a last map."""


@rule(
    "C6",
    "tail",
    "warning",
    "lecture 001, 'Tail: Data To Weak Features'; Zeiler and Fergus 2013, section 4.1; "
    "Szegedy et al. 2015, 'Rethinking the Inception Architecture', section 2",
)
def tail(study: Study) -> Iterator[Case]:
    """The image, or a map, is reduced too timidly or too fast.

    Neighbouring pixels say nearly the same, and a tail finds weak features only: "aggressive down sampling (but don't
    lose useful information)", usually by 4 a side.

    Too timid: maps larger than a quarter of the input a side (and than 64, three halvings from the 8 of a last map)
    take more than a fifth of all MACs, as much as an even share of one of five levels, and layers at the full size
    of an input of 160 pixels or more take a twentieth; without such layers, more than two fifths. Between a fifth
    and that it is said only where it is asked for: small MobileNets have dear tails. Where pixels are the output,
    the layers that come before the coarsest map take more than half, and that is a quarter of the input or less.

    Too fast: one layer with weights, and the pools after it, leave fewer than one pixel of 7x7: "the representation
    size should gently decrease". With 7x7 and stride 2 in place of AlexNet's 11x11 and stride 4, before a pool of 2,
    the first features were better. Patches side by side that keep half of the values are not concerned, nor are those
    of vision transformers, nor what is pooled for the head.
    """
    yield from _timid(study)
    yield from _hasty(study)


def _timid(study: Study) -> Iterator[Case]:
    shape, macs = study.graph.inputs[0].shape, study.account.totals.macs
    if len(shape) != 3 or not macs:
        return
    quarter = -(-shape[1] // 4) * -(-shape[2] // 4)
    classifies = study.task == "classification"
    coarsest = study.last_map
    if not classifies and 16 * pixels(coarsest.shape) > pixels(shape):
        return
    end = study.depth(coarsest)
    rows = [study.rows[node] for node in study.convolutions if classifies or study.depth(node.output) <= end]
    large = [row for row in rows if pixels(row.output) > max(quarter, LARGE)]
    spent = sum(row.macs for row in large)
    if spent <= macs * (0.2 if classifies else 0.5):
        return
    full = sum(row.macs for row in large if pixels(row.output) == pixels(shape))
    later = sum(row.macs * min(1.0, quarter / pixels(row.output)) for row in large)
    general = Remedy(f"reduce by 4 a side before these layers: there they take about {later / spent:.0%} of these MACs")
    earlier = [one for one in _earlier(study, [row.node for row in large]) if one.after]
    yield Case(
        where=tuple(row.path for row in large),
        text=f"{spent:,} of {macs:,} MACs ({spent / macs:.0%}) go into maps larger than a quarter of the input a side",
        evidence={"macs": spent, "share": spent / macs, "largest_map": large[0].output},
        remedy=[one for one in earlier if one.after and one.after.macs <= max(0.8 * macs, macs - spent / 2)] or general,
        severity="warning",
        quiet=classifies and 5 * spent <= 2 * macs and (20 * full <= macs or pixels(shape) < 160 * 160),
        under=("I7", "I8", "S1"),
    )


def _earlier(study: Study, large: list[Node]) -> Iterator[Remedy]:
    """The next down-sampling before these layers and not after them; or a first layer no wider than what follows it."""
    reducing = [node for node in study.downsamplings if pixels(node.output.shape) < pixels(large[-1].output.shape)]
    level = [node for node in reducing if reducing and node.output.shape[1:] == reducing[0].output.shape[1:]]
    first, rest = large[0], large[1:]
    without: dict[Node, tuple[Layer, ...]] = {node: _without_stride(node) for node in level}
    if without and isinstance(first.layer, Conv) and first.layer.stride == 1 and min(pair(first.layer.kernel)) > 1:
        text = f"give {first.path} a stride of 2 and {_taken(level)}"
        yield study.remedy(text, {**without, first: (first.layer.replace(stride=2),)})
    elif without and rest and (before := rest[0].inputs[0].node) is not None:
        text = f"put a 3x3 max pool with stride 2 before {rest[0].path}, and {_taken(level)}"
        yield study.remedy(text, {**without, before: (before.layer, MaxPool(3, 2, 1))})
    if rest and isinstance(first.layer, Conv) and first.layer.groups == 1:
        width = rest[-1].output.shape[0]
        if width < first.layer.channels:
            text = f"narrow {first.path} from {first.layer.channels:,} to {width:,} channels"
            yield study.remedy(text, {first: (first.layer.replace(channels=width),)})


def _taken(level: list[Node]) -> str:
    """What becomes of the layers that sampled down: pools go, others lose their stride."""
    pools = [node for node in level if isinstance(node.layer, POOLS)]
    others = [node for node in level if node not in pools]
    said = [f"leave out {paths(pools)}"] if pools else []
    return " and ".join([*said, f"take the stride out of {paths(others)}"] if others else said)


def _without_stride(node: Node) -> tuple[Layer, ...]:
    if isinstance(node.layer, POOLS):
        return ()
    return (node.layer.replace(stride=1),) if hasattr(node.layer, "stride") else (node.layer,)


class _Step(NamedTuple):
    """A reduction of a map by one layer with weights at most, and the layers that do it."""

    before: FeatureMap
    after: FeatureMap
    nodes: tuple[Node, ...]

    @property
    def by(self) -> float:
        """How much fewer pixels there are."""
        return pixels(self.before.shape) / pixels(self.after.shape)

    @property
    def left(self) -> float:
        """The part of the values that is left."""
        return elements(self.after.shape) / elements(self.before.shape)

    @property
    def dearest(self) -> Node:
        """The layer that takes most."""
        return max(self.nodes, key=_stride)


def _stride(node: Node) -> int:
    """The larger of the strides along rows and columns, as far as the map is that large."""
    before, after = node.inputs[0].shape, node.output.shape
    window = node.layer.window(before)
    by = max(round(before[i] / after[i]) for i in (1, 2))
    return by if window is None or window is GLOBAL else min(by, max(window.stride))


def _steps(study: Study) -> Iterator[_Step]:
    """Each reduction, with the pools that come after it; those for the head are left out."""
    start = study.graph.inputs[0]
    nodes: list[Node] = []
    last = study.depth(study.last_map)
    for before, after in pairwise(study.spine):
        node = after.node
        if node is None or not len(before.shape) == len(after.shape) == 3 or pixels(after.shape) == 1:
            return
        if node.inputs != (before,):  # a module of several branches
            start, nodes = after, []
            continue
        if study.rows[node].weights and isinstance(node.layer, Conv):
            start, nodes = before, []
        if pixels(after.shape) < pixels(before.shape):
            nodes.append(node)
            if study.depth(after) < last or study.rows[node].weights:
                yield _Step(start, after, tuple(nodes))


def _hasty(study: Study) -> Iterator[Case]:
    sequence = any(len(x.shape) == 2 for x in study.spine)
    steps = [step for step in _steps(study) if step.by > 49 and (2 * step.left < 1 or not _is_patch(step.dearest))]
    if not steps or (sequence and len(steps) == 1 and isinstance(steps[0].dearest.layer, Conv)):
        return
    longest: dict[FeatureMap, _Step] = {step.before: step for step in steps}
    for step in longest.values():
        convolved = any(study.rows[node].weights for node in step.nodes) or (
            study.depth(step.after) > study.depth(step.before)
        )
        sides = f"{dimensions(step.before.shape)} becomes {dimensions(step.after.shape)}"
        yield Case(
            where=tuple(node.path for node in step.nodes),
            text=f"{sides} {'with one layer' if convolved else 'without a layer'} of weights, "
            f"{1 / step.by:.1%} of the pixels and {step.left:.0%} of the values",
            evidence={"before": step.before.shape, "after": step.after.shape},
            remedy=_gently(study, step),
        )


def _is_patch(node: Node) -> bool:
    """Whether the windows of a layer lie side by side, so that it can keep all that it reads."""
    window = node.layer.window(node.inputs[0].shape)
    return window is not None and window.kernel == window.stride


def _gently(study: Study, step: _Step) -> Remedy:
    """Convolutions of 3x3 and stride 2 in place of the layer that takes most."""
    node = step.dearest
    steps = round(log2(_stride(node)))
    channels = node.output.shape[0]
    if isinstance(node.layer, Conv):
        widths = [max(min(16, channels), channels // 2 ** (steps - 1 - i)) for i in range(steps)]
    else:
        widths = [channels] * steps
    if steps < 2 or not isinstance(node.layer, (Conv, MaxPool, AvgPool)):
        return Remedy("halve the sides twice at most for each layer with weights, and let the channels grow with it")
    normalised = any(isinstance(one.layer, BatchNorm) for one in study.graph.nodes)
    chain: list[Layer] = []
    for i, width in enumerate(widths):
        chain.append(Conv(width, 3, stride=2, padding=1, bias=not normalised))
        if i < steps - 1 or not isinstance(node.layer, Conv):
            chain += [BatchNorm(), ReLU()] if normalised else [ReLU()]
    told = ", ".join(f"{width:,}" for width in widths)
    text = f"put {steps} convolutions of 3x3 and stride 2, to {told} channels, in place of {node.path}"
    return study.remedy(text, {node: tuple(chain)})
