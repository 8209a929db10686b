"""What a design says beside its network: every reader passes over it, and it can be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnatomy.errors import UserError
from cnnatomy.readers import resolve
from cnnatomy.readers.yaml import listed
from cnnatomy.readers.yaml.aside import is_design, settings_record, settings_text
from cnnatomy.training import runfile

DESIGN = "input: [3, 32, 32]\ntail:\n  Conv: {channels: 8, kernel: 3}\nbody: ReLU\nhead:\n  LinearHead: {classes: 10}\n"
NODES = "input: [3, 32, 32]\nnodes:\n- conv: {Conv: {channels: 8, kernel: 3}}\n"
SETTINGS = "critique:\n  # the paper's own\n  ignore: [C, N4]\n  suppress:\n  - {rule: C1, where: head, reason: so}\n"
RECORD = {"ignore": ["C", "N4"], "suppress": [{"rule": "C1", "where": "head", "reason": "so"}]}


@pytest.mark.parametrize("text", [DESIGN, NODES])
def test_the_network_is_the_same_with_settings(text):
    plain = listed.read(text)
    assert listed.read(text + SETTINGS) == listed.read(SETTINGS + text) == plain
    assert hash(listed.read(text + SETTINGS)) == hash(plain)


def test_settings_may_say_anything_to_a_reader_of_networks(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(DESIGN + "critique: nonsense\n")
    assert resolve(str(file)) == listed.read(DESIGN)
    assert not runfile.is_run_file(str(file))


def test_settings_are_read_with_their_line():
    assert settings_record(DESIGN + SETTINGS, "x.yaml") == (RECORD, 7)
    assert settings_record(DESIGN, "x.yaml") is None
    assert settings_record("- a list", "x.yaml") is None
    assert settings_record("", "x.yaml") is None


def test_a_run_file_has_the_settings_of_its_design():
    inside = "".join(f"  {line}\n" for line in (DESIGN + SETTINGS).splitlines())
    assert settings_record(f"design:\n{inside}data: digits\n", "run.yaml") == (RECORD, 8)


def test_a_key_that_is_given_twice_has_its_line():
    with pytest.raises(UserError, match=r"x\.yaml, line 3: the key 'ignore' is given twice"):
        settings_record("critique:\n  ignore: [C]\n  ignore: [N]\n", "x.yaml")


@pytest.mark.parametrize(
    ("before", "after"),
    [("", DESIGN), (DESIGN, ""), (DESIGN, "# the name\nname: mine\n"), ("# head\n" + DESIGN, "\n\n")],
)
def test_the_lines_of_the_settings_are_kept_with_their_comments(before, after):
    assert settings_text(before + SETTINGS + after) == SETTINGS


def test_settings_that_cannot_stand_alone_are_written_again():
    for text in (
        "{input: [3, 32, 32], critique: {ignore: [C, N4]}, tail: [], body: [], head: []}",
        "name: &c C\ncritique:\n  ignore: [*c, N4]\n",
    ):
        kept = settings_text(text)
        assert settings_record(kept, "kept") == ({"ignore": ["C", "N4"]}, 1)
        assert listed.read(DESIGN + kept) == listed.read(DESIGN)


def test_a_design_without_settings_has_no_lines_of_them():
    assert settings_text(DESIGN) == ""


@pytest.mark.parametrize(
    ("text", "designed"),
    [
        (DESIGN, True),
        (NODES, True),
        ("tail: Conf\nbody: []\n", True),  # with mistakes
        ("tail: [\nbody: []\nhead: []\n", True),  # no YAML any more
        ("on: push\njobs: {}\n", False),
        ("design: x.yaml\ndata: digits\n", False),
        ("nodes: 3\n", False),
        ("Resource: !Ref head\n", False),
        ("a: 1\n---\nb: 2\n", False),
        ("- 1\n", False),
        ("", False),
    ],
)
def test_a_design_is_known_by_its_keys(text, designed):
    assert is_design(text) is designed


def test_the_designs_of_these_tests_are_designs():
    assert all(is_design(path.read_text()) for path in (Path(__file__).parents[1] / "designs").glob("*.yaml"))
