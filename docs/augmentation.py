"""Writes the table of augmentations into `data.md`, from the fields of a recipe: `python docs/augmentation.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from cnnatomy.data.augmentation.settings import Augmentation
from cnnatomy.fields import about, types

PAGE = Path(__file__).parent / "data.md"
TABLE = re.compile(r"\| augmentation \|.*\n(?:\|.*\n)+")


def rows() -> Iterator[str]:
    """A line for each field: its name, what it may be, and what it is."""
    for field in fields(Augmentation):
        low, high = field.metadata.get("range", (None, None))
        kind = "true or false" if types(Augmentation)[field.name] is bool else "a name"
        yield f"| `{field.name}` | {kind if high is None else f'{low:g} to {high:,g}'} | {about(field)} |"


def renewed(page: str) -> str:
    """The page with the augmentations of today."""
    return TABLE.sub("\n".join(["| augmentation | | |", "| --- | --- | --- |", *rows()]) + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
