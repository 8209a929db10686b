"""The rule about sizes of maps that do not divide by a stride."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from cnnatomy.analysis import account
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy, changed
from cnnatomy.errors import UserError
from cnnatomy.layers import AvgPool, Conv, DepthwiseConv, MaxPool
from cnnatomy.layers.layer import GLOBAL, Layer, Pair, Shape, Window, dimensions
from cnnatomy.layers.sliding import sides


@rule("S3", "undivided-sizes", "warning", "lecture 001, 'Personal Notes For Vision Optimized CNNs'")
def undivided_sizes(study: Study) -> Iterator[Case]:
    """Rows and columns that a stride drops, or sizes that do not divide by it.

    "Use padding with convolutions and pooling layers to keep input and output feature sizes integer multiples": each
    stage then has the size of the input over a power of 2. "This will help in later designs with more complex heads.
    Note that this also applies to the tail design." Without padding, what lies after the last window of a stride is
    never read; with it an odd size is rounded up. Where the output has pixels, maps that come down and go up again then
    do not meet, or give an output of another size than the input: a warning. A classifier loses little: a warning where
    rows are dropped and the input or two sizes on the way do not divide, or where one layer drops 3 % of its rows; a
    note where layers without padding lose borders anyway, or where sizes are rounded up; all else is for those who ask
    for this rule. 28 pixels are halved to 7 and then to 4, and networks that begin without padding have other sizes
    anyway: AlexNet's windows fit 227 pixels exactly, Inception's 299. The frames and bands of a spectrogram, one
    channel of unlike sides, are no choice of size, nor are 10 rows of anything. A stride larger than its kernel is
    another matter.
    """
    if len(study.account.input) != 3:
        return
    dropped, odd = _undivided(study)
    if odd and _of_another_size(study) and any(map(_enlarges, study.graph.nodes)):
        yield _odd(study, odd)
        return
    rounded = [node for node in odd if _rounds_up(node)]
    cases = [_dropped(study, dropped, _seldom(study, odd))] if dropped else []
    if rounded and all(case.quiet for case in cases):
        cases.append(_rounded(study, rounded, _seldom(study, odd) and not _rounds_input(study, rounded)))
    if cases:
        yield next((case for case in cases if not case.quiet), cases[0])
    else:
        yield from _takes_multiples_only(study)


def _undivided(study: Study) -> tuple[list[tuple[Node, Pair]], list[Node]]:
    """The layers whose strides drop rows or columns, with how many, and those whose strides do not divide their map."""
    dropped: list[tuple[Node, Pair]] = []
    odd: list[Node] = []
    for node in study.downsamplings:
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is None or window.upsample != (1, 1):
            continue
        before, after, border = node.inputs[0].shape[1:], node.output.shape[1:], _border(node.inputs[0].node)
        lost = [_unread(window, axis, before[axis], after[axis]) - (border[axis] + 1) // 2 for axis in (0, 1)]
        if max(lost) > 0:
            dropped.append((node, (lost[0], lost[1])))
        if any(n % s for n, s in zip(_size(node), window.stride, strict=True)):
            odd.append(node)
    return dropped, odd


def _rounds_input(study: Study, rounded: Sequence[Node]) -> bool:
    """Whether the size that is rounded up first is the input's own, so that padding was meant to keep it."""
    return any(_size(node) == study.account.input[1:] for node in rounded)


SHORT = 16
"""Pixels a side below which an input is no image whose size somebody chose."""


def _given(study: Study) -> bool:
    """Whether the size of the input is that of the data: a few rows, or one channel of frames and bands."""
    channels, rows, columns = study.account.input
    return min(rows, columns) < SHORT or (channels == 1 and rows != columns)


def _rounds_up(node: Node) -> bool:
    """Whether a layer makes more positions than its stride divides its map into."""
    window = node.layer.window(*[x.shape for x in node.inputs])
    sizes = zip(_size(node), node.output.shape[1:], window.stride if window else (1, 1), strict=True)
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


def _border(node: Node | None) -> Pair:
    """The rows and columns that a layer of padding has put around a map."""
    if node is None or len(node.inputs) != 1 or len(node.inputs[0].shape) != 3 or len(node.output.shape) != 3:
        return (0, 0)
    if _enlarges(node):
        return (0, 0)
    (_, rows, columns), (_, more, wider) = node.inputs[0].shape, node.output.shape
    return (max(0, more - rows), max(0, wider - columns))


def _size(node: Node) -> Pair:
    """Rows and columns of the map that a layer reads, without padding that a layer before it has put around it."""
    (_, rows, columns), border = node.inputs[0].shape, _border(node.inputs[0].node)
    return (rows - border[0], columns - border[1])


SOME = 0.03
"""A share of the rows of a map that is worth a word."""


