"""Near duplicates: copies are found, and different images are not taken for copies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.datasets import load_digits

from cnnatomy.data import duplicates as module
from cnnatomy.data.duplicates import CLOSE, CROWD, SAME, SIMILAR, near_duplicates, thumbnail, whitened
from cnnatomy.data.images import Pixels


def photograph(seed: int, side: int = 96) -> Image.Image:
    """Blurred noise on several scales, as natural images have their power."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for size in (4, 8, 16, 32):
        noise = Image.fromarray(generator.integers(0, 256, (size, size, 3), np.uint8))
        pixels += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) * (4 / size)
    return Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def small(image: Image.Image) -> Pixels:
    return thumbnail(np.asarray(image).transpose(2, 0, 1))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


COPIES = {
    "JPEG 50": lambda image: jpeg(image, 50),
    "JPEG 90": lambda image: jpeg(image, 90),
    "smaller": lambda image: image.resize((77, 77), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "cut": lambda image: image.crop((1, 1, 95, 95)),
}
PHOTOGRAPHS = [photograph(seed) for seed in range(30)]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_each_photograph_is_found_and_nothing_else(copy: str) -> None:
    thumbnails = [small(image) for image in PHOTOGRAPHS]
    thumbnails += [small(COPIES[copy](image)) for image in PHOTOGRAPHS]
    assert near_duplicates(np.stack(thumbnails)).tolist() == [[one, one + 30] for one in range(30)]


def test_many_copies_of_one_photograph_are_all_found() -> None:
    """They resemble one another closely, so they are no crowd."""
    copies = [small(jpeg(PHOTOGRAPHS[0], quality)) for quality in range(50, 95, 5)]
    thumbnails = np.stack([*copies, *(small(image) for image in PHOTOGRAPHS[1:])])
    assert len(near_duplicates(thumbnails)) == 9 * 8 / 2


def test_no_digit_is_a_near_duplicate_of_another() -> None:
    pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    assert len(near_duplicates(np.stack([thumbnail(image[None]) for image in pixels]))) == 0


def test_images_without_contrast_are_near_duplicates_of_none() -> None:
    grey = np.full((20, 16, 16), 100, np.uint8)
    grey[::2, 3, 3] = 120  # a speck: a standard deviation of 1.2
    assert near_duplicates(grey).shape == (0, 2)
    assert near_duplicates(grey[:0]).shape == (0, 2)
    assert near_duplicates(np.stack([small(PHOTOGRAPHS[0])] * 2)).tolist() == [[0, 1]]


def by_hand(thumbnails: Pixels) -> list[tuple[int, int]]:
    """The rule of the module, pair by pair."""
    vectors, usable = whitened(thumbnails)
    figures = vectors @ vectors.T
    np.fill_diagonal(figures, 0)
    crowd = ((figures >= SIMILAR) & (figures < CLOSE)).sum(1)
    alone = (crowd[:, None] <= CROWD) & (crowd <= CROWD)
    near = (figures >= SAME) | ((figures >= CLOSE) & alone)
    return sorted((int(usable[i]), int(usable[j])) for i, j in np.argwhere(near) if i < j)


def families(seed: int, count: int, most: int) -> Pixels:
    """Thumbnails, each of which is another one with some noise, of up to `most` levels."""
    generator = np.random.default_rng(seed)
    kinds = generator.integers(0, 256, (max(1, count // 4), 16, 16))
    noise = generator.normal(0, generator.uniform(0, most, (count, 1, 1)), (count, 16, 16))
    return (kinds[generator.integers(0, len(kinds), count)] + noise).clip(0, 255).astype(np.uint8)


@given(st.integers(0, 10_000), st.integers(2, 120), st.integers(0, 60))
@settings(max_examples=25)
def test_no_pair_is_missed(seed: int, count: int, most: int) -> None:
    thumbnails = families(seed, count, most)
    found = [(int(one), int(other)) for one, other in near_duplicates(thumbnails)]
    assert found == by_hand(thumbnails)


def test_blocks_and_short_vectors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails = families(3, 500, 50)
    whole = near_duplicates(thumbnails)
    assert len(whole) > 100
    for block in (7, 64):
        monkeypatch.setattr(module, "_BLOCK", block)
        monkeypatch.setattr(module, "_PART", 10)
        assert np.array_equal(near_duplicates(thumbnails), whole)


def together(pairs: NDArray[np.int64], count: int) -> list[int]:
    """The first image that each is connected with."""
    first = list(range(count))
    for _ in range(count):
        for one, other in pairs.tolist():
            first[one] = first[other] = min(first[one], first[other])
    return first


def test_of_too_many_pairs_those_stay_that_connect_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film: each of its frames is near its neighbours."""
    frames = np.stack([small(PHOTOGRAPHS[one].rotate(angle / 4)) for one in (0, 1, 2) for angle in range(20)])
    whole = near_duplicates(frames)
    monkeypatch.setattr(module, "MAX_NEAR_PAIRS", 30)
    monkeypatch.setattr(module, "_BLOCK", 8)
    few = near_duplicates(frames)
    assert len(few) < len(whole)
    assert together(few, 60) == together(whole, 60)


def test_a_thumbnail_counts_every_pixel() -> None:
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::2] = 200
    assert (thumbnail(stripes)[:, 1:-1] == 100).all()
    assert thumbnail(np.zeros((3, 8, 8), np.uint8)).shape == (16, 16)
