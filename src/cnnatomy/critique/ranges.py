"""Rules about the range of values: what nonlinearities cut off, and what additions bring together."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    ELU,
    Add,
    BatchNorm,
    Concat,
    Dropout,
    Hardtanh,
    LeakyReLU,
    Multiply,
    PReLU,
    ReLU,
    ReLU6,
)
from cnnatomy.layers.layer import REARRANGEMENT, Shape

RECTIFIERS = (ReLU, ReLU6)


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
    pre-activation adds signed maps to signed maps, and trained 1001 layers deep. It matters little to networks of up
    to about 160 layers, and signed maps have fewer zeros, so that they compress less. A concatenation that batch norm
    or a ReLU reads is not concerned: they make the ranges alike; nor is one addition alone, as that of the first block
    of a pre-activated network to what the tail made.
    """
    joins = [node for node in study.graph.nodes if isinstance(node.layer, (Add, Concat)) and len(node.inputs) > 1]
    if not joins:
        return
    unlike = [node for node in joins if _unlike(study, node)]
    if any(isinstance(node.layer, Concat) for node in unlike):
        alike = _made_alike(study)
        unlike = [node for node in unlike if isinstance(node.layer, Add) or not alike[node.output]]
    for kind, thing, remedy in (
        (Add, "addition", "normalise and rectify before the convolutions and not after the addition: pre-activation"),
        (Concat, "concatenation", "end all branches with a ReLU, or none"),
    ):
        found = [node for node in unlike if isinstance(node.layer, kind)]
        if len(found) > (kind is Add):
            every = sum(isinstance(node.layer, kind) for node in joins)
            yield Case(
                where=tuple(node.path for node in found),
                text=f"{len(found)} of {several(every, thing)} put a signed map to one that is never negative",
                evidence={f"{thing}s": every, "unlike": len(found)},
                remedy=Remedy(remedy),
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
    has at most half as many as the layers before and after, what is cut off is lost. MobileNet V2 leaves its narrow
    maps linear, and gained by it. It is no objection where a shortcut goes around the narrow map, as in ResNet's
    bottlenecks, nor to a narrow map that is the result.
    """
    found: dict[Node, tuple[int, int, int]] = {}
    last, expanded = _last_with_weights(study), _expansions(study)
    for x in study.spine:
        node = x.node
        if node is None or not isinstance(node.layer, RECTIFIERS) or len(x.shape) != 3 or pixels(x.shape) == 1:
            continue
        before = max((maker.inputs[0].shape[0] for maker in _makers(study, last, node.inputs[0])), default=0)
        if before >= 2 * x.channels:
            after = expanded[x].get(x.shape[1:], 0)
            if after >= 2 * x.channels:
                found[node] = (before, x.channels, after)
    if not found:
        return
    before, at, after = max(found.values(), key=lambda channels: min(channels[0], channels[2]) / channels[1])
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'ReLU')} on narrow maps, the narrowest {at} channels between {before} and {after}",
        evidence={"layers": len(found), "before": before, "channels": at, "after": after},
        remedy=study.remedy(
            f"leave {several(len(found), 'ReLU')} out: linear bottlenecks",
            dict.fromkeys(found, ()),
            fix="unsafe",
        ),
    )


def _makers(study: Study, last: dict[FeatureMap, Node | None], x: FeatureMap) -> list[Node]:
    """The layers with weights that made a map: after them is nothing but layers of one input, and one addition."""
    join = last[x]
    ends = [join] if join is None or not isinstance(join.layer, Add) else [last[y] for y in join.inputs]
    return [node for node in ends if node is not None and study.rows[node].weights]


def _last_with_weights(study: Study) -> dict[FeatureMap, Node | None]:
    """For each map the last layer before it that has weights or several inputs."""
    found: dict[FeatureMap, Node | None] = dict.fromkeys(study.graph.inputs)
    for node in study.graph.nodes:
        alone = len(node.inputs) == 1 and not study.rows[node].weights
        found[node.output] = found[node.inputs[0]] if alone else node
    return found


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


@rule(
    "N8",
    "relu-before-addition",
    "warning",
    "He et al. 2016, 'Identity Mappings in Deep Residual Networks', section 4.1 and figure 4c",
)
def relu_before_addition(study: Study) -> Iterator[Case]:
    """A residual branch that ends in a ReLU, so that the sum can only grow.

    A residual should be able to take away as well as to add: with a ReLU as the last layer of the branch the values
    rise from block to block. The authors of ResNet measured it: worse than the original.
    """
    found: dict[Node, Node] = {}
    order = {node: i for i, node in enumerate(study.graph.nodes)}
    for node in study.graph.nodes:
        if isinstance(node.layer, Add) and all(study.intervals[x].low >= 0 for x in node.inputs):
            for x in node.inputs:
                last = _last_rectifier(study, x)
                others = {y for y in node.inputs if y is not x}
                if last is not None and _comes_from(last, others, order):
                    found[last] = node
    if not found:
        return
    sums = len(set(found.values()))
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(sums, 'addition')} of a branch that is never negative to a shortcut that is not either",
        evidence={"additions": sums, "layers": len(found)},
        remedy=study.remedy(
            f"leave {several(len(found), 'ReLU')} before the addition out",
            dict.fromkeys(found, ()),
            fix="unsafe",
        ),
    )


def _last_rectifier(study: Study, x: FeatureMap) -> Node | None:
    """The ReLU that a map comes from, with at most dropout and a gate after it, if no other layer reads it."""
    node = x.node
    while node is not None and isinstance(node.layer, (Dropout, Multiply)):
        node = next(y for y in node.inputs if y.shape == node.output.shape).node
    if node is None or not isinstance(node.layer, RECTIFIERS):
        return None
    readers = study.readers[node.output]
    own = all(isinstance(r.layer, (Add, Dropout, Multiply)) or pixels(r.output.shape) == 1 for r in readers)
    return node if own else None


def _comes_from(node: Node, maps: set[FeatureMap], order: dict[Node, int]) -> bool:
    """Whether a node depends on one of these maps."""
    earliest = min((order[x.node] for x in maps if x.node), default=-1)
    waiting, seen = list(node.inputs), set(node.inputs)
    while waiting:
        x = waiting.pop()
        if x in maps:
            return True
        if x.node is not None and order[x.node] > earliest:
            waiting += [y for y in x.node.inputs if y not in seen]
            seen.update(x.node.inputs)
    return False


_IDENTITY_ABOVE = (ReLU, ReLU6, LeakyReLU, PReLU, ELU, Hardtanh)
"""What leaves values as they are that are not negative, or between two bounds."""


@rule("W6", "idle-nonlinearity", "warning", "arithmetic: max(0, max(0, x)) = max(0, x)")
def idle_nonlinearity(study: Study) -> Iterator[Case]:
    """A ReLU whose input is never negative, or another nonlinearity that changes nothing.

    It reads and writes a whole map to no effect: ReLU of ReLU is ReLU, also through pooling, concatenation and sums of
    what was rectified. (ReLU6 after a ReLU does cut off what is above 6.)
    """
    found = [node for node in study.graph.nodes if isinstance(node.layer, _IDENTITY_ABOVE) and _is_idle(study, node)]
    if not found:
        return
    maps = sum(study.rows[node].feature_map_elements for node in found)
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'nonlinear layer')} for {maps:,} values, none of which can change",
        evidence={"layers": len(found), "elements": maps},
        remedy=study.remedy("leave them out", dict.fromkeys(found, ()), fix="safe"),
    )


def _is_idle(study: Study, node: Node) -> bool:
    bounds = study.intervals[node.inputs[0]]
    inside = bounds.low >= 0 or isinstance(node.layer, Hardtanh)
    return inside and study.intervals[node.output] == bounds
