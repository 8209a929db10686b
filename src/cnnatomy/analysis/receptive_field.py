"""Which part of the input each feature sees: the exact recursion, per axis, at every node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import NamedTuple

from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.errors import LimitError
from cnnatomy.layers.layer import GLOBAL, Pair, Shape, Window
from cnnatomy.limits import MAX_PIXELS_FOLLOWED, MAX_SPANS

Span = tuple[int, int] | None
"""The first and the last input pixel that is read, counted from 0 (negative in the padding); None where none is."""


class Axis(NamedTuple):
    """What the elements of a map see along one axis: element q * len(spans) + i sees spans[i], moved by q * step.

    There is one span unless the map was enlarged: then neighbours see pixels of the smaller map in turn. Where paths of
    unlike strides met, `beside` are the others, each as if it were alone: an element sees what it sees along any, so
    that how much that is depends on where in the map of so many `elements` it lies.
    """

    step: int = 1
    spans: tuple[Span, ...] = ((0, 0),)
    beside: tuple[Axis, ...] = ()
    elements: int = 0

    def span(self, element: int) -> Span:
        """The pixels that an element sees."""
        turn, i = divmod(element, len(self.spans))
        span = self.spans[i]
        seen = None if span is None else (span[0] + turn * self.step, span[1] + turn * self.step)
        return _union([seen, *[other.span(element) for other in self.beside]]) if self.beside else seen

    @property
    def extent(self) -> int:
        """The most pixels that an element sees."""
        spans = map(self.span, self._outermost()) if self.beside else self.spans
        return max(span[1] - span[0] + 1 if span else 0 for span in spans)

    def _outermost(self) -> Sequence[int]:
        """Elements among which is the one that sees most: going along those of one turn, what paths of unlike strides
        see moves apart at one of the ends."""
        period = _few(lcm(*[len(axis.spans) for axis in (self, *self.beside)]))
        return _ends(range(max(self.elements, 1)), period)

    @property
    def stride(self) -> int | Fraction:
        """Pixels from one element to the next, on average; where paths of several met, on the one that sees most."""
        if len(self.spans) == 1:
            return self.step
        stride = Fraction(self.step, len(self.spans))
        return int(stride) if stride.denominator == 1 else stride

    @property
    def centre(self) -> float:
        """The middle of what element 0 sees (or of the first that sees anything)."""
        spans = map(self.span, self._outermost()) if self.beside else self.spans
        return next((sum(span) / 2 for span in spans if span), 0.0)

    def through(self, kernel: int, stride: int, padding: int, dilation: int, upsample: int) -> Axis:
        """The axis after a window."""
        reach = (kernel - 1) * dilation
        if upsample == 1 and len(self.spans) == 1 and self.spans[0] and not self.beside:
            first, last = self.spans[0]
            step = self.step
            return Axis(step * stride, ((first - padding * step, last + (reach - padding) * step),))
        if self.beside:
            window = (kernel, stride, padding, dilation, upsample)
            paths = [axis.through(*window) for axis in (self._replace(beside=()), *self.beside)]
            return paths[0]._replace(beside=tuple(paths[1:]), elements=self.elements)
        return _through_enlarged(self, kernel, stride, padding, dilation, upsample)

    def joined(self, other: Axis) -> Axis:
        """What is seen where two paths meet: all that either sees."""
        if self == other:
            return self
        if self.step == other.step and len(self.spans) == len(other.spans) == 1 and not (self.beside or other.beside):
            one, two = self.spans[0], other.spans[0]
            if one and two:
                return Axis(self.step, ((min(one[0], two[0]), max(one[1], two[1])),))
        return _joined_enlarged(self, other)


@lru_cache(4096)
def _through_enlarged(axis: Axis, kernel: int, stride: int, padding: int, dilation: int, upsample: int) -> Axis:
    """`Axis.through` where the map was enlarged, or is now."""
    taps: Sequence[int] = range(0, kernel * dilation, dilation)
    if upsample == 1:  # output o reads inputs o * stride - padding + tap
        turns = stride // gcd(stride, len(axis.spans))
        outputs = _few(len(axis.spans) * turns // stride)
        taps = _ends(taps, len(axis.spans))
        reads = [[o * stride - padding + tap for tap in taps] for o in range(outputs)]
        return Axis(axis.step * turns, tuple(_union([axis.span(i) for i in read]) for read in reads))
    # output o reads the inputs i with i * upsample = o + padding - tap
    outputs = _few(len(axis.spans) * upsample)
    taps = _ends(taps, outputs)
    sums = [[o + padding - tap for tap in taps] for o in range(outputs)]
    reads = [[n // upsample for n in numbers if n % upsample == 0] for numbers in sums]
    return Axis(axis.step, tuple(_union([axis.span(i) for i in read]) for read in reads))


def _few(spans: int) -> int:
    """The number of spans of an axis; raises `LimitError` where they are too many to be followed one by one."""
    if spans > MAX_SPANS:
        message = f"its elements see the input in {spans:,} different ways, of which {MAX_SPANS:,} at most are followed"
        raise LimitError(f"{message}: enlarge the map by less")
    return spans


def _ends(taps: Sequence[int], period: int) -> Sequence[int]:
    """Of many taps the first and the last period: what lies between sees nothing beyond what those see."""
    return taps if len(taps) <= 2 * period else [*taps[:period], *taps[-period:]]


@lru_cache(4096)
def _joined_enlarged(axis: Axis, other: Axis) -> Axis:
    """`Axis.joined` where either map was enlarged, or their strides are unlike."""
    if axis.beside or other.beside or axis.stride != other.stride:
        return _side_by_side([axis, other], max(axis.elements, other.elements))
    elements = _few(lcm(len(axis.spans), len(other.spans)))
    step = axis.step * (elements // len(axis.spans))
    return Axis(step, tuple(_union([axis.span(i), other.span(i)]) for i in range(elements)))


def _side_by_side(axes: Sequence[Axis], elements: int) -> Axis:
    """Several as one: those of one stride joined, that which sees most first."""
    alike: dict[int | Fraction, Axis] = {}
    for axis in axes:
        for path in (axis._replace(beside=(), elements=0), *axis.beside):
            alike[path.stride] = alike[path.stride].joined(path) if path.stride in alike else path
    first, *others = sorted(alike.values(), key=lambda path: path.extent, reverse=True)
    return first._replace(beside=tuple(others), elements=elements) if others else first


def _union(spans: Sequence[Span]) -> Span:
    found = [span for span in spans if span]
    return (min(span[0] for span in found), max(span[1] for span in found)) if found else None


_PIXELS = Axis()


class ReceptiveField(NamedTuple):
    """What the elements of a feature map see of the input, along rows and columns.

    It counts windows alone, as published tables do: r = (r_out - 1) * stride + (kernel - 1) * dilation + 1 going back.
    `sees_all` says whether some path to here mixes all pixels too (a global average, a fully connected layer, a gate).
    """

    rows: Axis = _PIXELS
    columns: Axis = _PIXELS  # one object where both are alike, which is then computed once
    sees_all: bool = False

    @property
    def size(self) -> Pair:
        """The most pixels that an element sees: (rows, columns)."""
        return (self.rows.extent, self.columns.extent)

    @property
    def stride(self) -> tuple[int | Fraction, int | Fraction]:
        """Input pixels from one element to the next; below 1 where the map is finer than the input."""
        return (self.rows.stride, self.columns.stride)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the field of element (0, 0), where 0 is the middle of the first pixel."""
        return (self.rows.centre, self.columns.centre)

    def through(self, window: Window) -> ReceptiveField:
        """The field after a layer with this window."""
        if window is GLOBAL:
            return ReceptiveField(self.rows, self.columns, True)
        kernel, stride, padding, dilation, upsample = window
        across = (kernel[1], stride[1], padding[1], dilation[1], upsample[1])
        down = (kernel[0], stride[0], padding[0], dilation[0], upsample[0])
        rows = self.rows.through(*down)
        alike = self.rows is self.columns and across == down
        return ReceptiveField(rows, rows if alike else self.columns.through(*across), self.sees_all)

    def over(self, shape: Shape) -> ReceptiveField:
        """The same for a map of this shape, if it is one with rows and columns."""
        if len(shape) != 3:
            return self
        rows, columns = (
            axis._replace(elements=n) for axis, n in zip((self.rows, self.columns), shape[1:], strict=True)
        )
        return ReceptiveField(rows, columns, self.sees_all)


