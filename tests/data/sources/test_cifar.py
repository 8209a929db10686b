from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import loader
import near_duplicates
from cnnatomy.data import Frame, load, open_source
from cnnatomy.data.image_set import TEST, TRAIN
from cnnatomy.data.sources.arrays_only import read_pickle
from cnnatomy.errors import UserError
from cnnatomy.runs import Trained
from helpers import run_command

NAMES = ["airplane", "automobile", "bird"]


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """`(count, 32, 32, 3)`."""
    return np.random.default_rng([seed, count]).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def rows(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_python_10(folder: Path, protocol: int = 2, names: list[str] = NAMES) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = drawn(54)
    for number, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        part = images[number * 9 : number * 9 + 9]
        record = {b"data": rows(part), b"labels": [index % 3 for index in range(9)], b"batch_label": b"some"}
        (folder / name).write_bytes(pickle.dumps(record, protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in names]}, protocol))
    return images


def write_python_100(folder: Path, coarse_of: tuple[int, ...] = (0, 1, 1)) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = drawn(36)
    for name, part in (("train", images[:27]), ("test", images[27:])):
        fine = [index % 3 for index in range(len(part))]
        coarse = [coarse_of[label] for label in fine]
        record = {"data": rows(part), "fine_labels": fine, "coarse_labels": coarse}
        (folder / name).write_bytes(pickle.dumps(record, 2))
    meta = {"fine_label_names": ["apple", "bee", "wasp"], "coarse_label_names": ["fruit", "insects"]}
    (folder / "meta").write_bytes(pickle.dumps(meta))
    return images


def write_binary(folder: Path, coarse: bool) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = drawn(54)
    batches = ["train.bin"] if coarse else [f"data_batch_{number}.bin" for number in range(1, 6)]
    parts = np.split(images[:45], len(batches))
    for name, part in [*zip(batches, parts, strict=True), ("test.bin" if coarse else "test_batch.bin", images[45:])]:
        labels = np.arange(len(part)) % 3
        columns = [np.array([0, 1, 1])[labels], labels] if coarse else [labels]
        (folder / name).write_bytes(np.column_stack([*columns, rows(part)]).astype(np.uint8).tobytes())
    (folder / ("fine_label_names.txt" if coarse else "batches.meta.txt")).write_text("\n".join(NAMES) + "\n\n")
    if coarse:
        (folder / "coarse_label_names.txt").write_text("air\nother\n")
    return images


def write_sheets(folder: Path) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = drawn(120)
    for number, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        Image.fromarray(images[number * 20 : number * 20 + 20].reshape(20, 1024, 3)).save(folder / f"{name}.png")
    (folder / "train_lables.json").write_text(json.dumps([index % 10 for index in range(100)]))
    (folder / "test_lables.json").write_text(json.dumps([index % 10 for index in range(20)]))
    return images


def same_images(folder: Path, images: np.ndarray) -> bool:
    found, frame = open_source(folder), Frame((3, 32, 32))
    return len(found) == len(images) and all(
        (found.fetch(index, frame).pixels == image.transpose(2, 0, 1)).all() for index, image in enumerate(images)
    )


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_cifar_10_for_python_is_read_whatever_protocol_wrote_it(tmp_path: Path, protocol: int) -> None:
    assert same_images(tmp_path, write_python_10(tmp_path, protocol))
    images = open_source(tmp_path)
    assert images.truth.names == tuple(NAMES)
    assert (images.splits == TEST).tolist() == [False] * 45 + [True] * 9
    assert images.names[9] == "data_batch_2 0"
    assert images.has == {TRAIN, TEST}


