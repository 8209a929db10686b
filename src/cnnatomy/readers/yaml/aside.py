"""What the file of a design says beside its network: settings, which no reader of networks looks into."""

from __future__ import annotations

import re
from typing import Any

import yaml

from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers.yaml import source as yaml_source
from cnnatomy.readers.yaml.design import CRITIQUE, PARTS, dump

_AT_LINE_START = re.compile(r"^([a-z]+) *:", re.M)


def is_design(text: str) -> bool:
    """Whether a text is meant to be a design: of tail, body and head at least two, or an input and nodes.

    One with mistakes is one, too; of what is not valid YAML, the words with which lines begin are looked at.
    """
    if len(text) > MAX_DESIGN_BYTES:
        return False
    try:
        root = yaml_source.parse(text, "")
    except UserError:
        keys = set(_AT_LINE_START.findall(text))
    else:
        keys = {key.value for key, _ in root.value} if isinstance(root, yaml.MappingNode) else set()
    return len(keys.intersection(PARTS)) > 1 or {"input", "nodes"} <= keys


def settings_record(text: str, source: str) -> tuple[Any, int] | None:
    """What a design says under `critique`, as plain data, with its line; None where it says nothing.

    `text` may be a run file, too, with the design inside it.

    Raises:
        UserError: with the line, if the text is no YAML.
    """
    pair = _pair(yaml_source.parse(text, source))
    if pair is None:
        return None
    key, value = pair
    return yaml_source.plain_part(value, text, source), key.start_mark.line + 1


def settings_text(text: str, source: str = "design") -> str:
    """The lines of a design that say what is under `critique`, with their comments, for the end of another design.

    Empty where there are none.

    Raises:
        UserError: with the line, if the text is no YAML.
    """
    pair = _pair(yaml_source.parse(text, source))
    if pair is None:
        return ""
    key, value = pair
    said = yaml_source.plain_part(value, text, source)
    written = text[key.start_mark.index : value.end_mark.index].rstrip()
    while "\n" in written and written.rpartition("\n")[2].startswith("#"):  # what stands there is about the next key
        written = written.rpartition("\n")[0].rstrip()
    written += "\n"
    try:
        again = settings_record(written, source)
    except UserError:  # an anchor elsewhere, or a mapping in braces
        again = None
    return written if again and again[0] == said else dump({CRITIQUE: said})


def _pair(root: yaml.Node | None) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and what it says, of a design, or of the design in a run file."""
    pairs = {key.value: (key, value) for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if CRITIQUE not in pairs and "design" in pairs:
        return _pair(pairs["design"][1])
    return pairs.get(CRITIQUE)
