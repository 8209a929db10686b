"""A training that is killed and gone on with ends with the same weights, bit for bit, as one that was not."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

from cnnatomy.data.augmentation.settings import NAMES
from cnnatomy.training import Recipe, schedules
from cnnatomy.training.schema import OPTIMIZERS, SCHEDULES
from kills import Trainings

EVERYTHING = Recipe(
    learning_rate=0.003,
    schedule="one-cycle",
    warmup=0.3,
    epochs=3,
    accumulate=3,
    l1=1e-5,
    label_smoothing=0.1,
    sampler="balanced",
    dropout=0.3,
    stochastic_depth=0.3,
    clip=1.0,
    ema=0.9,
    freeze=("tail",),
    unfreeze=1,
    rates={"tail": 0.5},
    precision="bfloat16",
    memory_format="channels_last",
    flip=0.5,
    crop=1,
    shift=0.1,
    rotation=10,
    scale=0.1,
    brightness=0.2,
    noise=0.02,
    erasing=0.2,
    mixup=0.2,
    cutmix=0.5,
)
AUGMENTED = replace(
    EVERYTHING,
    flip_vertical=0.1,
    turns=0.1,
    resized_crop=0.8,
    shear=5,
    perspective=0.1,
    contrast=0.2,
    colour=0.2,
    hue=0.1,
    trivial=True,
    rand=1,
)
"""With all that can happen to an image."""
STEPS = 60
"""Of such a training: 1,259 images in batches of 64, three times."""
TIMES = ("images_per_second", "seconds", "waiting")
KILLED = -9


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    with Trainings() as running:
        yield running


class Whole:
    """Folders of uninterrupted trainings by their recipes."""

    def __init__(self, trainings: Trainings, root: Path) -> None:
        self.trainings, self.root = trainings, root
        self.folders: dict[str, Path] = {}

    def __call__(self, recipe: Recipe) -> Path:
        if repr(recipe) not in self.folders:
            folder = self.root / str(len(self.folders))
            assert self.trainings.run(folder, recipe) == (0, "")
            self.folders[repr(recipe)] = folder
        return self.folders[repr(recipe)]


@pytest.fixture(scope="module")
def whole(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(trainings, tmp_path_factory.mktemp("whole"))


def test_every_augmentation_is_among_them() -> None:
    assert {name for name in NAMES if not getattr(AUGMENTED, name)} == {"transform"}


def rows(folder: Path) -> list[dict[str, str]]:
    """Every figure of every epoch but the time it took."""
    with (folder / "metrics.csv").open() as file:
        return [{name: figure for name, figure in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit the same weights, and the same figures."""
    assert rows(one) == rows(other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def moments(random: Random) -> list[dict[str, Any]]:
    """One to three ways of being killed: after a step, while a file is written, or by the clock."""
    found: list[dict[str, Any]] = []
    for _ in range(random.randint(1, 3)):
        kind = random.choice(("step", "write", "clock"))
        if kind == "step":
            found.append({"step": random.randint(1, STEPS)})
        elif kind == "write":
            found.append({"write": (random.choice(("fsync", "replace")), random.randint(1, STEPS))})
        else:
            found.append({"seconds": random.uniform(0.05, 1.5)})
        found[-1]["every"] = random.choice((0, 0.005, 0.05, 1e9))
        found[-1]["data"] = random.choice(("memory", "workers"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("moment", [pytest.param(i, marks=[pytest.mark.full] * (i >= 4)) for i in range(20)])
def test_killed_at_any_moment_it_ends_with_the_same_weights(
    trainings: Trainings, whole: Whole, tmp_path: Path, moment: int
) -> None:
    random = Random(moment)
    optimizer = OPTIMIZERS[::-1][moment % len(OPTIMIZERS)]
    schedule = SCHEDULES[moment % len(SCHEDULES)]
    recipe = replace(AUGMENTED, optimizer=optimizer, schedule=schedule, cut_every=1, cut_patience=0)
    folder, begun = tmp_path / "run", False
    for how in moments(random):
        code, said = trainings.run(folder, recipe, resume=begun, **how)
        assert code in (0, KILLED), said
        begun = (folder / "run.json").exists()
    assert trainings.run(folder, recipe, resume=begun) == (0, "")
    assert_same(folder, whole(recipe))
    assert not list(folder.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("torn", ["inside.ckpt", "last.ckpt"])
def test_a_torn_checkpoint_changes_nothing(trainings: Trainings, whole: Whole, tmp_path: Path, torn: str) -> None:
    """A state inside the second epoch, and that of the first: either is enough."""
    recipe = replace(EVERYTHING, optimizer="adam", epochs=2)
    folder = tmp_path / "run"
    assert trainings.run(folder, recipe, every=0, step=30)[0] == KILLED
    assert {"inside.ckpt", "last.ckpt"} <= {path.name for path in folder.iterdir()}
    (folder / torn).write_bytes((folder / torn).read_bytes()[:-500])
    assert trainings.run(folder, recipe, resume=True) == (0, "")
    assert_same(folder, whole(recipe))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["plateau", pytest.param("step", marks=pytest.mark.full)])
def test_more_epochs_equal_a_run_asked_for_them_at_first(
    trainings: Trainings, whole: Whole, tmp_path: Path, schedule: str
) -> None:
    """Killed right after it went on, before its first checkpoint, too."""
    recipe = replace(EVERYTHING, optimizer="sgd", schedule=schedule, cut_every=1, cut_patience=0, epochs=2)
    more, folder = replace(recipe, epochs=4), tmp_path / "run"
    assert trainings.run(folder, recipe) == (0, "")
    assert trainings.run(folder, more, resume=True, step=41)[0] == KILLED
    assert trainings.run(folder, more, resume=True) == (0, "")
    assert_same(folder, whole(more))


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", ["one-cycle", *(pytest.param(name, marks=pytest.mark.full) for name in ("cosine", "polynomial"))]
)
def test_more_epochs_are_another_cycle_wherever_it_was_killed(
    trainings: Trainings, tmp_path: Path, schedule: str
) -> None:
    recipe = replace(EVERYTHING, schedule=schedule, epochs=1, warmup=0.0, unfreeze=0, freeze=())
    more = replace(recipe, epochs=3)
    for name, moments in (("at once", []), ("killed", [("replace", n) for n in range(1, 6)])):
        folder = tmp_path / name
        assert trainings.run(folder, recipe) == (0, "")
        for moment in moments:
            assert trainings.run(folder, more, resume=True, write=moment)[0] == KILLED
        assert trainings.run(folder, more, resume=True) == (0, "")
    assert_same(tmp_path / "at once", tmp_path / "killed")
    rates = [float(row["learning_rate"]) for row in rows(folder)]
    assert rates[:1] == [pytest.approx(schedules.rate(recipe, 19 / 20, 20))]
    assert rates[1:] == [pytest.approx(schedules.rate(more, epochs, 20, begin=1)) for epochs in (39 / 20, 59 / 20)]
    assert rates[1] > rates[0]


@pytest.mark.slow
def test_an_unreadable_image_in_mid_epoch_is_named_and_repaired_changes_nothing(
    trainings: Trainings, tmp_path: Path
) -> None:
    random, images = Random(0), tmp_path / "images"
    for name in "0123456789":
        (images / name).mkdir(parents=True)
        for number in range(40):
            Image.frombytes("L", (8, 8), random.randbytes(64)).save(images / name / f"{number}.png")
    recipe = replace(EVERYTHING, optimizer="muon", batch_size=16, sampler="none")  # so that each epoch reads it
    assert trainings.run(tmp_path / "whole", recipe, str(images)) == (0, "")

    broken = images / "3" / "7.png"
    sound = broken.read_bytes()
    code, said = trainings.run(tmp_path / "run", recipe, str(images), every=0, truncated=(20, str(broken)))
    assert code == 2
    assert "3/7.png could be read at the start, but no more: broken or truncated" in said
    assert "\n" not in said
    assert (tmp_path / "run" / "inside.ckpt").exists()
    broken.write_bytes(sound)
    assert trainings.run(tmp_path / "run", recipe, str(images), resume=True) == (0, "")
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_a_run_that_stopped_early_goes_on_with_more_epochs(trainings: Trainings, tmp_path: Path, schedule: str) -> None:
    """With all its patience, and killed on the way."""
    recipe = Recipe(learning_rate=0.5, epochs=30, patience=1, schedule=schedule, dropout=0.9)
    more = replace(recipe, epochs=40)
    for name in ("at once", "killed"):
        folder = tmp_path / name
        assert trainings.run(folder, recipe) == (0, "")
        stopped = len(rows(folder))
        assert stopped < 30
        if name == "killed":
            assert trainings.run(folder, more, resume=True, step=20 * stopped + 5)[0] == KILLED
        assert trainings.run(folder, more, resume=True) == (0, "")
    assert_same(tmp_path / "at once", tmp_path / "killed")
    assert stopped < len(rows(folder)) < 40
