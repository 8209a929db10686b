"""Rules about how wide a network is at each resolution: it should become wider as its maps become smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import log2
from typing import NamedTuple

from cnnatomy.critique.information import exits
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.scaling import THINNEST, channels_last, expansions, scaled, times
from cnnatomy.critique.study import Study, depthwise, pixels
from cnnatomy.critique.ways import maker
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv
from cnnatomy.layers.layer import Shape, dimensions, pair

GROWS, SHRINKS = 1.25, 1.5
"""Times as wide as before, or as narrow: what counts as growing, and as shrinking."""

CAPPED = 256
"""Channels at which a width that has grown may stay as it is; VGG and U-Net stay at 512."""


class _Level(NamedTuple):
    """The maps of one resolution that all information passes, where layers with weights work at it.

    Not those inside inverted residuals, nor what a last 1x1 convolution widens for the classifier.

    Attributes:
        size: rows and columns.
        widest: the most channels of a map that was made at it; depthwise convolutions only pass widths on.
        carried: channels of the last map, which the next down-sampling reads.
        entrance: what makes the first map.
    """

    size: Shape
    widest: int
    carried: int
    entrance: Node


def _levels(study: Study) -> list[_Level]:
    """The levels of a classifier of images, from the finest; up to where a map becomes larger again."""
    if study.task != "classification" or pixels(study.output.shape) > 1 or len(study.output.shape) != 1:
        return []
    if len(study.account.input) != 3 or min(study.account.input[1:]) == 1 or exits(study):
        return []
    runs: list[list[FeatureMap]] = []
    left_out = channels_last(study) | expansions(study)
    widened = _last_widening(study)
    for x in study.spine:
        if x.node is not None and x.node is widened:
            break
        if x in left_out:
            continue
        if len(x.shape) != 3 or pixels(x.shape) == 1 or (runs and pixels(x.shape) > pixels(runs[-1][0].shape)):
            break
        if runs and x.shape[1:] == runs[-1][0].shape[1:]:
            runs[-1].append(x)
        else:
            runs.append([x])
    levels: list[_Level] = []
    depth = 0
    for run in runs:
        worked = [x for x in run if study.depth(x) > depth]
        if worked and worked[0].node is not None:
            mixed = [x for x in worked if (node := maker(study, x)) is None or not depthwise(node)] or worked
            widest = max(x.shape[0] for x in mixed)
            levels.append(_Level(run[0].shape[1:], widest, worked[-1].shape[0], worked[0].node))
        depth = study.depth(run[-1])
    return levels


def _last_widening(study: Study) -> Node | None:
    """A 1x1 convolution after all others that only widens for the average; not the half of a separable one."""
    node = maker(study, study.last_map)
    if node is None or not isinstance(node.layer, Conv) or max(pair(node.layer.kernel)) > 1:
        return None
    before = maker(study, node.inputs[0])
    separable = before is not None and depthwise(before)
    return node if node.output.shape[0] > node.inputs[0].shape[0] and not separable else None


def _halvings(first: _Level, last: _Level) -> int:
    return round(log2(max(before / after for before, after in zip(first.size, last.size, strict=True))))


def _told(levels: Sequence[_Level], widths: Sequence[int]) -> str:
    return ", ".join(f"{width:,} at {dimensions(level.size)}" for level, width in zip(levels, widths, strict=True))


@rule(
    "I7",
    "flat-width",
    "warning",
    "lecture 001, 'Body: Weak Features To Strong Features'; Simonyan and Zisserman 2014, section 2.1; "
    "Szegedy et al. 2015, 'Rethinking the Inception Architecture', section 2; Radosavovic et al. 2020, section 3.2",
)
def flat_width(study: Study) -> Iterator[Case]:
    """The width stays the same while the maps become smaller.

    "Reduce the rows and cols both by 2, increase the channels by 2": with as many channels as before each halving of
    the sides leaves a quarter of the values, and a quarter of the arithmetic, so that most of the work is done on the
    first, weak features and little is left to tell classes apart by. VGG, ResNet and what came after double the width,
    and the good designs among many that Radosavovic et al. drew at random grow wider stage by stage. Asked are
    classifiers of images that halve their sides three times or more at one width, or twice if they never grow at all.
    One width at the end, after it has grown to 256 or more (VGG's 512), is usual, and a note where it has grown to
    less. Networks that stay at one resolution after their first layer (vision transformers, ConvMixer) are not
    concerned, and neither are those whose output is a map.
    """
    levels = _levels(study)
    run = max(_flat_runs(levels), key=lambda run: _halvings(levels[run[0]], levels[run[-1]]), default=None)
    if run is None:
        return
    first, last = levels[run[0]], levels[run[-1]]
    halvings = _halvings(first, last)
    whole = len(run) == len(levels)
    if halvings < (2 if whole else 3) or (run[0] > 0 and first.widest >= CAPPED):
        return
    part = [levels[i] for i in run]
    yield Case(
        where=tuple(level.entrance.path for level in part),
        text=f"{several(first.carried, 'channel')} at {dimensions(first.size)}, no more at {dimensions(last.size)} "
        f"after {several(halvings, 'halving')} of the sides: 1/{4**halvings:,} of the values",
        evidence={
            "halvings": halvings,
            "widths": [level.widest for level in part],
            "sides": [list(level.size) for level in part],
        },
        remedy=_growing(study, levels, run),
        severity=None if len(run) >= len(levels) - 1 or first.widest <= 2 * levels[0].widest else "note",
    )


def _flat_runs(levels: Sequence[_Level]) -> Iterator[range]:
    for i, level in enumerate(levels):
        end = i + 1
        while end < len(levels) and level.carried / SHRINKS < levels[end].widest <= GROWS * level.carried:
            end += 1
        if end - i > 1:
            yield range(i, end)


def _growing(study: Study, levels: Sequence[_Level], run: range) -> list[Remedy]:
    """Twice the width with each halving, from the widest beginning for no more MACs, and from the narrowest."""
    macs = study.account.totals.macs
    part = [levels[i] for i in run]
    found: list[Remedy] = []
    for narrower in range(4 if run[0] == 0 else 1):
        first = times(part[0].widest, Fraction(1, 2**narrower))
        if found and (first < THINNEST or first << narrower >= 2 * part[0].widest):
            break
        widths = [first * 2 ** _halvings(part[0], level) for level in part]
        factors = {level.size: Fraction(width, level.widest) for level, width in zip(part, widths, strict=True)}
        found.append(_rescaled(study, f"double the channels with each down-sampling: {_told(part, widths)}", factors))
    near = [one for one in found if one.after is None or one.after.macs <= macs] or found[-1:]
    return near[:1] if len(near) == 1 else [near[0], near[-1]]


def _rescaled(study: Study, text: str, factors: dict[Shape, Fraction]) -> Remedy:
    """Other widths at each resolution; what a last 1x1 convolution widens stays, unless the last map gets as wide."""
    widened = _last_widening(study)

    def factor(node: Node) -> Fraction:
        own = factors.get(node.output.shape[1:], Fraction(1))
        if node is not widened:
            return own
        return max(Fraction(1), own * node.inputs[0].shape[0] / node.output.shape[0])

    layers = scaled(study, factor)
    return study.remedy(text, {node: (layer,) for node, layer in layers.items()})


@rule(
    "I8",
    "shrinking-width",
    "warning",
    "lecture 001, 'Body: Weak Features To Strong Features' and 'Feature Map Size'; "
    "Szegedy et al. 2015, 'Rethinking the Inception Architecture', section 2",
)
def shrinking_width(study: Study) -> Iterator[Case]:
    """The channels become fewer while the maps become smaller.

    A down-sampling takes three quarters of the positions; where it takes channels too, information is thrown away
    twice, and none of it comes back (data processing inequality). It is also the dearer order: the many channels are
    where the maps are large. "Increase the channels by 2" as rows and columns are halved. Asked are classifiers of
    images in which a level is less than 1/1.5 as wide as what a down-sampling before it reads, and in which none after
    it is as wide again. The expansions inside inverted residuals do not count, and neither does a last 1x1 convolution
    that widens before the average: they carry no more than what they read. What becomes narrower at one resolution is a
    matter for narrow-waist and tail, as is DenseNet's compression, after which the width grows again; networks whose
    output is a map are left out, as decoders grow narrower.
    """
    levels = _levels(study)
    found = []
    for i, after in enumerate(levels[1:], start=1):
        before = max(levels[:i], key=lambda level: level.carried)
        later = max(level.widest for level in levels[i:])
        if SHRINKS * later <= before.carried:
            found.append((before, after))
    if not found:
        return
    widths = [level.widest for level in levels]
    worst = max(found, key=lambda pair: pair[0].carried / pair[1].widest)
    yield Case(
        where=tuple(after.entrance.path for _, after in found),
        text=f"the width falls as the maps become smaller: {_told(levels, widths)}",
        evidence={
            "widths": widths,
            "sides": [list(level.size) for level in levels],
            "shrinks": worst[0].carried / worst[1].widest,
        },
        remedy=_turned(study, levels, widths),
    )


def _turned(study: Study, levels: Sequence[_Level], widths: Sequence[int]) -> Remedy:
    """The same widths, the narrowest first."""
    rising = sorted(widths)
    factors = {level.size: Fraction(new, old) for level, old, new in zip(levels, widths, rising, strict=True)}
    after = [times(old, factors[level.size]) for level, old in zip(levels, widths, strict=True)]
    return _rescaled(study, f"let the width grow as the maps become smaller: {_told(levels, after)}", factors)
