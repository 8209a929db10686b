"""One label an image: the likeliest class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import Layer, Softmax
from cnnatomy.tasks.task import (
    Answer,
    Criterion,
    Evaluation,
    Meter,
    Output,
    Outputs,
    PerImage,
    Target,
    Task,
    WholeSplit,
    check_numbers,
)


@dataclass(frozen=True)
class Label(PerImage):
    """One class for each image: the head gives one number for each class.

    `groups` may say which classes are of one kind (`{"animal": ("cat", "dog"), ...}`): then the loss of the kind, whose
    probability is the sum of those of its classes, is added with `group_weight`. `temperature` divides the numbers
    before they are told as probabilities.
    """

    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    group_weight: float = 1.0
    temperature: float = 1.0

    kind: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "focal", "expected-reward", "distance")
    in_loss: ClassVar[type[Layer] | None] = Softmax

    def __post_init__(self) -> None:
        grouped = [name for names in self.groups.values() for name in names]
        for name in grouped:
            if name not in self.names:
                raise UserError(f"groups: there is no class {name}.{nearest(name, self.names)}")
        if self.groups and sorted(grouped) != sorted(self.names):
            missing = [name for name in self.names if grouped.count(name) != 1]
            raise UserError(f"groups: every class is in one group; these are not: {', '.join(missing[:5])}")

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """One number for each class."""
        check_numbers(self, outputs, "one label", "one label needs", f"{whose} has the classes")

    def loss(self, outputs: Outputs, target: Target, criterion: Criterion) -> Tensor:
        """That of the classes, and of the groups where there are some."""
        return self.loss_of(self.scores(outputs), self.wanted(target), criterion)

    def loss_of(self, logits: Tensor, labels: Tensor, criterion: Criterion) -> Tensor:
        """That of these numbers of each class, `(images, classes)`."""
        value: Tensor = criterion(logits, labels)
        if self.groups and self.group_weight:
            of_class = self._group_of_class().to(logits.device)
            logs = logits.log_softmax(1)
            sums = torch.stack([logs[:, of_class == group].logsumexp(1) for group in range(len(self.groups))], 1)
            of_group: Tensor = sums.gather(1, of_class[labels][:, None])
            value = value - self.group_weight * of_group.mean()
        return value

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """How many images are classified rightly."""
        right: Tensor = self.scores(outputs).argmax(1) == self.wanted(target)
        return right.sum()

    def with_threshold(self, least: float) -> Task | None:
        """The same: the likeliest class is said, however likely."""
        return self

    def meter(self) -> Meter:
        """Everything that `metrics.classification` measures."""
        return LabelMeter(self)

    def measured(self, logits: Tensor, labels: Tensor, loss: float, seconds: float) -> Evaluation:
        """How good these numbers of each class are, `(images, classes)`, where `labels` are right, `(images,)`."""
        from cnnatomy.tasks.metrics import classification

        evaluation = classification(logits, labels, self.names, seconds, loss)
        if self.groups:
            of_class = self._group_of_class()
            right = (of_class[logits.argmax(1)] == of_class[labels]).float().mean()
            evaluation = evaluation.with_figures({"group_accuracy": float(right)})
        return evaluation

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """The likeliest classes with their probabilities."""
        return self.answers_of(self.scores(outputs), most)

    def answers_of(self, logits: Tensor, most: int) -> list[Answer]:
        """The likeliest classes by these numbers of each, `(images, classes)`."""
        shares, places = (logits / self.temperature).softmax(1).topk(min(most, len(self.names)))
        return [
            self._answer(list(zip((self.names[place] for place in row), values, strict=True)))
            for values, row in zip(shares.tolist(), places.tolist(), strict=True)
        ]

    @staticmethod
    def _answer(classes: list[tuple[str, float]]) -> Answer:
        record = {
            "class": classes[0][0],
            "predictions": [{"class": name, "probability": share} for name, share in classes],
        }
        return Answer(record, "  ".join(f"{name} {share:.1%}" for name, share in classes))

    def _group_of_class(self) -> Tensor:
        numbers = {name: number for number, group in enumerate(self.groups.values()) for name in group}
        return torch.tensor([numbers[name] for name in self.names])


class LabelMeter(WholeSplit):
    """Measures one label."""

    task: Label

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        return self.task.measured(*self.kept(), loss, seconds)
