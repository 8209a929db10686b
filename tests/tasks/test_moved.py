"""Targets of images that augmentation moves: they move along, each as its kind does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cnnatomy.data import Data
from cnnatomy.data.augmentation import Augmentation, augmented
from cnnatomy.data.augmentation.geometry import Move
from cnnatomy.errors import UserError
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.maps import Keypoints, other_side
from cnnatomy.training import Recipe
from cnnatomy.training.augmenting import check


@pytest.mark.parametrize("kind", ["mask", "objects", "keypoints", "depth", "localised", "heads"])
@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_images_with_places_are_not_mixed(scenes: Callable[[str], Data], kind: str, field: str) -> None:
    data = scenes(kind)
    with pytest.raises(UserError) as caught:
        check(Recipe(**{field: 1.0}), data.task, data.shape)
    assert f"{field} adds two images and their losses" in str(caught.value)
    assert f"set {field}=0" in str(caught.value)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_mixed(scenes: Callable[[str], Data], kind: str) -> None:
    check(Recipe(mixup=1.0, cutmix=1.0), scenes(kind).task, (1, 32, 32))


@pytest.mark.parametrize("kind", ["mask", "objects", "keypoints", "depth", "motion", "localised", "heads", "labels"])
def test_targets_of_every_task_move_with_their_images(scenes: Callable[[str], Data], kind: str) -> None:
    data = scenes(kind)
    images, target, seeds = next(data.train.batches(16, 0).drawn())
    recipe = Augmentation(flip=0.5, rotation=30, scale=0.2, perspective=0.2, brightness=0.2)
    moved, wanted = augmented(images, target, seeds, recipe, data.task)
    before, after = (one if isinstance(one, dict) else {"": one} for one in (target, wanted))
    assert moved.shape == images.shape
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        assert after[name].dtype == tensor.dtype
    if kind == "mask":
        outputs = torch.zeros(16, len(data.classes), 32, 32)
        assert torch.isfinite(data.task.loss(outputs, wanted, data.task.criterion("", Options())))


def test_in_a_mirror_left_and_right_change_their_names() -> None:
    names = ("nose", "left_eye", "right_eye", "Left Ear", "Right Ear", "tail left", "bright")
    assert other_side(names) == [0, 2, 1, 4, 3, 5, 6]  # of the tail there is no right one


def test_a_keypoint_moves_and_is_not_visible_outside() -> None:
    """Mirrored in an image of 10 columns, a left eye at 2 is a right one at 8; lowered by two rows the nose is gone."""
    task = Keypoints(("left eye", "right eye", "nose"), size=(10, 10))
    target = torch.tensor([[[2.0, 3, 1], [7, 3, 1], [5, 9, 1]]]).expand(2, 3, 3)
    mirrored = [[-1.0, 0, 10], [0, 1, 0], [0, 0, 1]]
    lowered = [[1.0, 0, 0], [0, 1, 2], [0, 0, 1]]
    moved = task.moved(target, Move(torch.tensor([mirrored, lowered], dtype=torch.float64), (10, 10)))
    assert isinstance(moved, torch.Tensor)
    assert moved[0].tolist() == [[3, 3, 1], [8, 3, 1], [5, 9, 1]]
    assert moved[1].tolist() == [[2, 5, 1], [7, 5, 1], [5, 11, 0]]


def test_a_motion_turns_with_its_scene(scenes: Callable[[str], Data]) -> None:
    """Mirrored, each pixel moves by as many columns the other way."""
    data = scenes("motion")
    images, target, seeds = next(data.train.batches(16, 0).drawn())
    assert isinstance(target, torch.Tensor)
    _, moved = augmented(images, target, seeds, Augmentation(flip=1), data.task)
    assert isinstance(moved, torch.Tensor)
    assert torch.equal(moved[:, 0], target[:, 0].flip(2))
    assert torch.equal(moved[:, 1], -target[:, 1].flip(2))
