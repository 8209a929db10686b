"""What a data set is before an image is decoded: `Images`, and the readers that find them.

`digits` comes with scikit-learn; a folder of IDX files is what MNIST and Fashion-MNIST ship; a folder of class folders
holds one folder of images a class, with or without `train`, `val` and `test` above them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnatomy.data.images import ImageShape, Pixels, Stored, check_image_shape, fit_image, read_stored
from cnnatomy.errors import UserError
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.task import Task

TRAIN, VAL, TEST, LEFT_OUT = 0, 1, 2, -1
SPLITS = ("train", "val", "test")

FASHION_MNIST = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Xiao, Rasul and Vollgraf 2017, table 2: the IDX files hold numbers only."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, not yet decoded.

    `fetch(index, shape)` gives one as `(channels, rows, columns)` uint8 and how it is stored, or raises `ImageError`;
    `splits` says where the data set itself puts each (TRAIN, VAL, TEST), and `has` which of the three it brings along:
    the others are cut off TRAIN. `skipped_annotations` are what is not used of its labels, each with the reason.
    """

    source: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    has: frozenset[int]
    fetch: Callable[[int, ImageShape], tuple[Pixels, Stored]]
    names: tuple[str, ...]
    files: bool = False
    ignored: int = 0
    skipped_annotations: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def task(self, shape: ImageShape) -> Task:
        """What there is to learn of images of this shape: one label."""
        return Label(self.classes)

    def check(self, shape: ImageShape) -> None:
        """Raises `UserError` where images cannot be given that shape."""
        check_image_shape(shape)

    def targets(self, shape: ImageShape, stored: Mapping[int, Stored]) -> Tensor:
        """What there is to learn of each image in that shape; `stored` says how those that could be read are stored."""
        return torch.from_numpy(self.labels)

    def counts(self, targets: Tensor) -> dict[str, int]:
        """How many of some targets there are of each class."""
        return dict(zip(self.classes, torch.bincount(targets, minlength=len(self.classes)).tolist(), strict=True))

    def among(self, classes: Sequence[str]) -> Self:
        """The same with the numbers that its classes have among others; raises `UserError` for one that is not."""
        return replace(self, classes=tuple(classes), labels=self.numbers(self.classes, classes)[self.labels])

    def numbers(self, own: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
        """The number of each of its own classes among `classes`; raises `UserError` for one that is not there."""
        unknown = [name for name in own if name not in classes]
        if unknown:
            raise UserError(f"{self.source} has classes that the network does not know: {', '.join(unknown[:5])}")
        return np.array([classes.index(name) for name in own], np.int64)

    @property
    def outputs(self) -> int | None:
        """How many numbers a network gives for an image."""
        return len(self.classes)


@dataclass(frozen=True)
class FromArray:
    """Fetches from grey images in memory, `(images, rows, columns)` uint8."""

    images: Pixels

    def __call__(self, index: int, shape: ImageShape) -> tuple[Pixels, Stored]:
        rows, columns = self.images[index].shape
        return fit_image(Image.fromarray(self.images[index]), shape), Stored((rows, columns))


@dataclass(frozen=True)
class FromFiles:
    """Fetches by decoding image files."""

    paths: tuple[Path, ...]

    def __call__(self, index: int, shape: ImageShape) -> tuple[Pixels, Stored]:
        return read_stored(self.paths[index], shape)


def digits() -> ImageSet:
    """The 1,797 handwritten digits of 8 x 8 pixels and 17 grey levels in scikit-learn (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    count = len(images)
    return ImageSet(
        source="digits",
        classes=tuple(str(digit) for digit in range(10)),
        labels=bunch.target.astype(np.int64),
        splits=np.full(count, TRAIN, np.int8),
        has=frozenset({TRAIN}),
        fetch=FromArray(images),
        names=tuple(f"digit {index}" for index in range(count)),
    )
