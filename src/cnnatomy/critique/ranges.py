"""Rules about the range of values: what nonlinearities cut off, and what additions bring together."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, depthwise, paths, pixels
from cnnatomy.critique.ways import most_on_a_way
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    ELU,
    Add,
    BatchNorm,
    Concat,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    ReLU6,
)
from cnnatomy.layers.layer import REARRANGEMENT, Shape

RECTIFIERS = (ReLU, ReLU6)

PRE_ACTIVATION = "normalise and rectify before the convolutions and not after the addition: pre-activation"

DEEP, VERY_DEEP = 100, 200
"""Layers from which a ReLU on the trunk is worth a word, and from which it costs accuracy: He et al. 2016, tables 3 and
5, measured 0.24 points at 110, 0.5 at 164 and 1.1 at 200."""
SEVERAL, MANY = 25, 60
"""Additions on one way that networks of 100 and 200 layers have: ResNet-101 has 33, ResNet-200 66."""


NARROW = 4
"""Times as many channels before and after, from which it is worth a word: 6 in MobileNet V2; 3 in GENet, with ReLU."""


@rule(
    "N3",
    "unlike-ranges",
    "note",
    "lecture 001, 'Residual – ResNet' and 'Personal Notes For Vision Optimized CNNs'; "
    "He et al. 2016, 'Identity Mappings in Deep Residual Networks', section 4",
)
def unlike_ranges(study: Study) -> Iterator[Case]:
    """Inputs of an addition or concatenation of unlike range: one never negative, one signed.

    Where a map that went through ReLU is added to one that did not, the sum needs a ReLU of its own, which then cuts
    the way from block to block, and what the branch adds is rectified together with what it is added to; where they
    are concatenated, the weights after it read two scales at once. Both of one kind is better: ResNet with
    pre-activation adds signed maps to signed maps, and trained 1001 layers deep. A concatenation that batch norm
    or a ReLU reads is not concerned: they make the ranges alike; nor is one addition alone, as that of the first block
    of a pre-activated network to what the tail made.

    How much it matters, depth says. He et al. measured 6.61 % errors with the ReLU on the trunk and 6.37 % with
    pre-activation at 110 layers of CIFAR-10, 5.93 and 5.46 % at 164, 7.61 and 4.92 % at 1001 (table 3); on ImageNet
    the first had more errors with 200 layers than with 152. So below 100 layers it is said with `--pedantic` or `--rule
    unlike-ranges` alone, from 100 on it is a note, and a warning from 200 layers with 60 such additions on. The
    lectures' personal notes ask for like ranges at every depth, and their own network, of ResNet's blocks, does not
    have them; signed maps have fewer zeros, so that they compress less.
    """
    joins = [node for node in study.graph.nodes if isinstance(node.layer, (Add, Concat)) and len(node.inputs) > 1]
    if not joins:
        return
    unlike = [node for node in joins if _unlike(study, node)]
    if any(isinstance(node.layer, Concat) for node in unlike):
        alike = _made_alike(study)
        unlike = [node for node in unlike if isinstance(node.layer, Add) or not alike[node.output]]
    for kind, thing, remedy in (
        (Add, "addition", PRE_ACTIVATION),
        (Concat, "concatenation", "end all branches with a ReLU, or none"),
    ):
        found = [node for node in unlike if isinstance(node.layer, kind)]
        if len(found) > (kind is Add):
            row = most_on_a_way(study, found)
            deep = study.account.depth >= DEEP and (kind is Concat or row >= SEVERAL)
            every = sum(isinstance(node.layer, kind) for node in joins)
            yield Case(
                where=tuple(node.path for node in found),
                text=f"at {len(found)} of {several(every, thing)} a signed map meets one that a ReLU has cut",
                evidence={f"{thing}s": every, "unlike": len(found)},
                remedy=Remedy(remedy),
                severity="warning" if study.account.depth >= VERY_DEEP and row >= MANY and kind is Add else None,
                quiet=not deep,
                under=("N8", "N11"),
            )


def _unlike(study: Study, node: Node) -> bool:
    bounds = [study.intervals[x] for x in node.inputs]
    return any(b.low >= 0 < b.high for b in bounds) and any(b.low < 0 < b.high for b in bounds)


def _made_alike(study: Study) -> dict[FeatureMap, bool]:
    """Whether the first computation that reads a map, on every way, treats each channel so that ranges become alike."""
    alike: dict[FeatureMap, bool] = {}
    for node in reversed(study.graph.nodes):
        readers = study.readers[node.output]
        alike[node.output] = bool(readers) and all(
            isinstance(r.layer, (BatchNorm, *RECTIFIERS)) or (r.layer.kind == REARRANGEMENT and alike[r.output])
            for r in readers
        )
    return alike


@rule(
    "N5", "rectified-bottleneck", "warning", "lecture 001, 'Residual – MobileNet V2'; Sandler et al. 2018, section 3.2"
)
def rectified_bottleneck(study: Study) -> Iterator[Case]:
    """A ReLU on a narrow map that all information must pass.

    ReLU sets half of the space to zero for each channel, and what it cuts off a narrow map is in no other channel.
    Where the map has at least twice as many channels as it got information from, the others make up for it; where it
    has at most half as many as the layers before and after, what is cut off is lost. MobileNet V2 leaves the narrow
    maps between its expansions linear, and gained by it. It is no objection where a shortcut goes around the narrow
    map, as in ResNet's bottlenecks, nor to a narrow map that is the result.

    A warning for such inverted residuals, whose wide maps are convolved depthwise. A waist in a chain of ordinary
    convolutions is what narrow-waist is about: to open it comes first, and without the ReLU two convolutions are one.
    Measured on a waist of 4 channels between 64 and 128 (Fashion-MNIST, two seeds): open it, 1.8 and 3.0 points more;
    leave the ReLU out, 1.1 and 0.7 fewer. Where waists follow one another, as SqueezeNet's Fire modules do, shortcuts
    around them gain as much: 60.4 % in place of 57.5 % on ImageNet (Iandola et al. 2016, table 3). They are a note
    where they have at most a quarter of the channels before and after; wider ones are said with `--pedantic` or `--rule
    rectified-bottleneck` alone.
    """
    found: dict[Node, tuple[int, int, int]] = {}
    inverted: list[Node] = []
    expanded = _expansions(study)
    for x in study.spine:
        node = x.node
        if node is None or not isinstance(node.layer, RECTIFIERS) or len(x.shape) != 3 or pixels(x.shape) == 1:
            continue
        makers = _makers(study, node.inputs[0])
        before = max((one.inputs[0].shape[0] for one in makers), default=0)
        after = expanded[x].get(x.shape[1:], 0)
        if min(before, after) >= 2 * x.channels:
            found[node] = (before, x.channels, after)
            if any((m := study.weighted(one.inputs[0])) is not None and depthwise(m) for one in makers):
                inverted.append(node)
    waists = [node for node in found if node not in inverted]
    for nodes in (inverted, waists):
        if nodes:
            before, at, after = max((found[node] for node in nodes), key=lambda one: min(one[0], one[2]) / one[1])
            opened = (
                f"open the narrow maps, to at least {min(before, after) // 2} channels; or add shortcuts around them"
            )
            linear = study.remedy(
                f"leave {several(len(nodes), 'ReLU')} out: linear bottlenecks, as MobileNet V2 has",
                dict.fromkeys(nodes, ()),
                fix="unsafe",
            )
            yield Case(
                where=tuple(node.path for node in nodes),
                text=f"{several(len(nodes), 'ReLU')} on narrow maps, the narrowest {at} channels between {before} and "
                f"{after}",
                evidence={"layers": len(nodes), "before": before, "channels": at, "after": after},
                remedy=linear if nodes is inverted else Remedy(opened),
                severity=None if nodes is inverted else "note",
                quiet=min(before, after) < NARROW * at,
                under=("I5",),
            )


def _makers(study: Study, x: FeatureMap) -> list[Node]:
    """The layers with weights that made a map: after them is nothing but layers of one input, and one addition."""
    join = study.weighted(x)
    ends = [join] if join is None or not isinstance(join.layer, Add) else [study.weighted(y) for y in join.inputs]
    return [node for node in ends if node is not None and study.rows[node].weights]


def _expansions(study: Study) -> dict[FeatureMap, dict[Shape, int]]:
    """For each map, by size, the channels that layers with weights make which read it, or what layers of one input
    make of it."""
    found: dict[FeatureMap, dict[Shape, int]] = {}
    for x in [*(node.output for node in reversed(study.graph.nodes)), *study.graph.inputs]:
        parts: list[dict[Shape, int]] = []
        for node in study.readers[x]:
            if study.rows[node].weights:
                parts.append({node.output.shape[1:]: node.output.shape[0]})
            elif len(node.inputs) == 1:
                parts.append(found[node.output])
        if len(parts) == 1:
            found[x] = parts[0]
            continue
        total = found[x] = {}
        for part in parts:
            for size, channels in part.items():
                total[size] = total.get(size, 0) + channels
    return found


_IDENTITY_ABOVE = (ReLU, ReLU6, LeakyReLU, PReLU, ELU, Hardtanh)
"""What leaves values as they are that are not negative, or between two bounds."""


@rule("W6", "idle-nonlinearity", "warning", "arithmetic: max(0, max(0, x)) = max(0, x)")
def idle_nonlinearity(study: Study) -> Iterator[Case]:
    """A ReLU whose input is never negative, or another nonlinearity that changes nothing.

    It reads and writes a whole map to no effect: ReLU of ReLU is ReLU, also through pooling, concatenation and sums of
    what was rectified. A note where that is less than a tenth of all feature maps. (ReLU6 after a ReLU does cut off
    what is above 6.)
    """
    idle = [node for node in study.graph.nodes if isinstance(node.layer, _IDENTITY_ABOVE) and is_idle(study, node)]
    after = [node for node in idle if node.inputs[0].node and isinstance(node.inputs[0].node.layer, Add)]
    # After an addition it may be the one before that is wrong.
    for found, under in (([node for node in idle if node not in after], ()), (after, ("N8",))):
        if found:
            maps = sum(study.rows[node].feature_map_elements for node in found)
            few = 10 * maps < study.account.totals.feature_map_elements
            names = paths(found)
            yield Case(
                where=tuple(node.path for node in found),
                text=f"none of the {maps:,} values that {names} read{'s' * (len(found) == 1)} can change by it",
                evidence={"layers": len(found), "elements": maps},
                remedy=study.remedy(f"leave {names} out", dict.fromkeys(found, ()), fix="safe"),
                severity="note" if few else None,
                under=under,
            )


def is_idle(study: Study, node: Node) -> bool:
    """Whether a nonlinearity that leaves such values as they are changes none of what it reads."""
    bounds = study.intervals[node.inputs[0]]
    inside = bounds.low >= 0 or isinstance(node.layer, Hardtanh)
    return inside and study.intervals[node.output] == bounds
