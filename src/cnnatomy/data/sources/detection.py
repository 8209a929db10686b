"""Images with boxes as a data set: a file of COCO annotations, or a folder with one for each split.

`FOLDER/annotations/instances_train*.json` and `instances_val*.json` (`_test*` too, where it is there), with the images
in folders of the same name (`FOLDER/train2017/`), is how COCO itself lies; a single file has its images beside it, or
in a folder `images` there, and its splits are cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.image_set import SPLIT_NAMES, TRAIN, Fetched, ImageSet
from cnnatomy.data.images import Stored
from cnnatomy.data.sources.coco import Annotated, padded, read_coco, renumbered
from cnnatomy.data.truth import numbers_among
from cnnatomy.errors import UserError
from cnnatomy.tasks.objects import Objects

PREFIX, SUFFIX = "instances_", ".json"


@dataclass(frozen=True, eq=False)
class AnnotatedObjects:
    """Boxes of objects, which `parts` say of each image, one part after another."""

    parts: tuple[Annotated, ...]
    has_maps = False
    outputs = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes that the annotations tell apart."""
        return self.parts[0].classes

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def task(self, shape: ImageShape) -> Objects:
        """Detection."""
        return Objects(self.names, size=shape[1:])

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """The boxes of every image as it is fitted, `(images, most, 5)`."""
        starts = accumulate(map(len, self.parts), initial=0)
        fitted = [part.fitted(frame, stored, start) for part, start in zip(self.parts, starts, strict=False)]
        return padded([boxes for part in fitted for boxes in part])

    def strata(self) -> NDArray[np.int64]:
        """All of one class: nothing is to be balanced."""
        return np.zeros(len(self), np.int64)

    def counts(self, targets: Tensor) -> Tensor:
        """Objects of each class, crowds not among them."""
        labels = targets[..., 4]
        return torch.bincount(labels[labels >= 0].long(), minlength=len(self.names))

    def among(self, classes: Sequence[str], source: str) -> Self:
        """The same with the numbers that its objects' classes have among others."""
        numbers = numbers_among(self.names, classes, source)
        return replace(
            self,
            parts=tuple(
                replace(part, classes=tuple(classes), boxes=tuple(renumbered(boxes, numbers) for boxes in part.boxes))
                for part in self.parts
            ),
        )


@dataclass(frozen=True)
class FromAnnotated:
    """Fetches the images of several files of annotations, one after another."""

    places: tuple[tuple[Annotated, int], ...]

    def __call__(self, index: int, frame: Frame) -> Fetched:
        part, number = self.places[index]
        return part.fetch(number, frame)


def recognises(name: str) -> bool:
    """Whether it is a file of annotations, or a folder that has some."""
    path = Path(name)
    if path.is_dir():
        return any((path / "annotations").glob(f"{PREFIX}*{SUFFIX}"))
    return path.suffix.lower() == SUFFIX and path.exists()


def read(name: str) -> ImageSet:
    """Finds the images that annotations tell of.

    Raises:
        UserError: if the annotations are not as they should be, or do not tell of the same classes in all splits.
    """
    path = Path(name)
    if not path.is_dir():
        images = path.parent / "images"
        found = {TRAIN: read_coco(path, images if images.is_dir() else path.parent)}
    else:
        found = {}
        for file in sorted((path / "annotations").glob(f"{PREFIX}*{SUFFIX}")):
            part_name = file.stem.removeprefix(PREFIX)
            split = next((number for start, number in SPLIT_NAMES.items() if part_name.lower().startswith(start)), None)
            if split is not None and split not in found:
                found[split] = read_coco(file, path / part_name)
    if TRAIN not in found:
        raise UserError(f"{path}: no annotations/{PREFIX}train*{SUFFIX}")
    for part in found.values():
        if part.classes != found[TRAIN].classes:
            raise UserError(f"{part.source} tells of other categories than {found[TRAIN].source}")
    parts = tuple(found.values())
    paths = tuple(image for part in parts for image in part.paths)
    return ImageSet(
        source=str(path.resolve()),
        truth=AnnotatedObjects(parts),
        splits=np.concatenate([np.full(len(part), split, np.int8) for split, part in found.items()]),
        has=frozenset(found) if len(found) > 1 else frozenset({TRAIN}),
        fetch=FromAnnotated(tuple((part, number) for part in parts for number in range(len(part)))),
        names=tuple(map(str, paths)),
        files=True,
        skipped_annotations=tuple(
            (f"{what} of {Path(part.source).name}", reason) for part in parts for what, reason in part.skipped
        ),
    )
