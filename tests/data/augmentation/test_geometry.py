"""Moves: exact where pixels go to pixels, as torchvision's elsewhere, and the same for all that has places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry import get_perspective_transform
from torch import Tensor

from cnnatomy.data.augmentation import Augmentation
from cnnatomy.data.augmentation.exact import is_exact
from cnnatomy.data.augmentation.geometry import Move, matrix, translation
from cnnatomy.data.augmentation.moves import around_centre, move_of, rotation, scaling, shearing
from image_seeds import image_seeds as seeds
from peers import torchvision

SQUARE, OBLONG = (12, 12), (10, 14)


def drawn(count: int = 3, size: tuple[int, int] = SQUARE) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def degrees(*angles: float) -> Tensor:
    return torch.tensor(angles, dtype=torch.float64)


def all_of(linear: Tensor, size: tuple[int, int], count: int = 1) -> Move:
    return Move(around_centre(linear, size).expand(count, 3, 3), size)


def test_where_nothing_moves_the_tensor_is_the_same() -> None:
    images, move = drawn(), Move(torch.eye(3, dtype=torch.float64).expand(3, 3, 3), SQUARE)
    assert move.pixels(images) is images


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("turn", ["exact", "by degrees"])
def test_ninety_degrees_are_exact(quarters: int, turn: str) -> None:
    images = drawn()
    move = all_of(rotation(degrees(90.0 * quarters)), SQUARE, 3)
    if turn == "by degrees":
        move = Move(move.matrices + 1e-12, SQUARE)
    moved = move.pixels(images)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, images.rot90(-quarters, (2, 3)))  # rot90 turns to the left


@pytest.mark.parametrize(("across", "down", "axes"), [(-1.0, 1.0, (3,)), (1.0, -1.0, (2,)), (-1.0, -1.0, (2, 3))])
@pytest.mark.parametrize("size", [SQUARE, OBLONG])
def test_a_mirror_is_exact(across: float, down: float, axes: tuple[int, ...], size: tuple[int, int]) -> None:
    images, move = drawn(3, size), all_of(scaling(across, down), size, 3)
    assert torch.equal(move.pixels(images), images.flip(axes))
    assert torch.equal(move.pixels(move.pixels(images)), images)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -2), (-4, 5), (20, 0), (0, 400)])
def test_a_shift_by_whole_pixels_is_exact(x: int, y: int) -> None:
    images = drawn(2, OBLONG)
    moved = Move(translation(float(x), float(y)).expand(2, 3, 3), OBLONG).pixels(images)
    expected = np.zeros_like(images.numpy())
    rows, columns = OBLONG
    for row in range(rows):
        for column in range(columns):
            if 0 <= row - y < rows and 0 <= column - x < columns:
                expected[:, :, row, column] = images[:, :, row - y, column - x]
    assert np.array_equal(moved.numpy(), expected)


def test_each_image_is_moved_by_its_own_matrix() -> None:
    images = drawn(4)
    linear = torch.cat([scaling(1.0, 1.0), scaling(-1.0, 1.0), rotation(degrees(90.0)), rotation(degrees(30.0))])
    move = Move(around_centre(linear, SQUARE), SQUARE)
    moved = move.pixels(images)
    assert is_exact(move.matrices, SQUARE).tolist() == [True, True, True, False]
    assert torch.equal(moved[0], images[0].float())  # bit for bit, though the batch is interpolated
    assert torch.equal(moved[1], images[1].flip(2).float())
    assert torch.equal(moved[2], images[2].rot90(-1, (1, 2)).float())


@pytest.mark.peers
@pytest.mark.parametrize("size", [SQUARE, OBLONG])
@pytest.mark.parametrize(("angle", "factor", "lean"), [(10.0, 1.0, 0.0), (-75.0, 1.2, 0.0), (0.0, 0.7, 20.0)])
def test_an_affine_move_is_torchvisions(angle: float, factor: float, lean: float, size: tuple[int, int]) -> None:
    """Within a hundredth of a grey level: both interpolate in float32."""
    torchvision()
    from torchvision.transforms.v2 import functional

    images = drawn(2, size).float()
    linear = rotation(degrees(angle)) @ scaling(factor, factor) @ shearing(-math.tan(math.radians(lean)), 0.0)
    move = Move(translation(3.0, -1.0) @ around_centre(linear, size), size)
    moved = Move(move.matrices.expand(2, 3, 3), size).pixels(images)
    expected = functional.affine(
        images, angle, [3, -1], factor, [lean, 0.0], interpolation=functional.InterpolationMode.BILINEAR
    )
    assert torch.allclose(moved, expected, atol=0.01)


@pytest.mark.peers
@pytest.mark.parametrize("size", [SQUARE, OBLONG])
def test_a_perspective_is_torchvisions(size: tuple[int, int]) -> None:
    """Its places, too, are from the corner of the image; within a twentieth of a grey level, as both are in float32."""
    torchvision()
    from torchvision.transforms.v2 import functional

    rows, columns = size
    start = [[0, 0], [columns - 1, 0], [columns - 1, rows - 1], [0, rows - 1]]
    end = [[2, 1], [columns - 3, 0], [columns - 2, rows - 3], [1, rows - 1]]
    images = drawn(2, size).float()
    found = get_perspective_transform(*(torch.tensor([one], dtype=torch.float64) for one in (start, end)))
    moved = Move(found.expand(2, 3, 3), size).pixels(images)
    expected = functional.perspective(images, start, end, interpolation=functional.InterpolationMode.BILINEAR)
    assert torch.allclose(moved, expected, atol=0.05)


def test_corners_that_stay_change_nothing() -> None:
    corners = torch.tensor([[[0, 0], [14, 0], [14, 10], [0, 10]]], dtype=torch.float64)
    images = drawn(1, OBLONG)
    assert torch.equal(Move(get_perspective_transform(corners, corners), OBLONG).pixels(images), images)


@pytest.mark.parametrize("field", ["shift", "rotation", "scale", "shear", "perspective", "crop", "resized_crop"])
def test_a_move_by_nothing_is_none(field: str) -> None:
    assert move_of(seeds(3), SQUARE, Augmentation(**{field: 0})) is None


def test_a_part_of_the_whole_area_is_the_whole_image_nearly() -> None:
    """Its sides may still be others, 3:4 to 4:3 of the image's: of them only the image itself fits."""
    move = move_of(seeds(100), SQUARE, Augmentation(resized_crop=1.0))
    assert move is not None
    assert torch.equal(move.matrices, torch.eye(3, dtype=torch.float64).expand(100, 3, 3))


