from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnatomy.data import load, open_source
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL, ImageSet
from cnnatomy.data.sources import masks
from cnnatomy.errors import UserError

FRAME = Frame((3, 8, 10))


def write(folder: Path, names: list[str], values: tuple[int, ...], kind: str = "L", sub: str = "") -> None:
    """Images and masks: mask number i has `values[i]` in its upper half and `values[0]` below."""
    for number, name in enumerate(names):
        for place in ("images", "masks"):
            (folder / place / sub).mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng([number, len(sub)])
        image = Image.fromarray(generator.integers(0, 256, (8, 10, 3), np.uint8))
        image.save(folder / "images" / sub / f"{name}.png")
        mask = np.full((8, 10), values[0], np.uint8)
        mask[:4] = values[number % len(values)]
        drawn = Image.fromarray(mask)
        if kind == "P":
            drawn.putpalette([level for index in range(256) for level in (index * 37 % 256, index, 255 - index)])
        elif kind == "RGB":
            drawn = Image.merge("RGB", (drawn, drawn, drawn))
        drawn.save(folder / "masks" / sub / f"{name}.png")


def read(folder: Path) -> ImageSet:
    found = open_source(folder)
    assert isinstance(found, ImageSet)
    return found


def numbers(found: ImageSet, index: int) -> set[int]:
    fetched = found.fetch(index, FRAME)
    assert fetched.map is not None
    return set(np.unique(fetched.map).tolist())


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        open_source(folder)
    return str(error.value)


@pytest.mark.parametrize("kind", ["L", "P", "RGB"])
def test_a_mask_says_classes_by_its_numbers_grey_or_by_a_palette(tmp_path: Path, kind: str) -> None:
    write(tmp_path, ["a", "b", "c"], (0, 1, 2), kind)
    found = read(tmp_path)
    assert found.truth.names == ("0", "1", "2")
    assert [numbers(found, index) for index in range(3)] == [{0}, {0, 1}, {0, 2}]


def test_equal_images_with_other_masks_are_reported_where_the_classes_are_the_same(tmp_path: Path) -> None:
    write(tmp_path, list("abcdefgh"), (0, 1))
    shutil.copy(tmp_path / "images" / "b.png", tmp_path / "images" / "copy.png")
    mask = np.asarray(Image.open(tmp_path / "masks" / "b.png"))
    Image.fromarray(mask[::-1].copy()).save(tmp_path / "masks" / "copy.png")
    assert load(tmp_path, (3, 8, 10)).report.conflicts == 1
    Image.fromarray(mask).save(tmp_path / "masks" / "copy.png")
    assert load(tmp_path, (3, 8, 10)).report.conflicts == 0


