"""Products of torch that are none of our layers: einsum in every form, tensordot, distances, products of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.layers.layer import Operations
from helpers import flops

MAP = (4, 6)


class Run(nn.Module):
    def __init__(self, function: Callable[[Any, torch.Tensor], torch.Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.ParameterList([nn.Parameter(torch.rand(shape)) for shape in shapes])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.w, x)


def operations(module: nn.Module, shape: tuple[int, ...] = MAP) -> Operations:
    got = account(cn.read(module.eval(), shape))
    assert got.totals.not_counted == 0
    parameters = sum(torch.Size(size).numel() for _, size in got.graph.unused) + got.totals.parameters
    assert parameters == sum(p.numel() for p in module.parameters())
    return Operations(*map(sum, zip(*(row.operations for row in got.rows), strict=True)))


AS_TORCH = {
    "two factors": Run(lambda w, x: torch.einsum("bij,jk->bik", x, w[0]), (6, 5)),
    "ellipsis": Run(lambda w, x: torch.einsum("...ij,jk->...ik", x, w[0]), (6, 5)),
    "ellipsis of both": Run(lambda w, x: torch.einsum("...ij,...jk", x, x.mT)),
    "no output": Run(lambda w, x: torch.einsum("bij,kj", x, w[0]), (5, 6)),
    "three factors": Run(lambda w, x: torch.einsum("bij,jk,kl->bil", x, w[0], w[1]), (6, 5), (5, 3)),
    "four factors": Run(lambda w, x: torch.einsum("bij,jk,kl,lm->bim", x, *w), (6, 5), (5, 3), (3, 2)),
    "diagonal": Run(lambda w, x: torch.einsum("bii,ij->bj", x[:, :, :4], w[0]), (4, 3)),
    "trace": Run(lambda w, x: torch.einsum("bii->b", x[:, :, :4]) * 1),
    "numbers for letters": Run(lambda w, x: torch.einsum(x, [0, 1, 2], w[0], [2, 3], [0, 1, 3]), (6, 5)),
    "numbers and ellipsis": Run(lambda w, x: torch.einsum(x, [..., 2], w[0], [2, 3], [..., 3]), (6, 5)),
    "a sum of one": Run(lambda w, x: torch.einsum("bij,bjk->bik", x[..., :1], x[:, :1])),
    "tensordot": Run(lambda w, x: torch.tensordot(x, w[0], dims=([1, 2], [0, 1])), (4, 6, 3)),
    "tensordot of the last": Run(lambda w, x: torch.tensordot(x, w[0], 1), (6, 3)),
    "multi_dot": Run(lambda w, x: torch.linalg.multi_dot([x[0], *w]), (6, 5), (5, 40), (40, 2)),
    "multi_dot of a vector": Run(lambda w, x: torch.linalg.multi_dot([x[0, 0], *w]), (6, 5), (5, 40)),
    "chain_matmul": Run(lambda w, x: torch.chain_matmul(x[0], *w), (6, 5), (5, 40), (40, 2)),
    "power": Run(lambda w, x: torch.linalg.matrix_power(x[:, :, :4], 5)),
    "vector and matrix": Run(lambda w, x: x[0, 0] @ w[0], (6, 3)),
    "broadcast": Run(lambda w, x: x[:, None] @ w[0], (5, 6, 3)),
    "inner": Run(lambda w, x: torch.inner(x, w[0]), (5, 6)),
    "addmm": Run(lambda w, x: torch.addmm(w[0], x[0], w[1]), (5,), (6, 5)),
    "baddbmm": Run(lambda w, x: torch.baddbmm(w[0], x, w[1]), (5,), (1, 6, 5)),
    "transposed convolution": nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2),
    "heads that share keys": Run(
        lambda w, x: F.scaled_dot_product_attention(
            x.view(1, 4, 3, 2), x.view(1, 4, 3, 2)[:, :2], x.view(1, 4, 3, 2)[:, :2], enable_gqa=True
        )
    ),
    "causal attention": Run(lambda w, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
}


@pytest.mark.parametrize("name", AS_TORCH)
@pytest.mark.filterwarnings("ignore:torch.chain_matmul")
def test_macs_are_those_that_torch_counts(name: str) -> None:
    module = AS_TORCH[name].to("meta")
    assert 2 * operations(module).mac == flops(module, torch.empty(1, *MAP, device="meta"))


BY_HAND = {  # of one map of 4x6
    "outer product": (Run(lambda w, x: torch.einsum("bi,bj->bij", x[:, 0], x[:, 1])), Operations(multiply=36)),
    "gate": (Run(lambda w, x: torch.einsum("bci,c->bci", x, w[0]), (4,)), Operations(multiply=24)),
    "outer": (Run(lambda w, x: torch.outer(x[0, 0], w[0]), (5,)), Operations(multiply=30)),
    "kron": (Run(lambda w, x: torch.kron(x[0], w[0]), (2, 3)), Operations(multiply=144)),
    "bilinear": (nn.Bilinear(6, 6, 3), Operations(mac=4 * 3 * 6 * (6 + 1), add=12)),
    "bilinear without bias": (nn.Bilinear(6, 6, 3, bias=False), Operations(mac=4 * 3 * 6 * (6 + 1))),
    "distances": (
        Run(lambda w, x: torch.cdist(x, w[0]), (1, 5, 6)),
        Operations(multiply=120, add=240, exponential=20),
    ),
    "city blocks": (Run(lambda w, x: torch.cdist(x, w[0], p=1), (1, 5, 6)), Operations(add=240, compare=120)),
    "pairs": (Run(lambda w, x: F.pdist(x[0])), Operations(multiply=36, add=72, exponential=6)),
    "mv": (Run(lambda w, x: torch.mv(x[0], w[0]), (6,)), Operations(mac=24)),
    "dot": (Run(lambda w, x: torch.dot(x[0, 0], w[0]), (6,)), Operations(mac=6)),
    "addmv": (Run(lambda w, x: torch.addmv(w[0], x[0], w[1]), (4,), (6,)), Operations(mac=24, add=4)),
    "addbmm": (
        Run(lambda w, x: torch.addbmm(w[0], x[0].view(2, 2, 6), w[1], alpha=2), (5,), (2, 6, 5)),
        Operations(mac=2 * 2 * 6 * 5, multiply=10, add=10),
    ),
    "addr": (Run(lambda w, x: torch.addr(w[0], x[0, 0], w[1]), (6, 5), (5,)), Operations(multiply=30, add=30)),
    "vecdot": (Run(lambda w, x: torch.linalg.vecdot(x, w[0]), (6,)), Operations(multiply=24, add=24)),
    "cross": (
        Run(lambda w, x: torch.linalg.cross(x[..., :3], x[..., 3:])),
        Operations(multiply=24, add=12),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_operations_are_those_of_the_arithmetic(name: str) -> None:
    module, right = BY_HAND[name]
    if isinstance(module, nn.Bilinear):
        module = Twice(module)
    assert operations(module) == right


class Twice(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> Any:
        return self.part(x, x)


def test_what_torch_makes_of_it_need_not_be_known() -> None:
    totals = account(cn.read(Run(lambda w, x: torch.fft.rfft(x).real), MAP)).totals
    assert totals.not_counted == 1


def test_products_of_parameters_alone_are_counted_where_they_are_read() -> None:
    assert operations(Run(lambda w, x: x + torch.einsum("ij,jk->ik", w[0], w[1]), (4, 5), (5, 6))).mac == 120
