"""Mixup and cutmix: the shares of images and targets are the same, and follow from seed and step."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.data.augmentation import Augmentation, blended
from cnnatomy.data.augmentation.mixing import rectangle

IMAGES = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 10, 20) * 40
LABELS = torch.arange(6)


def test_nothing_is_mixed_where_nothing_is_asked_for() -> None:
    images, wanted = blended(IMAGES, LABELS, Augmentation(), 0, 0)
    assert images is IMAGES
    assert wanted == [(1.0, LABELS)]


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
@pytest.mark.parametrize("step", range(8))
def test_the_share_of_a_target_is_that_of_its_image(field: str, step: int) -> None:
    """An image of one grey level and another of another one: their mean says how much there is of each."""
    images, wanted = blended(IMAGES, LABELS, Augmentation(**{field: 0.7}), 3, step)
    (share, target), (rest, other) = wanted
    assert torch.equal(target, LABELS)
    assert sorted(other.tolist()) == LABELS.tolist()
    assert share + rest == pytest.approx(1)
    assert torch.allclose(images.float().mean((1, 2, 3)), 40 * (share * target + rest * other), atol=1e-3)


def test_mixup_adds_pixels_and_cutmix_keeps_them() -> None:
    mixed, _ = blended(IMAGES, LABELS, Augmentation(mixup=1.0), 0, 0)
    cut, _ = blended(IMAGES, LABELS, Augmentation(cutmix=1.0), 0, 1)
    assert mixed.dtype == torch.float32
    assert cut.dtype == torch.uint8
    assert set(cut.unique().tolist()) <= set(IMAGES.unique().tolist())
    assert (torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1) * 40 == IMAGES).all()  # what was given stays


def test_a_step_is_mixed_alike_each_time_and_unlike_another() -> None:
    recipe = Augmentation(mixup=0.4, cutmix=1.0)
    first, again, other = (blended(IMAGES, LABELS, recipe, 5, step) for step in (7, 7, 8))
    assert torch.equal(first[0], again[0])
    assert first[1][0].share == again[1][0].share != other[1][0].share


def test_of_both_each_has_half_of_the_batches() -> None:
    recipe = Augmentation(mixup=1.0, cutmix=1.0)
    cuts = [blended(IMAGES, LABELS, recipe, 0, step)[0].dtype == torch.uint8 for step in range(400)]
    assert sum(cuts) / 400 == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_a_beta_distribution(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1))."""
    shares = torch.tensor(
        [blended(IMAGES, LABELS, Augmentation(mixup=alpha), 0, step)[1][0].share for step in range(2000)]
    )
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_targets_by_head_are_mixed_by_head() -> None:
    _, wanted = blended(IMAGES, {"one": LABELS, "two": LABELS * 2}, Augmentation(mixup=1.0), 0, 0)
    other = wanted[1].target
    assert isinstance(other, dict)
    assert torch.equal(other["two"], 2 * other["one"])


@pytest.mark.parametrize(
    ("area", "centre", "rows", "columns"),
    [(0.25, (0.5, 0.5), (2, 6), (4, 12)), (0.25, (0.0, 1.0), (0, 2), (12, 16)), (1.0, (0.5, 0.5), (0, 8), (0, 16))],
)
def test_a_rectangle_has_the_area_and_is_cut_off_at_the_edge(
    area: float, centre: tuple[float, float], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    assert rectangle(area, torch.tensor(centre), (8, 16)) == (slice(*rows), slice(*columns))
