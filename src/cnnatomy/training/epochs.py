"""At the end of every epoch the learning rate is cut, the best and the last state are kept, and a row is written."""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import asdict, fields
from typing import Any

import lightning.pytorch as pl
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cnnatomy.errors import UserError
from cnnatomy.files import write_text
from cnnatomy.runs.folder import RunFolder, write_weights
from cnnatomy.runs.trained import Epoch
from cnnatomy.training.recipe import Recipe
from cnnatomy.training.task import Training

STEPS_BETWEEN_POINTS = 50
"""How often TensorBoard gets the loss of a single batch."""


class EpochEnd(pl.Callback):
    """Keeps the run folder, if there is one, and the best weights; its state goes into last.ckpt."""

    def __init__(self, recipe: Recipe, folder: RunFolder | None, network: str) -> None:
        self.recipe, self.folder, self.network = recipe, folder, network
        self.rows: list[Epoch] = []
        self.began = False
        self.best_state: dict[str, torch.Tensor] = {}
        self._plateau_state: dict[str, Any] = {}
        self._writer: Any = None

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss, the first of equals."""
        return min(self.rows, key=lambda row: row.val_loss, default=None)

    def state_dict(self) -> dict[str, Any]:
        """Called by Lightning for last.ckpt."""
        return {"rows": [asdict(row) for row in self.rows], "plateau": self._plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Called by Lightning on resuming, before `on_fit_start`; raises `UserError` where there are no epochs."""
        names = {field.name for field in fields(Epoch)}
        rows = state.get("rows")
        if not isinstance(rows, list) or not rows or any(set(row) != names for row in rows) or "plateau" not in state:
            raise UserError("the checkpoint holds no epochs: it is not that of a training by this cnnatomy")
        self.rows = [Epoch(**row) for row in rows]
        self._plateau_state = state["plateau"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes up the schedule; opens TensorBoard's file."""
        self.began = True
        self._plateau = ReduceLROnPlateau(
            trainer.optimizers[0], factor=self.recipe.cut, patience=self.recipe.cut_patience
        )
        if self._plateau_state:
            self._plateau.load_state_dict(self._plateau_state)
        if self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            assert isinstance(module, Training)
            done = trainer.current_epoch * len(trainer.train_dataloader.batches)  # type: ignore[union-attr]
            self._writer = SummaryWriter(str(self.folder.tensorboard), purge_step=done + 1)
            module.listeners.append(self._point)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._started = self._trained = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Training of this epoch ends here."""
        self._trained = time.perf_counter()
        assert isinstance(module, Training)
        self._images = module.sums.images

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keeps the best and the last state, writes the row of this epoch, and stops where the loss is no number."""
        assert isinstance(module, Training)
        row = Epoch(
            epoch=trainer.current_epoch + 1,
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            train_loss=module.train_loss,
            train_accuracy=module.train_accuracy,
            val_loss=module.val_loss,
            val_accuracy=module.val_accuracy,
            images_per_second=self._images / max(self._trained - self._started, 1e-9),
            seconds=time.perf_counter() - self._started,
        )
        if not (math.isfinite(row.train_loss) and math.isfinite(row.val_loss)):
            raise UserError(
                f"training diverged in epoch {row.epoch}: the loss is {row.train_loss:g} in training,"
                f" {row.val_loss:g} in validation. Try a lower --learning-rate than {row.learning_rate:g}"
            )
        self.rows.append(row)
        self._plateau.step(row.val_loss)
        network = module.classifier.network
        if self.best is row and self.folder is None:
            self.best_state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        if self.folder is not None:
            if self.best is row:
                write_weights(self.folder.model, network.state_dict(), self.network)
            write_text(self.folder.metrics, _csv(self.rows))
            self._points(row, module.steps)
            trainer.save_checkpoint(self.folder.last)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Closes TensorBoard's file."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Closes TensorBoard's file."""
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _point(self, module: Training, loss: torch.Tensor) -> None:
        """Now and then a point for TensorBoard's curve of the loss."""
        if module.steps % STEPS_BETWEEN_POINTS == 0 and self._writer is not None:
            self._writer.add_scalar("loss/batch", float(loss), module.steps)

    def _points(self, row: Epoch, step: int) -> None:
        for name, value in (
            ("loss/train", row.train_loss),
            ("loss/val", row.val_loss),
            ("accuracy/train", row.train_accuracy),
            ("accuracy/val", row.val_accuracy),
            ("learning_rate", row.learning_rate),
        ):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


def _csv(rows: list[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
