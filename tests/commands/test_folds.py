"""`--folds` and `--group`, from the command line into the runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnnatomy.data import load, open_source
from cnnatomy.runs import read_run
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def people(folder: str, images: int = 4) -> str:
    """Photographs of ten persons in two classes, some of each: `person3_1.png`."""
    generator = np.random.default_rng(0)
    for person in range(10):
        for number in range(images):
            path = Path(folder, ("happy", "sad")[person % 2], f"person{person}_{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (20, 20), dtype=np.uint8)).save(path)
    return folder


def persons_of(run: str) -> list[set[str]]:
    """Who is in training, validation and test of a run."""
    about = read_run(Path(run))[1]
    names = open_source(about.source).names
    data = load(about.source, about.shape, about.loading)
    parts = (data.train, data.val, data.test)
    return [{names[index].split("/")[1].split("_")[0] for index in part.indices.tolist()} for part in parts]


def test_the_images_of_a_person_stay_in_one_split() -> None:
    run_command("train", "lenet-5", "--data", people("faces"), "--epochs", "1", "--group", "person[0-9]+", "--out", "a")
    train, val, test = persons_of("a")
    assert not train & val
    assert not (train | val) & test
    assert len(train | val | test) == 10
    run_command("evaluate", "a")
    run_command("train", "lenet-5", "--data", "faces", "--epochs", "1", "--out", "b")
    assert persons_of("b")[0] & persons_of("b")[2]  # without groups a person is in both


def test_every_image_is_tested_in_one_fold_and_the_mean_has_students_interval() -> None:
    people("faces")
    common = ("train", "lenet-5", "--data", "faces", "--epochs", "1", "--folds", "4", "--out", "cv")
    output = run_command(*common).output
    assert "Fold 4 of 4" in output
    tested = []
    for fold in range(1, 5):
        about = read_run(Path("cv", f"fold-{fold}"))[1]
        data = load(about.source, about.shape, about.loading)
        assert data.fingerprint == about.fingerprint
        tested += data.test.indices.tolist()
    assert sorted(tested) == list(range(40))
    record = json.loads(Path("cv/folds.json").read_text())
    figures = [fold["top_1"] for fold in record["folds"]]
    mean = record["mean"]["top_1"]
    assert mean["mean"] == pytest.approx(np.mean(figures))
    interval = stats.t.interval(0.95, 3, np.mean(figures), stats.sem(figures))
    assert (mean["low"], mean["high"]) == pytest.approx(interval)
    again = run_command(*common, "--resume").output
    assert again.count("is complete already") == 4
    assert "1 group\n" in run_command("runs", "cv", "--group").output
    assert "exists already" in run_command(*common, code=2).output


def test_a_pattern_that_divides_nothing_is_told() -> None:
    people("faces", images=2)
    for pattern, message in (
        ("horse", "is found in no name"),
        ("[", "is no regular expression"),
        ("p", "into one group"),
    ):
        assert message in run_command("train", "lenet-5", "--data", "faces", "--group", pattern, code=2).output
