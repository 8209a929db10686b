"""The learning rate of every step, compared with torch's schedulers, which keep a state."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from cnnatomy.training.schedules import Plateau, rate
from cnnatomy.training.schema import Recipe

STEPS = 7
"""Steps an epoch."""
EPOCHS = 12


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)


def of_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    optimizer = sgd()
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def of_ours(steps: int = STEPS * EPOCHS, begin: float = 0.0, **fields: Any) -> list[float]:
    recipe = Recipe(**{"learning_rate": 0.4, "epochs": EPOCHS, **fields})
    return [rate(recipe, step / STEPS, STEPS, begin=begin) for step in range(steps)]


TOTAL = STEPS * EPOCHS
SAME: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer], LRScheduler]]] = {
    "constant": ({}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step, every": ({"cut_every": 3}, lambda o: lr_scheduler.StepLR(o, 3 * STEPS)),
    "step, at": (
        {"cut_at": [4, 9], "cut": 0.2},
        lambda o: lr_scheduler.MultiStepLR(o, [4 * STEPS, 9 * STEPS], 0.2),
    ),
    "cosine": ({}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
    "cosine, to a rest": ({"final": 0.1}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.04)),
    "polynomial": ({"power": 0.9}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 0.9)),
    "one-cycle": ({}, lambda o: lr_scheduler.OneCycleLR(o, 0.4, TOTAL, cycle_momentum=False)),
}


@pytest.mark.parametrize("name", SAME)
def test_every_step_has_the_rate_of_torchs_scheduler(name: str) -> None:
    fields, make = SAME[name]
    assert of_ours(schedule=name.partition(",")[0], **fields) == pytest.approx(of_torch(make, TOTAL), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 11])
def test_one_cycle_is_torchs_for_a_few_steps_too(steps: int) -> None:
    recipe = Recipe(schedule="one-cycle", learning_rate=0.4, epochs=1)
    ours = [rate(recipe, step / steps, steps) for step in range(steps)]
    theirs = of_torch(lambda o: lr_scheduler.OneCycleLR(o, 0.4, steps, cycle_momentum=False), steps - 1)
    assert ours[:-1] == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] == pytest.approx(0.4 / 25 / 1e4)


def test_a_warmup_rises_linearly_to_the_whole_rate_and_cosine_takes_the_rest() -> None:
    warm = 2 * STEPS

    def theirs(optimizer: torch.optim.Optimizer) -> LRScheduler:
        rising = lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm - 1)
        falling = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - warm)
        return lr_scheduler.SequentialLR(optimizer, [rising, falling], [warm])

    assert of_ours(schedule="cosine", warmup=2) == pytest.approx(of_torch(theirs, TOTAL), rel=1e-9)


def test_a_warmup_before_steps_moves_no_cut() -> None:
    ours = of_ours(schedule="step", cut_at=[4, 9], warmup=1)
    assert ours[:STEPS] == pytest.approx([0.4 * (step + 1) / STEPS for step in range(STEPS)])
    assert ours[STEPS:] == of_ours(schedule="step", cut_at=[4, 9])[STEPS:]


def test_the_warmup_of_one_cycle_ends_where_the_cycle_begins() -> None:
    ours = of_ours(schedule="one-cycle", warmup=2)
    assert ours[2 * STEPS - 1] == ours[2 * STEPS] == pytest.approx(0.4 / 25)


@pytest.mark.parametrize("schedule", ["cosine", "polynomial", "one-cycle"])
def test_more_epochs_are_a_new_cycle(schedule: str) -> None:
    """From epoch 12 to 20 as a training of 8 epochs; the warmup is over."""
    longer = of_ours(20 * STEPS, schedule=schedule, epochs=20, begin=12, warmup=1)
    assert longer[12 * STEPS :] == pytest.approx(of_ours(8 * STEPS, schedule=schedule, epochs=8), rel=1e-9)


def test_more_epochs_move_no_cut_of_step() -> None:
    assert of_ours(20 * STEPS, schedule="step", cut_every=5, begin=12) == of_ours(
        20 * STEPS, schedule="step", cut_every=5
    )


def test_after_the_last_epoch_the_rate_stays_at_its_end() -> None:
    assert of_ours(TOTAL + 3, schedule="cosine", final=0.1)[-3:] == pytest.approx([0.04] * 3)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_cuts_after_the_same_epochs_as_torch(patience: int) -> None:
    draw = random.Random(patience)
    losses = [round(2 / (1 + epoch / 10) + draw.random() / 3, 2) for epoch in range(80)]
    losses[10:14] = [0.5, 0.49996, 0.4999, 0.49]  # around a share of 1e-4
    optimizer = sgd()
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0)
    ours = Plateau(patience)
    recipe = Recipe(schedule="plateau", learning_rate=0.4, cut=0.5)
    for epoch, loss in enumerate(losses, 1):
        theirs.step(loss)
        ours.step(loss)
        assert (ours.best, ours.bad_epochs) == (theirs.best, theirs.num_bad_epochs)
        assert rate(recipe, epoch, STEPS, ours.cuts) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.cuts > 2


def test_a_plateau_goes_on_from_its_state() -> None:
    losses = [3.0, 2.0, 2.0, 2.1, 1.0, 1.0, 1.0, 1.0, 1.0]
    whole, first, second = Plateau(2), Plateau(2), Plateau(2)
    expected = [whole.step(loss) for loss in losses]
    said = [first.step(loss) for loss in losses[:6]]
    second.load_state_dict(first.state_dict())
    assert said + [second.step(loss) for loss in losses[6:]] == expected
    assert any(expected)
    assert second == whole
