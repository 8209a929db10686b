"""Averages of probabilities: over an image and its mirror or shifted copies, and over several networks."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnatomy.data import Frame, Split, open_source
from cnnatomy.errors import UserError, some_of
from cnnatomy.runs.evaluation import EVALUATION_BATCH
from cnnatomy.runs.model import Model
from cnnatomy.runs.trained import Trained
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.task import Evaluation, Task

AVERAGES = ("flip", "shifts")
"""Over an image and its mirror; over those two, each in the middle and shifted to the four corners."""
SHIFT = 1 / 16
"""Of a side, by which `shifts` moves an image: in AlexNet 16 of 256 pixels (Krizhevsky et al. 2012, section 4.1)."""


def averaged(trained: Trained, over: str) -> Trained:
    """The same network, whose probabilities are means over copies of each image: `over` is one of `AVERAGES`.

    Raises:
        UserError: if its task is not one label, or there is no such average.
    """
    if over not in AVERAGES:
        raise UserError(f"no average over {over}: one of {', '.join(AVERAGES)}")
    _check_task(trained)
    model = Model(Averaged(trained.model, over == "shifts"), trained.run.normalisation)
    return dataclasses.replace(trained, model=model.to(trained.model.mean.device).eval())


class Averaged(nn.Module):
    """A network whose outputs are the logarithms of mean probabilities over copies of each image."""

    def __init__(self, model: Model, shifts: bool) -> None:
        super().__init__()
        self.model, self.shifts = model, shifts

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images `(images, channels, rows, columns)` to `(images, classes)`."""
        copies = shifted(images) if self.shifts else [images]
        found = []
        for copy in (*copies, *(copy.flip(3) for copy in copies)):
            outputs, _ = self.model.heads(self.model.network(copy))
            found.append(outputs.flatten(1).float().log_softmax(1))
        return mean_of(found)


def shifted(images: Tensor) -> list[Tensor]:
    """Images in the middle, and moved to each of four corners; pixels at the edge are repeated where they lack."""
    rows, columns = images.shape[2:]
    down, right = max(1, round(rows * SHIFT)), max(1, round(columns * SHIFT))
    wide = F.pad(images, (right, right, down, down), mode="replicate")
    corners = [(y, x) for y in (0, 2 * down) for x in (0, 2 * right)]
    return [wide[:, :, y : y + rows, x : x + columns] for y, x in [(down, right), *corners]]


def mean_of(logarithms: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities that are given by their logarithms."""
    return torch.logsumexp(torch.stack(list(logarithms)), 0) - math.log(len(logarithms))


@dataclass(frozen=True)
class Together:
    """An ensemble on a split, and each of its members alone."""

    ensemble: Evaluation
    members: tuple[Evaluation, ...]

    def mean(self, figure: str) -> float:
        """Of a figure, or of the loss, over the members."""
        values = [one.loss if figure == "loss" else one[figure] for one in self.members]
        return sum(values) / len(values)


class Ensemble:
    """Several trained networks with the same classes, whose probabilities are averaged.

    Raises `UserError` where there are fewer than two, or their task is not one label, or their classes differ.
    """

    def __init__(self, members: Sequence[Trained]) -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise UserError("an ensemble needs two runs or more")
        first = self.members[0]
        for member in self.members:
            _check_task(member)
            if member.run.classes != first.run.classes:
                raise UserError(
                    f"{first.name} and {member.name} know different classes, or in another order:"
                    f" {some_of(first.run.classes)}; {some_of(member.run.classes)}. An ensemble needs the same"
                )

    def evaluate(self, source: str | None = None) -> tuple[Together, str]:
        """Members and ensemble on the test split of the members' own data, or on other data; and in words on what.

        Each member gets the images in its own shape.

        Raises:
            UserError: if the members were trained on different data and none is named, that data has changed, or the
                images are other ones in another shape.
        """
        named = None if source is None else open_source(source).source
        splits: dict[Frame, tuple[Split, str]] = {}
        first = self.members[0].run
        found, seconds = [], []
        for member in self.members:
            run = member.run
            own = named in (None, run.source)
            if own and (run.source, run.loading.splitting) != (first.source, first.loading.splitting):
                raise UserError(
                    f"{self.members[0].name} was trained on {first.source}, {member.name} on {run.source}: what is test"
                    " to one may be training to the other. Name other data with --data"
                )
            if run.frame not in splits:
                splits[run.frame] = member.test_split(source)
            started = time.perf_counter()
            split, labels = splits[run.frame][0], _labels(splits[run.frame][0])
            if not torch.equal(labels, _labels(splits[first.frame][0])):
                raise UserError(
                    f"{run.source}: the test images in {_size(run.shape)} are not those in {_size(first.shape)}, since"
                    " images that are equal in one of them are not in the other: use members of one shape"
                )
            batches = split.batches(EVALUATION_BATCH)
            found.append(torch.cat([member.probabilities(images) for images, _ in batches]).double().log())
            seconds.append(time.perf_counter() - started)
        labels = _labels(splits[first.frame][0])
        alone = [measured(first.task, one, labels, took) for one, took in zip(found, seconds, strict=True)]
        ensemble = measured(first.task, mean_of(found), labels, sum(seconds))
        return Together(ensemble, tuple(alone)), splits[first.frame][1]


def measured(task: Task, logarithms: Tensor, labels: Tensor, seconds: float) -> Evaluation:
    """What the task measures of answers that are given by the logarithms of probabilities, `(images, classes)`."""
    finite = logarithms.clamp_min(torch.finfo(torch.float32).min).float()
    meter = task.meter()
    meter.update(finite, labels)
    criterion: Any = task.criterion("", Options())
    return meter.result(len(labels), float(task.loss(finite, labels, criterion)), seconds)


def _labels(split: Split) -> Tensor:
    assert isinstance(split.targets, Tensor)
    return split.targets[split.indices]


def _check_task(trained: Trained) -> None:
    if type(trained.run.task) is not Label:  # early exits and localised labels give more than one answer
        raise UserError(
            f"{trained.name}: probabilities are averaged where there is one label an image; its task is"
            f" {trained.run.task.kind}"
        )


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
