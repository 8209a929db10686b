"""What is said of a network before it is trained."""

from __future__ import annotations

import json

import pytest

from cnnatomy.readers.yaml import listed
from cnnatomy.report.objections import before_training

DESIGN = "input: [3, 32, 32]\ntail:\n  Conv: {channels: 8, kernel: 3}\nbody: ReLU\nhead:\n- LinearHead: {classes: 10}\n"
SOFTMAX = f"{DESIGN}- Softmax\n"


@pytest.fixture
def said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def said(text: str, trained: str = "") -> list[str]:
        (tmp_path / "mine.yaml").write_text(text)
        network = listed.read(text)
        return before_training("mine.yaml", network, listed.read(trained or text), network.input, 10)

    return said


def test_an_error_is_a_line_with_its_remedy_and_who_says_more(said):
    line, more = said(SOFTMAX)
    assert line.startswith(
        "error W7 softmax-before-loss: after it the cross-entropy of 10 classes cannot fall below 1.46"
    )
    assert line.endswith(". Remedy: leave head.softmax to the loss")
    assert more == "more about it: cnnatomy critique mine.yaml"


def test_what_training_leaves_out_is_said_to_be(said):
    assert said(SOFTMAX, DESIGN)[0].endswith(". The design has it, this training leaves it out")


def test_warnings_and_notes_are_not_said(said):
    assert said(DESIGN) == []


@pytest.mark.parametrize(
    "settings", ["ignore: [W7]", "ignore: [W]", "select: [N]", "suppress: [{rule: W7, reason: only to see}]"]
)
def test_what_the_settings_ignore_or_accept_is_not_said(said, settings):
    assert said(f"{SOFTMAX}critique:\n  {settings}\n") == []


def test_what_the_baseline_of_the_project_has_is_not_said(said, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.cnnatomy.critique]\nbaseline = 'known.json'\n")
    assert "cannot read the baseline" in said(SOFTMAX)[0]
    row = {"network": "mine.yaml", "rule": "W7", "where": "head.softmax", "places": 1, "severity": "error"}
    (tmp_path / "known.json").write_text(json.dumps({"baseline": 1, "findings": [row]}))
    assert said(SOFTMAX) == []


def test_wrong_settings_are_told_and_stop_nothing(said):
    (line,) = said(f"{SOFTMAX}critique:\n  ignorr: []\n")
    assert line.startswith("critique: mine.yaml, line 8: critique has no key 'ignorr'")


def test_a_budget_of_the_settings_is_looked_at(said):
    assert said(f"{DESIGN}critique: {{memory: 1KiB}}\n")[0].startswith("error B3 over-memory")


def test_no_more_than_ten_are_said(said, monkeypatch):
    monkeypatch.setattr("cnnatomy.report.objections.MAX_LINES", 0)
    assert said(SOFTMAX) == ["and 1 error more", "more about it: cnnatomy critique mine.yaml"]


def test_a_design_inside_a_run_file_is_criticised_in_its_run_folder(said, tmp_path):
    inside = "".join(f"  {line}\n" for line in SOFTMAX.splitlines())
    (tmp_path / "run.yaml").write_text(f"design:\n{inside}data: digits\n")
    network = listed.read(SOFTMAX)
    more = before_training("run.yaml", network, network, network.input, 10, "runs/run")[-1]
    assert more == "more about it: cnnatomy critique runs/run"


def test_a_design_that_is_gone_is_told(tmp_path, said):
    network = listed.read(DESIGN)
    (line,) = before_training(str(tmp_path / "gone.yaml"), network, network, network.input, 10)
    assert "cannot read the design" in line
