"""Drawn scenes: targets of many kinds where no public data set is at hand.

The scenes are drawn by this project, out of the 1,797 digits of scikit-learn, which are all that is real in them: 1 to
4 digits before a dim, noisy background. Every digit has the same size in the world; the nearer it is, the larger and
the brighter it appears, and it covers what is farther. One scene has targets of every kind (`KINDS`), so that networks
for different tasks can be compared on the same images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.frames import Frame, ImageShape, Pixels
from cnnatomy.data.image_set import TEST, TRAIN, VAL
from cnnatomy.data.sources import digits
from cnnatomy.data.splits import Divisible, split_images
from cnnatomy.errors import UserError, nearest
from cnnatomy.limits import MAX_SCENES_BYTES

SCENES = {TRAIN: 2000, VAL: 400, TEST: 400}
"""Scenes of each split, where no other number is asked for."""
MAX_DIGITS = 4
NEAREST, FARTHEST, BACKGROUND = 1.0, 2.4, 3.0
"""Depths: of the nearest and the farthest digit, and of the background."""
NEAREST_SIDE = 24 / 64
"""Side of the nearest digit, as a share of the image's shorter side: 24 pixels of 64, and 10 for the farthest."""
SMALLEST_SIDE = 10
"""Pixels; a digit has 8 x 8 in scikit-learn."""
SMALLEST_IMAGE = 32
BRIGHTEST = 250
"""Of the nearest digit's ink; farther ones are darker by their depth."""
DIMMEST, DIM, NOISE = 5, 40, 40
"""The background's level, from `DIMMEST` to `DIM`, and the noise on top of it."""
OVERLAP = 0.1
"""Share of the smaller digit's square that another may cover."""
TRIES = 20
"""Places tried for a digit before it is left out."""
INK = 0.4
"""From which on, of 0 .. 1, a pixel belongs to a digit."""
STEP = 1 / 16
"""How far a digit moves at most between two frames, as a share of the image's shorter side."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Scenes of one split: `images` uint8 `(scenes, channels, rows, columns)`, `targets` as the kind has them, and the
    `names` of what the targets tell apart."""

    images: Tensor
    targets: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene: `frames` of `(channels, rows, columns)` uint8, and in `owner` `(rows, columns)` which of its digits
    each pixel of the first frame belongs to, -1 for the background. Of each digit its class, depth and motion (rows,
    columns in pixels, to the second frame); each has a pixel at least."""

    frames: tuple[Pixels, ...]
    owner: NDArray[np.int8]
    classes: NDArray[np.int64]
    depths: NDArray[np.float64]
    motions: NDArray[np.int64]


def draw(kind: str, shape: ImageShape, split: int, count: int | None = None, seed: int = 0) -> Drawn:
    """`count` scenes of a split (TRAIN, VAL or TEST; `SCENES` tells how many by default) with targets of one kind.

    Scene number i depends on (seed, split, i) alone, and no digit is in scenes of two splits, whatever the seeds. The
    first frame of `motion` is the scene that all other kinds but `keypoints` have, in grey.

    Raises:
        UserError: if the kind is unknown, the shape does not fit it, or the scenes take more than `MAX_SCENES_BYTES`.
    """
    if kind not in KINDS:
        raise UserError(f"no drawn scenes of {kind}: one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    what = KINDS[kind]
    count = SCENES[split] if count is None else count
    check(kind, shape, count)
    images = np.empty((count, *shape), np.uint8)
    targets = []
    for number in range(count):
        scene = draw_scene(shape, split, number, seed, most=what.digits, frames=what.frames)
        images[number] = np.concatenate(scene.frames)
        targets.append(what.target(scene))
    return Drawn(torch.from_numpy(images), torch.from_numpy(np.stack(targets)), what.names)


def check(kind: str, shape: ImageShape, count: int = 0) -> None:
    """Raises `UserError` where scenes of a kind cannot have that shape, or so many take too much memory."""
    what = KINDS[kind]
    channels, rows, columns = shape
    if channels not in what.channels:
        expected = " or ".join(map(str, what.channels))
        reason = ", the two frames in grey" if what.frames == 2 else ""
        raise UserError(f"drawn scenes of {kind} have {expected} channels{reason}; the network takes {channels}")
    if min(rows, columns) < SMALLEST_IMAGE:
        raise UserError(
            f"the network takes images of {rows} x {columns} pixels; drawn scenes have {SMALLEST_IMAGE} x"
            f" {SMALLEST_IMAGE} at least: choose a larger --input"
        )
    size = count * rows * columns * (channels + what.bytes)
    if size > MAX_SCENES_BYTES:
        raise UserError(
            f"{count:,} drawn scenes of {rows:,} x {columns:,} pixels take {size:,} bytes, at most"
            f" {MAX_SCENES_BYTES:,}: choose fewer or a smaller --input"
        )


def draw_scene(
    shape: ImageShape, split: int, number: int, seed: int = 0, most: int = MAX_DIGITS, frames: int = 1
) -> Scene:
    """Scene `number` of a split, with at most so many digits; with two `frames` each is grey, whatever the channels."""
    _, rows, columns = shape
    channels = 1 if frames == 2 else shape[0]
    generator = np.random.default_rng([seed % 2**64, split, number])
    found = min(most, int(generator.integers(1, MAX_DIGITS + 1)))
    members = generator.choice(digits_of(split), MAX_DIGITS, replace=False)[:found]
    depths = generator.uniform(NEAREST, FARTHEST, MAX_DIGITS)[:found]
    tints = generator.uniform(0.4, 1, (MAX_DIGITS, 3))[:found]
    sides = np.rint(max(min(rows, columns) * NEAREST_SIDE, 1.6 * SMALLEST_SIDE) / depths).astype(int)
    sides = sides.clip(SMALLEST_SIDE)
    corners = _places(generator.random((MAX_DIGITS, TRIES, 2))[:found], sides, rows, columns)
    steps = generator.uniform(-STEP, STEP, (MAX_DIGITS, 2))[:found] * min(rows, columns)
    moved = (corners + np.rint(steps).astype(int)).clip(0, np.array([rows, columns]) - sides[:, None])
    level = generator.integers(DIMMEST, DIM, dtype=np.uint8)
    background = level + generator.integers(0, NOISE, (channels, rows, columns), np.uint8)

    placed = np.flatnonzero(corners[:, 0] >= 0)
    order = placed[np.argsort(-depths[placed])]  # from the farthest to the nearest, which covers the others
    images, classes = _digits()
    ink = [_enlarged(images[members[digit]], int(sides[digit])) for digit in order]
    light = BRIGHTEST / depths[order, None] * (tints / tints.max(1, keepdims=True))[order]
    light = light if channels == 3 else BRIGHTEST / depths[order, None]
    drawn = [_drawn(background, ink, places[order], light) for places in (corners, moved)[:frames]]
    owner = drawn[0][1]
    visible = np.unique(owner[owner >= 0])
    if len(visible) < len(order):  # one is covered altogether
        owner = np.where(owner < 0, owner, np.searchsorted(visible, owner).astype(np.int8))
        order = order[visible]
    return Scene(
        frames=tuple(frame for frame, _ in drawn),
        owner=owner,
        classes=classes[members[order]],
        depths=depths[order],
        motions=(moved - corners)[order],
    )


def _places(tried: NDArray[np.float64], sides: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.int64]:
    """The upper left corner (row, column) of each digit: the first place tried that overlaps little; -1 where none."""
    corners = np.full((len(sides), 2), -1)
    for digit, side in enumerate(sides):
        free = np.array([rows, columns]) - side + 1
        places = (tried[digit] * free).astype(int)
        before = [other for other in range(digit) if corners[other, 0] >= 0]
        low = np.maximum(places[:, None], corners[before])
        high = np.minimum(places[:, None] + side, corners[before] + sides[before, None])
        covered = (high - low).clip(0).prod(2) / np.minimum(side, sides[before]) ** 2
        fitting = np.flatnonzero((covered <= OVERLAP).all(1))
        if len(fitting):
            corners[digit] = places[fitting[0]]
    return corners


def _drawn(
    background: Pixels, ink: list[NDArray[np.float64]], corners: NDArray[np.int64], light: NDArray[np.float64]
) -> tuple[Pixels, NDArray[np.int8]]:
    """The background with digits drawn over it, one after another, and which digit each pixel belongs to."""
    image = background.copy()
    owner = np.full(image.shape[1:], -1, np.int8)
    for digit, (opacity, (top, left)) in enumerate(zip(ink, corners, strict=True)):
        side = len(opacity)
        part = (slice(top, top + side), slice(left, left + side))
        under = image[:, *part]
        image[:, *part] = under + (light[digit][:, None, None] - under) * opacity
        owner[part][opacity >= INK] = digit
    return image, owner


@cache
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The digits `(1797, 8, 8)`, their ink 0 .. 1, and their classes."""
    found, frame = digits.read(), Frame((1, 8, 8))
    images = [found.fetch(index, frame).pixels[0] for index in range(len(found))]
    return np.stack(images) / 255, found.truth.strata()


