"""`load`: from the name of a data set to `Data`, three splits ready for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.batches import InMemory, OnDemand, Store
from cnnatomy.data.detection import is_coco, open_coco
from cnnatomy.data.drawn import PREFIX, DrawnScenes, open_scenes
from cnnatomy.data.folders import read_class_folders
from cnnatomy.data.idx import is_idx, read_idx_folder
from cnnatomy.data.images import ImageError, ImageShape, Pixels, Stored, check_image_shape, quiet_decoders
from cnnatomy.data.parts import Data, Normalisation, Report, Split
from cnnatomy.data.sources import LEFT_OUT, SPLITS, TEST, TRAIN, VAL, ImageSet, digits
from cnnatomy.data.splits import split_images
from cnnatomy.errors import UserError, nearest

MEMORY = 2 * 2**30
"""Bytes of decoded images that may be held at once; a larger data set is decoded again in every epoch."""
DEBIAN = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}

Progress = Callable[[int, int], None]
"""Called with (images read, images in all)."""


Source = ImageSet | DrawnScenes
"""What `open_source` gives: the images of a data set, of which none is decoded yet."""


def load(
    source: str | Path | Source,
    shape: ImageShape,
    split_seed: int = 0,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Data:
    """The data set `source` as images of `shape` (channels, rows, columns).

    `source` is what `open_source` takes, or what it gave. Splits that it does not bring along are cut off its training
    images: 20 % of each class for test, 10 % for validation, drawn by `split_seed`. The normalisation is computed on
    the training split alone.
    Raises `UserError` where that cannot be done.
    """
    image_set = open_source(source) if isinstance(source, (str, Path)) else source
    if isinstance(image_set, DrawnScenes):
        return image_set.load(shape, split_seed)
    check_image_shape(shape)
    _check_classes(image_set)
    survey = _survey(image_set, shape, memory, progress)
    try:
        splits = split_images(
            image_set.labels, survey.digests, image_set.splits, image_set.has, image_set.classes, split_seed
        )
    except UserError as error:
        broken = [f"{image_set.names[index]}: {reason}" for index, reason in list(survey.broken.items())[:5]]
        raise UserError("\n  ".join([f"{image_set.source}: {error}", *broken])) from None
    targets = image_set.targets(shape, survey.stored)
    parts = [
        Split(survey.store, torch.from_numpy(np.flatnonzero(splits == split)), targets) for split in (TRAIN, VAL, TEST)
    ]
    for name, part in zip(SPLITS, parts, strict=True):
        if len(part) == 0:
            raise UserError(f"{image_set.source}: no usable image is left in {name}")
    return Data(
        source=image_set.source,
        task=image_set.task(shape),
        shape=shape,
        split_seed=split_seed,
        train=parts[TRAIN],
        val=parts[VAL],
        test=parts[TEST],
        normalisation=_normalisation(survey, splits == TRAIN, shape),
        report=_report(image_set, survey, splits, targets),
        fingerprint=hashlib.blake2b(
            b"".join(survey.digests) + splits.tobytes() + targets.numpy().tobytes(), digest_size=16
        ).hexdigest(),
    )


def _check_classes(image_set: ImageSet) -> None:
    """Labels that are numbers may leave some out, which are then classes that nothing can be learned of."""
    counts = np.bincount(image_set.labels[image_set.splits == TRAIN], minlength=len(image_set.classes))
    empty = [name for name, count in zip(image_set.classes, counts.tolist(), strict=True) if not count]
    if empty:
        more = f" and {len(empty) - 5:,} more" if len(empty) > 5 else ""
        raise UserError(
            f"{image_set.source}: the labels tell of {len(image_set.classes)} classes, but no training image is of"
            f" {', '.join(empty[:5])}{more}. Labels count the classes from 0 without a gap"
        )


def load_labelled(source: str | Path | Source, shape: ImageShape, classes: Sequence[str]) -> tuple[Split, str]:
    """Images to evaluate a network on that knows `classes`, and in words what they are.

    The test split where the data set brings one along, else all of it; broken images are skipped.
    Raises `UserError` where it has a class that is not among `classes`, or no usable image.
    """
    check_image_shape(shape)
    found = open_source(source) if isinstance(source, (str, Path)) else source
    if isinstance(found, DrawnScenes):
        raise UserError(f"{found.source} is drawn, with splits of its own: expected files of images with classes")
    image_set = found.among(classes)
    survey = _survey(image_set, shape, MEMORY, None)
    usable = np.array([bool(digest) for digest in survey.digests])
    if TEST in image_set.has:
        usable &= image_set.splits == TEST
    if not usable.any():
        raise UserError(f"{image_set.source} has no usable image")
    what = f"{'test split' if TEST in image_set.has else 'all'} of {image_set.source}"
    what += f" without {len(survey.broken):,} broken images" if survey.broken else ""
    skipped = len(image_set.skipped_annotations)
    what += f", {skipped:,} annotations skipped" if skipped else ""
    targets = image_set.targets(shape, survey.stored)
    return Split(survey.store, torch.from_numpy(np.flatnonzero(usable)), targets), what


def open_source(source: str | Path) -> Source:
    """Finds the images of a data set without decoding any; raises `UserError` where there is none.

    `source` is `digits`, a folder of IDX files, a folder of class folders, or `fashion-mnist` where Debian's package is
    installed.
    """
    if not str(source):
        raise UserError(f"the name of the data is empty: expected {', '.join(NAMED)}, or a folder")
    if str(source).startswith(PREFIX):
        return open_scenes(str(source))
    path = Path(source)
    if path.exists() and is_coco(path):
        return open_coco(path)
    if path.is_dir():
        return read_idx_folder(path) if is_idx(path) else read_class_folders(path)
    if path.exists():
        raise UserError(f"{path} is a file; expected a folder of class folders, a folder of IDX files, or digits")
    if str(source) in NAMED:
        return NAMED[str(source)]()
    hint = nearest(path.name, [*NAMED, *(entry.name for entry in _beside(path))])
    raise UserError(
        f"no data set {source}: expected {', '.join(NAMED)}, scenes:KIND, a folder, or COCO annotations (.json).{hint}"
    )


def _fashion_mnist() -> ImageSet:
    """From where Debian's package puts it."""
    folder = DEBIAN["fashion-mnist"]
    if not folder.is_dir():
        raise UserError(
            "fashion-mnist is not installed: apt-get install dataset-fashion-mnist, or name a folder of IDX files"
        )
    return read_idx_folder(folder)


