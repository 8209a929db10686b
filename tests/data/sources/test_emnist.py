from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from cnnatomy.data import Frame, load, open_source
from cnnatomy.data.image_set import TEST, TRAIN
from cnnatomy.errors import UserError


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_emnist(folder: Path, choice: str, classes: int, first: int = 0, zipped: bool = False) -> np.ndarray:
    """Files as they are published; the training images as they lie in them."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    stored = generator.integers(0, 256, (classes * 8, 6, 5)).astype(np.uint8)
    for split, images in (("train", stored), ("test", generator.integers(0, 256, (classes, 6, 5)))):
        labels = np.arange(len(images)) % classes + first
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"emnist-{choice}-{split}-{kind}-ubyte{'.gz' * zipped}"
            path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return stored


@pytest.mark.parametrize("zipped", [False, True])
def test_an_image_of_emnist_is_turned_upright(tmp_path: Path, zipped: bool) -> None:
    stored = write_emnist(tmp_path, "digits", 10, zipped=zipped)
    images = open_source(tmp_path)
    assert images.has == {TRAIN, TEST}
    assert (images.fetch(3, Frame((1, 5, 6))).pixels[0] == stored[3].T).all()


def test_letters_count_from_one_and_are_called_a_to_z(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 26, first=1)
    images = open_source(tmp_path)
    assert "".join(images.truth.names) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert images.truth.labels[:3].tolist() == [0, 1, 2]
    assert load(images, (1, 6, 6)).report.counts["test"]["Z"] == 1


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("byclass", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
        ("bymerge", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        ("balanced", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        ("mnist", "0123456789"),
    ],
)
def test_the_classes_are_those_of_the_published_mappings(tmp_path: Path, choice: str, names: str) -> None:
    write_emnist(tmp_path, choice, len(names))
    assert "".join(open_source(tmp_path).truth.names) == names


def test_a_mapping_that_lies_beside_says_the_classes(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 3, first=1)
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 88 120\n2 89 121\n3 90 122\n")
    assert open_source(tmp_path).truth.names == ("X", "Y", "Z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 88\n1 89\n", "line 2: label 1 or character Y is there before"),
        ("1 88\nfew\n", "line 2: expected a label and the code of its character, got 'few'"),
        ("1 10\n", "line 1: 10 is the code of no visible ASCII character"),
        ("\n", "tells of 0 classes"),
        ("1 88\n2 89\n", r"image 2 of emnist-letters-train has the label 3; there are 2, from 1 to 2"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_emnist(tmp_path, "letters", 3, first=1)
    (tmp_path / "emnist-letters-mapping.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path)


def test_a_label_that_no_class_has_is_named(tmp_path: Path) -> None:
    write_emnist(tmp_path, "digits", 11)
    with pytest.raises(UserError, match=r"image 10 of emnist-digits-train has the label 10; there are 10, from 0 to 9"):
        open_source(tmp_path)


def test_of_several_choices_one_has_to_be_named(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 26, first=1)
    write_emnist(tmp_path, "digits", 10)
    with pytest.raises(UserError, match=r"2 choices .*: name one of .*/emnist-digits, .*/emnist-letters"):
        open_source(tmp_path)
    images = open_source(tmp_path / "emnist-letters")
    assert images.truth.names[0] == "A"
    assert images.source == str(tmp_path / "emnist-letters")
    assert len(open_source(images.source)) == len(images)
    with pytest.raises(UserError, match=r"no emnist-leters: .*Did you mean letters\?"):
        open_source(tmp_path / "emnist-leters")


def test_a_missing_file_of_emnist_is_named(tmp_path: Path) -> None:
    write_emnist(tmp_path, "letters", 26, first=1)
    (tmp_path / "emnist-letters-test-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="has no emnist-letters-test-labels-idx1-ubyte"):
        open_source(tmp_path)


@pytest.mark.parametrize(("folder", "first"), [("KMNIST", "o"), ("FashionMNIST", "T-shirt/top"), ("MNIST", "0")])
def test_the_name_of_the_folder_says_which_of_mnists_kin_it_is(tmp_path: Path, folder: str, first: str) -> None:
    place = tmp_path / folder / "raw"
    place.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        (place / f"{prefix}-images-idx3-ubyte").write_bytes(idx(np.zeros((10, 4, 4))))
        (place / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(10)))
    assert open_source(place).truth.names[0] == first
