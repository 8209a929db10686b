"""The commands as a user types them: list, show, compare, and what they say to mistakes."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy import commands
from cnnatomy.cli import main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def run(monkeypatch):
    def run(*arguments: str, width: int = 120, code: int = 0) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_the_summary_says_that_gates_see_all_pixels(run):
    assert "2048x7x7, sees 427 pixels every 32\n" in run("show", "resnet-50")
    assert "2048x7x7, sees 483 pixels every 32; all of them through layers" in run("show", "se-resnet-50")


def test_show_json_keeps_its_promises(run):
    shown = json.loads(run("show", "resnet-50", "--format", "json"))
    assert (shown["name"], shown["input"]) == ("resnet-50", [3, 224, 224])
    assert shown["totals"]["parameters"] == 25_557_032
    assert shown["totals"]["macs"] == 4_089_184_256
    assert shown["totals"]["parameter_bytes"] == 4 * 25_557_032
    assert shown["receptive_field"] == [427, 427]
    assert shown["features"] == [2048, 7, 7]
    assert len(shown["nodes"]) == shown["totals"]["layers"]
    first = shown["nodes"][0]
    assert (first["path"], first["kind"], first["layer"]) == (
        "tail.conv",
        "channel and space",
        "Conv(64, 7, stride=2, padding=3, bias=False)",
    )
    assert (first["inputs"], first["output"], first["macs"]) == ([[3, 224, 224]], [64, 112, 112], 118_013_952)
    assert (first["receptive_field"], first["stride"], first["centre"]) == ([7, 7], [2, 2], [0.0, 0.0])
    for key in ("parameters", "buffers", "macs", "adds", "compares", "divides", "exponentials", "feature_map_elements"):
        assert sum(node[key] for node in shown["nodes"]) == shown["totals"][key]


def test_show_json_says_what_reads_what_and_which_blocks_there_are(run):
    shown = json.loads(run("show", "resnet-18", "--format", "json"))
    assert shown["inputs"] == [{"name": "input", "shape": [3, 224, 224]}]
    assert shown["outputs"] == ["head.fc"]
    reads = {node["path"]: node["reads"] for node in shown["nodes"]}
    assert reads["body.stage1.block1.add"] == ["body.stage1.block1.bn2", "tail.pool"]
    scopes = {scope["path"]: scope["block"] for scope in shown["scopes"]}
    assert scopes["body.stage2.block1"] == "BasicBlock(128, stride=2)"
    assert list(scopes)[:3] == ["tail", "body", "body.stage1"]
    assert "line" not in shown["nodes"][0]
    shown = json.loads(run("show", "resnet-18", "--depth", "1", "--format", "json"))
    assert [node["reads"] for node in shown["nodes"]] == [["input"], ["tail"], ["body"]]
    assert [scope["path"] for scope in shown["scopes"]] == ["tail", "body", "head"]


def test_show_json_of_a_design_says_the_lines_of_layers_and_blocks(run, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("tail: Stem\nbody:\n  Chain:\n    one:\n    - BasicBlock: {width: 64}\nhead: LinearHead\n")
    shown = json.loads(run("show", str(file), "--format", "json"))
    lines = {part["path"]: part["line"] for part in shown["nodes"] + shown["scopes"]}
    assert [lines[path] for path in ("tail.conv", "body", "body.one", "head.fc")] == [1, 2, 4, 6]
    assert lines["body.one.block.conv1"] == lines["body.one.block"] == 5


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("name", ["resnet-50", "lenet-5-1998", "googlenet-aux"])
def test_a_table_has_a_line_a_layer_and_fits_the_terminal(run, name, width):
    lines = run("show", name, width=width).splitlines()
    layers = [line for line in lines if line.startswith(("  tail", "  body", "  head"))]
    blocks = sum(line.startswith("  path") for line in lines)
    assert len(layers) == blocks * len(cn.network(name).account().rows)
    assert blocks == 1 or width < 80
    assert max(map(len, lines)) <= width


def test_depth_1_sums_up_tail_body_and_head(run):
    shown = json.loads(run("show", "vgg-16", "--depth", "1", "--format", "json"))
    assert [node["path"] for node in shown["nodes"]] == ["tail", "body", "head"]
    assert sum(node["parameters"] for node in shown["nodes"]) == 138_357_544


def test_input_and_classes_change_the_account(run):
    shown = json.loads(run("show", "resnet-18", "--input", "3x512x1024", "--classes", "19", "--format", "json"))
    assert shown["features"] == [512, 16, 32]
    assert shown["nodes"][-1]["output"] == [19]


def test_csv_and_markdown_hold_every_layer(run):
    rows = list(csv.DictReader(io.StringIO(run("show", "alexnet", "--format", "csv"))))
    assert sum(int(row["parameters"]) for row in rows) == 60_965_224
    assert rows[0]["output"] == "96x55x55"
    assert "| tail.conv1 | Conv(96, 11, stride=4) | 96x55x55 | 34,944 | 105,415,200 | 11 |" in run(
        "show", "alexnet", "--format", "markdown"
    )


def test_list_shows_every_network_once(run):
    listed = json.loads(run("list", "--format", "json"))
    assert [line["name"] for line in listed] == [entry.name for entry in cn.ENTRIES]
    lines = run("list", width=80).splitlines()
    assert sum(line.startswith("  resnet-50 ") for line in lines) == 1


@pytest.mark.slow
def test_list_gives_published_accuracies_and_whose_they_are(run):
    listed = {line["name"]: line for line in json.loads(run("list", "--format", "json"))}
    vgg = listed["vgg-16"]
    assert (vgg["top1"], vgg["top5"], vgg["accuracy_source"]) == (71.592, 90.382, "torchvision vgg16, IMAGENET1K_V1")
    assert (listed["lenet-5"]["top1"], listed["lenet-5"]["accuracy_source"]) == (None, None)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(run("list", "--format", "csv")))}
    assert (rows["alexnet"]["top1"], rows["lenet-5"]["top1"]) == ("57.1", "")
    assert "| BVLC/caffe models/bvlc_alexnet |" in run("list", "--format", "markdown")
    (line,) = [line for line in run("list", width=80).splitlines() if line.startswith("  vgg-16 ")]
    assert line.split()[-2:] == ["71.6", "90.4"]
    assert len(line) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", ["macs", *(pytest.param(k, marks=pytest.mark.slow) for k in ("parameters", "year", "name"))]
)
def test_list_sorts(run, key):
    values = [line[key] for line in json.loads(run("list", "--sort", key, "--format", "json"))]
    assert values == sorted(values)


@pytest.mark.slow
def test_list_of_one_family(run):
    assert {line["family"] for line in json.loads(run("list", "--family", "Residual", "--format", "json"))} == {
        "residual"
    }


def test_compare_gives_ratios_to_the_first(run):
    networks = json.loads(run("compare", "alexnet", "squeezenet-1.0", "alexnet", "--format", "json"))["networks"]
    assert [network["name"] for network in networks] == ["alexnet #1", "squeezenet-1.0", "alexnet #3"]
    assert networks[1]["ratio"]["parameters"] == pytest.approx(1 / 48.83, rel=1e-3)
    assert networks[2]["ratio"]["macs"] == 1
    assert "x 0.0205" in run("compare", "alexnet", "squeezenet-1.0")


MISTAKES = [
    (["show", "resnet-51"], "no network called 'resnet-51'. Did you mean resnet-50"),
    (["shwo", "resnet-50"], "Did you mean 'show'"),
    (
        ["show", "lenet-5", "--input", "3x3x"],
        "'3x3x' is no input: write its sizes without the batch, such as 3x224x224",
    ),
    (["show", "lenet-5", "--input", "3x3"], "tail.c1"),
    (["show", "lenet-5", "--input", "image:1x32x32"], "lenet-5 has one input, which has no name"),
    (["show", "lenet-5", "--input", "1x32x32", "--input", "7"], "lenet-5 has one input; 2 are given: 1x32x32 7"),
    (["show", "lenet-5", "--input", "1x32x32:int64"], "the input of lenet-5 is of real numbers, not of int64"),
    (["train", "lenet-5", "--input", "1x32"], "is not a shape; write channels x rows x columns"),
    (["show", "lenet-5", "--input", "1x0x3"], "every size must be from 1"),
    (["show", "lenet-5", "--input", "1x8x8"], "body.c3: Conv(16, 5) got 6x2x2, needs at least 5x5 pixels"),
    (["show", "lenet-5-1998", "--classes", "3"], "number of classes must be exactly 10"),
    (["show", "none.yaml"], "none.yaml: cannot read the design: No such file"),
    (["list", "--family", "rezidual"], "Did you mean residual"),
    (["compare"], "Missing argument"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_gets_one_message_and_exit_code_2(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_help_teaches(run):
    for command in ("", "list", "show", "compare"):
        assert "cnnatomy" in run(*command.split(), "--help") or command


def test_every_command_that_is_written_can_be_typed_and_is_documented():
    files = [file for file in Path(commands.__file__).parent.glob("*.py") if file.stem != "__init__"]
    pages = "".join(page.read_text(encoding="utf-8") for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")])
    for file in files:
        module = importlib.import_module(f"{commands.__name__}.{file.stem}")
        written = {thing for thing in vars(module).values() if isinstance(thing, click.Command)}
        for command in written:
            where = f"src/cnnatomy/commands/{file.name}"
            assert command in getattr(module, "COMMANDS", ()), f"add {command.name} to the COMMANDS of {where}"
            assert main.commands.get(command.name) is command, f"add {file.stem} to the groups of src/cnnatomy/cli.py"
            assert command.help, f"{where}: say in the docstring of {command.name} what it does"
            assert f"cnnatomy {command.name}" in pages, f"show `cnnatomy {command.name}` in docs/ or README.md"
