"""What there is to learn, in numbers: for each name how often it is there, and what tells of its kind of target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.image_set import LEFT_OUT, SPLITS
from cnnatomy.data.inspection.taking import evenly
from cnnatomy.data.survey import areas_of
from cnnatomy.errors import UserError
from cnnatomy.tasks.several import SeveralHeads
from cnnatomy.tasks.task import Target, Task

MAX_MAPS = 500
"""Maps of numbers whose pixels are looked at, evenly through the images."""

SplitOfEach = NDArray[np.int8]
Targets = NDArray[Any]


@dataclass(frozen=True)
class NameFigures:
    """One class, label, number or point: how often it is there by split, and figures of its kind by name."""

    name: str
    counts: dict[str, int]
    figures: dict[str, float | None] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Of all splits."""
        return sum(self.counts.values())

    @property
    def missing(self) -> int:
        """Numbers that are not known: nan, or without end."""
        return int(sum(self.figures.get(key) or 0 for key in ("missing", "infinite")))


@dataclass(frozen=True)
class ToLearn:
    """One target: the `head` that learns it (empty where there is one only), its kind, what is `counted`, and a row
    for each of its names. `without` are images that have nothing of any."""

    head: str
    kind: str
    counted: str
    rows: tuple[NameFigures, ...]
    without: int = 0

    @property
    def missing(self) -> int:
        """Of all rows."""
        return sum(row.missing for row in self.rows)


def to_learn(task: Task, target: Target, splits: SplitOfEach, areas: NDArray[np.int32]) -> tuple[ToLearn, ...]:
    """What the targets of all images tell. `areas` are the pixels of each class in maps that files hold."""
    return tuple(
        _of(kind, names, values.numpy(), splits, areas, head) for head, kind, names, values in heads_of(task, target)
    )


def heads_of(task: Task, target: Target) -> list[tuple[str, str, tuple[str, ...], Tensor]]:
    """For each head its name (empty where there is one only), kind, names, and targets of all images."""
    by_head = target if isinstance(target, dict) else {"": target}
    return [(head, *kind_of(task, head), values) for head, values in by_head.items()]


def kind_of(task: Task, head: str) -> tuple[str, tuple[str, ...]]:
    """The kind and the names of what a head learns; a label and a mask of the same classes are called by their kind."""
    if isinstance(task, SeveralHeads):
        return task.tasks[head].kind, task.tasks[head].names
    return head or task.kind, task.names


def _of(kind: str, names: tuple[str, ...], values: Targets, splits: SplitOfEach, areas: Targets, head: str) -> ToLearn:
    if kind not in KINDS:
        raise UserError(f"the report knows no targets of the kind {kind}; it knows {', '.join(KINDS)}")
    there, more = figures_of(kind, names, values, splits, areas)
    rows = []
    for number, name in enumerate(names):
        counts = {split: int(there[splits == place, number].sum()) for place, split in enumerate(SPLITS)}
        rows.append(NameFigures(name, counts, {key: _plain(column[number]) for key, column in more.items()}))
    without = int((~there[splits != LEFT_OUT].any(1)).sum())
    return ToLearn(head, kind, KINDS[kind][0], tuple(rows), without)


def figures_of(kind: str, names: tuple[str, ...], values: Targets, splits: SplitOfEach, areas: Targets) -> KindFigures:
    """What the targets of a kind tell of its names; `areas` as in `to_learn`."""
    if kind == "mask":
        drawn = values.ndim == 3  # maps in memory, of which nobody has counted the pixels
        values = np.stack([areas_of(np.asarray(each, np.uint8), len(names)) for each in values]) if drawn else areas
    return KINDS[kind][1](values, len(names), splits != LEFT_OUT)


def _plain(value: Any) -> float | None:
    number = float(value)
    return None if np.isnan(number) else int(number) if number.is_integer() and abs(number) < 2**53 else number


KindFigures = tuple[NDArray[np.int64], dict[str, Targets]]
"""How often each name is in each image, `(images, names)`, and columns with a number for each name."""


def _label(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    return (values[:, None] == np.arange(names)).astype(np.int64), {}


def _labels(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    return (values > 0).astype(np.int64), {}


def _numbers(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    return np.isfinite(values).astype(np.int64), _distribution([values[used, number] for number in range(names)])


def _distribution(columns: list[Targets]) -> dict[str, Targets]:
    """Least, quartiles and largest of what is known, and how much is not."""
    keys = ("least", "lower_quartile", "median", "upper_quartile", "largest")
    rows = []
    for column in columns:
        known = column[np.isfinite(column)]
        rows.append(np.quantile(known, (0, 0.25, 0.5, 0.75, 1)) if len(known) else np.full(5, np.nan))
    return {
        **dict(zip(keys, np.transpose(rows), strict=True)),
        "missing": np.array([np.isnan(column).sum() for column in columns]),
        "infinite": np.array([np.isinf(column).sum() for column in columns]),
    }


def _mask(areas: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    pixels = areas[used].sum(0, dtype=np.int64)
    return (areas > 0).astype(np.int64), {"share_of_pixels": pixels / max(int(pixels.sum()), 1)}


def _objects(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    labels = values[..., 4].astype(np.int64)
    counts = np.stack([(labels == name).sum(1) for name in range(names)], 1)
    sides = np.sqrt(np.maximum(0, (values[..., 2] - values[..., 0]) * (values[..., 3] - values[..., 1])))
    found = [sides[used][labels[used] == name] for name in range(names)]
    figures = [(each.min(), np.median(each), each.max()) if len(each) else (np.nan,) * 3 for each in found]
    keys = ("smallest_side", "median_side", "largest_side")
    return counts, {
        "images": (counts[used] > 0).sum(0),
        **dict(zip(keys, np.transpose(figures), strict=True)),
        "crowds": np.array([(labels[used] == -2 - name).sum() for name in range(names)]),
    }


def _keypoints(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    return (values[..., 2] > 0).astype(np.int64), {}


def _map(values: Targets, names: int, used: NDArray[np.bool_]) -> KindFigures:
    some = np.flatnonzero(used)
    some = some[evenly(len(some), MAX_MAPS)]
    there = np.stack([np.isfinite(each).any((1, 2)) for each in values]).astype(np.int64)
    return there, _distribution([values[some, number].ravel() for number in range(names)])


KINDS: dict[str, tuple[str, Callable[[Targets, int, NDArray[np.bool_]], KindFigures]]] = {
    "label": ("images", _label),
    "labels": ("images", _labels),
    "numbers": ("known", _numbers),
    "mask": ("images", _mask),
    "objects": ("objects", _objects),
    "keypoints": ("points", _keypoints),
    "map": ("images", _map),
}
"""For each kind of target what is counted, and how."""
