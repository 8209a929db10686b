"""Every kind of task trains: its loss falls, it beats a constant answer, and the run folder answers for an image."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from cnnatomy import Chain, Network
from cnnatomy.data import Data, load
from cnnatomy.design import Heads, PixelHead
from cnnatomy.design.blocks import Block
from cnnatomy.design.graph import FeatureMap
from cnnatomy.design.heads import CodeHead, KeypointHead, LinearHead, MapHead
from cnnatomy.errors import UserError
from cnnatomy.layers import BatchNorm, Conv, Flatten, FullyConnected, GlobalAvgPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.readers.yaml import listed
from cnnatomy.tasks import losses
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.task import outputs_of
from cnnatomy.training import Recipe, Trained, fit

RECIPE = Recipe(optimizer="adam", learning_rate=0.003, epochs=8, batch_size=32, patience=0)
LONGER = dataclasses.replace(RECIPE, epochs=12, learning_rate=0.01, schedule="cosine")
ROUND = {"round": ("0", "3", "6", "8", "9"), "straight": ("1", "2", "4", "5", "7")}
CODES = tuple(tuple(1.0 if (7 * number + 3) >> bit & 1 else -1.0 for bit in range(7)) for number in range(20))
"""Of 7 bits, each another."""

Scenes = Callable[[str], Data]


def small(head: Any, channels: int = 1, size: int = 32) -> Network:
    """Three convolutions, of stride 4 together."""
    return Network(
        tail=Chain(conv=Conv(16, 3, padding=1), norm=BatchNorm(), relu=ReLU()),
        body=Chain(
            *(conv := Conv(32, 3, stride=2, padding=1), BatchNorm(), ReLU()),
            *(conv.replace(channels=64), BatchNorm(), ReLU()),
        ),
        head=head,
        input=(channels, size, size),
        name="small",
    )


HEADS: dict[str, Any] = {
    "labels": LinearHead(10),
    "numbers": LinearHead(2),
    "mask": MapHead(11, 4),
    "depth": MapHead(1, 4),
    "motion": MapHead(2, 4),
    "keypoints": KeypointHead(4, 1, 32),
    "localised": PixelHead(10, localise=True),
    "heads": Heads(labels=LinearHead(10), numbers=LinearHead(2), mask=MapHead(11, 4)),
}
"""One that fits, for each kind of scenes."""


def network_for(kind: str) -> Network:
    return small(HEADS[kind], 2 if kind == "motion" else 1)


def targets_of(split: Any) -> Any:
    return split.targets[split.indices]


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 16, 16))


def with_task(data: Data, task: Any, targets: Any = None) -> Data:
    """The same images, to learn something else of them."""
    splits = {
        name: dataclasses.replace(split, targets=split.targets if targets is None else targets)
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
    }
    return dataclasses.replace(data, task=task, **splits)


def falls(trained: Trained) -> None:
    assert trained.outcome is not None
    first, *_, last = trained.outcome.epochs
    assert last.train_loss < 0.8 * first.train_loss
    assert trained.outcome.best.val_loss <= first.val_loss


def figures_of(trained: Trained) -> dict[str, float]:
    assert trained.outcome is not None
    return {name: value for name, value in trained.outcome.test.figures.items() if value is not None}


@pytest.mark.slow
def test_several_labels_are_learned(scenes: Scenes) -> None:
    data = scenes("labels")
    trained = fit(network_for("labels"), data, LONGER)
    assert trained.outcome is not None
    shares = targets_of(data.train).float().mean(0)
    wanted = targets_of(data.test).float()
    constant = F.binary_cross_entropy(shares.expand_as(wanted), wanted)
    assert trained.outcome.test.loss < constant
    assert figures_of(trained)["roc_auc"] > 0.55


@pytest.mark.slow
def test_numbers_are_learned(scenes: Scenes) -> None:
    trained = fit(network_for("numbers"), scenes("numbers"), RECIPE)
    falls(trained)
    assert figures_of(trained)["r_squared"] > 0.2


@pytest.mark.slow
def test_segmentation_is_learned(scenes: Scenes) -> None:
    data = scenes("mask")
    brief, longer = (
        fit(network_for("mask"), data, dataclasses.replace(RECIPE, epochs=epochs, schedule="constant"))
        for epochs in (1, 8)
    )
    falls(longer)
    assert figures_of(longer)["mean_iou"] > figures_of(brief)["mean_iou"]
    background = float((targets_of(data.test) == 0).float().mean())
    assert figures_of(longer)["mean_iou"] > background / 11
    assert figures_of(longer)["pixel_accuracy"] > background


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["depth", "motion"])
def test_maps_of_numbers_are_learned(kind: str, scenes: Scenes) -> None:
    """Better than the mean of each number, whose error is their standard deviation."""
    data = scenes(kind)
    trained = fit(network_for(kind), data, dataclasses.replace(LONGER, epochs=8, loss="l2"))
    falls(trained)
    means = targets_of(data.train).mean((0, 2, 3), keepdim=True)
    constant = (targets_of(data.test) - means).square().mean((0, 2, 3)).sqrt()
    assert trained.outcome is not None
    for row, error in zip(trained.outcome.test.rows, constant.tolist(), strict=True):
        assert row["root_mean_square_error"] < 0.97 * error


@pytest.mark.slow
def test_keypoints_are_learned(scenes: Scenes) -> None:
    data = scenes("keypoints")
    trained = fit(network_for("keypoints"), data, RECIPE)
    falls(trained)
    train, test = targets_of(data.train)[..., :2], targets_of(data.test)[..., :2]
    constant = (test - train.mean(0)).square().sum(2).sqrt().mean()
    assert figures_of(trained)["mean_distance"] < 0.8 * float(constant)


@pytest.mark.slow
def test_a_label_with_its_pixels_is_learned(scenes: Scenes) -> None:
    trained = fit(network_for("localised"), scenes("localised"), LONGER)
    falls(trained)
    figures = figures_of(trained)
    assert figures["top_1"] > 0.2
    assert figures["pixel_accuracy"] > 0.2


@pytest.mark.slow
def test_one_encoder_serves_every_head(scenes: Scenes) -> None:
    data = scenes("heads")
    trained = fit(network_for("heads"), data, dataclasses.replace(RECIPE, epochs=5))
    falls(trained)
    figures = figures_of(trained)
    assert figures["numbers_r_squared"] > 0
    assert figures["mask_mean_iou"] > 1 / 11
    calls: list[int] = []
    trained.network.body.register_forward_hook(lambda *_: calls.append(1))
    said = trained.answers(data.test.store.images[:3])
    assert calls == [1]
    assert [set(answer.record["heads"]) for answer in said] == [{"labels", "numbers", "mask"}] * 3


@pytest.mark.slow
def test_heads_trained_together_are_measured_as_alone(scenes: Scenes) -> None:
    """The loss is the weighted sum; the figures are those of each task."""
    data = scenes("heads")
    recipe = dataclasses.replace(RECIPE, epochs=1, loss_weights={"mask": 0.5, "labels": 2.0})
    trained = fit(network_for("heads"), data, recipe)
    assert trained.outcome is not None
    images = torch.stack([data.test.store.images[i] for i in data.test.indices])
    with torch.inference_mode():
        outputs, _ = trained.model.heads(trained.model(images))
    loss, weights = 0.0, {"labels": 2.0, "numbers": 1.0, "mask": 0.5}
    for name, task in data.task.tasks.items():
        target = data.test.targets[name][data.test.indices]
        loss += weights[name] * float(task.loss(outputs[name], target, task.criterion("", Options())))
        meter = task.meter()
        meter.update(outputs[name], target)
        for figure, number in meter.result(len(images), 0, 0).figures.items():
            assert trained.outcome.test.figures[f"{name}_{figure}"] == pytest.approx(number)
    assert trained.outcome.test.loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_a_head_of_weight_0_stays_as_it_was(scenes: Scenes) -> None:
    """In spite of weight decay: two runs from one seed end with the same head."""
    recipe = dataclasses.replace(RECIPE, weight_decay=0.1, loss_weights={"labels": 0.0}, schedule="constant")
    one, other = (
        dict(
            fit(network_for("heads"), scenes("heads"), dataclasses.replace(recipe, epochs=n)).network.named_parameters()
        )
        for n in (1, 2)
    )
    for name, parameter in one.items():
        assert torch.equal(parameter, other[name]) == name.startswith("head.labels"), name


def test_loss_weights_that_make_no_sense_are_refused(scenes: Scenes, digits: Data) -> None:
    for weights, message in (
        ({"depth": 1.0}, "there is no head depth: one of labels, numbers, mask"),
        (dict.fromkeys(("labels", "numbers", "mask"), 0.0), "nothing to train"),
    ):
        with pytest.raises(UserError, match=message):
            fit(network_for("heads"), scenes("heads"), dataclasses.replace(RECIPE, loss_weights=weights))
    with pytest.raises(UserError, match="loss_weights are of several heads"):
        fit(small(LinearHead(10), size=16), digits, dataclasses.replace(RECIPE, loss_weights={"head": 1.0}))


def test_each_head_may_have_another_loss_of_its_task(scenes: Scenes, digits: Data) -> None:
    task, options = scenes("heads").task, Options(losses={"labels": "focal"}, focal_gamma=3.0)
    made = task.criterion("", options)
    logits, wanted = torch.randn(4, 10), torch.ones(4, 10)
    for name, loss in (("labels", losses.focal(options)), ("numbers", losses.make("l2", options))):
        torch.testing.assert_close(made[name][1](logits, wanted), loss(logits, wanted))
    for chosen, message in (
        ({"labels": "l2"}, "head labels: the loss l2 does not fit labels: one of binary-cross-entropy, focal"),
        ({"depth": "l2"}, "losses: there is no head depth: one of labels, numbers, mask"),
    ):
        with pytest.raises(UserError, match=message):
            task.criterion("", Options(losses=chosen))
    with pytest.raises(
        UserError, match=r"focal cannot be that of all. Choose by head: --set 'losses=\{labels: focal\}'"
    ):
        task.criterion("focal", Options())
    with pytest.raises(UserError, match="losses are of several heads"):
        digits.task.criterion("", Options(losses={"head": "focal"}))


@pytest.mark.slow
def test_a_loss_of_ones_own_gets_every_head(scenes: Scenes) -> None:
    def only_numbers(outputs: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        return F.l1_loss(outputs["numbers"], target["numbers"])

    trained = fit(network_for("heads"), scenes("heads"), dataclasses.replace(RECIPE, epochs=4), loss=only_numbers)
    falls(trained)


@pytest.mark.slow
def test_auxiliary_heads_learn_the_same_task(scenes: Scenes) -> None:
    heads = Heads(main=MapHead(11, 4), side=MapHead(11, 4), auxiliary=("side",))
    falls(fit(small(heads), scenes("mask"), dataclasses.replace(RECIPE, epochs=3)))
    for side, needs in ((MapHead(3, 4), "3x32x32"), (LinearHead(11), "11")):
        with pytest.raises(UserError, match=f"auxiliary head side gives {needs}.*11 channels"):
            fit(small(Heads(main=MapHead(11, 4), side=side, auxiliary=("side",))), scenes("mask"), RECIPE)


@pytest.mark.slow
def test_a_label_is_learned_with_its_group(digits: Data) -> None:
    data = with_task(digits, Label(digits.classes, ROUND, group_weight=0.5))
    trained = fit(small(LinearHead(10), size=16), data, dataclasses.replace(RECIPE, epochs=3))
    figures = figures_of(trained)
    assert figures["group_accuracy"] >= figures["top_1"] > 0.5


def test_the_loss_of_groups_is_that_of_the_sums_of_their_probabilities() -> None:
    names = tuple("0123456789")
    task = Label(names, ROUND, group_weight=0.5)
    logits, labels = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    member = torch.tensor([[name in group for group in ROUND.values()] for name in names])
    of_group = (logits.softmax(1) @ member.float()).log()
    wanted = F.cross_entropy(logits, labels) + 0.5 * F.nll_loss(of_group, member.int().argmax(1)[labels])
    torch.testing.assert_close(task.loss(logits, labels, task.criterion("", Options())), wanted)


def test_groups_hold_every_class_once() -> None:
    for groups, message in (
        ({"a": ("x",)}, "every class is in one group; these are not: y"),
        ({"a": ("x", "y"), "b": ("y",)}, "every class is in one group; these are not: y"),
        ({"a": ("x", "y", "z")}, "there is no class z"),
    ):
        with pytest.raises(UserError, match=message):
            Label(("x", "y"), groups)


@pytest.mark.slow
@pytest.mark.parametrize(("owners", "loss"), [((), "distance"), ((), ""), (tuple(range(10)) * 2, "distance")])
def test_codes_are_learned(owners: tuple[int, ...], loss: str, digits: Data) -> None:
    head = CodeHead(CODES if owners else CODES[:10], owners)
    trained = fit(small(head, size=16), digits, dataclasses.replace(RECIPE, epochs=3, loss=loss))
    falls(trained)
    assert figures_of(trained)["top_1"] > 0.6


@pytest.mark.slow
def test_two_classes_are_learned(digits: Data) -> None:
    data = with_task(digits, Label(("even", "odd")), digits.train.targets % 2)
    trained = fit(small(LinearHead(2), size=16), data, dataclasses.replace(RECIPE, epochs=3))
    assert figures_of(trained)["top_1"] > 0.8
    assert figures_of(trained)["top_5"] == 1


@pytest.mark.slow
def test_expected_reward_is_learned(digits: Data) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=6, loss="expected-reward")
    trained = fit(small(LinearHead(10), size=16), digits, recipe)
    assert figures_of(trained)["top_1"] > 0.5
    assert trained.outcome is not None
    assert -1 < trained.outcome.best.val_loss < -0.4


@pytest.mark.parametrize(
    ("kind", "head", "given", "needs"),
    [
        ("labels", LinearHead(9), "9", "several labels need 10"),
        ("numbers", LinearHead(3), "3", "regression needs 2"),
        ("mask", MapHead(10, 4), "10x32x32", "segmentation needs a map of 11 channels"),
        ("mask", LinearHead(11), "11", "segmentation needs a map of 11 channels"),
        ("depth", MapHead(2, 4), "2x32x32", "a regression map needs a map of 1 channels"),
        ("motion", MapHead(1, 4), "1x32x32", "a regression map needs a map of 2 channels"),
        ("keypoints", KeypointHead(17, 1, 8), "17x16x16", "a map of 4 channels"),
        ("localised", LinearHead(10), "10", "localised labels need scores of 10 classes and their map"),
        ("localised", Heads(a=LinearHead(10), b=LinearHead(10)), "10", "localised labels need"),
        ("heads", Heads(labels=LinearHead(10), numbers=LinearHead(2)), "", r"gives labels \(10\), numbers \(2\)\. In"),
        (
            "heads",
            Heads(labels=LinearHead(10), numbers=LinearHead(5), mask=MapHead(11, 4)),
            "5",
            "regression needs 2",
        ),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_its_shape(
    kind: str, head: Any, given: str, needs: str, scenes: Scenes, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=needs) as refused:
        fit(small(head, 2 if kind == "motion" else 1), scenes(kind), RECIPE, tmp_path / "run")
    assert not given or f"gives {given}," in str(refused.value)
    assert f"scenes:{kind}" in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["heads", "localised", "objects", "mask", "numbers"])
def test_the_head_that_a_message_advises_fits(kind: str, scenes: Scenes) -> None:
    """It can be pasted into a YAML design."""
    task = scenes(kind).task
    design = {"tail": [], "body": [{"Conv": {"channels": 8, "kernel": 3, "stride": 4, "padding": 1}}]}
    design |= {"input": [1, 32, 32], "head": yaml.safe_load(task.head())}
    network = listed.read(yaml.safe_dump(design))
    task.check(outputs_of(network, network.graph()), "data")


@pytest.mark.parametrize(
    ("kind", "given", "remedy"),
    [
        ("objects", "output 1 (10)", "In YAML, for 9 anchors: head: {Heads: {classes: {MapHead: {channels: 90,"),
        ("heads", "output 1 (10)", "In YAML: head: {Heads: {labels: {LinearHead: {classes: 10}}, numbers: "),
        ("localised", "gives 10,", "in YAML: head: {PixelHead: {classes: 10, localise: true}}"),
    ],
)
def test_heads_are_refused_with_their_shapes_and_what_to_write(
    kind: str, given: str, remedy: str, scenes: Scenes
) -> None:
    with pytest.raises(UserError) as refused:
        fit(small(LinearHead(10)), scenes(kind), RECIPE)
    assert given in str(refused.value)
    assert remedy in str(refused.value)


def strict(path: Path) -> Any:
    """JSON as the standard has it: NaN is none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} has {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind != "motion"])
