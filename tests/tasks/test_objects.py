from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnatomy as cn
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TRAIN
from cnnatomy.data.sources.scenes import draw
from cnnatomy.design.heads import detection_heads
from cnnatomy.errors import UserError
from cnnatomy.layers import BatchNorm, Conv, ReLU
from cnnatomy.tasks import boxes
from cnnatomy.tasks.maps import Keypoints
from cnnatomy.tasks.objects import Objects, begin_rare, focal
from cnnatomy.tasks.several import SeveralHeads
from cnnatomy.tasks.task import Output
from peers import torchvision

TASK = Objects(("cat", "dog"), size=(32, 48), scales=(1.0, 2.0), ratios=(1.0,))
GRID = (4, 6)
TARGET = torch.tensor([[[0.0, 0, 8, 8, 1], [20, 8, 40, 24, 0]], [[-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1]]])


def empty(images: int = 2) -> dict[str, Tensor]:
    """What a network gives that says nothing: every probability is near 0."""
    maps = {"classes": 4, "boxes": 8, "objectness": 2}
    return {name: torch.zeros(images, size, *GRID) - (9 if name != "boxes" else 0) for name, size in maps.items()}


def heads(**shapes: tuple[int, ...]) -> list[Any]:
    return [SimpleNamespace(name=name, shape=shape) for name, shape in shapes.items()]


