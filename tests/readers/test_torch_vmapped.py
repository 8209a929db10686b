"""Functions that `torch.vmap` maps are read for each part; other transforms of `torch.func` are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy.analysis import account
from helpers import flops

MAP = (5, 8)


class Run(nn.Module):
    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.linear, self.w = nn.Linear(8, 8), nn.Parameter(torch.rand(3, 6, 8))

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


MAPPED = {
    "on a branch": lambda m, x: x + torch.vmap(lambda row: row @ m.w[0].T @ m.w[0])(x),
    "a module, along another axis": lambda m, x: torch.vmap(m.linear, in_dims=1, out_dims=1)(x),
    "in one another": lambda m, x: torch.vmap(torch.vmap(m.linear))(x),
    "an ensemble": lambda m, x: torch.func.vmap(F.linear, in_dims=(None, 0))(x, m.w),
    "several outputs": lambda m, x: torch.vmap(lambda y: (m.linear(y), y), out_dims=(0, 1))(x)[0],
}


@pytest.mark.parametrize("name", MAPPED)
def test_what_is_mapped_is_counted_and_has_its_shape(name: str) -> None:
    module = Run(MAPPED[name]).eval()
    graph = cn.read(module, MAP)
    assert 2 * account(graph).totals.macs == flops(module.to("meta"), torch.empty(1, *MAP, device="meta"))
    shape = tuple(module(torch.empty(1, *MAP, device="meta")).shape)
    assert graph.outputs[0].shape == (shape[1:] if shape[0] == 1 else shape[:1] + shape[2:])


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x + torch.func.grad(lambda y: m.linear(y).sum())(x),
        lambda m, x: m.linear(x) + torch.func.grad(lambda y: (y * x).sum())(x),
        lambda m, x: torch.func.jvp(m.linear, (x,), (x,))[1],
    ],
    ids=["grad", "grad of a closure", "jvp"],
)
def test_other_transforms_are_refused_by_name(function: Any) -> None:
    with pytest.raises(cn.UserError, match=r"torch\.func \(grad"):
        cn.read(Run(function), MAP)


def test_functions_are_mapped_as_ever_afterwards() -> None:
    cn.read(Run(MAPPED["on a branch"]), MAP)
    x = torch.rand(4, 3)
    torch.testing.assert_close(torch.vmap(torch.dot)(x, x), (x * x).sum(1))