def test_a_run_folder_answers_for_an_image(kind: str, scenes: Scenes, tmp_path: Path) -> None:
    data = scenes(kind)
    trained = fit(network_for(kind), data, dataclasses.replace(RECIPE, epochs=1), tmp_path / "run")
    image = data.test.store.images[data.test.indices[0]]
    Image.fromarray(image[0].numpy()).save(tmp_path / "image.png")
    read = Trained.load(tmp_path / "run")
    assert read.run.task == trained.run.task
    (said,) = read.predict([tmp_path / "image.png"])
    assert said.answer is not None
    assert said.answer.text
    assert said.answer == trained.answers(image[None])[0]
    json.dumps(said.answer.record, allow_nan=False)
    test = strict(tmp_path / "run" / "summary.json")["test"]
    assert test["images"] == 100
    strict(tmp_path / "run" / "run.json")


def test_motion_is_of_two_images_and_no_file_has_them(scenes: Scenes, tmp_path: Path) -> None:
    trained = fit(network_for("motion"), scenes("motion"), dataclasses.replace(RECIPE, epochs=1))
    (answer,) = trained.answers(scenes("motion").test.store.images[:1])
    json.dumps(answer.record, allow_nan=False)
    Image.new("L", (32, 32)).save(tmp_path / "image.png")
    with pytest.raises(UserError, match="the network takes 2 channels"):
        list(trained.predict([tmp_path / "image.png"]))