def _dropped(study: Study, dropped: Sequence[tuple[Node, Pair]], seldom: bool) -> Case:
    node, (rows, columns) = max(dropped, key=lambda entry: max(entry[1]))
    lost = " and ".join(several(n, what) for n, what in ((rows, "row"), (columns, "column")) if n > 0)
    size = dimensions(node.inputs[0].shape[1:])
    total = len(dropped)
    shares = [n / whole for node, both in dropped for n, whole in zip(both, node.inputs[0].shape[1:], strict=True)]
    quiet = (max(shares) < SOME and seldom) or _given(study)
    other = _divisible_input(study) if not seldom else [] if quiet else _fitting_input(study, dropped)
    return Case(
        where=tuple(node.path for node, _ in dropped),
        text=f"{node.path} leaves {lost} of {size} unread"
        + f", as {'does' if total == 2 else 'do'} {several(total - 1, 'other layer')}" * (total > 1),
        evidence={"layers": total, "rows": rows, "columns": columns},
        remedy=sorted([_round_up(study, [node for node, _ in dropped]), *other], key=lambda one: _is_later(study, one)),
        severity=None if study.described and all(map(_keeps_borders, study.graph.nodes)) else "note",
        quiet=quiet,
    )


CHOSEN = 64
"""Pixels a side from which images are mostly resized for the network; smaller ones are what they are."""


def _is_later(study: Study, remedy: Remedy) -> bool:
    """Whether a remedy is something else than another input, which comes first where its size is a choice."""
    chosen = min(study.account.input[1:]) >= CHOSEN
    return not chosen or remedy.change is None or remedy.change.input is None


def _fitting_input(study: Study, dropped: Sequence[tuple[Node, Pair]]) -> list[Remedy]:
    """The input without the rows and columns that no window reads, where all windows fit then."""
    channels, *whole = study.account.input
    least = list(whole)
    for axis in (0, 1):
        at_stride: dict[int, int] = {}
        for node, lost in dropped:
            stride = ceil(study.account.fields[node.inputs[0]].stride[axis])
            at_stride[stride] = max(at_stride.get(stride, 0), lost[axis])
        least[axis] -= sum(stride * lost for stride, lost in at_stride.items())
    size = (least[0], least[1])
    remedy = study.remedy(f"use an input of {dimensions(size)}, which all windows fit", input=(channels, *size))
    if remedy.change is None or any(m < (1 - CROP) * n for m, n in zip(least, whole, strict=True)):
        return []
    try:
        fitting = _undivided(Study(account(changed(study.graph, remedy.change)), study.purpose))[0] == []
    except UserError:  # it fits one size alone
        return []
    return [remedy] if fitting else []


def _rounded(study: Study, rounded: Sequence[Node], seldom: bool) -> Case:
    """Sizes that are rounded up: the first layer that does it, for each."""
    first: dict[Shape, Node] = {}
    for node in rounded:
        first.setdefault(_size(node), node)
    named = [
        f"{node.path} makes {dimensions(node.output.shape[1:])} of {dimensions(size)}" for size, node in first.items()
    ]
    return Case(
        where=tuple(node.path for node in rounded),
        text=f"sizes that do not divide by the stride are rounded up: {', '.join(named)}",
        evidence={"layers": len(rounded), "sizes": [list(size) for size in first]},
        remedy=_divisible_input(study, counted=not seldom),
        severity="note",
        quiet=seldom or _given(study) or not study.described,  # others chose the size for their module
    )


def _seldom(study: Study, odd: Sequence[Node]) -> bool:
    """Whether a stride does not divide one size at most, and not that of the input, or borders are lost anyway."""
    sizes: set[Shape] = {_size(node) for node in odd}
    lost = not all(map(_keeps_borders, study.graph.nodes))
    return lost or (len(sizes) < 2 and study.account.input[1:] not in sizes)


NEAR = 0.15
"""The part by which another input may be smaller or larger and still be called the same."""


CROP = 0.1
"""The part of a side that may be cropped from images without a thought."""


def _divisible_input(study: Study, counted: bool = True) -> list[Remedy]:
    """The next smaller and larger input that all strides divide, if they are near, the nearer first.

    What the network costs then is counted where somebody will read it.
    """
    channels, *whole = study.account.input
    strides = _whole_stride(study)
    found: list[tuple[float, Shape]] = []
    for rounded in ([n // s * s for n, s in zip(whole, strides, strict=True)], _multiple(whole, strides)):
        away = max(abs(m - n) / n for m, n in zip(rounded, whole, strict=True))
        if away <= NEAR:
            found.append((away, tuple(rounded)))
    if not found:
        return [Remedy(f"pad images to {dimensions(tuple(_multiple(whole, strides)))}, or sample down less often")]
    remedies = [(f"use an input of {dimensions(size)}", (channels, *size)) for _, size in sorted(set(found))]
    return [study.remedy(text, input=shape) if counted else Remedy(text) for text, shape in remedies]


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
    if pixels(study.output.shape) == 1 or not study.described or not study.downsamplings:
        return
    enlarging = [node for node in study.graph.nodes if _enlarges(node)]
    if not enlarging:
        return
    channels, rows, columns = study.account.input
    if study.remedy("", input=(channels, rows + 1, columns + 1)).after is not None:
        return
    stride = max(_whole_stride(study))
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
