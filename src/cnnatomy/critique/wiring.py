"""Rules about strides and kernels: pixels that nobody reads, and pixels that are made of unequally many products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import gcd

from cnnatomy.analysis.coverage import repeated
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import SPATIAL, Study, paths, pixels
from cnnatomy.critique.ways import following
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import (
    AvgPool,
    Conv,
    DepthwiseConv,
    Layer,
    MaxPool,
    Permute,
    Reshape,
    Shift,
    Subsample,
    TransposedConv,
)
from cnnatomy.layers.layer import ELEMENT, GLOBAL, REARRANGEMENT, TRAINING, Pair, Window, pair
from cnnatomy.layers.sliding import pairs

SLOWER_START = "begin with a stride of 2 and a kernel of at least 3x3, and sample down further after more layers"
LARGER_KERNELS = "take kernels at least as large as the stride, without holes"

Places = tuple[int, int]
"""Rows and columns of a map, a bit for each."""


@rule(
    "W1",
    "stride-skips-pixels",
    "warning",
    "He et al. 2018, 'Bag of Tricks', section 4.2 and figure 2; Goyal et al. 2017, section 5.1",
)
def stride_skips_pixels(study: Study) -> Iterator[Case]:
    """A stride larger than the kernel, which skips pixels that were computed.

    A 1x1 convolution of stride 2 reads a quarter of its map: where nothing else reads the rest, three quarters of the
    layer before were computed for nothing. So it is in ResNet as published, whose blocks begin with it. With the stride
    in the 3x3 convolution after it (v1.5) every pixel is read, for 6 % more operations and half a point of accuracy.
    Where a convolution comes before, with nothing but batch norm and nonlinearities between, it can have the stride:
    the output is the same, and what nobody reads is not computed.

    Where another branch reads the rest, it seldom matters and is said only with `--pedantic`: so it is next to the
    projection of v1.5, where ResNet-D averages 2x2 pixels before an unstrided 1x1, and in RepVGG, whose strided 1x1 is
    merged into the 3x3 beside it. The same goes for the two shifted halves of a factorised reduction (NASNet), which
    read half of the pixels and are meant to, and for a 1x1 after a shift, which is a strided 3x3 (ShiftNet).

    Sources disagree: the network of the lectures' personal notes has the projections of v1.5.
    """
    skipping: dict[FeatureMap, list[Node]] = {}
    for node in study.downsamplings:
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is not None and _leaves_gaps(window):
            skipping.setdefault(_source(study, node.inputs[0]), []).append(node)
    shares = {x: _share_read(study, x) for x in skipping}
    meant = {x for x, share in shares.items() if share == 1 or _is_meant(x, skipping[x], share)}
    image = {x: skipping[x] for x in skipping if x.node is None and x not in meant}
    computed = {x: skipping[x] for x in skipping if x.node is not None and x not in meant}
    if image:
        yield _skipped(study, image, shares, [Remedy(SLOWER_START)], under=("C6",))
    if computed:
        yield _skipped(study, computed, shares, _remedies(study, computed))
    partly = [node for x in skipping if x in meant for node in skipping[x]]
    if partly:
        averaged = _averaged(partly)
        least = float(min(shares[x] for x in meant))
        read = "which other branches read" if least == 1 else f"of the maps at least {least:.0%} is read by some layer"
        yield Case(
            where=tuple(node.path for node in partly),
            text=f"{several(len(partly), 'layer')} with pixels between the windows, {read}",
            evidence={"layers": len(partly), "share_read": least},
            remedy=study.remedy(_average_before(averaged), averaged) if averaged else Remedy(LARGER_KERNELS),
            severity="note",
            quiet=True,
        )


def _skipped(
    study: Study,
    maps: dict[FeatureMap, list[Node]],
    shares: dict[FeatureMap, Fraction],
    remedies: list[Remedy],
    under: tuple[str, ...] = (),
) -> Case:
    most = float(max(shares[x] for x in maps))
    layers = [node for nodes in maps.values() for node in nodes]
    return Case(
        where=tuple(node.path for node in layers),
        text=f"of {several(len(maps), 'map')} at most {most:.0%} of the pixels are ever read",
        evidence={"maps": len(maps), "layers": len(layers), "share_read": most},
        remedy=remedies,
        under=under,
    )


def _is_meant(x: FeatureMap, nodes: list[Node], share: Fraction) -> bool:
    """Whether pixels are skipped on purpose: by layers that read different ones, or after a shift of the channels."""
    if x.node is not None and isinstance(x.node.layer, Shift):
        return True
    each = [Fraction(pixels(node.output.shape), pixels(node.inputs[0].shape)) for node in nodes]
    return len(nodes) > 1 and share > max(each)


def _remedies(study: Study, maps: dict[FeatureMap, list[Node]]) -> list[Remedy]:
    """Ways to read every pixel that is computed, the best first."""
    found = [_stride_before(study, maps)]
    changes, moved = _every_pixel_read(study, list(maps.values()))
    if moved:
        way = f"move the stride of {several(moved, 'layer')} to the next convolution"
        found.append(study.remedy(way, changes, fix="unsafe"))
    else:
        pools = all(isinstance(node.layer, (MaxPool, AvgPool)) for node in changes)
        way = "let the pools read all pixels: windows as large as their stride" if pools else _average_before(changes)
        found.append(study.remedy(way, changes, fix="unsafe") if changes else None)
        found.append(_larger_kernels(study, [node for nodes in maps.values() for node in nodes]))
    return [remedy for remedy in found if remedy is not None] or [Remedy(LARGER_KERNELS)]


def _average_before(nodes: Iterable[Node]) -> str:
    return f"average the pixels before {paths(list(nodes))}, as ResNet-D does in its shortcuts: no weights, no MACs"


def _stride_before(study: Study, maps: dict[FeatureMap, list[Node]]) -> Remedy | None:
    """The stride in the convolutions before, where these are read by the layers that skip pixels and by nothing else.

    What is between passes each pixel on, so that the output is the same.
    """
    changes: dict[Node, tuple[Layer, ...]] = {}
    for source, nodes in maps.items():
        before, layer = source.node, nodes[0].layer
        if len(nodes) > 1 or before is None or not isinstance(before.layer, SPATIAL) or before.layer.stride != 1:
            return None
        if not isinstance(layer, SPATIAL) or layer.kernel != 1 or layer.padding != 0 or before.layer.padding == "same":
            return None
        x = nodes[0].inputs[0]
        while x is not source and x.node is not None:
            if x.shape != source.shape or x.node.layer.kind == REARRANGEMENT or study.only_reader(x) is None:
                return None
            x = x.node.inputs[0]
        if study.only_reader(source) is None:
            return None
        changes |= {before: (before.layer.replace(stride=layer.stride),), nodes[0]: (layer.replace(stride=1),)}
    text = f"move the stride to the convolution before, {paths(list(changes)[::2])}: the same output"
    return study.remedy(text, changes, fix="safe")


def _larger_kernels(study: Study, nodes: list[Node]) -> Remedy | None:
    """1x1 convolutions of stride 2 or 3 as 3x3 ones, which read every pixel."""
    layers = {
        node: (node.layer.replace(kernel=3, padding=1),)
        for node in nodes
        if isinstance(node.layer, Conv) and node.layer.kernel == 1 and max(pair(node.layer.stride)) <= 3
    }
    if len(layers) < len(nodes):
        return None
    return study.remedy(f"give {paths(nodes)} 3x3 kernels, so that no pixel is skipped", layers, fix="unsafe")


def _leaves_gaps(window: Window) -> bool:
    """Whether there are pixels between the windows, or in the holes of all windows."""
    axes = zip(window.kernel, window.stride, window.dilation, strict=True)
    return any(min(k, s // gcd(d, s)) < s for k, s, d in axes)


def _passes_pixels(study: Study, node: Node) -> bool:
    """Whether a layer does no more than pass each pixel on, perhaps moved by padding or cropping, changed or not."""
    if len(node.inputs) != 1 or study.rows[node].weights or isinstance(node.layer, (Reshape, Permute)):
        return False
    maps = len(node.output.shape) == 3 == len(node.inputs[0].shape)
    if not maps or node.layer.kind not in (ELEMENT, TRAINING, REARRANGEMENT):
        return False
    window = node.layer.window(node.inputs[0].shape)
    return window is None or (window.kernel == window.stride == window.upsample == (1, 1))


def _source(study: Study, x: FeatureMap) -> FeatureMap:
    """The map whose pixels a map shows."""
    while x.node is not None and _passes_pixels(study, x.node):
        x = x.node.inputs[0]
    return x


def _share_read(study: Study, x: FeatureMap) -> Fraction:
    """Which part of the pixels of a map some layer reads."""
    rows, columns = x.shape[1:]
    by_columns = {0: (1 << rows) - 1}  # columns that are read -> the rows of which just these are
    for some_rows, some_columns in _read(study, x):
        parts: dict[int, int] = {}
        for union, those in by_columns.items():
            for key, part in ((union | some_columns, those & some_rows), (union, those & ~some_rows)):
                if part:
                    parts[key] = parts.get(key, 0) | part
        by_columns = parts
    count = sum(union.bit_count() * those.bit_count() for union, those in by_columns.items())
    return Fraction(count, rows * columns)


def _read(study: Study, x: FeatureMap) -> list[Places]:
    """The pixels that each reader reads."""
    rows, columns = x.shape[1:]
    everything = ((1 << rows) - 1, (1 << columns) - 1)
    if x in study.graph.outputs:
        return [everything]
    found: list[Places] = []
    for node in study.readers[x]:
        window = node.layer.window(*[y.shape for y in node.inputs])
        if _passes_pixels(study, node):
            top, left = window.padding if window else (0, 0)
            found += [
                (_moved(some_rows, -top) & everything[0], _moved(some_columns, -left) & everything[1])
                for some_rows, some_columns in _read(study, node.output)
            ]
        elif window is None or window is GLOBAL or not _leaves_gaps(window) or len(node.output.shape) != 3:
            return [everything]
        else:
            found.append((_windows(window, 0, rows, node), _windows(window, 1, columns, node)))
    return found


def _moved(places: int, by: int) -> int:
    return places << by if by >= 0 else places >> -by


def _windows(window: Window, axis: int, size: int, node: Node) -> int:
    """The places along one axis that lie in some window."""
    one = repeated(1, window.kernel[axis], window.dilation[axis])
    every = repeated(one, node.output.shape[1 + axis], window.stride[axis])
    return _moved(every, -window.padding[axis]) & ((1 << size) - 1)


def _every_pixel_read(study: Study, maps: list[list[Node]]) -> tuple[dict[Node, tuple[Layer, ...]], int]:
    """Changes after which every pixel is read, and how many of them move a stride.

    Of the layers that skip pixels of one map, those move their stride that have a convolution after them to move it to;
    if there is none, all average before.
    """
    changes: dict[Node, tuple[Layer, ...]] = {}
    moved = 0
    for nodes in maps:
        successors = [
            (node, node.layer.stride, successor)
            for node in nodes
            if isinstance(node.layer, SPATIAL)
            and (successor := _next_convolution(study, node, pair(node.layer.stride)))
        ]
        for node, stride, successor in successors:
            changes[node] = (node.layer.replace(stride=1),)
            changes[successor] = (successor.layer.replace(stride=stride),)
        moved += len(successors)
        if not successors:
            changes |= _averaged(nodes)
    return changes, moved


def _next_convolution(study: Study, node: Node, stride: Pair) -> Node | None:
    """The unstrided convolution after one, with at most pointwise layers between, that could have its stride."""
    shape = node.output.shape
    _, x = following(study, node.output, lambda one: _passes_pixels(study, one) and one.output.shape == shape)
    reader = study.only_reader(x)
    if reader is None or not isinstance(reader.layer, SPATIAL) or reader.layer.stride != 1:
        return None
    layer = reader.layer
    return reader if min(pair(layer.kernel)) >= max(stride) and layer.dilation == 1 else None


def _averaged(nodes: Sequence[Node]) -> dict[Node, tuple[Layer, ...]]:
    """Layers that skip pixels as ones that average them, where these are known."""
    return {node: chain for node in nodes if (chain := _averaging(node.layer))}


def _averaging(layer: Layer) -> tuple[Layer, ...]:
    """A layer that skips pixels as one that averages them; empty where that is not known."""
    if isinstance(layer, Subsample):
        return (AvgPool(layer.stride, ceil=True),)
    if isinstance(layer, (Conv, DepthwiseConv)) and layer.kernel == 1:
        return (AvgPool(layer.stride, ceil=True), layer.replace(stride=1))
    if isinstance(layer, (MaxPool, AvgPool)) and layer.kernel == 1 and layer.stride is not None:
        return (layer.replace(kernel=layer.stride, ceil=True),)
    return ()


@rule(
    "W2",
    "uneven-transposed-convolution",
    "warning",
    "lecture 002, 'Upsampling Layers: Subpixel Convolution'; Odena et al. 2016",
)
def uneven_transposed_convolution(study: Study) -> Iterator[Case]:
    """A transposed convolution whose kernel is not a multiple of its stride: checkerboards.

    Neighbouring pixels of the output get unequally many products: with a 3x3 kernel and stride 2 one pixel of four
    gets 4, two get 2 and one gets 1. The weights have to even that out and seldom do, so that the output, and the
    gradient, have the pattern of a checkerboard. A kernel that is a multiple of the stride gives all pixels the same;
    resizing and an ordinary convolution do too.
    """
    found: dict[Node, tuple[int, int]] = {}
    for node in study.graph.nodes:
        if isinstance(node.layer, TransposedConv):
            most, least = _products(node.layer)
            if most != least:
                found[node] = (most, least)
    if not found:
        return
    node, (most, least) = max(found.items(), key=lambda item: item[1][0] / max(item[1][1], 0.5))
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'transposed convolution')} with uneven overlap: of a channel's weights {most} meet "
        f"in some pixels of the output of {node.path}, {least} in others",
        evidence={"layers": len(found), "most": most, "least": least},
        remedy=[
            *_even_kernels(study, list(found)),
            Remedy("enlarge the map by nearest neighbour and convolve it: even too, for more operations"),
        ],
    )


def _even_kernels(study: Study, nodes: list[Node]) -> list[Remedy]:
    """The next smaller kernels that are multiples of the stride, which are cheaper, and the next larger ones.

    The larger first where windows of the smaller would not overlap: a kernel of the stride gives blocks.
    """
    remedies = []
    for up in (False, True) if all(_overlaps_evened(node) for node in nodes) else (True, False):
        layers = {node: _evened(node.layer, up) for node in nodes if isinstance(node.layer, TransposedConv)}
        if any(layer == node.layer for node, layer in layers.items()):
            continue
        sizes = sorted({"x".join(map(str, pair(layer.kernel))) for layer in layers.values()})
        text = f"take {'kernels' if len(nodes) > 1 else 'a kernel'} of {' and '.join(sizes)}"
        remedies.append(study.remedy(text, {node: (layer,) for node, layer in layers.items()}, fix="unsafe"))
    return remedies


def _overlaps_evened(node: Node) -> bool:
    """Whether the windows of the next smaller kernel that is a multiple of the stride overlap."""
    assert isinstance(node.layer, TransposedConv)
    return all(k >= 2 * s for k, s in zip(*pairs(node.layer.kernel, node.layer.stride), strict=True))


def _products(layer: TransposedConv) -> tuple[int, int]:
    """How many weights of a channel meet in one pixel of the output, at the most and at the least."""
    most = least = 1
    for k, s, d in zip(*pairs(layer.kernel, layer.stride, layer.dilation), strict=True):
        hits = [sum(i * d % s == phase for i in range(k)) for phase in range(s)]
        most, least = most * max(hits), least * min(hits)
    return most, least


def _evened(layer: TransposedConv, up: bool) -> TransposedConv:
    """The same layer with the next larger or smaller kernel that is a multiple of the stride, and the same output size.

    The layer as it is where there is none.
    """
    kernels, paddings, more = [], [], []
    sizes = pairs(layer.kernel, layer.stride, layer.padding, layer.output_padding, layer.dilation)
    for k, s, p, o, d in zip(*sizes, strict=True):
        wanted = -(-k // s) * s if up else k // s * s
        if wanted < s:
            return layer
        surplus = 2 * p - o + d * (wanted - k)  # what padding has to take away, twice the padding less the rest
        kernels.append(wanted)
        paddings.append(max(0, -(-surplus // 2)))
        more.append(2 * paddings[-1] - surplus)
    if any(o >= s for o, s in zip(more, pair(layer.stride), strict=True)):
        return layer
    return layer.replace(
        kernel=(kernels[0], kernels[1]), padding=(paddings[0], paddings[1]), output_padding=(more[0], more[1])
    )
