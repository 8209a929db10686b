from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from cnnatomy.data.frames import Frame
from cnnatomy.data.images import read_stored
from cnnatomy.data.sources.coco import Annotated, fit_boxes, padded, read_coco, renumbered, upright
from cnnatomy.data.sources.detection import AnnotatedObjects
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_OBJECTS


def annotations(**changes: Any) -> dict[str, Any]:
    """Two images, the classes of COCO's ids 18 and 1, three objects; the last is a crowd."""
    content: dict[str, Any] = {
        "info": {"year": 2017},
        "images": [
            {"id": 9, "file_name": "a.jpg", "width": 64, "height": 48, "license": 3},
            {"id": 4, "file_name": "deep/b.jpg", "width": 32, "height": 32},
        ],
        "categories": [
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 1, "name": "person", "supercategory": "person"},
        ],
        "annotations": [
            {"id": 70, "image_id": 9, "category_id": 18, "bbox": [8, 4.5, 16, 20], "iscrowd": 0, "area": 320},
            {"id": 71, "image_id": 9, "category_id": 1, "bbox": [50, -2, 20, 10]},
            {"id": 72, "image_id": 9, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        ],
    }
    for path, value in changes.items():
        key, number, field = path.split("__")
        content[key][int(number)][field] = value
    return content


def read(content: Any, folder: Path) -> Annotated:
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_coco(path, folder / "images")


def test_boxes_are_read_as_corners_and_classes(tmp_path: Path) -> None:
    found = read(annotations(), tmp_path)
    assert found.classes == ("person", "dog")
    assert found.paths == (tmp_path / "images/a.jpg", tmp_path / "images/deep/b.jpg")
    assert found.sizes == ((48, 64), (32, 32))
    assert found.boxes[0].tolist() == [[8, 4.5, 24, 24.5, 1], [50, 0, 64, 8, 0], [0, 0, 60, 40, -2]]
    assert found.boxes[1].shape == (0, 5)
    assert found.skipped == ()


def test_a_box_without_area_is_skipped_by_its_id(tmp_path: Path) -> None:
    found = read(annotations(annotations__1__bbox=[50, 5, 1.03, 0.0]), tmp_path)
    assert found.skipped == (("annotation 71", "its box [50, 5, 1.03, 0.0] has no width or no height"),)
    assert len(found.boxes[0]) == 2


@pytest.mark.parametrize("box", [[-20, 10, 10, 10], [200, 10, 10, 10], [64, 2, 3, 4], [8, -9, 3, 9]])
def test_a_box_outside_its_image_is_skipped_and_the_others_are_kept(tmp_path: Path, box: list[float]) -> None:
    found = read(annotations(annotations__1__bbox=box), tmp_path)
    reason = f"nothing of its box {box} is in its image of 64 x 48 pixels (width x height)"
    assert found.skipped == (("annotation 71", reason),)
    assert len(found.boxes[0]) == 2


def test_a_box_of_negative_width_is_skipped(tmp_path: Path) -> None:
    found = read(annotations(annotations__1__bbox=[1, 2, -3, 4]), tmp_path)
    assert found.skipped == (("annotation 71", "its box [1, 2, -3, 4] has no width or no height"),)


def test_a_box_that_rounding_puts_outside_is_clipped(tmp_path: Path) -> None:
    found = read(annotations(annotations__1__bbox=[-0.004, 10, 64.01, 38.002]), tmp_path)
    assert found.boxes[0][1].tolist() == [0, 10, 64, 48, 0]


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_in_pixels_of_the_stored_image_are_turned_with_it(tmp_path: Path, orientation: int) -> None:
    """A white rectangle in an image that its EXIF turns by a quarter lies where its box is turned to."""
    image = Image.new("L", (96, 64))
    image.paste(255, (8, 4, 32, 20))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    pixels, stored = read_stored(tmp_path / "a.png", Frame((1, 96, 64)))
    assert (stored.size, stored.upright) == ((64, 96), (96, 64))
    boxes = np.array([[8, 4, 32, 20, 1]], np.float32)
    ((x1, y1, x2, y2, _),) = upright(boxes, (64, 96), stored).astype(int).tolist()
    assert pixels[0, y1:y2, x1:x2].min() == 255
    assert pixels.sum(dtype=int) == 255 * (y2 - y1) * (x2 - x1)
    assert upright(boxes, (96, 64), stored) is boxes


def test_classes_get_other_numbers_and_those_of_crowds_too() -> None:
    boxes = np.array([[0, 0, 9, 9, 0], [0, 0, 9, 9, 1], [0, 0, 9, 9, -3]], np.float32)
    assert renumbered(boxes, np.array([4, 2]))[:, 4].tolist() == [4, 2, -4]
    assert renumbered(boxes[:0], np.array([4, 2])).shape == (0, 5)


def test_targets_are_padded_with_minus_one(tmp_path: Path) -> None:
    found = read(annotations(), tmp_path)
    objects = AnnotatedObjects(found.classes, found.sizes, found.boxes)
    targets = objects.targets(Frame((3, 24, 32)), {}, np.zeros((2, 0), np.bool_))
    assert targets.shape == (2, 3, 5)
    assert targets[0, 0].tolist() == [4, 2.25, 12, 12.25, 1]
    assert (targets[1] == -1).all()
    assert padded([np.zeros((0, 5), np.float32)]).shape == (1, 1, 5)


