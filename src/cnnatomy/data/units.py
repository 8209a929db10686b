"""What must not be divided among splits, and where the large ones of it are placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PASSES = 5
"""How often each large unit is placed at most."""
MAX_EXCHANGES = 10**6
"""Pairs of large units, times classes, up to which they are exchanged; more units come near their shares one by one."""
STARTS = 20
"""Placements from which units are exchanged at most."""


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
    near: NDArray[np.int64],
) -> list[Unit]:
    """The units of the images in `pool`, in the order of their first images.

    An image that is there twice, under two classes, counts for the first of them.
    """
    first: dict[bytes, int] = {}
    contents = [first.setdefault(digests[index], index) for index in pool]
    joined = dict(zip(pool, contents, strict=True))
    if groups is not None or len(near):
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
    near: NDArray[np.int64],
) -> dict[int, int]:
    """What each image in `pool` is connected with, by the number of a component."""
    from scipy import sparse
    from scipy.sparse import csgraph

    edges = [*zip(pool, contents, strict=True)]
    if groups is not None:
        leader: dict[str, int] = {}
        edges += [(index, leader.setdefault(name, index)) for index in pool if (name := groups[index]) is not None]
    inside = np.zeros(count, bool)
    inside[pool] = True
    pairs = np.concatenate([np.array(edges, np.int64).reshape(-1, 2), near[inside[near].all(1)]])
    edges_of = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    component = csgraph.connected_components(edges_of, directed=False)[1]
    return dict(zip(pool, component[pool].tolist(), strict=True))


def place(units: Sequence[Unit], shares: Sequence[float], scarce: Collection[int], seed: int) -> list[int]:
    """Which part each unit belongs to, so that each part has its share of the images of each class.

    The larger ones come first; of those that differ by less than a factor of two the seed says which. Each goes where
    the sum of squares of what is missing or too much, in relation to the share, gets least: at first to the part that
    lacks most; of several to that with the fewest images. Then each is placed again while that helps, the smaller ones
    first, and now a `scarce` class is first of all to be in every part. Few units are then exchanged, two at a time,
    while that helps, from here and from places that the seed draws: one by one, a handful of large ones often ends far
    from the least sum.
    """
    counts = [Counter(unit.strata) for unit in units]
    drawn = np.random.default_rng([seed % 2**64, len(units)]).uniform(0.5, 1, len(units))
    order = np.argsort([-len(unit.members) for unit in units] * drawn, kind="stable").tolist()
    parts = _one_by_one(counts, order, shares, scarce)
    strata = sorted({stratum for count in counts for stratum in count})
    work = len(units) ** 2 * len(strata)
    if len(units) < 2 or work > MAX_EXCHANGES:
        return parts
    amounts = np.array([[count[stratum] for stratum in strata] for count in counts], np.float64)
    goal = _Goal(amounts, np.array(shares), np.isin(strata, list(scarce)))
    generator = np.random.default_rng([seed % 2**64, len(units)])
    starts = [
        np.array(parts),
        *(generator.integers(len(shares), size=len(units)) for _ in range(min(STARTS, MAX_EXCHANGES // work) - 1)),
    ]
    nearest: list[int] = min((goal.exchanged(start, order) for start in starts), key=goal.cost).tolist()
    return nearest


def _one_by_one(
    counts: Sequence[Counter[int]], order: Sequence[int], shares: Sequence[float], scarce: Collection[int]
) -> list[int]:
    """The part of each unit, of which each is placed where the cost gets least, and again while that helps."""
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    found = [dict.fromkeys(total, 0) for _ in shares]
    sizes = [0] * len(shares)
    parts = [-1] * len(counts)
    for number_of_pass in range(PASSES):
        moved = False
        for unit in order if number_of_pass == 0 else reversed(order):
            count, before = counts[unit], parts[unit]
            if before >= 0:
                _add(found, sizes, before, count, -1)
            costs = []
            for part, share in enumerate(shares):
                has, filled, rise = found[part], 0, 0.0
                for stratum, number in count.items():
                    target = share * total[stratum]
                    filled += number_of_pass > 0 and stratum in scarce and not has[stratum]
                    rise += number * (2 * (has[stratum] - target) + number) / target
                costs.append((-filled, round(rise, 9), sizes[part] / share, part))
            parts[unit] = min(costs)[-1]
            _add(found, sizes, parts[unit], count, 1)
            moved |= parts[unit] != before
        if not moved:
            break
    return parts


@dataclass(frozen=True, eq=False)
class _Goal:
    """How far parts are from their `shares` of the images of each class.

    `counts` are those of each unit, `(units, classes)`; `scarce` says which classes are first of all to be in every
    part.
    """

    counts: NDArray[np.float64]
    shares: NDArray[np.float64]
    scarce: NDArray[np.bool_]

    def cost(self, places: NDArray[np.int64]) -> tuple[float, float]:
        """How often a scarce class is not in a part, and the sum of squares, of units in these places."""
        every = np.arange(len(self.shares))
        lacking, squares = self._costs(self._amounts(places), every)
        return float(lacking.sum()), round(float(squares.sum()), 9)

    def _amounts(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.stack([self.counts[places == part].sum(0) for part in range(len(self.shares))])

    def _costs(self, amounts: NDArray[np.float64], parts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Both for each of several parts that have these amounts, `(2, parts)`."""
        targets = (self.shares[:, None] * self.counts.sum(0))[parts]
        return np.stack([((amounts == 0) & self.scarce).sum(1), ((amounts - targets) ** 2 / targets).sum(1)])

    def exchanged(self, start: NDArray[np.int64], order: Sequence[int]) -> NDArray[np.int64]:
        """The places once exchanging two units of different parts, or moving one, does not lower the cost any more."""
        every = np.arange(len(self.shares))
        # to be moved to a part is to be exchanged for an empty unit of it, which stays there
        offered = np.concatenate([self.counts, np.zeros((len(every), self.counts.shape[1]))])
        places = np.concatenate([start, every])
        has = self._amounts(start)
        improved = True
        while improved:
            improved = False
            for unit in order:
                part = places[unit]
                gained = offered - self.counts[unit]
                now = self._costs(has, every)
                here = self._costs(has[part] + gained, np.full(len(places), part))
                there = self._costs(has[places] - gained, places)
                lacking, squares = (here + there - now[:, places] - now[:, [part]]).round(9)
                lacking[places == part] = squares[places == part] = 0
                other = int(np.lexsort((squares, lacking))[0])
                if (lacking[other], squares[other]) >= (0, 0):
                    continue
                has[part] += gained[other]
                has[places[other]] -= gained[other]
                places[unit] = places[other]
                if other < len(start):
                    places[other] = part
                improved = True
        return places[: len(start)]


def _add(found: list[dict[int, int]], sizes: list[int], part: int, count: Counter[int], sign: int) -> None:
    for stratum, number in count.items():
        found[part][stratum] += sign * number
        sizes[part] += sign * number
