"""Images that are the same, and what their being so means for splits and classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnatomy.data.duplicates import equal_groups
from cnnatomy.data.inspection.gathering import Gathered
from cnnatomy.data.inspection.learned import heads_of


@dataclass(frozen=True)
class Equal:
    """Images of equal pixels as they are fitted: their numbers; whether the data set has them in several splits, and
    whether there is something else to learn of one than of another."""

    images: tuple[int, ...]
    across: bool
    conflict: bool


def equal_images(data: Gathered) -> tuple[Equal, ...]:
    """Every group of equal images, in order."""
    maps = _maps(data)
    return tuple(
        Equal(
            tuple(group),
            across=len({int(data.given[index]) for index in group}) > 1,
            conflict=any(_differ(data, maps, group[0], other) for other in group[1:]),
        )
        for group in equal_groups(data.seen.digests)
    )


def _maps(data: Gathered) -> dict[int, bytes]:
    """The digest of the map of each image that has one; they are in the order of the images that are not broken."""
    usable = np.flatnonzero(data.seen.usable).tolist()
    return dict(zip(usable, data.seen.digests_of_maps, strict=False))


def _differ(data: Gathered, maps: dict[int, bytes], one: int, other: int) -> bool:
    if maps.get(one) != maps.get(other):
        return True
    targets = (values for *_, values in heads_of(data.task, data.targets))
    return any(not np.array_equal(each[one], each[other], equal_nan=True) for each in targets)
