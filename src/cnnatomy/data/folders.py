"""A folder of class folders of images, the layout of ImageNet and of most people's own data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnnatomy.data.images import SUFFIXES
from cnnatomy.data.sources import SPLITS, TEST, TRAIN, VAL, FromFiles, ImageSet
from cnnatomy.errors import UserError

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}


def read_class_folders(folder: Path) -> ImageSet:
    """`folder/CLASS/*.png`, or `folder/train/CLASS/*.png` beside `val` and `test`; images may lie in deeper folders.

    Raises `UserError` where there is no class folder, only one, or one without images.
    """
    parts = _parts(folder)
    classes = tuple(sorted({path.name for path in _folders(parts[TRAIN])}))
    _check(folder, parts, classes)
    paths: list[Path] = []
    labels: list[int] = []
    splits: list[int] = []
    ignored = 0
    for split, root in sorted(parts.items()):
        for label, name in enumerate(classes):
            files = list(_files(root / name))
            image_set = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
            ignored += len(files) - len(image_set)
            if not image_set and split == TRAIN:
                raise UserError(f"class folder {root / name} has no images ({', '.join(sorted(SUFFIXES))})")
            paths += image_set
            labels += [label] * len(image_set)
            splits += [split] * len(image_set)
    return ImageSet(
        source=str(folder.resolve()),
        classes=classes,
        labels=np.asarray(labels, np.int64),
        splits=np.asarray(splits, np.int8),
        has=frozenset(parts),
        fetch=FromFiles(tuple(paths)),
        names=tuple(str(path.relative_to(folder)) for path in paths),
        files=True,
        ignored=ignored,
    )


def _parts(folder: Path) -> dict[int, Path]:
    """Which folder holds the class folders of which split: the folder itself, or its `train`, `val` and `test`."""
    folders = _folders(folder)
    if not folders:
        found = sum(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
        problem = f"has {found:,} images but no class folders" if found else "is empty: no class folders"
        raise UserError(
            f"{folder} {problem}. Expected one folder of images a class, such as {folder}/cat and {folder}/dog"
        )
    if not all(path.name.lower() in SPLIT_NAMES for path in folders):
        return {TRAIN: folder}
    parts: dict[int, Path] = {}
    for path in folders:
        split = SPLIT_NAMES[path.name.lower()]
        if split in parts:
            raise UserError(f"{folder} has both {parts[split].name} and {path.name}: keep one")
        parts[split] = path
    if TRAIN not in parts:
        raise UserError(f"{folder} has {', '.join(path.name for path in folders)}, but no train")
    return parts


def _check(folder: Path, parts: dict[int, Path], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        found = f"only one class folder, {classes[0]}" if classes else "no class folders"
        raise UserError(f"{parts[TRAIN]} has {found}. Expected one folder of images a class, two at least")
    for split in (VAL, TEST):
        unknown = {path.name for path in _folders(parts[split])} - set(classes) if split in parts else set()
        if unknown:
            raise UserError(f"{parts[split]} has {', '.join(sorted(unknown))}, which {parts[TRAIN]} has not")
        if split in parts and not _folders(parts[split]):
            raise UserError(f"{parts[split]} is empty: fill it, or remove it and {SPLITS[split]} is cut off train")


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))
