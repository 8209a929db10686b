from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy import Chain, Network, files
from cnnatomy.data import Data, Loading, Normalisation, load
from cnnatomy.data.augmentation import Wanted
from cnnatomy.errors import UserError
from cnnatomy.layers import BatchNorm, Conv, Dropout, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.runs import RunFolder, read_run
from cnnatomy.runs.model import Model
from cnnatomy.training import Recipe, Trained, checkpoints, fit, optimizers, preparing
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher


def tiny_network(classes: int = 10, width: int = 8) -> Network:
    """Three layers with batch normalisation and dropout for images of 8 x 8."""
    return Network(
        tail=Chain(conv=Conv(width, 3, padding=1), norm=BatchNorm(), relu=ReLU(), pool=MaxPool(2)),
        body=Chain(conv=Conv(2 * width, 3), relu=ReLU()),
        head=Chain(flatten=Flatten(), drop=Dropout(0.2), output=FullyConnected(classes)),
        input=(1, 8, 8),
        name="tiny",
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture
def tiny() -> Network:
    return tiny_network()


@pytest.fixture
def quick() -> Recipe:
    return Recipe(learning_rate=0.05, epochs=4, cut_patience=0, patience=3, shift=0.05)


class Stop(Watcher):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = epoch, batch

    def step(self, training: Training, loss: torch.Tensor) -> None:
        if (training.epochs, training.step_in_epoch - 1) == self.at:
            raise KeyboardInterrupt


def in_training(module: torch.nn.Module, recipe: Recipe, data: Data) -> Training:
    """A training of a module before its first step."""
    model = Model(module, data.normalisation)
    return Training(model, recipe, preparing.objective(data.task, recipe), data.train.batches(64, 0), None)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_folder_holds_everything(tmp_path: Path, tiny: Network, digits: Data, quick: Recipe) -> None:
    fitted = fit(tiny, digits, quick, tmp_path / "run")
    folder, run = read_run(tmp_path / "run")
    assert {path.name for path in folder.path.iterdir()} == {
        "design.yaml",
        "run.json",
        "model.safetensors",
        "last.ckpt",
        "before-last.ckpt",
        ".lock",
        "metrics.csv",
        "layers.csv",
        "tensorboard",
        "summary.json",
    }
    assert run.network == tiny
    assert Recipe.of(run) == dataclasses.replace(quick, accumulate=1, class_weights="none")
    assert run.normalisation == digits.normalisation
    assert run.classes == digits.classes

    with folder.metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[1]["val_loss"]) == fitted.outcome.epochs[1].val_loss


def test_the_summary_says_what_was_measured(tmp_path: Path, tiny: Network, digits: Data, quick: Recipe) -> None:
    fitted = fit(tiny, digits, quick, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["network"] == "tiny"
    assert summary["input"] == [1, 8, 8]
    assert summary["classes"] == list("0123456789")
    assert summary["data"]["splits"] == {"train": 1259, "val": 179, "test": 359}
    assert summary["recipe"]["seed"] == 0
    assert summary["training"]["best_epoch"] == fitted.outcome.best.epoch
    assert summary["normalisation"]["mean"] == list(digits.normalisation.mean)
    assert summary["versions"]["torch"] == torch.__version__
    assert {"device", "processor", "cores", "threads", "system"} == set(summary["machine"])
    test = summary["test"]
    assert test["images"] == 359
    assert test["top_1"] <= test["top_5"] <= 1
    assert sum(map(sum, test["confusion_matrix"])) == 359
    assert test["top_1"] == pytest.approx(sum(test["confusion_matrix"][k][k] for k in range(10)) / 359)
    assert test["top_1"] > 0.8


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    tiny: Network, digits: Data, quick: Recipe
) -> None:
    short = dataclasses.replace(quick, epochs=2)
    torch.manual_seed(1)
    first = fit(tiny, digits, short)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = fit(tiny, digits, short)
    assert torch.equal(state, torch.get_rng_state()), "the caller's random numbers are their own"
    other = fit(tiny, digits, dataclasses.replace(short, seed=1))
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not same(first.model.state_dict(), other.model.state_dict())


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, tiny: Network, digits: Data) -> None:
    recipe = Recipe(learning_rate=0.1, epochs=6, cut_patience=0, patience=4, shift=0.05)
    whole = fit(tiny, digits, recipe, tmp_path / "whole")
    assert len({row.learning_rate for row in whole.outcome.epochs}) > 1, "the schedule must have been resumed, too"
    for epoch, batch, resume in ((0, 3, False), (1, 5, True), (2, 0, True), (4, 19, True)):
        with pytest.raises(KeyboardInterrupt):
            fit(tiny, digits, recipe, tmp_path / "parts", resume=resume, watch=[Stop(epoch, batch)])
        assert not (tmp_path / "parts" / "summary.json").exists()
    parts = fit(tiny, digits, recipe, tmp_path / "parts", resume=True)
    assert same(whole.model.state_dict(), parts.model.state_dict())
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "parts/model.safetensors").read_bytes()
    assert [(row.learning_rate, row.train_loss, row.val_loss) for row in whole.outcome.epochs] == [
        (row.learning_rate, row.train_loss, row.val_loss) for row in parts.outcome.epochs
    ]


