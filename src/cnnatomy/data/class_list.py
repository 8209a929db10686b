"""`classes.txt`, in which the classes of a data set have their names, and of masks their colours, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cnnatomy.errors import UserError, printable, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_NAMES_BYTES

Colour: TypeAlias = tuple[int, int, int]
FILE = "classes.txt"


@dataclass(frozen=True)
class ClassList:
    """The names of classes in order, of whom `path` tells, and the colour that each has in masks, where it says so."""

    path: Path
    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()


def class_list(folder: Path) -> ClassList | None:
    """The `classes.txt` of a folder, if there is one: a name a line, or `name red green blue`.

    Raises:
        UserError: with file and line, for a name or a colour that is there twice, and colours of some classes only.
    """
    path = folder / FILE
    if not path.exists():
        return None
    names: dict[str, int] = {}
    colours: dict[Colour, int] = {}
    for number, line in enumerate(read_text(path, MAX_NAMES_BYTES, "the classes").split("\n"), 1):
        if not line.strip():
            continue
        name, colour = _parsed(line.strip())
        where = f"{path}: line {number}"
        if printable(name) != name:
            raise UserError(f"{where}: {quoted(name)}: expected a name on one line")
        if name in names or (colour is not None and colour in colours):
            raise UserError(f"{where}: {quoted(line.strip())}: this name or colour is there already")
        if names and (colour is None) == bool(colours):
            raise UserError(f"{where}: {quoted(line.strip())}: either every class has a colour (name r g b), or none")
        names[name] = number
        if colour is not None:
            colours[colour] = number
    if not names:
        raise UserError(f"{path} is empty: expected the name of a class on each line")
    return ClassList(path, tuple(names), tuple(colours))


def _parsed(line: str) -> tuple[str, Colour | None]:
    words = line.rsplit(None, 3)
    if len(words) == 4 and all(word.isascii() and word.isdigit() and int(word) < 256 for word in words[1:]):
        red, green, blue = map(int, words[1:])
        return words[0], (red, green, blue)
    return line, None