def saying_the_truth() -> dict[str, Tensor]:
    """The maps of a network that predicts TARGET exactly, each object by its best anchor."""
    outputs = empty()
    anchors = TASK.grid(outputs)
    for box in TARGET[0]:
        place = int(boxes.iou(anchors, box[None, :4])[:, 0].argmax())
        (row, column), anchor = divmod(place // 2, GRID[1]), place % 2
        outputs["classes"][0, anchor * 2 + int(box[4]), row, column] = 9
        outputs["objectness"][0, anchor, row, column] = 9
        outputs["boxes"][0, anchor * 4 : anchor * 4 + 4, row, column] = boxes.encode(box[:4], anchors[place])
    return outputs


def test_what_is_predicted_exactly_is_detected_exactly() -> None:
    said, nothing = TASK.answers(saying_the_truth())
    assert [(one["class"], [round(value, 3) for value in one["box"]]) for one in said.record["objects"]] == [
        ("dog", [0, 0, 8, 8]),
        ("cat", [20, 8, 40, 24]),
    ]
    assert all(one["score"] > 0.99 for one in said.record["objects"])
    assert nothing.record == {"objects": []}


def test_boxes_are_told_where_they_are_in_the_photograph() -> None:
    """Of 200 x 100 pixels (width x height) the middle 150 columns are scaled by 0.32 to 48 x 32."""
    answer, nothing = TASK.answers(saying_the_truth())
    told = TASK.in_image(answer, Frame((1, 32, 48)).placement((100, 200)).to_image)
    assert told.record["objects"][1]["box"] == pytest.approx([87.5, 25, 150, 75], abs=1e-3)
    assert "cat 100.0% at 87, 25, 150, 75" in told.text or "cat 100.0% at 88, 25, 150, 75" in told.text
    assert TASK.in_image(nothing, Frame((1, 32, 48)).placement((100, 200)).to_image) == nothing


def test_keypoints_are_told_where_they_are_in_the_photograph_by_each_head() -> None:
    task = SeveralHeads(("tips",), {"tips": Keypoints(("nose",), size=(32, 48))})
    (answer,) = task.answers({"tips": torch.zeros(1, 1, 4, 6)})
    assert answer.record["heads"]["tips"]["keypoints"]["nose"] == pytest.approx([24, 16])
    told = task.in_image(answer, Frame((1, 32, 48)).placement((100, 200)).to_image)
    assert told.record["heads"]["tips"]["keypoints"]["nose"] == pytest.approx([100, 50])
    assert told.text == "tips: nose (100.0, 50.0)"


def test_the_score_of_an_epoch_is_the_f1_of_each_image() -> None:
    assert TASK.score(saying_the_truth(), TARGET) == 2
    assert TASK.score(empty(), TARGET) == 1  # nothing said of the first, nothing in the second
    one_of_two = saying_the_truth()
    one_of_two["objectness"][0, 0] = -9
    assert TASK.score(one_of_two, TARGET) == pytest.approx(1 + 2 / 3)


def test_the_average_precision_of_the_truth_is_1() -> None:
    meter = TASK.meter()
    meter.update({name: output[:1] for name, output in saying_the_truth().items()}, TARGET[:1])
    meter.update({name: output[1:] for name, output in saying_the_truth().items()}, TARGET[1:])
    assert meter.result(1, 0.0, 0.0)["average_precision"] == pytest.approx(1)


def test_objectness_may_be_left_out() -> None:
    outputs = saying_the_truth()
    del outputs["objectness"]
    assert TASK.score(outputs, TARGET) == 2
    assert TASK.loss(outputs, TARGET).isfinite()


def test_the_truth_has_less_loss_than_nothing() -> None:
    assert TASK.loss(saying_the_truth(), TARGET) < TASK.loss(empty(), TARGET) / 2


def test_the_loss_of_a_batch_is_the_mean_over_its_images() -> None:
    torch.manual_seed(0)
    outputs = {name: torch.randn_like(output) for name, output in empty().items()}
    parts = [
        TASK.loss({name: output[image : image + 1] for name, output in outputs.items()}, TARGET[image : image + 1])
        for image in range(2)
    ]
    assert TASK.loss(outputs, TARGET) == pytest.approx(float(sum(parts)) / 2)


def test_the_loss_is_that_of_a_loop_over_the_anchors() -> None:
    torch.manual_seed(0)
    outputs = {name: torch.randn_like(output) for name, output in empty().items()}
    anchors, objects = TASK.grid(outputs), TARGET[0]
    overlaps = boxes.iou(anchors, objects[:, :4])
    best = {int(overlaps[:, number].argmax()): number for number in range(2)}
    total, positives = 0.0, 0
    for place in range(len(anchors)):
        (row, column), anchor = divmod(place // 2, GRID[1]), place % 2
        most, number = overlaps[place].max(0)
        number = best.get(place, int(number) if most >= 0.5 else -1)
        if number < 0 and most >= 0.4:
            continue
        logits = outputs["classes"][0, anchor * 2 : anchor * 2 + 2, row, column]
        truth = torch.tensor([float(number >= 0 and objects[number, 4] == label) for label in range(2)])
        total += float(focal(logits, truth).sum())
        total += float(focal(outputs["objectness"][0, anchor, row, column], torch.tensor(float(number >= 0))))
        if number >= 0:
            positives += 1
            wanted = boxes.encode(objects[number, :4], anchors[place])
            off = (outputs["boxes"][0, anchor * 4 : anchor * 4 + 4, row, column] - wanted).abs()
            total += float(torch.where(off < 1 / 9, off**2 * 4.5, off - 1 / 18).sum())
    first = {name: output[:1] for name, output in outputs.items()}
    assert positives >= 2
    assert TASK.loss(first, TARGET[:1]) == pytest.approx(total / positives, rel=1e-4)


def test_a_crowd_is_not_learned() -> None:
    crowd = TARGET.clone()
    crowd[0, 1, 4] = -2
    without = TARGET.clone()
    without[0, 1] = -1
    torch.manual_seed(0)
    outputs = {name: torch.randn_like(output) for name, output in empty().items()}
    assert torch.equal(TASK.loss(outputs, crowd), TASK.loss(outputs, without))


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.9])
def test_focal_loss_is_equation_5(probability: float) -> None:
    logit = torch.tensor(math.log(probability / (1 - probability)))
    yes, no = focal(logit, torch.tensor(1.0)), focal(logit, torch.tensor(0.0))
    assert yes == pytest.approx(-0.25 * (1 - probability) ** 2 * math.log(probability), rel=1e-4)
    assert no == pytest.approx(-0.75 * probability**2 * math.log(1 - probability), rel=1e-4)


