"""Which columns of a Hugging Face data set are what: the image, and what there is to learn of it.

Types decide: the one column of images, the one of classes. Where several could be meant, the user says it after a
question mark: `?image=photo&label=fine_label`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnatomy.data.labelling import group_of, ordered, several_each
from cnnatomy.data.truth import MAX_FLOAT32, Classes, KnownNumbers, Truth
from cnnatomy.errors import UserError, nearest, quoted, shown, some_of
from cnnatomy.limits import MAX_CLASSES

if TYPE_CHECKING:
    from datasets import Features

CHOICES = {
    "image": "the column of the images",
    "label": "that of the class, or of several labels",
    "numbers": "those of numbers, with commas between",
    "mask": "that of the masks",
    "objects": "that of boxes with their classes",
    "names": "the names of the classes in masks, with commas between",
    "split": "that which says train, val or test",
}
"""What may be said after the question mark."""
CLASS, SEVERAL, NUMBERS, MASK, OBJECTS = "class", "labels", "numbers", "mask", "objects"
TEXT = "text"
BOX, CATEGORIES = "bbox", ("category", "categories", "category_id", "label", "labels")
"""How boxes and their classes are called inside a column of objects."""
USUAL = ("label", "labels", "class")
"""What a column is called that is the class, whatever else there is."""


@dataclass(frozen=True)
class Chosen:
    """The columns that are used: of the image, of what there is to learn (`kind` says what), and all other scalars."""

    image: str
    kind: str
    target: tuple[str, ...]
    others: tuple[str, ...]
    split: str

    @property
    def mask(self) -> str | None:
        """The column of the masks, if they are what there is to learn."""
        return self.target[0] if self.kind == MASK else None

    @property
    def images(self) -> list[str]:
        """The columns that hold images."""
        return [self.image, *([self.mask] if self.mask else [])]

    @property
    def scalars(self) -> list[str]:
        """Every column that is read before an image is."""
        read = (*(self.target if self.kind != MASK else ()), *self.others, *((self.split,) if self.split else ()))
        return list(dict.fromkeys(read))


def choose(features: Features, choices: Mapping[str, str], source: str) -> Chosen:
    """Which column is what.

    Raises:
        UserError: naming the columns, where none or several could be meant.
    """
    for key, name in choices.items():
        for column in name.split(",") if key == "numbers" else [name] if key != "names" else []:
            if column not in features:
                raise UserError(
                    f"{source} has no column {quoted(column)}, only {', '.join(features)}.{nearest(column, features)}"
                )
    features = {name: feature for name, feature in features.items() if not name.startswith(_INDEX)}
    images = [name for name, feature in features.items() if _is_image(feature)]
    image = choices.get("image") or _one_image(images, choices, source, features)
    if image not in images:
        raise UserError(
            f"{source}: column {image} holds no images ({_type(features[image])}); images: {some_of(images)}"
        )
    split = choices.get("split", "")
    kinds = {name: kind for name, feature in features.items() if name not in (image, split) if (kind := _kind(feature))}
    kind, target = _target(kinds, features, choices, source)
    others = [name for name, kind in kinds.items() if kind in (CLASS, NUMBERS, TEXT) and name not in target]
    return Chosen(image, kind, target, tuple(others), split)


def truth(chosen: Chosen, features: Features, columns: Mapping[str, Sequence[Any]], source: str) -> Truth:
    """What the columns of the target say, where these are classes, labels or numbers.

    Raises:
        UserError: naming the row, where it says nothing, or something that no class is.
    """
    if chosen.kind == NUMBERS:
        numbers = [[math.nan if value is None else float(value) for value in columns[name]] for name in chosen.target]
        for column, cells in zip(chosen.target, numbers, strict=True):
            for place, cell in enumerate(cells):
                if MAX_FLOAT32 < abs(cell) < math.inf:
                    raise UserError(
                        f"{source}: column {column}: row {place:,} has {cell:g}, which does not fit 32 bits"
                    )
        return KnownNumbers(chosen.target, np.array(numbers, np.float32).T.copy())
    (name,) = chosen.target
    feature, values = features[name], columns[name]
    where = f"{source}: column {name}"
    if chosen.kind == CLASS:
        names, number = names_of(feature, values, where)
        return Classes(names, np.array([number(row, value) for row, value in enumerate(values)], np.int64))
    lists = [row or [] for row in values]
    names, number = names_of(feature.feature, [value for row in lists for value in row], where)
    words = [[names[number(index, value)] for value in row] for index, row in enumerate(lists)]
    return several_each(words, where, names)


def text_columns(chosen: Chosen, features: Features, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """All other scalars as text, classes by their names; see `group_of`."""
    found = {}
    for name in chosen.others:
        names = getattr(features[name], "names", None)
        values = columns[name]
        found[name] = [names[v] if names and v is not None and 0 <= v < len(names) else group_of(v) for v in values]
    return found


def _one_image(images: Sequence[str], choices: Mapping[str, str], source: str, features: Features) -> str:
    images = [name for name in images if name != choices.get("mask")]
    if "image" in images or len(images) == 1:
        return "image" if "image" in images else images[0]
    if not images:
        raise UserError(
            f"{source} has no column of images, only {', '.join(f'{n} ({_type(f)})' for n, f in features.items())}"
        )
    raise UserError(f"{source} has several columns of images: say ?image={images[0]} or {', '.join(images[1:])}")


def _target(
    kinds: Mapping[str, str], features: Features, choices: Mapping[str, str], source: str
) -> tuple[str, tuple[str, ...]]:
    """What is learned, and of which columns: as was said, else what types and usual names leave no doubt of."""
    asked = [key for key in _MAY_BE if key in choices]
    if len(asked) > 1:
        raise UserError(f"{source}: one of {', '.join(asked)}, as one thing is learned")
    if asked:
        names = tuple(choices[asked[0]].split(",")) if asked[0] == NUMBERS else (choices[asked[0]],)
        for name in names:
            if kinds.get(name) not in _MAY_BE[asked[0]] or (asked[0] == NUMBERS and _is_named(features[name])):
                raise UserError(f"{source}: column {name} ({_type(features[name])}) cannot be {CHOICES[asked[0]]}")
        return _learned(kinds[names[0]]) if asked[0] == "label" else asked[0], names
    for name in USUAL:
        if kinds.get(name) in _MAY_BE["label"]:
            return _learned(kinds[name]), (name,)
    sure = [name for name, kind in kinds.items() if kind in (SEVERAL, MASK, OBJECTS) or _is_named(features[name])]
    if len(sure) == 1:
        return kinds[sure[0]], (sure[0],)
    numbers = tuple(name for name, kind in kinds.items() if kind == NUMBERS)
    if not sure and numbers:
        return NUMBERS, numbers
    raise UserError(_undecided(kinds, source))


_MAY_BE = {"label": (CLASS, SEVERAL, TEXT), NUMBERS: (NUMBERS, CLASS), MASK: (MASK,), OBJECTS: (OBJECTS,)}
"""What may be said to be learned -> the kinds of columns that it can be."""


def _learned(kind: str) -> str:
    return SEVERAL if kind == SEVERAL else CLASS


def _is_named(feature: Any) -> bool:
    """Whether its numbers are those of classes with names."""
    return hasattr(feature, "names")


def _undecided(kinds: Mapping[str, str], source: str) -> str:
    if not kinds:
        return f"{source} has images, but no column of classes, labels, numbers, masks or boxes"
    said = ", ".join(f"?{kind if kind in CHOICES else 'label'}={name}" for name, kind in kinds.items())
    return f"{source} does not say which column is to be learned; say it after its name, in quotes: one of {said}"


def names_of(feature: Any, values: Sequence[Any], where: str) -> tuple[tuple[str, ...], Callable[[int, Any], int]]:
    """The classes of a column, and the number of the class that a row has."""
    if hasattr(feature, "names"):
        names = tuple(feature.names)

        def of_number(row: int, value: Any) -> int:
            if value is None or not 0 <= value < len(names):
                got = "no class" if value is None else f"the class {value}"
                raise UserError(f"{where}: row {row:,} has {got}; there are {len(names):,}, from 0 on")
            return int(value)

        return names, of_number
    known = ordered({str(value) for value in values if value is not None})
    if len(known) > MAX_CLASSES:
        raise UserError(f"{where} has {len(known):,} different values, which are no classes")
    places = {word: place for place, word in enumerate(known)}

    def of_value(row: int, value: Any) -> int:
        if value is None:
            raise UserError(f"{where}: row {row:,} has no class")
        return places[str(value)]

    return known, of_value


def _kind(feature: Any) -> str:
    """What could be learned of a column; nothing of one that is neither."""
    from datasets import ClassLabel, LargeList, List, Value

    if _is_image(feature):
        return MASK
    if isinstance(feature, ClassLabel):
        return CLASS
    if isinstance(feature, Mapping):
        return OBJECTS if BOX in feature and category_in(feature) else ""
    if isinstance(feature, (List, LargeList)):
        inner = feature.feature
        if isinstance(inner, Mapping):
            return _kind(inner)
        is_label = isinstance(inner, ClassLabel) or (isinstance(inner, Value) and inner.dtype in _TEXT)
        return SEVERAL if is_label else ""
    if not isinstance(feature, Value):
        return ""
    if feature.dtype.startswith(("float", "double")):
        return NUMBERS
    if feature.dtype.startswith(("int", "uint")) or feature.dtype == "bool":
        return CLASS
    return TEXT if feature.dtype in _TEXT else ""


_INDEX = "__index_level_"
"""How the column begins that pandas writes of the numbers of its rows."""
_TEXT = ("string", "large_string")


def category_in(feature: Mapping[str, Any]) -> str:
    """How the class of an object is called in a column of them."""
    return next((name for name in CATEGORIES if name in feature), "")


def _is_image(feature: Any) -> bool:
    """Images as the Hub has them, as pandas writes them (`{bytes, path}`), or the bytes of files."""
    from datasets import Image, Value

    if isinstance(feature, Mapping):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, Image) or (isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"))


def _type(feature: Any) -> str:
    from datasets import Value

    return shown(feature.dtype if isinstance(feature, Value) else type(feature).__name__)
