"""Changes of the values of pixels, which stay where they are; kornia is imported where one needs it.

All take float images of 0 .. 1, `(images, channels, rows, columns)`, and one amount for each, `(images,)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.data.augmentation.draws import between, normals_like
from cnnatomy.data.augmentation.settings import Augmentation

ColourChange = Callable[[Tensor, Tensor], Tensor]


def has_colours(images: Tensor) -> bool:
    """Whether there are red, green and blue."""
    return images.shape[1] == 3


def brightness(images: Tensor, amounts: Tensor) -> Tensor:
    """Times 1 + amount."""
    from kornia.enhance import adjust_brightness_accumulative

    return adjust_brightness_accumulative(images, 1 + amounts)


def contrast(images: Tensor, amounts: Tensor) -> Tensor:
    """The distance from the mean grey of the image times 1 + amount."""
    from kornia.enhance import adjust_contrast_with_mean_subtraction

    return adjust_contrast_with_mean_subtraction(images, 1 + amounts)


def colour(images: Tensor, amounts: Tensor) -> Tensor:
    """The distance of each pixel from its grey times 1 + amount; grey images stay as they are."""
    from kornia.enhance import adjust_saturation_with_gray_subtraction

    return adjust_saturation_with_gray_subtraction(images, 1 + amounts) if has_colours(images) else images


def hue(images: Tensor, amounts: Tensor) -> Tensor:
    """Colours moved by this share of their circle; grey images stay as they are."""
    from kornia.enhance import adjust_hue

    return adjust_hue(images, 2 * math.pi * amounts) if has_colours(images) else images


def sharpness(images: Tensor, amounts: Tensor) -> Tensor:
    """The distance of each pixel from the mean of its 3 x 3, in which it counts five times, times 1 + amount.

    Those at the edge stay. By a pool: a convolution, as kornia has it, rounds otherwise in another batch.
    """
    if min(images.shape[-2:]) < 3:
        return images
    inside = images[..., 1:-1, 1:-1]
    mean = (9 * F.avg_pool2d(images, 3, 1) + 4 * inside) / 13
    changed = images.clone()
    changed[..., 1:-1, 1:-1] = (mean + (inside - mean) * (1 + amounts.view(-1, 1, 1, 1))).clamp(0, 1)
    return changed


def posterize(images: Tensor, amounts: Tensor) -> Tensor:
    """Without so many of the eight bits of a value, to the nearest whole bit."""
    steps = 2 ** amounts.round().view(-1, 1, 1, 1)
    return ((images * 255).round() / steps).floor() * steps / 255


def solarize(images: Tensor, amounts: Tensor) -> Tensor:
    """What is as light as 1 - amount, or lighter, is inverted."""
    levels = (images * 255).round() / 255
    return torch.where(levels >= 1 - amounts.view(-1, 1, 1, 1), 1 - images, images)


def autocontrast(images: Tensor, amounts: Tensor) -> Tensor:
    """Each channel stretched from black to white, whatever the amount; one of a single value stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low), images)


def equalize(images: Tensor, amounts: Tensor) -> Tensor:
    """Each channel such that its levels are about equally frequent, whatever the amount."""
    from kornia.enhance import equalize as equalized

    return equalized((images * 255 + 0.5).floor().add(0.25).clamp(max=255) / 255)  # kornia cuts off, we round


JITTER: dict[str, ColourChange] = {"brightness": brightness, "contrast": contrast, "colour": colour, "hue": hue}
"""By the names of the fields of a recipe, in the order in which they are made."""


def coloured(images: Tensor, seeds: Tensor, recipe: Augmentation) -> Tensor:
    """Each image with all changes of colour that a recipe asks for, by amounts that its seed draws."""
    for name, change in JITTER.items():
        most = getattr(recipe, name)
        if most:
            amounts = between(seeds, name, -most, most).to(images)
            images = change(images, amounts).clamp(0, 1)
    return images


def noisy(images: Tensor, seeds: Tensor, deviation: float) -> Tensor:
    """Each value with a normal number of this standard deviation added, cut off at black and white."""
    return normals_like(images, seeds).mul_(deviation).add_(images).clamp_(0, 1)
