"""A label for each pixel (segmentation), numbers for each pixel (depth, motion), and places of keypoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.errors import UserError
from cnnatomy.layers import Layer, Softmax
from cnnatomy.layers.layer import dimensions
from cnnatomy.tasks.losses import IGNORED
from cnnatomy.tasks.numbers import closeness
from cnnatomy.tasks.task import (
    Answer,
    Criterion,
    Evaluation,
    Moving,
    Output,
    Outputs,
    Target,
    Task,
    ToImage,
    mismatch,
    one_main,
)


def enlarged(outputs: Tensor, target: Tensor) -> Tensor:
    """Maps in the rows and columns of the target, bilinear, where they have others."""
    size = target.shape[-2:]
    return outputs if outputs.shape[-2:] == size else F.interpolate(outputs, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class MapTask(Task):
    """What there is to learn has rows and columns: the head gives a map of one channel for each name.

    Attributes:
        what: the task in words, for messages.
    """

    what: ClassVar[str]

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """A map of a channel for each name."""
        for output in one_main(outputs, self.what):
            if len(output.shape) != 3 or output.shape[0] != len(self.names):
                channels = f"{self.what} needs a map of {len(self.names)} channels"
                raise mismatch(output, channels, f"{whose} has", self.names)

    def head(self) -> str:
        """Enlarged to the image, as from a body of stride 4."""
        return f"{{MapHead: {{channels: {len(self.names)}, scale: 4}}}}"

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """The mean over the pixels of each image, where the map is enlarged to the target."""
        assert isinstance(target, Tensor)
        value: Tensor = criterion(enlarged(outputs, target), target)
        return value


@dataclass(frozen=True)
class Mask(MapTask):
    """A class for each pixel: the head gives a map of scores for each class, enlarged to the image where it is smaller.

    A pixel of label 255 counts for nothing.
    """

    kind: ClassVar[str] = "mask"
    what: ClassVar[str] = "segmentation"
    metric: ClassVar[str] = "pixel_accuracy"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal")
    in_loss: ClassVar[type[Layer] | None] = Softmax

    def moved(self, target: Target, move: Moving) -> Target:
        """The class of each pixel goes with it; what comes from outside the image counts for nothing."""
        assert isinstance(target, Tensor)
        return move.classes(target)

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The share of pixels that are right, summed over the images."""
        assert isinstance(target, Tensor)
        counted = target != IGNORED
        right = (enlarged(outputs, target).argmax(1) == target) & counted
        return (right.flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)).sum()

    def meter(self) -> MaskMeter:
        """Intersection over union of each class."""
        return MaskMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """The share of the pixels that each class has."""
        places = outputs.argmax(1).flatten(1)
        answers = []
        for row in places:
            counts = torch.bincount(row, minlength=len(self.names)).float() / len(row)
            shares = {name: share for name, share in zip(self.names, counts.tolist(), strict=True) if share}
            ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
            answers.append(Answer({"pixels": ordered}, "  ".join(f"{n} {s:.1%}" for n, s in ordered.items())))
        return answers


class MaskMeter:
    """Counts pixels of each class taken for each class."""

    def __init__(self, task: Mask) -> None:
        self.task = task
        self.confusion = torch.zeros(len(task.names), len(task.names), dtype=torch.int64)

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        from cnnatomy.tasks.metrics import confusion_matrix

        assert isinstance(target, Tensor)
        predicted = enlarged(outputs, target).argmax(1).cpu()
        self.confusion += confusion_matrix(predicted, target.cpu(), len(self.task.names))

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        from cnnatomy.tasks.metrics import segmentation

        return segmentation(self.confusion, self.task.names, images, seconds, loss)


