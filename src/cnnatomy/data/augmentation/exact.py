"""Moves that take each pixel to another pixel: nothing is interpolated, and bytes stay bytes.

Those are mirrorings, turns by 90 degrees, shifts by whole pixels, and whatever is composed of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WORD = torch.int64


def is_exact(matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Which of these moves of images of `size` (rows, columns) take pixels to pixels, `(images,)` bool.

    Matrices are `(images, 3, 3)`, from places (x, y, 1) to places; see `geometry.Move`.
    """
    linear = matrices[:, :2, :2]
    whole = (matrices == matrices.round()).flatten(1).all(1)
    permutes = ((linear.abs().sum(1) == 1) & (linear.abs().sum(2) == 1)).all(1)
    affine = (matrices[:, 2] == matrices.new_tensor([0, 0, 1])).all(1)
    fits = (linear[:, 0, 1] == 0) if size[0] != size[1] else torch.ones_like(whole)
    return whole & permutes & affine & fits


def permuted(images: Tensor, matrices: Tensor, fill: float) -> Tensor:
    """Images `(images, channels, rows, columns)` of any type moved so, with `fill` where nothing was.

    Every move must be exact; the same tensor where none moves anything.
    """
    rows, columns = images.shape[-2:]
    transposed = matrices[:, 0, 1] != 0
    signs, shifts = matrices[:, :2, :2].sum(2), matrices[:, :2, 2]
    mirrored = signs < 0
    shifts = shifts - torch.where(mirrored, shifts.new_tensor([columns, rows]), 0.0)  # a mirrored x is columns - x
    kinds = 4 * transposed.long() + 2 * mirrored[:, 0].long() + mirrored[:, 1].long()
    return _shifted(_turned(images, kinds), shifts.long(), fill)


def _turned(images: Tensor, kinds: Tensor) -> Tensor:
    """Each image in one of the eight ways to lay a square on itself: 4 transposes it, then 2 mirrors x, and 1 y."""
    turned = images
    for kind in kinds.unique().tolist():
        if kind == 0:
            continue
        which = (kinds == kind).nonzero()[:, 0].to(images.device)
        part = images if len(which) == len(images) else images.index_select(0, which)
        part = part.transpose(2, 3) if kind & 4 else part
        part = part.flip([axis for axis, bit in ((3, 2), (2, 1)) if kind & bit])
        if len(which) == len(images):
            return part
        turned = turned.clone(memory_format=torch.contiguous_format) if turned is images else turned
        _put(turned, which, part.contiguous())
    return turned


def _put(images: Tensor, which: Tensor, part: Tensor) -> None:
    """Puts other images into a batch: eight bytes at once where they can be, as torch copies a number at a time."""
    images, part = images.flatten(1), part.flatten(1)
    if images[0].nbytes % WORD.itemsize == 0:
        images, part = images.view(WORD), part.view(WORD)
    images.index_copy_(0, which, part)


def _shifted(images: Tensor, shifts: Tensor, fill: float) -> Tensor:
    """Each image moved by `shifts` (x, y) whole pixels: every row is one run of bytes of the image with a margin."""
    if not shifts.any():
        return images
    count, channels, rows, columns = images.shape
    limits = shifts.new_tensor([columns, rows])
    shifts = shifts.minimum(limits).maximum(-limits)
    across, down = shifts.abs().amax(0).tolist()
    padded = F.pad(images, (across, across, down, down), value=fill)
    high, wide = rows + 2 * down, columns + 2 * across
    maps = torch.arange(count * channels).view(count, channels, 1) * (high * wide)
    first = (torch.arange(rows) + down - shifts[:, 1:]) * wide + across - shifts[:, :1]  # (images, rows)
    starts = (maps + first[:, None]).flatten().to(images.device)
    return padded.flatten().unfold(0, columns, 1).index_select(0, starts).view(images.shape)
