"""Rules about what layers see: receptive fields against objects and input, borders, rounded sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil, log2

from cnnatomy.analysis import account
from cnnatomy.critique.information import MIN_SIDE, down_samplings, fewer_stages
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.shortcuts import no_shortcuts
from cnnatomy.critique.study import SPATIAL, Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Change, Remedy, changed
from cnnatomy.errors import LimitError, ShapeError
from cnnatomy.layers import AvgPool, BatchNorm, Conv, DepthwiseConv, MaxPool, ReLU
from cnnatomy.layers.layer import ELEMENT, GLOBAL, TRAINING, Layer, Pair, Shape, Window, dimensions, pair
from cnnatomy.layers.sliding import sides

MORE = 4
"""Convolutions that are worth adding for a larger field; with more, dilation or pooled context is what people use."""


@rule("S1", "small-receptive-field", "warning", "lecture 001, 'Receptive Field Size'; Luo et al. 2016, section 2")
def small_receptive_field(study: Study) -> Iterator[Case]:
    """The last map sees less than the objects to recognise, or than half of the input.

    "What does the classifier have to work with when making a decision: idea of looking at the input through a screen
    of that size", which is the most that can matter: weights in the middle of the field count most, so the effective
    field is smaller. Where objects are given, what counts is whether they are larger. Where they are not, a warning if
    an element sees less than half of the shorter side of the input, before a global average or in a map that is
    enlarged to what it says of each pixel; if it sees less than the whole, that is for those who ask for this rule:
    objects seldom fill an image, a vectorised head puts together what positions see, and networks that work on the
    texture of an image, as for super-resolution, need no more. Objects smaller than the stride of the last map can
    share a position: a warning where the output has pixels, a note for a classifier. Networks with gates, attention or
    pooled context, which bring the whole image to every position, are left out.
    """
    field = study.account.fields[study.last_map]
    sequence = any(len(x.shape) == 2 for x in study.spine)
    if len(study.account.input) != 3 or field.sees_all or sequence or not study.convolutions:
        return
    whole, objects = study.account.input[1:], study.purpose.objects
    wanted = [n if objects is None else min(n, objects[1]) for n in whole]
    where = (study.last_map.node.path if study.last_map.node else "input",)
    if any(size < n for size, n in zip(field.size, wanted, strict=True)):
        half = any(2 * size < min(n, *whole) for size, n in zip(field.size, whole, strict=True))
        glimpse = objects is None and half and _needs_context(study)
        against = (
            f"the input has {dimensions(whole)}" if objects is None else f"the largest objects have {objects[1]:,}"
        )
        yield Case(
            where=where,
            text=f"the last map sees {dimensions(field.size)} pixels; {against}",
            evidence={"field": list(field.size), "wanted": wanted},
            remedy=[*(_sample_down_more(study, wanted) if glimpse else []), *_see_more(study, wanted)],
            severity=None if glimpse or objects is not None else "note",
            quiet=objects is None and not glimpse,
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


def _needs_context(study: Study) -> bool:
    """Whether each element of the last map, or their average, has to tell what is seen."""
    if study.task == "classification":
        return study.collapse is not None and study.collapse.output.shape[0] == study.last_map.shape[0]
    coarse = pixels(study.last_map.shape)
    return study.purpose.task is not None or coarse < min(pixels(study.output.shape), pixels(study.account.input))


def _see_more(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """3x3 convolutions at the end, before a classifier of pixels or after the last map; or dilation."""
    field = study.account.fields[study.last_map]
    lacking = zip(wanted, field.size, field.stride, strict=True)
    more = max(ceil((n - size) / (2 * stride)) for n, size, stride in lacking)
    size = tuple(int(size + 2 * more * stride) for size, stride in zip(field.size, field.stride, strict=True))
    if more > MORE:
        return [
            Remedy("dilate the last 3x3 convolutions, with rates that grow from 1: no more weights, no more MACs"),
            Remedy("add pooled context at the last resolution: pyramid pooling, or a gate after each block"),
        ]
    text = f"put {several(more, 'more 3x3 convolution')} at the last resolution, to see {dimensions(size)} pixels"
    layers = _convolutions(study, more)
    return [study.remedy(text, layers) if layers else Remedy(text)]


def _convolutions(study: Study, more: int) -> dict[Node, tuple[Layer, ...]]:
    """3x3 convolutions after the last map; where each pixel of it is classified, before the classifier."""
    classifier, normalised = study.classifier, any(isinstance(node.layer, BatchNorm) for node in study.graph.nodes)
    before = classifier is not None and pixels(classifier.output.shape) > 1
    node = classifier if before else study.last_map.node
    if node is None:
        return {}
    channels = (node.inputs[0] if before else node.output).shape[0]
    conv = Conv(channels, 3, padding=1, bias=not normalised)
    steps: tuple[Layer, ...] = ((conv, BatchNorm(), ReLU()) if normalised else (conv, ReLU())) * more
    return {node: (*steps, node.layer) if before else (node.layer, *steps)}


def _sample_down_more(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """A pool at the end of each of the first stages, as many as the input has room for; and convolutions after them.

    What follows then sees more with fewer MACs.
    """
    stages = round(log2(max(study.account.fields[study.last_map].stride)))
    missing = (min(study.account.input[1:]) // MIN_SIDE).bit_length() - 1 - stages
    ends: list[Node] = []
    for _, same in groupby(study.spine[1:], lambda x: x.shape[-2:]):
        maps = list(same)
        settled = next((x for x in maps if x.node and not _goes_on_by_element(study, x)), None)
        if settled is not None and settled.node is not None and 1 < pixels(settled.shape) < pixels(study.account.input):
            ends.append(settled.node)
    ends = ends[:missing] if missing > 0 else []
    if not ends or study.task != "classification":
        return []
    layers: dict[Node, tuple[Layer, ...]] = {node: (node.layer, MaxPool(2)) for node in ends}
    text = f"sample down {several(len(ends), 'more time')}, by 2x2 max pools after {' and '.join(n.path for n in ends)}"
    last = study.last_map
    try:
        seen = Study(account(changed(study.graph, Change(layers))), study.purpose)
    except (ShapeError, LimitError):
        return [Remedy(text)]
    field = seen.account.fields[seen.last_map]
    found = [study.remedy(f"{text}, to see {dimensions(field.size)} pixels", layers)]
    more = max(
        ceil((n / 2 - size) / (2 * step)) for n, size, step in zip(wanted, field.size, field.stride, strict=True)
    )
    if 0 < more <= MORE and last.node is not None:
        convolutions = _convolutions(study, more)[last.node]
        both = {**layers, last.node: (*layers.get(last.node, (last.node.layer,)), *convolutions[1:])}
        size = tuple(int(size + 2 * more * step) for size, step in zip(field.size, field.stride, strict=True))
        many = several(more, "more 3x3 convolution")
        found.append(study.remedy(f"{text}, and put {many} at the end, to see {dimensions(size)} pixels", both))
    return found


def _goes_on_by_element(study: Study, x: FeatureMap) -> bool:
    """Whether the only reader of a map normalises it or acts on each element."""
    reader = study.only_reader(x)
    return reader is not None and len(reader.inputs) == 1 and reader.layer.kind in (ELEMENT, TRAINING)


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
    pixels. There are two usual causes, and the objection is told with them: an input smaller than what the network was
    designed for, and a long chain without shortcuts. By themselves such layers are for those who ask for this rule:
    the last ones of VGG-like networks on 32 pixels do no harm, and a note are those with less than a tenth of
    parameters and MACs.
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
    chain = any(no_shortcuts.check(study))
    shares = (parameters / max(1, totals.parameters), macs / max(1, totals.macs))
    yield Case(
        where=tuple(node.path for node in marked),
        text=f"of {several(len(spatial), 'spatial convolution')} {', '.join(reasons)}: {shares[0]:.1%} of the "
        f"parameters, {shares[1]:.1%} of the MACs",
        evidence={"border": len(bordered), "covering": len(covering), "parameters": parameters, "macs": macs},
        remedy=Remedy("put shortcuts around them, which carry small fields on") if chain else _left_out(study, marked),
        severity=None if max(shares) >= MUCH else "note",
        quiet=max(shares) < MUCH or not (chain or samples_down_too_often(study)),
        under=("I3", "W15"),
    )


def samples_down_too_often(study: Study) -> bool:
    """Whether the input is too small for the network, from which several other things follow."""
    return any(case.severity != "note" for case in down_samplings.check(study))


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


def _left_out(study: Study, marked: Sequence[Node]) -> Remedy:
    """Without these layers, their normalisation and their nonlinearity, where they keep the shape of their map.

    Where some of them do not, or branches would lose all that they compute, it is blocks that can go.
    """
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
        return Remedy("leave out the blocks that keep the size of their map there, or sample down fewer times")
    return study.remedy(f"{text}, with normalisation and nonlinearity after it", layers)


@rule("S3", "undivided-sizes", "note", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def undivided_sizes(study: Study) -> Iterator[Case]:
    """Rows and columns that a stride drops, or sizes that do not divide by it.

    "Use padding with convolutions and pooling layers to keep input and output feature sizes integer multiples":
    each stage then has the size of the input over a power of 2. "This will help in later designs with more complex
    heads. Note that this also applies to the tail design." Without padding, what lies after the last window of a
    stride is never read; with it an odd size is rounded up. Where the output has pixels, maps that come down and go
    up again then do not meet, or give an output of another size than the input: a warning. A classifier loses
    little: a note where a layer drops 3 % of its rows, or where the input or two sizes on the way do not divide;
    else nothing but for those who ask for this rule. 28 pixels are halved to 7 and then to 4, and networks that
    begin without padding have other sizes anyway: AlexNet's windows fit 227 pixels exactly, Inception's 299. A
    stride larger than its kernel is another matter.
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
    if odd and any(map(_enlarges, study.graph.nodes)) and _of_another_size(study):
        yield _odd(study, odd)
    elif dropped:
        yield _dropped(study, dropped, _seldom(study, odd))
    elif rounded := [node for node in odd if _rounds_up(node)]:
        yield _rounded(study, rounded, _seldom(study, odd))
    else:
        yield from _takes_multiples_only(study)