@given(
    size=st.tuples(st.integers(40, 120), st.integers(40, 120)),
    shape=st.tuples(st.integers(40, 120), st.integers(40, 120)),
    place=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_boxes_are_fitted_as_their_images_are(
    size: tuple[int, int], shape: tuple[int, int], place: tuple[float, float, float, float]
) -> None:
    """A white rectangle in an image, cropped and scaled with it, lies where its box is."""
    (rows, columns), (left, top, wide, high) = size, place
    x1, y1 = int(left * (columns - 12)), int(top * (rows - 12))
    x2, y2 = x1 + 12 + int(wide * (columns - 12 - x1)), y1 + 12 + int(high * (rows - 12 - y1))
    image = Image.new("L", (columns, rows))
    image.paste(255, (x1, y1, x2, y2))
    frame = Frame((1, *shape), "crop")
    pixels = frame.fitted(image)[0] / 255
    boxes = fit_boxes(np.array([[x1, y1, x2, y2, 7]], np.float32), size, frame)
    if len(boxes) == 0:
        scale = max(shape[0] / rows, shape[1] / columns)
        assert pixels.sum() < 0.3 * (x2 - x1) * (y2 - y1) * scale**2
        return
    ((x1_, y1_, x2_, y2_, label),) = boxes.tolist()
    assert label == 7
    # the light in each column and row adds up to the sides of the box, and its centre is the centre of the box
    across, down = pixels.max(0), pixels.max(1)
    assert across.sum() == pytest.approx(x2_ - x1_, abs=1)
    assert down.sum() == pytest.approx(y2_ - y1_, abs=1)
    centre = ((np.arange(len(across)) + 0.5) * across).sum() / across.sum()
    middle = ((np.arange(len(down)) + 0.5) * down).sum() / down.sum()
    assert (centre, middle) == pytest.approx(((x1_ + x2_) / 2, (y1_ + y2_) / 2), abs=0.75)


def test_objects_cropped_away_are_dropped() -> None:
    wide = np.array([[0, 0, 30, 40, 0], [20, 10, 40, 30, 1], [35, 0, 80, 40, 2], [70, 10, 80, 30, 3]], np.float32)
    # of 80 x 40 the columns 20 .. 60 are left, twice as small
    assert fit_boxes(wide, (40, 80), Frame((1, 20, 20))).tolist() == [
        [0, 0, 5, 20, 0],
        [0, 5, 10, 15, 1],
        [7.5, 0, 20, 20, 2],
    ]


def test_objects_smaller_than_a_pixel_are_dropped() -> None:
    small = np.array([[10, 10, 17, 30, 0], [10, 10, 19, 30, 1]], np.float32)
    assert fit_boxes(small, (80, 80), Frame((1, 10, 10)))[:, 4].tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images__0__width": "64"}, "image 9: width: expected int, got '64'"),
        ({"images__0__width": 0}, "image 9: width and height: expected 1 pixel at least"),
        ({"images__0__height": 10**9}, "image 9: .* and 62,500,000 in all at most, got 64 and 1000000000"),
        ({"images__1__id": 9}, "image 9 is there twice"),
        ({"images__1__file_name": "../../etc/passwd"}, "image 4: file_name .* a file in the folder of images"),
        ({"images__1__file_name": "/etc/passwd"}, "image 4: file_name .* a file in the folder of images"),
        ({"categories__1__id": 18}, "category 18 is there twice"),
        ({"categories__1__name": "dog"}, "category 1: name 'dog': there are two of this name"),
        ({"categories__1__name": "a\nb"}, r"category 1: name 'a\\nb': expected a name on one line"),
        ({"annotations__1__image_id": 5}, "annotation 71: image_id 5 is none of the images"),
        ({"annotations__1__category_id": 2}, "annotation 71: category_id 2 is none of the categories"),
        ({"annotations__1__category_id": [2]}, r"annotation 71: category_id \[2\] is none of the categories"),
        ({"annotations__1__bbox": [1, 2, 3]}, "annotation 71: bbox: expected x, y, width and height"),
        ({"annotations__1__bbox": [1, 2, 3, None]}, "annotation 71: bbox: expected x, y, width and height"),
        ({"annotations__1__bbox": [1, 2, float("nan"), 4]}, "annotation 71: bbox: expected x, y, width and height"),
        ({"annotations__1__bbox": [1, 2, 10**400, 4]}, "annotation 71: bbox: expected x, y, width and height"),
        ({"annotations__1__iscrowd": 2}, "annotation 71: iscrowd: expected 0 or 1, got 2"),
    ],
)
def test_what_is_wrong_is_named_with_its_id(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"instances.json: {message}"):
        read(annotations(**changes), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "line 1: not JSON"),
        ("[" * 200_000, "cannot be read as annotations"),
        ("1" * 10_000, "cannot be read as annotations"),
        ("[]", "expected a mapping with images, annotations and categories"),
        ({"images": []}, "categories: expected a list of mappings, as COCO's files have it; it is missing"),
        (annotations() | {"annotations": [3]}, r"annotations: .* it is \[3\]"),
        (annotations() | {"images": []}, "images: the list is empty"),
        (
            annotations() | {"annotations": [{"image_id": 9}]},
            r"annotation number 1 \(.*\) has no category_id",
        ),
        (
            annotations() | {"annotations": annotations()["annotations"][:1] * (MAX_OBJECTS + 1)},
            "image a.jpg has more than 1,000 annotations",
        ),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"instances.json: {message}"):
        read(content, tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json: cannot read the annotations: No such file"):
        read_coco(tmp_path / "none.json", tmp_path)
