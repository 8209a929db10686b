"""Writes the table of limits into `limits.md`, from `cnnatomy/limits.py`: `python docs/limits.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from cnnatomy import limits

PAGE = Path(__file__).parent / "limits.md"
TABLE = re.compile(r"\| limit \|.*\n(?:\|.*\n)+")


def rows() -> Iterator[tuple[str, int, str]]:
    """Name, value and text of each limit, in the order of the source."""
    body = ast.parse(Path(limits.__file__).read_text(encoding="utf-8")).body
    for one, after in pairwise(body):
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and isinstance(after, ast.Expr):
            name = one.targets[0].id
            yield name, getattr(limits, name), " ".join(ast.literal_eval(after.value).split())


def renewed(page: str) -> str:
    """The page with the limits of today."""
    lines = ["| limit | at most | of what |", "| --- | ---: | --- |"]
    lines += [f"| `{name}` | {value:,} | {text} |" for name, value, text in rows()]
    return TABLE.sub("\n".join(lines) + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
