"""Mixup and cutmix: an image with a share of another one, and both targets with their shares.

Zhang et al. 2017, "mixup: beyond empirical risk minimization"; Yun et al. 2019, "CutMix". A batch has one share, and is
mixed with itself in another order, as its authors' code does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cnnatomy.data.augmentation.settings import Augmentation
from cnnatomy.data.seeds import mix
from cnnatomy.tasks.task import Target, chosen


class Wanted(NamedTuple):
    """A target of each image, and the share of the loss that it makes."""

    share: float
    target: Target


def blended(images: Tensor, target: Target, recipe: Augmentation, seed: int, step: int) -> tuple[Tensor, list[Wanted]]:
    """A batch mixed with itself, by what (seed, step) draws, and what is wanted of it: the shares add up to 1.

    Where a recipe has both, each batch has one of the two, drawn evenly (as timm does). As it was where it has none.
    """
    if not (recipe.mixup or recipe.cutmix):
        return images, [Wanted(1.0, target)]
    drawn = np.random.default_rng(mix(seed, step))
    cuts = bool(recipe.cutmix) and (not recipe.mixup or drawn.random() < 0.5)
    alpha = recipe.cutmix if cuts else recipe.mixup
    share = float(drawn.beta(alpha, alpha))
    order = torch.from_numpy(drawn.permutation(len(images))).to(images.device)
    other = images.index_select(0, order)
    if cuts:
        rows, columns = images.shape[-2:]
        places = rectangle(1 - share, drawn.random(2), (rows, columns))
        images = images.clone()
        images[..., *places] = other[..., *places]
        share = 1 - images[0, 0, *places].numel() / (rows * columns)
    else:
        images = torch.lerp(other.float(), images.float(), share)
    return images, [Wanted(share, target), Wanted(1 - share, chosen(target, order))]


def rectangle(area: float, centre: Tensor | np.ndarray, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a rectangle in the form of the image, around a place in shares of its sides, cut off there.

    Before it is cut off it has that share of the area (equation 2 of the paper).
    """
    half = area**0.5 / 2
    low = [round(max(0.0, float(place) - half) * side) for place, side in zip(centre, size, strict=True)]
    high = [round(min(1.0, float(place) + half) * side) for place, side in zip(centre, size, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])
