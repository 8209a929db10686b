"""Every rule objects to its bad example and is content with its good one: as users ask, on the command line."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnatomy.cli import main
from cnnatomy.critique import RULES, Purpose, Rule, critique, examples
from cnnatomy.errors import UserError
from cnnatomy.readers.yaml import listed

FOLDER = Path(examples.__file__).parent


def objections(rule: Rule, text: str, folder: Path) -> list[dict]:
    """What `cnnatomy critique` says by this rule of a design, asked as its page says; of a trained one, `critique`."""
    if rule.example.trained:
        found = critique(listed.read(text), Purpose(trained=True), [rule], [rule])
        return [{"text": finding.text} for finding in found]
    (folder / "design.yaml").write_text(text, encoding="utf-8")
    options = [*shlex.split(rule.example.options), "--format", "json"]
    ran = CliRunner().invoke(main, ["critique", str(folder / "design.yaml"), *options])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.output)["findings"]
    return [one for finding in found for one in (finding, *finding["consequences"]) if one["rule"] == rule.name]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_rule_objects_to_its_bad_example_and_not_to_its_good_one(rule, tmp_path):
    bad, good, *_ = rule.example
    assert objections(rule, bad, tmp_path), f"{rule.name} says nothing about `bad` in {FOLDER / rule.name}.yaml"
    found = objections(rule, good, tmp_path)
    assert not found, f"{rule.name} objects to `good` in {FOLDER / rule.name}.yaml: {found[0]['text']}"
    assert all(listed.read(text).account().totals.macs for text in rule.example[:2])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_examples_of_a_rule_differ_in_a_few_lines(rule):
    """Otherwise they do not show what the mistake is."""
    bad, good = (set(text.splitlines()) for text in rule.example[:2])
    assert len(bad - good) <= 2, f"{FOLDER / rule.name}.yaml"


def test_every_example_is_that_of_a_rule():
    left = {file.stem for file in FOLDER.glob("*.yaml")} - {rule.name for rule in RULES}
    assert not left, f"there is no rule of this name: {', '.join(sorted(left))}"


def test_a_rule_without_an_example_is_told_which_file_to_add():
    with pytest.raises(UserError, match=r"add src/cnnatomy/critique/examples/my-rule\.yaml, with a design"):
        examples.example("my-rule")


def test_every_rule_that_is_written_is_asked():
    files = [file for file in FOLDER.parent.glob("*.py") if file.stem != "__init__"]
    modules = [importlib.import_module(f"cnnatomy.critique.{file.stem}") for file in files]
    written = {thing for module in modules for thing in vars(module).values() if isinstance(thing, Rule)}
    missing = ", ".join(sorted(rule.check.__name__ for rule in written - set(RULES)))
    assert not missing, f"add {missing} to RULES in src/cnnatomy/critique/__init__.py"
