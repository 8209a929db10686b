"""What docs/training.md promises is so."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnatomy.design.network import Design
from cnnatomy.readers.yaml import design
from cnnatomy.training import RECIPES, Trained
from helpers import run_command

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text(encoding="utf-8")
TRANSFER = (DOCS / "transfer.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_every_key_of_its_run_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, {})  # our own documentation
    summary = json.loads(Path("runs/mine/summary.json").read_text())
    del summary["data"]["counts"], summary["versions"]
    explained = PAGE + (DOCS / "data.md").read_text(encoding="utf-8")  # which has the fields of augmentation
    missing = [key for key in keys(summary) if f"`{key}`" not in explained]
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


def transfer_network() -> Design:
    (text,) = re.findall(r"```yaml\n(.*?)```", TRANSFER, re.S)
    return design.read(text)


def test_the_network_of_the_plan_has_at_most_ten_million_macs() -> None:
    network = transfer_network()
    macs, large = network.account().totals.macs, network.account((3, 512, 1024)).totals.macs
    assert macs <= 10_000_000
    assert f"{macs:,} " in TRANSFER
    assert f"{large:,} MACs" in TRANSFER


@pytest.mark.slow
def test_the_commands_of_the_page_on_transfer_work_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(design.write(transfer_network()))
    (code,) = re.findall(r"```python\n(.*?)```", TRANSFER, re.S)
    Path("scenes.py").write_text(code)
    for block in re.findall(r"```\n((?:cnnatomy|python) .*?)```", TRANSFER, re.S):
        for command in block.splitlines():  # smaller images, so that it takes seconds
            small = command.replace("3x512x1024", "3x128x256").replace("scenes.py", "scenes.py 12 128")
            program, *words = shlex.split(small.replace("--epochs 4", "--epochs 1 --input 3x64x64"))
            if program == "python":
                subprocess.run([sys.executable, *words], check=True)
            else:
                run_command(*words)
    first, second = Trained.load("runs/first"), Trained.load("runs/second")
    assert second.run.parent == "runs/first"
    assert second.run.normalisation == first.run.normalisation
    assert second.run.classes == ("even", "odd")
    assert second.run.network == transfer_network().replace(
        head=second.run.network.head,
        input=(3, 128, 256),  # type: ignore[attr-defined]
    )
