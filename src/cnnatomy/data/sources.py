"""What a data set is before an image is decoded: `Images`, and the readers that find them.

`digits` comes with scikit-learn; a folder of IDX files is what MNIST and Fashion-MNIST ship; a folder of class folders
holds one folder of images a class, with or without `train`, `val` and `test` above them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnatomy.data.images import ImageShape, Pixels, check_image_shape, fit_image, read_image
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

    `fetch(index, shape)` gives one as `(channels, rows, columns)` uint8, or raises `ImageError`; `splits` says where
    the data set itself puts each (TRAIN, VAL, TEST), and `has` which of the three it brings along: the others are cut
    off TRAIN.
    """

    source: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    has: frozenset[int]
    fetch: Callable[[int, ImageShape], Pixels]
    names: tuple[str, ...]
    files: bool = False
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def task(self, shape: ImageShape) -> Task:
        """What there is to learn of images of this shape: one label."""
        return Label(self.classes)

    def check(self, shape: ImageShape) -> None:
        """Raises `UserError` where images cannot be given that shape."""
        check_image_shape(shape)

    def targets(self, shape: ImageShape) -> Tensor:
        """What there is to learn of each image."""
        return torch.from_numpy(self.labels)

    @property
    def outputs(self) -> int | None:
        """How many numbers a network gives for an image."""
        return len(self.classes)


@dataclass(frozen=True)
class FromArray:
    """Fetches from grey images in memory, `(images, rows, columns)` uint8."""

    images: Pixels

    def __call__(self, index: int, shape: ImageShape) -> Pixels:
        return fit_image(Image.fromarray(self.images[index]), shape)


@dataclass(frozen=True)
class FromFiles:
    """Fetches by decoding image files."""

    paths: tuple[Path, ...]

    def __call__(self, index: int, shape: ImageShape) -> Pixels:
        return read_image(self.paths[index], shape)


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
