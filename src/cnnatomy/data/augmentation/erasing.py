"""Random erasing: a rectangle of the image made black (Zhong et al. 2017, "Random erasing data augmentation")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnatomy.data.augmentation.draws import happens, uniforms

AREA = (0.02, 0.33)
"""Of the rectangle, in shares of the image's."""
HEIGHT = (math.log(0.3), math.log(3.3))
"""Of the rectangle, in its widths, by its logarithm."""
TRIES = 10
"""To draw a rectangle that fits; where none does, nothing is erased."""


def rectangles(seeds: Tensor, size: tuple[int, int]) -> Tensor:
    """One for each image of `size` (rows, columns): top, left, bottom and right in whole pixels, `(images, 4)` int64.

    It is smaller than the image in both directions; empty where none that fits was drawn.
    """
    drawn = uniforms(seeds, "erasing rectangle", 2 * TRIES + 2)
    area = (AREA[0] + (AREA[1] - AREA[0]) * drawn[:, :TRIES]) * size[0] * size[1]
    height = (HEIGHT[0] + (HEIGHT[1] - HEIGHT[0]) * drawn[:, TRIES:-2]).exp()
    sides = torch.stack([(area * height).sqrt(), (area / height).sqrt()], 2).round()  # (images, tries, 2)
    limits = torch.tensor(size)
    fits = (sides < limits).all(2)
    chosen = sides[torch.arange(len(seeds)), fits.int().argmax(1)] * fits.any(1)[:, None]
    low = (drawn[:, -2:] * (limits - chosen + 1)).floor()
    return torch.cat([low, low + chosen], 1).long()


def erased(images: Tensor, seeds: Tensor, share: float) -> Tensor:
    """Images `(images, channels, rows, columns)` of any type, that share of them with a black rectangle."""
    which = happens(seeds, "erasing", share).nonzero()[:, 0]
    if not len(which):
        return images
    rows, columns = images.shape[-2:]
    top, left, bottom, right = rectangles(seeds[which], (rows, columns)).to(images.device)[..., None].unbind(1)
    y, x = torch.arange(rows, device=images.device), torch.arange(columns, device=images.device)
    inside = ((y >= top) & (y < bottom))[:, None, :, None] & ((x >= left) & (x < right))[:, None, None]
    places = which.to(images.device)
    return images.index_copy(0, places, images.index_select(0, places).masked_fill(inside, 0))
