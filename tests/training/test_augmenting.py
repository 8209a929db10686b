"""Augmentation in training: what a recipe says, what does not fit, one's own transform, and none in evaluation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnatomy import Chain, Network
from cnnatomy.data import Data, Normalisation, load
from cnnatomy.data.augmentation import Wanted, augmented
from cnnatomy.data.augmentation.settings import NAMES
from cnnatomy.design.heads import LinearHead
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, ReLU
from cnnatomy.runs.model import Model
from cnnatomy.tasks.label import Label
from cnnatomy.training import Recipe, Trained, changed, fit, preparing
from cnnatomy.training.augmenting import check, said
from cnnatomy.training.loop import Training
from helpers import run_command
from image_seeds import image_seeds
from imports import REPOSITORY

TASK = Label(tuple("0123456789"))


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def small(head: object = None) -> Network:
    return Network(
        tail=Conv(8, 3, padding=1), body=Chain(relu=ReLU()), head=head or LinearHead(10), input=(1, 8, 8), name="small"
    )


@pytest.mark.parametrize(("written", "meant"), [("true", 0.5), ("false", 0.0), ("0.25", 0.25), ("1", 1.0)])
@pytest.mark.parametrize("name", ["flip", "flip_vertical"])
def test_a_flip_is_true_or_a_share(name: str, written: str, meant: float) -> None:
    value = getattr(changed(Recipe(), [f"{name}={written}"]), name)
    assert value == meant
    assert type(value) is float


def test_a_flip_in_yaml_may_be_true() -> None:
    Path("mine.yaml").write_text("flip: true\nrotation: 10\ntrivial: true\n")
    said = run_command("recipe", "mine.yaml").output
    assert "flip: 0.5" in said
    assert "rotation: 10" in said


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("flip=2", "flip is 2.0, expected a number from 0 to 1"),
        ("rotation=200", "rotation is 200.0, expected a number from 0 to 180"),
        ("crop=-1", "crop is -1, expected a whole number from 0 to 4,096"),
        ("perspective=0.9", "expected a number from 0 to 0.6"),
        ("hue=.7", "hue is 0.7, expected a number from 0 to 0.5"),
        ("trivial=2", "--set trivial: expected true or false, got 2"),
        ("flip=often", "--set flip: expected float or true or false, got 'often'"),
        ("transform=mine", "transform is 'mine', expected one of your own: python:package.module:callable"),
        ("rotate=10", "rotation"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        changed(Recipe(), [setting])
    assert message in str(caught.value)


def test_a_recipe_says_how_it_trains_before_what_happens_to_images() -> None:
    names = list(Recipe().as_dict())
    assert tuple(names[-len(NAMES) :]) == NAMES
    assert names[0] == "optimizer"


@pytest.mark.parametrize(
    ("recipe", "shape", "message"),
    [
        (Recipe(turns=0.5), (3, 32, 48), "turns needs square images, and these have 32 rows and 48 columns"),
        (Recipe(crop=8), (1, 8, 8), "crop=8 can leave nothing of an image of 8 x 8 pixels: set crop to less than 8"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(recipe: Recipe, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check(recipe, TASK, shape)
    assert message in str(caught.value)


def test_what_happens_to_images_is_said_and_what_changes_nothing() -> None:
    assert said(Recipe(), (3, 32, 32)) == []
    (line,) = said(Recipe(flip=True, rotation=10.0, trivial=True), (1, 32, 32))
    assert line == "augmented, each training image in each epoch by itself: flip 0.5, rotation 10.0, trivial"
    assert said(Recipe(mixup=0.2), (3, 32, 32)) == ["mixed, two images of a batch: mixup 0.2"]
    assert len(said(Recipe(colour=0.2), (3, 32, 32))) == 1
    assert said(Recipe(hue=0.2), (1, 32, 32))[1].startswith("hue changes nothing: images of 1 channel have no red")


class Means(nn.Module):
    """As many scores as classes: the mean of the image times the number of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(10.0))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * self.weight


def test_the_loss_of_mixed_images_is_that_of_both_labels_by_their_shares(digits: Data) -> None:
    """By hand: 0.7 times that of the first, and 0.3 times that of the second."""
    recipe = Recipe(label_smoothing=0.1)
    model = Model(Means(), Normalisation((0.0,), (1.0,)))
    training = Training(model, recipe, preparing.objective(TASK, recipe), digits.train.batches(4, 0), None)
    images = torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8)
    one, other = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 2, 1, 0])
    scores = model(images)
    expected = 0.7 * F.cross_entropy(scores, one, label_smoothing=0.1)
    expected = expected + 0.3 * F.cross_entropy(scores, other, label_smoothing=0.1)
    loss, score = training._loss(images, [Wanted(0.7, one), Wanted(0.3, other)])
    assert float(loss) == pytest.approx(float(expected))
    right = [(scores.argmax(1) == labels).sum() for labels in (one, other)]
    assert float(score) == pytest.approx(0.7 * float(right[0]) + 0.3 * float(right[1]))


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_parts_of_a_mixed_batch_add_up_to_the_whole(digits: Data, field: str) -> None:
    recipe = Recipe(epochs=0.2, batch_size=64, accumulate=1, **{field: 1.0})  # type: ignore[arg-type]
    whole = fit(small(), digits, recipe)
    parts = fit(small(), digits, replace(recipe, accumulate=4))
    for name, weights in whole.model.network.state_dict().items():
        assert torch.allclose(weights, parts.model.network.state_dict()[name], atol=1e-5)


