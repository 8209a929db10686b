"""`--fit`, from the command line into the run and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnatomy.readers import resolve
from cnnatomy.runs import read_run
from cnnatomy.runs.weights.sources import as_run
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def fit_of(run: str) -> str:
    return read_run(Path(run))[1].loading.fit


def classes(folder: str) -> str:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (Path(folder) / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (40, 60), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder) / name / f"{number}.png")
    return folder


def test_a_run_records_how_its_images_were_fitted_and_evaluates_them_so() -> None:
    folder = classes("images")
    for fit in ("auto", "whole", "stretch"):
        run_command("train", "lenet-5", "--data", folder, "--epochs", "1", "--fit", fit, "--out", fit)
        assert json.loads(Path(fit, "run.json").read_text())["data"]["fit"] == fit_of(fit) == fit
        run_command("evaluate", fit)
    prints = {
        json.loads(Path(fit, "run.json").read_text())["data"]["fingerprint"] for fit in ("auto", "whole", "stretch")
    }
    assert len(prints) == 3
    message = run_command("train", "lenet-5", "--data", folder, "--fit", "whole", "--out", "auto", "--resume", code=2)
    assert "auto was begun with" in message.output or "has other images" in message.output


def test_a_run_of_before_there_were_fits_crops_as_it_did() -> None:
    run_command("train", "lenet-5", "--epochs", "0.1", "--fit", "crop", "--out", "old")
    record = json.loads(Path("old/run.json").read_text())
    for key in ("fit", "group", "folds", "fold"):
        del record["data"][key]
    Path("old/run.json").write_text(json.dumps(record))
    assert fit_of("old") == "crop"
    run_command("evaluate", "old")


def test_weights_of_imagenet_look_at_images_by_its_protocol_and_so_does_what_begins_with_them() -> None:
    assert as_run(resolve("squeezenet-1.1"), "a file").loading.fit == "imagenet"
    assert as_run(resolve("lenet-5"), "a file").loading.fit == "auto"
    folder = classes("images")
    run_command("train", "lenet-5", "--data", folder, "--epochs", "1", "--fit", "imagenet", "--out", "first")
    common = ("train", "lenet-5", "--data", folder, "--epochs", "1", "--start", "first")
    run_command(*common, "--out", "second")
    run_command(*common, "--out", "third", "--fit", "stretch")
    assert (fit_of("second"), fit_of("third")) == ("imagenet", "stretch")


def test_a_run_file_says_how_images_are_fitted() -> None:
    Path("run.yaml").write_text(f"design: lenet-5\ndata: {classes('images')}\nfit: whole\nrecipe: {{epochs: 1}}\n")
    run_command("train", "run.yaml")
    assert fit_of("runs/run") == "whole"


def test_an_unknown_fit_is_refused() -> None:
    assert "Invalid value for '--fit'" in run_command("train", "lenet-5", "--fit", "squash", code=2).output
    Path("run.yaml").write_text("design: lenet-5\nfit: squash\n")
    assert "no fit squash: one of auto, crop" in run_command("train", "run.yaml", code=2).output
