"""TrivialAugment and RandAugment: each image has operations of its own, as strong as the papers say."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.data.augmentation import Augmentation
from cnnatomy.data.augmentation.geometry import Move
from cnnatomy.data.augmentation.policies import NUMBERS, OPERATIONS, Round, changed, matrices_of, rounds_of
from image_seeds import image_seeds as seeds
from peers import torchvision

SIZE = (224, 224)


def only(name: str, *amounts: float) -> list[Round]:
    return [Round(torch.full((len(amounts),), NUMBERS[name]), torch.tensor(amounts, dtype=torch.float64))]


@pytest.mark.peers
def test_the_operations_and_strengths_of_trivial_are_torchvisions() -> None:
    """Its names of ours: factors and angles as they are, shifts in pixels of 224, a shear in its tangent."""
    torchvision()
    from torchvision.transforms.v2 import TrivialAugmentWide

    space = TrivialAugmentWide._AUGMENTATION_SPACE
    names = {
        "Identity": "identity", "ShearX": "shear across", "ShearY": "shear down", "TranslateX": "shift across",
        "TranslateY": "shift down", "Rotate": "rotation", "Brightness": "brightness", "Color": "colour",
        "Contrast": "contrast", "Sharpness": "sharpness", "Posterize": "posterize", "Solarize": "solarize",
        "AutoContrast": "autocontrast", "Equalize": "equalize",
    }  # fmt: skip
    assert {names[name] for name in space} == set(OPERATIONS)
    for name, (magnitudes, signed) in space.items():
        given, ours = magnitudes(31, *SIZE), OPERATIONS[names[name]]
        if given is None:
            assert ours.trivial == 0
            continue
        most = {"Posterize": lambda m: 8 - m, "Solarize": lambda m: 1 - m}.get(name, lambda m: m)(given)
        unit = 224 if name.startswith("Translate") else 1
        assert ours.both == signed
        assert float(most.max()) == pytest.approx(ours.trivial * unit)


@pytest.mark.peers
def test_the_strengths_of_rand_are_torchvisions() -> None:
    torchvision()
    from torchvision.transforms.v2 import RandAugment

    space = RandAugment._AUGMENTATION_SPACE
    assert len(space) == len(OPERATIONS)
    most = {name: magnitudes(31, *SIZE) for name, (magnitudes, _) in space.items()}
    assert float(most["ShearX"].max()) == pytest.approx(OPERATIONS["shear across"].rand)
    assert float(most["TranslateY"].max()) == pytest.approx(OPERATIONS["shift down"].rand * 224)
    assert float(most["Rotate"].max()) == OPERATIONS["rotation"].rand
    assert float(most["Contrast"].max()) == pytest.approx(OPERATIONS["contrast"].rand)
    assert 8 - float(most["Posterize"].min()) == OPERATIONS["posterize"].rand


def test_each_image_draws_its_own_operation_and_all_are_as_frequent() -> None:
    (one,) = rounds_of(seeds(14_000), Augmentation(trivial=True))
    counts = torch.bincount(one.operations, minlength=len(OPERATIONS))
    assert counts.tolist() == pytest.approx([1000] * 14, rel=0.12)
    turned = one.amounts[one.operations == NUMBERS["rotation"]]
    assert float(turned.min()) == -135
    assert float(turned.max()) == 135
    assert len(turned.unique()) == 61  # 31 strengths in both directions, and one none


@pytest.mark.parametrize("strength", [1.0, 3.0, 10.0])
def test_rand_is_two_operations_of_one_strength(strength: float) -> None:
    rounds = rounds_of(seeds(1000), Augmentation(rand=strength))
    assert len(rounds) == 2
    assert not torch.equal(rounds[0].operations, rounds[1].operations)
    for one in rounds:
        turned = one.amounts[one.operations == NUMBERS["rotation"]]
        assert turned.abs().unique().tolist() == pytest.approx([3 * strength])


def test_none_is_drawn_where_none_is_asked_for() -> None:
    assert rounds_of(seeds(4), Augmentation()) == []


def test_shifts_are_of_whole_pixels() -> None:
    matrices = matrices_of(only("shift across", 0.13, -0.05), (30, 50))
    assert matrices[:, :2, 2].tolist() == [[6, 0], [-2, 0]]  # 6.5 rounds to even
    assert matrices_of(only("shift down", 0.1), (30, 50))[0, :2, 2].tolist() == [0, 3]


def test_a_turn_by_ninety_degrees_is_exact() -> None:
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    move = Move(matrices_of(only("rotation", 90.0), (8, 8)), (8, 8))
    assert torch.equal(move.pixels(images), images.rot90(-1, (2, 3)))


def test_values_change_by_the_operation_of_their_image_alone() -> None:
    images = torch.rand(3, 3, 8, 8)
    rounds = [
        Round(
            torch.tensor([NUMBERS["brightness"], NUMBERS["rotation"], NUMBERS["solarize"]]), torch.tensor([-0.5, 9, 1])
        )
    ]
    after = changed(images, rounds)
    assert torch.allclose(after[0], images[0] / 2)
    assert torch.equal(after[1], images[1])
    assert torch.allclose(after[2], 1 - images[2])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_operation_leaves_images_of_any_channels_in_their_range(channels: int) -> None:
    images = torch.rand(200, channels, 6, 6)
    after = changed(images, rounds_of(seeds(200), Augmentation(trivial=True, rand=10)))
    assert after.shape == images.shape
    assert 0 <= float(after.min()) <= float(after.max()) <= 1
