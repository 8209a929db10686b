"""Rules about what a device offers: memory, time, and the balance of the two along the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cnnatomy.analysis import Account, Row, account
from cnnatomy.analysis.memory.footprint import inference
from cnnatomy.analysis.memory.setting import Setting
from cnnatomy.critique.cost import BYTES, head_of_vectors, pooled_head
from cnnatomy.critique.machine import intensity, number_type, ridge
from cnnatomy.critique.rule import Case, Evidence, in_bytes, rule
from cnnatomy.critique.study import Study, by_element, depthwise, pixels
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.edits.change import Change, Remedy, changed
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, Derived, Each, Foreign, FullyConnected
from cnnatomy.layers.layer import UNKNOWN, Layer, Shape, dimensions

MAX_LISTED = 5
"""Layers that a finding over budget names."""

MIB, TINY = 2**20, 64
"""Bytes of a peak and pixels a side of an input below which memory is nobody's concern."""

GLARING = 0.8
"""A share of the MACs that is too much for the first layers on any device."""


@rule("B1", "balance", "note", "lecture 001, 'Network Size' and 'Personal Notes For Vision Optimized CNNs'")
def balance(study: Study) -> Iterator[Case]:
    """Arithmetic at the beginning, or weights at the end, that outweigh all the rest.

    "Pay attention to compute at the beginning and memory at the end": large maps of weak features are where MACs go,
    the last and smallest maps where weights go; between them is a "good balance of compute and memory". The beginning
    is all that is larger than the last map by more than two halvings, the end what is no larger; a network without such
    a beginning has too few scales to be out of balance. Fires where the beginning has half of the MACs, or the end nine
    tenths of the weights (in a vectorised head they are a matter of their own). Less than four fifths of the MACs, and
    weights, are for those who ask for this rule, unless they have a cause, such as a too small input. For a given
    device it fires where either takes half of the time of all layers with weights at batch 1, by the device's roofline
    or this machine's calibration.
    """
    ends = _ends(study)
    if ends is None:
        return
    spent, stored = sum(row.macs for row in ends.early), sum(row.weights for row in ends.late)
    macs, weights, head = study.account.totals.macs, study.account.totals.weights, head_of_vectors(study)
    times = {} if study.device is None else _shares_of_time(study, ends)
    heavy_early = times["share_of_time_early"] > 0.5 if times else 2 * spent > macs
    heavy_late = times["share_of_time_late"] > 0.5 if times else 10 * stored > 9 * weights and head is None
    if not (heavy_early or heavy_late):
        return
    evidence: dict[str, Evidence] = {
        "levels": _levels(ends.rows),
        "share_of_macs_early": spent / macs,
        "share_of_weights_late": stored / weights,
        "last": study.last_map.shape[1:],
        **times,
    }
    size = _last_size(study)
    if heavy_early:
        text = f"{spent / macs:.0%} of the MACs are on maps more than two halvings larger than {size}"
        yield Case(
            where=tuple(row.path for row in ends.early),
            text=text + (f", {times['share_of_time_early']:.0%} of the time" if times else ""),
            evidence=evidence,
            remedy=_less_early(study, ends.early, spent),
            quiet=not times and spent < GLARING * macs,
            under=("C6", "I3", "I8"),
        )
    if heavy_late:
        text = f"{stored / weights:.0%} of the weights are in layers with maps no larger than {size}"
        yield Case(
            where=tuple(row.path for row in ends.late),
            text=text + (f", {times['share_of_time_late']:.0%} of the time" if times else ""),
            evidence=evidence,
            remedy=pooled_head(study, head)
            if head
            else [Remedy("move blocks from there to the stages before"), *_cheaper(study, ends.late)],
            quiet=not times,
            under=("C1", "I3"),
        )


class _Ends(NamedTuple):
    """The convolutions and linear layers of a network, and those with maps of its beginning and of its end."""

    rows: list[Row]
    early: list[Row]
    late: list[Row]


def _ends(study: Study) -> _Ends | None:
    """None for a network without small maps at its end, of too few scales, or of mostly other layers."""
    if study.collapse is None:
        return None
    last, end = pixels(study.last_map.shape), study.depth(study.last_map)
    rows = [study.rows[node] for node in study.convolutions]
    rows += [row for row in study.account.rows if row.weights and len(row.output) == 1]
    sized = [(row, pixels(row.output)) for row in rows]
    early = [row for row, size in sized if size >= 32 * last]
    late = [row for row, size in sized if size == last or (size < last and row.weight_layers > end)]  # no earlier gates
    totals = study.account.totals
    macs, weights = sum(row.macs for row in rows), sum(row.weights for row in rows)
    if not early or 10 * macs < 9 * totals.macs or 10 * weights < 9 * totals.weights:
        return None
    return _Ends(rows, early, late)


