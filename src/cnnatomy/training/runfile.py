"""A training as one file: YAML with the design, the data and the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnnatomy.design.network import Design
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.plain import checked
from cnnatomy.readers.yaml import listed
from cnnatomy.readers.yaml import source as yaml_source
from cnnatomy.training.recipes import find, from_record, recipe
from cnnatomy.training.schema import Recipe

SUFFIXES = (".yaml", ".yml")
KEYS: dict[str, Any] = {
    "design": Any,
    "data": str,
    "recipe": Any,
    "out": str,
    "input": tuple[int, int, int],
    "groups": dict[str, tuple[str, ...]],
    "start": str,
    "device": str,
    "fit": str,
    "group": str,
}
"""What a run file may say, by type; the design is needed."""


@dataclass(frozen=True)
class RunFile:
    """What a run file says: `design` is the name of a network, or a whole design; `groups` are those of `Label`."""

    design: str | Design
    data: str | None = None
    recipe: Recipe | None = None
    out: str | None = None
    input: tuple[int, int, int] | None = None
    groups: dict[str, tuple[str, ...]] | None = None
    start: str | None = None
    device: str | None = None
    fit: str | None = None
    group: str | None = None


def is_run_file(name: str) -> bool:
    """Whether a name is that of a YAML file which says more than a design, which has an `input` alone of `KEYS`."""
    path = Path(name)
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    text = read_text(path, MAX_DESIGN_BYTES, "the run file")
    node = yaml_source.parse(text, name)
    return isinstance(node, yaml.MappingNode) and any(key.value in {*KEYS} - {"input"} for key, _ in node.value)


def read(name: str) -> RunFile:
    """A run file; what it names lies beside it, where it is not found from here.

    Raises:
        UserError: with the file and the key, if something is missing, unknown, or of another type.
    """
    path = Path(name)
    text = read_text(path, MAX_DESIGN_BYTES, "the run file")
    said, places = yaml_source.plain_places(text, name)
    record = checked(said, dict[str, Any], name)
    for key in record:
        if key not in KEYS:
            known = f"It has {', '.join(KEYS)}"
            raise UserError(f"{places(key)}: a run file has no {quoted(key)}.{nearest(key, KEYS)} {known}")
    if "design" not in record:
        raise UserError(f"{name}: a run file needs a design: the name of a network, the path of one, or one itself")
    values = {key: checked(value, KEYS[key], places(key)) for key, value in record.items()}
    values["design"] = _design(values["design"], path, text, places)
    if "recipe" in values:
        values["recipe"] = _recipe(values["recipe"], path, places)
    for key in ("data", "start"):
        if key in values:
            values[key] = _beside(values[key], path)
    return RunFile(**values)


def _design(said: Any, path: Path, text: str, places: yaml_source.KeyLines) -> str | Design:
    if not isinstance(said, Mapping):
        return _beside(checked(said, str, places("design")), path)
    node = places.items["design"][1]
    begin, end = node.start_mark, node.end_mark
    alone = "\n" * begin.line + " " * begin.column + text[begin.index : end.index]  # on its lines
    try:
        yaml_source.parse(alone, str(path))
    except UserError:  # with anchors of what stands before it
        return listed.read(yaml.safe_dump(said, sort_keys=False), f"{path}: design")
    return listed.read(alone, str(path))


def _recipe(said: Any, path: Path, places: yaml_source.KeyLines) -> Recipe:
    if isinstance(said, str):
        return find(_beside(said, path)).recipe
    return from_record(checked(said, dict[str, Any], places("recipe")), places.below("recipe"), recipe("default"))


def _beside(name: str, path: Path) -> str:
    """A file or folder beside the run file, where there is none of that name here."""
    beside = path.parent / name
    return str(beside) if not Path(name).exists() and beside.exists() else name