@settings(max_examples=20, deadline=None)
@given(least=st.floats(0.05, 1), size=st.sampled_from([SQUARE, OBLONG]))
def test_a_part_lies_in_the_image_and_has_the_area(least: float, size: tuple[int, int]) -> None:
    move = move_of(seeds(200), size, Augmentation(resized_crop=least))
    assert move is not None
    rows, columns = size
    corners = torch.tensor([[0, 0, 1], [columns, rows, 1]], dtype=torch.float64)
    found = (corners @ torch.linalg.inv(move.matrices).transpose(1, 2))[..., :2]
    assert (found >= -1e-9).all()
    assert (found <= torch.tensor([columns, rows]) + 1e-9).all()
    sides = (found[:, 1] - found[:, 0]) / torch.tensor([columns, rows])
    assert sides.prod(1).min() > least - 1e-9
    assert (sides[:, 0] / sides[:, 1]).min() > 3 / 4 - 1e-9
    assert (sides[:, 0] / sides[:, 1]).max() < 4 / 3 + 1e-9


@settings(max_examples=30, deadline=None)
@given(rotated=st.floats(0, 180), scaled=st.floats(0, 0.9), shifted=st.floats(0, 1), leant=st.floats(0, 60))
def test_ranges_are_respected(rotated: float, scaled: float, shifted: float, leant: float) -> None:
    size = (40, 60)
    turn = move_of(seeds(50), size, Augmentation(rotation=rotated))
    angles = torch.rad2deg(torch.atan2(turn.matrices[:, 1, 0], turn.matrices[:, 0, 0])) if turn else torch.zeros(1)
    assert angles.abs().max() <= rotated + 1e-6
    factor = move_of(seeds(50), size, Augmentation(scale=scaled))
    factors = factor.matrices[:, 0, 0] if factor else torch.ones(1)
    assert 1 - scaled - 1e-9 <= factors.min() <= factors.max() <= 1 + scaled + 1e-9
    shift = move_of(seeds(50), size, Augmentation(shift=shifted))
    moved = shift.matrices[:, :2, 2] if shift else torch.zeros(1, 2)
    assert (moved.abs() <= torch.tensor([60, 40]) * shifted + 1e-9).all()
    lean = move_of(seeds(50), size, Augmentation(shear=leant))
    leans = lean.matrices[:, 0, 1] if lean else torch.zeros(1)
    assert leans.abs().max() <= math.tan(math.radians(leant)) + 1e-9


