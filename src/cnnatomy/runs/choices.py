"""What is chosen on the validation split after training: temperature, and thresholds of probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cnnatomy.errors import UserError
from cnnatomy.runs.evaluation import moved
from cnnatomy.runs.model import Model
from cnnatomy.tasks import metrics
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.numbers import Labels
from cnnatomy.tasks.several import EarlyExits
from cnnatomy.tasks.task import Target, Task

SURE = 0.99
"""Share of the answers above the threshold that are to be right."""


def choices(model: Model, batches: Iterable[tuple[Tensor, Target]], task: Task) -> dict[str, Any]:
    """Of one label: the temperature that calibrates its probabilities, and from which probability on 99 % are right.

    Of several labels, for each the threshold with the highest F1. Of other tasks nothing.
    """
    if not isinstance(task, (Label, Labels)) or isinstance(task, EarlyExits):  # each exit has probabilities of its own
        return {}
    outputs, targets = _said(model, batches, task)
    if isinstance(task, Labels):
        found = [metrics.f1_threshold(outputs[:, i].sigmoid(), targets[:, i] > 0) for i in range(len(task.names))]
        return {"thresholds": [threshold for threshold, _ in found], "f1": [f1 for _, f1 in found]}
    right = outputs.argmax(1) == targets
    # where all are right, the cross entropy falls as long as the temperature does: that says nothing of new images
    temperature = 1.0 if right.all() else metrics.temperature(outputs, targets)
    before, after = (outputs.softmax(1).amax(1), (outputs / temperature).softmax(1).amax(1))
    sure = metrics.sure_threshold(after, right, SURE)
    return {
        "temperature": temperature,
        "calibration_error": metrics.calibration_error(before, right),
        "calibration_error_at_temperature": metrics.calibration_error(after, right),
        "threshold": {"right": SURE, "probability": sure[0], "answered": sure[1]} if sure else None,
    }


def chosen(task: Task, made: Mapping[str, Any]) -> tuple[Task, float]:
    """The task as it was chosen on validation, and the probability below which a class is not known.

    Raises:
        UserError: if nothing was chosen for such a task.
    """
    if isinstance(task, Labels) and "thresholds" in made:
        return dataclasses.replace(task, thresholds=tuple(made["thresholds"])), 0.0
    if isinstance(task, Label) and "temperature" in made:
        if made["threshold"] is None:
            raise UserError(f"on validation there was no probability from which on {SURE:.0%} of the answers are right")
        return dataclasses.replace(task, temperature=made["temperature"]), made["threshold"]["probability"]
    whose = "one label or several labels"
    raise UserError(f"no threshold was chosen on validation: that is for {whose}, at the end of training ({task.kind})")


def _said(model: Model, batches: Iterable[tuple[Tensor, Target]], task: Label | Labels) -> tuple[Tensor, Tensor]:
    """Outputs (float64) and targets of a split, one row an image."""
    said, wanted = [], []
    model.eval()
    with torch.inference_mode():
        for images, given in batches:
            outputs, _ = model.heads(model(images))
            said.append(task.scores(outputs).double().cpu())
            wanted.append(task.wanted(moved(given, torch.device("cpu"))))
    return torch.cat(said), torch.cat(wanted)
