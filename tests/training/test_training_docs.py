"""What docs/training.md promises is so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnatomy.training import RECIPES

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_every_key_of_its_run_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, {})  # our own documentation
    summary = json.loads(Path("runs/mine/summary.json").read_text())
    del summary["data"]["counts"], summary["versions"]
    missing = [key for key in keys(summary) if f"`{key}`" not in PAGE]
    assert not missing
    for path in Path("runs/mine").iterdir():
        assert f"`{path.name}" in PAGE
    header = Path("runs/mine/metrics.csv").read_text().splitlines()[0]
    assert header.replace(",", ", ") in PAGE


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_the_table_of_recipes_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\d.]+) \| ([\d.]+) \| ([\de.-]+) \| (\d+) \| (\d+) \| (\d+) \| (\w+) \|", PAGE, re.M
    )
    printed = {name: (*map(float, numbers), start) for name, *numbers, start in rows}
    assert printed == {
        name: (
            recipe.learning_rate,
            recipe.momentum,
            recipe.weight_decay,
            recipe.batch_size,
            recipe.epochs,
            recipe.patience,
            recipe.initialisation,
        )
        for name, recipe in RECIPES.items()
    }
