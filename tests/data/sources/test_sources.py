from __future__ import annotations

import gzip
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnatomy.data import load, open_source
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL
from cnnatomy.data.sources.idx import read_idx
from cnnatomy.data.sources.table import table
from cnnatomy.errors import UserError


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx_folder(folder: Path, train: int = 40, test: int = 10, zipped: bool = False) -> Path:
    generator = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        for kind, array in (
            ("images-idx3", generator.integers(0, 256, (count, 6, 5))),
            ("labels-idx1", np.arange(count) % 4),
        ):
            content = idx(array)
            path = folder / f"{prefix}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


def write_images(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        generator = np.random.default_rng([number, zlib.crc32(os.fsencode(folder.name))])
        pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_digits_are_1797_real_images_of_ten_classes() -> None:
    image_set = open_source("digits")
    assert len(image_set) == 1797
    assert image_set.truth.names == tuple("0123456789")
    assert image_set.fetch(0, Frame((1, 8, 8))).pixels[0, 0].tolist() == [
        0,
        0,
        80,
        207,
        143,
        16,
        0,
        0,
    ]  # 0 0 5 13 9 1 0 0 of 16
    assert image_set.fetch(0, Frame((3, 32, 32))).pixels.shape == (3, 32, 32)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_read_gzipped_or_not(tmp_path: Path, zipped: bool) -> None:
    image_set = open_source(write_idx_folder(tmp_path / "idx", zipped=zipped))
    assert len(image_set) == 50
    assert image_set.truth.names == ("0", "1", "2", "3")
    assert image_set.has == {TRAIN, TEST}
    assert (image_set.splits == TEST).sum() == 10
    assert image_set.fetch(3, Frame((1, 6, 5))).pixels.shape == (1, 6, 5)


def test_idx_test_split_is_its_own_and_validation_is_cut_off_training(tmp_path: Path) -> None:
    data = load(write_idx_folder(tmp_path / "idx"), (1, 6, 5))
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 10)


def test_a_truncated_download_of_idx_is_named(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "idx", zipped=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: broken or truncated"):
        open_source(folder)
    path.unlink()
    content = idx(np.zeros((40, 6, 5)))
    path.with_suffix("").write_bytes(content[:-7])
    with pytest.raises(UserError, match=r"promises 40 x 6 x 5 = 1,200 bytes, found 1,193"):
        open_source(folder)


def test_an_idx_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(UserError, match="more than 4,294,967,296"):
        read_idx(path, 3)


def test_idx_mistakes_are_named(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "idx")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(9)))
    with pytest.raises(UserError, match="has 10 images, but t10k-labels-idx1-ubyte has 9 labels"):
        open_source(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"has no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"):
        open_source(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="not an IDX file"):
        open_source(folder)


def zeros_gzipped(path: Path, promised: tuple[int, ...], inflated: int) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(f">HBB{len(promised)}I", 0, 8, len(promised), *promised))
        file.write(bytes(inflated))
    return path


def test_a_gzip_bomb_is_refused_by_what_so_few_bytes_may_become(tmp_path: Path) -> None:
    path = zeros_gzipped(tmp_path / "train-images-idx3-ubyte.gz", (60_000, 28, 28), 2**20)
    with pytest.raises(
        UserError, match=r"promises 47,040,000 bytes, but so small a gzip file may become at most 4,194"
    ):
        read_idx(path, 3)


def test_a_gzip_file_is_inflated_no_further_than_its_header_promises(tmp_path: Path) -> None:
    path = zeros_gzipped(tmp_path / "train-images-idx3-ubyte.gz", (10, 28, 28), 2**24)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"promises 10 x 28 x 28 = 7,840 bytes, found more"):
        read_idx(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_labels_in_the_order_of_their_classes_may_shrink_to_nothing(tmp_path: Path) -> None:
    assert len(read_idx(zeros_gzipped(tmp_path / "labels.gz", (60_000,), 60_000), 1)) == 60_000


def test_the_size_of_an_idx_file_is_held_against_its_header_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 4000, 1000, 1000) + b"few")
    with pytest.raises(UserError, match=r"= 4,000,000,000 bytes, found 3: fetch it again"):
        read_idx(path, 3)


def test_a_pipe_instead_of_an_idx_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "idx")
    path = folder / "train-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte: it is a pipe, not a regular file"):
        open_source(folder)


def test_labels_that_leave_out_classes_are_refused(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "idx")
    labels = np.arange(40) % 3
    labels[7] = 255
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(
        UserError, match=r"256 classes, but no training image is of 3, 4, 5, 6, 7 and 247 more: .*without a gap"
    ):
        load(folder, (1, 6, 5))


