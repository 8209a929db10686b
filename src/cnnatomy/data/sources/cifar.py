"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, "Learning multiple layers of features from tiny images")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.image_set import TEST, TRAIN, ImageSet, in_memory
from cnnatomy.data.sources.cifar_forms import FORMS, CifarBatch, Form
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError


def recognises(name: str) -> bool:
    """Whether it is a folder that has a file of one of the forms."""
    return Path(name).is_dir() and _form(Path(name)) is not None


def read(name: str) -> ImageSet:
    """CIFAR-10 or CIFAR-100; the 20 coarse classes of CIFAR-100 are groups of its 100.

    Raises `UserError` naming the file that is missing, truncated or not what its name says.
    """
    folder = Path(name)
    form = _form(folder)
    assert form is not None, "recognised"
    names = form.names(folder)
    paths, parts = zip(*form.parts(folder), strict=True)
    for path, part in zip(paths, parts, strict=True):
        _check(path, part, names)
    labels = list(map(np.concatenate, zip(*(part.labels for part in parts), strict=True)))
    return in_memory(
        str(folder.resolve()),
        Classes(tuple(names[0]), labels[0], _groups(folder, names, labels) if len(names) > 1 else {}),
        [part.images for part in parts],
        [path.name for path in paths],
        [*[TRAIN] * (len(parts) - 1), TEST],
    )


def _form(folder: Path) -> Form | None:
    """How the files of the folder are written; a few of a form's files may be missing."""
    for form in FORMS:
        # a `train` alone may be anything
        first, last = ((folder / file).is_file() for file in (form.files[0], form.files[-1]))
        if (first and last) if form.files[0] == "train" else (first or last):
            return form
    return None


def _groups(
    folder: Path, names: Sequence[Sequence[str]], labels: Sequence[NDArray[np.int64]]
) -> dict[str, tuple[str, ...]]:
    """Coarse class -> its classes."""
    pairs = np.unique(np.stack([labels[1], labels[0]], 1), axis=0).tolist()
    if len({label for _, label in pairs}) != len(pairs):
        raise UserError(f"{folder}: images of one class have different coarse classes: fetch it again")
    return {
        kind: members
        for number, kind in enumerate(names[1])
        if (members := tuple(names[0][label] for of, label in pairs if of == number))
    }


def _check(path: Path, part: CifarBatch, names: Sequence[Sequence[str]]) -> None:
    if not len(part.images):
        raise UserError(f"{path} holds no image")
    for labels, known in zip(part.labels, names, strict=True):
        if len(labels) != len(part.images):
            raise UserError(f"{path} has {len(part.images):,} images, but {len(labels):,} labels")
        wrong = np.flatnonzero((labels < 0) | (labels >= len(known)))
        if len(wrong):
            raise UserError(
                f"{path}: image {wrong[0]:,} has the label {labels[wrong[0]]}; there are {len(known):,} classes, from 0"
                " on"
            )
