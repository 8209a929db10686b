"""docs/architecture.md says what is there."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

from imports import REPOSITORY, graph, room

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", PAGE.partition("## The way of `show`")[2])))


def test_the_drawing_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    architecture = importlib.import_module("architecture")
    sys.modules.pop("architecture")
    drawn = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == architecture.drawing(), "run `make tables`"


def test_the_table_has_every_room() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.M)))) | {"cnnatomy"}
    assert named == {room(module) for module in graph()}


@pytest.mark.parametrize("name", NAMES)
def test_what_the_ways_name_exists(name: str) -> None:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["cnnatomy", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"cnnatomy.{name} is nothing")
