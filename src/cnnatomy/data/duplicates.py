"""Equal images; and near duplicates: a photograph saved again, scaled, made brighter or cut a little.

Those are found by thumbnails of 16 x 16 grey levels, compared by one figure: the correlation of what is left of them
once everything that images of this data set have in common is divided out. Raw pixels will not do: two trousers of
Fashion-MNIST correlate by 0.98, a photograph and its copy cut by 2 % by 0.88. So each thumbnail is scaled to the same
contrast and whitened by the covariance of the data set, which in a small one is filled up with that of natural images.

A pair is near duplicate if its figure is `SAME` or more; or `CLOSE` or more, where each of the two has hardly an image
besides that resembles it without being as close (`SIMILAR`). The second rule is what tells a copy from a kind: a
handwritten 1 lies in a crowd of all degrees of resemblance, a photograph and its copy have nothing between them and the
rest. `benchmarks/near_duplicates.py` is where the numbers come from; what it found is in docs/data.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnatomy.data.frames import Pixels
from cnnatomy.limits import MAX_NEAR_PAIRS

SIDE = 16
"""Rows and columns of a thumbnail."""
SAME, CLOSE, SIMILAR = 0.995, 0.88, 0.6
"""Figures from which on two images are the same; near duplicates, unless in a crowd; resemble one another."""
CROWD = 2
"""How many images may resemble one of a close pair without being close themselves."""
BLANK = 2.0
"""Grey levels: an image whose thumbnail has a smaller standard deviation is a near duplicate of none."""
FLOOR = 0.004
"""Added to the variance along each direction before it is divided out, of a total of 1, so that noise stays small."""
PRIOR_IMAGES = 256
"""How many images of the data set the covariance of natural images counts for."""
ENERGY = 0.88
"""Share of the vectors that the first directions hold, in which pairs are looked for before all are computed."""
_BLOCK = 1024
_PART = 2**17
"""Pairs that are computed at once."""
_ROUNDING = 1e-4

Figures = NDArray[np.float32]
Indices = NDArray[np.int64]


def thumbnail(pixels: Pixels) -> Pixels:
    """`(16, 16)` uint8 of an image `(channels, rows, columns)`: grey, and scaled with each pixel counted (a triangle of
    two thumbnail pixels' width), as what is skipped would differ between copies of different size."""
    image = Image.fromarray(pixels[0]) if len(pixels) == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def equal_groups(digests: Sequence[bytes]) -> list[list[int]]:
    """The indices of images of one digest, two or more in each group, in order; an empty digest is of a broken one."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        if digest:
            groups[digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicates(thumbnails: Pixels) -> Indices:
    """Pairs of indices `(pairs, 2)`, the smaller first, in order, of `thumbnails` `(images, 16, 16)` uint8.

    No pair is missed: pairs are looked for along the first directions, where Cauchy and Schwarz bound what the others
    can add. Where there are more than `MAX_NEAR_PAIRS`, as in films, those are given that connect the same images.
    It takes the square of the number of images: of 100,000 photographs 16 seconds of one core, and 185 MiB.
    """
    vectors, usable = whitened(thumbnails)
    short = _shortened(vectors)
    found = _Found(len(vectors))
    for row in range(0, len(vectors), _BLOCK):
        for column in range(row, len(vectors), _BLOCK):
            found.add(*_similar(vectors, short, row, column))
    return usable[found.pairs()]


def whitened(thumbnails: Pixels) -> tuple[Figures, Indices]:
    """Vectors of length 1 `(usable, 256)` whose products are the figures of pairs, and whose images they are: of those
    that are not blank. Directions are in the order of their variance."""
    flat = thumbnails.reshape(len(thumbnails), SIDE**2).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1)
    usable = np.flatnonzero(norms >= BLANK * SIDE)
    flat = flat[usable]
    flat /= norms[usable, None]
    count = len(flat)
    weight = count + PRIOR_IMAGES
    mean = flat.sum(0, dtype=np.float64) / weight
    covariance = PRIOR_IMAGES * natural_covariance()
    for start in range(0, count, _BLOCK):
        part = flat[start : start + _BLOCK] - mean
        covariance += part.T @ part
    variances, directions = np.linalg.eigh(covariance / weight)
    scaled = directions[:, ::-1] / np.sqrt(variances[::-1].clip(0) + FLOOR)
    for start in range(0, count, _BLOCK):  # in place: there may be many
        part = (flat[start : start + _BLOCK] - mean) @ scaled
        flat[start : start + _BLOCK] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return flat, usable


def natural_covariance() -> NDArray[np.float64]:
    """Of thumbnails of natural images, with a total of 1: their power falls with the square of the frequency (Field
    1987, "Relations between the statistics of natural images and the response properties of cortical cells")."""
    steps = np.arange(SIDE)
    cosines = np.cos(np.pi * np.outer(steps, steps + 0.5) / SIDE)
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    waves = np.kron(cosines, cosines)  # a wave a row, by its number of half periods down and across
    squares = (steps[:, None] ** 2 + steps**2).ravel()
    power = np.divide(1, squares, out=np.zeros(SIDE**2), where=squares > 0)
    covariance: NDArray[np.float64] = (waves.T * (power / power.sum())) @ waves
    return covariance


def _shortened(vectors: Figures) -> Figures:
    """The first directions and the length of the rest: the product of two is never below that of the whole vectors."""
    energy = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _BLOCK):
        energy += np.square(vectors[start : start + _BLOCK]).sum(0)
    first = int(np.searchsorted(energy.cumsum(), ENERGY * len(vectors))) + 1
    main = vectors[:, :first]
    rest = np.sqrt((1 - np.einsum("ij,ij->i", main, main)).clip(0))
    return np.column_stack([main, rest])


def _similar(vectors: Figures, short: Figures, row: int, column: int) -> tuple[Indices, Indices, Figures]:
    """Of one block of pairs those that resemble one another: two indices, the smaller first, and the figure."""
    bounds = short[row : row + _BLOCK] @ short[column : column + _BLOCK].T
    width = bounds.shape[1]
    places = np.flatnonzero(bounds >= SIMILAR - _ROUNDING)
    first, second = places // width + row, places % width + column
    if len(places) > bounds.size // 100:  # so many that the product of the whole block takes less
        figures = (vectors[row : row + _BLOCK] @ vectors[column : column + _BLOCK].T).ravel()[places]
    else:
        figures = np.empty(len(places), np.float32)
        for start in range(0, len(places), _PART):
            part = slice(start, start + _PART)
            figures[part] = np.einsum("ij,ij->i", vectors[first[part]], vectors[second[part]])
    kept = (first < second) & (figures >= SIMILAR)
    return first[kept], second[kept], figures[kept]


class _Found:
    """The close pairs found so far, and by how many images each is resembled."""

    def __init__(self, count: int) -> None:
        self.crowd = np.zeros(count, np.int64)
        self.first, self.second = np.empty((2, 0), np.int64)
        self.figures = np.empty(0, np.float32)
        self.waiting: list[tuple[Indices, Indices, Figures]] = []
        self.size = 0
        self.joined: Indices | None = None

    def add(self, first: Indices, second: Indices, figures: Figures) -> None:
        count, gap = len(self.crowd), figures < CLOSE
        if gap.any():
            self.crowd += np.bincount(first[gap], minlength=count) + np.bincount(second[gap], minlength=count)
        close = ~gap if self.joined is None else ~gap & (self.joined[first] != self.joined[second])
        if close.any():
            self.waiting.append((first[close], second[close], figures[close]))
            self.size += int(close.sum())
        if self.size > MAX_NEAR_PAIRS:
            self._thin()

    def pairs(self) -> Indices:
        self._gather()
        order = np.lexsort((self.second, self.first))
        return np.column_stack([self.first, self.second])[order]

    def _gather(self) -> None:
        """Takes in what waits, without those that are in a crowd already."""
        first, second, figures = (
            np.concatenate(parts) for parts in zip((self.first, self.second, self.figures), *self.waiting, strict=True)
        )
        alone = (self.crowd[first] <= CROWD) & (self.crowd[second] <= CROWD)
        kept = alone | (figures >= SAME)
        self.first, self.second, self.figures = first[kept], second[kept], figures[kept]
        self.waiting, self.size = [], int(kept.sum())

    def _thin(self) -> None:
        """Keeps the pairs of a maximum spanning forest, which connects at each figure what all pairs would."""
        from scipy import sparse
        from scipy.sparse import csgraph

        self._gather()
        shape = (len(self.crowd),) * 2
        forest = csgraph.minimum_spanning_tree(
            sparse.coo_array((2 - self.figures.astype(np.float64), (self.first, self.second)), shape).tocsr()
        ).tocoo()
        self.first, self.second = forest.row.astype(np.int64), forest.col.astype(np.int64)
        self.figures, self.size = (2 - forest.data).astype(np.float32), forest.nnz
        same = self.figures >= SAME
        edges = sparse.coo_array((np.ones(same.sum()), (self.first[same], self.second[same])), shape)
        self.joined = csgraph.connected_components(edges, directed=False)[1]
