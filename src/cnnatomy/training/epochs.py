"""What is kept of a training: the best weights, the state to go on from, and a row an epoch."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict

import torch

from cnnatomy.files import write_text
from cnnatomy.runs.folder import RunFolder, write_weights
from cnnatomy.runs.trained import Epoch
from cnnatomy.training import checkpoints
from cnnatomy.training.loop import Training


class Keeper:
    """Keeps a training in its run folder, if there is one, else its best weights in memory."""

    def __init__(self, training: Training, folder: RunFolder | None, network: str, every: float) -> None:
        self.training, self.folder, self.network, self.every = training, folder, network, every
        self.best_state: dict[str, torch.Tensor] = {}
        self._written = time.monotonic()

    def epoch_done(self, row: Epoch) -> None:
        """Keeps the best and the last state, and writes the row."""
        training = self.training
        state = training.evaluated.network.state_dict()
        is_best = training.best is row
        if self.folder is None:
            if is_best:
                self.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}
            return
        if is_best:
            write_weights(self.folder.model, state, self.network)
        write_text(self.folder.metrics, as_csv(training.rows, training.objective.task.metric))
        self._write()

    def between(self) -> None:
        """Keeps the state inside an epoch, now and then."""
        if self.folder is not None and time.monotonic() - self._written >= self.every:
            self._write()

    def _write(self) -> None:
        assert self.folder is not None
        checkpoints.write(self.folder, self.training.state())
        self._written = time.monotonic()


def as_csv(rows: list[Epoch], metric: str) -> str:
    """A line an epoch; the scores are called what they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name.replace("score", metric) for name in Epoch.__dataclass_fields__])
    writer.writerows(asdict(row).values() for row in rows)
    return text.getvalue()
