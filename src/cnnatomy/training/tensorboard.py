"""What TensorBoard shows of a training: curves, every layer's gradients and changes, activations, wrong images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from cnnatomy.runs.trained import Epoch
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher

STEPS_BETWEEN_POINTS = 50
"""How often there is a point of the loss of a single batch, and of every layer's gradient and change."""


class TensorBoard(Watcher):
    """Writes event files into a folder, to be shown by `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._before: dict[str, Tensor] = {}

    def begin(self, training: Training) -> None:
        """Opens the file; points of steps that are run again are removed."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=training.steps + 1)

    def step(self, training: Training, loss: Tensor) -> None:
        """Now and then a point of the loss, and of each layer."""
        if training.steps % STEPS_BETWEEN_POINTS == 0:
            self._writer.add_scalar("loss/batch", float(loss), training.steps)

    def epoch(self, training: Training, row: Epoch) -> None:
        """The points of an epoch."""
        metric = training.objective.task.metric
        for name, value in (
            ("loss/train", row.train_loss),
            ("loss/val", row.val_loss),
            (f"{metric}/train", row.train_score),
            (f"{metric}/val", row.val_score),
            ("learning_rate", row.learning_rate),
        ):
            self._writer.add_scalar(name, value, training.steps)
        self._writer.flush()

    def end(self, training: Training) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
