"""Memory that the system has to provide again: glibc's allocator. `benchmarks/pages.py` asks the system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnatomy.analysis.memory.pages import MAX_KEPT, MAX_KEPT_PIECE, OVERHEAD, Heap

MIB = 2**20


def test_what_was_freed_is_used_again():
    heap = Heap()
    for _ in range(3):
        heap.release(heap.new(20 * MIB))
    assert heap.fresh == 20 * MIB + OVERHEAD


def test_a_block_above_the_threshold_is_fetched_each_time():
    heap = Heap()
    for _ in range(3):
        heap.release(heap.new(MAX_KEPT_PIECE))
    assert heap.fresh == 3 * (MAX_KEPT_PIECE + OVERHEAD)


def test_the_end_of_the_heap_is_given_back_when_much_of_it_is_free():
    heap = Heap()
    few = MAX_KEPT // (24 * MIB)
    for count, again in ((few, 0), (few + 1, few + 1)):
        heap = Heap()
        for _ in range(2):
            before = heap.fresh
            places = [heap.new(24 * MIB) for _ in range(count)]
            for place in places:
                heap.release(place)
        assert (heap.fresh - before) / MIB == pytest.approx(24 * again, abs=1)


def test_the_smallest_free_block_that_fits_is_taken_and_neighbours_become_one():
    heap = Heap()
    large, wall, small, end = (heap.new(n * MIB) for n in (16, 1, 8, 1))
    heap.release(small)
    heap.release(large)
    assert heap.new(8 * MIB) == small
    heap.release(wall)
    assert heap.new(17 * MIB) == large
    assert end > small


@given(st.lists(st.tuples(st.integers(1, 40 * MIB), st.integers(0, 5)), max_size=60))
def test_blocks_never_overlap_and_fresh_bytes_are_never_more_than_were_asked_for(steps):
    heap = Heap()
    held: dict[int, int] = {}
    asked = 0
    for size, which in steps:
        place = heap.new(size)
        asked += size + OVERHEAD
        if place >= 0:
            assert all(place + size <= other or other + held[other] <= place for other in held)
            held[place] = size
        if which < len(held):
            other = list(held)[which]
            del held[other]
            heap.release(other)
    assert heap.fresh <= asked
