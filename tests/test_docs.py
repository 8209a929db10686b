"""What the documentation says to type works as written."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import cnnatomy as cn
from cnnatomy import limits
from cnnatomy.data.augmentation.settings import NAMES
from cnnatomy.readers.yaml import design, listed

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.S)


def test_the_network_described_in_python_builds_and_counts():
    names: dict = {}
    for block in blocks("designs.md", "python"):
        exec(block, names)  # our own documentation
    network = names["net"]
    assert network.account().totals.macs > 0
    assert sum(p.numel() for p in network.build().parameters()) == network.account().totals.parameters


def test_the_yaml_design_reads():
    for block in blocks("designs.md", "yaml"):
        assert design.read(block).graph().outputs[0].shape == (10,)
    for block in blocks("readers.md", "yaml"):
        assert listed.read(block).graph().outputs[0].shape == (10,)


def test_the_conventions_of_resnet_50_are_as_printed():
    from cnnatomy.analysis.conventions import conventions

    counted = conventions(cn.network("resnet-50").account())["parameters"]
    page = (DOCS / "counting.md").read_text()
    for name, number in counted.items():
        assert f"| {name} | {number:,} |" in page


def test_the_readme_shows_what_is_printed(monkeypatch):
    from click.testing import CliRunner

    from cnnatomy.cli import main

    monkeypatch.setenv("COLUMNS", "100")
    printed = CliRunner().invoke(main, ["show", "resnet-50", "--depth", "2"]).output
    readme = (ROOT / "README.md").read_text()
    for line in printed.splitlines():
        assert line.strip() in readme


def test_the_readmes_python_runs():
    names: dict = {}
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    exec(code, names)  # our own documentation
    assert names["net"].account().receptive_field.size == (427, 427)


def test_every_name_of_the_package_that_is_written_exists():
    pages = [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "src").rglob("*.py")]
    written = {name for page in pages for name in re.findall(r"\bcnnatomy(?:\.[A-Za-z_]\w*)+", page.read_text())}
    assert [name for name in sorted(written) if not exists(name)] == []


def exists(name: str) -> bool:
    """Whether it is a module, or what one of them has."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return all(hasattr(found, part) and (found := getattr(found, part)) is not None for part in parts[count:])
    return False


def test_the_python_of_the_page_on_memory_runs():
    for block in blocks("memory.md", "python"):
        exec(block, {})  # our own documentation


LIMITS = [name for name in vars(limits) if name.startswith("MAX_")]


@pytest.mark.parametrize(
    ("page", "name", "count", "row"),
    [
        ("limits.md", "limits", len(LIMITS), "| `MAX_BATCH` | 1,000,000 |"),
        ("data.md", "augmentation", len(NAMES), "| `rotation` | 0 to 180 |"),
    ],
)
def test_a_table_is_that_of_the_source(monkeypatch, page, name, count, row):
    monkeypatch.syspath_prepend(DOCS)
    module = importlib.import_module(name)
    sys.modules.pop(name)
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text == module.renewed(text), "run `make tables`"
    assert len(list(module.rows())) == count
    assert row in text
