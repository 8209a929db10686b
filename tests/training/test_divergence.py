"""A training that goes wrong: which layer and which batch it began at, and advice that works."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from pathlib import Path

import pytest
import torch

import cnnatomy as cn
from cnnatomy.data import Data, load
from cnnatomy.errors import UserError
from cnnatomy.runs import Trained
from cnnatomy.training import Recipe, fit, preparing, resuming
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher
from helpers import run_command
from kills import residual_network


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


class Poison(Watcher):
    """Makes a weight no number after a step."""

    def __init__(self, step: int, value: float, layer: str) -> None:
        self.at, self.value, self.layer = step, value, layer

    def step(self, training: Training, loss: torch.Tensor) -> None:
        if training.steps == self.at:
            with torch.no_grad():
                training.model.network.get_submodule(self.layer).weight[0] = self.value  # type: ignore[operator]


def some_layer() -> str:
    """The path of a convolution in the middle of the network."""
    module = residual_network().build()
    return [name for name, one in module.named_modules() if isinstance(one, torch.nn.Conv2d)][2]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_the_layer_and_the_batch_are_named(digits: Data, value: float) -> None:
    layer = some_layer()
    with pytest.raises(UserError) as caught:
        fit(residual_network(), digits, Recipe(epochs=3), watch=[Poison(23, value, layer)], device="cpu")
    said = str(caught.value)
    assert said.startswith("training diverged in epoch 2, batch 4 (step 24): the loss is nan; the step before left")
    assert f"values that are no numbers in {layer}.weight. Begin" in said
    assert said.endswith(
        "Begin again with a lower learning rate, such as learning_rate=0.001, or limit the gradient, too: clip=1"
    )


def test_the_advised_rate_is_a_usual_one_in_the_fastest_part() -> None:
    recipe = Recipe(learning_rate=1.0, rates={"head": 100, "tail": 0.1})
    assert "learning_rate=0.0001," in resuming.remedy(recipe, 0, None)


def test_a_layer_that_fails_in_validation_is_named_with_its_batch(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Watcher):
        """A layer gives no number for the last of the batches of 64 in validation, which is smaller."""

        def begin(self, training: Training) -> None:
            training.evaluated.network.get_submodule(some_layer()).register_forward_hook(self.look)

        def look(self, module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor | None:
            return output * math.nan if not module.training and len(output) == len(digits.val) % 64 else None

    monkeypatch.setattr(preparing, "EVALUATION_BATCH", 64)
    with pytest.raises(UserError, match=rf"nan in validation; .*no number is {some_layer()}, for batch 3") as caught:
        fit(residual_network(), digits, Recipe(epochs=1), device="cpu", watch=[Failing()])
    assert "every layer gives numbers" not in str(caught.value)


def test_a_weight_that_is_no_number_is_never_kept(tmp_path: Path, digits: Data) -> None:
    """Found before a checkpoint inside the epoch is written, and before the last step of an epoch counts."""
    layer = some_layer()
    for step, every in ((5, 0.0), (20, 1e9)):
        with pytest.raises(UserError, match=rf"diverged in epoch 1.*{layer}"):
            fit(
                residual_network(),
                digits,
                Recipe(epochs=2),
                tmp_path / str(step),
                device="cpu",
                watch=[Poison(step, math.nan, layer)],
                checkpoint_every=every,
            )
        assert not list((tmp_path / str(step)).glob("*.ckpt"))


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_after_a_divergence_the_folder_goes_on_with_a_lower_rate(tmp_path: Path, digits: Data, every: float) -> None:
    """Where no epoch was complete it begins again, and ends as if it had begun so."""
    recipe, folder = Recipe(learning_rate=1e30, epochs=2), tmp_path / "run"
    with pytest.raises(UserError, match=r"diverged in epoch 1, batch \d .*first layer.*Begin again with a lower"):
        fit(residual_network(), digits, recipe, folder, device="cpu", checkpoint_every=every)
    lower = dataclasses.replace(recipe, learning_rate=0.01)
    with_lower = fit(residual_network(), digits, lower, folder, device="cpu", resume=True)
    at_first = fit(residual_network(), digits, lower, device="cpu")
    assert all(
        torch.equal(one, other)
        for one, other in zip(with_lower.network.parameters(), at_first.network.parameters(), strict=True)
    )


def test_a_later_divergence_goes_on_after_the_last_complete_epoch(tmp_path: Path, digits: Data) -> None:
    recipe, folder = Recipe(epochs=3), tmp_path / "run"
    with pytest.raises(UserError, match="Go on after epoch 1 with a lower learning rate"):
        fit(
            residual_network(),
            digits,
            recipe,
            folder,
            device="cpu",
            watch=[Poison(30, math.inf, some_layer())],
            checkpoint_every=0,
        )
    lower = dataclasses.replace(recipe, learning_rate=0.001)
    outcome = fit(residual_network(), digits, lower, folder, device="cpu", resume=True).outcome
    assert outcome is not None
    assert [row.learning_rate for row in outcome.epochs] == [0.01, 0.001, 0.001]


def advised(said: str) -> list[str]:
    """The words of the command that a message advises, without `cnnatomy`."""
    found = re.search(r"^  cnnatomy (train .*)$", said, re.M)
    assert found, said
    return shlex.split(found[1])


def test_a_loss_of_ones_own_and_a_start_are_in_the_advice_and_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a run folder says them: a folder names no code, and keeps no weights before the first checkpoint."""
    (tmp_path / "steep.py").write_text("def loss(x, y):\n    return x.square().mean()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fit(cn.network("lenet-5", classes=10), load("digits", (1, 32, 32)), Recipe(epochs=0.1), tmp_path / "start")
    own = ["--start", tmp_path / "start", "--loss", "python:steep:loss", "--epochs", "1", "--learning-rate", "1e30"]
    said = run_command("train", "lenet-5", "--out", tmp_path / "run", "--device", "cpu", *own, code=2).output
    assert "--loss python:steep:loss" in said
    run_command(*advised(said), "--device", "cpu")
    assert Trained.load(tmp_path / "run", "cpu").run.recipe["loss"] == "python:steep:loss"


@pytest.mark.slow
def test_the_advice_can_be_typed_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    said = run_command(
        "train", "lenet-5", "--out", folder, "--epochs", "1", "--learning-rate", "1e30", "--device", "cpu", code=2
    ).output
    run_command(*advised(said), "--device", "cpu")
    assert Trained.load(folder, "cpu").run.recipe["learning_rate"] == 0.01


def test_before_any_step_the_learning_rate_is_not_why(digits: Data) -> None:
    class Broken(Watcher):
        def begin(self, training: Training) -> None:
            for parameter in training.model.network.parameters():
                parameter.data.fill_(1e30)

    with pytest.raises(UserError, match=r"batch 1 \(step 1\).* No step had been taken"):
        fit(residual_network(), digits, Recipe(epochs=1), watch=[Broken()], device="cpu")
