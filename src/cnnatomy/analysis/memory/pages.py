"""Which bytes of a forward pass the system has to provide again, page by page, although the pass before had them.

glibc keeps freed memory for the next use, with two exceptions (mallopt(3)): a block above M_MMAP_THRESHOLD is fetched
from the system and given back each time, and the end of the heap is given back when more than M_TRIM_THRESHOLD of it is
free. The first follows the largest block that was freed, up to 32 MiB, the second is twice that.
"""

from __future__ import annotations

from collections.abc import Mapping

from cnnatomy.analysis.memory.lifetimes import Allocation
from cnnatomy.analysis.memory.replay import MAP, Replay
from cnnatomy.analysis.memory.setting import Setting
from cnnatomy.analysis.time.kernels import Work, padded
from cnnatomy.design.graph import Graph, Node

MAX_KEPT_PIECE = 2**25 - 2**16
"""Bytes: see `timing.measure.settle_allocator`."""

MAX_KEPT = 2 * MAX_KEPT_PIECE
LEFT = 2**17
"""Bytes that stay at the end of the heap when it is given back (M_TOP_PAD)."""

OVERHEAD = 128
"""Bytes of a block beside what was asked for: torch aligns to 64."""

ONEDNN = ("convolution", "convolution 1x1", "grouped convolution", "depthwise convolution")
"""Classes of kernels that copy what they read, their weights and their output into layouts of their own."""

PASSES = 3
"""After so many the heap is as in every later one."""


class Heap:
    """glibc's heap on sizes alone: the smallest free block that fits, else the end; free neighbours become one."""

    def __init__(self) -> None:
        self.fresh = 0
        """Bytes that were fetched from the system so far."""
        self._end = self._there = 0  # the heap is used up to the one, its pages are there up to the other
        self._used: dict[int, int] = {}  # start -> size
        self._free: dict[int, int] = {}
        self._free_ends: dict[int, int] = {}  # end -> start

    def new(self, size: int) -> int:
        """Allocates; what to release it by."""
        size += OVERHEAD
        if size > MAX_KEPT_PIECE:
            self.fresh += size
            return -1
        fitting = min(((free, start) for start, free in self._free.items() if free >= size), default=None)
        if fitting is None:
            start = self._end
            self._end += size
            self.fresh += max(0, self._end - max(self._there, start))
            self._there = max(self._there, self._end)
        else:
            free, start = fitting
            self._take(start)
            if free > size:
                self._put(start + size, free - size)
        self._used[start] = size
        return start

    def release(self, start: int) -> None:
        """Frees what `new` gave."""
        if start < 0:
            return
        size = self._used.pop(start)
        if start in self._free_ends:
            before = self._free_ends[start]
            size += self._take(before)
            start = before
        if start + size in self._free:
            size += self._take(start + size)
        if start + size != self._end:
            self._put(start, size)
            return
        self._end = start
        if self._there - self._end > MAX_KEPT:
            self._there = self._end + LEFT

    def _put(self, start: int, size: int) -> None:
        self._free[start] = size
        self._free_ends[start + size] = start

    def _take(self, start: int) -> int:
        size = self._free.pop(start)
        del self._free_ends[start + size]
        return size


def fresh(graph: Graph, works: Mapping[str, Work], batch: int) -> dict[str, int]:
    """Bytes that each layer has to fetch from the system, by path, in one of many passes of a batch; 0 is left out.

    `works` are its kernels by path.
    """
    replay = Replay(graph, Setting(batch=batch), training=False)
    replay.forward()
    nodes = {node.path: node for node in graph.nodes}
    heap, found = Heap(), dict[str, int]()
    for _ in range(PASSES):
        found.clear()
        places: dict[Allocation, int] = {}
        for block, made in replay.tape.events:
            if not made:
                heap.release(places.pop(block))
                continue
            before = heap.fresh
            room = _room(nodes[block.path], works[block.path]) if block.what == MAP and block.path in works else []
            places[block] = _within(heap, room, block.bytes)
            if heap.fresh > before:
                found[block.path] = found.get(block.path, 0) + heap.fresh - before
        for place in places.values():  # the output, which whoever runs the network releases
            heap.release(place)
    return found


def _room(node: Node, work: Work) -> list[int]:
    """Bytes that a convolution needs beside its output, in the order in which they are asked for."""
    if work.kernel not in ONEDNN:
        return []
    source, output = node.inputs[0].shape, node.output.shape
    read = work.read // source[0] * padded(source[0]) if source[0] > 4 else 0
    return [work.weights, read, work.written // output[0] * padded(output[0])]


def _within(heap: Heap, room: list[int], size: int) -> int:
    """The output of a layer: made while the last of the room is held, out of which it is copied."""
    held = [heap.new(n) for n in room]
    for place in held[:-1]:
        heap.release(place)
    output = heap.new(size)
    for place in held[-1:]:
        heap.release(place)
    return output
