"""Rules about where parameters and arithmetic are spent: head and branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnatomy.critique.branches import branches
from cnnatomy.critique.rule import Case, Severity, rule
from cnnatomy.critique.study import SPATIAL, Study, paths
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Fix, Remedy
from cnnatomy.layers import Add, AvgPool, BatchNorm, Concat, Conv, Flatten, GlobalAvgPool, MaxPool, ReLU
from cnnatomy.layers.layer import ELEMENT, TRAINING, Layer, Pair, dimensions, elements, pair

BYTES = 4
"""Of a float32 number."""

MUCH = 2**20
"""Bytes of weights that it is worth while to save."""

SOME_WORD, WARNING = 4 * MUCH, 8 * MUCH
"""Bytes of weights in a vectorised head that are worth a note, and a warning."""

NEARLY_ALL = 0.975
"""A share of the parameters with which a head leaves a body of no weight: it is what learns, at any size."""


@rule("C1", "vectorised-head", "warning", "lecture 001, 'Feature Map To Feature Vector Transform'; Lin et al. 2013")
def vectorised_head(study: Study) -> Iterator[Case]:
    """A vectorised head that holds most of the parameters.

    "Likely a lot of redundancy in the subsequent classifier": each pixel of the last map has weights of its own, so the
    first layer after it grows with the size of the map, needs dropout and binds the network to one input size. Global
    average pooling, "most popular right now", has no weights and is a subset of it (Network in Network, section 3.2).
    What it averages must have been found before it: where the last map sees less than half of the input, it takes more
    convolutions; where the place of things is asked for, as by landmarks, a coarser map keeps it: pool to 2x2 or 3x3.
    What the remedy saves decides: a warning from 8 MiB of weights on, a note from 4 MiB, and from 1 MiB where the body
    has next to no parameters; less, as in networks for digits, is for those who ask for this rule. Left out are heads
    with less than half of the parameters, autoencoders and others whose output has pixels, and maps that a stride or a
    kernel happens to cover on the way to further blocks: there the input is too small.
    """
    head = head_of_vectors(study)
    total = study.account.totals.parameters
    if head is None or 2 * head.parameters <= total:
        return
    first, size = head.weighted[0], head.before.shape
    remedy = pooled_head(study, head, fix="unsafe")
    level = severity_of_head(study, head, remedy)
    yield Case(
        where=tuple(node.path for node in head.weighted),
        text=f"{head.parameters:,} of {total:,} parameters ({head.parameters / total:.0%}) come after "
        f"{dimensions(size)} is read as {elements(size):,} features",
        evidence={
            "parameters": head.parameters,
            "share": head.parameters / total,
            "features": elements(size),
            "first": study.rows[first].parameters,
        },
        remedy=[remedy, *_coarser(study, head)],
        severity=level,
        quiet=level is None,
        under=("I3",),
    )


def severity_of_head(study: Study, head: VectorisedHead, remedy: Remedy) -> Severity | None:
    """How bad a vectorised head is by what its remedy saves; None where only those who ask want to know."""
    total = study.account.totals.parameters
    saved = BYTES * (head.parameters if remedy.after is None else total - remedy.after.parameters)
    if saved >= WARNING:
        return "warning"
    return "note" if saved >= SOME_WORD or (saved >= MUCH and head.parameters >= NEARLY_ALL * total) else None


class VectorisedHead(NamedTuple):
    """A head that reads every pixel of a map with weights of its own.

    Attributes:
        before: the map.
        collapse: the layer that makes a vector of it: a rearrangement, or a convolution as large as the map.
        hidden: the layers between that and the classifier; None where they are no chain of weights and activations.
        weighted: the layers of the head that have weights, in order.
        parameters: of all of them.
    """

    before: FeatureMap
    collapse: Node
    hidden: tuple[Node, ...] | None
    weighted: tuple[Node, ...]
    parameters: int


def head_of_vectors(study: Study) -> VectorisedHead | None:
    """The vectorised head of a design; None if it has none."""
    node, classifier = study.collapse, study.classifier
    if node is None or len(node.inputs) != 1 or classifier is None:
        return None
    before, layer = node.inputs[0], node.layer
    covers = isinstance(layer, Conv) and layer.groups == 1 and pair(layer.kernel) == before.shape[1:]
    if not covers and (study.rows[node].weights or elements(before.shape) != elements(node.output.shape)):
        return None
    after = [row for row in study.account.rows if row.node in study.ancestors]
    after = after[[row.node for row in after].index(node) + 1 :]
    if covers and _goes_on(node, [row.node for row in after]):
        return None
    weighted = [*([node] if covers else []), *[row.node for row in after if row.weights]]
    if not weighted:
        return None
    parameters = sum(row.parameters for row in after) + (study.rows[node].parameters if covers else 0)
    return VectorisedHead(before, node, _hidden(study, node, classifier), tuple(weighted), parameters)


def _goes_on(covering: Node, after: Sequence[Node]) -> bool:
    """Whether spatial layers come after a convolution that covers its map: blocks, or the average of larger maps."""
    layer = covering.layer
    if any(isinstance(node.layer, SPATIAL) and max(pair(node.layer.kernel)) > 1 for node in after):
        return True
    small = isinstance(layer, Conv) and (max(pair(layer.stride)) > 1 or max(pair(layer.kernel)) < 3)
    return small and any(isinstance(node.layer, (GlobalAvgPool, AvgPool)) for node in after)


def _hidden(study: Study, first: Node, last: Node) -> tuple[Node, ...] | None:
    """What lies between two layers of a chain; None where that is no chain, or does what cannot be left out."""
    found: list[Node] = []
    node = last.inputs[0].node if last is not first else None
    while node is not None and node is not first:
        kept = node.layer.is_view(training=True)
        if len(node.inputs) != 1 or not (kept or study.rows[node].weights or node.layer.kind in (ELEMENT, TRAINING)):
            return None
        found += [] if kept else [node]
        node = node.inputs[0].node
    return tuple(reversed(found)) if node is first else None


def _coarser(study: Study, head: VectorisedHead) -> list[Remedy]:
    """A pool to 2x2 or 3x3 before a small map is read pixel by pixel; where a pool makes that map, it pools more."""
    rows, columns = head.before.shape[1:]
    if head.collapse is head.weighted[0] or not 4 <= min(rows, columns) <= max(rows, columns) <= SMALL + 1:
        return []
    side = 2 if min(rows, columns) < 6 else 3
    vector = Flatten() if len(head.collapse.output.shape) == 1 else head.collapse.layer
    last = head.before.node
    if last is not None and isinstance(last.layer, (MaxPool, AvgPool)) and study.only_reader(head.before):
        _, *whole = last.inputs[0].shape
        kernel, stride = _windows(whole, side)
        text = f"let {last.path} leave {side}x{side}, which still says where things are"
        larger = last.layer.replace(kernel=kernel, stride=stride, padding=0, ceil=False)
        return [study.remedy(text, {last: (larger,), head.collapse: (vector,)})]
    kernel, stride = _windows((rows, columns), side)
    text = f"pool to {side}x{side} before {head.collapse.path}, which keeps where things are"
    return [study.remedy(text, {head.collapse: (AvgPool(kernel, stride), vector)})]


def _windows(whole: Sequence[int], side: int) -> tuple[Pair, Pair]:
    """The kernel and the stride with which a pool reads all of a map and leaves so many positions a side."""
    rows, columns = (n // side for n in whole)
    return (whole[0] - (side - 1) * rows, whole[1] - (side - 1) * columns), (rows, columns)


MORE = 3
"""Convolutions that are worth adding before a global average."""

SMALL = 7
"""Positions a side of a map that is not sampled down before a global average."""


def convolution(study: Study, channels: int, kernel: int) -> tuple[Layer, ...]:
    """A convolution that keeps the size of its map, with ReLU, and with batch norm if the network has it."""
    normalised = any(isinstance(node.layer, BatchNorm) for node in study.graph.nodes)
    conv = Conv(channels, kernel, padding=kernel // 2, bias=not normalised)
    return (conv, BatchNorm(), ReLU()) if normalised else (conv, ReLU())


def _seeing_half(study: Study, x: FeatureMap) -> list[Layer]:
    """3x3 convolutions, each with twice the channels, until an element sees half of the input; `MORE` at most.

    A pool follows each, down to a map of `SMALL` positions a side.
    """
    whole, field = study.account.input[1:], study.account.fields[x]
    side, size, stride = min(x.shape[1:]), list(field.size), list(field.stride)
    layers: list[Layer] = []
    for i in range(1, MORE + 1):
        if all(2 * seen >= n for seen, n in zip(size, whole, strict=True)):
            break
        layers += convolution(study, x.shape[0] * 2**i, 3)
        size = [seen + int(2 * step) for seen, step in zip(size, stride, strict=True)]
        if side >= 2 * SMALL:
            layers.append(MaxPool(2))
            size = [seen + int(step) for seen, step in zip(size, stride, strict=True)]
            side, stride = side // 2, [2 * step for step in stride]
    return layers


def pooled_head(study: Study, head: VectorisedHead, fix: Fix | None = None) -> Remedy:
    """Global average pooling and the classifier in place of a vectorised head.

    Where there are fewer channels than classes, a 1x1 convolution makes as many features first, in multiples of 64;
    where the map sees less than half of the input, convolutions come first.
    """
    text = "replace it by global average pooling and one linear layer"
    before = head.before
    if not study.depth(before):
        return Remedy(
            "convolve first: 3x3 convolutions that sample down to 7x7 or so and double the channels each time, then "
            "global average pooling and one linear layer"
        )
    if head.hidden is None:
        return Remedy(text)
    classes = study.classes or 0
    deeper = _seeing_half(study, before)
    channels = before.shape[0] * 2 ** sum(isinstance(layer, Conv) for layer in deeper)
    after = list(deeper)
    widened = channels < classes
    if widened:
        channels = -(-classes // 64) * 64
        after += convolution(study, channels, 1)
    flatten = () if isinstance(head.collapse.layer, Conv) else (Flatten(),)
    layers = {head.collapse: (*after, GlobalAvgPool(), *flatten), **dict.fromkeys(head.hidden, ())}
    remedy = study.remedy(text, layers, fix=fix)
    if remedy.after is None:
        return remedy
    first = head.weighted[0]
    body = study.account.totals.parameters - head.parameters
    if first is study.classifier:
        said = f"put global average pooling before {first.path}"
    else:
        gone = paths([node for node in head.weighted if node is not study.classifier])
        saved = sum(study.rows[node].parameters for node in head.weighted if node is not study.classifier)
        said = f"replace {gone} by global average pooling: {saved:,} parameters become 0"
    if deeper:
        widths = ", ".join(f"{layer.channels:,}" for layer in deeper if isinstance(layer, Conv))
        said += f"; before it convolve on, 3x3 to {widths} channels, and sample down to {SMALL}x{SMALL} or so"
    if widened:
        said += f"; before it a 1x1 convolution to {channels:,} channels, no fewer than classes"
    return remedy._replace(text=f"{said}; the head has {remedy.after.parameters - body:,} of {head.parameters:,}")


@rule(
    "C7",
    "unequal-branches",
    "note",
    "Xie et al. 2016, section 3.3 and figure 3; lecture 001, 'Parallel – GoogLeNet / Inception V2, V3 And V4'",
)
def unequal_branches(study: Study) -> Iterator[Case]:
    """Parallel branches of very unequal cost.

    Side by side, all branches wait for the dearest. Where the MACs of n branches are less than half of n times those of
    the dearest, parallel hardware idles more than half of the time (of two branches it never does); ResNeXt's branches
    are equal, so that they become one grouped convolution. Branches without MACs (identities, pools) and projections
    before an addition are not counted, nor modules that hold less than a tenth of the network's MACs together. It is
    a matter of the device: where none is given, of those who ask for this rule.
    """
    position = {node: i for i, node in enumerate(study.graph.nodes)}
    found: list[tuple[Node, list[int]]] = []
    for join in study.graph.nodes:
        if len(join.inputs) < 3 or not isinstance(join.layer, (Add, Concat)):
            continue
        costs = []
        for branch in branches(study, join, position):
            weighted = [study.rows[node] for node in branch if study.rows[node].weights]
            if weighted and (len(weighted) > 1 or isinstance(join.layer, Concat)):
                costs.append(sum(row.macs for row in weighted))
        if costs and 2 * sum(costs) < len(costs) * max(costs):
            found.append((join, costs))
    total, spent = study.account.totals.macs, sum(sum(costs) for _, costs in found)
    if not found or 10 * spent < total:
        return
    used = spent / sum(len(costs) * max(costs) for _, costs in found)
    worst, costs = min(found, key=lambda one: sum(one[1]) / (len(one[1]) * max(one[1])))
    yield Case(
        where=tuple(join.path for join, _ in found),
        text=f"run side by side, branches with {spent / total:.0%} of the MACs keep hardware {used:.0%} busy; "
        f"those of {worst.path} have {', '.join(f'{cost:,}' for cost in costs)} MACs",
        evidence={"share_of_macs": spent / total, "busy": used, "worst": worst.path, "macs": costs},
        remedy=Remedy(f"give the branches of {worst.path} about {sum(costs) // len(costs):,} MACs each"),
        quiet=study.device is None,
    )