def _rounds_up(node: Node) -> bool:
    """Whether a layer makes more positions than its stride divides its map into."""
    window = node.layer.window(*[x.shape for x in node.inputs])
    sizes = zip(node.inputs[0].shape[1:], node.output.shape[1:], window.stride if window else (1, 1), strict=True)
    return any(after * stride > before for before, after, stride in sizes)


def _of_another_size(study: Study) -> bool:
    """Whether an output with a position for each pixel of the input has more or fewer of them."""
    whole, stride = study.account.input[1:], study.account.fields[study.output].stride
    return max(stride) <= 1 and any(m * s != n for m, s, n in zip(study.output.shape[1:], stride, whole, strict=False))


def _keeps_borders(node: Node) -> bool:
    """Whether a layer of stride s makes no fewer positions than an s-th of those that it reads, rounded down."""
    window = node.layer.window(*[x.shape for x in node.inputs])
    if window is None or window is GLOBAL or len(node.inputs[0].shape) != 3 or len(node.output.shape) != 3:
        return True
    sizes = zip(node.inputs[0].shape[1:], node.output.shape[1:], window.stride, window.upsample, strict=True)
    return all(after >= before * up // stride for before, after, stride, up in sizes)


def _unread(window: Window, axis: int, before: int, after: int) -> int:
    """Rows (columns) after the last that is read, but for those that any stride above the kernel leaves out."""
    stride, reach = window.stride[axis], (window.kernel[axis] - 1) * window.dilation[axis] + 1
    last = (after - 1) * stride - window.padding[axis] + reach - 1
    return before - 1 - last - max(0, stride - reach)


SOME = 0.03
"""A share of the rows of a map that is worth a word."""


def _dropped(study: Study, dropped: Sequence[tuple[Node, Pair]], seldom: bool) -> Case:
    node, (rows, columns) = max(dropped, key=lambda entry: max(entry[1]))
    lost = " and ".join(several(n, what) for n, what in ((rows, "row"), (columns, "column")) if n > 0)
    size = dimensions(node.inputs[0].shape[1:])
    total = len(dropped)
    shares = [n / whole for node, both in dropped for n, whole in zip(both, node.inputs[0].shape[1:], strict=True)]
    return Case(
        where=tuple(node.path for node, _ in dropped),
        text=f"{node.path} leaves {lost} of {size} unread"
        + f", as {'does' if total == 2 else 'do'} {several(total - 1, 'other layer')}" * (total > 1),
        evidence={"layers": total, "rows": rows, "columns": columns},
        remedy=[_round_up(study, [node for node, _ in dropped]), *([] if seldom else _divisible_input(study))],
        quiet=max(shares) < SOME and seldom,
    )


def _rounded(study: Study, rounded: Sequence[Node], seldom: bool) -> Case:
    """Sizes that are rounded up: the first layer that does it, for each."""
    first: dict[Shape, Node] = {}
    for node in rounded:
        first.setdefault(node.inputs[0].shape[1:], node)
    named = [
        f"{node.path} makes {dimensions(node.output.shape[1:])} of {dimensions(size)}" for size, node in first.items()
    ]
    return Case(
        where=tuple(node.path for node in rounded),
        text=f"sizes that do not divide by the stride are rounded up: {', '.join(named)}",
        evidence={"layers": len(rounded), "sizes": [list(size) for size in first]},
        remedy=_divisible_input(study),
        quiet=seldom,
    )


def _seldom(study: Study, odd: Sequence[Node]) -> bool:
    """Whether a stride does not divide one size at most, and not that of the input, or borders are lost anyway."""
    sizes = {node.inputs[0].shape[1:] for node in odd}
    lost = not all(map(_keeps_borders, study.graph.nodes))
    return lost or (len(sizes) < 2 and study.account.input[1:] not in sizes)


NEAR = 0.15
"""The part by which another input may be smaller or larger and still be called the same."""


def _divisible_input(study: Study) -> list[Remedy]:
    """The next smaller and larger input that all strides divide, if they are near, the nearer first."""
    channels, *whole = study.account.input
    strides = _whole_stride(study)
    found: list[tuple[float, Shape]] = []
    for rounded in ([n // s * s for n, s in zip(whole, strides, strict=True)], _multiple(whole, strides)):
        away = max(abs(m - n) / n for m, n in zip(rounded, whole, strict=True))
        if away <= NEAR:
            found.append((away, tuple(rounded)))
    if not found:
        return [Remedy(f"pad images to {dimensions(tuple(_multiple(whole, strides)))}, or sample down less often")]
    return [
        study.remedy(f"use an input of {dimensions(size)}", input=(channels, *size)) for _, size in sorted(set(found))
    ]


def _whole_stride(study: Study) -> list[int]:
    """Input pixels from one element of the coarsest map to the next: (rows, columns)."""
    strides = [study.account.fields[node.output].stride for node in study.downsamplings]
    return [ceil(max(s[axis] for s in strides)) for axis in (0, 1)]


def _multiple(whole: Sequence[int], strides: Sequence[int]) -> list[int]:
    return [ceil(n / s) * s for n, s in zip(whole, strides, strict=True)]


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
    stride = _whole_stride(study)
    size = _multiple(whole, stride)
    return Case(
        where=tuple(node.path for node in odd),
        text=f"the output has {dimensions(study.output.shape[1:])} for an input of {dimensions(tuple(whole))}: "
        f"{odd[0].path} reads {dimensions(odd[0].inputs[0].shape[1:])}, which does not divide by its stride",
        evidence={"layers": len(odd), "input": whole, "stride": stride, "output": list(study.output.shape[1:])},
        remedy=study.remedy(f"use an input of {dimensions(tuple(size))}", input=(channels, *size)),
        severity="warning",
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
        quiet=True,
    )


def _enlarges(node: Node) -> bool:
    window = node.layer.window(*[x.shape for x in node.inputs])
    return window is not None and max(window.upsample) > 1
