"""Training, validation and test split, and folds: stratified, seeded, and nothing that belongs together in two of them.

What belongs together is a unit, which is drawn whole: equal images, near duplicates, and the images of one group (the
same person, object or film), and whatever these connect. Units of one image and its equals are drawn for each class by
itself, in an order that the seed gives, until its share is reached. Larger units come before, since they are harder to
place: see `cnnatomy.data.units`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.image_set import LEFT_OUT, SPLITS, TEST, TRAIN, VAL
from cnnatomy.data.leaks import NAMED
from cnnatomy.data.units import Unit, place, units_of
from cnnatomy.errors import UserError, quoted, some_of

FRACTION = {TEST: 0.2, VAL: 0.1}
"""What is cut off the training images of each class where the data set does not bring that split along."""

GroupNames = Sequence[str | None]
"""The group of each image; None is a group of its own."""
NearPairs = NDArray[np.int64]
"""Indices of near duplicates, `(pairs, 2)`."""


@dataclass(frozen=True, eq=False)
class Divisible:
    """Images that are to be divided, and what is known of each.

    Attributes:
        strata: the number of the class of each, of which each split gets its share.
        digests: of the pixels of each; an empty one marks a broken image, which is left out.
        given: where the data set itself puts each: TRAIN, VAL or TEST.
        groups: the group of each; None where nothing is grouped.
        near: near duplicates among them.
        every: whether each class has to be in every split.
        names: of the classes, for messages.
    """

    strata: NDArray[np.int64]
    digests: Sequence[bytes]
    given: NDArray[np.int8]
    groups: GroupNames | None = None
    near: NearPairs = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    every: bool = True
    names: Sequence[str] = ()

    def units(self, pool: list[int]) -> list[Unit]:
        """What must not be divided of the images in `pool`."""
        return units_of(pool, self.strata, self.digests, self.groups, self.near)

    def called(self, stratum: int) -> str:
        """A class in messages."""
        return f"class {self.names[stratum]}" if stratum < len(self.names) else "the data set"


def split_images(images: Divisible, has: Collection[int], seed: int) -> NDArray[np.int8]:
    """TRAIN, VAL, TEST or LEFT_OUT for each image; `has` are the splits that the data set brings along.

    Images with the same digest go to the same split, and so do those of a group, and near duplicates. Where the data
    set's own splits share an image, it stays in test before validation before training, and is left out of the others;
    groups and near duplicates stay where the data set puts them (see `cnnatomy.data.leaks`).
    Raises `UserError` where a class that has to be in every split has too few units.
    """
    splits, digests = images.given.copy(), images.digests
    splits[[index for index, digest in enumerate(digests) if not digest]] = LEFT_OUT
    kept: set[bytes] = set()
    for split in (TEST, VAL, TRAIN):
        members = np.flatnonzero(splits == split).tolist()
        splits[[index for index in members if digests[index] in kept]] = LEFT_OUT
        kept |= {digests[index] for index in members}
    parts = [*(split for split in (TEST, VAL) if split not in has), TRAIN]
    units = images.units(np.flatnonzero(splits == TRAIN).tolist())
    _check(images, units, [TRAIN], len(parts), f"one each for {', '.join(SPLITS[split] for split in reversed(parts))}")
    shares = [FRACTION[split] for split in parts[:-1]]
    _cut(splits, images, units, parts, [*shares, 1 - sum(shares)], _whole(shares), seed)
    return splits


def fold_images(images: Divisible, folds: int, fold: int, seed: int) -> NDArray[np.int8]:
    """The same where `fold`, from 1 to `folds`, is the test split, 10 % of the others validation and the rest training.

    Each image is in the test split of one fold. What the data set brings along as test split stays out of all of them
    (LEFT_OUT), to be used once, when everything is chosen; its training and validation images are divided.
    Raises `UserError` where a class has too few units.
    """
    divided = [TRAIN, VAL]
    pool = np.flatnonzero(np.isin(images.given, divided)).tolist()
    units = images.units([index for index in pool if images.digests[index]])
    # where one fold is the test split, the others have one each for training and validation
    _check(images, units, divided, max(3, folds + 2 * (folds == 2)), f"for {folds} folds")
    parts = np.full(len(images.given), LEFT_OUT, np.int64)
    _cut(parts, images, units, range(folds), [1 / folds] * folds, _even(folds), seed)
    splits = np.full(len(images.given), LEFT_OUT, np.int8)
    splits[parts >= 0] = TRAIN
    splits[parts == fold - 1] = TEST
    rest = [unit for unit in units if parts[unit.members[0]] != fold - 1]
    share = FRACTION[VAL]
    _cut(splits, images, rest, [VAL, TRAIN], [share, 1 - share], _whole([share]), seed + fold)
    return splits


def _cut(
    splits: NDArray[np.int8] | NDArray[np.int64],
    images: Divisible,
    units: list[Unit],
    parts: Sequence[int],
    shares: Sequence[float],
    wanted: Callable[[int], list[int]],
    seed: int,
) -> None:
    """Writes into `splits` which part each unit belongs to.

    `wanted` says of a number of images of one class how many each part should have, but for the last, which has the
    rest. `shares` says the same of units too large to be counted so.
    """
    if len(parts) == 1:
        return
    strata = sorted({stratum for unit in units for stratum in unit.strata})
    small: dict[int, list[Unit]] = {stratum: [] for stratum in strata}
    for unit in units:
        if unit.single:
            small[unit.strata[0]].append(unit)
    scarce = {stratum for stratum in strata if len(small[stratum]) < len(parts)} if images.every else set()
    large = [unit for unit in units if not unit.single]
    has = {stratum: [0] * len(parts) for stratum in strata}
    for unit, part in zip(large, place(large, shares, scarce, seed), strict=True):
        splits[unit.members] = parts[part]
        for stratum in unit.strata:
            has[stratum][part] += 1
    generator = np.random.default_rng(seed)
    for stratum in strata:
        order = [small[stratum][position] for position in generator.permutation(len(small[stratum]))]
        _fill(splits, order, parts, has[stratum], wanted)
        if images.every and not all(has[stratum]):
            raise UserError(
                f"{images.called(stratum)} does not get into every split: its groups have other classes too, and"
                " too large a share of them. Another seed may divide them, else smaller groups"
            )


def _fill(
    splits: NDArray[np.int8] | NDArray[np.int64],
    order: list[Unit],
    parts: Sequence[int],
    has: list[int],
    wanted: Callable[[int], list[int]],
) -> None:
    """Deals the small units of one class to the parts, which have so many images of it; none is to be without."""
    total = sum(has) + sum(len(unit.members) for unit in order)
    for part, target in enumerate(wanted(total)):
        while has[part] < target and len(order) > has[part + 1 :].count(0):
            unit = order.pop()
            splits[unit.members] = parts[part]
            has[part] += len(unit.members)
    for unit in order:
        splits[unit.members] = parts[-1]
        has[-1] += len(unit.members)


def _whole(shares: Sequence[float]) -> Callable[[int], list[int]]:
    return lambda total: [max(1, round(share * total)) for share in shares]


def _even(folds: int) -> Callable[[int], list[int]]:
    """Equal numbers; what is left over goes to other folds in each class, so that these stay equal too."""
    before = 0

    def wanted(total: int) -> list[int]:
        nonlocal before
        extra = {(before + number) % folds for number in range(total % folds)}
        before += total
        return [total // folds + (part in extra) for part in range(folds - 1)]

    return wanted


def _check(images: Divisible, units: list[Unit], divided: list[int], needed: int, why: str) -> None:
    """Raises `UserError` where a class of the splits that are `divided` is in fewer units than are needed."""
    if not images.every:
        return
    present = sorted(set(images.strata[np.isin(images.given, divided)].tolist()))
    own: dict[int, list[Unit]] = {stratum: [] for stratum in present}
    for unit in units:
        for stratum in set(unit.strata):
            own[stratum].append(unit)
    for stratum in present:
        count = len(own[stratum])
        if count >= needed:
            continue
        differing = sum(unit.differing(stratum) for unit in own[stratum])
        found, wanted, remedy = f"{images.called(stratum)} has ", f"{needed} groups", ""
        if differing <= count:
            found += f"{count or 'no'} usable image" + "s that differ" * (count > 1)
            wanted = f"{needed}"
        elif images.groups is None:
            found += (
                f"{differing:,} images, but in only {count} group{'s' * (count > 1)} (near duplicates are one group)"
            )
        else:
            names = [_groups(unit, stratum, images.groups) for unit in own[stratum]]
            listed = some_of(names, NAMED) if count > NAMED else " and ".join([", ".join(names[:-1]), names[-1]])
            placed = f"all of them in the group {names[0]}" if count == 1 else f"but in only {count} groups, {listed}"
            found += f"{differing:,} images, {placed}"
            remedy = ". Choose another --group"
        raise UserError(f"{found}; {wanted} are needed at least, {why}{remedy}")


def _groups(unit: Unit, stratum: int, groups: GroupNames) -> str:
    """The groups that the images of a class in a unit are of."""
    found = {groups[index] for index, own in zip(unit.members, unit.strata, strict=True) if own == stratum}
    names = sorted(quoted(name) for name in found if name is not None)
    return " with ".join([*names[:NAMED], *["..."] * (len(names) > NAMED)]) or "an image of no group"