@cache
def digits_of(split: int) -> NDArray[np.int64]:
    """The indices of the digits that scenes of a split are drawn from, as `load` divides them with its first seed."""
    images, classes = _digits()
    digests = [image.tobytes() for image in images]
    splits = split_images(Divisible(classes, digests, np.full(len(images), TRAIN, np.int8)), {TRAIN}, seed=0)
    return np.flatnonzero(splits == split)


def _enlarged(digit: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """A digit's ink with so many rows and columns, bilinear."""
    across = _bilinear(len(digit), side)
    enlarged: NDArray[np.float64] = across @ digit @ across.T
    return enlarged


@cache
def _bilinear(old: int, new: int) -> NDArray[np.float64]:
    """`(new, old)`: by how much each old pixel counts for each new one, pixels being squares with a centre."""
    centres = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))
    return weights


def _boxes(scene: Scene) -> NDArray[np.float32]:
    """x1, y1, x2, y2 in pixels, tight around what is seen of each digit, and its class; -1 where there is no digit."""
    found = np.full((MAX_DIGITS, 5), -1, np.float32)
    for digit, label in enumerate(scene.classes):
        rows, columns = np.nonzero(scene.owner == digit)
        found[digit] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, label
    return found


def _per_pixel(scene: Scene, values: NDArray[np.float64], background: float) -> NDArray[np.float32]:
    """`(k, rows, columns)`: the k values of its digit at each pixel."""
    table = np.concatenate([values, np.full((1, values.shape[1]), background)])  # the last is number -1
    return np.ascontiguousarray(table.astype(np.float32)[scene.owner].transpose(2, 0, 1))


