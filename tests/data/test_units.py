"""Where units that are too large to be counted are placed, against every way to place them."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnatomy.data.units import Unit, place

SHARES = (0.2, 0.1, 0.7)


def units(counts: NDArray[np.int64]) -> list[Unit]:
    """A unit for each row, of so many images of each class."""
    return [
        Unit(list(range(sum(row))), [stratum for stratum, number in enumerate(row) for _ in range(number)], [])
        for row in counts.tolist()
    ]


def costs(counts: NDArray[np.int64], placed: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many parts lack a class, a million each, and the sum of squares; of `placed`, `(ways, units)`."""
    has = (placed[:, :, None] == np.arange(len(SHARES))).transpose(0, 2, 1).astype(int) @ counts
    targets = np.outer(SHARES, counts.sum(0))
    return ((has - targets) ** 2 / targets).sum((1, 2)) + 1e6 * (has == 0).sum((1, 2))


@pytest.mark.parametrize("count", [6, 8])
def test_few_groups_are_placed_nearly_as_well_as_they_can_be(count: int) -> None:
    generator = np.random.default_rng(count)
    every = np.array(list(itertools.product(range(3), repeat=count)))
    near = []
    for seed in range(20):
        counts = generator.integers(1, 40, (count, 2))
        found = place(units(counts), SHARES, {0, 1}, seed)
        assert found == place(units(counts), SHARES, {0, 1}, seed)
        near.append(costs(counts, np.array([found]))[0] <= 1.1 * costs(counts, every).min())
    assert np.mean(near) >= 0.95


def test_exchanging_takes_no_time() -> None:
    many = units(np.random.default_rng(0).integers(0, 5, (200, 20)) + 1)
    start = time.process_time()
    place(many, SHARES, set(), 0)
    assert time.process_time() - start < 2
