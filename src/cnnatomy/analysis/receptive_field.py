"""Which part of the input each feature sees: the exact recursion, per axis, at every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import NamedTuple

from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.errors import LimitError
from cnnatomy.layers.layer import GLOBAL, Pair, Window
from cnnatomy.limits import MAX_PIXELS_FOLLOWED, MAX_SPANS

Span = tuple[int, int] | None
"""The first and the last input pixel that is read, counted from 0 (negative in the padding); None where none is."""


class Axis(NamedTuple):
    """What the elements of a map see along one axis: element q * len(spans) + i sees spans[i], moved by q * step.

    There is one span unless the map was enlarged: then neighbours see pixels of the smaller map in turn.
    """

    step: int = 1
    spans: tuple[Span, ...] = ((0, 0),)

    def span(self, element: int) -> Span:
        """The pixels that an element sees."""
        turn, i = divmod(element, len(self.spans))
        span = self.spans[i]
        return None if span is None else (span[0] + turn * self.step, span[1] + turn * self.step)

    @property
    def extent(self) -> int:
        """The most pixels that an element sees."""
        return max(span[1] - span[0] + 1 if span else 0 for span in self.spans)

    @property
    def stride(self) -> int | Fraction:
        """Pixels from one element to the next, on average."""
        if len(self.spans) == 1:
            return self.step
        stride = Fraction(self.step, len(self.spans))
        return int(stride) if stride.denominator == 1 else stride

    @property
    def centre(self) -> float:
        """The middle of what element 0 sees (or of the first that sees anything)."""
        return next((sum(span) / 2 for span in self.spans if span), 0.0)

    def through(self, kernel: int, stride: int, padding: int, dilation: int, upsample: int) -> Axis:
        """The axis after a window."""
        reach = (kernel - 1) * dilation
        if upsample == 1 and len(self.spans) == 1 and self.spans[0]:
            first, last = self.spans[0]
            step = self.step
            return Axis(step * stride, ((first - padding * step, last + (reach - padding) * step),))
        return _through_enlarged(self, kernel, stride, padding, dilation, upsample)

    def joined(self, other: Axis) -> Axis:
        """What is seen where two paths meet: all that either sees."""
        if self == other:
            return self
        if self.step == other.step and len(self.spans) == len(other.spans) == 1:  # no map was enlarged
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
    """`Axis.joined` where either map was enlarged, or their scales are unlike."""
    if axis.stride != other.stride:  # maps of unlike scale, whose elements correspond to no common pixels
        return max(axis, other, key=lambda one: one.extent)
    elements = _few(lcm(len(axis.spans), len(other.spans)))
    step = axis.step * (elements // len(axis.spans))
    return Axis(step, tuple(_union([axis.span(i), other.span(i)]) for i in range(elements)))


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


def join(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """The field where paths meet: all that any of them sees, which is the largest where they have one centre."""
    rows = _joined([field.rows for field in fields])
    alike = all(field.rows is field.columns for field in fields)
    columns = rows if alike else _joined([field.columns for field in fields])
    return ReceptiveField(rows, columns, any(field.sees_all for field in fields))


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
            before = fields[node.inputs[0]] if len(node.inputs) == 1 else meet([fields[x] for x in node.inputs])
            window = node.layer.window(*[x.shape for x in node.inputs])
            fields[node.output] = after = before if window is None else before.through(window)
        except LimitError as error:
            raise LimitError(f"{node.path}: {error}") from None
        if after is not before and window is not None and len(after.rows.spans) + len(after.columns.spans) > 2:
            for axis, kernel in zip((after.rows, after.columns), window.kernel, strict=True):
                followed += len(axis.spans) * min(kernel, 2 * len(axis.spans))
            if followed > MAX_PIXELS_FOLLOWED:
                message = f"what enlarged maps see takes more than {MAX_PIXELS_FOLLOWED:,} steps to follow"
                raise LimitError(f"{node.path}: {message}: enlarge them later, or by less")
    return fields


def lecture_rule(field: ReceptiveField) -> Pair:
    """The lectures' recipe (r * S, then + F - 1): exact + stride - 1, too much wherever a stride is above 1."""
    return (int(field.size[0] + field.stride[0] - 1), int(field.size[1] + field.stride[1] - 1))
