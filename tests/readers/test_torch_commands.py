"""`python:package.module:callable` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cnnatomy.cli import main

SOURCE = """
import torch
from torch import nn

def small(channels=3):
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout())

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.spare = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.conv(x)

    def double(self):
        return 2

ready = Branching()
number = 3

def values():
    net = Branching()
    net.forward = lambda x: net.conv(x) if x.max() > 0 else x
    return net

def broken():
    raise ValueError("no such thing")

def counts_while_it_is_made():
    return nn.Sequential(*[nn.ReLU() for _ in range(int(torch.ones(2).sum()))])
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    (tmp_path / "nets_of_mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env={"COLUMNS": "160"})

    return command


def test_show_counts_a_torch_module_in_evaluation(run) -> None:  # type: ignore[no-untyped-def]
    record = json.loads(run("show", "python:nets_of_mine:small", "--input", "3x10x10", "--format", "json").output)
    assert record["totals"]["parameters"] == 3 * 8 * 9 + 8 + 16
    assert record["totals"]["macs"] == 3 * 8 * 9 * 64
    assert [node["path"] for node in record["nodes"]] == ["0", "1", "2", "3"]
    assert record["nodes"][3]["layer"] == "Dropout()"


def test_an_object_may_be_named_and_unused_parameters_are_told(run) -> None:  # type: ignore[no-untyped-def]
    text = run("show", "python:nets_of_mine:ready", "--input", "3x4x4").output
    assert "20 parameters that the module has and does not use: spare.weight, spare.bias" in text
    record = json.loads(run("show", "python:nets_of_mine:ready", "--input", "3x4x4", "--format", "json").output)
    assert record["unused"] == [{"name": "spare.weight", "shape": [5, 3, 1, 1]}, {"name": "spare.bias", "shape": [5]}]


def test_compare_reads_them_beside_the_catalogue(run) -> None:  # type: ignore[no-untyped-def]
    assert "python:nets_of_mine:small" in run("compare", "resnet-18", "python:nets_of_mine:small").output


def test_a_module_that_reads_values_while_it_is_made_is_made_for_real(run) -> None:  # type: ignore[no-untyped-def]
    record = json.loads(run("show", "python:nets_of_mine:counts_while_it_is_made", "--format", "json").output)
    assert record["totals"]["layers"] == 2


MISTAKES = [
    ("python:nets_of_mine", "write python:package.module:callable"),
    ("python:nets.py:x", "nets.py is a file; name the module as it is imported, python:nets:x"),
    ("python:my/nets.py:x", "python:nets:x, with PYTHONPATH='my'"),
    ("python:nothing_here:x", "cannot import nothing_here: ModuleNotFoundError"),
    ("python:nets_of_mine:smal", "nets_of_mine has no 'smal'. Did you mean small"),
    ("python:nets_of_mine:number", "is a int, no torch.nn.Module and nothing that gives one"),
    ("python:nets_of_mine:ready.double", "gives a int, not a torch.nn.Module"),
    ("python:nets_of_mine:broken", "calling it failed: ValueError: no such thing"),
    ("python:nets_of_mine:values", "nets_of_mine.py"),
]


@pytest.mark.parametrize(("name", "message"), MISTAKES)
def test_a_mistake_gets_one_message(run, name: str, message: str) -> None:  # type: ignore[no-untyped-def]
    result = run("show", name)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
