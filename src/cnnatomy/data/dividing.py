"""Which split each image of a data set goes to, and what lies in several splits although it belongs together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.duplicates import near_duplicates
from cnnatomy.data.image_set import LEFT_OUT, SPLITS, TEST, ImageSet
from cnnatomy.data.leaks import Grouping, Overlap, groups_across, groups_of, near_across
from cnnatomy.data.loading import Loading
from cnnatomy.data.splits import Divisible, NearPairs, fold_images, split_images
from cnnatomy.data.survey import Survey
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_IMAGES_COMPARED

FEW = 20_000
"""Images that are compared with one another in a second or two."""


@dataclass(frozen=True, eq=False)
class Divided:
    """The split of each image (TRAIN, VAL, TEST or LEFT_OUT), and what is to be told of that.

    Attributes:
        near: pairs of near duplicates, `(pairs, 2)`.
        near_duplicates: how many of them are in one split.
        grouping: by what is asked for; None where nothing is, or where it makes no sense.
        unused: images of the data set's own test split, which no fold uses.
        overlaps: what lies in different splits of the data set's own.
    """

    splits: NDArray[np.int8]
    near: NearPairs
    grouping: Grouping | None = None
    near_duplicates: int = 0
    unused: int = 0
    overlaps: tuple[Overlap, ...] = ()


def divide(image_set: ImageSet, seen: Survey, loading: Loading, grouping: Grouping | None, near: NearPairs) -> Divided:
    """Draws the splits that a data set does not bring along; see `splits`.

    What belongs together is what `grouping_of` and `near_pairs` find.

    Raises:
        UserError: where a class has too few images, or a split has none.
    """
    groups = grouping.names if grouping is not None else None
    truth, kept = image_set.truth, near if keeps_near(image_set, loading) else near[:0]
    every = isinstance(truth, Classes)
    images = Divisible(truth.strata(), seen.digests, image_set.splits, groups, kept, every, truth.names)
    try:
        splits = _cut(images, image_set.has, loading)
    except UserError:
        if not len(kept):
            raise
        # what resembles itself as a whole is told, not kept
        splits = _cut(replace(images, near=near[:0]), image_set.has, loading)
    across = near_across(near, image_set.names, splits)
    together = (splits[near] != LEFT_OUT).all(1).sum() - (across.count if across else 0)
    found = [across, groups_across(groups, splits) if groups is not None else None]
    return Divided(
        splits,
        near,
        grouping,
        near_duplicates=int(together),
        unused=int(((image_set.splits == TEST) & seen.usable).sum()) if loading.folds else 0,
        overlaps=tuple(one for one in found if one is not None),
    )


def _cut(images: Divisible, has: Collection[int], loading: Loading) -> NDArray[np.int8]:
    """The split of each image; raises `UserError` where a class has too few images, or a split has none."""
    if loading.folds:
        splits = fold_images(images, loading.folds, loading.fold, loading.split_seed)
    else:
        splits = split_images(images, has, loading.split_seed)
    for split, name in enumerate(SPLITS):
        if not (splits == split).any():
            raise UserError(f"no usable image is left in {name}")
    return splits


def looks_for_near(image_set: ImageSet, loading: Loading) -> bool:
    """Whether `load` looks for near duplicates: to keep them together, and in few images to tell of them, too."""
    return keeps_near(image_set, loading) or (loading.near and len(image_set) <= FEW)


def keeps_near(image_set: ImageSet, loading: Loading) -> bool:
    """Whether near duplicates stay together: where a test split is drawn. Those across given splits are only told."""
    return loading.near and (bool(loading.folds) or TEST not in image_set.has)


def near_pairs(seen: Survey, loading: Loading) -> NearPairs:
    """Pairs of near duplicates, `(pairs, 2)`, without equal images; none where they would take too long."""
    if not loading.near or not 0 < len(seen.thumbnails) <= MAX_IMAGES_COMPARED:
        return np.zeros((0, 2), np.int64)
    pairs = near_duplicates(seen.thumbnails)
    same = [seen.digests[one] == seen.digests[other] for one, other in pairs.tolist()]
    return pairs[~np.array(same, np.bool_)]


def grouping_of(image_set: ImageSet, group: str) -> Grouping | None:
    """The group of each image: what a column of the data says, or a pattern finds in the names; None without either.

    Raises:
        UserError: where the groups make no sense.
    """
    if not group:
        return None
    if group in image_set.columns:
        return Grouping(tuple(value or None for value in image_set.columns[group]))
    try:
        return groups_of(image_set.names, group)
    except UserError as error:
        if not image_set.columns:
            raise
        raise UserError(f"{error}. The data have the columns {', '.join(image_set.columns)}") from None
