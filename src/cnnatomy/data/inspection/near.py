"""Near duplicates, and whether the same is to be learned of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.inspection.gathering import Gathered
from cnnatomy.data.inspection.learned import heads_of
from cnnatomy.errors import some_of


@dataclass(frozen=True)
class Near:
    """Two near duplicates by number, and what is to be learned of each in words, where that is not the same."""

    images: tuple[int, int]
    targets: tuple[str, str] | None


def near_images(data: Gathered) -> tuple[Near, ...]:
    """Every pair of near duplicates, in order.

    Places are not compared: objects, points and maps of an image and of a part of it differ rightly.
    """
    heads = [
        (WORDS[kind], names, values.numpy())
        for _, kind, names, values in heads_of(data.task, data.targets)
        if kind in WORDS
    ]
    found = []
    for one, other in data.divided.near.tolist():
        differ = [each for each in heads if not np.array_equal(each[2][one], each[2][other], equal_nan=True)]
        said = [", ".join(words(values[index], names) for words, names, values in differ) for index in (one, other)]
        found.append(Near((one, other), (said[0], said[1]) if differ else None))
    return tuple(found)


def _label(value: NDArray[Any], names: tuple[str, ...]) -> str:
    return names[int(value)]


def _labels(values: NDArray[Any], names: tuple[str, ...]) -> str:
    return some_of([names[number] for number in np.flatnonzero(values > 0)]) or "none"


def _numbers(values: NDArray[Any], names: tuple[str, ...]) -> str:
    return some_of([f"{name} {value:g}" for name, value in zip(names, values.tolist(), strict=True)])


WORDS: dict[str, Callable[[NDArray[Any], tuple[str, ...]], str]] = {
    "label": _label,
    "labels": _labels,
    "numbers": _numbers,
}
"""How a target that tells of an image as a whole is said, by its kind."""