def _mask(scene: Scene) -> NDArray[np.uint8]:
    return np.append(scene.classes + 1, 0).astype(np.uint8)[scene.owner]


def _labels(scene: Scene) -> NDArray[np.uint8]:
    return np.isin(np.arange(10), scene.classes).astype(np.uint8)


def _numbers(scene: Scene) -> NDArray[np.float32]:
    return np.array([len(scene.classes), scene.depths.min()], np.float32)


def _keypoints(scene: Scene) -> NDArray[np.float32]:
    """The middle one of a digit's pixels in its uppermost and lowest row, and in its first and last column."""
    rows, columns = np.nonzero(scene.owner == 0)
    ends = [rows == rows.min(), rows == rows.max(), columns == columns.min(), columns == columns.max()]
    points = np.ones((len(ends), 3), np.float32)
    for point, end in zip(points, ends, strict=True):
        pixels = np.flatnonzero(end)
        middle = pixels[len(pixels) // 2]
        point[:2] = columns[middle] + 0.5, rows[middle] + 0.5
    return points


@dataclass(frozen=True)
class Kind:
    """A kind of target: what it is for a scene, its names, and the `bytes` that it takes for each pixel.

    `digits` are in a scene at most, and an image has `frames` of it, one a channel where there are two.
    """

    target: Callable[[Scene], NDArray[np.uint8] | NDArray[np.float32]]
    names: tuple[str, ...]
    bytes: int = 0
    digits: int = MAX_DIGITS
    frames: int = 1

    @property
    def channels(self) -> tuple[int, ...]:
        """Numbers of channels that its images can have."""
        return (2,) if self.frames == 2 else (1, 3)


DIGITS = tuple("0123456789")
KINDS = {
    "objects": Kind(_boxes, DIGITS),
    "mask": Kind(_mask, ("background", *DIGITS), bytes=1),
    "labels": Kind(_labels, DIGITS),
    "numbers": Kind(_numbers, ("digits", "nearest depth")),
    "depth": Kind(lambda scene: _per_pixel(scene, scene.depths[:, None], BACKGROUND), ("depth",), bytes=4),
    "motion": Kind(
        lambda scene: _per_pixel(scene, scene.motions.astype(float), 0), ("rows", "columns"), bytes=8, frames=2
    ),
    "keypoints": Kind(_keypoints, ("top", "bottom", "left", "right"), digits=1),
}
"""Targets of the same scenes. For each scene:

`objects` float32 (4, 5): x1, y1, x2, y2, class, -1 where there is none; `mask` uint8 (rows, columns): the class + 1, 0
for the background; `labels` uint8 (10,): which digits occur; `numbers` float32 (2,): how many digits, and how near the
nearest; `depth` float32 (1, rows, columns); `motion` float32 (2, rows, columns): by how many rows and columns the pixel
moves from the first frame to the second, the background by none; `keypoints` float32 (4, 3): x, y of pixel centres, and
1 for visible, of a single digit."""
