"""How each layer learns: the norm of its gradient, and by how much a step changes its weights, by epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnatomy.errors import UserError
from cnnatomy.files import read_text, write_csv
from cnnatomy.limits import MAX_RECORD_BYTES
from cnnatomy.runs.trained import Epoch
from cnnatomy.training.loop import Training
from cnnatomy.training.watching import Watcher

STEPS_BETWEEN = 50
"""Steps of an epoch between two that are measured; its last is measured, too."""
MAX_COMPARED = 2**16
"""Weights of a layer that are compared with what they were before the step; of a larger layer as many are taken."""
HEADER = ("epoch", "path", "gradient_norm", "relative_change", "steps")


@dataclass(frozen=True)
class Learning:
    """How a layer learns: means over so many `steps` of an epoch.

    Attributes:
        path: of the layer in the network.
        gradient_norm: of the loss by its weights, before clipping (L2).
        relative_change: L2 norm of what a step adds to its weights, over that of the weights.
    """

    epoch: int
    path: str
    gradient_norm: float
    relative_change: float
    steps: int


class Layers(Watcher):
    """Measures every layer with weights at a few steps of each epoch, and keeps the means in a file.

    Attributes:
        latest: of each layer the gradient norm and the relative change at the step just done, where it was measured;
            else empty.
        rows: of all complete epochs.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.rows: list[Learning] = []
        self.latest: dict[str, tuple[float, float]] = {}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}
        self._sums: dict[str, tuple[float, float, int]] = {}

    def begin(self, training: Training) -> None:
        """Takes up the epochs that are done."""
        self.rows = [] if self.file is None else [row for row in read(self.file) if row.epoch <= training.epochs]
        self._sums, self.latest = {}, {}

    @torch.no_grad()
    def before_step(self, training: Training) -> None:
        """Keeps what the weights are, where the step is measured."""
        self.latest, self._before = {}, {}
        if is_measured(training):
            for path, weight in weights(training.model.network).items():
                if weight.requires_grad and weight.grad is not None:
                    self._before[path] = torch.linalg.vector_norm(weight.grad.float()), some(weight).clone()

    @torch.no_grad()
    def step(self, training: Training, loss: Tensor) -> None:
        """Compares them with what they are now."""
        if not self._before:
            return
        now = weights(training.model.network)
        figures = []
        for path, (gradient, before) in self._before.items():
            change, size = torch.linalg.vector_norm(some(now[path]) - before), torch.linalg.vector_norm(before)
            figures += [gradient, change / size.clamp_min(torch.finfo(size.dtype).tiny)]
        values = torch.stack(figures).tolist()  # the only time that the device is waited for
        self.latest = dict(zip(self._before, zip(values[::2], values[1::2], strict=True), strict=True))
        for path, (norm, relative) in self.latest.items():
            norms, relatives, count = self._sums.get(path, (0.0, 0.0, 0))
            self._sums[path] = norms + norm, relatives + relative, count + 1
        self._before = {}

    def epoch(self, training: Training, row: Epoch) -> None:
        """Adds the rows of an epoch, and writes them."""
        for path, (gradients, changes, count) in self._sums.items():
            self.rows.append(Learning(row.epoch, path, gradients / count, changes / count, count))
        self._sums = {}
        if self.file is not None:
            write_csv(self.file, HEADER, ([getattr(row, name) for name in HEADER] for row in self.rows))


def is_measured(training: Training) -> bool:
    """Whether the step that is about to be taken is one of those."""
    done = training.step_in_epoch + 1
    return done % STEPS_BETWEEN == 0 or done == training.steps_per_epoch or training.steps + 1 == training.total


def weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of each layer that multiplies by some, in order: kernels and matrices, no scale of a norm."""
    found: dict[str, nn.Parameter] = {}
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1:
                # a recurrent layer has several
                found[path if path not in found else f"{path}.{name}"] = parameter
    return found


def some(weight: Tensor, most: int = MAX_COMPARED) -> Tensor:
    """At most so many numbers of a tensor, evenly spaced through all of its axes."""
    flat = weight.detach().reshape(-1)
    spacing = max(1, math.ceil(len(flat) / most))
    while math.gcd(spacing, len(flat)) > 1:  # else always the same place of a kernel
        spacing += 1
    return flat[::spacing]


def read(file: Path) -> list[Learning]:
    """The rows that were written; nothing where there is no such file, or another one, which is then replaced."""
    if not os.path.lexists(file):
        return []
    try:
        lines = csv.DictReader(io.StringIO(read_text(file, MAX_RECORD_BYTES, "the layers")))
        return [
            Learning(
                int(line["epoch"]),
                line["path"],
                float(line["gradient_norm"]),
                float(line["relative_change"]),
                int(line["steps"]),
            )
            for line in lines
        ]
    except (UserError, KeyError, TypeError, ValueError, csv.Error):
        return []