def test_the_pickles_of_python_2_are_read() -> None:
    """What numpy wrote in 2009: the names of that time, and byte strings."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nI3\ntcnumpy\ndtype\n"
    array += b"(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x01\\x02\\x03\\x04\\x05'\ntb"
    record = read_pickle(b"(dS'data'\n" + array + b"sS'labels'\n(lI6\naI9\nas.")
    assert record["labels"] == [6, 9]
    assert record["data"].array().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_coarse_classes_of_cifar_100_are_groups_of_its_fine_ones(tmp_path: Path) -> None:
    assert same_images(tmp_path, write_python_100(tmp_path))
    task = load(tmp_path, (3, 32, 32)).task
    assert task.names == ("apple", "bee", "wasp")
    assert task.groups == {"fruit": ("apple",), "insects": ("bee", "wasp")}


@pytest.mark.parametrize("coarse", [False, True])
def test_the_binary_version_is_read(tmp_path: Path, coarse: bool) -> None:
    assert same_images(tmp_path, write_binary(tmp_path, coarse))
    truth = open_source(tmp_path).truth
    assert truth.names == tuple(NAMES)
    assert truth.labels[:4].tolist() == [0, 1, 2, 0]
    assert truth.groups == ({"air": ("airplane",), "other": ("automobile", "bird")} if coarse else {})


def test_a_row_of_a_sheet_is_an_image(tmp_path: Path) -> None:
    assert same_images(tmp_path, write_sheets(tmp_path))
    images = open_source(tmp_path)
    assert images.truth.names[9] == "truck"
    assert (images.splits == TEST).sum() == 20


def test_benchmarks_read_the_sheets_that_they_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNATOMY_DATA", str(tmp_path))
    images = write_sheets(tmp_path / "cifar10")
    assert np.array_equal(loader.cifar10().permute(0, 2, 3, 1), images[100:])
    found, labels = near_duplicates.CASES["cifar10"].find()
    assert np.array_equal([np.asarray(image) for image in found], images)
    assert labels[:12].tolist() == [*range(10), 0, 1]


class Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Hostile(os.system, "touch executed")}),
        pickle.dumps({"data": Hostile(eval, "open('executed', 'w')")}, 0),
        pickle.dumps({"data": Hostile(np.fromfile, "executed")}),
        pickle.dumps({"data": Hostile(np.ndarray, (10**14,))}),
        pickle.dumps({"data": np.array([Hostile(os.system, "touch executed")])}),
        b"\x80\x02\x82\x01.",  # an extension
        b"\x80\x02Bname\n.",
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo that C's reader makes 32 GiB for
        b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".",  # a bytearray of 4 EiB
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02c_codecs\nencode\nN}b.",
        b"\x80\x02(I1\nI2\nl.",
        b"",
        b"<html>not found</html>",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_hostile_pickle_is_one_message_and_executes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    write_python_10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data_batch_3: ") as raised:
        open_source(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()


def test_what_a_pickle_asks_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it asks for .*\.system, which is not run: only plain data and arrays"):
        read_pickle(pickle.dumps(Hostile(os.system, "true")))
    for function in (read_pickle, print, Hostile):
        with pytest.raises(UserError, match="which is not run"):
            read_pickle(pickle.dumps(function))


def batch(**changed: Any) -> bytes:
    record = {"data": rows(drawn(9)), "labels": [0, 1, 2] * 3} | changed
    return pickle.dumps({key: value for key, value in record.items() if value is not None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(labels=[0, 1, 3] * 3), r"data_batch_1: image 2 has the label 3; there are 3 classes, from 0 on"),
        (batch(labels=[0, 1, -1] * 3), "image 2 has the label -1"),
        (batch(labels=[0, 1, 2]), "has 9 images, but 3 labels"),
        (batch(labels=None), "expected a list labels, got 'data'"),
        (batch(labels=["a"] * 9), "labels: expected a list of whole numbers"),
        (batch(data=rows(drawn(9))[:, :-1]), r"expected an array of bytes \(images, 3,072\), got uint8 \(9, 3071\)"),
        (batch(data=rows(drawn(9)).astype(np.float32)), "got float32"),
        (batch(data=[1, 2]), "expected an array of bytes .*, got none"),
        (batch(data=rows(drawn(9))[:0], labels=[]), "holds no image"),
        (batch()[:-20_000], "broken, truncated or no pickle"),
    ],
)
def test_what_is_wrong_with_a_batch_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write_python_10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_python_10(tmp_path)
    (tmp_path / "data_batch_4").unlink()
    with pytest.raises(UserError, match="data_batch_4: cannot read"):
        open_source(tmp_path)


def test_a_class_in_two_coarse_ones_is_refused(tmp_path: Path) -> None:
    write_python_100(tmp_path)
    record = {"data": rows(drawn(3)), "fine_labels": [0, 1, 2], "coarse_labels": [1, 1, 1]}
    (tmp_path / "test").write_bytes(pickle.dumps(record))
    with pytest.raises(UserError, match="images of one class have different coarse classes"):
        open_source(tmp_path)


def test_a_truncated_binary_batch_is_named(tmp_path: Path) -> None:
    write_binary(tmp_path, coarse=False)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data_batch_2.bin: 27,656 bytes are not a whole number of images of 3,073"):
        open_source(tmp_path)


def test_sheets_that_do_not_fit_their_lists_are_named(tmp_path: Path) -> None:
    write_sheets(tmp_path)
    (tmp_path / "train_lables.json").write_text("[1, 2, 3]")
    with pytest.raises(UserError, match=r"train_lables.json has 3 classes; its sheets .* have 100 images"):
        open_source(tmp_path)
    (tmp_path / "train_lables.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"train_lables.json: broken or truncated"):
        open_source(tmp_path)
    write_sheets(tmp_path)
    path = tmp_path / "data_batch_2.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"data_batch_2.png: broken or truncated"):
        open_source(tmp_path)
    Image.new("RGB", (32, 32)).save(path)
    with pytest.raises(UserError, match=r"data_batch_2.png: 32 x 32 pixels; expected 1,024 columns"):
        open_source(tmp_path)


def test_folders_named_train_and_test_are_no_cifar(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(drawn(1, number)[0]).save(tmp_path / split / name / f"{number}.png")
    assert open_source(tmp_path).truth.names == ("cat", "dog")


@pytest.mark.slow
def test_the_groups_of_a_run_file_win_over_the_coarse_classes(tmp_path: Path) -> None:
    write_python_100(tmp_path / "cifar-100")
    text = f"design: lenet-5\ndata: {tmp_path / 'cifar-100'}\nrecipe: {{epochs: 1}}\n"
    for name, groups, told in (("own", "{flies: [bee, wasp], falls: [apple]}", " in 2 groups"), ("none", "{}", "")):
        (tmp_path / f"{name}.yaml").write_text(f"{text}groups: {groups}\nout: {tmp_path / name}\n")
        assert f"cifar-100: 3 classes{told}, 24 train" in run_command("train", tmp_path / f"{name}.yaml").output
        more = run_command("train", "lenet-5", "--out", tmp_path / name, "--resume", "--epochs", "2").output
        assert f"cifar-100: 3 classes{told}, 24 train" in more
    assert Trained.load(tmp_path / "own").run.task.groups == {"flies": ("bee", "wasp"), "falls": ("apple",)}
    assert Trained.load(tmp_path / "none").run.task.groups == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"caf\xe9", b"b", b"c"], "on one line of at most 200 characters, got caf\\udce9"),
        ([b"a\nb", b"b", b"c"], "got a\\nb"),
        ([b"a" * 201, b"b", b"c"], "at most 200 characters, got aaa"),
        ([1, b"b", b"c"], "characters, got 1"),
        ([b"a", b"b", b"a"], "names the class 'a' twice"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path: Path, names: list[Any], message: str) -> None:
    write_python_10(tmp_path)
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, 2))
    with pytest.raises(UserError) as error:
        open_source(tmp_path)
    assert str(tmp_path / "batches.meta") in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("ending", [b"K\x01s.", b"K\x01u."])
def test_a_key_that_takes_for_ever_to_hash_is_refused(ending: bytes) -> None:
    deep = b")" + b"2\x86" * 100  # a pair of the same, of pairs of the same, ...
    start = b"\x80\x02}" + (b"(" if ending.endswith(b"u.") else b"")
    with pytest.raises(UserError, match="a dict has a key of the type tuple"):
        read_pickle(start + deep + ending)
    with pytest.raises(UserError, match="it holds a set"):
        read_pickle(pickle.dumps({"a": {1, 2}}, 4))


def test_a_key_of_thousands_of_digits_is_one_message() -> None:
    with pytest.raises(UserError, match="broken, truncated or no pickle"):
        read_pickle(pickle.dumps({10**5000: 1}, 2))
