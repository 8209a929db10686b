"""`cnnatomy new`: a commented design, never over another file; and the JSON Schema, which every design meets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.readers import resolve
from cnnatomy.readers.yaml import design, draft, listed, schema
from kinds import each_kind

jsonschema = pytest.importorskip("jsonschema")
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def validator():
    made = schema.schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_schema_in_the_documentation_is_up_to_date():
    text = (DOCS / schema.FILE).read_text(encoding="utf-8")
    assert text == schema.text(), "write it again: make tables"
    assert json.loads(text)["anyOf"][0]["required"] == ["tail", "body", "head"]


@pytest.mark.slow
@each_kind
def test_every_network_of_the_catalogue_meets_the_schema(name, validator):
    validator.validate(yaml.safe_load(design.write(cn.network(name))))


@pytest.mark.parametrize("name", ["googlenet", "densenet-121", "mobilenet-v2"])
def test_a_design_by_nodes_meets_the_schema(name, validator):
    network = ListedNetwork.of(cn.network(name).graph(), name)
    validator.validate(yaml.safe_load(listed.write(network)))


MISTAKES = [
    "input: [3, 8, 8]",
    "nodes: [{a: ReLU}]",
    "input: [3, 8, 8]\nnodes: [{a: ReLUU}]",
    "input: [3, 8, 8]\nnodes: [{a: ReLU, reads: input}]",
    "tail: []\nbody: []",
    "tail: []\nbody: []\nhead: []\ntails: []",
    "tail: []\nhead: []\nbody: ReLUU",
    "tail: []\nhead: []\nbody: Conv",
    "tail: []\nhead: []\nbody: [Convv: {channels: 3, kernel: 3}]",
    "tail: []\nhead: []\nbody: [Conv: {channels: 3, kernal: 3}]",
    "tail: []\nhead: []\nbody: [Conv: {channels: 3, kernel: three}]",
    "tail: []\nhead: []\nbody: [Conv: {channels: 3}]",
    "tail: []\nhead: []\nbody: [{ReLU: , times: 0}]",
    "tail: []\nhead: []\nbody: {Residual: {parts: [ReLU], aftr: ReLU}}",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_that_the_reader_refuses_does_not_meet_the_schema(text, validator):
    with pytest.raises(cn.UserError):
        listed.read(text)
    assert not validator.is_valid(yaml.safe_load(text))


def test_a_new_design_is_small_commented_and_valid(tmp_path, validator):
    said = draft.create(str(tmp_path / "mine"))
    text = (tmp_path / "mine.yaml").read_text()
    assert said == f"wrote {tmp_path / 'mine.yaml'}; what it costs: cnnatomy show {tmp_path / 'mine.yaml'}"
    assert text.count("#") >= 8
    assert all(len(line) <= 120 + len(str(tmp_path)) for line in text.splitlines())
    validator.validate(yaml.safe_load(text))
    network = resolve(str(tmp_path / "mine.yaml"))
    assert (network.name, network.input) == ("mine", (3, 32, 32))
    tail, stage1 = 3 * 32 * 9 + 64, 4 * (32 * 32 * 9 + 64)
    stage2 = 32 * 64 * 9 + 3 * 64 * 64 * 9 + 32 * 64 + 5 * 128
    assert network.account().totals.parameters == tail + stage1 + stage2 + 64 * 10 + 10 == 170_410
    assert "body.stage1.residual2" in {line.path for line in network.account().at_depth(3)}


@pytest.mark.parametrize("source", ["resnet-50", "densenet-121", "lenet-5-1998", "nasnet-a-mobile"])
def test_a_design_begun_from_a_network_is_that_network(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft.create("mine.yml", source)
    network = resolve("mine.yml")
    assert network == cn.network(source)
    assert network.name == "mine"
    draft.create("again", "mine.yml")
    assert resolve("again.yaml") == network


@pytest.mark.parametrize("name", ["123", "null", "a: b #1", "true", "-x", "größe"])
def test_any_file_name_is_the_name_of_its_design(name, tmp_path):
    draft.create(str(tmp_path / name))
    assert resolve(str(tmp_path / f"{name}.yaml")).name == name


def test_nothing_is_overwritten_and_nothing_half_written_is_left(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    with pytest.raises(cn.UserError, match="is there already, and is not overwritten"):
        draft.create(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(cn.UserError, match="Did you mean resnet-50"):
        draft.create(str(tmp_path / "other"), "resnet-5o")
    with pytest.raises(cn.UserError, match=r"cannot write .*none/x\.yaml: No such file or directory"):
        draft.create(str(tmp_path / "none" / "x"))
    assert list(tmp_path.iterdir()) == [path]


def test_editors_are_told_of_the_schema_where_it_lies_beside_the_design(tmp_path):
    draft.create(str(tmp_path / "mine"), with_schema=True)
    first = (tmp_path / "mine.yaml").read_text().partition("\n")[0]
    assert first == "# yaml-language-server: $schema=design.schema.json"
    assert (tmp_path / "design.schema.json").read_text() == schema.text()
    assert resolve(str(tmp_path / "mine.yaml")).name == "mine"


def test_the_command_writes_a_design_that_show_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["new", "mine", "--from", "lenet-5"])
    assert (run.exit_code, run.output) == (0, "wrote mine.yaml; what it costs: cnnatomy show mine.yaml\n")
    assert "61,706" in CliRunner().invoke(main, ["show", "mine.yaml"]).output
    again = CliRunner().invoke(main, ["new", "mine"])
    assert again.exit_code == 2
    assert "mine.yaml is there already" in again.output
