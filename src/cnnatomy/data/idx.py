"""IDX files, the format of MNIST and Fashion-MNIST (LeCun, Cortes and Burges: "The MNIST database", file formats)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.sources import FASHION_MNIST, TEST, TRAIN, FromArray, ImageSet
from cnnatomy.errors import UserError

MAX_BYTES = 2**32
"""The header's promise is held against this before anything is allocated: 4 GiB, 91 times MNIST's training images."""

_UNSIGNED_BYTE = 0x08


def is_idx(folder: Path) -> bool:
    """Whether the folder holds IDX files, gzipped or not."""
    return any("idx" in path.name and "ubyte" in path.name for path in folder.iterdir() if path.is_file())


def read_idx_folder(folder: Path) -> ImageSet:
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the `t10k-` pair, each gzipped (`.gz`) or not.

    Raises `UserError` naming the file that is missing, truncated or not what its name says.
    """
    images, labels, splits = [], [], []
    for prefix, split in (("train", TRAIN), ("t10k", TEST)):
        path, label_path = _find(folder, prefix, "images", 3), _find(folder, prefix, "labels", 1)
        image_set, numbers = read_idx(path, 3), read_idx(label_path, 1)
        if len(image_set) != len(numbers):
            raise UserError(f"{path} has {len(image_set):,} images, but {label_path.name} has {len(numbers):,} labels")
        if len(image_set) == 0 or 0 in image_set.shape:
            raise UserError(f"{path} holds no image")
        images.append(image_set)
        labels.append(numbers)
        splits.append(np.full(len(numbers), split, np.int8))
    if images[0].shape[1:] != images[1].shape[1:]:
        raise UserError(
            f"{folder}: training images are {images[0].shape[1:]}, test images {images[1].shape[1:]} pixels"
        )
    count = int(max(part.max() for part in labels)) + 1
    names = FASHION_MNIST if "fashion" in str(folder.resolve()).lower() and count == 10 else map(str, range(count))
    return ImageSet(
        source=str(folder.resolve()),
        classes=tuple(names),
        labels=np.concatenate(labels).astype(np.int64),
        splits=np.concatenate(splits),
        has=frozenset({TRAIN, TEST}),
        fetch=FromArray(np.concatenate(images)),
        names=tuple(
            f"{prefix} {index}"
            for prefix, part in zip(("train", "t10k"), labels, strict=True)
            for index in range(len(part))
        ),
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in one IDX file; raises `UserError` where it is truncated or something else."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(path, header, dimensions)
            size = math.prod(shape)
            content = file.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken or truncated gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if len(content) != size:
        found = "more" if len(content) > size else f"{len(content):,}"
        wanted = " x ".join(f"{length:,}" for length in shape)
        raise UserError(f"{path}: the header promises {wanted} = {size:,} bytes, found {found}: fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * dimensions:
        raise UserError(f"{path}: {len(header)} bytes are too few for an IDX header: fetch it again")
    zeros, kind, found = struct.unpack(">HBB", header[:4])
    if zeros != 0 or kind != _UNSIGNED_BYTE or found != dimensions:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes with {dimensions} dimension{'s' * (dimensions > 1)}"
            f" (it begins with {header[:4].hex(' ')}, expected 00 00 08 0{dimensions})"
        )
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", header[4:])
    if math.prod(shape) > MAX_BYTES:
        raise UserError(f"{path}: the header promises {math.prod(shape):,} bytes, more than {MAX_BYTES:,}")
    return shape


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path:
    name = f"{prefix}-{kind}-idx{dimensions}-ubyte"
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    raise UserError(f"{folder} has no {name} or {name}.gz (found: {there})")
