"""The difference between two texts of a design as a fix of SARIF 2.1.0 (section 3.55), which editors can apply."""

from __future__ import annotations

import io
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any

from cnnatomy.critique import Finding
from cnnatomy.design import Design, Graph
from cnnatomy.edits.redesign import redesign
from cnnatomy.errors import UserError
from cnnatomy.readers.yaml.kept import rewritten


def proposals(finding: Finding, design: Design, graph: Graph, text: str, uri: str) -> list[Any]:
    """The remedies of a finding that a program can apply to the file of a design, each as a fix.

    Args:
        finding: in `graph`.
        design: of the file.
        graph: of the design.
        text: of the file.
        uri: how the log names the file.
    """
    found = []
    for remedy in finding.remedies:
        if remedy.fix is None or remedy.change is None:
            continue
        with suppress(UserError):  # what it gives cannot be said in a design of this form
            after, kept = rewritten(text, redesign(design, graph, remedy.change))
            lost = "" if kept else "; the whole file is written again, without its comments"
            found.append(fix(text, after, uri, f"{remedy.text} ({remedy.fix}{lost})"))
    return found


def fix(before: str, after: str, uri: str, description: str) -> dict[str, Any]:
    """What turns `before`, the text at `uri`, into `after`: whole lines that go, and what comes in their place."""
    old, new = (list(io.StringIO(text)) for text in (before, after))  # only `\n` ends a line
    changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    replacements = [
        {
            "deletedRegion": _region(old, first, last),
            **({"insertedContent": {"text": "".join(new[start:end])}} if end > start else {}),
        }
        for what, first, last, start, end in changes
        if what != "equal"
    ]
    change = {"artifactLocation": {"uri": uri}, "replacements": replacements}
    return {"description": {"text": description}, "artifactChanges": [change]}


def _region(lines: list[str], first: int, last: int) -> dict[str, int]:
    """The lines from `first` to before `last`, numbered from 0, up to the beginning of the next one."""
    begin, end = (_place(lines, number) for number in (first, last))
    return {"startLine": begin[0], "startColumn": begin[1], "endLine": end[0], "endColumn": end[1]}


def _place(lines: list[str], number: int) -> tuple[int, int]:
    """Line and column, from 1, where a line begins; after the last one the end of the text, where that ends in one."""
    if number == len(lines) and lines and not lines[-1].endswith("\n"):
        return number, len(lines[-1]) + 1
    return number + 1, 1