def test_class_folders_are_the_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 5)
    write_images(tmp_path / "dog" / "deeper", 4)
    (tmp_path / "cat" / "notes.txt").write_text("mine")
    (tmp_path / ".hidden").mkdir()
    image_set = open_source(tmp_path)
    assert image_set.truth.names == ("cat", "dog")
    assert image_set.truth.strata().tolist() == [0] * 5 + [1] * 4
    assert image_set.ignored == 1


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_the_folders_own_splits_are_used(tmp_path: Path, validation: str) -> None:
    for first, (part, count) in enumerate((("train", 5), (validation, 2), ("test", 3))):
        for name in ("cat", "dog"):
            write_images(tmp_path / part / name, count, first=10 * first)
    image_set = open_source(tmp_path)
    assert image_set.has == {TRAIN, VAL, TEST}
    data = load(tmp_path, (1, 8, 8))
    assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 6)


def test_a_split_that_is_missing_is_cut_off_training(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("test", 3)):
        for name in ("cat", "dog"):
            write_images(tmp_path / part / name, count, first=count)
    data = load(tmp_path, (1, 8, 8))
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 6)


def test_links_in_a_circle_and_pipes_stop_nothing(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 3)
        (tmp_path / name / "above").symlink_to(tmp_path)
        (tmp_path / name / "me.png").symlink_to("me.png")
        os.mkfifo(tmp_path / name / "pipe.png")
    data = load(tmp_path, (1, 8, 8))
    assert data.report.skipped[:2] == (
        ("cat/me.png", "Too many levels of symbolic links"),
        ("cat/pipe.png", "it is a pipe, not a regular file"),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_need_not_be_text_but_the_name_of_a_class_does(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 3)
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/" + name)).write_text("no pixels")
    assert [name for name, _ in load(tmp_path, (1, 8, 8)).report.skipped] == [
        r"cat/caf\udce9.png",
        r"cat/two\nlines.png",
    ]
    write_images(Path(os.fsdecode(os.fsencode(tmp_path) + b"/mou\xdfe")), 3)
    with pytest.raises(UserError, match=r"class folder .*mou\\udcdfe: a class is named by its folder; rename it"):
        open_source(tmp_path)


def test_folder_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        open_source(tmp_path)
    write_images(tmp_path, 3)
    with pytest.raises(UserError, match="has 3 images but no class folders"):
        open_source(tmp_path)
    write_images(tmp_path / "cat", 3)
    with pytest.raises(UserError, match="only one class, cat: expected two at least"):
        load(tmp_path, (1, 8, 8))
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match=r"no training image is of dog: add images of every class"):
        load(tmp_path, (1, 8, 8))


def test_split_folder_mistakes_are_named(tmp_path: Path) -> None:
    write_images(tmp_path / "test" / "cat", 3)
    with pytest.raises(UserError, match="no train"):
        open_source(tmp_path)
    write_images(tmp_path / "train" / "cat", 3)
    write_images(tmp_path / "train" / "dog", 3)
    write_images(tmp_path / "test" / "cow", 3)
    with pytest.raises(UserError, match=r"test has cow, which .*train has not"):
        open_source(tmp_path)


def test_an_unknown_data_set_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean digits"):
        open_source("digit")
    (tmp_path / "flowers").mkdir()
    with pytest.raises(UserError, match="Did you mean flowers"):
        open_source(tmp_path / "flower")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"is none of the data that can be read: digits, .*FOLDER"):
        open_source(tmp_path / "file")


def test_the_page_on_data_has_the_table_of_sources() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    missing = [f"| `{written}` | {about} |" for written, about in table()]
    assert [line for line in missing if line not in page] == [], "paste them into the table of docs/data.md"


def test_images_of_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 3)
    (tmp_path / "cat" / "IMG_1.HEIC").write_bytes(b"heic")
    note = "1 image is not read: export it as JPEG or PNG (cat/IMG_1.HEIC)"
    assert open_source(tmp_path).notes == (note,)
    assert note in load(tmp_path, (1, 8, 8)).report.lines()
    (tmp_path / "owl").mkdir()
    for name in ("a.dng", "b.avif"):
        (tmp_path / "owl" / name).write_bytes(b"raw")
    message = r"owl has no image to read: 2 images are not read: export them as JPEG or PNG \(owl/a.dng, owl/b.avif\)"
    with pytest.raises(UserError, match=message):
        open_source(tmp_path)
