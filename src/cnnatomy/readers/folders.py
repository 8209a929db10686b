"""The networks in folders: what of the files there is a design."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnnatomy import catalogue
from cnnatomy.errors import UserError, counted, shown
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_CRITICISED, MAX_DESIGN_BYTES, MAX_FOLDERS
from cnnatomy.readers import OTHERS, RUN_DESIGN, RUN_RECORD, YAML
from cnnatomy.readers.yaml.aside import is_design

_OTHER_FILES = tuple(mark for mark in OTHERS if mark.startswith("."))


class InFolders(NamedTuple):
    """What names stand for.

    Attributes:
        networks: each once, as it would be named alone.
        passed: how many YAML files were passed over because they are no designs.
        several: whether there may be more than one: not where one network is named.
    """

    networks: list[str]
    passed: int
    several: bool


def networks_of(names: Sequence[str], designs_only: bool = False) -> InFolders:
    """The networks that names stand for, where a folder is all designs in it and in the folders below it, sorted.

    YAML files in folders that are no designs are passed over; with `designs_only` such that are named, too.

    Raises:
        UserError: if there is nothing in a folder, or too much.
    """
    found: dict[str, str] = {}
    passed = 0
    for name in names:
        if not is_folder(name):
            if designs_only and name.lower().endswith(YAML) and os.path.isfile(name) and not _is_design(name):
                passed += 1
            else:
                found.setdefault(_same(name), name)
            continue
        before, there = passed, False
        for path in _files(name):
            if path.lower().endswith(YAML) and not _is_design(path):
                passed += 1
                continue
            there = True
            found.setdefault(_same(path), path)
        if not there and not designs_only:
            others = f" ({counted(passed - before, 'YAML file')} without one)" if passed > before else ""
            raise UserError(f"{name}: no design in this folder{others}; designs are .yaml, .onnx and .prototxt files")
    several = len(names) > 1 or designs_only or any(map(is_folder, names))
    return InFolders(list(found.values()), passed, several)


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder to look into: not of a run, nor of a network of the catalogue."""
    if "\0" in name or not os.path.isdir(name):
        return False
    run = os.path.isfile(os.path.join(name, RUN_DESIGN)) and os.path.isfile(os.path.join(name, RUN_RECORD))
    return not run and (name.endswith(("/", os.sep)) or not catalogue.knows(name))


def _files(folder: str) -> list[str]:
    """The files in a folder that may be designs, in order; hidden folders and links to folders are passed by.

    Raises:
        UserError: if there are too many, before one of them is read.
    """
    found: list[str] = []
    for count, (path, folders, files) in enumerate(os.walk(folder)):
        if count >= MAX_FOLDERS:
            raise UserError(f"{shown(folder)}: more than {MAX_FOLDERS:,} folders; name one further down")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith((*YAML, *_OTHER_FILES)) and not name.startswith("."):
                found.append(os.path.normpath(os.path.join(path, name)))
        if len(found) > MAX_CRITICISED:
            raise UserError(f"{shown(folder)}: more than {MAX_CRITICISED:,} YAML files and models; name folders in it")
    return found


def _same(name: str) -> str:
    """Alike for two names of one file."""
    return os.path.realpath(name) if os.path.isfile(name) else name


def _is_design(name: str) -> bool:
    """Whether a YAML file is meant to be a design; one that cannot be read is none."""
    try:
        return is_design(read_text(Path(name), MAX_DESIGN_BYTES, "the design"))
    except UserError:
        return False
