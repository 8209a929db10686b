"""What must not be divided among splits, and where the large ones of it are placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PASSES = 5
"""How often each large unit is placed at most."""


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
    first: dict[bytes, int] = {}
    contents = [first.setdefault(digests[index], index) for index in pool]
    joined = dict(zip(pool, contents, strict=True))
    if groups is not None or (near is not None and len(near)):
        joined = _components(pool, contents, len(strata), groups, near)
    found: dict[int, Unit] = {}
    for index, content in zip(pool, contents, strict=True):
        unit = found.setdefault(joined[index], Unit([], [], []))
        unit.members.append(index)
        unit.strata.append(int(strata[content]))
        unit.contents.append(content)
    return list(found.values())


def _components(
    pool: list[int],
    contents: list[int],
    count: int,
    groups: Sequence[str | None] | None,
    near: NDArray[np.int64] | None,
) -> dict[int, int]:
    """What each image in `pool` is connected with, by the number of a component."""
    from scipy import sparse
    from scipy.sparse import csgraph

    edges = [*zip(pool, contents, strict=True)]
    if groups is not None:
        leader: dict[str, int] = {}
        edges += [(index, leader.setdefault(name, index)) for index in pool if (name := groups[index]) is not None]
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    if near is not None:
        inside = np.zeros(count, bool)
        inside[pool] = True
        pairs = np.concatenate([pairs, near[inside[near].all(1)]])
    edges_of = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    component = csgraph.connected_components(edges_of, directed=False)[1]
    return dict(zip(pool, component[pool].tolist(), strict=True))


def place(units: Sequence[Unit], shares: Sequence[float], scarce: Collection[int], seed: int) -> list[int]:
    """Which part each unit belongs to, so that each part has its share of the images of each class.

    The larger ones come first; of those that differ by less than a factor of two the seed says which. Each goes where
    the sum of squares of what is missing or too much, in relation to the share, gets least: at first to the part that
    lacks most; of several to that with the fewest images. Then each is placed again while that helps, the smaller ones
    first, and now a `scarce` class is first of all to be in every part.
    """
    counts = [Counter(unit.strata) for unit in units]
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    found = [dict.fromkeys(total, 0) for _ in shares]
    sizes = [0] * len(shares)
    parts = [-1] * len(units)
    drawn = np.random.default_rng([seed % 2**64, len(units)]).uniform(0.5, 1, len(units))
    order = np.argsort([-len(unit.members) for unit in units] * drawn, kind="stable").tolist()
    for number_of_pass in range(PASSES):
        moved = False
        for unit in order if number_of_pass == 0 else reversed(order):
            count, before = counts[unit], parts[unit]
            if before >= 0:
                _add(found, sizes, before, count, -1)
            best: tuple[int, float, float, int] | None = None
            for part, share in enumerate(shares):
                has, filled, rise = found[part], 0, 0.0
                for stratum, number in count.items():
                    target = share * total[stratum]
                    filled += number_of_pass > 0 and stratum in scarce and not has[stratum]
                    rise += number * (2 * (has[stratum] - target) + number) / target
                cost = (-filled, round(rise, 9), sizes[part] / share, part)
                best = cost if best is None else min(best, cost)
            assert best is not None
            parts[unit] = best[-1]
            _add(found, sizes, parts[unit], count, 1)
            moved |= parts[unit] != before
        if not moved:
            break
    return parts


def _add(found: list[dict[int, int]], sizes: list[int], part: int, count: Counter[int], sign: int) -> None:
    for stratum, number in count.items():
        found[part][stratum] += sign * number
        sizes[part] += sign * number
