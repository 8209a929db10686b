"""The rule about the tail, and whatever else takes the resolution away: neither too timidly nor too fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log2
from typing import NamedTuple

from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.scaling import expansions
from cnnatomy.critique.study import Study, paths, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import AvgPool, BatchNorm, Conv, MaxPool, ReLU
from cnnatomy.layers.layer import GLOBAL, Layer, dimensions, elements, pair

POOLS = (MaxPool, AvgPool)

LARGE_MAP = 80 * 80
"""Positions of a map that are not many, whatever the input: three halvings lead from there to the 8 of a last map."""

FAT, MIN_FAT_INPUT = 1.5, 128 * 128
"""Times as large as any map after it: what sets the peak of memory; and pixels of inputs of which that is asked."""

PATCH, PATCHES = 4 * 4, 12 * 12
"""Pixels of a patch in which little is lost, and how many patches leave work for what comes after them."""


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

    Too fat, whatever its MACs: in a classifier of 128x128 pixels or more, layers on maps larger than a quarter of the
    input a side that are at least twice as wide as the next level, and whose map is half as large again as any after
    it. It sets the peak of memory, and the next level throws half of its channels away.

    Too fast: one layer with weights, and the pools after it, leave fewer than one pixel of 7x7: "the representation
    size should gently decrease". With 7x7 and stride 2 in place of AlexNet's 11x11 and stride 4, before a pool of 2,
    the first features were better. Likewise, after the first level, where they leave one pixel of 4x4 or of 25, with
    less than a quarter of the values, and patches of more than 4x4 that leave fewer than 12x12 positions. Patches side
    by side that leave more than that, and keep half of the values, are not concerned, nor are those of vision
    transformers, nor what is pooled for the head.
    """
    timid = list(_timid(study))
    yield from timid
    if all(case.quiet for case in timid):
        yield from _fat(study)
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
    large = [row for row in rows if pixels(row.output) > max(quarter, LARGE_MAP)]
    spent = sum(row.macs for row in large)
    if spent <= macs * (0.2 if classifies else 0.5):
        return
    full = sum(row.macs for row in large if pixels(row.output) == pixels(shape))
    later = sum(row.macs * min(1.0, quarter / pixels(row.output)) for row in large)
    general = Remedy(f"reduce by 4 a side before these layers: there they take about {later / spent:.0%} of these MACs")
    at_most = max(0.8 * macs, macs - spent / 2)
    earlier = [one for one in _earlier(study, [row.node for row in large]) if one.after and one.after.macs <= at_most]
    yield Case(
        where=tuple(row.path for row in large),
        text=f"{spent:,} of {macs:,} MACs ({spent / macs:.0%}) go into maps larger than a quarter of the input a side",
        evidence={"macs": spent, "share": spent / macs, "largest_map": large[0].output},
        remedy=earlier or general,
        quiet=classifies and 5 * spent <= 2 * macs and (20 * full <= macs or pixels(shape) < 160 * 160),
        under=("I7", "I8", "S1"),
    )


def _fat(study: Study) -> Iterator[Case]:
    """First layers that are far wider than the next level, and whose map is by far the largest."""
    shape, inside = study.graph.inputs[0].shape, expansions(study)
    if len(shape) != 3 or pixels(shape) < MIN_FAT_INPUT or study.task != "classification" or study.collapse is None:
        return
    made = [x.node for x in study.spine if x.node and x not in inside and study.rows[x.node].weights]
    maps = [node for node in made if len(node.output.shape) == 3 and isinstance(node.layer, Conv)]
    sizes = list(dict.fromkeys(node.output.shape[1:] for node in maps))
    if len(sizes) < 2 or 16 * pixels(maps[0].output.shape) <= pixels(shape):
        return
    first, following = ([node for node in maps if node.output.shape[1:] == size] for size in sizes[:2])
    level = [x for x in study.spine if x.shape[1:] == sizes[1] and study.depth(x) >= study.depth(following[0].output)]
    width = max(x.shape[0] for x in level)
    fattest = max((node.output.shape for node in first), key=elements)
    rest = max(elements(row.output) for row in study.account.rows if row.output != fattest)
    if fattest[0] < 2 * width or elements(fattest) < FAT * rest:
        return
    wide = [node for node in first if node.output.shape == fattest]
    yield Case(
        where=tuple(node.path for node in wide),
        text=f"{paths(wide)} {'makes' if len(wide) == 1 else 'make'} {dimensions(fattest)} = {elements(fattest):,} "
        f"values, {elements(fattest) / rest:.1f} times as many as the largest map after it, and the next level has "
        f"{width:,} channels",
        evidence={"map": fattest, "next": width, "largest_after": rest},
        remedy=[*_leaner(study, wide, width)],
        under=("I8", "I5"),
    )


