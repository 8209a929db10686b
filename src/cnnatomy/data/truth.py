"""What there is to learn of the images of a data set: one kind of truth for each kind of target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.imagenet import imagenet_ids
from cnnatomy.data.images import Stored
from cnnatomy.errors import UserError
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Mask
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.task import Task

COMMON = 10
"""Images that a label must have so that splits are balanced by it; rarer ones fall as they may."""
MAX_FLOAT32 = float(np.finfo(np.float32).max)
"""The largest number that can be learned."""


class Truth(Protocol):
    """What there is to learn of each image of a set.

    Attributes:
        names: what is told apart: classes, labels, numbers.
        outputs: how many numbers a network gives for an image; None where its head must be of another form.
        has_maps: whether each image comes with a map of classes, which its store gives beside it.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> int | None: ...

    @property
    def has_maps(self) -> bool: ...

    def __len__(self) -> int:
        """How many images it tells of."""

    def task(self, shape: ImageShape) -> Task:
        """What there is to learn of images of this shape."""

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """One row for each image: its target as it is fitted into `frame`.

        `stored` says how the images that could be read are stored; `classes`, `(images, names)`, which classes the map
        of each has: a store gives the maps themselves.
        """

    def strata(self) -> NDArray[np.int64]:
        """The number of a class for each image, by which splits are balanced."""

    def counts(self, targets: Tensor) -> Tensor:
        """How many of some rows of targets have each name, `(names,)`."""

    def among(self, classes: Sequence[str], source: str) -> Self:
        """The same with the numbers that its names have among others; raises `UserError` for one that is not."""


@dataclass(frozen=True, eq=False)
class Classes:
    """One class for each image: its number among `names`.

    `groups` may say which classes are of one kind (see `Label`): how often that is right is told, and not learned.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_maps = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def outputs(self) -> int:
        """One for each class."""
        return len(self.names)

    def task(self, shape: ImageShape) -> Task:
        """One label."""
        return Label(self.names, dict(self.groups), 0.0) if self.groups else Label(self.names)

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """The numbers of the classes, `(images,)` int64."""
        return torch.from_numpy(self.labels)

    def strata(self) -> NDArray[np.int64]:
        """The classes themselves."""
        return self.labels

    def counts(self, targets: Tensor) -> Tensor:
        """Images of each class."""
        return torch.bincount(targets, minlength=len(self.names))

    def among(self, classes: Sequence[str], source: str) -> Self:
        """See `Truth`; groups are of its own classes, and stay where there are no others."""
        labels = numbers_among(self.names, classes, source)[self.labels]
        groups = self.groups if len(classes) == len(self.names) else {}
        return replace(self, names=tuple(classes), labels=labels, groups=groups)


@dataclass(frozen=True, eq=False)
class _Table:
    """A value for each image and each name, `(images, names)`; `missing` where the data do not have that name."""

    names: tuple[str, ...]
    values: NDArray[Any]
    missing: ClassVar[float]
    has_maps = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def outputs(self) -> int:
        """One for each name."""
        return len(self.names)

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """The values, `(images, names)` float32."""
        return torch.from_numpy(self.values.astype(np.float32))

    def among(self, classes: Sequence[str], source: str) -> Self:
        """See `Truth`."""
        values = np.full((len(self), len(classes)), self.missing, self.values.dtype)
        values[:, numbers_among(self.names, classes, source)] = self.values
        return replace(self, names=tuple(classes), values=values)


class SeveralLabels(_Table):
    """Any number of labels for each image: `(images, names)` bool, true where it has one."""

    missing = False

    def task(self, shape: ImageShape) -> Task:
        """Several labels."""
        return Labels(self.names)

    def strata(self) -> NDArray[np.int64]:
        """The rarest label of each image, of those that are common enough; few images that are left join the most."""
        images, names = self.values.shape
        totals = self.values.sum(0)
        counts = np.where(self.values & (totals >= COMMON), totals, images + 1)
        rarest: NDArray[np.int64] = np.where((counts <= images).any(1), counts.argmin(1), names)
        sizes = np.bincount(rarest)
        rarest[sizes[rarest] < COMMON] = sizes.argmax()
        return rarest

    def counts(self, targets: Tensor) -> Tensor:
        """Images with each label."""
        return targets.sum(0).long()


class KnownNumbers(_Table):
    """Numbers for each image: `(images, names)` float32, nan where one is not known."""

    missing = np.nan

    def task(self, shape: ImageShape) -> Task:
        """Regression."""
        return Numbers(self.names)

    def strata(self) -> NDArray[np.int64]:
        """All of one class: nothing is to be balanced."""
        return np.zeros(len(self), np.int64)

    def counts(self, targets: Tensor) -> Tensor:
        """Images of which each number is known."""
        return (~targets.isnan()).sum(0)

    def without(self, name: str) -> Self:
        """The same without one of the numbers; raises `UserError` where there is no other."""
        kept = [number for number, other in enumerate(self.names) if other != name]
        if not kept:
            raise UserError(f"the column {name}, by which images are grouped, is the only one with numbers to learn")
        return replace(self, names=tuple(self.names[number] for number in kept), values=self.values[:, kept])


@dataclass(frozen=True, eq=False)
class Masks:
    """A class for each pixel, which files of masks say: of `images` images."""

    names: tuple[str, ...]
    images: int
    has_maps = True
    outputs = None

    def __len__(self) -> int:
        return self.images

    def task(self, shape: ImageShape) -> Task:
        """Segmentation."""
        return Mask(self.names)

    def targets(self, frame: Frame, stored: Mapping[int, Stored], classes: NDArray[np.bool_]) -> Tensor:
        """Which classes each image has; the maps themselves come with the images."""
        return torch.from_numpy(classes)

    def strata(self) -> NDArray[np.int64]:
        """All of one class: nothing is to be balanced."""
        return np.zeros(len(self), np.int64)

    def counts(self, targets: Tensor) -> Tensor:
        """Images in which each class is."""
        return targets.sum(0)

    def among(self, classes: Sequence[str], source: str) -> Self:
        """The same, where the first classes are its own: the masks have their numbers."""
        if tuple(classes[: len(self.names)]) != self.names:
            raise UserError(f"{source} has masks of the classes {', '.join(self.names)}; expected {', '.join(classes)}")
        return replace(self, names=tuple(classes))


def numbers_among(own: Sequence[str], classes: Sequence[str], source: str) -> NDArray[np.int64]:
    """The number of each of its own classes among `classes`; raises `UserError` for one that is not there.

    Those of ImageNet may have their ids in WordNet for names, as its folders do.
    """
    known = {name: number for number, name in enumerate(classes)} | imagenet_ids(classes)
    unknown = [name for name in own if name not in known]
    if unknown:
        raise UserError(f"{source} has classes that the network does not know: {', '.join(unknown[:5])}")
    return np.array([known[name] for name in own], np.int64)
