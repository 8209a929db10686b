"""IDX files, the format of MNIST and its kin (LeCun, Cortes and Burges: "The MNIST database", file formats)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np

from cnnatomy.data.frames import Pixels
from cnnatomy.data.image_set import TEST, TRAIN, ImageSet, in_memory
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError
from cnnatomy.files import regular_file
from cnnatomy.limits import MAX_GZIP_RATIO, MAX_IDX_BYTES, MAX_SMALL_GZIP_BYTES

FASHION_MNIST = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Xiao, Rasul and Vollgraf 2017, table 2: the IDX files hold numbers only."""
KMNIST = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
"""Clanuwat et al. 2018, figure 2: one hiragana for each row of the syllabary, in its modern reading."""
_NAMED: dict[str, tuple[str, ...]] = {"fashion": FASHION_MNIST, "kmnist": KMNIST, "kuzushiji": KMNIST}
"""What a folder's name has in it -> the names of its classes; the files are called as MNIST's."""
_UNSIGNED_BYTE = 0x08
_STEP = 2**20
"""Bytes that are inflated at once."""


def recognises(name: str) -> bool:
    """Whether it is a folder that holds IDX files, gzipped or not."""
    folder = Path(name)
    return folder.is_dir() and any(
        "idx" in path.name and "ubyte" in path.name and not path.is_dir() for path in folder.iterdir()
    )


def read(name: str) -> ImageSet:
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the `t10k-` pair, each gzipped (`.gz`) or not.

    Raises `UserError` naming the file that is missing, truncated or not what its name says.
    """
    folder = Path(name)
    prefixes = "train", "t10k"
    images, labels = pairs(folder, prefixes)
    count = int(max(part.max() for part in labels)) + 1
    if count < 2:
        raise UserError(f"{folder}: all labels are of one class; expected two classes at least")
    names = next((names for word, names in _NAMED.items() if word in str(folder.resolve()).lower()), ())
    names = names if len(names) == count else tuple(map(str, range(count)))
    truth = Classes(names, np.concatenate(labels).astype(np.int64))
    return in_memory(str(folder.resolve()), truth, images, prefixes, (TRAIN, TEST))


def pairs(folder: Path, prefixes: tuple[str, str]) -> tuple[list[Pixels], list[Pixels]]:
    """Images `(images, rows, columns)` and labels `(images,)` of the training and of the test files.

    Raises:
        UserError: naming the file that is missing, broken or does not fit the others.
    """
    images, labels = [], []
    for prefix in prefixes:
        path, label_path = _find(folder, prefix, "images", 3), _find(folder, prefix, "labels", 1)
        pixels, numbers = read_idx(path, 3), read_idx(label_path, 1)
        if len(pixels) != len(numbers):
            raise UserError(f"{path} has {len(pixels):,} images, but {label_path.name} has {len(numbers):,} labels")
        if len(pixels) == 0 or 0 in pixels.shape:
            raise UserError(f"{path} holds no image")
        images.append(pixels)
        labels.append(numbers)
    if images[0].shape[1:] != images[1].shape[1:]:
        raise UserError(
            f"{folder}: training images are {images[0].shape[1:]}, test images {images[1].shape[1:]} pixels"
        )
    return images, labels


def read_idx(path: Path, dimensions: int) -> Pixels:
    """The array of unsigned bytes in one IDX file.

    What its header promises is held against the size of the file, or against what so small a gzip file may become,
    before anything is allocated.

    Raises:
        UserError: where it is truncated, too long, or something else.
    """
    try:
        file, size = regular_file(path)
        with file:
            if path.suffix != ".gz":
                shape = _shape(path, file, dimensions, MAX_IDX_BYTES)
                _check_length(path, shape, size - file.tell())
                return _filled(path, shape, file)
            with gzip.GzipFile(fileobj=file) as unzipped:
                shape = _shape(path, unzipped, dimensions, max(MAX_SMALL_GZIP_BYTES, MAX_GZIP_RATIO * size))
                return _filled(path, shape, unzipped)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken or truncated gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def _shape(path: Path, file: BufferedReader | gzip.GzipFile, dimensions: int, limit: int) -> tuple[int, ...]:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions:
        raise UserError(f"{path}: {len(header)} bytes are too few for an IDX header: fetch it again")
    zeros, kind, found = struct.unpack(">HBB", header[:4])
    if zeros != 0 or kind != _UNSIGNED_BYTE or found != dimensions:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes with {dimensions} dimension{'s' * (dimensions > 1)}"
            f" (it begins with {header[:4].hex(' ')}, expected 00 00 08 0{dimensions})"
        )
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", header[4:])
    promised, limit = math.prod(shape), min(limit, MAX_IDX_BYTES)
    if promised > limit:
        of_what = "more than" if limit == MAX_IDX_BYTES else "but so small a gzip file may become at most"
        raise UserError(f"{path}: the header promises {promised:,} bytes, {of_what} {limit:,}")
    return shape


def _filled(path: Path, shape: tuple[int, ...], file: BufferedReader | gzip.GzipFile) -> Pixels:
    array = np.empty(math.prod(shape), np.uint8)
    places, done = array.data, 0
    while done < len(array) and (got := file.readinto(places[done : done + _STEP])):
        done += got
    _check_length(path, shape, done + len(file.read(1)))
    return array.reshape(shape)


def _check_length(path: Path, shape: tuple[int, ...], found: int) -> None:
    promised = math.prod(shape)
    if found != promised:
        wanted = " x ".join(f"{length:,}" for length in shape)
        some = "more" if found > promised else f"{found:,}"
        raise UserError(f"{path}: the header promises {wanted} = {promised:,} bytes, found {some}: fetch it again")


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path:
    name = f"{prefix}-{kind}-idx{dimensions}-ubyte"
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"):
        if (folder / candidate).exists():
            return folder / candidate
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    raise UserError(f"{folder} has no {name} or {name}.gz (found: {there})")
