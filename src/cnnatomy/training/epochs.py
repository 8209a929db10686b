"""What is kept of a training: the best weights, the state to go on from, and a row an epoch."""

from __future__ import annotations

import time
from dataclasses import asdict, fields

from cnnatomy.files import write_csv
from cnnatomy.runs.folder import RunFolder, write_weights
from cnnatomy.runs.trained import Epoch
from cnnatomy.training import checkpoints
from cnnatomy.training.loop import Training


class Keeper:
    """Keeps a training in its run folder, if there is one."""

    def __init__(self, training: Training, folder: RunFolder | None, network: str, every: float) -> None:
        self.training, self.folder, self.network, self.every = training, folder, network, every
        self._written = time.monotonic()

    def epoch_done(self, row: Epoch) -> None:
        """Keeps the best weights and the state, and writes the row."""
        training = self.training
        if self.folder is None:
            return
        self._write()  # first: from it what follows can be written again
        if training.best is row:
            write_weights(self.folder.model, training.best_weights, self.network)
        write_metrics(self.folder, training)

    def between(self) -> None:
        """Keeps the state inside an epoch, now and then, if it is one to go on from."""
        if self.folder is not None and time.monotonic() - self._written >= self.every:
            self.training.check_weights()
            self._write()

    def _write(self) -> None:
        assert self.folder is not None
        checkpoints.write(self.folder, self.training.state())
        self._written = time.monotonic()


def write_metrics(place: RunFolder, training: Training) -> None:
    """metrics.csv: a line an epoch; the scores are called what they are."""
    metric = training.objective.task.metric
    header = (field.name.replace("score", metric) for field in fields(Epoch))
    write_csv(place.metrics, header, (asdict(row).values() for row in training.rows))