NAMED: dict[str, Callable[[], ImageSet]] = {"digits": digits, "fashion-mnist": _fashion_mnist}
"""The data sets that have a name; all others are folders."""


def _beside(path: Path) -> list[Path]:
    return [entry for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []


@dataclass(frozen=True, eq=False)
class _Survey:
    """What one pass over every image finds: a digest (empty where broken), sum and sum of squares by channel; of those
    that are not broken how they are stored, of the others the reason."""

    store: Store
    digests: list[bytes]
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    stored: dict[int, Stored]
    broken: dict[int, str]


def _survey(image_set: ImageSet, shape: ImageShape, memory: int, progress: Progress | None) -> _Survey:
    count, channels = len(image_set), shape[0]
    fits = count * int(np.prod(shape)) <= memory
    images = np.zeros((count, *shape), np.uint8) if fits else None
    digests = [b""] * count
    sums, squares = np.zeros((count, channels), np.int64), np.zeros((count, channels), np.int64)
    stored: dict[int, Stored] = {}
    broken: dict[int, str] = {}
    for index, found in _decode_all(image_set, shape):
        if isinstance(found, ImageError):
            broken[index] = str(found)
        else:
            pixels, stored[index] = found
            digests[index] = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
            flat = pixels.reshape(channels, -1)
            sums[index] = flat.sum(1, dtype=np.int64)
            squares[index] = np.einsum("cp,cp->c", flat, flat, dtype=np.int64)
            if images is not None:
                images[index] = pixels
        if progress is not None:
            progress(index + 1, count)
    store: Store = OnDemand(image_set, shape) if images is None else InMemory(torch.from_numpy(images))
    return _Survey(store, digests, sums, squares, stored, broken)


def _decode_all(image_set: ImageSet, shape: ImageShape) -> Iterator[tuple[int, tuple[Pixels, Stored] | ImageError]]:
    """Every image in order, files by several threads (Pillow releases the interpreter while it decodes)."""

    def fetch(index: int) -> tuple[Pixels, Stored] | ImageError:
        try:
            return image_set.fetch(index, shape)
        except ImageError as error:
            return error

    if not image_set.files:
        yield from ((index, fetch(index)) for index in range(len(image_set)))
        return
    with quiet_decoders(), ThreadPoolExecutor() as threads:
        for start in range(0, len(image_set), 512):  # bounds how many decoded images wait
            part = range(start, min(start + 512, len(image_set)))
            yield from zip(part, threads.map(fetch, part), strict=True)


def _normalisation(survey: _Survey, training: NDArray[np.bool_], shape: ImageShape) -> Normalisation:
    """Mean and standard deviation per channel, from integer sums. A constant channel is divided by 1."""
    pixels = int(training.sum()) * shape[1] * shape[2]
    mean = survey.sums[training].sum(0) / pixels
    variance = survey.squares[training].sum(0) / pixels - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    std[std < 1e-3] = 255.0
    return Normalisation(tuple((mean / 255).tolist()), tuple((std / 255).tolist()))


def _report(image_set: ImageSet, survey: _Survey, splits: NDArray[np.int8], targets: Tensor) -> Report:
    counts = {name: image_set.counts(targets[torch.from_numpy(splits == split)]) for split, name in enumerate(SPLITS)}
    first: dict[bytes, int] = {}
    conflicts = duplicates = 0
    for digest, label, split in zip(survey.digests, image_set.labels.tolist(), splits.tolist(), strict=True):
        if not digest:
            continue
        duplicates += digest in first and split != LEFT_OUT
        conflicts += first.setdefault(digest, label) != label
    return Report(
        counts=counts,
        skipped=tuple((image_set.names[index], reason) for index, reason in sorted(survey.broken.items())),
        ignored=image_set.ignored,
        duplicates=duplicates,
        left_out=int((splits == LEFT_OUT).sum()) - len(survey.broken),
        conflicts=conflicts,
        skipped_annotations=image_set.skipped_annotations,
    )
