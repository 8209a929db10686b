"""A folder of images and a folder of masks, in which each image has a file of its name: a class for each pixel.

Both may be divided by folders `train`, `val` and `test`, above them (`train/images`) or in them (`images/train`).
`classes.txt` beside names the classes.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnatomy.data.class_list import class_list
from cnnatomy.data.image_set import SPLITS, TRAIN, FromFiles, ImageSet
from cnnatomy.data.images import SUFFIXES
from cnnatomy.data.maps import meaning
from cnnatomy.data.sources.folders import find_images, folders_in, split_folders, unread_note
from cnnatomy.data.truth import Masks
from cnnatomy.errors import UserError, printable, some_of

IMAGES = ("images", "imgs", "jpegimages")
MASKS = ("masks", "segmentationclass", "annotations", "labels")
"""Names of the folders, in lower case."""
MASK_ENDING = "_mask"
"""What a mask's name may have after its image's."""


class MaskedPart(NamedTuple):
    """The folder of the images of a split, and that of their masks, where there is one."""

    split: int
    images: Path
    masks: Path | None


def recognises(name: str) -> bool:
    """Whether it is a folder that has images and masks."""
    folder = Path(name)
    return folder.is_dir() and any(part.masks is not None for part in _parts(folder))


def read(name: str) -> ImageSet:
    """Matches images and masks; no image is decoded, and masks are where `classes.txt` does not say what is in them.

    Raises:
        UserError: where no image has a mask, two of one name are there, or the masks do not say classes.
    """
    folder = Path(name)
    images: list[Path] = []
    masks: list[Path] = []
    splits: list[int] = []
    notes: list[str] = []
    for part in _parts(folder):
        pairs, alone = _matched(part)
        images += [image for image, _ in pairs]
        masks += [mask for _, mask in pairs]
        splits += [part.split] * len(pairs)
        notes += alone
    if TRAIN not in splits:
        expected = f"{folder}/images/cat.jpg and {folder}/masks/cat.png"
        raise UserError("\n  ".join([f"{folder}: no image has a mask of its name, such as {expected}", *notes]))
    names = [printable(mask.relative_to(folder)) for mask in masks]
    found = meaning((partial(Path, mask) for mask in masks), names, class_list(folder), str(folder))
    return ImageSet(
        source=str(folder.resolve()),
        truth=Masks(found.names, len(images)),
        splits=np.array(splits, np.int8),
        has=frozenset(splits),
        fetch=FromFiles(tuple(images), tuple(masks), found.coding),
        names=tuple(printable(image.relative_to(folder)) for image in images),
        files=True,
        notes=(*found.notes, *notes),
    )


def _parts(folder: Path) -> list[MaskedPart]:
    """The folders of images and masks, those of each split."""
    images, masks = _images_and_masks(folder)
    if images is None:
        pairs = {split: _images_and_masks(below) for split, below in split_folders(folder)}
        return [MaskedPart(split, found, beside) for split, (found, beside) in pairs.items() if found is not None]
    of_images, of_masks = dict(split_folders(images)), dict(split_folders(masks)) if masks is not None else {}
    if TRAIN in of_images and TRAIN in of_masks:
        return [MaskedPart(split, below, of_masks.get(split)) for split, below in sorted(of_images.items())]
    return [MaskedPart(TRAIN, images, masks)]


def _images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks right below one; annotations that are no images are no masks."""
    below = {path.name.lower(): path for path in folders_in(folder)}
    images = next((below[name] for name in IMAGES if name in below), None)
    return images, next((below[name] for name in MASKS if name in below and _has_images(below[name])), None)


def _has_images(folder: Path) -> bool:
    """Whether an image is among the files of a folder, or of those below; it ends with the first."""
    return any(os.path.splitext(name)[1].lower() in SUFFIXES for _, _, names in os.walk(folder) for name in names)


def _matched(part: MaskedPart) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Each image with its mask, and what is to be said of those that are alone."""
    images, unread = _by_stem(part.images)
    masks, _ = _by_stem(part.masks) if part.masks is not None else ({}, [])
    masks = {stem if stem in images else stem.removesuffix(MASK_ENDING): path for stem, path in masks.items()}
    without = [path.name for stem, path in images.items() if stem not in masks]
    unmatched = [path.name for stem, path in masks.items() if stem not in images]
    notes = [
        f"{SPLITS[part.split]}: {len(alone):,} {what[len(alone) > 1]}, left out: {printable(some_of(alone))}"
        for what, alone in (
            (("image without a mask", "images without a mask"), without),
            (("mask without an image", "masks without an image"), unmatched),
        )
        if alone
    ]
    if unread:
        notes.append(f"{SPLITS[part.split]}: {unread_note(unread, part.images)}")
    return [(path, masks[stem]) for stem, path in images.items() if stem in masks], notes


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The image files of a folder by their names in it, without suffix; and those that are not read."""
    found: dict[str, Path] = {}
    files = find_images(folder)
    for path in files.images:
        stem = str(path.relative_to(folder).with_suffix(""))
        if stem in found:
            raise UserError(f"{folder} has two images of one name, {found[stem].name} and {path.name}: keep one")
        found[stem] = path
    return found, files.unread
