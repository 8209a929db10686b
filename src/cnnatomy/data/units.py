"""What must not be divided among splits, and where the large ones of it are placed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PASSES = 10
"""How often each large unit may move at most; three are enough as a rule."""


@dataclass(frozen=True)
class Unit:
    """Images that stay together: the index of each, its class, and the index of the first image that equals it."""

    members: list[int]
    strata: list[int]
    contents: list[int]

    @property
    def single(self) -> bool:
        """Whether it is one image, perhaps several times."""
        return len(set(self.contents)) == 1

    def differing(self, stratum: int) -> int:
        """How many different images of a class it has."""
        return len({content for content, own in zip(self.contents, self.strata, strict=True) if own == stratum})


def units_of(
    pool: list[int],
    strata: NDArray[np.int64],
    digests: Sequence[bytes],
    groups: Sequence[str | None] | None,
    near: NDArray[np.int64] | None,
) -> list[Unit]:
    """The units of the images in `pool`, in the order of their first images.

    An image that is there twice, under two classes, counts for the first of them.
    """
    from scipy import sparse
    from scipy.sparse import csgraph

    first: dict[bytes, int] = {}
    contents = [first.setdefault(digests[index], index) for index in pool]
    edges = [*zip(pool, contents, strict=True)]
    if groups is not None:
        leader: dict[str, int] = {}
        edges += [(index, leader.setdefault(name, index)) for index in pool if (name := groups[index]) is not None]
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    if near is not None:
        inside = np.zeros(len(strata), bool)
        inside[pool] = True
        pairs = np.concatenate([pairs, near[inside[near].all(1)]])
    shape = (len(strata),) * 2
    joined = csgraph.connected_components(
        sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape), directed=False
    )[1].tolist()
    found: dict[int, Unit] = {}
    for index, content in zip(pool, contents, strict=True):
        unit = found.setdefault(joined[index], Unit([], [], []))
        unit.members.append(index)
        unit.strata.append(int(strata[content]))
        unit.contents.append(content)
    return list(found.values())


def place(units: Sequence[Unit], shares: Sequence[float], scarce: Collection[int], seed: int) -> list[int]:
    """Which part each unit belongs to, so that each part has its share of the images of each class.

    In an order that the seed gives, each goes where the sum of squares of what is missing or too much, in relation to
    the share, gets least: at first to the part that lacks most. Then each is placed again while that helps. A `scarce`
    class is first of all to be in every part.
    """
    if not units:
        return []
    numbers = {stratum: number for number, stratum in enumerate(sorted({s for unit in units for s in unit.strata}))}
    classes, counts = [], []
    for unit in units:
        found, times = np.unique([numbers[stratum] for stratum in unit.strata], return_counts=True)
        classes.append(found)
        counts.append(times.astype(float))
    total = np.zeros(len(numbers))
    for found, times in zip(classes, counts, strict=True):
        total[found] += times
    target = np.outer(shares, total)
    needed = np.array([stratum in scarce for stratum in numbers])
    has = np.zeros_like(target)
    parts = [-1] * len(units)
    order = np.random.default_rng([seed % 2**64, len(units)]).permutation(len(units)).tolist()
    for _ in range(PASSES):
        moved = False
        for unit in order:
            found, times, before = classes[unit], counts[unit], parts[unit]
            if before >= 0:
                has[before, found] -= times
            lacks = has[:, found] - target[:, found]
            rise = ((2 * lacks + times) * times / target[:, found]).sum(1)
            fills = (needed[found] & (has[:, found] == 0)).sum(1)
            best = np.flatnonzero(fills == fills.max())
            parts[unit] = int(best[rise[best].argmin()])
            has[parts[unit], found] += times
            moved |= parts[unit] != before
        if not moved:
            break
    return parts
