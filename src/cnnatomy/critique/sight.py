"""Rules about what layers see: receptive fields against objects and input, and layers that see no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil, log2

from cnnatomy.analysis import account
from cnnatomy.critique.cost import convolution
from cnnatomy.critique.information import MIN_SIDE
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.strides import fewer_stages
from cnnatomy.critique.study import SPATIAL, Study, by_element, depthwise, paths, pixels
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import DEAR, Change, Remedy, changed
from cnnatomy.errors import LimitError, ShapeError
from cnnatomy.layers import Conv, MaxPool
from cnnatomy.layers.layer import Layer, Pair, dimensions, pair

MORE = 4
"""Convolutions that are worth adding for a larger field; with more, dilation or pooled context is what people use."""

SEVERAL = 2
"""Spatial convolutions after the last stride that make dilation worth a word to a classifier."""


@rule("S1", "small-receptive-field", "warning", "lecture 001, 'Receptive Field Size'; Luo et al. 2016, section 2")
def small_receptive_field(study: Study) -> Iterator[Case]:
    """The last map sees less than the objects to recognise, or than half of the input.

    "What does the classifier have to work with when making a decision: idea of looking at the input through a screen of
    that size", which is the most that can matter: weights in the middle of the field count most, so the effective field
    is smaller. Where objects are given, the field has to be as large as the largest of them. Where they are not, it is
    a warning if an element sees less than half of the shorter side of the input, before a global average or in a map
    that is enlarged to the size of the output (fields are odd: a pixel less than half is half). Less than the whole
    input is for those who ask for this rule: objects seldom fill an image, a vectorised head puts together what
    positions see, and networks that work on the texture of an image, as for super-resolution, need no more. Objects
    smaller than the stride of the last map can share a position: a warning where the output has pixels, a note for a
    classifier. Networks with gates, attention or pooled context, which bring the whole image to every position, are
    left out.
    """
    field = study.account.fields[study.last_map]
    sequence = any(len(x.shape) == 2 for x in study.spine)
    if len(study.account.input) != 3 or field.sees_all or sequence or not study.convolutions:
        return
    whole, objects = study.account.input[1:], study.purpose.objects
    wanted = [n if objects is None else min(n, objects[1]) for n in whole]
    where = (study.last_map.node.path if study.last_map.node else "input",)
    if any(size < n for size, n in zip(field.size, wanted, strict=True)):
        half = any(2 * (size + 1) < min(n, *whole) for size, n in zip(field.size, whole, strict=True))
        glimpse = objects is None and half and _needs_context(study)
        against = (
            f"the input has {dimensions(whole)}" if objects is None else f"the largest objects have {objects[1]:,}"
        )
        yield Case(
            where=where,
            text=f"the last map sees {dimensions(field.size)} pixels; {against}",
            evidence={"field": list(field.size), "wanted": wanted},
            remedy=_larger(study, wanted) if glimpse or not study.downsamplings else _see_more(study, wanted),
            severity=None if glimpse or objects is not None else "note",
            quiet=objects is None and not glimpse,
            under=("W14",) if _pointwise_is_why(study) else (),
        )
    stride = max(field.stride)
    if objects is not None and stride > objects[0]:
        yield Case(
            where=where,
            text=f"the last map has a position every {float(stride):g} pixels; the smallest objects have {objects[0]}",
            evidence={"stride": float(stride), "smallest": objects[0]},
            remedy=fewer_stages(study, ceil(log2(stride / objects[0]))),
            severity="note" if study.task == "classification" else None,
        )


def _needs_context(study: Study) -> bool:
    """Whether each element of the last map, or their average, has to tell what is seen."""
    if study.task == "classification":
        return study.collapse is not None and study.collapse.output.shape[0] == study.last_map.shape[0]
    coarse = pixels(study.last_map.shape)
    return coarse < min(pixels(study.output.shape), pixels(study.account.input))


def _pointwise_is_why(study: Study) -> bool:
    """Whether half of the input would be seen if all 1x1 convolutions were 3x3."""
    fields = study.account.fields
    pointwise = [node for node in study.convolutions if _kernel(node) == (1, 1) and node in study.ancestors]
    return all(
        2 * (size + 2 * sum(fields[node.output].stride[axis] for node in pointwise)) >= study.account.input[1 + axis]
        for axis, size in enumerate(fields[study.last_map].size)
    )


def _larger(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """Ways to see half at least; to a classifier the cheap one first, and no convolutions that would outweigh the rest.

    Dilation keeps the positions that a stride gives up: it is for outputs with pixels, and for several layers.
    """
    ways = _see_more(study, wanted)
    if study.task != "classification":
        return ways
    size = study.last_map.shape[1:]
    spatial = sum(max(_kernel(node)) > 1 and node.output.shape[1:] == size for node in study.convolutions)
    if not study.downsamplings or spatial <= SEVERAL:  # the first of them has the stride
        ways = [way for way in ways if way != _DILATE]
    light = DEAR * study.account.totals.parameters
    heavy = [way for way in ways if way.after is not None and way.after.parameters > light]
    rest = [*_spatial_in_place(study, wanted), *_sample_down_more(study, wanted)]
    rest += [way for way in ways if way not in heavy]
    local = [way for way in rest if way != _POOLED] or heavy  # a pooled classifier has its context
    if not local and study.downsamplings:
        local = [way for way in _see_more(study, [(n + 1) // 2 - 1 for n in wanted]) if way != _POOLED]
    return local or [Remedy("sample down earlier, and put 3x3 convolutions at the coarser maps")]


def _spatial_in_place(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """3x3 in place of as many of the last 1x1 convolutions that all passes as it takes to see half.

    Not of those that widen, nor of those beside a depthwise convolution, which are its other half.
    """
    chosen: dict[Node, tuple[Layer, ...]] = {}
    size, end = [*map(float, study.account.fields[study.last_map].size)], study.depth(study.last_map)
    for x in reversed(study.spine):
        node = x.node
        if node is None or study.depth(x) > end or not isinstance(node.layer, Conv) or depthwise(node):
            continue
        if (
            pair(node.layer.kernel) != (1, 1)
            or x.shape[0] > node.inputs[0].shape[0]
            or _beside_depthwise(study, node)
            or pixels(x.shape) == 1
        ):
            continue
        chosen[node] = (node.layer.replace(kernel=3, padding=1),)
        size = [n + 2 * float(step) for n, step in zip(size, study.account.fields[x].stride, strict=True)]
        if all(2 * (n + 1) >= whole for n, whole in zip(size, wanted, strict=True)):
            named, (rows, columns) = paths(list(reversed(chosen))), map(int, size)
            return [study.remedy(f"put 3x3 in place of the 1x1 of {named}, to see {rows}x{columns} pixels", chosen)]
    return []


def _beside_depthwise(study: Study, node: Node) -> bool:
    """Whether the layer with weights before or after a convolution is depthwise."""
    before = node.inputs[0].node
    while before is not None and by_element(before):
        before = before.inputs[0].node
    reader = study.only_reader(node.output)
    while reader is not None and by_element(reader):
        reader = study.only_reader(reader.output)
    return any(one is not None and depthwise(one) for one in (before, reader))


_DILATE = Remedy("dilate the last 3x3 convolutions, with rates that grow from 1: no more weights, no more MACs")
_POOLED = Remedy("add pooled context at the last resolution: pyramid pooling, or a gate after each block")


def _see_more(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """3x3 convolutions at the end, before a classifier of pixels or after the last map; or dilation."""
    field = study.account.fields[study.last_map]
    lacking = zip(wanted, field.size, field.stride, strict=True)
    more = max(ceil((n - size) / (2 * stride)) for n, size, stride in lacking)
    size = tuple(int(size + 2 * more * stride) for size, stride in zip(field.size, field.stride, strict=True))
    if more > MORE:
        return [_DILATE, _POOLED]
    text = f"put {several(more, 'more 3x3 convolution')} at the last resolution, to see {dimensions(size)} pixels"
    layers = _convolutions(study, more)
    return [study.remedy(text, layers) if layers else Remedy(text)]


def _convolutions(study: Study, more: int) -> dict[Node, tuple[Layer, ...]]:
    """3x3 convolutions after the last map; where each pixel of it is classified, before the classifier."""
    classifier = study.classifier
    before = classifier is not None and pixels(classifier.output.shape) > 1
    node = classifier if before else study.last_map.node
    if node is None:
        return {}
    channels = (node.inputs[0] if before else node.output).shape[0]
    steps = convolution(study, channels, 3) * more
    return {node: (*steps, node.layer) if before else (node.layer, *steps)}


def _sample_down_more(study: Study, wanted: Sequence[int]) -> list[Remedy]:
    """A pool at the end of the first step of each stage, as many as the input has room for; and more convolutions.

    What follows sees more, with fewer MACs. Where there are too few stages, the first half of the steps shares them, or
    all but the last; where there are too few steps, each pool wants a convolution of its own. An input without room
    for a stage is halved once all the same.
    """
    side = min(study.account.input[1:])
    stages = round(log2(max(study.account.fields[study.last_map].stride)))
    missing = max((side // MIN_SIDE).bit_length() - 1, side >= MIN_SIDE) - stages
    if missing < 1:
        return []
    ends = _ends_of_steps(study)
    first = [next(same) for _, same in groupby(ends, lambda node: node.output.shape[1:])]
    shared = len(ends) // 2 if len(ends) >= 2 * missing else len(ends) - 1
    if len(first) >= missing and shared:
        ends = first[:missing]
    elif shared >= missing:
        ends = [ends[i * shared // missing] for i in range(missing)]
    else:
        times = "once more: " if missing == 1 else f"{missing} more times: each time "
        return [Remedy(f"sample down {times}a 2x2 max pool, then a 3x3 convolution with twice the channels")]
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


def _ends_of_steps(study: Study) -> list[Node]:
    """The nodes that all passes where a convolution with its normalisation and nonlinearity, or a block, ends."""
    found = []
    for x in study.spine[1:]:
        reader = study.only_reader(x)
        if x.node and study.depth(x) and pixels(x.shape) > 1 and not (reader and by_element(reader)):
            found.append(x.node)
    return found


MUCH, LITTLE = 0.1, 0.01
"""A share of the parameters or of the MACs that is worth a change of the design, and one that is worth no word."""


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
    the last ones of VGG-like networks on 32 pixels do no harm. With less than a tenth of the parameters and of the MACs
    they are a note; with less than a hundredth they are not told with a cause either.
    """
    if study.task != "classification" or len(study.account.input) != 3 or max(study.account.input[1:]) == 1:
        return
    kernels = {node: _kernel(node) for node in study.convolutions}
    spatial = [node for node in study.convolutions if kernels[node] != (1, 1)]
    bordered = {node for node in spatial if _seen_all(study, node)}
    covering = {node for node in spatial if node not in bordered and _covers(node, kernels[node])}
    marked = [node for node in spatial if node in bordered or node in covering]
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
        remedy=(_left_out(study, marked), Remedy("put shortcuts around them, which carry small fields on")),
        severity=None if max(shares) >= MUCH else "note",
        quiet=True,
        under=("I3", "W15") if max(shares) >= LITTLE else (),
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


def _covers(node: Node, kernel: Pair) -> bool:
    """Whether a padded kernel is as large as the map that it reads."""
    (rows, columns), shape = kernel, node.inputs[0].shape
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
            if reader is not None and not by_element(reader):
                reader = None
    text = f"leave {several(len(marked), 'convolution')} out"
    if any(node not in layers for node in marked):
        return Remedy("leave out the blocks that keep the size of their map there, or sample down fewer times")
    return study.remedy(f"{text}, with normalisation and nonlinearity after it", layers)
