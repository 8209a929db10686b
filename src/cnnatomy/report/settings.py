"""Settings of the critique in files: `[tool.cnnatomy.critique]` of pyproject.toml, and `critique:` of a design."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from cnnatomy.critique.settings import Settings, find
from cnnatomy.critique.study import PurposeTask
from cnnatomy.critique.suppression import EVERYWHERE, Suppression
from cnnatomy.errors import UserError, nearest, quoted
from cnnatomy.files import read_text
from cnnatomy.limits import MAX_CLASSES, MAX_DESIGN_BYTES, MAX_PATTERN_LENGTH, MAX_SETTINGS_BYTES
from cnnatomy.plain import checked, seconds, sides
from cnnatomy.readers import design_file, file_of
from cnnatomy.readers.yaml import aside
from cnnatomy.readers.yaml.design import CRITIQUE
from cnnatomy.report.memory import parse_size

PROJECT = "pyproject.toml"
TABLE = "tool.cnnatomy.critique"

KEYS: dict[str, Any] = {
    "select": tuple[str, ...],
    "ignore": tuple[str, ...],
    "pedantic": bool,
    "task": Literal[get_args(PurposeTask)],
    "classes": int,
    "objects": tuple[int, int] | str,
    "device": str,
    "memory": str,
    "latency": str,
    "suppress": tuple[dict[str, Any], ...],
    "baseline": str,
}
"""What can be set, by type."""

SUPPRESSION: dict[str, Any] = {"rule": str, "where": str, "reason": str}


def settings_of(name: str, project: Callable[[Path], Settings] | None = None) -> Settings:
    """What is set for whatever a command line names: by its design, and where that says nothing by its project.

    `project` gives the settings of a folder: `of_project`, or one that remembers.

    Raises:
        UserError: with file and key, if a file of settings is not valid.
    """
    file = file_of(name)
    folder = _folder(file)
    around = (project or of_project)(folder) if folder else Settings()
    return of_design(file).over(around) if file and file == design_file(name) else around


def _folder(file: Path | None) -> Path | None:
    """The folder of a file, or the one that we are in; None if that was removed."""
    try:
        return Path(os.path.abspath(file)).parent if file else Path.cwd()
    except OSError:
        return None


def of_design(file: Path) -> Settings:
    """The settings in the file of a design, or of a training.

    Raises:
        UserError: with file and key, if there is no such file or they are not valid.
    """
    text = read_text(file, MAX_DESIGN_BYTES, "the design")
    found = aside.settings_record(text, str(file)) if CRITIQUE in text else None
    if found is None:
        return Settings()
    record, line = found
    return read(record, f"{file}, line {line}: {CRITIQUE}", file, in_design=True)


def of_project(folder: Path) -> Settings:
    """The settings of the nearest pyproject.toml, in a folder or above it, that has some.

    Raises:
        UserError: with file and key, if they are not valid, or a table beside them is none of ours.
    """
    for above in (folder, *folder.parents):
        file = above / PROJECT
        record = _table(file) if os.path.isfile(file) else None
        if record is not None:
            return read(record, f"{file}: {TABLE}", file)
    return Settings()


def _table(file: Path) -> Any:
    """The table of a pyproject.toml, None where there is none."""
    try:
        found: Any = tomllib.loads(read_text(file, MAX_SETTINGS_BYTES, "the settings"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error if isinstance(error, tomllib.TOMLDecodeError) else "it nests too deeply"
        raise UserError(f"{file}: not valid TOML: {reason}") from None
    *above, own = TABLE.split(".")
    for key in above:
        found = found.get(key) if isinstance(found, dict) else None
    tables = {} if found is None else checked(found, dict[str, Any], f"{file}: {'.'.join(above)}")
    for key in tables:
        if key != own:
            raise UserError(
                f"{file}: {'.'.join(above)} has no table {quoted(key)}.{nearest(key, [own])} It knows: {own}"
            )
    return tables.get(own)


def read(record: Any, source: str, file: Path, in_design: bool = False) -> Settings:
    """Plain data as settings; `source` is for messages, and files are named from where `file` is.

    Raises:
        UserError: with source and key, what was expected and the nearest.
    """
    given = _fields(record, KEYS, source)
    values: dict[str, Any] = {key: given[key] for key in given if key not in ("suppress", "baseline")}
    for key in ("select", "ignore"):
        for name in given.get(key, ()):
            _codes(name, f"{source}: {key}")
    if "objects" in given:
        values["objects"] = _objects(given["objects"], f"{source}: objects")
    if "memory" in given:
        values["memory"] = parse_size(given["memory"], f"{source}: memory:")
    if "latency" in given:
        values["latency"] = seconds(given["latency"])
        if values["latency"] is None:
            got = quoted(given["latency"])
            raise UserError(f"{source}: latency: {got} is not a time; write a number and s, ms or us, such as 20ms")
    if not 0 < given.get("classes", 1) <= MAX_CLASSES:
        raise UserError(f"{source}: classes: from 1 to {MAX_CLASSES:,}, got {given['classes']:,}")
    suppress = tuple(
        _suppression(one, f"{source}: suppress {number}", str(file), in_design)
        for number, one in enumerate(given.get("suppress", ()), start=1)
    )
    if not given.get("baseline", "x").strip():
        raise UserError(f"{source}: baseline: expected the name of a file, got an empty one")
    baseline = file.parent / given["baseline"] if "baseline" in given else None
    sources = {key: f"{source}: {key}" for key in given}
    settings = Settings(**values, suppress=suppress, baseline=baseline, sources=sources)
    try:
        replace(settings, latency=None).purpose()  # the device for it may be named elsewhere
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return settings


def _fields(record: Any, known: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values of a mapping, each of the type of its key."""
    given = checked(record, dict[str, Any], source)
    for key in given:
        if key not in known:
            hint = nearest(key, known)
            raise UserError(f"{source} has no key {quoted(key)}.{hint} It knows: {', '.join(known)}")
    return {key: checked(value, known[key], f"{source}: {key}") for key, value in given.items()}


def _objects(given: tuple[int, int] | str, source: str) -> tuple[int, int]:
    found = sides(given if isinstance(given, str) else f"{given[0]}:{given[1]}")
    if found is None:
        example = "[24, 400] or 24:400"
        raise UserError(f"{source}: write the smallest and the largest side in pixels, such as {example}, got {given}")
    return found


def _suppression(record: Mapping[str, Any], source: str, file: str, in_design: bool) -> Suppression:
    given = _fields(record, SUPPRESSION, source)
    for key in ("rule", "reason"):
        if not given.get(key, "").strip():
            what = "the rule that it is about" if key == "rule" else "a reason: why the finding is accepted"
            raise UserError(f"{source}: it needs {what}. Write rule, where and reason")
    where = given.get("where", EVERYWHERE)
    if len(where) > MAX_PATTERN_LENGTH:
        raise UserError(f"{source}: where: at most {MAX_PATTERN_LENGTH:,} characters, got {len(where):,}")
    return Suppression(given["rule"], _codes(given["rule"], source), where, given["reason"].strip(), file, in_design)


def _codes(name: str, source: str) -> tuple[str, ...]:
    """The codes of the rules of this name, code or letter."""
    try:
        return tuple(rule.code for rule in find(name))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def typed(memory: str | None, **options: Any) -> Settings:
    """The settings of a command line, each by its name.

    Raises:
        UserError: if there is no such rule or device, or the memory is no size.
    """
    settings = Settings(memory=parse_size(memory) if memory is not None else None, **options)
    settings.rules()
    replace(settings, latency=None).purpose()
    return settings
