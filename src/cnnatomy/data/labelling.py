"""Truth out of words: which classes there are, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cnnatomy.data.truth import Classes, SeveralLabels
from cnnatomy.errors import UserError, printable
from cnnatomy.limits import MAX_LABELS_HELD

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def word_of(value: Any) -> str | None:
    """What a cell of a file says, in a word: text on one line, or a whole number; None where it is none."""
    word = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return word if word and printable(word) == word else None


def group_of(value: Any) -> str:
    """What a cell says of whom an image belongs to, as text; '' where it says nothing, and the image is alone."""
    return "" if value is None else str(value)


def ordered(words: Iterable[str]) -> tuple[str, ...]:
    """Different words in order; numbers by their size."""
    different = set(words)
    if all(_INTEGER.fullmatch(word) for word in different):
        return tuple(sorted(different, key=lambda word: (int(word), word)))
    return tuple(sorted(different))


def one_class_each(words: Sequence[str], source: str, known: Sequence[str] = ()) -> Classes:
    """The class of each image, by its name, of `known` where they are; raises `UserError` where all have the same."""
    names = tuple(known) or ordered(words)
    if len(names) < 2:
        raise UserError(f"{source}: every image is of the class {names[0]}; expected two classes at least")
    numbers = {name: number for number, name in enumerate(names)}
    return Classes(names, np.array([numbers[word] for word in words], np.int64))


def several_each(words: Sequence[Sequence[str]], source: str, known: Sequence[str] = ()) -> SeveralLabels:
    """The labels of each image, by their names, `known` where they are; raises `UserError` where no image has one."""
    names = tuple(known) or ordered(word for some in words for word in some)
    if not names:
        raise UserError(f"{source}: no image has a label")
    if len(words) * len(names) > MAX_LABELS_HELD:
        raise UserError(f"{source}: {len(names):,} labels of {len(words):,} images are more than can be held")
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.zeros((len(words), len(names)), np.bool_)
    for row, some in zip(labels, words, strict=True):
        row[[numbers[word] for word in some]] = True
    return SeveralLabels(names, labels)
