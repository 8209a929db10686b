"""What is typed for a training, and what is said to values that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import cnnatomy as cn
from cnnatomy.readers import resolve
from cnnatomy.runs import Trained
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def said(*arguments: str) -> str:
    """The message of a command that refuses."""
    return run_command(*arguments, code=2).output


@pytest.mark.parametrize("number", ["-1e400", ".nan", "9" * 30])
def test_a_number_that_no_machine_holds_is_refused_with_its_field(number: str) -> None:
    assert f"--set momentum, line 1: {number}" in said("train", "lenet-5", "--set", f"momentum={number}")


def test_a_run_file_with_such_a_number_is_refused_with_its_line() -> None:
    Path("run.yaml").write_text("design: lenet-5\nrecipe:\n  seed: 99999999999999999999\n")
    assert "run.yaml, line 3: 99999999999999999999: an integer is at most" in said("train", "run.yaml")


@pytest.mark.parametrize(
    ("name", "command"), [("run.yaml", ("train", "run.yaml")), ("recipe.yaml", ("recipe", "recipe.yaml"))]
)
def test_a_key_that_is_given_twice_is_refused_and_not_half_read(name: str, command: tuple[str, ...]) -> None:
    Path(name).write_text("design: lenet-5\ndesign: alexnet\n")
    assert f"{name}, line 2: the key 'design' is given twice" in said(*command)


def own_loss(monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """The name of a loss with this body, which the command line can import."""
    Path(f"{(module := 'my_loss')}.py").write_text(f"def loss(outputs, targets):\n    {body}\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    return f"python:{module}:loss"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return outputs[targets + 100]", "IndexError"),
        ("return outputs", "expected a tensor of one number"),
        ("return 3.0", "gives float, expected a tensor of one number"),
        ("return None", "gives NoneType, expected a tensor of one number"),
        ("return outputs.detach().sum()", "it has no gradient"),
    ],
)
def test_a_mistake_in_a_loss_of_ones_own_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    output = said("train", "lenet-5", "--epochs", "1", "--loss", own_loss(monkeypatch, body))
    assert "python:my_loss:loss" in output
    assert message in output
    assert not Path("runs").exists()  # so that nothing is in the way of the next try


def test_the_rate_finder_takes_a_loss_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    name = own_loss(monkeypatch, "return __import__('torch').nn.functional.cross_entropy(outputs, targets)")
    assert "--learning-rate" in run_command("find-rate", "lenet-5", "--loss", name, "--batch-size", "256").output


def test_activations_beyond_every_bin_of_tensorboard_do_not_end_a_training() -> None:
    run_command("train", "lenet-5", "--epochs", "1", "--set", "bias=1e30")


def test_a_time_too_short_for_a_step_is_refused_with_what_a_step_takes() -> None:
    output = said("train", "lenet-5", "--time", "0.001s")
    assert "in 0.001 s there is time for no step" in output
    assert " 0.0 s" not in output


def test_data_of_an_unknown_name_are_refused_with_all_kinds_of_them() -> None:
    assert ", FOLDER." in said("train", "lenet-5", "--data", "annotations.json")


def test_what_is_not_frozen_is_not_unfrozen() -> None:
    assert "nothing is frozen: name parts with --freeze tail,body" in said("train", "lenet-5", "--set", "unfreeze=1")


def test_weights_without_data_are_evaluated_on_data_that_are_given() -> None:
    state = cn.network("lenet-5", classes=10).build().state_dict()
    torch.save(state, "mine.pth")
    run_command("weights", "lenet-5", "--from", "mine.pth", "--names", "0,1,2,3,4,5,6,7,8,9", "--run", "run")
    assert "run holds weights of mine.pth, and no data came with them: give --data" in said("evaluate", "run")
    run_command("evaluate", "run", "--data", "digits")
    output = said("weights", "lenet-5", "--from", "mine.pth", "--names", "a,b,c", "--run", "other")
    assert "mine.pth: its last layer has 10 outputs, and that of lenet-5 3: give names for 10 classes" in output
    assert not Path("other").exists()


def test_weights_of_a_design_with_a_softmax_are_those_of_its_scores() -> None:
    """Else `predict` would compute the softmax twice."""
    body = "{Conv: {channels: 8, kernel: 3, stride: 4}}"
    Path("soft.yaml").write_text(
        f"input: [1, 32, 32]\ntail: ReLU\nbody: {body}\nhead: [{{LinearHead: {{classes: 3}}}}, Softmax]\n"
    )
    module = resolve("soft.yaml").build()
    torch.save(module.state_dict(), "mine.pth")
    run_command("weights", "soft.yaml", "--from", "mine.pth", "--names", "a,b,c", "--run", "run")
    images = torch.randint(256, (4, 1, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(Trained.load("run", "cpu").probabilities(images), module.eval()(images / 255))


def test_a_schedule_by_option_and_what_it_needs_by_set_are_looked_at_together() -> None:
    output = run_command("train", "lenet-5", "--epochs", "1", "--schedule", "step", "--set", "cut_every=1").output
    assert "step schedule" in output


def test_a_run_with_more_epochs_than_are_asked_for_is_left_as_it_is() -> None:
    run_command("train", "lenet-5", "--epochs", "3", "--out", "run")
    before = Path("run/summary.json").read_text()
    assert "3 epochs are done, more than the 1" in said("train", "lenet-5", "--resume", "--epochs", "1", "--out", "run")
    assert Path("run/summary.json").read_text() == before


@pytest.mark.slow
def test_groups_of_classes_are_named_in_a_run_file_and_kept_by_the_run() -> None:
    groups = "groups:\n  round: ['0', '3', '6', '8', '9']\n  straight: ['1', '2', '4', '5', '7']\n"
    Path("run.yaml").write_text(f"design: lenet-5\ndata: digits\nrecipe: {{epochs: 1}}\nout: one\n{groups}")
    assert "group accuracy" in run_command("train", "run.yaml").output
    assert "group accuracy" in run_command("train", "lenet-5", "--out", "one", "--resume", "--epochs", "2").output
    assert "group accuracy" in run_command("train", "lenet-5", "--final", "one").output
    Path("run.yaml").write_text("design: lenet-5\ngroups: {round: ['0', '33']}\n")
    assert "groups: there is no class 33" in said("train", "run.yaml", "--out", "two")
