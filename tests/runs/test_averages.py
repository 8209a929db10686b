"""Means of probabilities: over several networks, and over copies of each image."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnatomy import Chain, Network
from cnnatomy.data import Loading, load
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, Flatten, FullyConnected, ReLU
from cnnatomy.runs import Trained
from cnnatomy.runs.averages import Ensemble, averaged, mean_of, shifted
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.numbers import Numbers
from cnnatomy.tasks.several import EarlyExits, Localised
from cnnatomy.training import Recipe, fit
from helpers import run_command

pytestmark = pytest.mark.usefixtures("one_thread")


def network(side: int) -> Network:
    return Network(
        tail=Chain(conv=Conv(4, 3, stride=2), relu=ReLU()),
        body=Chain(flatten=Flatten()),
        head=Chain(output=FullyConnected(10)),
        input=(1, side, side),
    )


@pytest.fixture(scope="module")
def members(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> list[Trained]:
    """Three networks on the digits, one of which sees them larger."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = Recipe(learning_rate=0.03, epochs=3)
    return [
        fit(network(side), load("digits", (1, side, side)), dataclasses.replace(recipe, seed=seed), folder / str(seed))
        for seed, side in enumerate((8, 8, 12))
    ]


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)


def test_an_ensemble_is_measured_on_the_mean_of_the_probabilities(members: list[Trained]) -> None:
    together, what = Ensemble(members).evaluate()
    assert what == "test split of digits"
    total, labels = torch.zeros(359, 10), None
    for member in members:
        split, _ = member.test_split()
        total += torch.cat([member.probabilities(batch) for batch, _ in split.batches(100)])
        labels = split.targets[split.indices]
    assert together.ensemble["top_1"] == pytest.approx(float((total.argmax(1) == labels).float().mean()))
    expected = -(total / 3)[torch.arange(359), labels].log().mean()
    assert together.ensemble.loss == pytest.approx(float(expected), rel=1e-5)


def test_members_are_measured_as_they_are_alone(members: list[Trained]) -> None:
    together, _ = Ensemble(members).evaluate()
    for member, measured in zip(members, together.members, strict=True):
        alone, _ = member.evaluate()
        assert measured["top_1"] == alone["top_1"]
        assert measured.loss == pytest.approx(alone.loss, rel=1e-4)
    assert together.mean("top_1") == pytest.approx(sum(one["top_1"] for one in together.members) / 3)


def test_an_ensemble_is_as_good_as_the_mean_of_its_members_or_better(members: list[Trained]) -> None:
    together, _ = Ensemble(members).evaluate()
    assert together.ensemble["top_1"] >= together.mean("top_1")
    assert together.ensemble.loss <= together.mean("loss"), "by Jensen's inequality, always"


def test_only_what_knows_the_same_classes_makes_an_ensemble(members: list[Trained]) -> None:
    first = members[0]
    other = dataclasses.replace(first, run=dataclasses.replace(first.run, task=Label(tuple("9876543210"))))
    with pytest.raises(UserError, match="know different classes, or in another order: 0, 1, 2"):
        Ensemble([first, other])
    numbers = dataclasses.replace(first, run=dataclasses.replace(first.run, task=Numbers(("x",))))
    with pytest.raises(UserError, match="its task is numbers"):
        Ensemble([first, numbers])
    with pytest.raises(UserError, match="two runs or more"):
        Ensemble([first])


def test_the_test_split_of_one_is_not_taken_for_that_of_another(members: list[Trained]) -> None:
    other = dataclasses.replace(members[1], run=dataclasses.replace(members[1].run, loading=Loading(split_seed=5)))
    with pytest.raises(UserError, match="what is test to one may be training to the other"):
        Ensemble([members[0], other]).evaluate()


def test_the_command_prints_members_mean_and_ensemble(members: list[Trained]) -> None:
    table = run_command("ensemble", *(member.path for member in members)).stdout
    assert [line.split("  ")[1] for line in table.splitlines()[2:7]] == [
        *(str(member.path) for member in members),
        "mean of the members",
        "ensemble",
    ]
    record = json.loads(run_command("ensemble", *(member.path for member in members), "--format", "json").stdout)
    assert record["mean"]["top_1"] == pytest.approx(sum(one["top_1"] for one in record["members"]) / 3)
    assert record["ensemble"]["images"] == 359
    assert "two runs or more" in run_command("ensemble", members[0].path, code=2).output


def test_flip_is_the_mean_over_an_image_and_its_mirror(members: list[Trained], images: Tensor) -> None:
    plain = members[0]
    found = averaged(plain, "flip").probabilities(images)
    assert torch.allclose(found, (plain.probabilities(images) + plain.probabilities(images.flip(3))) / 2, atol=1e-6)
    assert torch.allclose(found, averaged(plain, "flip").probabilities(images.flip(3)), atol=1e-6)


def test_shifts_move_an_image_to_the_corners_and_repeat_its_edge() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    middle, *corners = shifted(image)
    assert torch.equal(middle, image)
    assert torch.equal(corners[0][..., 1:, 1:], image[..., :-1, :-1])
    assert torch.equal(corners[3][..., :-1, :-1], image[..., 1:, 1:])
    assert torch.equal(corners[3][..., -1, :-1], image[..., -1, 1:])


def test_the_mean_of_probabilities_from_their_logarithms() -> None:
    shares = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    assert mean_of(list(shares.log())).exp().tolist() == pytest.approx([0.4, 0.6])


def test_evaluate_and_predict_average(members: list[Trained], tmp_path: Path) -> None:
    run, image = members[0].path, tmp_path / "image.png"
    Image.linear_gradient("L").rotate(90).save(image)
    for average in ("flip", "shifts"):
        expected, _ = averaged(members[0], average).evaluate()
        record = json.loads(run_command("evaluate", run, "--average", average, "--format", "json").stdout)
        assert record["top_1"] == expected["top_1"]
        (answer,) = json.loads(run_command("predict", run, image, "--average", average, "--format", "json").stdout)
        (plain,) = json.loads(run_command("predict", run, image, "--format", "json").stdout)
        assert answer["predictions"] != plain["predictions"]
    assert "--average" in run_command("evaluate", run, "--average", "turns", code=2).output


def test_what_gives_more_than_one_answer_is_not_averaged(members: list[Trained]) -> None:
    run = members[0].run
    for task in (EarlyExits(run.classes, macs=(1, 2)), Localised(run.classes)):
        several = dataclasses.replace(members[0], run=dataclasses.replace(run, task=task))
        with pytest.raises(UserError, match=f"its task is {task.kind}"):
            averaged(several, "flip")


def test_what_has_no_classes_is_not_averaged(members: list[Trained]) -> None:
    numbers = dataclasses.replace(members[0], run=dataclasses.replace(members[0].run, task=Numbers(("x",))))
    with pytest.raises(UserError, match="averaged where there is one label an image; its task is numbers"):
        averaged(numbers, "flip")
    with pytest.raises(UserError, match="no average over turns: one of flip, shifts"):
        averaged(members[0], "turns")
