"""Training that fits into a time, and the range test of learning rates."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.data import Data, load
from cnnatomy.errors import UserError
from cnnatomy.training import Recipe, pace, preparing
from cnnatomy.training.pace import Pace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 32, 32))


def test_as_many_whole_epochs_are_planned_as_fit_or_a_part_of_one() -> None:
    a_second = Pace(step=0.01, validation=0.0)
    assert a_second.epochs(10, steps_per_epoch=100) == 9  # a twelfth is kept to spare
    assert a_second.epochs(0.5, steps_per_epoch=100) == pytest.approx(0.46)
    with pytest.raises(UserError, match="there is time for no step"):
        a_second.epochs(0.005, steps_per_epoch=100)


@pytest.mark.slow
def test_a_schedule_is_stretched_to_the_time_and_the_callers_random_numbers_stay(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "MEASURED", 0.2)
    recipe = Recipe(schedule="step", cut_at=(10, 20), epochs=40, warmup=4)
    planned = preparing.plan(cn.network("lenet-5", classes=10), digits, recipe, CPU)
    state = torch.get_rng_state()
    fitted = pace.within(5, planned, digits)
    assert torch.equal(state, torch.get_rng_state())
    share = fitted.epochs / 40
    assert fitted.cut_at == tuple(sorted({max(1, round(10 * share)), max(1, round(20 * share))}))
    assert fitted.warmup == pytest.approx(4 * min(share, 1))


@pytest.mark.slow
def test_the_range_test_finds_a_rate_at_which_lenet_learns(digits: Data) -> None:
    network = cn.network("lenet-5", classes=10)
    planned = preparing.plan(network, digits, Recipe(), CPU)
    found = pace.find_rate(planned, digits)
    assert list(found.rates) == sorted(found.rates)
    assert 1e-3 < found.suggested < 1
    assert min(found.losses) < found.losses[0] / 2