def test_ranges_are_used_whole_in_both_directions() -> None:
    """Of the mean of 2,000 numbers, four standard errors."""
    move = move_of(seeds(2000), (40, 60), Augmentation(rotation=30))
    assert move is not None
    angles = torch.rad2deg(torch.atan2(move.matrices[:, 1, 0], move.matrices[:, 0, 0]))
    assert -30 <= float(angles.min()) < -29.5
    assert 29.5 < float(angles.max()) <= 30
    assert abs(float(angles.mean())) < 4 * 30 / 3**0.5 / 2000**0.5
    for recipe, row, column, low, high in (
        (Augmentation(scale=0.5), 0, 0, 0.5, 1.5),
        (Augmentation(shear=45), 0, 1, -1, 1),
        (Augmentation(shift=0.25), 0, 2, -15, 15),
        (Augmentation(shift=0.25), 1, 2, -10, 10),
    ):
        found = move_of(seeds(2000), (40, 60), recipe)
        assert found is not None
        drawn_numbers = found.matrices[:, row, column]
        assert low <= float(drawn_numbers.min()) < low + (high - low) / 50
        assert high - (high - low) / 50 < float(drawn_numbers.max()) <= high


def test_every_place_of_the_image_stays_before_the_eye() -> None:
    """The perspective is the first: after a shift, what is outside could come back mirrored, from its other side."""
    recipe = Augmentation(perspective=0.6, shift=1.0, scale=0.9, rotation=180, resized_crop=0.05)
    move = move_of(seeds(5000), SQUARE, recipe)
    assert move is not None
    corners = torch.tensor([[0.0, 0, 1], [12, 0, 1], [12, 12, 1], [0, 12, 1]], dtype=torch.float64)
    assert ((corners @ move.matrices.transpose(1, 2))[..., 2] > 0).all()


def test_crops_reach_every_place_of_the_margin() -> None:
    move = move_of(seeds(500), SQUARE, Augmentation(crop=2))
    assert move is not None
    assert {tuple(place) for place in move.matrices[:, :2, 2].tolist()} == {
        (x, y) for x in range(-2, 3) for y in range(-2, 3)
    }
    images = drawn(500)
    assert move.pixels(images).shape == images.shape


@pytest.mark.parametrize("perspective", [0.1, 0.6])
def test_corners_stay_in_the_image_and_convex(perspective: float) -> None:
    move = move_of(seeds(2000), SQUARE, Augmentation(perspective=perspective))
    assert move is not None
    corners = torch.tensor([[0.0, 0], [12, 0], [12, 12], [0, 12]]).expand(2000, 4, 2)
    places = move.points(corners.double())
    assert (places >= -1e-6).all()
    assert (places <= 12 + 1e-6).all()
    assert ((places - corners).abs() <= perspective * 6 + 1e-6).all()
    sides = places.roll(-1, 1) - places
    turns = sides[..., 0] * sides.roll(-1, 1)[..., 1] - sides[..., 1] * sides.roll(-1, 1)[..., 0]
    assert (turns > 0).all()


def test_half_is_mirrored_and_three_quarters_are_turned() -> None:
    flips = move_of(seeds(4000), SQUARE, Augmentation(flip=True))
    turns = move_of(seeds(4000), SQUARE, Augmentation(turns=0.75))
    assert flips is not None
    assert turns is not None
    assert float(flips.mirrors.double().mean()) == pytest.approx(0.5, abs=0.04)
    assert not turns.mirrors.any()
    shares = turns.matrices[:, 0, :2].unique(dim=0, return_counts=True)[1] / 4000
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.04)


EVERY_MOVE = Augmentation(
    flip=0.5, flip_vertical=0.5, turns=0.5, crop=2, resized_crop=0.5, shift=0.1, rotation=20, scale=0.2, shear=10,
    perspective=0.3,
)  # fmt: skip


def test_an_image_moves_alike_in_any_batch() -> None:
    images, own = drawn(16, (24, 24)), seeds(16)
    whole = move_of(own, (24, 24), EVERY_MOVE)
    some = torch.tensor([11, 4, 8])
    part = move_of(own[some], (24, 24), EVERY_MOVE)
    assert whole is not None
    assert part is not None
    assert torch.equal(whole.pixels(images)[some], part.pixels(images[some]))