def _leaner(study: Study, wide: list[Node], width: int) -> Iterator[Remedy]:
    """No wider than the next level, and half as large where no stride has made it so; or no wider alone."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node in wide:
        if isinstance(node.layer, Conv) and node.layer.groups == 1:
            layers[node] = (node.layer.replace(channels=width),)
    text = f"narrow {paths(wide)} from {wide[0].output.shape[0]:,} to {width:,} channels"
    first, level = wide[0], _level(study.downsamplings)
    if first in layers and first.inputs[0].node is None and level and _can_stride(first):
        moved = {node: _without_stride(node) for node in level}
        half = {**layers, **moved, first: (first.layer.replace(channels=width, stride=2),)}
        yield study.remedy(f"{text}, give {first.path} a stride of 2, and {_taken(level)}", half)
    yield study.remedy(text, layers) if layers else Remedy(text)


def _earlier(study: Study, large: list[Node]) -> Iterator[Remedy]:
    """The next down-sampling before these layers and not after them; or a first layer no wider than what follows it."""
    smallest = pixels(large[-1].output.shape)
    level = _level([node for node in study.downsamplings if pixels(node.output.shape) < smallest])
    first, rest = large[0], large[1:]
    without: dict[Node, tuple[Layer, ...]] = {node: _without_stride(node) for node in level}
    if without and _can_stride(first):
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


def _level(reducing: Sequence[Node]) -> list[Node]:
    """Those of the down-samplings that lead to the same resolution as the first."""
    return [node for node in reducing if node.output.shape[1:] == reducing[0].output.shape[1:]]


def _can_stride(node: Node) -> bool:
    """Whether a layer is a convolution that could take a stride of 2 and still read every pixel."""
    return isinstance(node.layer, Conv) and node.layer.stride == 1 and min(pair(node.layer.kernel)) > 1


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
    def main(self) -> Node:
        """The layer that takes most of the pixels away."""
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
    steps = [step for step in _steps(study) if _takes_too_much(step)]
    if sequence and len(steps) == 1 and isinstance(steps[0].main.layer, Conv):
        return
    taken = {node for step in steps for node in step.nodes}
    steps += [one for step in _steps(study) if taken.isdisjoint(step.nodes) for one in _abrupt(study, step)]
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
            under=("W12",) if len(step.nodes) > 1 else (),
        )


def _takes_too_much(step: _Step) -> bool:
    """Whether too few pixels are left, of the image as of a map; patches are judged by how many they are."""
    node = step.main
    if not isinstance(node.layer, Conv) or not _is_patch(node):
        return step.by > 49
    few = _stride(node) ** 2 > PATCH and pixels(step.after.shape) < PATCHES
    return few or (step.by > 49 and 2 * step.left < 1)


def _abrupt(study: Study, step: _Step) -> Iterator[_Step]:
    """What in a step one layer, or pools without weights between them, take of a map after the first level."""
    convolved = [node for node in step.nodes if study.rows[node].weights]
    for nodes in (convolved, [node for node in step.nodes if node not in convolved]):
        if nodes:
            part = _Step(nodes[0].inputs[0], nodes[-1].output, tuple(nodes))
            sides = [round(n / m) for n, m in zip(part.before.shape[1:], part.after.shape[1:], strict=True)]
            later = pixels(part.before.shape) < pixels(study.graph.inputs[0].shape)
            if later and 4 * part.left < 1 and (min(sides) >= 4 or part.by >= 25):
                yield part


def _is_patch(node: Node) -> bool:
    """Whether the windows of a layer lie side by side, so that it can keep all that it reads."""
    window = node.layer.window(node.inputs[0].shape)
    return window is not None and window.kernel == window.stride


def _gently(study: Study, step: _Step) -> Remedy:
    """Convolutions of 3x3 and stride 2 in place of the layer that takes most."""
    node = step.main
    steps = round(log2(_stride(node)))
    channels = node.output.shape[0]
    if isinstance(node.layer, Conv):
        widths = [max(min(16, channels), channels // 2 ** (steps - 1 - i)) for i in range(steps)]
    else:
        widths = [channels] * steps
    if steps < 2 or not isinstance(node.layer, (Conv, MaxPool, AvgPool)):
        return Remedy("halve the sides twice at most for each layer with weights, and let the channels grow with it")
    chain: list[Layer] = []
    for i, width in enumerate(widths):
        chain.append(Conv(width, 3, stride=2, padding=1, bias=not study.normalised))
        if i < steps - 1 or not isinstance(node.layer, Conv):
            chain += [BatchNorm(), ReLU()] if study.normalised else [ReLU()]
    told = ", ".join(f"{width:,}" for width in widths)
    text = f"put {steps} convolutions of 3x3 and stride 2, to {told} channels, in place of {node.path}"
    return study.remedy(text, {node: tuple(chain)})
