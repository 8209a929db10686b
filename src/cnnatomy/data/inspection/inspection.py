"""`inspect`: what a data set is made of, and what is wrong with it, as one value."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.dataset import Moments, moments
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import LEFT_OUT, SPLITS, TRAIN
from cnnatomy.data.inspection.equal import Equal, equal_images
from cnnatomy.data.inspection.gathering import Gathered
from cnnatomy.data.inspection.learned import NameFigures, ToLearn, to_learn
from cnnatomy.data.inspection.near import Near, near_images
from cnnatomy.data.inspection.subjects import Subjects, subjects
from cnnatomy.data.sources.manifest import LABEL, LABELS, MASK, SPLIT

FEW = 20
"""Images of a class below which hardly anything can be said of it: of 20 a fifth is four test images, each of which is
25 % of what is measured."""
RARE = 10
"""A class that has so many times fewer training images than the most frequent is rare."""
TOLD = (LABEL, LABELS, MASK, SPLIT)
"""Columns that are no groups: what is learned of an image, and its split."""
FLAT = 1.0
"""Grey levels of 255: the standard deviation of an image below which there is nothing to see."""


@dataclass(frozen=True)
class StoredSizes:
    """How images are stored: (rows, columns) upright, by their area; how many sizes; turned by EXIF; in colour.

    `grey_in_colour` are those stored in colour that have none, as far as one sees in the frame.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int
    turned: int
    colour: int
    grey: int
    grey_in_colour: int


@dataclass(frozen=True)
class GroupColumn:
    """A column by which groups can be made: how many values it has, and how many images the largest group."""

    name: str
    values: int
    largest: int


@dataclass(frozen=True)
class Groups:
    """What --group finds: how many groups of images that share a name, the largest with how many images, and images
    that are `without` one, each a group of its own."""

    groups: int
    largest: str
    images: int
    without: int


@dataclass(frozen=True, eq=False)
class Inspection:
    """What `cnnatomy data` tells of a data set; see the attributes of `Gathered`, from which it is made.

    Attributes:
        counts: images by split, `left_out` those in none that are not broken.
        broken: name of the file and the reason.
        few, rare: of `to_learn`, what is there, but fewer than `FEW` times; ten times less than the most frequent.
        flat: images without contrast, by number.
        moments: mean and standard deviation of the training split, and `by_class` of one label's classes.
        columns: by which groups could be made; `groups` those that are asked for.
        subjects: several images of one thing, where their names and their looks both say so.
    """

    gathered: Gathered
    counts: dict[str, int]
    left_out: int
    broken: tuple[tuple[str, str], ...]
    to_learn: tuple[ToLearn, ...]
    sizes: StoredSizes | None
    equal: tuple[Equal, ...]
    near: tuple[Near, ...]
    few: tuple[NameFigures, ...]
    rare: tuple[NameFigures, ...]
    flat: tuple[int, ...]
    moments: Moments | None
    by_class: dict[str, Moments]
    columns: tuple[GroupColumn, ...]
    groups: Groups | None
    subjects: Subjects | None


def inspect(data: Gathered) -> Inspection:
    """Looks at everything that was gathered."""
    seen, splits = data.seen, data.splits
    targets = to_learn(data.task, data.targets, splits, seen.areas)
    counted = [each for each in targets if each.counted in ("images", "objects") and each.kind != "map"]
    return Inspection(
        gathered=data,
        counts={name: int((splits == place).sum()) for place, name in enumerate(SPLITS)},
        left_out=int((splits == LEFT_OUT).sum()) - len(seen.broken),
        broken=tuple((str(data.names[index]), reason) for index, reason in sorted(seen.broken.items())),
        to_learn=targets,
        sizes=_sizes(data),
        equal=equal_images(data),
        near=near_images(data),
        few=tuple(row for each in counted for row in each.rows if 0 < row.total < FEW),
        rare=tuple(row for each in counted for row in _rare(each)),
        flat=_flat(data),
        moments=_moments(data, splits == TRAIN),
        by_class=_by_class(data),
        columns=_columns(data),
        groups=_groups(data),
        subjects=None if data.drawn else subjects(data),
    )


def _rare(target: ToLearn) -> list[NameFigures]:
    """Rows that training sees at most a tenth as often as the most frequent one, but sees."""
    train = SPLITS[TRAIN]
    most = max((row.counts[train] for row in target.rows), default=0)
    return [row for row in target.rows if 0 < row.counts[train] * RARE <= most]


def _sizes(data: Gathered) -> StoredSizes | None:
    stored = list(data.seen.stored.values())
    if not stored:
        return None
    ordered = sorted((each.upright for each in stored), key=lambda size: (math.prod(size), size))
    return StoredSizes(
        smallest=ordered[0],
        median=ordered[len(ordered) // 2],
        largest=ordered[-1],
        distinct=len(set(ordered)),
        turned=sum(each.orientation > 1 for each in stored),
        colour=(colour := sum(each.colour for each in stored)),
        grey=len(stored) - colour,
        grey_in_colour=_grey_in_colour(data),
    )


def _grey_in_colour(data: Gathered) -> int:
    sums, squares = data.seen.sums, data.seen.squares
    if sums.shape[1] != 3:
        return 0
    equal = (np.ptp(sums, 1) == 0) & (np.ptp(squares, 1) == 0)
    return int(sum(equal[index] for index, stored in data.seen.stored.items() if stored.colour))


def _flat(data: Gathered) -> tuple[int, ...]:
    """Those whose standard deviation is below `FLAT` in every channel; of what is theirs, and not of the margin."""
    frame = Frame((1, *data.shape[1:]), data.loading.fit)  # a place is that of all channels, of which scenes may have 2
    area = cache(lambda size: math.prod(frame.placement(size).size))
    inside = np.ones((len(data.names), 1))
    for index, stored in data.seen.stored.items():
        inside[index] = area(stored.upright)
    variance = data.seen.squares / inside - (data.seen.sums / inside) ** 2
    return tuple(np.flatnonzero((variance < FLAT**2).all(1) & data.seen.usable).tolist())


def _moments(data: Gathered, chosen: NDArray[np.bool_]) -> Moments | None:
    chosen = chosen & data.seen.usable
    return moments(data.seen, chosen, data.shape) if chosen.any() else None


def _by_class(data: Gathered) -> dict[str, Moments]:
    """Of the training images of each class of one label."""
    labels = data.labels
    if labels is None:
        return {}
    found = {
        name: _moments(data, (labels == number) & (data.splits == TRAIN)) for number, name in enumerate(data.task.names)
    }
    return {name: values for name, values in found.items() if values is not None}


def _columns(data: Gathered) -> tuple[GroupColumn, ...]:
    """Columns of which some images share a value, and not all do; but for those that say what there is to learn, and
    that by which groups are made already."""
    found = []
    for name, values in (data.columns or {}).items():
        if name in (*TOLD, data.loading.group) or name in data.task.names:
            continue
        counts = Counter(values)
        if 1 < len(counts) < len(values):
            found.append(GroupColumn(name, len(counts), max(counts.values())))
    return tuple(found)


def _groups(data: Gathered) -> Groups | None:
    grouping = data.divided.grouping
    if grouping is None:
        return None
    counts = Counter(name for name in grouping.names if name is not None)
    (largest, images), *_ = counts.most_common(1) or [("", 0)]
    return Groups(len(counts), largest, images, grouping.alone)
