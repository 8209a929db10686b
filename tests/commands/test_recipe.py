"""`cnnatomy recipe` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnatomy.cli import main


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["recipe", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_recipes_are_listed_shown_and_compared() -> None:
    assert "mobilenet" in run()
    assert "section 5" in run("alexnet")
    assert "weight layers" in run("lenet-1998", "alexnet")


def test_a_file_is_compared_with_what_it_is_based_on(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: resnet\nepochs: 5\n")
    changed = [line.split() for line in run("resnet", str(file)).splitlines() if line.startswith("  epochs")]
    assert [line[:3] for line in changed] == [["epochs", "120", "5"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alexnt"], "no recipe 'alexnt'"),
        (["alexnet", "nothing.yaml"], "nothing.yaml: cannot read the recipe"),
        (["alexnet", "--format", "csv"], "'csv' is not one of"),
    ],
)
def test_a_mistake_gets_one_message(arguments: list[str], message: str) -> None:
    assert message in run(*arguments, code=2)