@dataclass(frozen=True)
class PixelNumbers(MapTask):
    """Numbers for each pixel (depth: one, motion: two): the head gives a map of as many channels.

    Where a target is nan it counts for nothing. `displacements` says that the two are by how many rows and columns a
    pixel moves to the next image: then they turn, too, when augmentation turns the image.
    """

    displacements: bool = False

    kind: ClassVar[str] = "map"
    what: ClassVar[str] = "a regression map"
    metric: ClassVar[str] = "closeness"
    losses: ClassVar[tuple[str, ...]] = ("l1", "l2", "huber", "lp")

    def moved(self, target: Target, move: Moving) -> Target:
        """The numbers of each pixel go with it."""
        assert isinstance(target, Tensor)
        return move.displacements(target) if self.displacements else move.numbers(target)

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """1 / (1 + mean absolute error) of each image, summed."""
        assert isinstance(target, Tensor)
        return closeness(enlarged(outputs, target), target)

    def meter(self) -> MapMeter:
        """Mean absolute error and root mean square error of each number."""
        return MapMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """Least, mean and largest of each number over the pixels."""
        answers = []
        for image in outputs:
            values = {
                name: {"least": float(x.min()), "mean": float(x.mean()), "largest": float(x.max())}
                for name, x in zip(self.names, image, strict=True)
            }
            text = "  ".join(
                f"{n} {v['least']:.3g} .. {v['largest']:.3g}, mean {v['mean']:.3g}" for n, v in values.items()
            )
            answers.append(Answer({"map": values}, text))
        return answers


class MapMeter:
    """Sums of absolute and squared errors."""

    def __init__(self, task: PixelNumbers) -> None:
        self.task = task
        self.sums = torch.zeros(3, len(task.names), dtype=torch.float64)

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        assert isinstance(target, Tensor)
        known = ~target.isnan()
        errors = torch.where(known, enlarged(outputs, target) - target, 0.0).double().cpu()
        over = (0, 2, 3)
        self.sums += torch.stack([known.cpu().sum(over).double(), errors.abs().sum(over), errors.square().sum(over)])

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        counts, absolute, squared = self.sums
        rows = []
        for i, name in enumerate(self.task.names):
            n = float(counts[i])
            rows.append(
                {
                    "number": name,
                    "mean_absolute_error": float(absolute[i]) / n if n else None,
                    "root_mean_square_error": (float(squared[i]) / n) ** 0.5 if n else None,
                    "pixels": int(n),
                }
            )
        n = float(counts.sum())
        figures = {"mean_absolute_error": float(absolute.sum()) / n if n else None}
        return Evaluation(images, loss, seconds, figures, "number", tuple(rows))


