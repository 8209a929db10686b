"""A training that is killed and gone on with ends with the same weights, bit for bit, as one that was not."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cnnatomy.training import Recipe
from cnnatomy.training.recipe import OPTIMIZERS, SCHEDULES
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
    shift=0.1,
    rotation=10,
    scale=0.1,
    flip=0.5,
)
STEPS = 60
"""Of such a training: 1,259 images in batches of 64, three times."""
TIMES = ("images_per_second", "seconds")
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
            assert self.trainings.run(folder, recipe, every=1e9) == (0, "")
            self.folders[repr(recipe)] = folder
        return self.folders[repr(recipe)]


@pytest.fixture(scope="module")
def whole(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(trainings, tmp_path_factory.mktemp("whole"))


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
    recipe = replace(EVERYTHING, optimizer=optimizer, schedule=schedule, cut_every=1, cut_patience=0)
    folder, begun = tmp_path / "run", False
    for how in moments(random):
        code, said = trainings.run(folder, recipe, resume=begun, **how)
        assert code in (0, KILLED), said
        begun = (folder / "run.json").exists()
    assert trainings.run(folder, recipe, resume=begun) == (0, "")
    assert_same(folder, whole(recipe))
    assert not list(folder.glob(".*.part"))
