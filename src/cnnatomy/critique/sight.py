"""Rules about what layers see: receptive fields against objects and input, borders, dropped rows, holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from math import ceil, log2

from cnnatomy.analysis.coverage import Gap, gaps
from cnnatomy.critique.information import fewer_stages
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import SPATIAL, Study, pixels
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import AvgPool, BatchNorm, Conv, DepthwiseConv, MaxPool, ReLU
from cnnatomy.layers.layer import ELEMENT, GLOBAL, TRAINING, Layer, Pair, Window, dimensions, pair
from cnnatomy.layers.sliding import sides

MORE = 4
"""Convolutions that are worth adding for a larger field; with more, dilation or pooled context is what people use."""


@rule("S1", "small-receptive-field", "warning", "lecture 001, 'Receptive Field Size'; Luo et al. 2016, section 2")
def small_receptive_field(study: Study) -> Iterator[Case]:
    """The last map sees less than the objects to recognise, or than the input.

    "What does the classifier have to work with when making a decision: idea of looking at the input through a screen
    of that size", which is the most that can matter: weights in the middle of the field count most, so the effective
    field is smaller. A warning where objects are given and are larger; a note where only the input is larger, since
    objects seldom fill it and a vectorised head puts together what positions see. Objects smaller than the stride of
    the last map can share a position: a warning where the output has pixels, a note for a classifier. Networks
    with gates, attention or pooled context, which bring the whole image to every position, are left out.
    """
    field = study.account.fields[study.last_map]
    sequence = any(len(x.shape) == 2 for x in study.spine)
    if len(study.account.input) != 3 or field.sees_all or sequence or not study.convolutions:
        return
    whole, objects = study.account.input[1:], study.purpose.objects
    wanted = [n if objects is None else min(n, objects[1]) for n in whole]
    where = (study.last_map.node.path if study.last_map.node else "input",)
    if any(size < n for size, n in zip(field.size, wanted, strict=True)):
        against = (
            f"the input has {dimensions(whole)}" if objects is None else f"the largest objects have {objects[1]:,}"
        )
        yield Case(
            where=where,
            text=f"the last map sees {dimensions(field.size)} pixels; {against}",
            evidence={"field": list(field.size), "wanted": wanted},
            remedy=_see_more(study, wanted),
            severity="note" if objects is None else None,
        )
    stride = max(field.stride)
    if objects is not None and stride > objects[0]:
        yield Case(
            where=where,
            text=f"the last map has a position every {float(stride):g} pixels; the smallest objects have {objects[0]}",
            evidence={"stride": float(stride), "smallest": objects[0]},
            remedy=fewer_stages(study, ceil(log2(stride / objects[0])), first=False),
            severity="note" if study.task == "classification" else None,
        )


def _see_more(study: Study, wanted: Sequence[int]) -> Remedy:
    """3x3 convolutions at the end, before a classifier of pixels or after the last map."""
    field, node = study.account.fields[study.last_map], study.last_map.node
    lacking = zip(wanted, field.size, field.stride, strict=True)
    more = max(ceil((n - size) / (2 * stride)) for n, size, stride in lacking)
    if more > MORE:
        return Remedy(
            f"{more} more 3x3 convolutions would be needed there: down-sample more before, dilate, or pool context"
        )
    size = tuple(int(size + 2 * more * stride) for size, stride in zip(field.size, field.stride, strict=True))
    text = f"put {several(more, 'more 3x3 convolution')} at the last resolution, to see {dimensions(size)} pixels"
    classifier, normalised = study.classifier, any(isinstance(node.layer, BatchNorm) for node in study.graph.nodes)
    before = classifier is not None and pixels(classifier.output.shape) > 1
    node = classifier if before else node
    if node is None:
        return Remedy(text)
    channels = (node.inputs[0] if before else node.output).shape[0]
    conv = Conv(channels, 3, padding=1, bias=not normalised)
    steps: tuple[Layer, ...] = ((conv, BatchNorm(), ReLU()) if normalised else (conv, ReLU())) * more
    chain = (*steps, node.layer) if before else (node.layer, *steps)
    return study.remedy(text, {node: chain})


MUCH = 0.1
"""A share of the parameters or of the MACs that is worth a change of the design."""


@rule("S2", "unproductive-layers", "warning", "Richter et al. 2021, 'Should You Go Deeper?'")
def unproductive_layers(study: Study) -> Iterator[Case]:
    """Convolutions that read what has seen the whole input already, or whose kernel is as large as its map.

    Where every element has seen all pixels, by whatever path, there is no context left to add: layers after this
    border, where much of what a kernel reads is padding, were found not to improve what linear probes can tell. Skip
    connections carry small fields on, so the smallest over all paths counts, and residual networks have few such
    layers. A padded 3x3 on a map of 3x3 pixels or less works like a fully connected layer; on 2x2 pixels 5 of its 9
    weights meet padding. Not counted are 1x1 convolutions, which look for no context, and networks whose output has
    pixels. A note where such layers hold less than a tenth of parameters and MACs. The usual cause is an input smaller
    than what the network was designed for.
    """
    if study.task != "classification" or len(study.account.input) != 3 or max(study.account.input[1:]) == 1:
        return
    spatial = [node for node in study.convolutions if _kernel(node) != (1, 1)]
    seen_all = {node: _seen_all(study, node) for node in spatial}
    bordered = [node for node in spatial if seen_all[node]]
    covering = [node for node in spatial if _covers(node) and not seen_all[node]]
    marked = [node for node in spatial if seen_all[node] or _covers(node)]
    if not marked:
        return
    totals = study.account.totals
    parameters = sum(study.rows[node].parameters for node in marked)
    macs = sum(study.rows[node].macs for node in marked)
    whole = dimensions(study.account.input[1:])
    found = ((len(bordered), f"that have seen all {whole} pixels"), (len(covering), "that fit into the kernel"))
    reasons = [f"{n} {'reads' if n == 1 else 'read'} maps {which}" for n, which in found if n]
    shares = (parameters / max(1, totals.parameters), macs / max(1, totals.macs))
    yield Case(
        where=tuple(node.path for node in marked),
        text=f"of {several(len(spatial), 'spatial convolution')} {', '.join(reasons)}: {shares[0]:.1%} of the "
        f"parameters, {shares[1]:.1%} of the MACs",
        evidence={"border": len(bordered), "covering": len(covering), "parameters": parameters, "macs": macs},
        remedy=_see_less(study, bordered, covering) if max(shares) >= MUCH else _left_out(study, marked),
        severity=None if max(shares) >= MUCH else "note",
    )


def _kernel(node: Node) -> Pair:
    """Pixels from the first that a convolution reads to the last."""
    if not isinstance(node.layer, SPATIAL) or node.layer.kernel == 1:
        return (1, 1)
    (rows, columns), (down, right) = pair(node.layer.kernel), pair(node.layer.dilation)
    return ((rows - 1) * down + 1, (columns - 1) * right + 1)


def _seen_all(study: Study, node: Node) -> bool:
    """Whether what a layer reads has seen all of the input, by every path and along both axes."""
    x, whole = node.inputs[0], study.account.input[1:]
    most = study.account.fields[x].size
    if most[0] < whole[0] or most[1] < whole[1]:
        return False
    least = study.smallest_fields[x].size
    return least[0] >= whole[0] and least[1] >= whole[1]


def _covers(node: Node) -> bool:
    """Whether a padded kernel is as large as the map that it reads."""
    (rows, columns), shape = _kernel(node), node.inputs[0].shape
    return rows >= shape[1] and columns >= shape[2] and getattr(node.layer, "padding", 0) != 0


def _see_less(study: Study, bordered: Sequence[Node], covering: Sequence[Node]) -> Remedy:
    """So many stages less that every layer reads parts of the input, from maps larger than its kernel."""
    whole, halvings = study.account.input[1:], 1
    for node in bordered:
        size = study.smallest_fields[node.inputs[0]].size
        halvings = max(halvings, ceil(log2(max((size[0] + 1) / whole[0], (size[1] + 1) / whole[1]))))
    for node in covering:
        (rows, columns), shape = _kernel(node), node.inputs[0].shape
        halvings = max(halvings, ceil(log2(max((rows + 1) / shape[1], (columns + 1) / shape[2]))))
    remedy = fewer_stages(study, halvings, first=True)
    if remedy.after is None:
        return Remedy("leave such layers out, or put shortcuts around them, which carry small fields on")
    return remedy._replace(text=f"{remedy.text}, so that all see parts, or leave such layers out")


def _left_out(study: Study, marked: Sequence[Node]) -> Remedy:
    """Without these layers, their normalisation and their nonlinearity, where they keep the shape of their map."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node in marked:
        reader: Node | None = node
        while reader is not None and reader.output.shape == node.inputs[0].shape:
            layers[reader] = ()
            reader = study.only_reader(reader.output)
            if reader is not None and (len(reader.inputs) > 1 or reader.layer.kind not in (ELEMENT, TRAINING)):
                reader = None
    text = f"leave {several(len(marked), 'convolution')} out"
    if any(node not in layers for node in marked):
        return Remedy(text)
    return study.remedy(f"{text}, with normalisation and nonlinearity after it", layers)


