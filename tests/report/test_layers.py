"""Every layer and block that a design may use is described, and its example reads back and is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnatomy.analysis import account
from cnnatomy.cli import main
from cnnatomy.design import Graph
from cnnatomy.readers.yaml import examples
from cnnatomy.readers.yaml.design import known_types
from cnnatomy.report import layers

KINDS = sorted(known_types())


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["layers", *arguments], env={"COLUMNS": "100"})
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_kind_can_be_pasted_and_counted(name):
    shown = examples.example(name)  # says what to add to readers/yaml/examples.py where there is none
    assert name in shown.text or name == "Named"
    again = Graph.trace(examples.read(shown.text), *[x.shape for x in shown.graph.inputs])
    assert account(again).totals == account(shown.graph).totals


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_it_is_and_what_its_arguments_are(name):
    described = layers.describe(known_types()[name])
    assert described.summary
    assert not described.summary.startswith(f"{name}(")  # what a dataclass without documentation says
    assert all(argument.type for argument in described.arguments)
    assert described.inputs
    assert described.outputs


def test_there_are_examples_of_known_kinds_only():
    assert set(examples.EXAMPLES) <= set(KINDS)


def test_a_kind_without_an_example_is_told_what_to_add():
    class Unheard:
        pass

    with pytest.raises(Exception, match=r"Unheard needs an example in cnnatomy.readers.yaml.examples.EXAMPLES"):
        examples.example(Unheard.__name__)


def test_a_convolution_is_counted_as_its_formula_says():
    told = run("Conv")
    assert "36,928" in told  # 3 * 3 * 64 * 64 + 64
    assert "115,605,504" in told  # 3 * 3 * 64 * 64 * 56 * 56
    assert "Conv: {channels: 64, kernel: 3, padding: 1}" in told
    assert "  padding   int or [int, int] or [int, int, int, int] or same or valid (default 0)\n" in told


def test_a_layer_of_two_inputs_says_both_and_shows_the_block_around_it():
    (told,) = json.loads(run("multiply", "--format", "json"))
    assert told["example"]["inputs"] == [[64, 56, 56], [64, 1, 1]]
    assert told["example"]["outputs"] == [[64, 56, 56]]
    assert told["example"]["macs"] == 0
    assert told["example"]["yaml"].startswith("Parallel:")


def test_the_list_has_every_kind_once_in_groups():
    lines = run().splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert sorted(names) == KINDS
    assert "layers: channel and space" in lines
    assert "blocks of residual networks" in lines
    assert run("--format", "markdown").count("\n") == len(KINDS) + 2


def test_arguments_have_types_and_defaults():
    (told,) = json.loads(run("BasicBlock", "--format", "json"))
    assert told["arguments"] == [
        {"name": "width", "type": "int", "required": True, "default": None},
        {"name": "stride", "type": "int", "required": False, "default": "1"},
        {"name": "option", "type": "A or B or C", "required": False, "default": "B"},
        {"name": "gate", "type": "layer or block or null", "required": False, "default": "null"},
    ]


def test_an_unknown_name_gets_the_nearest():
    assert "there is no layer or block called 'Convv'. Did you mean Conv" in run("Convv", code=2)


def test_the_page_of_layers_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "layers.md"
    assert page.read_text(encoding="utf-8") == layers.page(), "run `make tables`"
