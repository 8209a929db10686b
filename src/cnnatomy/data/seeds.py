"""Seeds of what is drawn at random: one for each epoch, and one for each image of an epoch, that share no stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mix(seed: int, epoch: int) -> int:
    """One 63-bit seed for (seed, epoch), so that neighbours share no stream (splitmix64, Steele et al. 2014)."""
    value = (seed * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) % 2**64
    return int(scrambled(np.array([value], np.uint64))[0]) >> 1


def scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of a value changes half of the bits of the result."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def of_images(seed: int, epoch: int, indices: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """A 63-bit seed for each image that is seen in an epoch: of its index, and how many times it was seen before in it.

    It depends on no batch and no order, so that an image looks the same however an epoch is cut into batches.
    """
    base = np.uint64(mix(seed, epoch))
    values = scrambled(base + indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    values = scrambled(values + times.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))
    return (values >> np.uint64(1)).astype(np.int64)
