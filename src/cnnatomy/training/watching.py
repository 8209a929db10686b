"""What may look on while a network trains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cnnatomy.runs.trained import Epoch
    from cnnatomy.tasks.task import Outputs, Target
    from cnnatomy.training.loop import Training


STEPS_BETWEEN_POINTS = 50
"""How often a curve has a point of the loss of a single batch."""


class Watcher:
    """Told of what happens in a training. Each method may be left out; none may change anything, or draw at random.

    The gradients of a step are there until the next begins, in the parameters of `training.model`.
    """

    def begin(self, training: Training) -> None:
        """Before the first step, or the first after `--resume`."""

    def before_step(self, training: Training) -> None:
        """Before the optimizers change the weights, with the gradients as they are before clipping."""

    def step(self, training: Training, loss: Tensor) -> None:
        """After every step, with its mean loss; `training.steps` are done."""

    def validated(self, training: Training, images: Tensor, outputs: Outputs, target: Target) -> None:
        """After every batch of validation, with the images as they are stored."""

    def epoch(self, training: Training, row: Epoch) -> None:
        """After every epoch and its validation."""

    def end(self, training: Training) -> None:
        """When training is over, whatever ended it."""


def points(training: Training, row: Epoch) -> dict[str, float]:
    """What the curves show of an epoch, by name; without validation what was measured in training."""
    metric = training.objective.task.metric
    values = {
        "loss/train": row.train_loss,
        "loss/val": row.val_loss,
        f"{metric}/train": row.train_score,
        f"{metric}/val": row.val_score,
        "learning_rate": row.learning_rate,
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}