@rule("S3", "undivided-sizes", "note", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def undivided_sizes(study: Study) -> Iterator[Case]:
    """Rows and columns that a stride drops, or sizes that do not divide.

    What lies after the last window of a stride is never read: "use padding with convolutions and pooling layers to
    keep input and output feature sizes integer multiples". "This will help in later designs with more complex heads.
    Note that this also applies to the tail design." A classifier loses only that border. Where the output has pixels,
    maps that come down and go up again do not meet, or give an output of another size than the input: there sizes that
    do not divide by a stride are a warning. A stride larger than its kernel is another matter.
    """
    if len(study.account.input) != 3:
        return
    dropped: list[tuple[Node, Pair]] = []
    odd: list[Node] = []
    for node in study.downsamplings:
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is None or window.upsample != (1, 1):
            continue
        before, after = node.inputs[0].shape[1:], node.output.shape[1:]
        lost = [_unread(window, axis, before[axis], after[axis]) for axis in (0, 1)]
        if max(lost) > 0:
            dropped.append((node, (lost[0], lost[1])))
        if any(n % s for n, s in zip(before, window.stride, strict=True)):
            odd.append(node)
    if study.task == "classification":
        if dropped:
            yield _dropped(study, dropped)
    elif odd:
        yield _odd(study, odd)
    else:
        yield from _takes_multiples_only(study)


def _unread(window: Window, axis: int, before: int, after: int) -> int:
    """Rows (columns) after the last that is read, but for those that any stride above the kernel leaves out."""
    stride, reach = window.stride[axis], (window.kernel[axis] - 1) * window.dilation[axis] + 1
    last = (after - 1) * stride - window.padding[axis] + reach - 1
    return before - 1 - last - max(0, stride - reach)


def _dropped(study: Study, dropped: Sequence[tuple[Node, Pair]]) -> Case:
    node, (rows, columns) = max(dropped, key=lambda entry: max(entry[1]))
    lost = " and ".join(several(n, what) for n, what in ((rows, "row"), (columns, "column")) if n > 0)
    size = dimensions(node.inputs[0].shape[1:])
    total = len(dropped)
    return Case(
        where=tuple(node.path for node, _ in dropped),
        text=f"{node.path} leaves {lost} of {size} unread"
        + f", as do {several(total - 1, 'other layer')}" * (total > 1),
        evidence={"layers": total, "rows": rows, "columns": columns},
        remedy=_round_up(study, [node for node, _ in dropped]),
    )


def _round_up(study: Study, nodes: Sequence[Node]) -> Remedy:
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node in nodes:
        layer, window = node.layer, node.layer.window(*[x.shape for x in node.inputs])
        if isinstance(layer, (MaxPool, AvgPool)):
            layers[node] = (layer.replace(ceil=True),)
        elif isinstance(layer, (Conv, DepthwiseConv)) and window is not None:
            before, after = node.inputs[0].shape[1:], node.output.shape[1:]
            more = [window.stride[axis] * (_unread(window, axis, before[axis], after[axis]) > 0) for axis in (0, 1)]
            top, bottom, left, right = sides(
                layer.padding, (before[0], before[1]), window.kernel, window.stride, window.dilation
            )
            layers[node] = (layer.replace(padding=(top, bottom + more[0], left, right + more[1])),)
    return study.remedy("round sizes up there: pools by ceil, convolutions by padding at the end", layers)


def _odd(study: Study, odd: Sequence[Node]) -> Case:
    channels, *whole = study.account.input
    strides = [study.account.fields[node.output].stride for node in study.downsamplings]
    stride = [ceil(max(s[axis] for s in strides)) for axis in (0, 1)]
    size = [ceil(n / s) * s for n, s in zip(whole, stride, strict=True)]
    return Case(
        where=tuple(node.path for node in odd),
        text=f"{dimensions(odd[0].inputs[0].shape[1:])} does not divide by the stride of {odd[0].path}: "
        f"an input of {dimensions(tuple(whole))} is no multiple of {dimensions(tuple(stride))}",
        evidence={"layers": len(odd), "input": whole, "stride": stride},
        remedy=study.remedy(f"use an input of {dimensions(tuple(size))}", input=(channels, *size)),
        severity="warning" if any(map(_enlarges, study.graph.nodes)) else None,
    )


def _takes_multiples_only(study: Study) -> Iterator[Case]:
    """A described network with pixels in its output that one more row and column do not fit."""
    enlarging = [node for node in study.graph.nodes if _enlarges(node)]
    if not enlarging or not study.described or not study.downsamplings:
        return
    channels, rows, columns = study.account.input
    if study.remedy("", input=(channels, rows + 1, columns + 1)).after is not None:
        return
    stride = ceil(max(max(study.account.fields[node.output].stride) for node in study.downsamplings))
    yield Case(
        where=tuple(node.path for node in enlarging),
        text=f"enlarged maps meet others only for inputs that are multiples of {stride}",
        evidence={"multiple": stride},
        remedy=Remedy(f"pad inputs to multiples of {stride}, or crop the larger map where they meet"),
    )


def _enlarges(node: Node) -> bool:
    window = node.layer.window(*[x.shape for x in node.inputs])
    return window is not None and max(window.upsample) > 1


@rule(
    "S4", "gridding", "warning", "Wang et al. 2018, 'Understanding Convolution for Semantic Segmentation', section 3.2"
)
def gridding(study: Study) -> Iterator[Case]:
    """Dilated convolutions that leave a grid of positions unread.

    A run of convolutions with one dilation reads every d-th row and column and nothing between, so neighbours are made
    of unlike pixels: checkered outputs, small objects missed. Dilations without a common factor, such as 1, 2 and 5,
    read every position with as many weights. Holes that a layer without dilation before or after fills, at the same
    resolution, are left out.
    """
    if not any(getattr(getattr(node.layer, "layer", node.layer), "dilation", 1) != 1 for node in study.graph.nodes):
        return
    for gap in gaps(study.graph):
        coverage = gap.coverage
        run = _dilated_run(gap)
        rows, columns = coverage.rows, coverage.columns
        yield Case(
            where=tuple(node.path for node in run),
            text=f"{gap.node.path} reads {rows.read}x{columns.read} of {rows.span}x{columns.span} positions: "
            f"{coverage.unread:.0%} of them are skipped",
            evidence={
                "read": [rows.read, columns.read],
                "span": [rows.span, columns.span],
                "unread": coverage.unread,
            },
            remedy=_hybrid(study, run),
        )


def _dilated_run(gap: Gap) -> list[Node]:
    """The dilated layers on the way to where a run ends with holes, in order."""
    run: dict[Node, None] = {}
    waiting = [gap.node]
    while waiting:
        node = waiting.pop()
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is GLOBAL or (window is not None and (max(window.stride) > 1 or max(window.upsample) > 1)):
            continue
        if window is not None and max(window.dilation) > 1 and node not in run:
            run[node] = None
        waiting += [x.node for x in node.inputs if x.node is not None and x.node not in run]
    return list(reversed(run))


def _hybrid(study: Study, run: Sequence[Node]) -> Remedy:
    """Dilations of 1, 2 and 5 in turn (hybrid dilated convolution), where the layers keep the size of their map."""
    text = "give them dilations of 1, 2 and 5 in turn"
    layers: dict[Node, tuple[Layer, ...]] = {}
    for node, dilation in zip(run, cycle((1, 2, 5)), strict=False):
        layer, same = node.layer, node.inputs[0].shape[1:] == node.output.shape[1:]
        if not isinstance(layer, (Conv, DepthwiseConv)) or not same or not all(n % 2 for n in pair(layer.kernel)):
            return Remedy(text)
        rows, columns = pair(layer.kernel)
        padding = (dilation * (rows // 2), dilation * (columns // 2))
        layers[node] = (layer.replace(dilation=dilation, padding=padding),)
    return study.remedy(text, layers)
