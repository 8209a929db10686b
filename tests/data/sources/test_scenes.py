from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL
from cnnatomy.data.sources import digits, scenes
from cnnatomy.data.sources.scenes import KINDS, Drawn, digits_of, draw, draw_scene
from cnnatomy.errors import UserError

GREY, RGB, PAIR = (1, 64, 64), (3, 48, 80), (2, 64, 64)


def some(kind: str, count: int = 60, split: int = TRAIN, seed: int = 0) -> Drawn:
    return draw(kind, PAIR if kind == "motion" else GREY, split, count, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_depends_on_seed_split_and_number_alone(kind: str) -> None:
    few, more = some(kind, 5), some(kind, 9)
    assert torch.equal(few.images, more.images[:5])
    assert torch.equal(few.targets, more.targets[:5])
    assert not torch.equal(few.images, some(kind, 5, TEST).images)
    assert not torch.equal(few.images, some(kind, 5, seed=1).images)


def test_all_kinds_have_the_same_scenes() -> None:
    images = some("objects").images
    assert all(torch.equal(some(kind).images, images) for kind in ("mask", "labels", "numbers", "depth"))
    assert torch.equal(some("motion").images[:, :1], images)


def test_no_digit_is_in_two_splits() -> None:
    members = [set(digits_of(split).tolist()) for split in (TRAIN, VAL, TEST)]
    assert [len(part) for part in members] == [1259, 179, 359]
    found = digits.read()
    images = [{found.fetch(index, Frame((1, 8, 8))).pixels.tobytes() for index in part} for part in members]
    for one, other in itertools.combinations(images, 2):
        assert not one & other


@pytest.mark.parametrize("shape", [GREY, RGB, (1, 32, 32)])
def test_boxes_are_tight_around_the_digits_of_the_mask(shape: tuple[int, int, int]) -> None:
    boxes, masks = (draw(kind, shape, VAL, 60).targets for kind in ("objects", "mask"))
    assert boxes.shape == (60, 4, 5)
    for found, mask in zip(boxes, masks, strict=True):
        rest = mask.clone()
        for x1, y1, x2, y2, label in found[found[:, 4] >= 0].int().tolist():
            inside = mask[y1:y2, x1:x2] == label + 1
            assert inside.any(0)[[0, -1]].all()
            assert inside.any(1)[[0, -1]].all()
            rest[y1:y2, x1:x2] = 0
        assert not rest.any()


def test_one_to_four_digits_of_10_to_24_pixels() -> None:
    boxes = some("objects", 300).targets
    counts = (boxes[:, :, 4] >= 0).sum(1)
    assert set(counts.tolist()) == {1, 2, 3, 4}
    known = boxes[boxes[..., 4] >= 0]
    heights = known[:, 3] - known[:, 1]
    assert heights.max() <= 24
    assert 8 <= heights.quantile(0.05) <= 11
    assert set(known[:, 4].tolist()) == set(range(10))


def test_labels_and_numbers_say_what_is_in_the_boxes() -> None:
    boxes, labels, numbers, depth = (some(kind).targets for kind in ("objects", "labels", "numbers", "depth"))
    for found, said, (count, closest), depths in zip(boxes, labels, numbers.tolist(), depth, strict=True):
        classes = found[:, 4][found[:, 4] >= 0].int().tolist()
        assert set(classes) == set(said.nonzero()[:, 0].tolist())
        assert count == len(classes)
        assert closest == depths.min()


def test_near_digits_are_larger_and_brighter() -> None:
    images, depth, boxes = some("depth", 400).images[:, 0], some("depth", 400).targets[:, 0], some("objects", 400)
    assert depth.unique().max() == scenes.BACKGROUND
    rows = []
    for image, depths, found in zip(images, depth, boxes.targets, strict=True):
        if (found[:, 4] >= 0).sum() == 1:
            ink = depths < scenes.BACKGROUND
            rows.append((float(depths[ink][0]), float(image[ink].float().mean()), float(found[0, 3] - found[0, 1])))
    correlation = np.corrcoef(np.array(rows).T)
    assert correlation[0, 1] < -0.8
    assert correlation[0, 2] < -0.8


def test_motion_leads_from_the_first_frame_to_the_second() -> None:
    moved = unmoved = 0.0
    for number in range(40):
        scene = draw_scene(PAIR, TRAIN, number, most=1, frames=2)
        rows, columns = np.nonzero(scene.owner == 0)
        down, right = scene.motions[0]
        assert abs(down) <= 4
        assert abs(right) <= 4
        first, second = (frame[0].astype(float) for frame in scene.frames)
        moved += np.abs(first[rows, columns] - second[rows + down, columns + right]).mean()
        unmoved += np.abs(first[rows, columns] - second[rows, columns]).mean()
    assert moved < unmoved / 5


def test_what_does_not_move_is_the_same_in_both_frames() -> None:
    scene = draw_scene(PAIR, TRAIN, 3, frames=2)
    changed = scene.frames[0] != scene.frames[1]
    assert 0 < changed.mean() < 0.4
    target = some("motion", 4).targets[3]
    assert not target[:, scene.owner < 0].any()


def test_keypoints_are_pixels_of_the_digit_at_its_four_ends() -> None:
    drawn = some("keypoints")
    for number, points in enumerate(drawn.targets):
        scene = draw_scene(GREY, TRAIN, number, most=1)
        owner = scene.owner == 0
        top, bottom, left, right = points.tolist()
        rows, columns = np.nonzero(owner)
        assert (top[1], bottom[1]) == (rows.min() + 0.5, rows.max() + 0.5)
        assert (left[0], right[0]) == (columns.min() + 0.5, columns.max() + 0.5)
        assert all(owner[int(y), int(x)] and visible == 1 for x, y, visible in points.tolist())


def test_a_covered_digit_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "OVERLAP", 1.0)
    boxes, numbers, masks = (some(kind, 400).targets for kind in ("objects", "numbers", "mask"))
    assert ((boxes[..., 4] >= 0).sum(1) == numbers[:, 0]).all()
    for found, mask in zip(boxes, masks, strict=True):
        assert set(found[:, 4].int().tolist()) - {-1} == set(mask.int().unique().sub(1).tolist()) - {-1}


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("object", GREY, "no drawn scenes of object: one of .* Did you mean objects"),
        ("motion", RGB, "motion have 2 channels, the two frames in grey; the network takes 3"),
        ("mask", PAIR, "mask have 1 or 3 channels; the network takes 2"),
        ("mask", (1, 28, 64), "28 x 64 pixels; drawn scenes have 32 x 32 at least"),
        ("depth", (3, 10_000, 10_000), "take 1,400,000,000,000 bytes, at most 2,147,483,648"),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(kind, shape, TRAIN)
