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
from torch import Tensor

from cnnatomy.data.coco import Annotated, padded, read_coco, renumbered
from cnnatomy.data.images import ImageShape, Pixels, Stored
from cnnatomy.data.sources import TEST, TRAIN, VAL, ImageSet
from cnnatomy.errors import UserError
from cnnatomy.tasks.objects import Objects

PREFIX, SUFFIX = "instances_", ".json"
SPLIT_OF = {"train": TRAIN, "val": VAL, "test": TEST}


@dataclass(frozen=True, eq=False)
class CocoSet(ImageSet):
    """Images whose targets are boxes: as `ImageSet`, with one class, and what `parts` say of each image, in order."""

    parts: tuple[Annotated, ...] = ()

    @property
    def outputs(self) -> None:
        """The heads of detection are of their own form."""
        return None

    def task(self, shape: ImageShape) -> Objects:
        """Objects of the classes that the annotations name."""
        return Objects(self.parts[0].classes, size=shape[1:])

    def targets(self, shape: ImageShape, stored: Mapping[int, Stored]) -> Tensor:
        """The boxes of every image as it is fitted into that shape, `(images, most, 5)`."""
        starts = accumulate(map(len, self.parts), initial=0)
        fitted = [part.fitted(shape, stored, start) for part, start in zip(self.parts, starts, strict=False)]
        return padded([boxes for part in fitted for boxes in part])

    def counts(self, targets: Tensor) -> dict[str, int]:
        """Objects of each class, crowds not among them."""
        labels, names = targets[..., 4], self.parts[0].classes
        return dict(zip(names, torch.bincount(labels[labels >= 0].long(), minlength=len(names)).tolist(), strict=True))

    def among(self, classes: Sequence[str]) -> Self:
        """The same with the numbers that its objects' classes have among others."""
        numbers = self.numbers(self.parts[0].classes, classes)
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

    def __call__(self, index: int, shape: ImageShape) -> tuple[Pixels, Stored]:
        part, number = self.places[index]
        return part.fetch(number, shape)


def is_coco(path: Path) -> bool:
    """Whether it is a file of annotations, or a folder that has some."""
    return path.suffix.lower() == SUFFIX or any((path / "annotations").glob(f"{PREFIX}*{SUFFIX}"))


def open_coco(path: Path) -> CocoSet:
    """Finds the images that annotations tell of.

    Raises:
        UserError: if the annotations are not as they should be, or do not tell of the same classes in all splits.
    """
    if path.is_file():
        images = path.parent / "images"
        found = {TRAIN: read_coco(path, images if images.is_dir() else path.parent)}
    else:
        found = {}
        for file in sorted((path / "annotations").glob(f"{PREFIX}*{SUFFIX}")):
            name = file.stem.removeprefix(PREFIX)
            split = next((number for start, number in SPLIT_OF.items() if name.startswith(start)), None)
            if split is not None and split not in found:
                found[split] = read_coco(file, path / name)
    if TRAIN not in found:
        raise UserError(f"{path}: no annotations/{PREFIX}train*{SUFFIX}")
    for part in found.values():
        if part.classes != found[TRAIN].classes:
            raise UserError(f"{part.source} tells of other categories than {found[TRAIN].source}")
    parts = tuple(found.values())
    paths = tuple(image for part in parts for image in part.paths)
    return CocoSet(
        source=str(path.resolve()),
        classes=("image",),
        labels=np.zeros(len(paths), np.int64),
        splits=np.concatenate([np.full(len(part), split, np.int8) for split, part in found.items()]),
        has=frozenset(found) if len(found) > 1 else frozenset({TRAIN}),
        fetch=FromAnnotated(tuple((part, number) for part in parts for number in range(len(part)))),
        names=tuple(map(str, paths)),
        files=True,
        skipped_annotations=tuple(
            (f"{name} of {Path(part.source).name}", reason) for part in parts for name, reason in part.skipped
        ),
        parts=parts,
    )
