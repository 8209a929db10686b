"""What YAML can say and no design does: one message with the line, wherever YAML is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnatomy.cli import main
from cnnatomy.errors import UserError
from cnnatomy.limits import MAX_NESTING
from cnnatomy.readers.yaml.source import plain_document
from cnnatomy.training import runfile

WRONG = {
    "2020-13-45": "for a date",
    "2001-12-15T02:59:43.1Z": "for a date",
    "!!timestamp 2020-01-01": "for a date",
    "!!timestamp soon": "!!timestamp stands before soon, which is no timestamp",
    "!!int eight": "!!int stands before eight, which is no integer",
    "!!int 1_000": "no integer",
    "!!int 190:20:30": "no integer",
    "!!int ''": "!!int stands before nothing",
    "!!float abc": "no number",
    "!!bool yes": "no true or false",
    "!!null x": "no null",
    "!!seq 3": "!!seq stands before 3, which is no list",
    "!!map 3": "no mapping",
    "!!int [1]": "!!int stands before a list",
    "!!seq {a: 1}": "!!seq stands before a mapping",
    "!!map [1]": "no mapping",
    "{!!int eight: 1}": "no integer",
    "!!binary R0lGODlh": "a design has no tags, got !!binary",
    "!!set {a}": "got !!set",
    "!!omap [a: 1]": "got !!omap",
    "!!python/object/apply:os.system [ls]": "got !!python/object/apply:os.system",
    "!!python/tuple [1, 2]": "got !!python/tuple",
    "!family resnet": "got !family",
    "!<tag:example.org,2000:x> 3": "got tag:example.org,2000:x",
    "9" * 30: "an integer is at most",
    "9" * 5000: "an integer is at most",
    "0x" + "f" * 200: "an integer is at most",
    "1e999": "larger than any that is stored",
    ".nan": "it is no number",
    "{a: 1, a: 2}": "the key 'a' is given twice",
    "{[1]: 2}": "a key is a word",
    "{<<: 3}": "<< takes a mapping",
    "*none": "no anchor &none",
    "&a [*a]": "*a stands within what &a marks",
    "&a {b: {<<: *a}}": "*a stands within what &a marks",
    '"\\x"': "not valid YAML",
    "[1, 2": "not valid YAML",
}
PLACES = {
    "design": (
        "name: x\ninput: [3, 32, 32]\ntail: [{Conv: {channels: %s, kernel: 3}}]\nbody: []\nhead: ReLU\n",
        "show",
    ),
    "settings": ("input: [3, 8, 8]\ntail: [ReLU]\ncritique: {objects: %s}\nbody: []\nhead: ReLU\n", "critique"),
    "recipe": ("base: default\nmomentum: 0.9\ncut_at: %s\n", "recipe"),
    "run file": ("design: lenet-5\ndata: digits\ngroups: {odd: %s}\n", "train"),
}
"""Where YAML is read, and the command that reads it; the value is on line 3."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", WRONG)
def test_what_no_design_has_is_named_with_its_line(value: str, place: str, tmp_path: Path) -> None:
    text, command = PLACES[place]
    file = tmp_path / "it.yaml"
    file.write_text(text % value)
    done = CliRunner().invoke(main, [command, str(file)])
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert WRONG[value] in done.output
    assert f"{file}, line " in done.output
    assert value.startswith("[") or "line 3:" in done.output


GOOD = {
    "0o17": 15,
    "0xFF": 255,
    "010": 10,
    "+3": 3,
    "1e-2": 0.01,
    "!!float 1": 1.0,
    "!!str 3": "3",
    "! 3": "3",
    "yes": "yes",
    "190:20:30": "190:20:30",
    "1_000": "1_000",
    "0b101": "0b101",
    "-.inf": float("-inf"),
    "'2020-13-45'": "2020-13-45",
    "~": None,
    "!!null ''": None,
    "[&a {x: 1}, {<<: *a, y: 2}]": [{"x": 1}, {"x": 1, "y": 2}],
    "[&a [1], *a]": [[1], [1]],
    "=": "=",
}


@pytest.mark.parametrize("text", GOOD)
def test_what_designs_have_is_read_as_yaml_1_2_says(text: str) -> None:
    assert plain_document(f"it: {text}\n", "x.yaml") == {"it": GOOD[text]}


def test_anchors_nest_no_deeper_than_brackets() -> None:
    levels = [f"- &a{i + 1} [*a{i}]" for i in range(5000)]
    with pytest.raises(UserError, match=f"nest deeper than {2 * MAX_NESTING} levels"):
        plain_document("\n".join(["- &a0 [1]", *levels]), "x.yaml")


def test_json_is_yaml() -> None:
    value = {"a": [1, 2.5e-3, True, None, {"b": "ü\n"}]}
    assert plain_document(json.dumps(value), "x.yaml") == value


OF_ANOTHER_TYPE = {
    "recipe": [
        ("base: default\nmomentum: yes\n", "line 2: momentum: expected float, got 'yes'"),
        ("base: default\n\nmomentu: 1\n", "line 3: momentu: no recipe has this field. Did you mean momentum"),
        ("epochs: 1:30\n", "line 1: epochs: expected"),
    ],
    "train": [
        ("design: lenet-5\ndata: [digits]\n", "line 2: data: expected"),
        ("design: lenet-5\nrecipe:\n  momentum: 1_0\n", "line 3: momentum: expected float, got '1_0'"),
        ("data: digits\ndesign:\n  tail: []\n  body: [Cnv]\n  head: ReLU\n", "line 4: there is no layer or block"),
        ("data: digits\ndesign: {tail: [],\n  body: [Cnv], head: ReLU}\n", "line 3: there is no layer or block"),
        ("design: lenet-5\ndate: digits\n", "line 2: date: a run file has no 'date'. Did you mean data"),
    ],
}


@pytest.mark.parametrize(("command", "text", "message"), [(c, *x) for c, all_ in OF_ANOTHER_TYPE.items() for x in all_])
def test_what_is_of_another_type_is_named_with_its_line(command: str, text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(text)
    done = CliRunner().invoke(main, [command, str(file)])
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    assert f"{file}, {message}" in done.output


def test_a_design_in_a_run_file_may_use_anchors_of_what_stands_before_it(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text("groups: {a: &names [x]}\ndesign: {tail: [], body: *names, head: ReLU}\n")
    with pytest.raises(UserError, match="no layer or block called 'x'"):
        runfile.read(str(file))
