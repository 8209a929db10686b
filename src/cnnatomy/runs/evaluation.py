"""How good a trained network is, measured exactly over a whole split, by what its task measures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cnnatomy.runs.model import Model, check_finite
from cnnatomy.tasks.losses import Options
from cnnatomy.tasks.task import Criterion, Evaluation, Target, Task

EVALUATION_BATCH = 256
"""Images at once."""


def evaluate(
    model: Model,
    batches: Iterable[tuple[Tensor, Target]],
    task: Task,
    criterion: Criterion = None,
) -> Evaluation:
    """Runs every batch of (images uint8, target) through the network, on the device that it is on.

    `criterion` is the loss, by default the task's own.

    Raises:
        UserError: if an output is no finite number.
    """
    device = model.mean.device
    criterion = task.criterion("", Options()) if criterion is None else criterion
    meter = task.meter()
    started, loss, count = time.perf_counter(), 0.0, 0
    training = model.training
    model.eval()
    with torch.inference_mode(), quiet():
        for images, given in batches:
            target = moved(given, device)
            outputs, _ = model.heads(model(images.to(device)))
            check_finite(outputs)
            loss += float(task.loss(outputs, target, criterion)) * len(images)
            count += len(images)
            meter.update(outputs, target)
    model.train(training)
    return meter.result(count, loss / count, time.perf_counter() - started)


def moved(target: Target, device: torch.device) -> Target:
    """A target on another device."""
    if isinstance(target, Tensor):
        return target.to(device)
    return {name: tensor.to(device) for name, tensor in target.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """The warnings of libraries stay off the user's screen; as it was afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
