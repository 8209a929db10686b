"""How long training takes on this machine, measured; and the learning rates at which it learns."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cnnatomy.data import Data
from cnnatomy.errors import UserError
from cnnatomy.runs.evaluation import EVALUATION_BATCH
from cnnatomy.training.fitting import ready, surroundings
from cnnatomy.training.loop import Training
from cnnatomy.training.preparing import Plan
from cnnatomy.training.schema import Recipe
from cnnatomy.training.watching import Watcher

MEASURED = 4.0
"""Seconds of training that are measured, after two steps of warm-up."""
SPARE = 0.92
"""Share of the time that is planned with; machines are not always as fast."""
RANGE = (1e-6, 10.0)
"""Learning rates that the finder tries, if the loss lets it."""
STEPS = 200
SMOOTHING = 0.9
"""Of the loss by step, for the finder."""
TOO_HIGH = 4.0
"""Times the lowest loss, at which the finder ends."""


class _Enough(Exception):  # noqa: N818  it ends a measurement, nothing is wrong
    """Ends a training that is only measured."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, and of the validation after each epoch."""

    step: float
    validation: float

    def epochs(self, seconds: float, steps_per_epoch: int) -> float:
        """How many epochs fit: whole ones, or where not even one does, a part."""
        found = seconds * SPARE / (self.step * steps_per_epoch + self.validation)
        if found >= 1:
            return float(math.floor(found))
        part = (seconds * SPARE - self.validation) / (self.step * steps_per_epoch)
        if part * steps_per_epoch < 1:
            raise UserError(
                f"--time: in {seconds:.2g} s there is time for no step: one takes {self.step:.2g} s here, and"
                f" validation {self.validation:.2g} s. Give more time, less data or a smaller network"
            )
        return part


def within(seconds: float, plan: Plan, data: Data) -> Recipe:
    """The recipe with as many epochs as fit into this time, and its schedule stretched to them.

    The warmup and the cuts of step keep their share of the training; plateau and early stopping stay as they are.
    """
    watch = _Clock(MEASURED)
    training = _measured(plan, data, watch)
    validated = time.perf_counter()
    some = data.val.batches(EVALUATION_BATCH)
    seen = 0
    training.evaluated.eval()
    with torch.inference_mode():
        for images, _ in some:
            training.evaluated(images)
            seen += len(images)
            if time.perf_counter() - validated > 1:
                break
    validation = (time.perf_counter() - validated) * len(data.val) / max(seen, 1)
    data.close()
    epochs = Pace(watch.step_seconds, validation).epochs(seconds, training.steps_per_epoch)
    recipe = plan.recipe
    share = epochs / recipe.epochs
    return replace(
        recipe,
        epochs=epochs,
        warmup=recipe.warmup * min(share, 1.0),
        cut_every=max(1, round(recipe.cut_every * share)) if recipe.cut_every else 0,
        cut_at=tuple(sorted({max(1, round(epoch * share)) for epoch in recipe.cut_at})),
    )


class _Clock(Watcher):
    """Ends training after so many seconds, and knows how long a step took."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.step_seconds = 0.0
        self._begun = 0.0

    def step(self, training: Training, loss: Tensor) -> None:
        now = time.perf_counter()
        if training.steps == 2:
            self._begun = now
        elif training.steps > 2:
            self.step_seconds = (now - self._begun) / (training.steps - 2)
            if now - self._begun > self.seconds:
                raise _Enough


@dataclass(frozen=True)
class RangeTest:
    """What a range test found (Smith 2017): losses by learning rate, smoothed, and the rate that it suggests.

    `steepest` is where the loss falls fastest; `suggested` a tenth of the rate at which it is lowest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    steepest: float
    suggested: float


def find_rate(plan: Plan, data: Data) -> RangeTest:
    """Trains with a learning rate that rises from step to step, until the loss rises, and throws the network away."""
    rising = replace(plan.recipe, schedule="constant", warmup=0.0, learning_rate=RANGE[0], patience=0)
    steps = min(STEPS, max(20, 5 * len(data.train) // plan.recipe.batch_size))
    watch = _Range(steps)
    _measured(plan.with_recipe(rising), data, watch)
    data.close()
    rates, losses = watch.rates, watch.losses
    if len(rates) < 5:
        raise UserError("the loss is no number from the start, at the lowest rate: look at the data and the network")
    lowest = min(range(len(losses)), key=losses.__getitem__)
    slopes = [losses[i + 1] - losses[i - 1] for i in range(1, max(2, lowest))]
    steepest = 1 + min(range(len(slopes)), key=slopes.__getitem__)
    return RangeTest(tuple(rates), tuple(losses), rates[steepest], rates[lowest] / 10)


class _Range(Watcher):
    """Raises the rate after every step, and keeps the smoothed loss."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._mean = 0.0

    def begin(self, training: Training) -> None:
        self._rise(training)

    def _rise(self, training: Training) -> None:
        """Sets the rate of the next step."""
        low, high = RANGE
        rate = low * (high / low) ** (len(self.rates) / (self.steps - 1))
        training.recipe = replace(training.recipe, learning_rate=rate)

    def step(self, training: Training, loss: Tensor) -> None:
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * float(loss)
        smoothed = self._mean / (1 - SMOOTHING ** (len(self.rates) + 1))
        self.rates.append(training.rate)
        self.losses.append(smoothed)
        if len(self.rates) == self.steps or (len(self.rates) > 10 and smoothed > TOO_HIGH * min(self.losses)):
            raise _Enough
        self._rise(training)


def _measured(plan: Plan, data: Data, watch: Watcher) -> Training:
    """A training without validation, until `watch` has had enough, or the loss is no number."""
    endless = plan.with_recipe(replace(plan.recipe, epochs=10**6, patience=0))
    with surroundings(plan.run.name, plan.device):
        training = ready(endless, data, [watch])
        try:
            training.run(lambda row: None, lambda: None)
        except _Enough:
            pass
        except UserError:
            if not training.steps:
                raise
    return training
