"""EMNIST: handwritten letters and digits in six choices of classes, which lie side by side as IDX files (Cohen et al.
2017, "EMNIST: an extension of MNIST to handwritten letters")."""

from __future__ import annotations

import re
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np
from numpy.typing import NDArray

from cnnatomy.data.frames import Pixels
from cnnatomy.data.image_set import TEST, TRAIN, ImageSet, in_memory
from cnnatomy.data.sources.idx import pairs
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_NAMES_BYTES

_MERGED = digits + ascii_uppercase + "abdefghnqrt"
"""Where a letter looks alike in both cases, the two are one class (section II-B)."""
_CLASSES = {
    "byclass": digits + ascii_uppercase + ascii_lowercase,
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": ascii_uppercase,
    "digits": digits,
    "mnist": digits,
}
"""Choice -> its classes in the order of their labels, as the published mappings have them."""
_FIRST = {"letters": 1}
"""From which number on labels count, where it is not 0."""
_FILE = re.compile(r"emnist-(\w+)-(?:train|test)-(?:images|labels)[-.]idx\d-ubyte(?:\.gz)?")


def recognises(name: str) -> bool:
    """Whether it is a folder of EMNIST's files, or the beginning of their names: `FOLDER/emnist-letters`."""
    path = Path(name)
    if path.is_dir():
        return bool(_choices(path))
    return (
        path.name.startswith("emnist-") and not path.exists() and path.parent.is_dir() and bool(_choices(path.parent))
    )


def read(name: str) -> ImageSet:
    """`emnist-CHOICE-train-images-idx3-ubyte` and the other three, each gzipped (`.gz`) or not.

    The files hold each image with rows and columns exchanged; here they stand upright.

    Raises:
        UserError: if the folder has several choices and none is named, or a file is missing or broken.
    """
    path = Path(name)
    folder, chosen = (path, "") if path.is_dir() else (path.parent, path.name.removeprefix("emnist-"))
    found = _choices(folder)
    if not chosen and len(found) > 1:
        paths = ", ".join(str(folder / f"emnist-{choice}") for choice in found)
        raise UserError(f"{folder} has {len(found)} choices of EMNIST's classes: name one of {paths}")
    chosen = chosen or found[0]
    if chosen not in found:
        raise UserError(
            f"{folder} has no emnist-{chosen}: expected emnist- and one of {', '.join(found)}.{nearest(chosen, found)}"
        )
    prefixes = f"emnist-{chosen}-train", f"emnist-{chosen}-test"
    images, labels = pairs(folder, prefixes)
    mapping = _mapping(folder / f"emnist-{chosen}-mapping.txt", chosen)
    truth = Classes(tuple(mapping.values()), _numbers(folder, prefixes, labels, list(mapping)))
    upright = [part.transpose(0, 2, 1) for part in images]
    return in_memory(str((folder / f"emnist-{chosen}").resolve()), truth, upright, prefixes, (TRAIN, TEST))


def _choices(folder: Path) -> list[str]:
    found = {match[1] for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))}
    return sorted(found)


def _mapping(path: Path, choice: str) -> dict[int, str]:
    """Label -> name of its class: of the file of lines `label code [code of the other case]`, where it is there."""
    if not path.exists():
        if choice not in _CLASSES:
            raise UserError(
                f"{path.parent} has no {path.name}, which says the classes of {choice}; those of"
                f" {', '.join(_CLASSES)} are known without"
            )
        return dict(enumerate(_CLASSES[choice], _FIRST.get(choice, 0)))
    mapping: dict[int, str] = {}
    for number, line in enumerate(read_text(path, MAX_NAMES_BYTES, "the mapping").splitlines(), 1):
        words, where = line.split(), f"{path}, line {number}"
        if not words:
            continue
        if len(words) < 2 or not all(word.isdecimal() and len(word) < 8 for word in words[:2]):
            raise UserError(f"{where}: expected a label and the code of its character, got {quoted(line)}")
        label, code = int(words[0]), int(words[1])
        if not 33 <= code < 127:
            raise UserError(f"{where}: {code} is the code of no visible ASCII character")
        if label in mapping or chr(code) in mapping.values():
            raise UserError(f"{where}: label {label} or character {chr(code)} is there before")
        mapping[label] = chr(code)
    if len(mapping) < 2:
        raise UserError(f"{path} tells of {len(mapping)} classes; expected two at least")
    return dict(sorted(mapping.items()))


def _numbers(folder: Path, prefixes: tuple[str, str], labels: list[Pixels], known: list[int]) -> NDArray[np.int64]:
    """The place of each label among those that are known."""
    for prefix, part in zip(prefixes, labels, strict=True):
        unknown = np.flatnonzero(~np.isin(part, known))
        if len(unknown):
            raise UserError(
                f"{folder}: image {unknown[0]:,} of {prefix} has the label {part[unknown[0]]}; there are"
                f" {len(known)}, from {known[0]} to {known[-1]}"
            )
    return np.searchsorted(known, np.concatenate(labels)).astype(np.int64)
