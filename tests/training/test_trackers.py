"""Any logger of Lightning can be told of a training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from cnnatomy import Chain, Network
from cnnatomy.cli import main
from cnnatomy.data import load
from cnnatomy.errors import UserError
from cnnatomy.layers import Flatten, FullyConnected
from cnnatomy.training import Recipe, Trained, fit, libraries, trackers


class Told:
    """A logger as Lightning's are, that keeps what it is told, or fails at one thing."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.told = fails, []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> None:
            if name == self.fails:
                raise ConnectionError("nobody answers")
            self.told.append((name, *arguments))

        return call


def trained(logger: Any) -> Trained:
    network = Network(
        tail=Chain(flatten=Flatten()), body=Chain(), head=Chain(output=FullyConnected(10)), input=(1, 8, 8)
    )
    recipe = Recipe(epochs=3)
    return fit(network, load("digits", (1, 8, 8)), recipe, watch=[trackers.Tracker(logger)])


def test_it_is_told_the_recipe_the_points_and_the_end() -> None:
    logger = Told()
    outcome = trained(logger).outcome
    assert logger.told[0] == ("log_hyperparams", Recipe(epochs=3, accumulate=1, class_weights="none").as_dict())
    points = {step: metrics for name, *rest in logger.told if name == "log_metrics" for metrics, step in [rest]}
    assert list(points) == [20, 40, 50, 60]
    assert list(points[50]) == ["loss/batch"]
    assert points[60]["accuracy/val"] == outcome.epochs[-1].val_score
    assert logger.told[-1] == ("finalize", "success")


def test_one_that_cannot_begin_is_refused() -> None:
    with pytest.raises(UserError, match="Told cannot be used: ConnectionError: nobody answers"):
        trained(Told("log_hyperparams"))


def test_one_that_fails_later_costs_no_training(caplog: pytest.LogCaptureFixture) -> None:
    alone, followed = trained(Told()), trained(Told("log_metrics"))
    pairs = zip(alone.model.state_dict().values(), followed.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert [record.getMessage() for record in caplog.records] == [
        "Told cannot be used: ConnectionError: nobody answers; training goes on without it"
    ]


@pytest.mark.slow
def test_lightnings_csv_logger_writes_into_the_run_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = CliRunner().invoke(main, ["train", "lenet-5", "--epochs", "1", "--out", str(run), "--logger", "csv"])
    assert result.exit_code == 0, result.output
    (row,) = csv.DictReader((run / "csv" / "version_0" / "metrics.csv").open())
    (kept,) = csv.DictReader((run / "metrics.csv").open())
    assert float(row["loss/val"]) == pytest.approx(float(kept["val_loss"]))


def test_without_lightning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(*names: str) -> None:
        raise ModuleNotFoundError("No module named 'lightning'")

    monkeypatch.setattr(libraries, "load", missing)
    with pytest.raises(UserError, match=r"--logger wandb needs lightning .*pip install 'cnnatomy\[trackers\]'"):
        trackers.named("wandb", tmp_path)


def test_without_the_package_of_a_tracker_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--logger"):
        trackers.named("neptune", tmp_path)
