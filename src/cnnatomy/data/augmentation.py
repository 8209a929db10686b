"""Images moved a little, differently each time: the same class, another image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def move(images: Tensor, shift: float = 0.0, rotation: float = 0.0, scale: float = 0.0) -> Tensor:
    """Each image of `(images, channels, rows, columns)` float shifted, rotated and scaled by a random amount.

    Uniformly up to `shift` of its sides in each direction, `rotation` degrees either way, and a factor of
    1 - `scale` to 1 + `scale`; bilinear, black where nothing was. Draws from torch's global generator, on the
    images' device.
    """
    count, _, rows, columns = images.shape

    def uniform(most: float) -> Tensor:
        return (2 * torch.rand(count, device=images.device) - 1) * most

    angle, factor = uniform(math.radians(rotation)), 1 + uniform(scale)
    cosine, sine = angle.cos() / factor, angle.sin() / factor
    stretch = columns / rows  # affine_grid's coordinates run from -1 to 1 along both sides, whatever their lengths
    across = torch.stack([cosine, sine / stretch, uniform(2 * shift)], 1)
    down = torch.stack([-sine * stretch, cosine, uniform(2 * shift)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def mirrored(images: Tensor, share: float) -> Tensor:
    """Images of which each is mirrored, left to right, with this probability."""
    chosen = torch.rand(len(images), device=images.device) < share
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def augmented(images: Tensor, shift: float, rotation: float, scale: float, flip: float) -> Tensor:
    """Images `(images, channels, rows, columns)` moved and mirrored; the same tensor where there is nothing to do."""
    if shift or rotation or scale:
        images = move(images.float(), shift, rotation, scale)
    return mirrored(images, flip) if flip else images
