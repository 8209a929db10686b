"""Training, validation and test split: stratified, seeded, and never the same image in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.image_set import LEFT_OUT, SPLITS, TEST, TRAIN, VAL
from cnnatomy.errors import UserError

FRACTION = {TEST: 0.2, VAL: 0.1}
"""What is cut off the training images of each class where the data set does not bring that split along."""


def split_images(
    labels: NDArray[np.int64],
    digests: Sequence[bytes],
    given: NDArray[np.int8],
    has: frozenset[int],
    classes: Sequence[str],
    seed: int,
) -> NDArray[np.int8]:
    """TRAIN, VAL, TEST or LEFT_OUT for each image.

    Images with the same digest go to the same split. Where the data set's own splits share an image, it stays in
    test before validation before training, and is left out of the others. An empty digest marks a broken
    image: left out.
    Raises `UserError` where a class has too few different images.
    """
    splits = given.copy()
    splits[[index for index, digest in enumerate(digests) if not digest]] = LEFT_OUT
    kept: set[bytes] = set()
    for split in (TEST, VAL, TRAIN):
        members = np.flatnonzero(splits == split).tolist()
        splits[[index for index in members if digests[index] in kept]] = LEFT_OUT
        kept |= {digests[index] for index in members}
    wanted = [split for split in (TEST, VAL) if split not in has]
    generator = np.random.default_rng(seed)
    for label, groups in enumerate(_groups(labels, digests, splits, len(classes))):
        _check(groups, classes[label], wanted)
        order = [groups[position] for position in generator.permutation(len(groups))]
        total = sum(map(len, order))
        for position, split in enumerate(wanted):
            target = max(1, round(FRACTION[split] * total))
            needed = len(wanted) - position  # groups that the splits after this one need at least
            taken = 0
            while taken < target and len(order) > needed:
                group = order.pop()
                splits[group] = split
                taken += len(group)
    return splits


def _groups(
    labels: NDArray[np.int64], digests: Sequence[bytes], splits: NDArray[np.int8], classes: int
) -> list[list[list[int]]]:
    """For each class the training images, equal ones together; an image under two classes counts for the first."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index in np.flatnonzero(splits == TRAIN).tolist():
        groups[digests[index]].append(index)
    by_class: list[list[list[int]]] = [[] for _ in range(classes)]
    for group in groups.values():
        by_class[labels[group[0]]].append(group)
    return by_class


def _check(groups: list[list[int]], name: str, wanted: list[int]) -> None:
    if len(groups) > len(wanted):
        return
    needed = ", ".join(["train", *(SPLITS[split] for split in reversed(wanted))])
    raise UserError(
        f"class {name} has {len(groups)} usable image{'s' * (len(groups) != 1)} that differ; "
        f"{len(wanted) + 1} are needed at least, one each for {needed}"
    )
