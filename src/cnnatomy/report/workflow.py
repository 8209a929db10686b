"""Findings as commands of a workflow, which GitHub shows beside the line that they are about.

Form and escapes: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnatomy.critique import Finding
from cnnatomy.errors import some_of
from cnnatomy.report.findings import with_remedy

if TYPE_CHECKING:
    from cnnatomy.readers.yaml.lines import Lines

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = _IN_MESSAGES | {":": "%3A", ",": "%2C"}


def commands(findings: Sequence[Finding], name: str, lines: Lines | None = None) -> str:
    """A line for each finding; `lines` are those of the design that was read, if one was."""
    return "\n".join(_command(finding, name, lines) for finding in findings)


def failure(message: str, file: Path | None) -> str:
    """A mistake that keeps `file` from being read, beside its line where the message begins with the two of them."""
    properties: dict[str, str] = {}
    told = message.removeprefix(str(file))
    if file is not None and told != message:
        line = re.match(r", line (\d+): ", told)
        properties = {"file": file.as_posix(), "line": line[1] if line else "1"}
    return _written("error", properties | {"title": "cannot be criticised"}, message)


def _command(finding: Finding, name: str, lines: Lines | None) -> str:
    properties = {"title": str(finding.rule)}
    place = some_of(finding.where, 3)
    if lines:
        properties = {"file": lines.file.as_posix(), "line": str(lines.of(finding.place))} | properties
    about = [place or name] if lines else [name, place] if place else [name]
    return _written(_COMMANDS[finding.severity], properties, ": ".join([*about, with_remedy(finding)]))


def _written(command: str, properties: Mapping[str, str], message: str) -> str:
    said = ",".join(f"{key}={_escaped(value, _IN_PROPERTIES)}" for key, value in properties.items())
    return f"::{command} {said}::{_escaped(message, _IN_MESSAGES)}"


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return text.translate({ord(one): code for one, code in escapes.items()})