def _last_size(study: Study) -> str:
    """The last map in words: where convolutions go on with one pixel it is the last of more than one."""
    end = study.depth(study.last_map)
    single = [node for node in study.convolutions if len(node.output.shape) == 3 and pixels(node.output.shape) == 1]
    goes_on = any(pixels(node.inputs[0].shape) > 1 and study.depth(node.output) > end for node in single)
    return f"the last{' of more than one pixel' if goes_on else ''}, {dimensions(study.last_map.shape[1:])}"


def _less_early(study: Study, early: list[Row], spent: int) -> list[Remedy]:
    """Ways to compute less on large maps, the cheapest first."""
    first, rest = early[0], spent - early[0].macs
    return [
        Remedy(
            f"sample down by 2 right after {first.path}, and once less later: {spent:,} MACs become "
            f"{first.macs + rest // 4:,}"
        ),
        Remedy("move blocks from there to the stages of the last two or three sizes"),
        *_cheaper(study, early),
    ]


def _cheaper(study: Study, rows: list[Row]) -> list[Remedy]:
    """Ways to compute and to store less in these layers, the mildest first."""
    return [
        Remedy("compute there with bottlenecks, or with depthwise or grouped convolutions"),
        study.remedy("halve the channels of these layers, which narrows what they find", _halved(study, rows)),
    ]


def _shares_of_time(study: Study, ends: _Ends) -> dict[str, float]:
    """The part of the time of these layers that those of the beginning and the end take, and FLOPs a byte of both."""
    seconds = dict(zip((row.node for row in study.account.rows), _timer(study)(study.account), strict=False))
    total = sum(seconds[row.node] for row in ends.rows) or 1.0
    found = ridge(study)
    for name, some in (("early", ends.early), ("late", ends.late)):
        found[f"share_of_time_{name}"] = sum(seconds[row.node] for row in some) / total
        moved = sum(study.moved[row.node] for row in some)
        found[f"flops_per_byte_{name}"] = intensity(sum(row.macs for row in some), moved)
    return found


