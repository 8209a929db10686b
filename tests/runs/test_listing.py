"""Many runs at once, whatever state they are in."""

from __future__ import annotations

import csv
import io
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from cnnatomy import Chain, Network
from cnnatomy.data import load
from cnnatomy.errors import UserError
from cnnatomy.layers import Flatten, FullyConnected
from cnnatomy.runs import Trained, listing
from cnnatomy.training import Recipe, fit
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


def network(*hidden: int) -> Network:
    body = Chain(*(FullyConnected(width) for width in hidden))
    return Network(tail=Chain(flatten=Flatten()), body=body, head=Chain(output=FullyConnected(10)), input=(1, 8, 8))


@pytest.fixture(scope="module")
def runs(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one run, one of a larger network, and one in each state in which a run can be."""
    folder, data = tmp_path_factory.mktemp("runs"), load("digits", (1, 8, 8))
    for seed in (0, 1):
        fit(network(), data, Recipe(epochs=2, seed=seed), folder / f"seed{seed}")
    fit(network(32), data, Recipe(epochs=3), folder / "deep" / "larger")
    Trained.load(folder / "seed0", "cpu").save(folder / "weights")
    for name in ("interrupted", "not-json", "no-csv"):
        shutil.copytree(folder / "seed0", folder / name)
    (folder / "interrupted" / "summary.json").unlink()
    (folder / "not-json" / "run.json").write_text("{")
    (folder / "no-csv" / "metrics.csv").write_text("a,b\n1,2\n")
    return folder


def listed(runs: Path) -> dict[str, dict[str, Any]]:
    records = json.loads(run_command("runs", runs, "--format", "json").stdout)
    return {Path(record["name"]).name: record for record in records}


def test_each_run_is_listed_with_its_state(runs: Path) -> None:
    states = {name: record["state"] for name, record in listed(runs).items()}
    assert {name: states[name] for name in ("seed0", "seed1", "larger")} == dict.fromkeys(
        ("seed0", "seed1", "larger"), "complete"
    )
    assert states["interrupted"] == "interrupted after epoch 2 of 2"
    assert states["weights"] == "only weights"
    assert states["not-json"].startswith(f"broken: {runs}/not-json/run.json is not JSON")
    assert "metrics.csv: expected epoch, train_loss" in states["no-csv"]


def test_figures_are_those_of_the_summary(runs: Path) -> None:
    record, summary = listed(runs)["seed1"], json.loads((runs / "seed1" / "summary.json").read_text())
    assert record["parameters"] == 64 * 10 + 10
    assert record["epochs"] == summary["training"]["epochs"]
    assert record["best_epoch"] == summary["training"]["best_epoch"]
    assert record["val_score"] == summary["training"]["val_accuracy"]
    assert record["val_loss"] == summary["training"]["val_loss"]
    assert record["test_score"] == summary["test"]["top_1"]
    assert record["test_figure"] == "top_1"
    assert record["seconds"] == pytest.approx(summary["training"]["seconds"])


def test_the_best_by_validation_is_first_and_what_is_broken_last(runs: Path) -> None:
    found = listing.find(runs)
    scores = [one.val_score for one in found if one.val_score is not None]
    assert scores == sorted(scores, reverse=True)
    assert [one.state for one in found][-2:] == ["broken", "broken"]


def test_seeds_of_one_run_are_a_group_with_mean_and_deviation(runs: Path) -> None:
    folders = [runs / "seed0", runs / "seed1", runs / "deep"]
    groups = json.loads(run_command("runs", *folders, "--group", "--format", "json").stdout)
    (both,) = [group for group in groups if group["runs"] == 2]
    assert sorted(both["seeds"]) == [0, 1]
    one, other = (listed(runs)[name]["test_score"] for name in ("seed0", "seed1"))
    assert both["test_score"] == pytest.approx((one + other) / 2)
    assert both["test_score_std"] == pytest.approx(abs(one - other) / 2**0.5)
    assert [group["val_loss_std"] for group in groups if group["runs"] == 1] == [None]


def test_a_run_that_is_not_complete_and_a_seed_that_is_there_twice_count_in_no_mean(runs: Path, tmp_path: Path) -> None:
    for name, of in (("one", "seed0"), ("again", "seed0"), ("other", "seed1"), ("open", "interrupted")):
        shutil.copytree(runs / of, tmp_path / name)
    (group,) = json.loads(run_command("runs", tmp_path, "--group", "--format", "json").stdout)
    assert (group["runs"], sorted(group["seeds"])) == (2, [0, 1])
    assert "2 runs not complete, or of a seed that is there already" in run_command("runs", tmp_path, "--group").stdout


def test_of_many_learning_curves_the_best_are_named(runs: Path, tmp_path: Path) -> None:
    for number in range(60):
        shutil.copytree(runs / "seed0", tmp_path / "many" / f"run{number}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_command("runs", tmp_path / "many", "--plot", tmp_path / "many.svg")
    drawing = (tmp_path / "many.svg").read_text()
    assert "the best 20 of 60" in drawing


def test_comparing_says_what_differs_in_recipe_and_design(runs: Path) -> None:
    seeds = json.loads(run_command("runs", "--compare", runs / "seed0", runs / "seed1", "--format", "json").stdout)
    assert [name for name in seeds["differences"] if name.startswith("recipe.")] == ["recipe.seed"]
    assert seeds["designs"] == {}
    larger = run_command("runs", "--compare", runs / "seed0", runs / "deep" / "larger").stdout
    assert "recipe.epochs" in larger
    assert any(line.startswith("+") and "32" in line for line in larger.splitlines())


def test_curves_are_drawn(runs: Path, tmp_path: Path) -> None:
    run_command("runs", runs, "--plot", tmp_path / "curves.svg")
    drawing = (tmp_path / "curves.svg").read_text()
    assert all(name in drawing for name in ("seed0", "seed1", "larger", "accuracy"))
    assert "is there already" in run_command("runs", runs, "--plot", tmp_path / "curves.svg", code=2).output


def test_a_table_and_csv_have_a_line_for_each(runs: Path) -> None:
    assert run_command("runs", runs).stdout.startswith("7 runs")
    assert len(list(csv.DictReader(io.StringIO(run_command("runs", runs, "--format", "csv").stdout)))) == 7


def test_mistakes_are_said(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such folder" in run_command("runs", tmp_path / "none", code=2).output
    assert "two run folders or more" in run_command("runs", "--compare", runs / "seed0", code=2).output
    assert "is not JSON" in run_command("runs", "--compare", runs / "seed0", runs / "not-json", code=2).output
    assert run_command("runs", tmp_path).stdout.startswith("0 runs")
    assert "no run has a complete epoch" in run_command("runs", tmp_path, "--plot", tmp_path / "a.svg", code=2).output
    monkeypatch.setattr(listing, "MAX_FOLDERS", 2)
    with pytest.raises(UserError, match="has more than 2 folders"):
        listing.find(runs)