@settings(max_examples=40, deadline=None)
@given(
    recipe=st.builds(
        Augmentation,
        flip=st.sampled_from([0, 0.5]),
        flip_vertical=st.sampled_from([0, 0.5]),
        turns=st.sampled_from([0, 0.75]),
        crop=st.integers(0, 6),
        resized_crop=st.sampled_from([0, 0.5]),
        shift=st.floats(0, 0.2),
        rotation=st.floats(0, 180),
        scale=st.floats(0, 0.3),
        shear=st.floats(0, 20),
        perspective=st.floats(0, 0.5),
    ),
    place=st.tuples(st.integers(6, 41), st.integers(6, 41)),
    epoch=st.integers(0, 1000),
)
def test_points_boxes_and_masks_move_with_a_bright_spot(
    recipe: Augmentation, place: tuple[int, int], epoch: int
) -> None:
    size, (row, column), count = (48, 48), place, 4
    move = move_of(seeds(count, epoch), size, recipe)
    if move is None:
        return
    images = torch.zeros(count, 1, *size)
    images[..., row - 2 : row + 3, column - 2 : column + 3] = 255
    point = torch.tensor([column + 0.5, row + 0.5]).expand(count, 1, 2)
    box = torch.tensor([column - 2.0, row - 2, column + 3, row + 3, 1]).expand(count, 1, 5)
    moved, points, boxes = move.pixels(images)[:, 0], move.points(point)[:, 0], move.boxes(box)[:, 0]
    masks = move.classes((images[:, 0] > 0).to(torch.uint8))
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    for image, (at_x, at_y), found, mask in zip(moved, points.tolist(), boxes.tolist(), masks, strict=True):
        if not (10 < at_x < 38 and 10 < at_y < 38):  # the spot may be cut off
            continue
        mass = image.sum()
        centre = torch.stack([(x * image).sum() / mass, (y * image).sum() / mass])
        assert torch.dist(centre, torch.tensor([at_x, at_y])) < 0.75
        bright, ours = image > 128, mask == 1
        assert (bright != ours).sum() <= 0.35 * ours.sum() + 4  # all along the edge
        assert found[4] == 1
        inside = (x > found[0] - 0.6) & (x < found[2] + 0.6) & (y > found[1] - 0.6) & (y < found[3] + 0.6)
        assert not (ours & ~inside).any()


def test_what_comes_from_outside_is_ignored_in_a_mask_and_unknown_in_a_map() -> None:
    shifted = Move(translation(3.0, 0.0), SQUARE)
    turned = all_of(rotation(degrees(45.0)), SQUARE)
    mask, numbers = torch.ones(1, 12, 12, dtype=torch.uint8), torch.full((1, 1, 12, 12), 7.0)
    for move in (shifted, turned):
        moved, known = move.classes(mask), ~move.numbers(numbers).isnan()
        assert moved.dtype == torch.uint8
        assert set(moved.unique().tolist()) == {1, 255}
        assert torch.equal(known[:, 0], moved == 1)
    assert (shifted.classes(mask) == 255).sum() == 3 * 12


def test_an_unknown_number_stays_unknown_and_is_no_neighbours() -> None:
    numbers = torch.arange(144.0).view(1, 1, 12, 12)
    numbers[0, 0, 5, 5] = torch.nan
    moved = all_of(rotation(degrees(5.0)), SQUARE).numbers(numbers)
    known = moved[~moved.isnan()]
    assert torch.equal(known, known.round())  # the nearest, no mixture
    assert moved[0, 0, 3:9, 3:9].isnan().any()


def test_a_map_of_half_the_rows_and_columns_moves_as_its_image() -> None:
    mask = torch.zeros(1, 6, 6, dtype=torch.uint8)
    mask[0, 1, 4] = 3
    large = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    move = Move(translation(-4.0, 2.0), SQUARE)
    small = move.classes(mask)
    assert torch.equal(small.repeat_interleave(2, 1).repeat_interleave(2, 2), move.classes(large))


def test_a_box_that_hardly_shows_is_dropped_and_a_crowd_stays_one() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4, 2], [6, 6, 10, 10, -3], [0, 0, 1, 1, -1], [5, 0, 9, 4, 0]]])
    moved = Move(translation(-3.5, 0.0), SQUARE).boxes(boxes)  # an eighth of the first is left
    assert moved[0, 0].tolist() == [-1] * 5
    assert moved[0, 1].tolist() == [2.5, 6, 6.5, 10, -3]
    assert moved[0, 2].tolist() == [-1] * 5
    assert moved[0, 3].tolist() == [1.5, 0, 5.5, 4, 0]


def test_a_displacement_turns_with_its_image() -> None:
    """Two columns to the right become two rows down where the image is turned to the right by 90 degrees."""
    maps = torch.zeros(1, 2, 12, 12)
    maps[:, 1] = 2.0
    turned = all_of(rotation(degrees(90.0)), SQUARE).displacements(maps)
    assert torch.allclose(turned[:, 0], torch.tensor(2.0))
    assert torch.allclose(turned[:, 1], torch.tensor(0.0), atol=1e-6)
    larger = all_of(scaling(2.0, 2.0), SQUARE).displacements(maps)
    assert torch.allclose(larger[:, 1], torch.tensor(4.0))
    mirrored = all_of(scaling(-1.0, 1.0), SQUARE).displacements(maps)
    assert torch.equal(mirrored[:, 1], torch.full((1, 12, 12), -2.0))


def test_a_matrix_is_made_of_numbers_and_of_one_number_an_image() -> None:
    made = matrix([[1.0, degrees(2.0, 3.0), 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert made.shape == (2, 3, 3)
    assert made[:, 0, 1].tolist() == [2, 3]
