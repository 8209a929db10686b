"""The learning rate of every step as a function of how far training is, so that resuming needs no schedule's state.

What depends on the validation loss is counted here, too: the cuts of `plateau`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cnnatomy.training.schema import Recipe

RISING, FIRST, LAST = 0.3, 1 / 25, 1 / 25 / 1e4
"""Of one-cycle: the share of the steps in which the rate rises, and with what share of the highest it begins and ends.

As in `torch.optim.lr_scheduler.OneCycleLR`, from Smith and Topin 2017. The momentum stays as it is.
"""
BETTER = 1e-4
"""Share by which a loss must be lower than the lowest before it, for `plateau` to call it better: as in torch."""


def rate(recipe: Recipe, epochs_done: float, steps_per_epoch: int, cuts: int = 0, begin: float = 0.0) -> float:
    """The learning rate of the step that follows `epochs_done` epochs; the rates of parts are factors on it.

    In the warmup of W steps, step i from 1 has i/W of what the schedule gives; cosine, one-cycle and polynomial take
    their way from its end to `recipe.epochs`. `cuts` is how often `Plateau` has cut. `begin` is the epoch at which a
    training that had ended goes on: there cosine, one-cycle and polynomial begin again, without a warmup. The epochs of
    step count from the first of all.
    """
    done = count(epochs_done, steps_per_epoch)
    warmup = count(recipe.warmup, steps_per_epoch)
    rising = min(1.0, (done + 1) / warmup) if warmup else 1.0
    if recipe.schedule == "plateau":
        return recipe.learning_rate * rising * recipe.cut**cuts
    if recipe.schedule == "step":
        return recipe.learning_rate * rising * recipe.cut ** _cuts(recipe, done, steps_per_epoch)
    first = max(warmup, count(begin, steps_per_epoch))
    steps = max(1, count(recipe.epochs, steps_per_epoch) - first)
    return recipe.learning_rate * rising * _SHAPES[recipe.schedule](recipe, min(max(0, done - first), steps), steps)


def count(epochs: float, steps_per_epoch: int) -> int:
    """How many steps so many epochs are; of a part of a step, the nearest."""
    return round(epochs * steps_per_epoch)


def _cuts(recipe: Recipe, done: int, steps_per_epoch: int) -> int:
    regular = done // (recipe.cut_every * steps_per_epoch) if recipe.cut_every else 0
    return regular + sum(done >= epoch * steps_per_epoch for epoch in recipe.cut_at)


def _cosine(recipe: Recipe, done: int, steps: int) -> float:
    """Half a wave from 1 to `final` (Loshchilov and Hutter 2016, equation 5)."""
    return recipe.final + (1 - recipe.final) * (1 + math.cos(math.pi * done / steps)) / 2


def _polynomial(recipe: Recipe, done: int, steps: int) -> float:
    return recipe.final + (1 - recipe.final) * float((1 - done / steps) ** recipe.power)


def _one_cycle(recipe: Recipe, done: int, steps: int) -> float:
    """Half a wave up, then half a wave down to the last step."""
    top, last = RISING * steps - 1, steps - 1
    if done <= top:
        return _half_wave(FIRST, 1.0, done / top)
    return _half_wave(1.0, LAST, min(1.0, (done - top) / (last - top)))


def _half_wave(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


_SHAPES: Mapping[str, Callable[[Recipe, int, int], float]] = {
    "constant": lambda recipe, done, steps: 1.0,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "polynomial": _polynomial,
}


@dataclass
class Plateau:
    """Counts the cuts of the learning rate: after more than `patience` epochs without a loss better by `BETTER`.

    `cut_after` are the epochs after which it did: those of `torch.optim.lr_scheduler.ReduceLROnPlateau`, which besides
    makes no cut below 1e-8.
    """

    patience: int
    best: float = math.inf
    bad_epochs: int = 0
    epochs: int = 0
    cut_after: list[int] = field(default_factory=list)

    @property
    def cuts(self) -> int:
        """How often it has cut."""
        return len(self.cut_after)

    def step(self, loss: float) -> bool:
        """Takes the validation loss of an epoch; returns whether the rate is cut now."""
        self.epochs += 1
        if loss < self.best * (1 - BETTER):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs <= self.patience:
            return False
        self.cut_after.append(self.epochs)
        self.bad_epochs = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything but the patience, which is the recipe's."""
        return {name: value for name, value in asdict(self).items() if name != "patience"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from such a state; raises `KeyError` where something is missing."""
        for name in self.state_dict():
            setattr(self, name, state[name])
