"""Which positions of its input a run of layers reads: dilated convolutions of one rate skip most of them (gridding)."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.layers.layer import GLOBAL, Shape, Window


class Reads(NamedTuple):
    """Along one axis: element 0 reads position `first` + i where bit i of `mask` is 1; the lowest bit is."""

    first: int = 0
    mask: int = 1

    @property
    def span(self) -> int:
        """Positions from the first that is read to the last."""
        return self.mask.bit_length()

    @property
    def read(self) -> int:
        """Positions that are read."""
        return self.mask.bit_count()

    @property
    def offsets(self) -> list[int]:
        """Those positions."""
        return [self.first + i for i, bit in enumerate(reversed(f"{self.mask:b}")) if bit == "1"]

    def all_within(self, distance: int) -> bool:
        """Whether all positions nearer than so many to the one that the element itself has are read."""
        if self.first > 1 - distance:
            return False
        every = (1 << 2 * distance - 1) - 1 if self.span >= 2 * distance - 1 else 0
        return every > 0 and self.mask >> (1 - distance - self.first) & every == every

    def through(self, kernel: int, padding: int, dilation: int, before: int, after: int) -> Reads:
        """After a window over a map of `before` positions that gives `after`; what is always padding is left out."""
        taps = _inside(range(-padding, kernel * dilation - padding, dilation), after, before)
        return Reads(self.first + taps[0], repeated(self.mask, len(taps), dilation)) if taps else self

    def joined(self, other: Reads) -> Reads:
        """What either reads."""
        if self == other:
            return self
        first = min(self.first, other.first)
        return Reads(first, self.mask << (self.first - first) | other.mask << (other.first - first))


def _inside(taps: range, after: int, before: int) -> range:
    """Those of the taps t for which o + t lies in the map for some output o: from 1 - after to before - 1."""
    first = max(0, -(-(1 - after - taps.start) // taps.step))
    return taps[first : max(first, -(-(before - taps.start) // taps.step))]


def repeated(mask: int, times: int, step: int) -> int:
    """The bits of a mask so many times, each time `step` places further; by doubling, for a million times too."""
    found = placed = 0
    power, count = mask, 1
    while times:
        if times & 1:
            found |= power << placed * step
            placed += count
        times >>= 1
        power |= power << count * step if times else 0
        count *= 2
    return found


class Coverage(NamedTuple):
    """The positions that an element of a map reads of the map with which its run of equal resolution began.

    A run begins at the input and after every layer that makes the map smaller or larger. Rows and columns are seen one
    by one; where paths meet, what any of them reads is read.
    """

    rows: Reads = Reads()
    columns: Reads = Reads()

    @property
    def unread(self) -> float:
        """The share of the positions within rows and columns of its span that are never read, from 0."""
        read = self.rows.read * self.columns.read
        return 1 - read / (self.rows.span * self.columns.span)

    def through(self, window: Window, before: Shape, after: Shape) -> Coverage:
        """After a window; of one with a stride, what its first output reads."""
        kernel, _, padding, dilation, _ = window
        return Coverage(
            self.rows.through(kernel[0], padding[0], dilation[0], before[-2], after[-2]),
            self.columns.through(kernel[1], padding[1], dilation[1], before[-1], after[-1]),
        )


class Gap(NamedTuple):
    """A run of layers that ends with holes in what it reads, and the node that was the last to change what it reads."""

    node: Node
    coverage: Coverage


def coverages(graph: Graph) -> dict[FeatureMap, Coverage | None]:
    """What the elements of each map read within its run; None after a layer that reads all pixels, such as a gate's.

    Where such a path joins another, the other's reads are kept: a global average tells no positions apart.
    """
    found: dict[FeatureMap, Coverage | None] = dict.fromkeys(graph.inputs, Coverage())
    for node in graph.nodes:
        coverage = _join([found[x] for x in node.inputs])
        window = node.layer.window(*[x.shape for x in node.inputs])
        if window is GLOBAL:
            coverage = None
        elif window is not None and coverage is not None:
            shape = node.inputs[0].shape
            coverage = coverage.through(window, shape, node.output.shape) if _goes_on(window) else Coverage()
        found[node.output] = coverage
    return found


def _join(coverages: list[Coverage | None]) -> Coverage | None:
    joined = coverages[0]
    for coverage in coverages[1:]:
        if joined is None:
            joined = coverage
        elif coverage is not None and coverage != joined:
            joined = Coverage(joined.rows.joined(coverage.rows), joined.columns.joined(coverage.columns))
    return joined


def _goes_on(window: Window | None) -> bool:
    """Whether a layer with this window keeps the run."""
    return window is None or (window is not GLOBAL and window.stride == window.upsample == (1, 1))


def gaps(graph: Graph) -> list[Gap]:
    """The runs that leave positions unread between those that they read, and end without a layer that fills the holes.

    Three 3x3 of dilation 2 read 49 of 13x13 positions; of dilation 1, 2 and 5 all of 17x17 (Wang et al. 2018,
    section 3.2). A layer with a stride ends a run, but its own window can fill holes.
    """
    found = coverages(graph)
    each = {id(coverage): coverage for coverage in found.values() if coverage}  # layers without a window share one
    with_holes = {i for i, coverage in each.items() if coverage.unread}
    if not with_holes:
        return []
    ends = _ends(graph, found, {x for x, coverage in found.items() if id(coverage) in with_holes})
    made = {id(found[node.output]): node for node in reversed(graph.nodes)}
    return [Gap(made[i], each[i]) for i in dict.fromkeys(id(found[x]) for x in ends)]


def _ends(graph: Graph, found: dict[FeatureMap, Coverage | None], holes: set[FeatureMap]) -> list[FeatureMap]:
    """The maps with which runs end and that no reader, nor a reader of its output in the run, reads without holes."""
    left, read_on = dict.fromkeys(holes, True), set()
    for node in reversed(graph.nodes):
        for x in holes.intersection(node.inputs):
            window, coverage = node.layer.window(*[y.shape for y in node.inputs]), found[x]
            if _goes_on(window):
                read_on.add(x)
                left[x] &= left.get(node.output, False)
            elif coverage and window and window is not GLOBAL and window.upsample == (1, 1):
                left[x] &= coverage.through(window, x.shape, x.shape).unread > 0
    return [node.output for node in graph.nodes if left.get(node.output) and node.output not in read_on]
