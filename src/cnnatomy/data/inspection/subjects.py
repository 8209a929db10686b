"""Several images of one person, object or video: what names suggest, believed only where the images agree."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.inspection.gathering import Gathered

PATTERNS = (r"[^/]*(?=[_-]\d+\.[^./]*$)", r"[^/]*(?=\s?\(\d+\)\.[^./]*$)")
"""Regular expressions of what comes before the number of an image in the name of its file."""
MARGIN = 0.2
"""By how much images of one subject must correlate more than others of the same folder."""
MAX_PAIRS = 2_000
"""Pairs of images that are compared."""
LEAST_GROUPS = 5


@dataclass(frozen=True)
class Subjects:
    """A `pattern` for --group: so many `groups`; correlations of thumbnails `within` groups and `between` them, of
    images of one folder; an `example` of a group's name."""

    pattern: str
    groups: int
    within: float
    between: float
    example: str


def subjects(data: Gathered) -> Subjects | None:
    """The pattern that finds groups whose images look alike, if there is one, and no group is asked for already."""
    if data.loading.group:
        return None
    names = [str(name) for name in data.names]
    for pattern in PATTERNS:
        found = _groups(pattern, names, data.seen.usable)
        if found is None:
            continue
        within, between = _correlations(found, names, data.seen.thumbnails)
        if within >= between + MARGIN:
            example = next(name for name, group in found.items() if len(group) > 1)
            return Subjects(pattern, len(found), within, between, example)
    return None


def _groups(pattern: str, names: list[str], usable: NDArray[np.bool_]) -> dict[str, list[int]] | None:
    """Images by what the pattern finds in their names; None where that is no division into several of several each.

    So there is always a group of several images, and a folder of several groups.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index in np.flatnonzero(usable).tolist():
        match = re.search(pattern, names[index])
        if match is None or not match[0]:
            return None
        groups[match[0]].append(index)
    folders = {_folder(name) for name in names}
    several = sum(len(group) > 1 for group in groups.values())
    if len(groups) < max(LEAST_GROUPS, 2 * len(folders)) or several < len(groups) // 2:
        return None
    return groups


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _correlations(groups: dict[str, list[int]], names: list[str], thumbnails: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean correlations of pairs of one group, and of pairs of two groups in one folder."""
    generator = np.random.default_rng(0)
    of = {index: name for name, group in groups.items() for index in group}
    by_folder: dict[str, list[int]] = defaultdict(list)
    for index in of:
        by_folder[_folder(names[index])].append(index)
    several = [group for group in groups.values() if len(group) > 1]
    crowds = [group for group in by_folder.values() if len({of[index] for index in group}) > 1]

    def pairs(choices: list[list[int]]) -> NDArray[np.int64]:
        picked = generator.integers(0, len(choices), MAX_PAIRS)
        return np.array([generator.choice(choices[place], 2, replace=False) for place in picked])

    apart = [pair for pair in pairs(crowds) if of[int(pair[0])] != of[int(pair[1])]]
    return _mean_correlation(pairs(several), thumbnails), _mean_correlation(np.array(apart), thumbnails)


def _mean_correlation(pairs: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> float:
    if not len(pairs):
        return 1.0
    one, other = (_standard(thumbnails[pairs[:, side]]) for side in (0, 1))
    return float(np.einsum("ij,ij->i", one, other).mean())


def _standard(rows: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = rows.reshape(len(rows), -1).astype(np.float64)
    values -= values.mean(1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return scaled
