"""A folder of class folders of images, the layout of ImageNet and of most people's own data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnatomy.data.image_set import SPLITS, TEST, TRAIN, VAL, FromFiles, ImageSet, split_called
from cnnatomy.data.images import SUFFIXES, UNREAD_SUFFIXES
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError, counted, printable, some_of

IMAGES = ", ".join(sorted(SUFFIXES))
"""What the name of an image file ends in, for messages."""


def recognises(name: str) -> bool:
    """Whether it is a folder."""
    return Path(name).is_dir()


def read(name: str) -> ImageSet:
    """`folder/CLASS/*.png`, or `folder/train/CLASS/*.png` beside `val` and `test`; images may lie in deeper folders.

    Raises `UserError` where there is no class folder, or a split has another class than the training images.
    """
    folder = Path(name)
    parts = _parts(folder)
    classes = tuple(sorted({path.name for path in folders_in(parts[TRAIN])}))
    _check(folder, parts, classes)
    paths: list[Path] = []
    labels: list[int] = []
    splits: list[int] = []
    ignored = 0
    unread: list[Path] = []
    for split, root in sorted(parts.items()):
        for label, of_class in enumerate(classes):
            found, others, of_others = find_images(root / of_class)
            if split == TRAIN and of_others and not found:
                raise UserError(f"{root / of_class} has no image to read: {unread_note(of_others, folder)}")
            ignored += others
            unread += of_others
            paths += found
            labels += [label] * len(found)
            splits += [split] * len(found)
    return ImageSet(
        source=str(folder.resolve()),
        truth=Classes(classes, np.asarray(labels, np.int64)),
        splits=np.asarray(splits, np.int8),
        has=frozenset(parts),
        fetch=FromFiles(tuple(paths)),
        names=tuple(printable(path.relative_to(folder)) for path in paths),
        files=True,
        ignored=ignored,
        notes=(unread_note(unread, folder),) if unread else (),
    )


def _parts(folder: Path) -> dict[int, Path]:
    """Which folder holds the class folders of which split: the folder itself, or its `train`, `val` and `test`."""
    folders = folders_in(folder)
    if not folders:
        images = SUFFIXES | UNREAD_SUFFIXES
        found = sum(os.path.splitext(name)[1].lower() in images for name in os.listdir(folder))
        problem = f"has {counted(found, 'image')} but no class folders" if found else "is empty: no class folders"
        raise UserError(
            f"{folder} {problem}. Expected one folder of images a class, such as {folder}/cat and {folder}/dog"
        )
    of_splits = split_folders(folder)
    if len(of_splits) < len(folders):
        return {TRAIN: folder}
    parts: dict[int, Path] = {}
    for split, path in of_splits:
        if split in parts:
            raise UserError(f"{folder} has both {parts[split].name} and {path.name}: keep one")
        parts[split] = path
    if TRAIN not in parts:
        raise UserError(f"{folder} has {', '.join(path.name for path in folders)}, but no train")
    return parts


def _check(folder: Path, parts: dict[int, Path], classes: tuple[str, ...]) -> None:
    if not classes:
        raise UserError(f"{parts[TRAIN]} has no class folders. Expected one folder of images a class, two at least")
    for name in classes:
        if printable(name) != name:
            raise UserError(
                f"class folder {printable(parts[TRAIN] / name)}: a class is named by its folder; rename it,"
                " to text in UTF-8 without line breaks and control characters"
            )
    for split in (VAL, TEST):
        unknown = {path.name for path in folders_in(parts[split])} - set(classes) if split in parts else set()
        if unknown:
            raise UserError(f"{parts[split]} has {', '.join(sorted(unknown))}, which {parts[TRAIN]} has not")
        if split in parts and not folders_in(parts[split]):
            raise UserError(f"{parts[split]} is empty: fill it, or remove it and {SPLITS[split]} is cut off train")


def folders_in(folder: Path) -> list[Path]:
    """The folders right below, in order, without hidden ones."""
    _, names, _ = next(_walk(folder))
    return [folder / name for name in sorted(names)]


def split_folders(folder: Path) -> list[tuple[int, Path]]:
    """Those of them that are called as a split is, each with its split."""
    return [(split, path) for path in folders_in(folder) if (split := split_called(path.name)) is not None]


class FoundFiles(NamedTuple):
    """The images of a folder in order, how many files are none, and the images of formats which are not read."""

    images: list[Path]
    others: int
    unread: list[Path]


def unread_note(unread: list[Path], folder: Path) -> str:
    """What is to be said of images in a folder of formats that are not read."""
    named = some_of([printable(path.relative_to(folder)) for path in unread], 3)
    are, them = ("is", "it") if len(unread) == 1 else ("are", "them")
    return f"{counted(len(unread), 'image')} {are} not read: export {them} as JPEG or PNG ({named})"


def find_images(folder: Path) -> FoundFiles:
    """What has an image's suffix in a folder and all below it, and what else is there.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        UserError: naming a folder that cannot be read.
    """
    found: list[str] = []
    unread: list[str] = []
    count = 0
    for place, _, names in _walk(folder):
        count += len(names)
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                found.append(os.path.join(place, name))
            elif suffix in UNREAD_SUFFIXES:
                unread.append(os.path.join(place, name))
    for paths in (found, unread):
        paths.sort(key=lambda path: path.replace(os.sep, "\0"))  # as paths are ordered: by their parts
    others = count - len(found) - len(unread)
    return FoundFiles([Path(path) for path in found], others, [Path(path) for path in unread])


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` without what is hidden."""

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield place, folders, [name for name in names if not name.startswith(".")]