@dataclass(frozen=True)
class Keypoints(MapTask):
    """The place of each keypoint: the head gives a heat map for each, whose mean place (soft arg max) is compared.

    Places are columns and rows in pixels of the input; a keypoint that is not visible counts for nothing (Sun et al.
    2018, "Integral human pose regression"). `size` is that of the input in rows and columns; right is a keypoint less
    than `tolerance` times the longer side away.
    """

    size: tuple[int, int] = (0, 0)
    tolerance: float = 0.05

    kind: ClassVar[str] = "keypoints"
    what: ClassVar[str] = "a task of keypoints"
    metric: ClassVar[str] = "keypoint_accuracy"
    losses: ClassVar[tuple[str, ...]] = ("huber", "l1", "l2", "lp")

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """A heat map for each keypoint."""
        super().check(outputs, whose)
        if min(self.size) < 1:
            raise UserError(f"keypoints: the size of the input is {dimensions(self.size)}, expected rows and columns")

    def places(self, outputs: Tensor) -> Tensor:
        """The mean place of each heat map, `(images, keypoints, 2)`: column and row in pixels of the input."""
        rows, columns = outputs.shape[-2:]
        shares = outputs.flatten(2).softmax(2).view_as(outputs)
        across = (torch.arange(columns, device=outputs.device) + 0.5) * (self.size[1] / columns)
        down = (torch.arange(rows, device=outputs.device) + 0.5) * (self.size[0] / rows)
        return torch.stack([(shares.sum(2) * across).sum(2), (shares.sum(3) * down).sum(2)], 2)

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """Of the places, in sides of the input."""
        places, known = self._compared(outputs, target)
        assert isinstance(target, Tensor)
        wanted = torch.where(known[..., None], target[..., :2], torch.nan)
        value: Tensor = criterion(places / max(self.size), wanted / max(self.size))
        return value

    def moved(self, target: Target, move: Moving) -> Target:
        """The places go with the image; one that is outside is not visible.

        In an image that is mirrored, left and right change names: a left eye becomes a right one.
        """
        assert isinstance(target, Tensor)
        places = move.points(target[..., :2])
        limits = places.new_tensor(self.size[::-1])
        inside = ((places >= 0) & (places < limits)).all(2)
        moved = torch.cat([places, torch.where(inside[..., None], target[..., 2:], 0)], 2)
        mirrors = move.mirrors.to(moved.device)
        return torch.where(mirrors[:, None, None], moved[:, other_side(self.names)], moved)

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The share of the visible keypoints that are right, summed over the images."""
        errors, known = self.errors(outputs, target)
        right = (errors < self.tolerance * max(self.size)) & known
        return (right.sum(1) / known.sum(1).clamp(min=1)).sum()

    def errors(self, outputs: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Distances in pixels, and which keypoints are visible, both `(images, keypoints)`."""
        places, known = self._compared(outputs, target)
        assert isinstance(target, Tensor)
        return (places - target[..., :2]).square().sum(2).sqrt(), known

    def _compared(self, outputs: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        assert isinstance(target, Tensor)
        return self.places(outputs), target[..., 2] > 0

    def meter(self) -> KeypointsMeter:
        """Mean distance and share of right ones for each keypoint."""
        return KeypointsMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """Column and row of each keypoint."""
        return [self._answer(image) for image in self.places(outputs).tolist()]

    def in_image(self, answer: Answer, to_image: ToImage) -> Answer:
        """With each place in the image."""
        return self._answer([to_image(x, y) for x, y in answer.record["keypoints"].values()])

    def _answer(self, places: Sequence[Sequence[float]]) -> Answer:
        named = {name: [x, y] for name, (x, y) in zip(self.names, places, strict=True)}
        return Answer({"keypoints": named}, "  ".join(f"{name} ({x:.1f}, {y:.1f})" for name, (x, y) in named.items()))


def other_side(names: Sequence[str]) -> list[int]:
    """For each name the number of that which it has in a mirror: left and right are exchanged, as words in it."""
    swapped = {"left": "right", "right": "left", "l": "r", "r": "l"}

    def in_mirror(name: str) -> str:
        return "".join(swapped.get(word, word) for word in re.split(r"([^a-z]+)", name.lower()))

    numbers = {name.lower(): number for number, name in enumerate(names)}
    return [numbers.get(in_mirror(name), number) for number, name in enumerate(names)]


class KeypointsMeter:
    """Keeps the distances of a split."""

    def __init__(self, task: Keypoints) -> None:
        self.task = task
        self.errors: list[Tensor] = []
        self.known: list[Tensor] = []

    def update(self, outputs: Outputs, target: Target) -> None:
        """Adds a batch."""
        errors, known = self.task.errors(outputs, target)
        self.errors.append(errors.double().cpu())
        self.known.append(known.cpu())

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        errors, known = torch.cat(self.errors), torch.cat(self.known)
        right = (errors < self.task.tolerance * max(self.task.size)) & known
        rows = []
        for i, name in enumerate(self.task.names):
            n = int(known[:, i].sum())
            rows.append(
                {
                    "keypoint": name,
                    "mean_distance": float(errors[known[:, i], i].sum()) / n if n else None,
                    "right": int(right[:, i].sum()) / n if n else None,
                    "visible": n,
                }
            )
        n = int(known.sum())
        figures = {
            "right": int(right.sum()) / n if n else None,
            "mean_distance": float(errors[known].sum()) / n if n else None,
        }
        return Evaluation(images, loss, seconds, figures, "keypoint", tuple(rows))
