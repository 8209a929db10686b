"""Random erasing: a rectangle of the image made black (Zhong et al. 2017, "Random erasing data augmentation")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnatomy.data.augmentation.draws import first_fitting, happens, rectangle_sides

AREA = (0.02, 0.33)
"""Of the rectangle, in shares of the image's."""
HEIGHT = (math.log(0.3), math.log(3.3))
"""Of the rectangle, in its widths, by its logarithm."""


def rectangles(seeds: Tensor, size: tuple[int, int]) -> Tensor:
    """One for each image of `size` (rows, columns): top, left, bottom and right in whole pixels, `(images, 4)` int64.

    It is smaller than the image in both directions; empty where none that fits was drawn.
    """
    pixels, limits = size[0] * size[1], torch.tensor(size)
    sides, places = rectangle_sides(seeds, "erasing rectangle", (AREA[0] * pixels, AREA[1] * pixels), HEIGHT)
    sides = sides.round()
    chosen = first_fitting(sides, (sides < limits).all(2), 0.0)
    low = (places * (limits - chosen + 1)).floor()
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
