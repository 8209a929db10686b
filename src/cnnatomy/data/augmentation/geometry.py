"""Where the places of an image go: one matrix an image, by which pixels, masks, points and boxes move alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnatomy.data.augmentation.exact import is_exact, permuted
from cnnatomy.data.sources.coco import LEAST_LEFT, LEAST_SIDE
from cnnatomy.tasks.losses import IGNORED

NEARLY = 1e-9
"""How far a number of a matrix is from a whole one at most to be meant as it: a turn by 90 degrees has cosine 6e-17."""


@dataclass(frozen=True, eq=False)
class Move:
    """What happens to the places of each image of a batch.

    Attributes:
        matrices: `(images, 3, 3)` float64 on the CPU, from (x, y, 1) to where it goes, times a number above 0. x and y
            are in pixels from the upper left corner of an image, so that the middle of its first pixel is (0.5, 0.5).
        size: of the images, rows and columns.
    """

    matrices: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        whole = self.matrices.round()
        near = (self.matrices - whole).abs() < NEARLY
        object.__setattr__(self, "matrices", torch.where(near, whole, self.matrices))

    @property
    def mirrors(self) -> Tensor:
        """Which images it mirrors, `(images,)` bool: an image upside down that is mirrored again is turned only."""
        mirrors: Tensor = torch.linalg.det(self.matrices) < 0
        return mirrors

    def pixels(self, images: Tensor) -> Tensor:
        """Images `(images, channels, rows, columns)` moved: bilinear, black where nothing was.

        They keep their type, pixel by pixel, where pixels go to pixels; bytes become float32 where one is interpolated.
        """
        return self._moved(images, "bilinear", 0)

    def classes(self, maps: Tensor) -> Tensor:
        """A class for each pixel, `(images, rows, columns)`: that of the nearest, 255 (ignored) where nothing was."""
        return self._moved(maps[:, None], "nearest", IGNORED)[:, 0].to(maps.dtype)

    def numbers(self, maps: Tensor) -> Tensor:
        """Numbers of each pixel, `(images, channels, rows, columns)` float: those of the nearest, nan elsewhere."""
        return self._moved(maps, "nearest", torch.nan)

    def displacements(self, maps: Tensor) -> Tensor:
        """By how many rows and columns each pixel moves to the next image, `(images, 2, rows, columns)` float, where
        that is moved like this one: both ends of the displacement go where this move takes them."""
        rows, columns = maps.shape[-2:]
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        places = torch.stack([x, y], -1).view(1, -1, 2).to(maps.device)
        ends = places + maps.flatten(2).flip(1).transpose(1, 2)
        matrices = self._for((rows, columns)).matrices
        went = _applied(matrices, ends) - _applied(matrices, places)
        return self.numbers(went.transpose(1, 2).flip(1).reshape(maps.shape).to(maps.dtype))

    def points(self, points: Tensor) -> Tensor:
        """Places `(images, points, 2)`, x and y in pixels, where they go, be it outside."""
        return _applied(self.matrices, points).to(points.dtype)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes of objects, `(images, most, 5)`: x1, y1, x2, y2 and a class; -1 where there is none, below a crowd.

        The box around the four corners, inside the image. Of which less than `LEAST_LEFT` is left, or what becomes
        narrower or lower than `LEAST_SIDE`, is no object of the image any more.
        """
        count, most, _ = boxes.shape
        corners = boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(count, 4 * most, 2)
        moved = _applied(self.matrices, corners).view(count, most, 4, 2)
        low, high = moved.amin(2), moved.amax(2)
        limit = moved.new_tensor(self.size[::-1])
        inside_low, inside_high = low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)
        sides = inside_high - inside_low
        left = sides.prod(2) / (high - low).prod(2).clamp(min=torch.finfo(sides.dtype).tiny)
        kept = (left >= LEAST_LEFT) & (sides >= LEAST_SIDE).all(2) & (boxes[..., 4] != -1)
        found = torch.cat([inside_low, inside_high, boxes[..., 4:]], 2)
        return torch.where(kept[..., None], found, -1.0).to(boxes.dtype)

    def _for(self, size: tuple[int, int]) -> Move:
        """The same for maps of other rows and columns."""
        if size == self.size:
            return self
        down, across = (new / old for new, old in zip(size, self.size, strict=True))
        there = torch.tensor([across, down, 1.0], dtype=torch.float64)
        return Move(self.matrices * there[:, None] / there, size)

    def _moved(self, maps: Tensor, mode: str, fill: float) -> Tensor:
        """Maps `(images, channels, rows, columns)`; each by the way that its own move needs."""
        size = (maps.shape[-2], maps.shape[-1])
        matrices = self._for(size).matrices
        exact = is_exact(matrices, size)
        if exact.all():
            return permuted(maps, matrices, fill)
        affine = (matrices[:, 2, :2] == 0).all(1)
        moved = torch.empty_like(maps, dtype=torch.float32)
        for which in (exact, ~exact & affine, ~exact & ~affine):  # what becomes of an image, the others do not change
            places = which.nonzero()[:, 0]
            if not len(places):
                continue
            chosen = places.to(maps.device)
            part, by = maps.index_select(0, chosen), matrices[places]
            part = permuted(part, by, fill).float() if which is exact else _warped(part.float(), by, mode, fill)
            moved.index_copy_(0, chosen, part)
        return moved


def _applied(matrices: Tensor, points: Tensor) -> Tensor:
    """Places `(images, points, 2)` where matrices take them, float64."""
    ones = torch.ones_like(points[..., :1], dtype=torch.float64)
    went = torch.cat([points.double(), ones], -1) @ matrices.to(points.device).transpose(1, 2)
    return went[..., :2] / went[..., 2:]


def _warped(maps: Tensor, matrices: Tensor, mode: str, fill: float) -> Tensor:
    """Maps interpolated by kornia, whose places are numbers of pixels; matrices are all affine, or none is."""
    from kornia.geometry import warp_affine, warp_perspective

    size = (maps.shape[-2], maps.shape[-1])
    numbered = (translation(-0.5, -0.5) @ matrices @ translation(0.5, 0.5)).to(maps)
    if fill:
        maps = torch.cat([maps, torch.ones_like(maps[:, :1])], 1)
    if (matrices[:, 2, :2] == 0).all():
        moved = warp_affine(maps, numbered[:, :2], size, mode=mode, align_corners=True)
    else:
        moved = warp_perspective(maps, numbered, size, mode=mode, align_corners=True)
    return torch.where(moved[:, -1:] > 0, moved[:, :-1], fill) if fill else moved


def translation(across: Tensor | float, down: Tensor | float) -> Tensor:
    """By so many pixels."""
    return matrix([[1.0, 0.0, across], [0.0, 1.0, down], [0.0, 0.0, 1.0]])


def matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """`(images, 3, 3)` float64 of numbers, and of tensors with one for each image, `(images,)`."""
    numbers = [torch.as_tensor(number, dtype=torch.float64).reshape(-1) for row in rows for number in row]
    stacked: Tensor = torch.stack(torch.broadcast_tensors(*numbers), -1).unflatten(-1, (3, 3))
    return stacked
