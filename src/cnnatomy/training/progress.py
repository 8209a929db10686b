"""What a user sees while a network trains: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import time

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from cnnatomy.runs.trained import Epoch
from cnnatomy.training.epochs import EpochEnd
from cnnatomy.training.task import Training

REFRESH = 0.1
"""Seconds between two drawings of the bar."""
MAX_LINES = 30
"""Where there is no bar, each of so many epochs has a line; of more epochs, those at every tenth of the training."""


def has_line(epoch: int, epochs: int) -> bool:
    """Whether an epoch, counted from 1, has a line where there is no bar: the first, the last, every tenth between."""
    between = epochs // 10 if epochs > MAX_LINES else 1
    return epoch in (1, epochs) or epoch % between == 0


class PipedConsole(Console):
    """Lets a BrokenPipeError through, where rich would end the process: `cnnatomy train ... | head` ends quietly."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the error."""
        raise


class ShowProgress(pl.Callback):
    """Epoch, loss, accuracy, images per second and time left, on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._validation = ""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Puts up the bar."""
        assert isinstance(module, Training)
        assert trainer.max_epochs is not None
        module.listeners.append(self._after_step)
        self._epochs, self._batches = trainer.max_epochs, len(trainer.train_dataloader.batches)  # type: ignore[union-attr]
        self._first, self._started, self._drawn = trainer.current_epoch * self._batches, time.perf_counter(), 0.0
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = [TextColumn("{task.fields[epoch]}"), BarColumn(None), TextColumn("{task.fields[figures]}")]
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, expand=True)
            total = self._epochs * self._batches
            epoch = f"epoch {trainer.current_epoch + 1}/{self._epochs}"
            self._task = self._bar.add_task("", total=total, completed=self._first, epoch=epoch, figures="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the clock for images per second."""
        self._epoch_started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Prints a line where there is no bar; the last epoch has one too where training stops early."""
        row = next(callback for callback in trainer.callbacks if isinstance(callback, EpochEnd)).rows[-1]  # type: ignore[attr-defined]
        self._validation = f"  validation {row.val_accuracy:.1%}"
        if self._bar is None and (has_line(row.epoch, self._epochs) or trainer.should_stop):
            self._console.print(self._line(row), soft_wrap=True, highlight=False, markup=False)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the bar down."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Takes the bar down."""
        self._stop()

    def _after_step(self, module: Training, loss: Tensor) -> None:
        """Draws the bar, ten times a second at most."""
        now = time.perf_counter()
        if self._bar is None or now - self._drawn < REFRESH:
            return
        self._drawn = now
        mean, accuracy = module.sums.measured()
        rate = module.sums.images / (now - self._epoch_started)
        left = self._left(module.steps)
        figures = f"loss {mean:.3f}  accuracy {accuracy:6.1%}{self._validation}  {rate:,.0f} images/s  {left}"
        epoch = f"epoch {module.current_epoch + 1}/{self._epochs}"
        self._bar.update(self._task, completed=module.steps, epoch=epoch, figures=figures)
        self._bar.refresh()

    def _stop(self) -> None:
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.stop()

    def _line(self, row: Epoch) -> str:
        left = self._left(row.epoch * self._batches)
        return (
            f"epoch {row.epoch}/{self._epochs}  loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.1%}"
            f"  validation loss {row.val_loss:.4f}  accuracy {row.val_accuracy:.1%}"
            f"  learning rate {row.learning_rate:g}  {row.images_per_second:,.0f} images/s  {left}"
        )

    def _left(self, done: int) -> str:
        """Time left until the last epoch; early stopping may end it before."""
        one = (time.perf_counter() - self._started) / max(done - self._first, 1)
        minutes, seconds = divmod(round(one * (self._epochs * self._batches - done)), 60)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}") + " left"
