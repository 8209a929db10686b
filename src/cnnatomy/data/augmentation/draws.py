"""Random numbers by counting: what an image is given in an epoch depends on its seed, and on nothing else.

There is no generator with a state: the same image in the same epoch gets the same numbers whatever the batch, the order
of the images, the process that reads them, or where a training was gone on with (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"). Bits are mixed by splitmix64, as those of the seeds (`data.seeds`).
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.seeds import scrambled

Bits = NDArray[np.uint64]
TRIES = 10
"""To draw a rectangle that fits into the image."""


def joined(bits: Bits, more: Bits | int) -> Bits:
    """Numbers with further ones mixed in."""
    steps = np.atleast_1d(more).astype(np.uint64)  # an array, as a scalar warns where it overflows
    return scrambled(bits + steps * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xD1B54A32D192ED03))


def uniforms(seeds: Tensor, stream: str, count: int = 1) -> Tensor:
    """Uniform in [0, 1), `(images, count)` float64, of each image's seed; each `stream` has numbers of its own."""
    bits = joined(seeds.cpu().numpy().view(np.uint64), zlib.crc32(stream.encode()))
    numbers = joined(bits[:, None], np.arange(count, dtype=np.uint64))
    return torch.from_numpy((numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def between(seeds: Tensor, stream: str, low: float, high: float) -> Tensor:
    """Uniform from `low` to `high`, one number an image, `(images,)` float64."""
    return low + (high - low) * uniforms(seeds, stream)[:, 0]


def happens(seeds: Tensor, stream: str, share: float) -> Tensor:
    """True for that share of the images, `(images,)` bool."""
    return uniforms(seeds, stream)[:, 0] < share


def rectangle_sides(
    seeds: Tensor, stream: str, areas: tuple[float, float], ratios: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """The two sides of each rectangle that is tried, `(images, TRIES, 2)`; and uniform numbers that say where the one
    that is taken lies, `(images, 2)`.

    Areas are uniform between two numbers, and so are the logarithms of the first side by the second.
    """
    drawn = uniforms(seeds, stream, 2 * TRIES + 2)
    area = areas[0] + (areas[1] - areas[0]) * drawn[:, :TRIES]
    ratio = (ratios[0] + (ratios[1] - ratios[0]) * drawn[:, TRIES:-2]).exp()
    return torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 2), drawn[:, -2:]


def first_fitting(sides: Tensor, fits: Tensor, otherwise: float) -> Tensor:
    """Of each image the sides that fit first, `(images, 2)`, where `fits` is `(images, TRIES)` bool."""
    first = sides[torch.arange(len(sides)), fits.int().argmax(1)]
    return torch.where(fits.any(1)[:, None], first, otherwise)


def normals_like(images: Tensor, seeds: Tensor) -> Tensor:
    """Standard normal numbers for each pixel, each image by its own seed, on the images' device.

    The same on another device only in distribution.
    """
    generator = torch.Generator(images.device)
    drawn = torch.empty_like(images, dtype=torch.float32)
    for image, seed in zip(drawn, seeds.tolist(), strict=True):
        image.normal_(generator=generator.manual_seed(seed))
    return drawn