def _levels(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """MACs and weights by the size of the map that they make."""
    levels: dict[str, dict[str, int]] = {}
    for row in rows:
        level = levels.setdefault(dimensions(row.output[1:]) or "vectors", {"macs": 0, "weights": 0})
        level["macs"] += row.macs
        level["weights"] += row.weights
    return levels


@rule("B2", "single-peak", "note", "Lin et al. 2021 (MCUNetV2), figure 1; lecture 001, 'Feature Map Size'")
def single_peak(study: Study) -> Iterator[Case]:
    """Peak memory at inference that a single layer sets.

    Memory is paid for the largest moment, and what one layer alone needs the rest of the network leaves unused. Fires
    where a layer, with the normalisation and activation after it, holds half as much again as any other does: make it
    smaller, or compute it in patches. A layer holds what it reads, what it writes, and what it needs meanwhile. Where
    neither a device nor a budget of memory is given, it is for those who ask for this rule; with a peak below a MiB, or
    an input of at most 64 pixels a side, it is then not told with a cause either.
    """
    held, maker = _held(study)
    if len(held) < 2:
        return
    first, second = sorted(held, key=lambda node: -held[node])[:2]
    if 2 * held[first] < 3 * held[second]:
        return
    memory = study.account.inference_memory
    plenty = study.purpose.device is None and study.purpose.memory is None
    after = tuple(x.node.path for x in maker if maker[x] is first and x.node is not None)
    if memory.at not in after:
        return
    yield Case(
        where=after,
        text=f"the peak of {in_bytes(memory.peak)} is at {memory.at}: {first.path} holds "
        f"{in_bytes(BYTES * held[first])}, the next, {second.path}, {in_bytes(BYTES * held[second])}",
        evidence={
            "peak": memory.peak,
            "at": memory.at,
            "bytes": BYTES * held[first],
            "next": second.path,
            "next_bytes": BYTES * held[second],
        },
        remedy=_lower_peak(study, first),
        quiet=plenty,
        under=() if plenty and (memory.peak < MIB or max(study.account.input[1:], default=1) <= TINY) else ("C6", "I3"),
    )


def _lower_peak(study: Study, first: Node) -> list[Remedy]:
    """Ways to hold less at the layer that holds the most, the mildest first."""
    patches = Remedy(f"compute {first.path} and what follows it in patches, whose borders are computed twice")
    if half := _halved(study, [study.rows[first]]):
        return [patches, study.remedy(f"halve the channels of {first.path}", half)]
    return [patches, Remedy(f"leave {first.path} out, or make what it reads smaller")]


def _held(study: Study) -> tuple[dict[Node, int], dict[FeatureMap, Node]]:
    """Elements that layers hold at the most, each with the elementwise ones after it, and that layer for each map."""
    held: dict[Node, int] = {}
    maker: dict[FeatureMap, Node] = {}
    for row in study.account.rows:
        node, layer, x, output = row.node, row.node.layer, row.node.inputs[0], row.node.output
        passed = by_element(node) and x.shape == output.shape
        first = maker[output] = maker.get(x, node) if passed else node
        moved = study.moved[node]
        if node.overwrites or not moved:
            continue
        size = moved - row.parameters - row.buffers
        if type(layer).scratch is not Layer.scratch:
            scratch = layer.scratch(row.inputs, row.output)
            size += sum(extra.elements for extra in scratch.forward)
        if size > held.get(first, 0):
            held[first] = size
    return held, maker


@rule("B3", "over-memory", "error", "the budget; lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def over_memory(study: Study) -> Iterator[Case]:
    """More memory at inference than there is.

    What counts is weights and statistics, the input, and the feature maps at the moment when most are alive, for one
    image in float32, as eager torch holds them; the work space of kernels comes on top. The layers named hold the most.
    """
    budget = study.purpose.memory
    if budget is None or study.account.inference_memory.total <= budget:
        return
    memory = study.account.inference_memory
    weights = memory.parameters + memory.buffers
    pieces = [(row.path, "weights", BYTES * (row.parameters + row.buffers)) for row in study.account.rows]
    pieces += [(piece.path, piece.what, piece.bytes) for piece in memory.alive]
    largest = sorted(pieces, key=lambda piece: -piece[2])[:MAX_LISTED]
    half = inference(study.graph, Setting(dtype="float16")).total
    yield Case(
        where=tuple(dict.fromkeys(path for path, _, _ in largest)),
        text=f"{in_bytes(memory.total)} for {in_bytes(budget)}: weights {in_bytes(weights)}, "
        f"input {in_bytes(memory.input)}, feature maps {in_bytes(memory.peak)} at {memory.at}",
        evidence={
            "bytes": memory.total,
            "budget": budget,
            "weights": weights,
            "peak": memory.peak,
            "at": memory.at,
            "cut_first": [{"path": path, "what": what, "bytes": size} for path, what, size in largest],
        },
        remedy=[
            *_pooled(study, memory.total),
            _cut(
                study, lambda graph: inference(graph).total, budget, in_bytes, [f"in 16 bits it takes {in_bytes(half)}"]
            ),
        ],
    )


def _pooled(study: Study, total: float) -> list[Remedy]:
    """A global average in place of a vectorised head that holds most of the memory: a smaller input would not help."""
    head = head_of_vectors(study)
    if head is None or 2 * BYTES * head.parameters <= total:
        return []
    remedy = pooled_head(study, head)
    if remedy.change is None:
        return [remedy]
    left = inference(changed(study.graph, remedy.change)).total
    return [remedy._replace(text=f"{remedy.text}; it takes {in_bytes(left)} then")]


@rule(
    "B4",
    "over-latency",
    "error",
    "the budget; Williams et al. 2009; lecture 001, 'Personal Notes For Vision Optimized CNNs'",
)
def over_latency(study: Study) -> Iterator[Case]:
    """More time for one image than there is.

    On a named device this is the time that it takes at least, every layer at the roofline of the data sheet: where that
    is too long already, no implementation helps. On this machine it is the time that calibration predicts. The layers
    named take the most.
    """
    budget = study.purpose.latency
    if budget is None or study.device is None:
        return
    timer = _timer(study)
    seconds = timer(study.account)
    total = sum(seconds)
    if total <= budget:
        return
    slowest = sorted(zip(seconds, study.account.rows, strict=False), key=lambda one: -one[0])[:MAX_LISTED]
    share = sum(s for s, _ in slowest) / total
    parts: dict[str, float] = {}
    for spent, row in zip(seconds, study.account.rows, strict=False):
        part = ".".join(row.path.split(".")[:2])
        parts[part] = parts.get(part, 0.0) + spent
    dearest = max(parts, key=parts.__getitem__)
    how = "at least" if study.calibration is None else "predicted"
    yield Case(
        where=tuple(row.path for _, row in slowest),
        text=f"{how} {_ms(total)} for {_ms(budget)} on {study.device.name}; the layers named take {share:.0%}, "
        f"{dearest} in all {parts[dearest] / total:.0%}",
        evidence={
            "seconds": total,
            "budget": budget,
            "device": study.device.name,
            "cut_first": [{"path": row.path, "seconds": s, "share": s / total} for s, row in slowest],
            "seconds_by_part": parts,
        },
        remedy=_cut(study, lambda graph: sum(timer(account(graph))), budget, _ms, []),
    )


def _timer(study: Study) -> Callable[[Account], list[float]]:
    """What tells the seconds of each layer on the study's device; on this machine, last, of what is between them."""
    from cnnatomy.analysis.time.roofline import roofline  # 10 ms, for designs with a device only

    device, calibration = study.device, study.calibration
    assert device is not None

    def seconds(of: Account) -> list[float]:
        if calibration is None:
            return [bound.seconds for bound in roofline(of, device, dtype=number_type(study))]
        prediction = calibration.predict(of)
        rows = [seconds or 0.0 for seconds in prediction.rows]
        return [*rows, prediction.seconds - sum(rows)]

    return seconds


def _cut(
    study: Study, needs: Callable[[Graph], float], budget: float, shown: Callable[[float], str], said: list[str]
) -> Remedy:
    """What cutting gives: the largest smaller input that fits, or else half of all channels."""
    half = _halved(study, study.account.rows)
    try:
        narrow = needs(changed(study.graph, Change(half)))
        halved = f"with half of all channels it takes {shown(narrow)}"
    except UserError:
        half, narrow, halved = {}, budget + 1, "half of all channels do not fit together"
    found = _smaller_input(study, lambda graph: needs(graph) <= budget)
    if found is not None:
        shape, graph = found
        text = f"use an input of {dimensions(shape)}, with which it takes {shown(needs(graph))}"
        return study.remedy("; ".join([text, halved, *said]), input=shape)
    text = "; ".join([halved, *said, "no smaller input fits"])
    return study.remedy(text, half) if narrow <= budget else Remedy(text)


def _smaller_input(study: Study, fits: Callable[[Graph], bool]) -> tuple[Shape, Graph] | None:
    """The largest smaller input with a multiple of 32 rows that fits, and the graph for it; sides keep their ratio."""
    shape = study.graph.inputs[0].shape
    fixed = any(isinstance(n.layer, (Foreign, Derived, Each)) or n.layer.kind == UNKNOWN for n in study.graph.nodes)
    if len(shape) != 3 or fixed:
        return None
    channels, rows, columns = shape
    sizes = [(channels, 32 * n, max(32, round(n * columns / rows) * 32)) for n in range(1, -(-rows // 32))]
    best: tuple[Shape, Graph] | None = None
    while sizes:
        middle = len(sizes) // 2
        try:
            graph = changed(study.graph, Change(input=sizes[middle]))
        except UserError:
            sizes = sizes[middle + 1 :]  # too small for a kernel, or for any size but one
            continue
        if fits(graph):
            best, sizes = (sizes[middle], graph), sizes[middle + 1 :]
        else:
            sizes = sizes[:middle]
    return best


def _halved(study: Study, rows: Iterable[Row]) -> dict[Node, tuple[Layer, ...]]:
    """These layers with half of their channels; the classifier keeps its classes."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    for row in rows:
        node, layer = row.node, row.node.layer
        if node is study.classifier:
            continue
        if isinstance(layer, FullyConnected):
            layers[node] = (layer.replace(features=max(1, layer.features // 2)),)
        elif isinstance(layer, Conv) and depthwise(node):
            half = max(1, layer.groups // 2)
            layers[node] = (layer.replace(channels=half * (layer.channels // layer.groups), groups=half),)
        elif isinstance(layer, Conv):
            layers[node] = (layer.replace(channels=max(1, layer.channels // layer.groups // 2) * layer.groups),)
    return layers


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.3f} ms"
