"""Images with boxes as a data set: a file of COCO annotations, or a folder with one for each split.

`FOLDER/annotations/instances_train*.json` and `instances_val*.json` (`_test*` too, where it is there), with the images
in folders of the same name (`FOLDER/train2017/`), is how COCO itself lies; a single file has its images beside it, or
in a folder `images` there, and its splits are cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.image_set import SPLIT_NAMES, TRAIN, Fetched, ImageSet
from cnnatomy.data.images import ImageError, Stored, read_stored
from cnnatomy.data.sources.coco import Boxes, fit_boxes, padded, read_coco, renumbered, upright
from cnnatomy.data.truth import numbers_among
from cnnatomy.errors import UserError, printable
from cnnatomy.tasks.objects import Objects

PREFIX, SUFFIX = "instances_", ".json"


@dataclass(frozen=True, eq=False)
class AnnotatedObjects:
    """Boxes of objects of some classes, in pixels of images of these `sizes` (rows, columns); see `coco.Annotated`."""

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    boxes: tuple[Boxes, ...]
    has_maps = False
    outputs = None

    def __len__(self) -> int:
        return len(self.sizes)

    def task(self, shape: ImageShape) -> Objects:
        """Detection."""
        return Objects(self.names, size=shape[1:])

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """The boxes of every image as it is fitted, `(images, most, 5)`."""
        fitted = []
        for index, (boxes, size) in enumerate(zip(self.boxes, self.sizes, strict=True)):
            lies = stored.get(index, Stored(size))
            fitted.append(fit_boxes(upright(boxes, size, lies), lies.upright, frame))
        return padded(fitted)

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
        return replace(self, names=tuple(classes), boxes=tuple(renumbered(boxes, numbers) for boxes in self.boxes))


@dataclass(frozen=True)
class FromAnnotated:
    """Fetches images of files that have, upright or as they are stored, the size that annotations say of each."""

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]

    def __call__(self, index: int, frame: Frame) -> Fetched:
        pixels, stored = read_stored(self.paths[index], frame)
        if self.sizes[index] not in (stored.upright, stored.size):
            (rows, columns), (wanted_rows, wanted_columns) = stored.upright, self.sizes[index]
            raise ImageError(
                f"it has {columns} x {rows} pixels (width x height), its annotations are for"
                f" {wanted_columns} x {wanted_rows}"
            )
        return Fetched(pixels, stored)


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
    sizes = tuple(size for part in parts for size in part.sizes)
    return ImageSet(
        source=str(path.resolve()),
        truth=AnnotatedObjects(parts[0].classes, sizes, tuple(boxes for part in parts for boxes in part.boxes)),
        splits=np.repeat(np.array(list(found), np.int8), [len(part) for part in parts]),
        has=frozenset(found),
        fetch=FromAnnotated(paths, sizes),
        names=tuple(map(printable, paths)),
        files=True,
        skipped_annotations=tuple(
            (f"{what} of {Path(part.source).name}", reason) for part in parts for what, reason in part.skipped
        ),
    )