def join(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """The field where paths meet: all that any of them sees, which is the largest where they have one centre."""
    rows = _joined([field.rows for field in fields])
    alike = all(field.rows is field.columns for field in fields)
    columns = rows if alike else _joined([field.columns for field in fields])
    return ReceptiveField(rows, columns, any(field.sees_all for field in fields))


def _met(node: Node, fields: Mapping[FeatureMap, ReceptiveField], joined: ReceptiveField) -> ReceptiveField:
    """The field where paths of unlike strides meet: element by element, where the maps lie on one another.

    Elsewhere (vectors, tokens of several maps one after another) elements correspond to no common pixels: it is that of
    the path that sees most.
    """
    shape = node.output.shape
    shapes = [x.shape for x in node.inputs]
    meets = len(shape) == 3 and all(
        len(one) == 3 and one[1] in (1, shape[1]) and one[2] in (1, shape[2]) for one in shapes
    )
    before = [fields[x] for x in node.inputs]
    pooled = [field.sees_all for field in before]
    if meets and node.layer.window(*shapes) is None:
        rows = _element_by_element([f.rows for f in before], pooled, [one[1] for one in shapes], shape[1])
        columns = _element_by_element([f.columns for f in before], pooled, [one[2] for one in shapes], shape[2])
    else:
        rows = _most([field.rows for field in before], joined.rows)
        columns = _most([field.columns for field in before], joined.columns)
    return ReceptiveField(rows, columns, joined.sees_all)


def _element_by_element(axes: list[Axis], pooled: list[bool], sizes: list[int], elements: int) -> Axis:
    """What the elements of a map see of several that lie on it; one of size 1 lies under all of its elements.

    A map made of all pixels counts where its stride says that it lies as the others do: its elements are of no place.
    """
    paths = [
        Axis(0, (axis.span(0),)) if size == 1 < elements else axis
        for axis, size, all_pixels in zip(axes, sizes, pooled, strict=True)
        if not all_pixels
    ]
    strides = {path.stride for axis in paths for path in (axis, *axis.beside)}
    paths += [
        axis
        for axis, all_pixels in zip(axes, pooled, strict=True)
        if all_pixels and (axis.stride in strides or len(strides) == 0)
    ]
    return _side_by_side(paths, elements)


def _most(axes: list[Axis], joined: Axis) -> Axis:
    return max([joined._replace(beside=(), elements=0), *axes], key=lambda axis: axis.extent)


def _joined(axes: list[Axis]) -> Axis:
    """What is seen where several paths meet."""
    joined = axes[0]
    for axis in axes:
        if axis is not joined:
            joined = joined.joined(axis)
    return joined


def smallest_path(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """The field where paths meet, along the path that sees least: per axis, and around gates and the like."""
    first = fields[0]
    if all(field is first for field in fields):
        return first
    some = [field for field in fields if not field.sees_all] or fields
    rows = min([field.rows for field in some], key=_extent_and_stride)
    columns = min([field.columns for field in some], key=_extent_and_stride)
    return ReceptiveField(rows, columns, some[0].sees_all)


def _extent_and_stride(axis: Axis) -> tuple[int, int | Fraction]:
    return (axis.extent, axis.stride)


def receptive_fields(
    graph: Graph, meet: Callable[[Sequence[ReceptiveField]], ReceptiveField] = join
) -> dict[FeatureMap, ReceptiveField]:
    """The receptive field of every feature map of a graph.

    With `smallest_path` for `meet` it is that of the path from the input that sees least (Richter et al. 2021),
    exactly so where the maps that meet have one stride.

    Raises:
        LimitError: naming the layer, where a map was enlarged so much that its elements see the input in too many ways.
    """
    fields = {x: ReceptiveField() for x in graph.inputs}
    followed = 0
    for node in graph.nodes:
        try:
            if len(node.inputs) == 1:
                before = fields[node.inputs[0]]
            else:
                before = meet([fields[x] for x in node.inputs])
                if before.rows.beside or before.columns.beside:
                    before = _met(node, fields, before)
            window = node.layer.window(*[x.shape for x in node.inputs])
            fields[node.output] = after = before if window is None else before.through(window)
            if window is not None and (after.rows.beside or after.columns.beside):
                fields[node.output] = after = after.over(node.output.shape)
        except LimitError as error:
            raise LimitError(f"{node.path}: {error}") from None
        rows, columns = after.rows, after.columns
        if (len(rows.spans) + len(columns.spans) > 2 or rows.beside or columns.beside) and after is not before:
            kernel = (1, 1) if window is None else window.kernel
            followed += _steps(rows, kernel[0]) + _steps(columns, kernel[1])
            if followed > MAX_PIXELS_FOLLOWED:
                message = f"what enlarged maps see takes more than {MAX_PIXELS_FOLLOWED:,} steps to follow"
                raise LimitError(f"{node.path}: {message}: enlarge them later, or by less")
    return fields


def _steps(axis: Axis, kernel: int) -> int:
    """How long a window over a map is followed."""
    lengths = [len(path.spans) for path in (axis, *axis.beside)]
    return sum(length * min(kernel, 2 * length) for length in lengths)


def lecture_rule(field: ReceptiveField) -> Pair:
    """The lectures' recipe (r * S, then + F - 1): exact + stride - 1, too much wherever a stride is above 1."""
    return (int(field.size[0] + field.stride[0] - 1), int(field.size[1] + field.stride[1] - 1))