def test_a_run_interrupted_after_training_is_only_evaluated(
    tmp_path: Path, tiny: Network, digits: Data, quick: Recipe
) -> None:
    whole = fit(tiny, digits, quick, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    again = fit(tiny, digits, quick, tmp_path / "run", resume=True, watch=[Stop(0, 0), Stop(4, 0)])
    assert again.outcome.epochs == whole.outcome.epochs
    assert again.outcome.test.more["confusion_matrix"] == whole.outcome.test.more["confusion_matrix"]


def test_from_memory_and_on_demand_training_is_the_same(tiny: Network, digits: Data) -> None:
    recipe = Recipe(epochs=1)
    lazy = load("digits", (1, 8, 8), memory=0)
    assert same(fit(tiny, digits, recipe).model.state_dict(), fit(tiny, lazy, recipe).model.state_dict())


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path, tiny: Network, digits: Data) -> None:
    recipe = Recipe(learning_rate=0.2, epochs=60, cut_patience=50, patience=2)
    fitted = fit(tiny, digits, recipe, tmp_path / "run")
    assert fitted.outcome.stopped_early
    assert len(fitted.outcome.epochs) == fitted.outcome.best.epoch + 2
    assert fitted.outcome.best.val_loss == min(row.val_loss for row in fitted.outcome.epochs)
    assert same(load_file(tmp_path / "run/model.safetensors"), fitted.model.network.state_dict())
    images, labels = next(iter(digits.val.batches(len(digits.val))))
    with torch.inference_mode():
        loss = float(F.cross_entropy(fitted.model.eval()(images), labels))
    assert loss == pytest.approx(fitted.outcome.best.val_loss, rel=1e-4)


def test_the_learning_rate_is_cut_to_a_tenth_on_a_plateau(tiny: Network, digits: Data) -> None:
    recipe = Recipe(learning_rate=0.1, epochs=8, cut_patience=0, patience=100)
    rates = [row.learning_rate for row in fit(tiny, digits, recipe).outcome.epochs]
    assert rates[0] == 0.1
    assert {round(rates[epoch] / rates[epoch + 1]) for epoch in range(7)} == {1, 10}


def test_momentum_and_weight_decay_follow_the_formula() -> None:
    """v <- m v + (g + d w), w <- w - lr v (torch's coupled form of Sutskever et al. 2013; slide 002:979)."""
    network = cn.network("lenet-5").build()
    (optimiser,) = optimizers.make(Recipe(learning_rate=0.1, momentum=0.8, weight_decay=0.01), network)
    weight = next(iter(network.parameters()))
    expected, velocity = weight.detach().clone(), torch.zeros_like(weight)
    for step in range(3):
        gradient = torch.full_like(weight, float(step + 1))
        weight.grad = gradient.clone()
        optimiser.step()
        velocity = 0.8 * velocity + gradient + 0.01 * expected
        expected = expected - 0.1 * velocity
    assert torch.allclose(weight, expected)


