"""Functions and modules of TorchScript are read call by call."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import cnnatomy as cn
from cnnatomy.analysis import account

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
INPUT = (3, 8, 8)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")

    @torch.jit.script
    def mish(x):  # type: ignore[no-untyped-def]
        return x.mul(F.softplus(x).tanh())

    @torch.jit.script
    def branchy(x, weight, bias):  # type: ignore[no-untyped-def]
        y = F.relu(F.conv2d(x, weight, bias, padding=1), inplace=True)
        first, second = y.chunk(2, 1)
        z = torch.cat([first, second], 1)
        for _ in range(2):
            z = z + y
        if z.size(1) > 2:
            z = z[:, :2] * 2.0
        return z

    @torch.jit.script
    def lists(xs: list[torch.Tensor], weight):  # type: ignore[no-untyped-def]
        more = [xs[0], F.conv2d(xs[0], weight)]
        more.extend(xs[1:])
        more.insert(0, xs[0] * 2)
        more[0] = more[0] + 1
        more.reverse()
        named = {"a": xs[0]}
        for x in named.values():
            more = more + [x]  # noqa: RUF005 - as TorchScript adds lists
        return torch.cat([x[:, :1, :6, :6] for x in more[1:]], 1)

    @torch.jit.script
    def sorts(x):  # type: ignore[no-untyped-def]
        names = {"a": x}
        return names.pop("a")

    traced = torch.jit.trace(lambda x, weight: F.conv2d(x, weight), (torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3)))


class _Calls(nn.Module):
    def __init__(self, function: Any, *tensors: str) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(4, 3, 3, 3)), nn.Parameter(torch.rand(4))
        self.function, self.tensors = function, tensors
        self.beside = nn.Conv2d(3, 3, 1)

    def forward(self, x: Any) -> Any:
        return self.function(self.beside(x), *(getattr(self, name) for name in self.tensors))


def _chain() -> nn.Module:
    parts = (
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 7),
    )
    return nn.Sequential(*parts).eval()


def _as_traced(module: nn.Module) -> Any:
    return torch.jit.trace(module, torch.rand(1, *INPUT))


CASES: dict[str, Any] = {
    "activation": lambda: _Calls(mish),
    "branches, loops and lists": lambda: _Calls(branchy, "weight", "bias"),
    "traced function": lambda: _Calls(traced, "weight"),
    "scripted function of lists": lambda: _Calls(lambda x, weight: lists([x, x + 1], weight), "weight"),
    "scripted module": lambda: torch.jit.script(_chain()),
    "scripted part": lambda: _Calls(torch.jit.script(_chain())),
    "traced part": lambda: _Calls(_as_traced(_chain())),
}


@pytest.mark.parametrize("name", CASES)
def test_macs_and_parameters_are_those_of_torch(name: str) -> None:
    module = CASES[name]().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        module(torch.rand(1, *INPUT))
    graph = cn.read(module, INPUT)
    totals = account(graph).totals
    unused = sum(torch.Size(shape).numel() for _, shape in graph.unused)
    assert totals.macs == flops.get_total_flops() // 2
    assert totals.parameters + unused == sum(p.numel() for p in module.parameters())
    assert totals.not_counted == 0


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("made", ["scripted", "traced"])
def test_torchs_transformer_layer_in_torchscript(made: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    inside = (
        torch.jit.trace(layer, torch.rand(1, 5, 8), check_trace=False) if made == "traced" else torch.jit.script(layer)
    )
    totals = account(cn.read(inside, (5, 8))).totals
    # three projections, scores of 5x5 and what they select, the projection after them, two linear layers
    assert totals.macs == 5 * 8 * 24 + 2 * 25 * 8 + 5 * 8 * 8 + 2 * 5 * 8 * 16
    assert totals.parameters == sum(p.numel() for p in layer.parameters())
    assert totals.not_counted == 0


def test_a_scripted_chain_has_the_layers_of_the_chain() -> None:
    layers = [node.layer for node in cn.read(_chain(), INPUT)]
    assert [node.layer for node in cn.read(torch.jit.script(_chain()), INPUT)] == layers


def test_what_is_not_followed_is_named() -> None:
    with pytest.raises(cn.UserError, match=r"sorts is TorchScript.*aten::pop"):
        cn.read(_Calls(sorts), INPUT)


def test_scripted_functions_run_as_ever_afterwards() -> None:
    cn.read(_Calls(mish), INPUT)
    x = torch.rand(3)
    torch.testing.assert_close(mish(x), F.mish(x))


def test_operators_by_their_schemas_are_layers() -> None:
    aten = torch.ops.aten
    module = _Calls(lambda x, weight: aten.relu.default(aten.conv2d(x, weight)), "weight")
    assert [type(node.layer).__name__ for node in cn.read(module, INPUT)] == ["Conv", "Conv", "ReLU"]
