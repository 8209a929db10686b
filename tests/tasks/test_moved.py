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
from image_seeds import image_seeds


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


def test_what_is_outside_is_so_in_images_of_other_rows_than_columns() -> None:
    task = Keypoints(("one", "two"), size=(10, 20))
    target = torch.tensor([[[15.0, 5, 1], [5, 15, 1]]])
    moved = task.moved(target, Move(torch.eye(3, dtype=torch.float64)[None], (10, 20)))
    assert isinstance(moved, torch.Tensor)
    assert moved[0, :, 2].tolist() == [1, 0]


@pytest.mark.parametrize(
    "recipe", [Augmentation(trivial=True), Augmentation(rand=4), Augmentation(trivial=True, flip=1)]
)
def test_points_go_where_policies_take_a_bright_spot(recipe: Augmentation) -> None:
    """The spot is what differs from the same image without it, however light and colours are changed."""
    task, count = Keypoints(("spot",), size=(64, 64)), 100
    images = torch.full((count, 1, 64, 64), 60, dtype=torch.uint8)
    with_spot = images.clone()
    with_spot[..., 28:33, 18:23] = 200
    points = torch.tensor([20.5, 30.5, 1]).expand(count, 1, 3)
    plain, _ = augmented(images, points, image_seeds(count), recipe, task)
    spotted, moved = augmented(with_spot, points, image_seeds(count), recipe, task)
    assert isinstance(moved, torch.Tensor)
    assert (moved[:, 0, :2] != points[:, 0, :2]).any(1).sum() > count / 5
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    found = 0
    for difference, (at_x, at_y, _) in zip((spotted.float() - plain.float())[:, 0], moved[:, 0].tolist(), strict=True):
        weight = (difference - difference[0, 0]).abs()  # contrast and levels change all of an image
        weight = weight * (weight > 0.5 * weight.max())
        if 8 < at_x < 56 and 8 < at_y < 56 and weight.max() > 20 and (weight > 0).sum() < 80:
            found += 1
            centre = torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
            assert torch.dist(centre, torch.tensor([at_x, at_y])) < 1.5
    assert found > count / 2


@pytest.mark.parametrize("kind", ["mask", "depth", "localised", "heads", "objects", "labels"])
def test_a_mirror_mirrors_what_has_places_and_nothing_else(scenes: Callable[[str], Data], kind: str) -> None:
    data = scenes(kind)
    images, target, seeds = next(data.train.batches(16, 0).drawn())
    mirrored, moved = augmented(images, target, seeds, Augmentation(flip=1), data.task)
    assert torch.equal(mirrored, images.flip(3))
    before, after = (one if isinstance(one, dict) else {kind: one} for one in (target, moved))
    for name, tensor in before.items():
        if name in ("mask", "depth"):
            assert torch.equal(after[name], tensor.flip(-1))
        elif name == "objects":
            there = tensor[..., 4:] >= 0
            x1, y1, x2, y2, label = tensor.unbind(-1)
            assert torch.equal(after[name], torch.where(there, torch.stack([32 - x2, y1, 32 - x1, y2, label], -1), -1))
        else:
            assert after[name] is tensor