@value
class Squeeze(Block):
    """A block of one's own, which no file can name."""

    channels: int

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return ReLU()(Conv(self.channels, 1)(x))


@pytest.mark.parametrize("kind", ["localised", "heads"])
def test_several_heads_on_a_block_of_ones_own_are_trained_without_a_folder(
    kind: str, scenes: Scenes, tmp_path: Path
) -> None:
    network = network_for(kind)
    network = network.replace(body=Chain(network.body, Squeeze(16)))
    recipe = dataclasses.replace(RECIPE, epochs=1)
    fit(network, scenes(kind), recipe)
    with pytest.raises(UserError, match=r"no layer or block called 'Squeeze'.*Train it without a folder"):
        fit(network, scenes(kind), recipe, tmp_path / "run")


@pytest.mark.slow
def test_batches_in_parts_train_several_heads_alike(scenes: Scenes) -> None:
    """Without batch norm, which sees other images then."""
    heads = Heads(labels=LinearHead(10), numbers=LinearHead(2), mask=MapHead(11, 4))
    network = Network(
        tail=Conv(8, 3, 2, 1), body=Chain(ReLU(), Conv(16, 3, 2, 1), ReLU()), head=heads, input=(1, 32, 32)
    )
    recipe = dataclasses.replace(RECIPE, epochs=1, optimizer="sgd", learning_rate=0.01)
    whole, parted = (
        fit(network, scenes("heads"), dataclasses.replace(recipe, accumulate=parts)).network.state_dict()
        for parts in (1, 3)
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(parted[name], tensor, atol=1e-5, rtol=1e-4)


def test_scores_may_have_rows_and_columns(digits: Data) -> None:
    head = Chain(conv=Conv(10, 1), pool=GlobalAvgPool())
    trained = fit(small(head, size=16), digits, dataclasses.replace(RECIPE, epochs=1))
    assert isinstance(trained.network, nn.Module)
    assert len(trained.probabilities(digits.test.store.images[:2])[0]) == 10


def test_a_head_of_a_vector_is_as_good(digits: Data) -> None:
    trained = fit(small(Chain(Flatten(), FullyConnected(10)), size=16), digits, dataclasses.replace(RECIPE, epochs=2))
    assert figures_of(trained)["top_1"] > 0.8