def test_auxiliary_heads_count_three_tenths(digits: Data) -> None:
    """Szegedy et al. 2014, section 5: "their loss gets added ... with a discount weight (... weighted by 0.3)"."""

    class TwoHeads(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            main = torch.stack([images.sum((1, 2, 3)), -images.sum((1, 2, 3))], 1)
            return {"main": main, "early": 2 * main} if self.training else main

        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(1, 1)
            self.head.auxiliary_heads = ("early",)  # type: ignore[assignment]

    training = in_training(TwoHeads(), Recipe(), digits)
    training.model.train()
    images, labels = torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    outputs = training.model(images)
    expected = F.cross_entropy(outputs["main"], labels) + 0.3 * F.cross_entropy(outputs["early"], labels)
    assert float(training._loss(images, [Wanted(1.0, labels)])[0]) == pytest.approx(float(expected))


@pytest.mark.slow
def test_googlenet_trains_with_its_auxiliary_heads(digits: Data) -> None:
    recipe = Recipe()
    model = Model(cn.network("googlenet", classes=10).build((3, 224, 224)), Normalisation((0.5,) * 3, (0.2,) * 3))
    training = Training(model, recipe, preparing.objective(digits.task, recipe), digits.train.batches(2, 0), None)
    images = torch.randint(0, 255, (2, 3, 224, 224), dtype=torch.uint8)
    training._loss(images, [Wanted(1.0, torch.tensor([1, 2]))])[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_network_with_other_outputs_than_classes_is_refused(digits: Data) -> None:
    with pytest.raises(UserError, match="the head gives 7, one label needs 10: digits has the classes 0, 1, 2, 3, 4,"):
        fit(tiny_network(classes=7), digits, Recipe())


def test_a_folder_that_exists_is_refused(tmp_path: Path, tiny: Network, digits: Data, quick: Recipe) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match=r"exists already: name another folder$"):
        fit(tiny, digits, quick, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_resuming_with_another_network_recipe_or_data_is_refused(tmp_path: Path, tiny: Network, digits: Data) -> None:
    recipe = Recipe(epochs=1)
    fit(tiny, digits, recipe, tmp_path / "run")
    wider = tiny_network(width=9)
    with pytest.raises(UserError, match="holds a run of another network, tiny"):
        fit(wider, digits, recipe, tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="was begun with recipe seed 0, now seed 1"):
        fit(tiny, digits, dataclasses.replace(recipe, seed=1), tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="was begun with"):
        fit(tiny, load("digits", (1, 8, 8), Loading(split_seed=5)), recipe, tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="is not a run folder"):
        fit(tiny, digits, recipe, tmp_path, resume=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, tiny: Network, digits: Data) -> None:
    recipe = Recipe(epochs=1)
    fit(tiny, digits, recipe, tmp_path / "run")
    other = cn.network("lenet-5")
    fit(other, load("digits", (1, 32, 32)), recipe, tmp_path / "other")
    for name in ("model.safetensors", "last.ckpt"):
        (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(
        UserError, match=r"model.safetensors holds weights of another network than tiny: tail.conv.weight"
    ):
        Trained.load(tmp_path / "run")
    with pytest.raises(UserError, match=r"last.ckpt holds weights of another network than tiny"):
        fit(tiny, digits, recipe, tmp_path / "run", resume=True)


def test_broken_files_of_a_run_are_named(tmp_path: Path, tiny: Network, digits: Data) -> None:
    recipe = Recipe(epochs=1)
    place = tmp_path / "run"
    fit(tiny, digits, recipe, place)
    whole = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    for name in ("model.safetensors", "run.json"):
        (place / name).write_bytes(whole[name][: len(whole[name]) // 2])
        with pytest.raises(UserError, match=f"{name} is"):
            Trained.load(place)
        (place / name).write_bytes(whole[name])
    (place / "last.ckpt").write_bytes(whole["last.ckpt"][:1000])
    with pytest.raises(UserError, match=r"last.ckpt is broken"):
        fit(tiny, digits, recipe, place, resume=True)
    (place / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model.safetensors is missing"):
        Trained.load(place)


def test_no_space_is_said_and_the_run_can_go_on(
    tmp_path: Path, tiny: Network, digits: Data, quick: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"no space left for .*run \(.* MiB free\). Make room. Then go on with --resume"
    ):
        fit(tiny, digits, quick, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.part")) + list((tmp_path / "run").glob(".*.part"))
    monkeypatch.undo()
    resumed = fit(tiny, digits, quick, tmp_path / "run", resume=True)
    assert same(resumed.model.state_dict(), fit(tiny, digits, quick).model.state_dict())


def test_no_space_for_a_checkpoint_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.save makes a RuntimeError about its archive of it; what the user needs to know is the reason."""

    class Full(io.BytesIO):
        def write(self, content: Any) -> int:
            if self.tell() > 4096:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    monkeypatch.setattr(files, "open", lambda *arguments: Full(), raising=False)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(RunFolder(tmp_path), {"weights": torch.zeros(100_000), "step_in_epoch": 0})
    assert not list(tmp_path.iterdir())
