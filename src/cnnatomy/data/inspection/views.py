"""Views of a whole data set as points in the space of pixels: principal components, whitening, spectra.

All of them are of the training images as they are fitted, of which so many are taken, evenly, that their numbers fit
into memory; frames that are larger than `LARGEST_SIDE` are reduced to it by means over their parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cnnatomy.data.frames import ImageShape
from cnnatomy.data.image_set import LEFT_OUT, TRAIN
from cnnatomy.data.inspection.gathering import Gathered
from cnnatomy.data.inspection.taking import evenly
from cnnatomy.errors import UserError

LARGEST_SIDE = 64
"""Rows and columns of the images that are looked at."""
MAX_NUMBERS = 2**24
"""Of all images together: 128 MiB as float64."""
MAX_IMAGES = 10_000
AT_ONCE = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Images as rows of numbers from 0 to 1, `(images, channels x rows x columns)`; their `shape`, and of how many
    they are taken. `labels` are their classes, where each has one."""

    rows: Floats
    shape: ImageShape
    of: int
    labels: NDArray[np.int64] | None


def sampled(data: Gathered, grey: bool = False) -> Sampled:
    """Training images (all where there are none), evenly taken; with `grey` as the mean of their channels."""
    wanted = np.flatnonzero(data.splits == TRAIN)
    wanted = wanted if len(wanted) else np.flatnonzero(data.splits != LEFT_OUT)
    channels, rows, columns = data.shape
    shape = (1 if grey else channels, min(rows, LARGEST_SIDE), min(columns, LARGEST_SIDE))
    width = int(np.prod(shape))
    count = min(len(wanted), MAX_IMAGES, MAX_NUMBERS // width)
    if count < 2:
        raise UserError(f"{data.source}: a view needs two images at least, and there are {len(wanted)}")
    some = wanted[evenly(len(wanted), count)]
    found = np.empty((count, width))
    for start in range(0, count, AT_ONCE):
        indices = torch.from_numpy(some[start : start + AT_ONCE])
        small = data.decoded(indices).images.double() / 255
        small = small.mean(1, keepdim=True) if grey else small
        found[start : start + AT_ONCE] = F.adaptive_avg_pool2d(small, shape[1:]).flatten(1).numpy()
    return Sampled(found, shape, len(wanted), data.labels[some] if data.labels is not None else None)


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of images.

    Attributes:
        mean: `(pixels,)`.
        components: `(components, pixels)`, each of length 1, by falling variance; its largest number is positive.
        variances: along them, with the denominator `images - 1`.
    """

    mean: Floats
    components: Floats
    variances: Floats

    @property
    def total(self) -> float:
        """Variance of all pixels together."""
        return float(self.variances.sum())

    @property
    def cumulative(self) -> Floats:
        """Share of the variance that the first 1, 2, 3, ... components hold."""
        shares: Floats = np.cumsum(self.variances) / self.total
        return shares

    def needed(self, share: float) -> int:
        """Components that hold this share of the variance."""
        return min(int(np.searchsorted(self.cumulative, share - 1e-12)) + 1, len(self.variances))


def principal_components(rows: Floats) -> Components:
    """All components of `(images, pixels)` with a variance: eigenvectors of the covariance.

    Where there are fewer images than pixels, of the products of the images, which have the same eigenvalues (Turk and
    Pentland 1991, "Eigenfaces for recognition", section 2).
    """
    mean = rows.mean(0)
    centred = rows - mean
    freedom = len(rows) - 1
    wide = len(rows) < rows.shape[1]
    products = (centred @ centred.T if wide else centred.T @ centred) / freedom
    variances, vectors = np.linalg.eigh(products)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    eps = float(np.finfo(np.float64).eps)
    rounding = (eps * float(np.abs(rows).max())) ** 2 * rows.size  # what is left of equal images when they are centred
    kept = variances > max(float(variances[0]) * len(variances) * eps, rounding)
    variances, vectors = variances[kept], vectors[:, kept]
    if wide:
        vectors = centred.T @ vectors / np.sqrt(freedom * variances)
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])]) if vectors.size else 1.0
    return Components(mean, np.ascontiguousarray((vectors * signs).T), variances)


EPSILON = 0.01
"""Added to the variance along each component before it is divided out, as a share of the mean variance of a pixel."""
CLEAR = 100
"""A component whose variance is so many times epsilon is whitened but for 1 %."""


@dataclass(frozen=True, eq=False)
class Whitened:
    """Images after ZCA whitening (Bell and Sejnowski 1997, "The independent components of natural scenes are edge
    filters"): rotated to the components, divided by the root of variance + epsilon, rotated back.

    Attributes:
        rows: `(images, pixels)`, with a mean of 0.
        epsilon: in squares of pixels from 0 to 1.
        clear: components whose variance is `CLEAR` times epsilon or more.
        deviation: the largest difference of the covariance of `rows` from the identity, along clear components.
        rounding: its largest difference from what epsilon makes of it, variance / (variance + epsilon), along all.
    """

    rows: Floats
    epsilon: float
    clear: int
    deviation: float
    rounding: float


def whiten(rows: Floats, found: Components) -> Whitened:
    """ZCA whitening by the components of the same `(images, pixels)`; the covariance after it is measured."""
    epsilon = EPSILON * found.total / rows.shape[1]
    along = (rows - found.mean) @ found.components.T
    scaled = along / np.sqrt(found.variances + epsilon)
    white = scaled @ found.components
    back = white @ found.components.T
    covariance = back.T @ back / (len(rows) - 1)
    expected = np.diag(found.variances / (found.variances + epsilon)) if epsilon else np.eye(len(covariance))
    clear = int((found.variances >= CLEAR * epsilon).sum())
    deviation = np.abs(covariance[:clear, :clear] - np.eye(clear)).max(initial=0.0)
    rounding = np.abs(covariance - expected).max(initial=0.0)
    return Whitened(white, epsilon, clear, float(deviation), float(rounding))


LEAST_CYCLES = 2
"""Cycles an image from which on the fall is fitted: the window spreads what is below over the first two."""
LARGEST_FREQUENCY = 0.4
"""Cycles a pixel up to which it is fitted: what comes after is the scaling of the images."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Of the images of one class, or of all: grey, their mean subtracted, under a Hann window.

    Attributes:
        amplitudes: mean of log10(amplitude), `(rows, columns)`, frequency 0 in the middle.
        frequencies, power: the radial profile: cycles a pixel, and the mean power there.
        exponent: the power falls as 1 / frequency to this; None where there are fewer than three frequencies.
        parseval: largest relative difference of an image's energy from that of its spectrum.
    """

    name: str
    images: int
    amplitudes: Floats
    frequencies: Floats
    power: Floats
    exponent: float | None
    parseval: float


def spectrum(images: Floats, name: str = "") -> Spectrum:
    """Of `(images, rows, columns)`."""
    count, rows, columns = images.shape
    window = np.outer(*(np.hanning(2 * side + 1)[1::2] for side in (rows, columns)))  # at the middles of the pixels
    logs, power, worst = np.zeros((rows, columns)), np.zeros((rows, columns)), 0.0
    for start in range(0, count, AT_ONCE):
        part = images[start : start + AT_ONCE]
        part = (part - part.mean((1, 2), keepdims=True)) * window
        squares = np.abs(np.fft.fft2(part)) ** 2
        energy, there = (part**2).sum((1, 2)), squares.sum((1, 2)) / (rows * columns)
        worst = max(worst, float(np.max(np.abs(energy - there) / np.maximum(energy, 1e-12), initial=0.0)))
        logs += np.log10(np.sqrt(squares) + 1e-6).sum(0)
        power += squares.sum(0)
    frequencies, profile = _radial(power / count)
    fitted = (frequencies * min(rows, columns) >= LEAST_CYCLES) & (frequencies <= LARGEST_FREQUENCY) & (profile > 0)
    exponent = None
    if fitted.sum() >= 3:
        exponent = -float(np.polyfit(np.log(frequencies[fitted]), np.log(profile[fitted]), 1)[0])
    return Spectrum(name, count, np.fft.fftshift(logs / count), frequencies, profile, exponent, worst)


def _radial(power: Floats) -> tuple[Floats, Floats]:
    """Mean power in rings one cycle an image wide, up to half a cycle a pixel; without frequency 0."""
    rows, columns = power.shape
    distance = np.hypot(*np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij"))
    side = min(rows, columns)
    rings = np.rint(distance * side).astype(int).ravel()
    counts, sums = np.bincount(rings), np.bincount(rings, power.ravel())
    places = np.bincount(rings, distance.ravel())
    kept = np.flatnonzero(counts[: side // 2 + 1])
    kept = kept[kept > 0]
    return places[kept] / counts[kept], sums[kept] / counts[kept]


def spectra(found: Sampled, names: tuple[str, ...], most: int) -> list[Spectrum]:
    """Of all images (grey), and of each of the first `most` classes that has some."""
    images = found.rows.reshape(-1, *found.shape[1:])
    result = [spectrum(images, "all")]
    if found.labels is not None:
        there = [number for number in range(len(names)) if (found.labels == number).any()][:most]
        result += [spectrum(images[found.labels == number], names[number]) for number in there]
    return result
