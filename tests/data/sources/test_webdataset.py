from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnatomy.data import load, open_source
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL, Fetched, ImageSet
from cnnatomy.errors import UserError

FRAME = Frame((1, 5, 6))


def png(number: int) -> bytes:
    """An image whose every pixel is `number`."""
    file = io.BytesIO()
    Image.fromarray(np.full((5, 6), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def samples(count: int, classes: int = 2, first: int = 0) -> dict[str, bytes]:
    members = {}
    for number in range(first, first + count):
        members |= {f"x/{number:04}.png": png(number), f"x/{number:04}.cls": str(number % classes).encode()}
    return members


def read(path: Path) -> ImageSet:
    found = open_source(path)
    assert isinstance(found, ImageSet)
    return found


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        open_source(path)
    return str(error.value)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_image_and_its_class_lie_side_by_side(tmp_path: Path, format: int) -> None:
    path = write_tar(tmp_path / "a.tar", {"n" * 90 + "/0.jpg.png": png(9), **samples(4)}, format)
    found = read(path)
    assert found.truth.names == ("0", "1")
    assert found.truth.strata().tolist() == [0, 1, 0, 1]
    assert found.names[1] == "a.tar/x/0001"
    assert [int(found.fetch(index, FRAME).pixels.max()) for index in range(4)] == [0, 1, 2, 3]
    assert "1 samples without an image or a cls, left out" in found.notes[0]


def test_braces_name_several_shards(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"part-{number:06}.tar", samples(4, first=4 * number))
    found = read(tmp_path / "part-{000000..000002}.tar")
    assert len(found) == 12
    assert int(found.fetch(11, FRAME).pixels.max()) == 11
    assert open_source(found.source).source == found.source
    assert "part-000003.tar does not exist" in refused(tmp_path / "part-{000000..000003}.tar")
    assert "expected a range upwards" in refused(tmp_path / "part-{000002..000000}.tar")
    assert "expected a range upwards" in refused(tmp_path / "part-{000000..999999}.tar")


@pytest.mark.parametrize("pattern", ["{}-0.tar", "{}/0.tar", "my_{}_00.tar"])
def test_shards_of_a_folder_tell_of_splits_by_their_names(tmp_path: Path, pattern: str) -> None:
    for number, split in enumerate(("train", "val", "test")):
        path = tmp_path / pattern.format(split)
        path.parent.mkdir(exist_ok=True)
        write_tar(path, samples(2, first=2 * number))
    found = read(tmp_path)
    assert found.has == {TRAIN, VAL, TEST}
    by_split = {
        split: [int(found.fetch(int(i), FRAME).pixels.max()) for i in np.flatnonzero(found.splits == split)]
        for split in (TRAIN, VAL, TEST)
    }
    assert by_split == {TRAIN: [0, 1], VAL: [2, 3], TEST: [4, 5]}
    write_tar(tmp_path / "more.tar", samples(2))
    assert "the names of some shards tell of a split, those of others do not (more.tar)" in refused(tmp_path)


def test_classes_txt_names_the_classes_of_numbers(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(4))
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    assert read(path).truth.names == ("cat", "dog", "owl")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert "a.tar/x/0001.cls: '1' is none of the 1 classes of" in refused(path)


def test_json_has_a_label_or_several(tmp_path: Path) -> None:
    one = {"0.png": png(0), "0.json": b'{"label": "dog"}', "1.png": png(1), "1.json": b'{"label": "cat", "x": 1}'}
    assert read(write_tar(tmp_path / "a.tar", one)).truth.names == ("cat", "dog")
    several = {"0.png": png(0), "0.json": b'{"labels": ["b", "a"]}', "1.png": png(1), "1.json": b'{"labels": []}'}
    found = read(write_tar(tmp_path / "b.tar", several))
    assert found.truth.targets(FRAME, {}, np.zeros((2, 0), np.bool_)).tolist() == [[1, 1], [0, 0]]


def test_json_without_labels_is_left_and_text_is_a_class(tmp_path: Path) -> None:
    members = {"0.png": png(0), "0.json": b'{"url": ""}', "0.txt": b"dog\n", "1.png": png(1), "1.txt": b"cat"}
    found = read(write_tar(tmp_path / "a.tar", members))
    assert found.truth.names == ("cat", "dog")
    assert found.notes == ("not used of samples: .json",)


@pytest.mark.parametrize("ending", ["mask.png", "seg.png"])
def test_a_mask_has_the_key_of_its_image(tmp_path: Path, ending: str) -> None:
    members = {}
    for number in range(2):
        members |= {f"{number}.png": png(number + 7), f"{number}.{ending}": png(number)}
    found = read(write_tar(tmp_path / "a.tar", members))
    assert (found.truth.names, found.truth.has_maps) == (("0", "1"), True)
    fetched = found.fetch(1, FRAME)
    assert fetched.map is not None
    assert (int(fetched.pixels.max()), int(fetched.map.max())) == (8, 1)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Exploding:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    content = pickle.dumps(Exploding())
    members = {f"{n}.{what}": content for n in range(2) for what in ("pyd", "pkl")} | samples(2)
    members |= {"0000.pyd": content}
    found = read(write_tar(tmp_path / "a.tar", members))
    assert "not used of samples: .pkl, .pyd" in found.notes
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("left", [100, 511, 700, 1_400, 5_000])
def test_a_truncated_shard_is_named(tmp_path: Path, left: int) -> None:
    path = write_tar(tmp_path / "a.tar", samples(4))
    path.write_bytes(path.read_bytes()[:left])
    error = refused(path)
    assert "a.tar: broken or truncated tar file" in error
    assert error.endswith("fetch it again")


def test_bytes_in_between_that_are_no_header_are_told(tmp_path: Path) -> None:
    """Where tarfile itself takes them for the end."""
    path = write_tar(tmp_path / "a.tar", samples(4))
    content = bytearray(path.read_bytes())
    second = content.index(b"x/0001.png")
    content[second : second + 512] = b"?" * 512
    path.write_bytes(content)
    assert "broken or truncated" in refused(path)


def test_a_header_of_a_negative_size_ends_the_reading(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(2))
    content = bytearray(path.read_bytes())
    content[124:136] = b"\xff" * 12  # minus one, in base 256
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    assert "broken or truncated" in refused(path)


def test_compressed_shards_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(write_tar(tmp_path / "a.tar", samples(2)).read_bytes()))
    assert "a.tar.gz is compressed" in refused(path)
    assert "unpack it to .tar" in refused(tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "nothing to learn"),
        ({"0.png": b"", "0.html": b""}, "found .png, .html"),
        ({"0.png": b"", "0.cls": b"dog"}, "a.tar/0.cls: expected a number, got 'dog'"),
        ({"0.png": b"", "0.cls": b"\xff"}, "a.tar/0.cls is no text in UTF-8"),
        ({"0.png": b"", "0.jpg": b"", "0.cls": b"0"}, "a.tar/0 has several images, png, jpg: expected one"),
        ({"0.cls": b"0"}, "no sample of the split train has an image and a cls"),
        ({"0.png": b"", "0.cls": b"3"}, "every image is of the class 3"),
        ({"0.png": b"", "0.json": b"{"}, "a.tar/0.json is not JSON"),
        ({"0.png": b"", "0.json": b"[]"}, "a.tar/0.json: expected a mapping"),
        ({"0.png": b"", "0.json": b'{"label": []}'}, "a.tar/0.json: label: expected a class, got []"),
        ({"0.png": b"", "0.json": b'{"labels": "a"}'}, "a.tar/0.json: labels: expected a list of classes, got a"),
    ],
)
def test_mistakes_name_their_sample(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    assert message in refused(write_tar(tmp_path / "a.tar", members))


def test_a_broken_image_is_one_and_no_more(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(40) | {"x/0003.png": png(3)[:40]})
    data = load(path, (1, 5, 6))
    assert [name for name, _ in data.report.skipped] == ["a.tar/x/0003"]


def pixel(found: ImageSet, index: int) -> int:
    fetched: Fetched = found.fetch(index, FRAME)
    return int(fetched.pixels.max())


def test_threads_and_processes_read_the_same_shard(tmp_path: Path) -> None:
    found = read(write_tar(tmp_path / "a.tar", samples(60)))
    for pool in (ThreadPoolExecutor(8), ProcessPoolExecutor(2)):
        with pool as workers:
            assert list(workers.map(partial(pixel, found), range(60))) == list(range(60))


@pytest.mark.slow
def test_a_hundred_thousand_members_are_found_in_seconds(tmp_path: Path) -> None:
    content = png(0)
    members = {
        f"{n}.{what}": content if what == "png" else b"%d" % (n % 10) for n in range(50_000) for what in ("png", "cls")
    }
    path = write_tar(tmp_path / "a.tar", members, tarfile.USTAR_FORMAT)
    started = time.process_time()
    assert len(read(path)) == 50_000
    assert time.process_time() - started < 15


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
def test_a_header_that_claims_gigabytes_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 5 * 2**30
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(header.tobuf())
        file.truncate(6 * 2**30)  # sparse
    assert "headers of 5,368,709,120 bytes; at most 1,048,576 are read" in refused(path)


def test_long_names_one_after_another_are_refused_together(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**20
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for place in range(400):
            file.seek(place * (2**20 + 512))
            file.write(header.tobuf())
        file.truncate(2**29)
    assert "headers of 2,097,152 bytes" in refused(path)
