"""A source of one's own: `python:package.module:Class`, a class in one file.

An object of it has `__len__`, `names` (of the classes, labels or numbers), `image(i)`, and one of `label(i)`,
`labels(i)`, `numbers(i)` and `mask(i)`; it may have `split(i)` and `group(i)`. It is run where it is named by whom it
belongs to, never because a file names it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TRAIN, Fetched, ImageSet, split_called
from cnnatomy.data.images import ImageError, check_pixels, fitted, opened_image, placed_map, quiet_decoders, reasons
from cnnatomy.data.labelling import group_of, several_each
from cnnatomy.data.truth import MAX_FLOAT32, Classes, KnownNumbers, Masks, Truth
from cnnatomy.errors import UserError, literal, own_code, printable, shown, some_of
from cnnatomy.limits import MAX_DATA_IMAGES, MAX_OWN_NAMES
from cnnatomy.readers.torch.names import PREFIX, load_callable

LABEL, LABELS, NUMBERS, MASK = "label", "labels", "numbers", "mask"
GROUP = "group"
"""The column by which its images may be kept together."""
Used = TypeVar("Used")


@dataclass(frozen=True, eq=False)
class FromOwn:
    """Fetches what `image(i)` and `mask(i)` of an object give: the path of a file, a PIL image, or a uint8 array."""

    mine: Any
    has_masks: bool

    def __call__(self, index: int, frame: Frame) -> Fetched:
        pixels, stored = self._read("image", index, lambda image: fitted(image, frame))
        if not self.has_masks:
            return Fetched(pixels, stored)
        return Fetched(pixels, stored, self._read(MASK, index, lambda image: placed_map(image, stored, frame)))

    def _read(self, what: str, index: int, use: Callable[[Image.Image], Any]) -> Any:
        with own_code(f"{what}({index})", ImageError):
            given = getattr(self.mine, what)(index)
        if isinstance(given, (str, Path)):
            with opened_image(Path(given)) as image:
                return use(image)
        with reasons():  # of an image that PIL has not yet decoded, too
            image = given if isinstance(given, Image.Image) else _from_array(given, f"{what}({index})")
            check_pixels(image.width, image.height)
            return use(image)


def _from_array(given: Any, what: str) -> Image.Image:
    expected = f"{what}: expected a path, a PIL image or an array of uint8, (rows, columns) or (rows, columns, 3), got"
    if not isinstance(given, np.ndarray):
        raise ImageError(f"{expected} {type(given).__name__}")
    if (
        given.dtype != np.uint8
        or given.ndim not in (2, 3)
        or 0 in given.shape
        or given.shape[2:] not in ((), (1,), (3,))
    ):
        raise ImageError(f"{expected} {given.dtype} {given.shape}")
    check_pixels(given.shape[1], given.shape[0])  # before a view of a few bytes is copied
    return Image.fromarray(np.ascontiguousarray(given[..., 0] if given.shape[2:] == (1,) else given))


def recognises(name: str) -> bool:
    """By the prefix."""
    return name.startswith(PREFIX)


def read(name: str) -> ImageSet:
    """Makes an object of the class, and asks it for everything but the images.

    Raises:
        UserError: naming the method and the image where it gives something else than is expected.
    """
    with quiet_decoders():
        make = load_callable(name)
        with own_code(f"{name}: making an object of it"):
            mine = make()
    asked = Asked(name, mine)
    count = asked.count()
    target = asked.target()
    splits = asked.splits(count)
    return ImageSet(
        source=name,
        truth=_TRUTHS[target](asked, count),
        splits=splits,
        has=frozenset(splits.tolist()),
        fetch=FromOwn(mine, target == MASK),
        names=tuple(f"image({index})" for index in range(count)),
        columns={GROUP: asked.each(GROUP, count, lambda _, group: group_of(group))} if asked.offers(GROUP) else {},
    )


@dataclass(frozen=True, eq=False)
class Asked:
    """An object of the class that `name` names, asked with care."""

    name: str
    mine: Any

    def offers(self, what: str) -> bool:
        """Whether it has such a method."""
        with own_code(f"{self.name}: {what}"):
            return callable(getattr(self.mine, what, None))

    def count(self) -> int:
        """How many images it has."""
        for what in ("__len__", "image"):
            if not self.offers(what):
                raise UserError(f"{self.name}: the class has no {what}(...); docs/data.md shows a whole one")
        with own_code(f"{self.name}: __len__()"):
            count = len(self.mine)
        if not 0 < count <= MAX_DATA_IMAGES:
            raise UserError(f"{self.name}: it has {count:,} images, expected 1 to {MAX_DATA_IMAGES:,}")
        return count

    def target(self) -> str:
        """The one method that says what there is to learn."""
        found = [what for what in _TRUTHS if self.offers(what)]
        if len(found) != 1:
            raise UserError(
                f"{self.name}: expected one of {', '.join(f'{what}(i)' for what in _TRUTHS)}, which says what there is"
                f" to learn; the class has {' and '.join(found) or 'none'}"
            )
        return found[0]

    def names(self, least: int) -> tuple[str, ...]:
        """Of what is to be learned."""
        with own_code(f"{self.name}: names"):
            given = getattr(self.mine, "names", None)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise UserError(f"{self.name}: names: expected a list of names, got {shown(given)}")
            names = tuple(islice(given, MAX_OWN_NAMES + 1))
        if len(names) > MAX_OWN_NAMES:
            raise UserError(f"{self.name}: names: more than {MAX_OWN_NAMES:,}, of which no more are read")
        for name in names:
            if not isinstance(name, str) or not name or printable(name) != name:
                raise UserError(f"{self.name}: names: expected names on one line, got {shown(name)}")
        if len(names) < least or len(set(names)) < len(names):
            raise UserError(
                f"{self.name}: names: expected {least} at least, all different, got {some_of(names) or 'none'}"
            )
        return names

    def each(self, what: str, count: int, use: Callable[[int, Any], Used]) -> list[Used]:
        """What is made of what a method gives for each image; that may run code of the class too."""
        found = []
        for index in range(count):
            with own_code(f"{self.name}: {what}({index})"):
                found.append(use(index, getattr(self.mine, what)(index)))
        return found

    def error(self, what: str, index: int, expected: str, got: Any) -> UserError:
        """The message for what a method gives."""
        return UserError(f"{self.name}: {what}({index}): expected {expected}, got {literal(got)}")

    def splits(self, count: int) -> NDArray[np.int8]:
        """The split of each image; all are to train where it does not say."""
        if not self.offers("split"):
            return np.full(count, TRAIN, np.int8)
        splits = np.array(self.each("split", count, self._split), np.int8)
        if TRAIN not in splits:
            raise UserError(f"{self.name}: split(i) says train of no image")
        return splits

    def _split(self, index: int, given: Any) -> int:
        split = split_called(given)
        if split is None:
            raise self.error("split", index, "'train', 'val' or 'test'", given)
        return split

    def number(self, what: str, index: int, value: Any, names: Sequence[str]) -> int:
        """The number of a class."""
        try:
            number = operator.index(value)
        except TypeError:
            number = -1
        if isinstance(value, bool) or not 0 <= number < len(names):
            raise self.error(what, index, f"the number of a class, 0 to {len(names) - 1}", value)
        return number


def _label(asked: Asked, count: int) -> Truth:
    names = asked.names(2)
    labels = asked.each(LABEL, count, lambda index, value: asked.number(LABEL, index, value, names))
    return Classes(names, np.array(labels, np.int64))


def _labels(asked: Asked, count: int) -> Truth:
    names = asked.names(1)

    def labels(index: int, row: Any) -> list[str]:
        if isinstance(row, str) or not isinstance(row, Iterable):
            raise asked.error(LABELS, index, "a list of numbers of labels", row)
        values = list(islice(row, len(names) + 1))  # which may have no end
        if len(values) > len(names):
            raise asked.error(LABELS, index, f"{len(names)} numbers of labels at most", row)
        return [names[asked.number(LABELS, index, value, names)] for value in values]

    return several_each(asked.each(LABELS, count, labels), asked.name, names)


def _numbers(asked: Asked, count: int) -> Truth:
    names = asked.names(1)

    def numbers(index: int, row: Any) -> NDArray[np.float32]:
        try:
            given = [math.nan if value is None else float(value) for value in islice(row, len(names) + 1)]
        except (TypeError, ValueError, OverflowError):
            given = []
        if len(given) != len(names) or any(abs(value) > MAX_FLOAT32 for value in given):
            expected = f"{len(names)} numbers that fit 32 bits, None for what is not known"
            raise asked.error(NUMBERS, index, expected, row)
        return np.array(given, np.float32)

    return KnownNumbers(names, np.stack(asked.each(NUMBERS, count, numbers)))


def _mask(asked: Asked, count: int) -> Truth:
    return Masks(asked.names(2), count)


_TRUTHS: dict[str, Callable[[Asked, int], Truth]] = {LABEL: _label, LABELS: _labels, NUMBERS: _numbers, MASK: _mask}
