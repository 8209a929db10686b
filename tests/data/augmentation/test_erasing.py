"""Random erasing: rectangles of the paper's areas and forms, black, and nothing else."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.data.augmentation.erasing import erased, rectangles
from image_seeds import image_seeds as seeds


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_areas_and_forms_are_those_of_the_paper(size: tuple[int, int]) -> None:
    top, left, bottom, right = rectangles(seeds(5000), size).unbind(1)
    rows, columns = size
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= rows).all()
    assert (right <= columns).all()
    high, wide = (bottom - top).double(), (right - left).double()
    areas = high * wide / (rows * columns)
    assert 0.015 < float(areas.min()) < 0.03
    assert 0.31 < float(areas.max()) < 0.35
    assert 0.25 < float((high / wide).min()) < 0.35
    assert 2.8 < float((high / wide).max()) < 3.8


def test_no_rectangle_is_as_large_as_the_image() -> None:
    found = rectangles(seeds(1000), (2, 2))
    assert ((found[:, 2:] - found[:, :2]) < 2).all()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_that_share_of_the_images_has_a_black_rectangle(share: float) -> None:
    images = torch.randint(1, 256, (400, 3, 16, 16), dtype=torch.uint8)
    changed = erased(images, seeds(400), share)
    assert changed.dtype == torch.uint8
    black = (changed == 0).all(1)
    assert torch.equal(black, (changed == 0).any(1))  # in all channels
    assert torch.equal(changed[(~black)[:, None].expand_as(images)], images[(~black)[:, None].expand_as(images)])
    assert float(black.flatten(1).any(1).double().mean()) == pytest.approx(share, abs=0.07)
    for one, where in zip(black, rectangles(seeds(400), (16, 16)).tolist(), strict=True):
        if one.any():
            top, left, bottom, right = where
            assert one.sum() == (bottom - top) * (right - left) == one[top:bottom, left:right].sum()


def test_the_images_that_are_given_stay() -> None:
    images = torch.full((8, 1, 8, 8), 9, dtype=torch.uint8)
    erased(images, seeds(8), 1.0)
    assert (images == 9).all()
    assert erased(images, seeds(8), 0.0) is images
