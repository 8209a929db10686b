"""What comes after a run: more epochs, and the final training on training and validation together."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from cnnatomy import Chain, Network
from cnnatomy.data import Data, load
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import Flatten, FullyConnected, MaxPool
from cnnatomy.runs import RunFolder
from cnnatomy.runs import folder as run_folder
from cnnatomy.training import Recipe, Trained, fit, preparing, resuming
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher
from helpers import run_command

RECIPE = Recipe(epochs=3, patience=0)


def network() -> Network:
    return Network(
        tail=Chain(MaxPool(2)), body=Chain(), head=Chain(flat=Flatten(), output=FullyConnected(10)), input=(1, 8, 8)
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


def chosen(folder: Path) -> Recipe:
    return resuming.as_chosen(RunFolder(folder), run_folder.read_run(folder)[1])


def test_cuts_of_a_plateau_are_those_that_were_made(tmp_path: Path, digits: Data) -> None:
    """And a learning rate that the user lowered is no cut, whatever its factor."""
    recipe = dataclasses.replace(RECIPE, epochs=6, learning_rate=1e-6, cut_patience=0, cut=0.5)
    trained = fit(network(), digits, dataclasses.replace(recipe, learning_rate=0.5), tmp_path / "cut")
    assert trained.outcome is not None
    rates = [row.learning_rate for row in trained.outcome.epochs[: trained.outcome.best.epoch]]
    found = chosen(tmp_path / "cut")
    assert found.epochs == len(rates)
    assert list(found.cut_at) == [i for i in range(1, len(rates)) if rates[i] < rates[i - 1]]


def test_a_learning_rate_that_was_lowered_on_the_way_is_no_cut_and_said(
    tmp_path: Path, digits: Data, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2, learning_rate=0.05)
    fit(network(), digits, recipe, tmp_path / "run")
    lower = dataclasses.replace(recipe, epochs=5, learning_rate=0.005)
    fit(network(), digits, lower, tmp_path / "run", resume=True)
    caplog.clear()
    found = chosen(tmp_path / "run")
    assert (found.schedule, found.cut_at, found.learning_rate) == ("constant", (), 0.005)
    assert "had other learning rates on its way" in caplog.text


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "step"])
def test_a_run_that_was_not_changed_is_chosen_in_silence(
    tmp_path: Path, digits: Data, caplog: pytest.LogCaptureFixture, schedule: str
) -> None:
    recipe = dataclasses.replace(RECIPE, schedule=schedule, cut_every=2 * (schedule == "step"), warmup=1)
    fit(network(), digits, recipe, tmp_path / "run")
    chosen(tmp_path / "run")
    assert caplog.text == ""


def test_a_new_cycle_is_said_and_a_final_training_of_two_goes_through_one(
    tmp_path: Path, digits: Data, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(RECIPE, schedule="cosine", epochs=2)
    fit(network(), digits, recipe, tmp_path / "run")
    fit(network(), digits, dataclasses.replace(recipe, epochs=4), tmp_path / "run", resume=True)
    assert "after epoch 2 the cosine schedule begins a new cycle" in caplog.text
    chosen(tmp_path / "run")
    assert "goes once through the cosine schedule" in caplog.text


def test_a_run_that_ended_inside_an_epoch_says_how_to_go_on(tmp_path: Path, digits: Data) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=0.5)
    fit(network(), digits, recipe, tmp_path / "run")
    with pytest.raises(UserError, match=r"ended inside an epoch, after 0\.5.* --start .*run --out ANOTHER_FOLDER"):
        fit(network(), digits, dataclasses.replace(recipe, epochs=2), tmp_path / "run", resume=True)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenet") / "my run"
    run_command("train", "lenet-5", "--epochs", "1", "--out", folder, "--device", "cpu")
    return folder


@pytest.mark.slow
def test_the_final_training_is_of_the_network_that_was_asked_for_and_of_choices(lenet: Path, tmp_path: Path) -> None:
    refused = run_command("train", "squeezenet-1.1", "--final", lenet, code=2).output
    assert "is a run of lenet-5, not of squeezenet-1.1" in refused
    file = tmp_path / "run.yaml"
    file.write_text(f"design: lenet-5\nout: {lenet}\n")
    run_command("train", file, "--final", lenet, "--device", "cpu")
    final = lenet.with_name("my run-final")
    assert Trained.load(final, "cpu").run.change == preparing.FINAL
    again = run_command("train", "lenet-5", "--final", final, "--out", tmp_path / "x", code=2).output
    assert "was trained on training and validation together already" in again


@pytest.mark.slow
def test_another_rate_alone_changes_nothing_of_a_complete_run(lenet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(lenet, folder)
    before = (folder / "summary.json").read_bytes()
    said = run_command("train", "lenet-5", "--out", folder, "--resume", "--lr", "0.001", "--device", "cpu").output
    assert "is complete already: nothing to do" in said
    assert (folder / "summary.json").read_bytes() == before


@pytest.mark.slow
def test_a_run_of_labels_with_a_class_for_each_pixel_goes_on_and_is_trained_again(tmp_path: Path) -> None:
    file, folder = tmp_path / "run.yaml", tmp_path / "run"
    file.write_text(
        "design: {tail: {Conv: {channels: 4, kernel: 3}}, body: {ReLU: {}}, input: [1, 32, 32],"
        f" head: {{PixelHead: {{classes: 10, localise: true}}}}}}\ndata: scenes:localised\nout: {folder}\n"
    )
    run_command("train", file, "--epochs", "1", "--device", "cpu")
    run_command("train", file, "--epochs", "2", "--resume", "--device", "cpu")
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3  # a header and two epochs
    run_command("train", file, "--final", folder, "--device", "cpu")
    assert Trained.load(folder.with_name("run-final"), "cpu").run.change == preparing.FINAL


def test_a_file_without_a_design_and_two_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("data: digits\n")
    assert "a run file needs a design" in run_command("train", tmp_path / "run.yaml", code=2).output
    twice = run_command("train", "lenet-5", "--time", "6s", "--epochs", "3", "--out", tmp_path / "x", code=2).output
    assert "leave out --epochs, or --time" in twice


def test_initials_are_understood() -> None:
    assert nearest("lr", ["l1", "learning_rate"]) == " Did you mean learning_rate?"


@pytest.mark.parametrize(
    "setting", ["momentum=1", "second_moment=1", "ema=1", "learning_rate=1e300", "weight_decay=1e300", "dropout=1"]
)
def test_numbers_with_which_no_step_can_be_made_are_refused_at_once(setting: str, tmp_path: Path) -> None:
    said = run_command("train", "lenet-5", "--set", setting, "--out", tmp_path / "x", code=2).output
    assert "expected a number" in said


class Averages(Watcher):
    """Keeps a weight and its average after every step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []

    def step(self, training: Training, loss: torch.Tensor) -> None:
        for kept, model in ((self.weights, training.model), (self.averages, training.evaluated)):
            kept.append(next(model.network.parameters()).detach().clone())


def test_the_average_of_the_weights_follows_them_faster_at_first(digits: Data) -> None:
    """By the formula of TensorFlow's ExponentialMovingAverage: min(decay, (1 + n) / (10 + n))."""
    seen = Averages()
    fit(network(), digits, dataclasses.replace(RECIPE, epochs=1, ema=0.6), watch=[seen], device="cpu")
    average = seen.weights[0].double()
    for number, (weight, found) in enumerate(zip(seen.weights, seen.averages, strict=True)):
        decay = min(0.6, (1 + number) / (10 + number)) if number else 0.0
        average = decay * average + (1 - decay) * weight.double()
        assert torch.allclose(found.double(), average, atol=1e-6)


def test_the_average_of_the_weights_is_memory(digits: Data) -> None:
    bytes_of = [
        preparing.needed(network(), (1, 8, 8), 4, dataclasses.replace(RECIPE, ema=ema), torch.device("cpu")).total
        for ema in (0.0, 0.9)
    ]
    assert bytes_of[1] - bytes_of[0] == 4 * (16 * 10 + 10)
