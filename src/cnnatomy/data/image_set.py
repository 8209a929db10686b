"""What a data set is before an image is decoded: `ImageSet`, and what fetches its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.frames import Frame, ImageShape, Pixels
from cnnatomy.data.images import Coding, Stored, class_numbers, read_map, read_stored
from cnnatomy.data.loading import SPLITS as SPLITS
from cnnatomy.data.truth import KnownNumbers, Truth
from cnnatomy.tasks.task import Task

TRAIN, VAL, TEST, LEFT_OUT = 0, 1, 2, -1
SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
"""What files, folders and columns call them, in lower case."""


def split_called(name: object) -> int | None:
    """The split that goes by this name; None where it is another, or no text."""
    return SPLIT_NAMES.get(name.strip().lower()) if isinstance(name, str) else None


class Fetched(NamedTuple):
    """One image in its frame, `(channels, rows, columns)` uint8, how it is stored, and its map of classes, if any."""

    pixels: Pixels
    stored: Stored
    map: Pixels | None = None


def read_fetched(
    image: Path | bytes, frame: Frame, mask: Path | bytes | None = None, coding: Coding = class_numbers
) -> Fetched:
    """An image, and its mask where there is one, of files or their contents; raises `ImageError` as `read_map` does."""
    pixels, stored = read_stored(image, frame)
    return Fetched(pixels, stored, None if mask is None else read_map(mask, stored, frame, coding))


class Fetch(Protocol):
    """Gives the image of this number, or raises `ImageError`."""

    def __call__(self, index: int, frame: Frame) -> Fetched: ...


Decode: TypeAlias = Callable[[Frame], Fetched]
"""Decodes one image, or raises `ImageError`."""


class Stream(Protocol):
    """Gives all images from number `first` on, in order, none of them decoded yet."""

    def __call__(self, first: int = 0) -> Iterator[Decode]: ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and what there is to learn of them, not yet decoded.

    Attributes:
        source: what names it, as a run folder keeps it: an absolute path, or a name.
        truth: what there is to learn of each image.
        splits: where the data set itself puts each (TRAIN, VAL, TEST).
        has: which of the three it brings along; the others are cut off TRAIN.
        fetch: gives an image, decoded.
        names: of the images, for messages and for groups by a pattern.
        files: whether each is decoded from a file, so that several threads are worth their while.
        ignored: how many files were no images.
        skipped_annotations: what is not used of its labels, each with the reason.
        notes: what else its user should know of how it is read, a sentence each.
        columns: what else is known of each image, by which groups may be made; '' where it is not known.
        stream: gives them one after another, where they cannot be had otherwise; `fetch` then takes long.
    """

    source: str
    truth: Truth
    splits: NDArray[np.int8]
    has: frozenset[int]
    fetch: Fetch
    names: tuple[str, ...]
    files: bool = False
    ignored: int = 0
    skipped_annotations: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stream: Stream | None = None

    def __len__(self) -> int:
        return len(self.splits)

    def decoders(self) -> Iterator[Decode]:
        """What decodes each image, in order."""
        if self.stream is not None:
            return self.stream()
        return (partial(self.fetch, index) for index in range(len(self)))

    @property
    def outputs(self) -> int | None:
        """How many numbers a network gives for an image; None where its head must be of another form."""
        return self.truth.outputs

    def task(self, shape: ImageShape) -> Task:
        """What there is to learn of images of this shape."""
        return self.truth.task(shape)

    def check(self, shape: ImageShape) -> None:
        """Raises `UserError` where images cannot be given that shape."""
        Frame(shape)

    def grouped_by(self, group: str) -> Self:
        """The same where a column by which images are grouped is not a number to learn: such as a patient's."""
        truth = self.truth
        if not isinstance(truth, KnownNumbers) or group not in truth.names:
            return self
        return replace(self, truth=truth.without(group))

    def among(self, classes: Sequence[str]) -> Self:
        """The same with the numbers that its classes have among others; raises `UserError` for one that is not."""
        return replace(self, truth=self.truth.among(classes, self.source))


@dataclass(frozen=True, eq=False)
class FromArray:
    """Fetches from images in memory, uint8: `(images, rows, columns)` grey, or `(images, rows, columns, 3)`."""

    images: Pixels

    def __call__(self, index: int, frame: Frame) -> Fetched:
        image = self.images[index]
        return Fetched(frame.fitted_array(image), Stored(image.shape[:2], colour=image.ndim > 2))


def in_memory(
    source: str, truth: Truth, parts: Sequence[Pixels], names: Sequence[str], splits: Sequence[int]
) -> ImageSet:
    """Images that `FromArray` fetches, in several parts: each is called as `names` says, and is of one split."""
    lengths = list(map(len, parts))
    return ImageSet(
        source=source,
        truth=truth,
        splits=np.repeat(np.array(splits, np.int8), lengths),
        has=frozenset(splits),
        fetch=FromArray(np.concatenate(parts)),
        names=tuple(f"{name} {index}" for name, length in zip(names, lengths, strict=True) for index in range(length)),
    )


@dataclass(frozen=True)
class FromFiles:
    """Fetches by decoding image files, and of each the file of its mask, where there are some; `coding` is theirs."""

    paths: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    coding: Coding = class_numbers

    def __call__(self, index: int, frame: Frame) -> Fetched:
        return read_fetched(self.paths[index], frame, self.masks[index] if self.masks else None, self.coding)