@pytest.mark.peers
def test_focal_loss_is_torchvisions() -> None:
    logits, wanted = torch.randn(50, 4), torch.randint(0, 2, (50, 4))
    theirs = torchvision().ops.sigmoid_focal_loss(logits, wanted.float())
    assert torch.allclose(focal(logits, wanted), theirs, atol=1e-6)


def test_an_untrained_head_that_begins_rare_says_one_in_a_hundred() -> None:
    output = nn.Conv2d(4, 6, 1)
    begin_rare(output)
    assert output(torch.zeros(1, 4, 2, 2)).sigmoid().unique().tolist() == pytest.approx([0.01])
    with pytest.raises(UserError, match="needs a bias"):
        begin_rare(nn.Conv2d(4, 6, 1, bias=False))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"classes": (4, 4, 6)},
            r"needs the heads classes and boxes.* classes \(4x4x6\)\. In YAML, for 2 anchors: head: \{Heads: \{classes",
        ),
        (
            {"classes": (4, 4, 6), "boxes": (8, 4, 6), "depth": (1, 4, 6)},
            r"gives classes \(4x4x6\), boxes \(8x4x6\), depth",
        ),
        (
            {"classes": (6, 4, 6), "boxes": (8, 4, 6)},
            "head classes gives 6x4x6; pets with 2 .* needs 4 channels, .* channels: 4 in the last layer of classes",
        ),
        ({"classes": (4, 4, 6), "boxes": (8, 2, 3)}, "head boxes gives 8x2x3; .* needs 8 channels, and the rows"),
        ({"classes": (4,), "boxes": (8,)}, "head classes gives 4; "),
    ],
)
def test_heads_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASK.check(heads(**shapes), "pets")


def test_the_heads_of_the_design_fit() -> None:
    TASK.check(heads(classes=(4, 4, 6), boxes=(8, 4, 6)), "pets")
    TASK.check(heads(classes=(4, 4, 6), boxes=(8, 4, 6), objectness=(2, 4, 6)), "pets")


def test_a_task_is_plain_data() -> None:
    assert Objects(**dataclasses.asdict(TASK)) == TASK
    assert len({TASK, Objects(**dataclasses.asdict(TASK))}) == 1


def tiny(width: int) -> cn.Network:
    """Six convolutions of stride 4, and the heads of detection with three anchors."""

    def step(channels: int) -> tuple[cn.Block | Any, ...]:
        halving = Conv(channels, 3, stride=2, padding=1, bias=False)
        return halving, BatchNorm(), ReLU(), Conv(channels, 3, padding=1, bias=False), BatchNorm(), ReLU()

    return cn.Network(
        tail=cn.Chain(Conv(width, 3, padding=1), BatchNorm(), ReLU()),
        body=cn.Chain(*step(2 * width), *step(4 * width)),
        head=detection_heads(classes=10, anchors=3, width=32),
        input=(1, 64, 64),
    )


@pytest.mark.slow
def test_a_tiny_network_learns_eight_scenes_by_heart() -> None:
    torch.manual_seed(0)
    scenes = draw("objects", (1, 64, 64), TRAIN, 8)
    task = Objects(scenes.names, (64, 64)).with_anchors((16, 16), 3, scenes.targets)
    network: Any = tiny(width=16).build()
    for head in ("classes", "objectness"):
        begin_rare(getattr(network.head, head).output)
    images = scenes.images.float() / 255
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(150):
        loss = task.loss(network(images), scenes.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    meter = task.meter()
    with torch.no_grad():
        meter.update(network(images), scenes.targets)
    measured = meter.result(1, 0.0, 0.0)
    assert measured["ap_50"] > 0.9


def test_a_head_of_boxes_that_no_number_of_anchors_has_is_named() -> None:
    outputs = [Output("classes", (30, 16, 16)), Output("boxes", (13, 16, 16))]
    with pytest.raises(UserError, match="the head boxes gives 13x16x16; 4 channels are needed for each anchor"):
        Objects(tuple("0123456789"), (64, 64)).check(outputs, "scenes")
