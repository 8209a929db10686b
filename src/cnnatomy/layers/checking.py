"""Whether an activation of one's own is what it says: the values of its module, and where it turns."""

from __future__ import annotations

import functools
from bisect import bisect_right
from itertools import pairwise
from math import inf, isnan
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError, own_code
from cnnatomy.layers.activation import OfOneNumber

if TYPE_CHECKING:
    import torch

POINTS = tuple(i / 64 + 0.0043 for i in range(-12 * 64, 12 * 64))
"""Where it is looked at, 64 to each unit; none is a place at which activations have corners."""

STEP = 1e-6
"""Of the finite differences."""

WITHIN = 1e-6
"""What rounding may make of a value, in parts of it, or of 1 where it is smaller."""

SLOPE_WITHIN = 1e-4
"""What rounding may make of a finite difference."""


@functools.lru_cache(1024)
def check_activation(activation: OfOneNumber, gradient: bool = True) -> None:
    """Compares an activation with its module in double precision.

    The module must give the values of `at`, and rise or fall all the way but for the places that `turns` names; `at` of
    an infinite number must be where it tends to. With `gradient` its gradient must be that of finite differences, which
    is not so on purpose where a straight-through estimator stands for a step.

    Raises:
        UserError: naming the first number at which it does not.
    """
    name = repr(activation)
    with own_code(name):
        _check(activation, gradient, name)


def _check(activation: OfOneNumber, gradient: bool, name: str) -> None:
    import torch

    values = [float(activation.at(x)) for x in POINTS]
    module = activation.module((len(POINTS),)).double().eval()
    x = torch.tensor([POINTS], dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        y = module(x)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        raise UserError(f"{name}: its module must give one number for each that it gets")
    for point, said, got in zip(POINTS, values, y[0].tolist(), strict=True):
        if not _alike(said, got, WITHIN):
            raise UserError(f"{name}: at({point:g}) is {said:g}, its module gives {got:g}")
    if gradient:
        _check_gradient(activation, y, x, name)
    _check_turns(activation, values, name)


def _check_gradient(activation: OfOneNumber, y: torch.Tensor, x: torch.Tensor, name: str) -> None:
    import torch

    slopes = torch.autograd.grad(y.sum(), x, allow_unused=True)[0] if y.requires_grad else None
    if slopes is None:
        slopes = torch.zeros_like(x)
    for point, slope in zip(POINTS, slopes[0].tolist(), strict=True):
        difference = (activation.at(point + STEP) - activation.at(point - STEP)) / (2 * STEP)
        if not _alike(slope, difference, SLOPE_WITHIN):
            raise UserError(
                f"{name}: at {point:g} the gradient of its module is {slope:g}, finite differences of `at` give"
                f" {difference:g}"
            )


def _check_turns(activation: OfOneNumber, values: list[float], name: str) -> None:
    turns = sorted(activation.turns())
    ends = (activation.at(-inf), activation.at(inf))
    if any(isnan(end) for end in ends):
        raise UserError(f"{name}: `at` of an infinite number is the limit, not nan; `times` of layers.interval helps")
    known = sorted(
        [(-inf, ends[0]), *zip(POINTS, values, strict=True), *((t, activation.at(t)) for t in turns), (inf, ends[1])]
    )
    ways: dict[int, tuple[bool, float]] = {}  # of each part between turns: whether it rises, and where that was seen
    for (before, low), (point, high) in pairwise(known):
        if _alike(low, high, 1e-12):
            continue
        rises, part = high > low, bisect_right(turns, before)
        way, where = ways.setdefault(part, (rises, before))
        if way is not rises:
            raise UserError(
                f"{name}: it {'rises' if way else 'falls'} from {where:g} and {'rises' if rises else 'falls'} from"
                f" {before:g} to {point:g}: `turns` must name where it turns, and names {_listed(turns)}"
            )


def _listed(turns: list[float]) -> str:
    return ", ".join(f"{turn:g}" for turn in turns) or "none"


def _alike(one: float, other: float, within: float) -> bool:
    return one == other or abs(one - other) <= within * max(1.0, abs(one), abs(other))
