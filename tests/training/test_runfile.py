"""A training as one YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnatomy.design.network import Design
from cnnatomy.errors import UserError
from cnnatomy.training import Recipe, recipe, runfile

INLINE = """
design:
  name: mine
  input: [1, 8, 8]
  tail: {Conv: {channels: 4, kernel: 3}}
  body: {ReLU: {}}
  head: {LinearHead: {classes: 10}}
data: digits
recipe: {epochs: 2, cut_at: [1], schedule: step}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def test_a_run_file_names_design_data_and_recipe(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    name = written(tmp_path, "design: lenet-5\ndata: images\nrecipe: {base: lenet-5, epochs: 3}\nout: runs/x\n")
    assert runfile.is_run_file(name)
    said = runfile.read(name)
    assert (said.design, said.out) == ("lenet-5", "runs/x")
    assert said.data == str(tmp_path / "images")
    assert said.recipe is not None
    assert said.recipe.as_dict() == {**recipe("lenet-5").as_dict(), "epochs": 3}


def test_a_recipe_may_be_named_or_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("momentum: 0.5\n")
    assert runfile.read(written(tmp_path, "design: lenet-5\nrecipe: vgg\n")).recipe == recipe("vgg")
    assert runfile.read(written(tmp_path, "design: lenet-5\nrecipe: mine.yaml\n")).recipe == Recipe(momentum=0.5)


def test_a_whole_design_may_be_in_it(tmp_path: Path) -> None:
    name = written(tmp_path, INLINE)
    said = runfile.read(name)
    assert isinstance(said.design, Design)
    assert said.design.account().totals.parameters == 4 * 9 + 4 + 4 * 10 + 10
    assert said.recipe == Recipe(epochs=2, cut_at=(1,), schedule="step")


def test_a_design_is_no_run_file(tmp_path: Path) -> None:
    assert not runfile.is_run_file(written(tmp_path, "name: x\ntail: {}\n"))
    assert not runfile.is_run_file("lenet-5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("design: lenet-5\nrecpe: vgg\n", "a run file has no 'recpe'. Did you mean recipe"),
        ("design: lenet-5\ndata: 3\n", "data: expected text, got 3"),
        ("design: lenet-5\nrecipe: {momentun: 1}\n", "Did you mean momentum"),
        ("design: lenet-5\nrecipe: {base: vg}\n", "Did you mean vgg?"),
        ("design: 3\n", "design: expected text, got 3"),
        ("design: {tail: {Cnv: 3}}\n", "line 1: the key 'body' is missing"),
    ],
)
def test_what_is_wrong_in_a_run_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        runfile.read(written(tmp_path, text))
    assert message in str(caught.value)
