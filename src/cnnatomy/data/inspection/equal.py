"""Images that are the same, and what their being so means for splits and classes."""

from __future__ import annotations

from dataclasses import dataclass

from cnnatomy.data.dataset import differ
from cnnatomy.data.duplicates import equal_groups
from cnnatomy.data.inspection.gathering import Gathered


@dataclass(frozen=True)
class Equal:
    """Images of equal pixels as they are fitted: their numbers; whether the data set has them in several splits, and
    whether there is something else to learn of one than of another."""

    images: tuple[int, ...]
    across: bool
    conflict: bool


def equal_images(data: Gathered) -> tuple[Equal, ...]:
    """Every group of equal images, in order."""
    return tuple(
        Equal(
            tuple(group),
            across=len({int(data.given[index]) for index in group}) > 1,
            conflict=any(differ(data.seen, data.targets, group[0], other) for other in group[1:]),
        )
        for group in equal_groups(data.seen.digests)
    )
