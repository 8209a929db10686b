"""Objects with their boxes (detection), by one map of anchors: the loss of RetinaNet, and objectness beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnatomy.errors import UserError
from cnnatomy.layers import Layer, Sigmoid
from cnnatomy.layers.layer import dimensions
from cnnatomy.tasks import boxes
from cnnatomy.tasks.boxes import IGNORED, Detections
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.task import (
    Answer,
    Criterion,
    Evaluation,
    Meter,
    Moving,
    Output,
    Outputs,
    Target,
    Task,
    ToImage,
    given,
)

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al. 2017, section 5.1)."""
BETA = 1 / 9
"""Where the smooth L1 loss of boxes becomes linear, as in the authors' code of RetinaNet."""
RARE = 0.01
"""Probability of an object that an untrained head gives (Lin et al. 2017, section 4.1)."""
FOUND = 0.5
"""Overlap from which on an object counts as found, for `Objects.score`."""


@dataclass(frozen=True)
class Objects(Task):
    """Boxes of objects of the classes `names` in images of `size` (rows, columns).

    The network gives three maps of the same rows and columns, by name, for A anchors (scales times ratios, in the order
    of `boxes.anchor_boxes`) and K classes: `classes` of A * K channels, `boxes` of A * 4 (as `boxes.encode` has them)
    and, where it has that head, `objectness` of A. The channels of an anchor are next to one another: channel
    a * K + k is class k for anchor a. `design.heads.detection_heads` gives all three.

    A target is `(n, most, 5)`: x1, y1, x2, y2 in pixels, and the class; -1 where there is no object, -2 - c for a crowd
    of class c, which is not learned. The score of a detection is the sigmoid of its class, times that of objectness.

    Attributes:
        scales: sides of the anchors, in strides of the map.
        ratios: their heights by their widths.
        positive: overlap from which on an anchor is an object's.
        negative: overlap below which it is background; between the two it counts for nothing.
        least_score: of a detection, for the average precision.
        shown_score: of one that is told to people, and counts in the score of an epoch.
        overlap: of two detections of a class, above which the lower one is left out.
    """

    size: tuple[int, int] = (0, 0)
    scales: tuple[float, ...] = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))  # RetinaNet's, section 4
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    positive: float = boxes.POSITIVE
    negative: float = boxes.NEGATIVE
    least_score: float = 0.01
    shown_score: float = 0.3
    overlap: float = 0.5

    kind: ClassVar[str] = "objects"
    metric: ClassVar[str] = "f1"
    losses: ClassVar[tuple[str, ...]] = ("focal",)
    in_loss: ClassVar[type[Layer] | None] = Sigmoid

    def fitted(self, outputs: Sequence[Output], target: Target) -> Task:
        """With as many anchors as the heads have, chosen for the objects of the training split."""
        shapes = {output.name: output.shape for output in outputs}
        classes, of_boxes = shapes.get("classes", ()), shapes.get("boxes", ())
        assert isinstance(target, Tensor)
        if len(classes) == 3 and of_boxes and of_boxes[0] and of_boxes[0] % 4 == 0:
            return self.with_anchors(classes[1:], of_boxes[0] // 4, target)
        return self

    def with_anchors(self, grid: tuple[int, ...], anchors: int, target: Tensor) -> Self:
        """With so many anchors, chosen for the objects of a split, on a map of `grid` rows and columns.

        Raises:
            UserError: if there is no object, so that there is nothing to learn.
        """
        found = target[target[..., 4] >= 0]
        if not len(found):
            raise UserError("no training image has an object: there is nothing to learn. Look at the annotations")
        stride = (self.size[0] * self.size[1] / (grid[0] * grid[1])) ** 0.5
        scales, ratios = boxes.fitted_anchors(found[:, 2:4] - found[:, :2], stride, anchors)
        return dataclasses.replace(self, scales=scales, ratios=ratios)

    @property
    def anchors(self) -> int:
        """For each pixel of the map."""
        return len(self.scales) * len(self.ratios)

    @property
    def per_anchor(self) -> dict[str, int]:
        """Numbers that each head gives for an anchor."""
        return {"classes": len(self.names), "boxes": 4, "objectness": 1}

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """Raises `UserError` unless there are the heads `classes` and `boxes`, with channels for the anchors."""
        shapes = {output.name: tuple(output.shape) for output in outputs}
        if not {"classes", "boxes"} <= set(shapes) <= set(self.per_anchor):
            raise UserError(
                f"detection needs the heads classes and boxes, with or without objectness; the network gives"
                f" {given(outputs)}. In YAML, for {self.anchors} anchors: head: {self.head()}"
            )
        if len(shapes["boxes"]) == 3 and shapes["boxes"][0] % 4:
            raise UserError(
                f"the head boxes gives {dimensions(shapes['boxes'])}; 4 channels are needed for each anchor"
            )
        for name, shape in shapes.items():
            needed = self.anchors * self.per_anchor[name]
            if len(shape) != 3 or shape[0] != needed or shape[1:] != shapes["classes"][1:]:
                raise UserError(
                    f"the head {name} gives {dimensions(shape)}; {whose} with {len(self.names)} classes and"
                    f" {self.anchors} anchors needs {needed} channels, and the rows and columns of the head classes:"
                    f" write channels: {needed} in the last layer of {name} in the head of the design"
                )

    def head(self) -> str:
        """All three, on the rows and columns of the body's map."""
        each = self.per_anchor.items()
        maps = (f"{name}: {{MapHead: {{channels: {self.anchors * n}, scale: 1}}}}" for name, n in each)
        return f"{{Heads: {{{', '.join(maps)}}}}}"

    def activation(self, head: str) -> type[Layer] | None:
        """None for boxes, which are numbers."""
        return None if head == "boxes" else self.in_loss

    def prepare(self, module: nn.Module) -> None:
        """Makes an untrained head say that objects are rare (`begin_rare`)."""
        for name in ("classes", "objectness"):
            head = getattr(getattr(module, "head", None), name, None)
            convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)] if head else []
            if convolutions:
                begin_rare(convolutions[-1])

    def criterion(self, name: str, options: Options) -> Criterion:
        """The gamma of the focal loss."""
        super().criterion(name, options)
        return options.focal_gamma

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion = GAMMA) -> Tensor:
        """Focal loss of the classes, smooth L1 of the boxes of positives, focal loss of objectness.

        Each is the sum over the anchors of an image divided by its positives (1 at least), then the mean over images.
        """
        assert isinstance(target, Tensor)
        parts = self.split(outputs)
        objects = target.float()
        anchors = self.grid(outputs)
        matched = boxes.match(anchors, objects, self.positive, self.negative)  # (n, anchors)
        positive, counted = matched >= 0, (matched != IGNORED)[:, :, None]
        own = objects.gather(1, matched.clamp(min=0)[:, :, None].expand(-1, -1, 5))
        positives = positive.sum(1).clamp(min=1)

        wanted = F.one_hot(own[..., 4].long().clamp(min=0), len(self.names)) * positive[:, :, None]
        loss = (focal(parts["classes"], wanted, criterion) * counted).sum((1, 2))
        # anchors of no object stand for themselves, as a box without sides has no logarithm
        truth = boxes.encode(torch.where(positive[:, :, None], own[..., :4], anchors), anchors)
        difference = F.smooth_l1_loss(parts["boxes"], truth, reduction="none", beta=BETA)
        loss = loss + (difference * positive[:, :, None]).sum((1, 2))
        if "objectness" in parts:
            loss = loss + (focal(parts["objectness"], positive[:, :, None], criterion) * counted).sum((1, 2))
        return (loss / positives).mean()

    def detect(self, outputs: Mapping[str, Tensor], least_score: float | None = None) -> Detections:
        """Detections from the highest score to the lowest, in pixels of the network's input."""
        parts = self.split(outputs)
        scores = parts["classes"].sigmoid()
        if "objectness" in parts:
            scores = scores * parts["objectness"].sigmoid()
        decoded = boxes.decode(parts["boxes"], self.grid(outputs))
        least = self.least_score if least_score is None else least_score
        return boxes.detect(decoded, scores, self.size, least, self.overlap)

    def moved(self, target: Target, move: Moving) -> Target:
        """The boxes around what they were around; of what is hardly seen any more there is none."""
        assert isinstance(target, Tensor)
        return move.boxes(target)

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The F1 of each image, summed: of detections above `shown_score` and of objects, by those that are found.

        An object is found by one of its class that overlaps it by half; two may be found by one detection.
        """
        assert isinstance(target, Tensor)
        detections = self.detect(outputs, self.shown_score)
        objects = target.float()
        known = objects[..., 4] >= 0
        fits = boxes.iou(objects[..., :4], detections.boxes) >= FOUND
        fits &= objects[..., 4, None] == detections.classes[:, None]
        found = (fits.any(2) & known).sum(1)
        everything = known.sum(1) + (detections.classes >= 0).sum(1)
        # nothing said of an image with nothing in it is all right
        return torch.where(everything > 0, (2 * found / everything.clamp(min=1)).clamp(max=1), 1.0).sum()

    def meter(self) -> Meter:
        """What measures the average precision of a split."""
        return ObjectsMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """Detections above `shown_score`: `class`, `score` and `box` (x1, y1, x2, y2 in pixels of the input)."""
        found = self.detect(outputs, self.shown_score)
        return [
            _answer(
                [
                    {"class": self.names[label], "score": score, "box": box}
                    for box, score, label in zip(*image, strict=True)
                    if label >= 0
                ]
            )
            for image in zip(*(part.tolist() for part in found), strict=True)
        ]

    def with_threshold(self, least: float) -> Task | None:
        """With that as the least score of an object."""
        return dataclasses.replace(self, shown_score=least)

    def in_image(self, answer: Answer, to_image: ToImage) -> Answer:
        """With the corners of each box in the image."""
        objects = answer.record["objects"]
        return _answer(
            [{**each, "box": [*to_image(*each["box"][:2]), *to_image(*each["box"][2:])]} for each in objects]
        )

    def split(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each map `(n, A * numbers, rows, columns)` as `(n, rows * columns * A, numbers)` float32, by its name."""
        return {
            name: output.float().unflatten(1, (self.anchors, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            for name, output in outputs.items()
        }

    def grid(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The anchors of the maps, `(rows * columns * A, 4)`, on their device."""
        rows, columns = outputs["boxes"].shape[-2:]
        return boxes.anchor_boxes(self.size, (rows, columns), self.scales, self.ratios, outputs["boxes"].device)


def _answer(objects: list[dict[str, Any]]) -> Answer:
    said = (f"{each['class']} {each['score']:.1%} at {', '.join(f'{x:.0f}' for x in each['box'])}" for each in objects)
    return Answer({"objects": objects}, "; ".join(said) or "no objects")


class ObjectsMeter:
    """Keeps detections and targets of a split, batch by batch."""

    def __init__(self, task: Objects) -> None:
        self.task = task
        self._detections: list[Detections] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        assert isinstance(target, Tensor)
        self._detections.append(Detections(*(part.cpu() for part in self.task.detect(outputs))))
        self._targets.append(target.cpu())

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """The average precision on all batches, as COCO measures it."""
        measured = boxes.average_precision(self._detections, self._targets, len(self.task.names))
        figures = {"average_precision": measured.ap, "ap_50": measured.ap_50, "ap_75": measured.ap_75}
        rows = tuple(
            {"class": name, "average_precision": ap, "ap_50": ap_50, "ap_75": ap_75}
            for name, (ap, ap_50, ap_75) in zip(self.task.names, measured.by_class, strict=True)
        )
        return Evaluation(images, loss, seconds, figures, "class", rows)


def focal(logits: Tensor, wanted: Tensor, gamma: float = GAMMA, alpha: float = ALPHA) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log(p_t) of each of many yes-or-no questions (Lin et al. 2017, equation 5)."""
    truth = wanted.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = torch.exp(-loss)
    return (alpha * truth + (1 - alpha) * (1 - truth)) * (1 - right) ** gamma * loss


def begin_rare(output: nn.Conv2d, probability: float = RARE) -> None:
    """Sets the bias of a head's last convolution so that every sigmoid begins near `probability`.

    Without it, the many anchors of no object dominate the first steps (Lin et al. 2017, section 3.3). It is for the
    heads `classes` and `objectness`.
    """
    if output.bias is None:
        raise UserError("the last convolution of a head of detection needs a bias: it says how rare objects are")
    nn.init.constant_(output.bias, torch.logit(torch.tensor(probability)).item())
