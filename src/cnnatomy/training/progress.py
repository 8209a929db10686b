"""What a user sees while a network trains: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from cnnatomy.runs.trained import Epoch
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher

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


class ShowProgress(Watcher):
    """Epoch, loss, score, images per second and time left, on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._validation = ""

    def begin(self, training: Training) -> None:
        """Puts up the bar."""
        self._epochs, self._steps = math.ceil(training.recipe.epochs), training.total
        self._first, self._started, self._drawn = training.steps, time.perf_counter(), 0.0
        self._epoch_started, self._seen = time.perf_counter(), training.sums.images
        self._score = training.objective.task.metric.replace("_", " ")
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = [TextColumn("{task.fields[epoch]}"), BarColumn(None), TextColumn("{task.fields[figures]}")]
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, expand=True)
            epoch = f"epoch {training.epochs + 1}/{self._epochs}"
            self._task = self._bar.add_task("", total=self._steps, completed=self._first, epoch=epoch, figures="")
            self._bar.start()

    def step(self, training: Training, loss: Tensor) -> None:
        """Draws the bar, ten times a second at most."""
        now = time.perf_counter()
        if self._bar is None or now - self._drawn < REFRESH:
            return
        self._drawn = now
        mean, score = training.sums.measured()
        rate = (training.sums.images - self._seen) / (now - self._epoch_started)
        figures = f"loss {mean:.3f}  {self._score} {score:6.1%}{self._validation}  {rate:,.0f} images/s"
        figures += f"  {self._left(training)}"
        epoch = f"epoch {training.epochs + 1}/{self._epochs}"
        self._bar.update(self._task, completed=training.steps, epoch=epoch, figures=figures)
        self._bar.refresh()

    def epoch(self, training: Training, row: Epoch) -> None:
        """Prints a line where there is no bar; the last epoch has one too where training stops early."""
        self._epoch_started, self._seen = time.perf_counter(), 0
        self._validation = "" if math.isnan(row.val_loss) else f"  validation {row.val_score:.1%}"
        if self._bar is None and (has_line(row.epoch, self._epochs) or training.is_over):
            self._console.print(self._line(training, row), soft_wrap=True, highlight=False, markup=False)

    def end(self, training: Training) -> None:
        """Takes the bar down."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.stop()

    def _line(self, training: Training, row: Epoch) -> str:
        trained = f"loss {row.train_loss:.4f}  {self._score} {row.train_score:.1%}{self._validated(row)}"
        return (
            f"epoch {row.epoch}/{self._epochs}  {trained}  learning rate {row.learning_rate:.3g}"
            f"  {row.images_per_second:,.0f} images/s  {self._left(training)}"
        )

    def _validated(self, row: Epoch) -> str:
        """What validation says, where there is one."""
        if math.isnan(row.val_loss):
            return ""
        return f"  validation loss {row.val_loss:.4f}  {self._score} {row.val_score:.1%}"

    def _left(self, training: Training) -> str:
        """Time left until the last epoch, by the speed measured so far; early stopping may end it before."""
        one = (time.perf_counter() - self._started) / max(training.steps - self._first, 1)
        minutes, seconds = divmod(round(one * (self._steps - training.steps)), 60)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}") + " left"
