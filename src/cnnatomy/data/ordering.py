"""Orders of an epoch that a buffer can realise, through which images come that can only be had one after another."""

from __future__ import annotations

import torch
from torch import Tensor


def within_window(count: int, window: int, generator: torch.Generator) -> Tensor:
    """A permutation of 0 .. count - 1, `(count,)` int64, in which number k is below k + `window`.

    As a buffer of `window` places gives it: it is filled in order, one of its places is drawn, and the next number
    takes that place. With as many places as numbers, every permutation is equally likely.
    """
    sizes = torch.arange(count, 0, -1).clamp(max=window)
    picks = (torch.rand(count, dtype=torch.float64, generator=generator) * sizes).long().clamp(max=sizes - 1)
    held = list(range(min(window, count)))
    order = []
    for following, pick in enumerate(picks.tolist(), window):
        order.append(held[pick])
        if following < count:
            held[pick] = following
        else:
            held[pick] = held[-1]
            held.pop()
    return torch.tensor(order, dtype=torch.int64)
