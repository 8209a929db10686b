"""Changes of values: as torchvision's, in their range, and nothing to what they are not for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cnnatomy.data.augmentation import Augmentation
from cnnatomy.data.augmentation.colours import (
    JITTER,
    autocontrast,
    brightness,
    colour,
    coloured,
    contrast,
    equalize,
    hue,
    noisy,
    posterize,
    sharpness,
    solarize,
)
from image_seeds import image_seeds as seeds
from peers import torchvision


def drawn(count: int = 4, channels: int = 3, side: int = 16) -> Tensor:
    """Photographs have neighbours that are alike, and all levels."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, channels, side // 4, side // 4, generator=generator)
    large = torch.nn.functional.interpolate(small, (side, side), mode="bilinear")
    return (large * 255).round() / 255


@pytest.mark.peers
@pytest.mark.parametrize("amount", [-0.99, -0.4, 0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (brightness, "adjust_brightness"),
        (contrast, "adjust_contrast"),
        (colour, "adjust_saturation"),
        (sharpness, "adjust_sharpness"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_factor_is_torchvisions(change: object, name: str, amount: float, channels: int) -> None:
    """Within half of a grey level: its weights of red, green and blue have four digits, and kornia's three."""
    torchvision()
    from torchvision.transforms.v2 import functional

    images = drawn(channels=channels)
    changed = change(images, torch.full((4,), amount))  # type: ignore[operator]
    assert torch.allclose(changed, getattr(functional, name)(images, 1 + amount), atol=0.5 / 255)


@pytest.mark.peers
@pytest.mark.parametrize("amount", [-0.5, -0.1, 0.0, 0.25, 0.5])
def test_hue_is_torchvisions(amount: float) -> None:
    torchvision()
    from torchvision.transforms.v2 import functional

    images = drawn()
    changed = hue(images, torch.full((4,), amount))
    assert torch.allclose(changed, functional.adjust_hue(images, amount), atol=0.5 / 255)


@pytest.mark.peers
@pytest.mark.parametrize("bits", [0, 1, 3, 6])
def test_posterize_is_torchvisions(bits: int) -> None:
    torchvision()
    from torchvision.transforms.v2 import functional

    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    changed = posterize(levels.float() / 255, torch.tensor([float(bits)]))
    assert torch.equal((changed * 255).round().to(torch.uint8), functional.posterize(levels, 8 - bits))


@pytest.mark.peers
@pytest.mark.parametrize("amount", [0.0, 1 / 3, 0.6, 1.0])
def test_solarize_is_torchvisions(amount: float) -> None:
    torchvision()
    from torchvision.transforms.v2 import functional

    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    changed = solarize(levels.float() / 255, torch.tensor([amount]))
    assert torch.equal((changed * 255).round().to(torch.uint8), functional.solarize(levels, 255 * (1 - amount)))


@pytest.mark.peers
@pytest.mark.parametrize(("change", "name"), [(autocontrast, "autocontrast"), (equalize, "equalize")])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_has_no_amount_is_torchvisions(change: object, name: str, channels: int) -> None:
    """Within a level of 255, by which it cuts off and we do not."""
    torchvision()
    from torchvision.transforms.v2 import functional

    images = drawn(channels=channels) * 0.6 + 0.2
    images[3] = 0.5  # of one level
    levels = (images * 255).round().to(torch.uint8)
    changed = change(levels.float() / 255, torch.zeros(4))  # type: ignore[operator]
    expected = getattr(functional, name)(levels).float()
    assert ((changed * 255).round() - expected).abs().max() <= 1


@pytest.mark.parametrize("change", [colour, hue])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_what_has_no_red_green_and_blue_keeps_its_colours(change: object, channels: int) -> None:
    images = drawn(channels=channels)
    assert torch.equal(change(images, torch.full((4,), 0.3)), images)  # type: ignore[operator]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", JITTER)
def test_values_stay_from_black_to_white(name: str, channels: int) -> None:
    images = drawn(64, channels)
    changed = coloured(images, seeds(64), Augmentation(**{name: 0.5}))
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_factors_are_drawn_from_their_whole_range_and_for_each_image() -> None:
    changed = coloured(torch.full((2000, 1, 2, 2), 0.4), seeds(2000), Augmentation(brightness=0.5))
    factors = changed[:, 0, 0, 0] / 0.4
    assert 0.5 <= float(factors.min()) < 0.51
    assert 1.49 < float(factors.max()) <= 1.5 + 1e-6
    assert float(factors.mean()) == pytest.approx(1, abs=0.03)


def test_an_image_is_coloured_alike_in_any_batch() -> None:
    recipe = Augmentation(brightness=0.4, contrast=0.4, colour=0.4, hue=0.1)
    images, some = drawn(16), torch.tensor([9, 2])
    whole = coloured(images, seeds(16), recipe)
    assert torch.equal(whole[some], coloured(images[some], seeds(16)[some], recipe))


@pytest.mark.parametrize("deviation", [0.01, 0.05, 0.1])
def test_noise_has_the_standard_deviation_that_was_asked_for(deviation: float) -> None:
    added = noisy(torch.full((8, 3, 64, 64), 0.5), seeds(8), deviation) - 0.5
    assert float(added.std()) == pytest.approx(deviation, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=deviation / 50)


def test_noise_is_cut_off_at_black_and_white() -> None:
    changed = noisy(drawn(), seeds(4), 0.5)
    assert float(changed.min()) == 0
    assert float(changed.max()) == 1
