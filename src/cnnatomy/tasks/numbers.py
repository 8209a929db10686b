"""Several labels an image, each of them yes or no; and numbers an image (regression)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cnnatomy.layers import Layer, Sigmoid
from cnnatomy.tasks.task import Answer, Evaluation, Output, Outputs, PerImage, Target, Task, WholeSplit, check_numbers


@dataclass(frozen=True)
class Labels(PerImage):
    """Any number of labels: the head gives one number for each, whose sigmoid is its probability.

    `thresholds` are the probabilities from which on a label is said, chosen on validation; 0.5 where there are none.
    """

    thresholds: tuple[float, ...] = ()

    kind: ClassVar[str] = "labels"
    metric: ClassVar[str] = "label_accuracy"
    losses: ClassVar[tuple[str, ...]] = ("binary-cross-entropy", "focal")
    in_loss: ClassVar[type[Layer] | None] = Sigmoid

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """One number for each label."""
        check_numbers(self, outputs, "a task of several labels", "several labels need", f"{whose} has the labels")

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """The share of labels that are right, summed over the images."""
        right: Tensor = (self.scores(outputs) > 0) == (self.wanted(target) > 0)
        return right.float().mean(1).sum()

    def with_threshold(self, least: float) -> Task | None:
        """With that as the threshold of each label."""
        return replace(self, thresholds=(least,) * len(self.names))

    def meter(self) -> LabelsMeter:
        """Precision, recall, F1, ROC and PR area of each label."""
        return LabelsMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """The labels above their thresholds, and the probability of each."""
        thresholds = self.thresholds or (0.5,) * len(self.names)
        answers = []
        for row in self.scores(outputs).double().sigmoid().tolist():  # as the thresholds were chosen
            shares = dict(zip(self.names, row, strict=True))
            said = [name for name, least in zip(self.names, thresholds, strict=True) if shares[name] >= least]
            text = "  ".join(f"{name} {shares[name]:.1%}" for name in said) or "none of the labels"
            answers.append(Answer({"labels": said, "probabilities": shares}, text))
        return answers


class LabelsMeter(WholeSplit):
    """Measures several labels."""

    task: Labels

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        from cnnatomy.tasks.metrics import several_labels

        logits, targets = self.kept()
        return several_labels(logits, targets, self.task.names, self.task.thresholds, seconds, loss)


@dataclass(frozen=True)
class Numbers(PerImage):
    """Numbers of each image (regression): the head gives as many."""

    kind: ClassVar[str] = "numbers"
    metric: ClassVar[str] = "closeness"
    losses: ClassVar[tuple[str, ...]] = ("l2", "l1", "huber", "lp")

    def check(self, outputs: Sequence[Output], whose: str) -> None:
        """As many numbers as there are names."""
        check_numbers(self, outputs, "regression", "regression needs", f"{whose} has the numbers")

    def score(self, outputs: Outputs, target: Target) -> Tensor:
        """1 / (1 + mean absolute error) of each image, summed."""
        return closeness(self.scores(outputs), target)

    def meter(self) -> NumbersMeter:
        """Mean absolute error, root mean square error and R squared of each number."""
        return NumbersMeter(self)

    def answers(self, outputs: Outputs, most: int = 5) -> list[Answer]:
        """Each number by its name."""
        return [
            Answer({"numbers": values}, "  ".join(f"{name} {value:.4g}" for name, value in values.items()))
            for row in self.scores(outputs).tolist()
            for values in [dict(zip(self.names, row, strict=True))]
        ]


def closeness(outputs: Tensor, target: Target) -> Tensor:
    """1 / (1 + mean absolute error) of each image, summed over the images; what is nan in a target does not count."""
    assert isinstance(target, Tensor)
    known = ~target.isnan()
    errors = torch.where(known, outputs - target, 0.0).abs().flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
    return (1 / (1 + errors)).sum()


class NumbersMeter(WholeSplit):
    """Measures numbers."""

    def result(self, images: int, loss: float, seconds: float) -> Evaluation:
        """What was measured on all batches."""
        from cnnatomy.tasks.metrics import regression

        outputs, targets = self.kept()
        return regression(outputs, targets, self.task.names, seconds, loss)
