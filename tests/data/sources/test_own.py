from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnatomy.data import load, open_source
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TEST, TRAIN, VAL, ImageSet
from cnnatomy.data.images import ImageError
from cnnatomy.errors import UserError
from helpers import run_command

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
FRAME = Frame((3, 4, 6))

BASE = """
    names = ["a", "b"]
    def __len__(self): return 4
    def image(self, i): return np.full((4, 6), i, np.uint8)
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def own(monkeypatch: pytest.MonkeyPatch, body: str, base: str = BASE) -> str:
    """The name of a class with this body."""
    monkeypatch.delitem(sys.modules, "my_data", raising=False)
    Path("my_data.py").write_text(f"import numpy as np\nfrom PIL import Image\nclass Mine:{base}    {body}\n")
    return "python:my_data:Mine"


def read(name: str) -> ImageSet:
    found = open_source(name)
    assert isinstance(found, ImageSet)
    return found


def test_a_class_gives_images_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    name = own(monkeypatch, "def label(self, i): return np.int64(i % 2)")
    found = read(name)
    assert (found.source, len(found), found.truth.names) == (name, 4, ("a", "b"))
    assert found.truth.strata().tolist() == [0, 1, 0, 1]
    assert [int(found.fetch(index, FRAME).pixels.max()) for index in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "image",
    [
        "'photo.png'",
        "Image.open('photo.png')",
        "np.asarray(Image.open('photo.png'))",
        "__import__('pathlib').Path('photo.png')",
    ],
)
def test_an_image_is_a_path_a_pil_image_or_an_array(monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    name = own(monkeypatch, f"def label(self, i): return i % 2\n    def image(self, i): return {image}")
    np.testing.assert_array_equal(read(name).fetch(2, FRAME).pixels, pixels.transpose(2, 0, 1))


def test_labels_numbers_and_masks_are_what_they_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros((4, 0), np.bool_)
    labels = read(own(monkeypatch, "def labels(self, i): return range(i % 3)"))
    assert labels.truth.targets(FRAME, {}, nothing).tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
    numbers = read(own(monkeypatch, "def numbers(self, i): return i, None if i else 7"))
    np.testing.assert_array_equal(
        numbers.truth.targets(FRAME, {}, nothing), [[0, 7], [1, np.nan], [2, np.nan], [3, np.nan]]
    )
    mask = read(own(monkeypatch, "def mask(self, i): return np.full((4, 6), i % 2, np.uint8)"))
    assert [int(found.max()) for i in range(4) if (found := mask.fetch(i, FRAME).map) is not None] == [0, 1, 0, 1]


def test_splits_and_groups_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    body = """def label(self, i): return i % 2
    def split(self, i): return ["train", "val", "test", "train"][i]
    def group(self, i): return i // 2"""
    found = read(own(monkeypatch, body))
    assert found.splits.tolist() == [TRAIN, VAL, TEST, TRAIN]
    assert found.columns == {"group": ["0", "0", "1", "1"]}
    alone = read(own(monkeypatch, "def label(self, i): return i % 2\n    def group(self, i): return i or None"))
    assert alone.columns == {"group": ["", "1", "2", "3"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "pass",
            "expected one of label(i), labels(i), numbers(i), mask(i), which says what there is to learn; the class",
        ),
        ("def label(self, i): return 0\n    def mask(self, i): return 0", "the class has label and mask"),
        ("def label(self, i): return 'a'", "label(0): expected the number of a class, 0 to 1, got 'a'"),
        ("def label(self, i): return i", "label(2): expected the number of a class, 0 to 1, got 2"),
        ("def label(self, i): return 1 // (2 - i)", "label(2) failed: ZeroDivisionError"),
        ("def labels(self, i): return 1", "labels(0): expected a list of numbers of labels, got 1"),
        ("def numbers(self, i): return [1]", "numbers(0): expected 2 numbers"),
        ("def numbers(self, i): return [1, 'x']", "numbers(0): expected 2 numbers"),
        (
            "def label(self, i): return 0\n    def split(self, i): return 'dev'",
            "split(0): expected 'train', 'val' or 'test'",
        ),
        ("def label(self, i): return 0\n    def __len__(self): return 0", "it has 0 images"),
        ("def label(self, i): return 0\n    def __len__(self): return -1", "__len__() failed: ValueError"),
        ("def label(self, i): return 0\n    names = 'ab'", "names: expected a list of names, got ab"),
        ("def label(self, i): return 0\n    names = ['a', 'a']", "names: expected 2 at least, all different"),
        ("def label(self, i): return 0\n    names = ['a', 3]", "names: expected names on one line, got 3"),
        ("def label(self, i): return 0\n    image = None", "the class has no image(...)"),
        ("def __init__(self): raise OSError('no disk')", "making an object of it failed: OSError: no disk"),
        ("def __init__(self, path): pass", "making an object of it failed: TypeError"),
    ],
)
def test_a_mistake_is_named_with_its_method(monkeypatch: pytest.MonkeyPatch, body: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(own(monkeypatch, body))
    assert str(error.value).startswith("python:my_data:Mine: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("1 / 0", "image(0) failed: ZeroDivisionError: division by zero"),
        (
            "None",
            "image(0): expected a path, a PIL image or an array of uint8, (rows, columns) or (rows, columns, 3)",
        ),
        ("np.zeros((4, 6))", "got float64 (4, 6)"),
        ("np.zeros((3, 4, 6), np.uint8)", "got uint8 (3, 4, 6)"),
        ("'missing.png'", "no such file"),
    ],
)
def test_an_image_that_is_none_is_a_broken_one(monkeypatch: pytest.MonkeyPatch, image: str, message: str) -> None:
    name = own(monkeypatch, f"def label(self, i): return i % 2\n    def image(self, i): return {image}")
    with pytest.raises(ImageError) as error:
        read(name).fetch(0, FRAME)
    assert message in str(error.value)


