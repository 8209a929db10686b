"""Tables lose nothing: what has no room folds into blocks, and nothing is cut where the output is no terminal."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.report.tables import Column, render

EIGHT = ["lenet-5", "alexnet", "vgg-16", "resnet-50", "googlenet", "densenet-121", "mobilenet-v2", "inception-v3"]


def run(*arguments: str, width: int | None = None) -> str:
    result = CliRunner().invoke(main, list(arguments), env={"COLUMNS": str(width) if width else None})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120, 200, None])
def test_eight_networks_compared_all_have_their_parameters_and_ratios(width):
    printed = run("compare", *EIGHT, width=width)
    lines = [line for line in printed.splitlines() if line.startswith("  parameters")]
    accounts = [cn.network(name).account() for name in EIGHT]
    text = " ".join(line.removeprefix("  parameters") for line in lines)
    counts = [int(cell.replace(",", "")) for cell in re.sub(r"x \S+", "", text).split()]
    assert counts == [account.totals.parameters for account in accounts]
    assert text.count("x ") == len(EIGHT) - 1
    if width:
        assert max(map(len, printed.splitlines())) <= width
    else:
        assert len(lines) == 1


def test_a_ratio_stands_beside_its_network():
    for block in run("compare", *EIGHT, width=80).strip("\n").split("\n\n"):
        heading = block.splitlines()[0]
        assert heading.count("ratio") == len(re.findall(r"\dx\d+x\d", heading)) - ("lenet-5 1x" in heading)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["show", "resnet-50"], ["list"], ["roofline", "resnet-50", "--device", "a100-40gb"]]
)
def test_nothing_is_cut_where_the_output_is_piped(arguments):
    printed = run(*arguments)
    assert "…" not in printed
    if arguments == ["show", "resnet-50"]:
        account = cn.network("resnet-50").account()
        assert all(row.path in printed and row.layer in printed for row in account.rows)


@pytest.mark.slow
def test_the_list_shows_whole_names_and_says_what_it_leaves_out():
    printed = run("list", width=80)
    names = {line.split()[0] for line in printed.splitlines() if re.match(r"  \S", line)}
    assert names == {"name", *(entry.name for entry in cn.ENTRIES)}
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert "for family, year, input" in printed
    assert "a wider terminal" not in run("list")


PATH = {"path": "body.stage3.block2.conv1", "layer": "Conv(64, 3, padding=1)"}


@pytest.mark.parametrize(("width", "path"), [(40, "body.stage3…conv1"), (None, "body.stage3.block2.conv1")])
def test_a_path_loses_its_middle_and_a_layer_its_end(monkeypatch, width, path):
    columns = [Column("path", "path", shortest=18, short="middle"), Column("layer", "layer", shortest=16)]
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    (*_, line) = render(columns, [PATH], "table").splitlines()
    assert line.split()[0] == path
    assert line.endswith("Conv(64, 3, pad…" if width else PATH["layer"])


def test_the_roofline_has_no_time_where_there_is_no_work():
    lines = run("roofline", "vgg-16", "--device", "a100-40gb", width=120).splitlines()
    idle = [line for line in lines if "nothing" in line]
    paths = ("head.flatten", "head.drop6", "head.drop7")
    assert [line.split()[0::2] for line in idle] == [[path, "nothing"] for path in paths]


def test_accounts_and_graphs_say_what_they_are_in_a_few_lines():
    account = cn.network("resnet-50").account()
    assert repr(account).splitlines() == [
        "Account of resnet-50",
        "  input            3x224x224",
        "  parameters       25,557,032",
        "  MACs             4,089,184,256",
        "  layers           175",
        "  receptive field  427x427",
    ]
    assert repr(account.graph).split() == ["Graph", "inputs", "3x224x224", "outputs", "1000", "layers", "175"]


def test_paths_are_told_apart_by_their_ends_where_their_last_names_do_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    paths = [{"path": f"body.stage{i}.block{k}.conv1", "output": "64x112x112"} for i in (1, 2) for k in (1, 2)]
    columns = [Column("path", "path", shortest=20, short="middle"), Column("output", "output of it")]
    lines = render(columns, paths, "table").splitlines()[2:]
    assert len({line.split()[0] for line in lines}) == 4


def test_a_table_without_rows_has_its_headings(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert render([Column("a", "one"), Column("b", "two")], [], "table").splitlines()[0] == "  one   two"