def test_classes_txt_names_the_classes_of_which_some_may_not_occur(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    (tmp_path / "classes.txt").write_text("sky\ntraffic light\n\ncar\n")
    assert read(tmp_path).truth.names == ("sky", "traffic light", "car")


def test_masks_of_0_and_255_are_background_and_foreground(tmp_path: Path) -> None:
    """255 elsewhere is no class, and then nothing of the foreground would be learned."""
    write(tmp_path, ["a", "b"], (0, 255))
    found = read(tmp_path)
    assert found.truth.names == ("background", "foreground")
    assert numbers(found, 1) == {0, 1}
    assert any("0 and 255 alone" in note for note in found.notes)
    (tmp_path / "classes.txt").write_text("skin\nlesion\n")
    assert read(tmp_path).truth.names == ("skin", "lesion")
    assert numbers(read(tmp_path), 1) == {0, 1}


def test_255_is_no_class_beside_others(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b", "c"], (0, 1, 255))
    found = read(tmp_path)
    assert found.truth.names == ("0", "1")
    assert numbers(found, 2) == {0, 255}


def test_numbers_with_gaps_are_classes_without(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b", "c"], (0, 128, 64))
    found = read(tmp_path)
    assert found.truth.names == ("0", "64", "128")
    assert [numbers(found, index) for index in range(3)] == [{0}, {0, 2}, {0, 1}]


def test_colours_are_classes_where_classes_txt_has_them(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    mask = np.zeros((8, 10, 3), np.uint8)
    mask[2:] = 128, 64, 0
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    assert "the mask masks/a.png has colours. Write classes.txt" in refused(tmp_path)
    (tmp_path / "classes.txt").write_text("road 128 64 0\nvoid 1 1 1\ntraffic light 0 0 0\n")
    found = read(tmp_path)
    assert found.truth.names == ("road", "void", "traffic light")
    expected = np.full((8, 10), 2)
    expected[2:] = 0
    np.testing.assert_array_equal(found.fetch(0, FRAME).map, expected)
    (tmp_path / "classes.txt").write_text("road 128 64 0\nvoid 1 1 1\n")
    with pytest.raises(UserError, match=r"its mask has the colour 0 0 0, which is no class of classes.txt"):
        read(tmp_path).fetch(0, FRAME)


def test_images_and_masks_that_are_alone_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b", "c", "d"], (0, 1))
    (tmp_path / "masks" / "c.png").unlink()
    (tmp_path / "images" / "d.png").unlink()
    found = read(tmp_path)
    assert found.names == ("images/a.png", "images/b.png")
    assert found.notes == (
        "train: 1 image without a mask, left out: c.png",
        "train: 1 mask without an image, left out: d.png",
    )


def test_a_mask_may_say_that_it_is_one(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    for mask in (tmp_path / "masks").iterdir():
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    assert (len(read(tmp_path)), read(tmp_path).notes) == (2, ())


@pytest.mark.parametrize("above", [True, False])
def test_splits_are_folders_above_or_below(tmp_path: Path, above: bool) -> None:
    for split, names in (("train", ["a", "b"]), ("valid", ["a"]), ("test", ["a"])):
        if above:
            write(tmp_path / split, names, (0, 1))
        else:
            write(tmp_path, names, (0, 1), sub=split)
    found = read(tmp_path)
    assert sorted(found.splits.tolist()) == [TRAIN, TRAIN, VAL, TEST]
    assert found.has == {TRAIN, VAL, TEST}
    shutil.rmtree(tmp_path / "test/masks" if above else tmp_path / "masks/test")
    assert read(tmp_path).has == {TRAIN, VAL}
    assert read(tmp_path).notes == ("test: 1 image without a mask, left out: a.png",)


def test_folders_as_pascal_voc_has_them_are_read(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1, 255), "P")
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation/>")
    assert len(read(tmp_path)) == 2


def test_folders_without_masks_are_class_folders(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")
    assert not masks.recognises(str(tmp_path))
    with pytest.raises(UserError, match="no training image is of labels"):
        load(tmp_path, (1, 8, 8))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", "classes.txt is empty"),
        ("a\nb\na\n", "classes.txt: line 3: 'a': this name or colour is there already"),
        ("a 1 2 3\nb 1 2 3\n", "line 2: 'b 1 2 3': this name or colour"),
        ("a 1 2 3\nb\n", "line 2: 'b': either every class has a colour"),
        ("a\nb 1 2 3\n", "line 2: 'b 1 2 3': either every class has a colour"),
        ("\n".join(map(str, range(300))), "has 300 classes; masks have 255 at most"),
    ],
)
def test_mistakes_of_classes_txt_are_named(tmp_path: Path, classes: str, message: str) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    (tmp_path / "classes.txt").write_text(classes)
    assert message in refused(tmp_path)


def test_what_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0,))
    assert "the masks hold nothing but 0: expected two classes" in refused(tmp_path)
    for mask in (tmp_path / "masks").iterdir():
        mask.rename(mask.with_suffix(".jpg"))
    assert "masks in JPEG" in refused(tmp_path)
    for mask in (tmp_path / "masks").iterdir():
        mask.rename(mask.with_name(f"other {mask.name}"))
    assert "no image has a mask of its name" in refused(tmp_path)


def test_masks_train_as_any_data(tmp_path: Path) -> None:
    write(tmp_path, [str(number) for number in range(12)], (0, 1, 2))
    data = load(tmp_path, (3, 8, 10))
    images, target = next(iter(data.train.batches(4)))
    assert (data.task.kind, images.shape, target.shape) == ("mask", (4, 3, 8, 10), (4, 8, 10))


def test_where_no_mask_can_be_read_the_first_says_why(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"], (0, 1))
    for name in ("a", "b"):
        Image.fromarray(np.full((8, 10), 40_000, np.uint16)).save(tmp_path / "masks" / f"{name}.png")
    assert "no mask can be read; the first, masks/a.png: a mask has classes from 0 to 255" in refused(tmp_path)