def test_what_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in (
        ("python:nowhere:Mine", "cannot import nowhere"),
        ("python:my_data:Other", "has no 'Other'"),
        ("python:my_data", "write python:package.module:callable"),
    ):
        own(monkeypatch, "pass")
        with pytest.raises(UserError, match=re.escape(message)):
            open_source(name)


@pytest.mark.slow
def test_the_class_of_the_page_on_data_is_trained_and_run_where_it_is_named_alone() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "my_data.py" in block)
    sys.modules.pop("my_data", None)
    Path("my_data.py").write_text(code)
    assert len(load("python:my_data:Stripes", (1, 32, 32)).train) == 140
    run_command("train", "lenet-5", "--data", "python:my_data:Stripes", "--epochs", "2", "--out", "run")
    figures = json.loads(run_command("evaluate", "run", "--data", "python:my_data:Stripes", "--format", "json").output)
    assert figures["images"] == 40
    refusal = "nothing that a file names is run: give --data python:my_data:Stripes"
    assert refusal in run_command("evaluate", "run", code=2).output
    assert refusal in run_command("train", "lenet-5", "--out", "run", "--resume", code=2).output
    Path("run.yaml").write_text("design: lenet-5\ndata: python:my_data:Stripes\n")
    assert refusal in run_command("train", "run.yaml", code=2).output


ODD = """
class Odd(BaseException):
    def __str__(self): raise ValueError
class Unspoken:
    def __str__(self): raise OSError("mute")
    __index__ = __float__ = __str__
def odd(): raise Odd
import itertools
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self): raise SystemExit(3)", "making an object of it failed: SystemExit: 3"),
        ("def label(self, i): raise SystemExit", "label(0) failed: SystemExit"),
        ("def label(self, i): odd()", "label(0) failed: Odd"),
        ("def label(self, i): return Unspoken()", "label(0) failed: OSError: mute"),
        ("label = property(lambda self: 1 / 0)", "label failed: ZeroDivisionError"),
        ("def label(self, i): return 0\n    names = property(lambda self: 1 / 0)", "names failed: ZeroDivisionError"),
        ("def label(self, i): return 0\n    names = map(str, itertools.count())", "names: more than 100,000"),
        (
            "def label(self, i): return 0\n    def group(self, i): return Unspoken()",
            "group(0) failed: OSError: mute",
        ),
        ("def labels(self, i): return itertools.repeat(0)", "labels(0): expected 2 numbers of labels at most"),
        ("def numbers(self, i): return itertools.count()", "numbers(0): expected 2 numbers that fit 32 bits"),
        ("def numbers(self, i): return 1, 1e39", "numbers(0): expected 2 numbers that fit 32 bits"),
        ("def numbers(self, i): return 1, Unspoken()", "numbers(0) failed: OSError: mute"),
    ],
)
def test_whatever_its_code_does_is_one_message(monkeypatch: pytest.MonkeyPatch, body: str, message: str) -> None:
    name = own(monkeypatch, body)
    Path("my_data.py").write_text(ODD + Path("my_data.py").read_text())
    with pytest.raises(UserError) as error:
        read(name)
    assert str(error.value).startswith(f"{name}: {message}")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("Image.open('cut.png')", "broken or truncated"),
        ("(found := Image.open('whole.png'), found.close())[0]", "broken or truncated"),
        ("np.broadcast_to(np.uint8(0), (60_000, 60_000, 3))", "more than 62,500,000 pixels"),
        ("exit()", "image(0) failed: SystemExit"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, image: str, message: str
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save("whole.png")
    Path("cut.png").write_bytes(Path("whole.png").read_bytes()[:3000])
    name = own(monkeypatch, f"def label(self, i): return i % 2\n    def image(self, i): return {image}")
    with pytest.raises(ImageError, match=re.escape(message)):
        read(name).fetch(0, FRAME)


def test_splits_are_told_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "def label(self, i): return i % 2\n    def split(self, i): return ['Train', 'VALID', 'Test', 'TRAIN'][i]"
    assert read(own(monkeypatch, body)).splits.tolist() == [TRAIN, VAL, TEST, TRAIN]