def test_an_image_is_changed_alike_whatever_the_batches_are(digits: Data) -> None:
    recipe = Recipe(rotation=20, scale=0.2, noise=0.1, erasing=0.5, trivial=True, rand=2)

    def epoch(size: int) -> dict[bytes, Tensor]:
        batches = digits.train.batches(size, 3)
        batches.order.set_epoch(2)
        return {
            image.numpy().tobytes(): one
            for images, target, seeds in batches.drawn()
            for image, one in zip(images, augmented(images, target, seeds, recipe, TASK)[0], strict=True)
        }

    large, small_ones = epoch(200), epoch(40)
    assert large.keys() == small_ones.keys()
    assert all(torch.equal(large[image], small_ones[image]) for image in large)


def test_an_image_is_changed_otherwise_in_another_epoch_and_the_label_stays() -> None:
    images, labels = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8), torch.arange(50) % 10
    recipe = Recipe(crop=4, rotation=10, brightness=0.3)
    one, kept = augmented(images, labels, image_seeds(50), recipe, TASK)
    other, _ = augmented(images, labels, image_seeds(50, epoch=1), recipe, TASK)
    assert kept is labels
    assert not (one == other).flatten(1).all(1).any()
    assert one.shape == images.shape


def test_only_training_is_augmented(digits: Data) -> None:
    """A network that is not trained, as its rate is next to nothing: validated and tested it is the same each time."""
    recipe = Recipe(learning_rate=1e-30, momentum=0, weight_decay=0, epochs=2, rotation=90, noise=0.5, erasing=1.0)
    fitted, plain = (fit(small(), digits, one) for one in (recipe, replace(recipe, rotation=0, noise=0, erasing=0)))
    assert fitted.outcome is not None
    assert plain.outcome is not None
    first, second = fitted.outcome.epochs
    assert first.val_loss == second.val_loss == plain.outcome.epochs[0].val_loss
    assert fitted.outcome.test.loss == plain.outcome.test.loss
    assert first.train_loss != second.train_loss != plain.outcome.epochs[0].train_loss


def write_transform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> str:
    """The name of a transform with this body, which the command line can import."""
    (tmp_path / "my_transform.py").write_text(f"import torch\n\ndef grey(images):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_transform", raising=False)
    return "python:my_transform:grey"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return images[100]", "IndexError"),
        ("return images[:, :, :4]", "expected images of the same (8, 1, 32, 32)"),
        ("return None", "gives NoneType, expected images of the same (8, 1, 32, 32)"),
        ("return (images * 255).byte()", "gives torch.uint8, expected numbers of 0 to 1"),
    ],
)
def test_a_mistake_in_a_transform_of_ones_own_is_told_before_anything_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, message: str
) -> None:
    name = write_transform(monkeypatch, tmp_path, body)
    said = run_command("train", "lenet-5", "--epochs", "1", "--transform", name, code=2).output
    assert "the transform python:my_transform:grey" in said
    assert message in said
    assert not Path("runs").exists()


def test_a_transform_of_ones_own_is_run_in_training_and_kept_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = write_transform(monkeypatch, tmp_path, "return 1 - images")
    run_command("train", "lenet-5", "--epochs", "1", "--transform", name, "--out", "run")
    assert Trained.load("run", "cpu").run.recipe["transform"] == name
    run_command("train", "lenet-5", "--epochs", "2", "--transform", name, "--out", "run", "--resume")


def test_a_transform_that_a_file_names_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("transform: python:os:abort\n")
    said = run_command("train", "lenet-5", "--recipe", "mine.yaml", code=2).output
    assert "nothing that a file names is run" in said
    assert "--transform python:os:abort" in said


def test_a_transform_gets_images_from_black_to_white(digits: Data) -> None:
    seen: list[Tensor] = []

    def look(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    fit(small(), digits, Recipe(epochs=0.1, rotation=10), transform=look)
    assert {tuple(images.shape[1:]) for images in seen} == {(1, 8, 8)}
    assert all(0 <= float(images.min()) <= float(images.max()) <= 1 for images in seen)
    assert max(float(images.max()) for images in seen) > 0.9


def test_the_example_of_the_documentation_runs() -> None:
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.S) if "transform=" in one]
    exec(block, {})  # our own documentation


def test_the_commands_of_the_documentation_say_what_makes_sense() -> None:
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("cnnatomy train") and "--set" in line]
    assert len(lines) >= 5
    for line in lines:
        changed(Recipe(), re.findall(r"--set (\S+)", line))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "needed"), [("flip=True, turns=0.5, crop=2, erasing=0.5", False), ("hue=0.1", True)]
)
def test_kornia_is_imported_only_where_it_is_needed(recipe: str, needed: bool) -> None:
    program = (
        "import sys, torch; from cnnatomy.data.augmentation import Augmentation, augmented;"
        "from cnnatomy.tasks.label import Label; images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8);"
        f"augmented(images, images, torch.arange(4), Augmentation({recipe}), Label(('a',)));"
        "print('kornia' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, str(needed)), ran.stderr
