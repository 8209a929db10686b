"""Random numbers of an image: spread evenly, and the same whatever is drawn beside them."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.data.augmentation.draws import between, happens, normals_like, uniforms
from image_seeds import image_seeds

MANY = range(20_000)
SEEDS = image_seeds(len(MANY))


def test_numbers_are_uniform() -> None:
    """Mean 1/2 and variance 1/12, within four standard errors; every tenth as often."""
    drawn = uniforms(SEEDS, "flip", 3)
    assert drawn.dtype == torch.float64
    assert 0 <= float(drawn.min()) <= float(drawn.max()) < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 4 * (1 / 12 / len(MANY)) ** 0.5
    assert drawn.var(0).tolist() == pytest.approx([1 / 12] * 3, rel=0.02)
    tenths = torch.histc(drawn[:, 0], 10, 0, 1)
    assert (tenths / len(MANY) - 0.1).abs().max() < 0.01


def test_numbers_of_an_image_do_not_depend_on_one_another() -> None:
    drawn = [uniforms(SEEDS, "flip", 2), uniforms(SEEDS, "crop"), uniforms(image_seeds(len(MANY), epoch=1), "flip")]
    correlations = torch.corrcoef(torch.cat(drawn, 1).T) - torch.eye(4, dtype=torch.float64)
    assert correlations.abs().max() < 4 / len(MANY) ** 0.5


def test_neighbours_do_not_depend_on_one_another() -> None:
    drawn = uniforms(SEEDS, "flip")[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([drawn[1:], drawn[:-1]]))[0, 1])) < 4 / len(MANY) ** 0.5


def test_an_image_has_the_same_numbers_in_any_batch() -> None:
    drawn, some = uniforms(SEEDS, "flip", 4), torch.tensor([17, 3, 19_999])
    assert torch.equal(uniforms(SEEDS[some], "flip", 4), drawn[some])
    assert torch.equal(uniforms(SEEDS, "flip", 2), drawn[:, :2])


def test_a_range_is_respected() -> None:
    drawn = between(SEEDS, "rotation", -10, 10)
    assert -10 <= float(drawn.min()) < -9.9
    assert 9.9 < float(drawn.max()) < 10


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_is_that_share(share: float) -> None:
    assert float(happens(SEEDS, "flip", share).double().mean()) == pytest.approx(share, abs=0.015 * (0 < share < 1))


def test_normal_numbers_are_normal_and_each_images_own() -> None:
    images = torch.zeros(8, 3, 50, 50)
    drawn = normals_like(images, image_seeds(8))
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(1, abs=0.02)
    some = torch.tensor([6, 2])
    assert torch.equal(normals_like(images[some], image_seeds(8)[some]), drawn[some])
    assert not torch.equal(drawn[0], drawn[1])
