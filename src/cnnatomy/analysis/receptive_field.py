"""Which part of the input each feature sees: the exact recursion, per axis, at every node."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, lcm
from typing import NamedTuple

from cnnatomy.layers.layer import GLOBAL, Pair, Window
from cnnatomy.network.graph import FeatureMap, Graph

Step = int | Fraction


class ReceptiveField(NamedTuple):
    """What one element of a feature map sees, in input pixels, as (rows, columns).

    Attributes:
        extent: r = r_in + (kernel - 1) * dilation * stride_in, over windows alone; the largest where paths join.
            A fraction where the map is finer than the input.
        stride: the distance between the fields of neighbouring elements; below 1 where the map is finer than the input.
        centre: the middle of the field of element (0, 0), where 0 is the middle of the first pixel.
        sees_all: whether some path to here mixes all pixels (a global average, a fully connected layer, attention).
            `extent` goes on counting windows, as published tables do.
    """

    extent: tuple[Step, Step] = (1, 1)
    stride: tuple[Step, Step] = (1, 1)
    centre: tuple[float, float] = (0.0, 0.0)
    sees_all: bool = False

    @property
    def size(self) -> Pair:
        """Whole pixels that an element sees at most."""
        return (ceil(self.extent[0]), ceil(self.extent[1]))

    def through(self, window: Window) -> ReceptiveField:
        """The field after a layer with this window."""
        if window is GLOBAL:
            return ReceptiveField(self.extent, self.stride, self.centre, True)
        (k, k2), (s, s2), (p, p2), (d, d2), (u, u2) = window
        (r, r2), (j, j2), (y, y2) = self.extent, self.stride, self.centre
        rows = _axis(r, j, y, k, s, p, d, u)
        columns = (
            rows
            if (k, s, p, d, u, r, j, y) == (k2, s2, p2, d2, u2, r2, j2, y2)
            else _axis(r2, j2, y2, k2, s2, p2, d2, u2)
        )
        return ReceptiveField((rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2]), self.sees_all)


def _axis(
    extent: Step, step: Step, centre: float, kernel: int, stride: int, padding: int, dilation: int, upsample: int
) -> tuple[Step, Step, float]:
    """(extent, stride, centre) of one axis after a window."""
    reach = (kernel - 1) * dilation
    if upsample == 1:  # output o reads inputs o * stride - padding + (0 to reach)
        return extent + reach * step, step * stride, centre + (reach / 2 - padding) * float(step)
    # output o reads the inputs i with i * upsample = o + padding - tap * dilation
    common = lcm(upsample, dilation)
    taps = reach // common * (common // upsample)
    after = Fraction(step) / upsample
    middle = centre + (padding - reach / 2) / upsample * float(step)
    return extent + taps * step, int(after) if after.denominator == 1 else after, middle


def join(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """The field where paths meet: the largest along each axis, with its stride and centre."""
    first = fields[0]
    if all(field == first for field in fields):
        return first
    rows = max(fields, key=lambda field: field.extent[0])
    columns = max(fields, key=lambda field: field.extent[1])
    return ReceptiveField(
        (rows.extent[0], columns.extent[1]),
        (rows.stride[0], columns.stride[1]),
        (rows.centre[0], columns.centre[1]),
        any(field.sees_all for field in fields),
    )


def receptive_fields(graph: Graph) -> dict[FeatureMap, ReceptiveField]:
    """The receptive field of every feature map of a graph."""
    fields = {x: ReceptiveField() for x in graph.inputs}
    for node in graph.nodes:
        before = fields[node.inputs[0]] if len(node.inputs) == 1 else join([fields[x] for x in node.inputs])
        window = node.layer.window(*[x.shape for x in node.inputs])
        fields[node.output] = before if window is None else before.through(window)
    return fields


def lecture_rule(field: ReceptiveField) -> Pair:
    """The lectures' recipe (r * S, then + F - 1): exact + stride - 1, too much wherever a stride is above 1."""
    return (int(field.size[0] + field.stride[0] - 1), int(field.size[1] + field.stride[1] - 1))
