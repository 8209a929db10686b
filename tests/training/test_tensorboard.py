"""What a run folder keeps of how layers learn, and what TensorBoard shows; neither changes the training."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from cnnatomy import Chain, Network
from cnnatomy.data import Data, load
from cnnatomy.layers import BatchNorm, Conv, Dropout, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.training import Recipe, Trained, fit
from cnnatomy.training import layers as layers_of
from cnnatomy.training.loop import Training
from cnnatomy.training.tensorboard import TensorBoard, activations, grid_image, matrix_image
from cnnatomy.training.watching import Watcher

RECIPE = Recipe(learning_rate=0.05, epochs=3, shift=0.05)
PATHS = ["tail.conv", "body.conv", "head.output"]


class Press(Watcher):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def step(self, training: Training, loss: Tensor) -> None:
        if training.steps == self.steps:
            raise KeyboardInterrupt


def network() -> Network:
    return Network(
        tail=Chain(conv=Conv(8, 3, padding=1), norm=BatchNorm(), relu=ReLU(), pool=MaxPool(2)),
        body=Chain(conv=Conv(8, 3), relu=ReLU()),
        head=Chain(flatten=Flatten(), drop=Dropout(0.2), output=FullyConnected(10)),
        input=(1, 8, 8),
        name="tiny",
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture(scope="module")
def fitted(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fit(network(), digits, RECIPE, tmp_path_factory.mktemp("runs") / "run")


def events(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "layers.csv").open()))


def test_curves_are_those_of_the_run(fitted: Trained) -> None:
    shown = events(fitted.path)
    for tag, name in (
        ("loss/train", "train_loss"),
        ("loss/val", "val_loss"),
        ("accuracy/train", "train_score"),
        ("accuracy/val", "val_score"),
        ("learning_rate", "learning_rate"),
    ):
        points = shown.Scalars(tag)
        assert [point.step for point in points] == [20, 40, 60]
        assert [point.value for point in points] == pytest.approx([vars(row)[name] for row in fitted.outcome.epochs])
    assert [point.step for point in shown.Scalars("loss/batch")] == [50]


def test_every_layer_with_weights_has_its_gradient_and_its_change(fitted: Trained) -> None:
    kept, shown = rows(fitted.path), events(fitted.path)
    assert [(int(row["epoch"]), row["path"]) for row in kept] == [(e, path) for e in (1, 2, 3) for path in PATHS]
    for number, path in enumerate(PATHS):
        of_layer = kept[number :: len(PATHS)]
        for kind, column in (("gradient_norm", "gradient_norm"), ("relative_change", "relative_change")):
            points = shown.Scalars(f"{kind}/{path}")
            assert [point.value for point in points] == pytest.approx([float(row[column]) for row in of_layer])
            assert all(0 < point.value < 100 for point in points)


def test_the_relative_change_of_plain_sgd_is_rate_times_gradient_over_weight(digits: Data) -> None:
    """Without momentum and decay a step adds - rate * gradient."""

    class Check(Watcher):
        checked = 0

        def before_step(self, training: Training) -> None:
            self.sizes = {
                path: float(weight.detach().norm())
                for path, weight in layers_of.weights(training.model.network).items()
            }

        def epoch(self, training: Training, row: object) -> None:
            for row in layers.rows[-len(PATHS) :]:
                expected = training.rate * row.gradient_norm / self.sizes[row.path]
                assert row.relative_change == pytest.approx(expected, rel=1e-3)
                self.checked += 1

    layers, check = layers_of.Layers(), Check()
    recipe = Recipe(learning_rate=0.05, momentum=0, weight_decay=0, epochs=2)
    fit(network(), digits, recipe, watch=[layers, check])
    assert check.checked == 2 * len(PATHS)


def test_a_large_layer_is_compared_at_numbers_spread_through_all_its_axes() -> None:
    weight = torch.arange(96 * 256 * 9).view(96, 256, 3, 3)
    taken = layers_of.some(weight)
    assert layers_of.MAX_COMPARED / 2 < len(taken) <= layers_of.MAX_COMPARED
    for size, stride in zip(weight.shape, weight.stride(), strict=True):
        counts = torch.bincount(taken // stride % size, minlength=size)
        assert counts.min() > 0.9 * counts.max()


def test_looking_on_changes_no_weight(fitted: Trained, digits: Data) -> None:
    alone = fit(network(), digits, RECIPE)
    assert all(
        torch.equal(one, other)
        for one, other in zip(alone.model.state_dict().values(), fitted.model.state_dict().values(), strict=True)
    )


@pytest.mark.slow
def test_a_run_that_goes_on_has_every_point_once(fitted: Trained, digits: Data, tmp_path: Path) -> None:
    for steps, resume in ((27, False), (55, True)):
        with pytest.raises(KeyboardInterrupt):
            fit(network(), digits, RECIPE, tmp_path / "run", resume=resume, watch=[Press(steps)], checkpoint_every=1e9)
        time.sleep(1.1)  # event files are read in the order of their names, which tell the second
    fit(network(), digits, RECIPE, tmp_path / "run", resume=True)
    assert rows(tmp_path / "run") == rows(fitted.path)
    once, whole = events(tmp_path / "run"), events(fitted.path)
    for tag in whole.Tags()["scalars"]:
        points = [[(point.step, point.value) for point in shown.Scalars(tag)] for shown in (once, whole)]
        assert points[0] == points[1], tag


def test_a_layers_csv_that_is_another_file_is_replaced(digits: Data, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(network(), digits, RECIPE, tmp_path / "run", watch=[Press(27)])
    (tmp_path / "run" / "layers.csv").write_text("notes\nmine\n")
    fit(network(), digits, RECIPE, tmp_path / "run", resume=True)
    assert [int(row["epoch"]) for row in rows(tmp_path / "run")] == [2, 2, 2, 3, 3, 3]


def test_activations_confusions_and_wrong_images_are_shown(digits: Data, tmp_path: Path) -> None:
    fit(network(), digits, RECIPE, watch=[TensorBoard(tmp_path / "tensorboard", share=1e9)])
    shown = events(tmp_path)
    assert shown.Tags()["histograms"] == [f"activations/{path}" for path in PATHS]
    for tag in ("validation/confusion_matrix", "validation/most_wrong"):
        assert [image.step for image in shown.Images(tag)] == [20, 40, 60]
        Image.open(io.BytesIO(shown.Images(tag)[-1].encoded_image_string)).verify()
    (text,) = shown.Tensors("validation/most_wrong/text_summary")[0].tensor_proto.string_val
    assert text.decode().startswith("1. ")
    assert "taken for" in text.decode()


def test_they_are_made_of_the_first_epoch_and_the_last_and_between_as_time_allows(fitted: Trained) -> None:
    steps = [image.step for image in events(fitted.path).Images("validation/confusion_matrix")]
    assert (steps[0], steps[-1]) == (20, 60)


def test_looking_at_activations_leaves_no_hook_and_no_other_mode(fitted: Trained) -> None:
    model = fitted.model
    model.train()
    model.network.get_submodule("tail").eval()
    modes = [module.training for module in model.modules()]
    found = activations(model, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert list(found) == PATHS
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()


def test_of_many_layers_eight_are_looked_at_the_first_and_the_last_among_them() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images)

    found = list(activations(Normalised(), torch.zeros(2, 4)))
    assert len(found) == 8
    assert (found[0], found[-1]) == ("0", "19")


def test_a_confusion_matrix_is_green_where_right_and_red_where_wrong() -> None:
    image = matrix_image(np.array([[5, 0], [2, 2]]))
    assert image.shape == (256, 256, 3)
    (right, none), (wrong, _) = image[64, [64, 192]].tolist(), image[192, [64, 192]].tolist()
    assert right == [0, 110, 60]
    assert none == [255, 255, 255]
    assert wrong[0] > max(wrong[1:])


def test_wrong_images_are_side_by_side_in_rows_of_four() -> None:
    images = [np.full((1, 8, 8), 40 * number, np.uint8) for number in range(5)]
    grid = grid_image(images)
    side = 96 + 4
    assert grid.shape == (2 * side, 4 * side, 3)
    assert grid[side // 2, [side // 2 + side * i for i in range(4)], 0].tolist() == [0, 40, 80, 120]
    assert grid[side + side // 2, side // 2, 0] == 160
