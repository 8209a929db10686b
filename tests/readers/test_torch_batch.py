"""The batch is no part of a shape, wherever it stands; an axis of 1 that is no batch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.graph import Graph
from cnnatomy.layers import GELU, LSTM, Add, Dropout, FullyConnected, LayerNorm, Softmax
from helpers import flops

SEQUENCE = (7, 12)


class Run(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def shape(function: Callable[[torch.Tensor], Any], of: tuple[int, ...] = SEQUENCE) -> tuple[int, ...]:
    """Of what a function makes of one image, and adds one to."""
    return cn.read(Run(lambda x: function(x) + 1), of).outputs[0].shape


MOVED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # the batch is at axis 1 of (7, 1, 12)
    "transpose": lambda x: x.transpose(0, 1),
    "transpose from the end": lambda x: x.transpose(-2, 0),
    "permute": lambda x: x.permute(1, 0, 2),
    "permute of a tuple": lambda x: torch.permute(x, (1, 0, 2)),
    "movedim": lambda x: x.movedim(0, 1),
    "swapaxes": lambda x: torch.swapaxes(x, 0, 1),
    "swapaxes by name": lambda x: torch.swapaxes(x, axis0=0, axis1=1),
    "einsum": lambda x: torch.einsum("btc->tbc", x),
}
KEPT: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "nothing": (lambda x: x, (7, 12)),
    "clone": (lambda x: x.contiguous().clone().float(), (7, 12)),
    "function": (lambda x: x.exp().cumsum(0), (7, 12)),
    "view": (lambda x: x.view(7, 1, 3, 4), (7, 3, 4)),
    "view with heads first": (lambda x: x.view(7, 1, 3, 4).permute(1, 2, 0, 3), (3, 7, 4)),
    "flatten": (lambda x: x.view(7, 1, 3, 4).flatten(2), (7, 12)),
    "unsqueeze": (lambda x: x.unsqueeze(0), (1, 7, 12)),
    "unsqueeze after it": (lambda x: x.unsqueeze(2), (7, 1, 12)),
    "sum over time": (lambda x: x.sum(0), (12,)),
    "mean of features": (lambda x: x.mean(-1, keepdim=True), (7, 1)),
    "last step": (lambda x: x[-1], (12,)),
    "some steps": (lambda x: x[:3], (3, 12)),
    "one feature": (lambda x: x[..., 0], (7,)),
    "stack": (lambda x: torch.stack([x, x]), (2, 7, 12)),
    "cat": (lambda x: torch.cat([x, x]), (14, 12)),
    "cat of features": (lambda x: torch.cat([x, x], -1), (7, 24)),
    "product": (lambda x: x @ x.new_zeros(12, 5), (7, 5)),
    "product of one another": (lambda x: x.transpose(0, 1) @ x.permute(1, 2, 0), (7, 7)),
    "expanded": (lambda x: x.expand(7, 1, 12), (7, 12)),
    "expanded by an axis": (lambda x: x.expand(3, 7, 1, 12), (3, 7, 12)),
    "added with a row": (lambda x: x + torch.zeros(12), (7, 12)),
    "split": (lambda x: x.split(6, -1)[1], (7, 6)),
    "softmax": (lambda x: F.softmax(x, 0), (7, 12)),
    "gather": (lambda x: x.gather(0, torch.zeros(2, 1, 12, dtype=torch.long)), (2, 12)),
    "where the largest are": (lambda x: x.sort(0)[1], (7, 12)),
    "back": (lambda x: x.transpose(0, 1), (7, 12)),
}


@pytest.mark.parametrize("move", MOVED)
def test_the_batch_moves_with_its_axis(move: str) -> None:
    assert shape(MOVED[move]) == (7, 12)


@pytest.mark.parametrize("name", KEPT)
def test_a_batch_that_moved_is_no_part_of_what_follows(name: str) -> None:
    function, right = KEPT[name]
    assert shape(lambda x: function(x.transpose(0, 1))) == right
    one = torch.rand(1, *SEQUENCE)
    assert sorted(function(one.transpose(0, 1)).shape) == sorted((1, *right))  # torch has as many, and the batch


BEFORE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # an axis of 3 before the batch of (1, 7, 12)
    "stack": lambda x: torch.stack([x, x, x]),
    "stack of functions": lambda x: torch.stack((x.relu(), x.exp(), x), dim=-4),
    "expand": lambda x: x.expand(3, *x.shape),
    "repeat": lambda x: x.repeat(3, 1, 1, 1),
    "sum with": lambda x: x + x.new_ones(3, 1, 7, 12),
    "product with": lambda x: x @ x.new_ones(3, 1, 12, 12),
    "where": lambda x: torch.where(x.new_ones(3, 1, 1, 1) > 0, x, 0.0),
    "mapped": lambda x: torch.vmap(torch.mul, in_dims=(None, 0))(x, x.new_ones(3, 7, 12)),
}


@pytest.mark.parametrize("name", BEFORE)
def test_an_axis_before_the_batch_is_not_taken_for_it(name: str) -> None:
    assert shape(BEFORE[name]) == (3, 7, 12)
    assert shape(lambda x: BEFORE[name](x).sum(0)) == (7, 12)
    assert BEFORE[name](torch.rand(1, 7, 12)).shape == (3, 1, 7, 12)


def test_a_first_axis_of_one_that_is_no_batch_is_kept() -> None:
    for function in (lambda x: x[0], lambda x: x.squeeze(0), lambda x: x.select(0, 0), lambda x: x.unbind()[0]):
        assert shape(function, (1, 8, 9)) == (1, 8, 9)
    assert shape(lambda x: x.permute(1, 0, 2, 3), (1, 8, 9)) == (1, 8, 9)
    assert shape(lambda x: x.squeeze(1), (1, 8, 9)) == (8, 9)


def test_an_image_without_its_batch_gets_it_back() -> None:
    assert shape(lambda x: x[0].unsqueeze(0), (3, 8, 9)) == (3, 8, 9)
    assert shape(lambda x: x[0][None], (3, 8, 9)) == (3, 8, 9)
    assert shape(lambda x: torch.stack([*x]), (3, 8, 9)) == (3, 8, 9)


def test_a_batch_that_was_merged_comes_back_with_its_axis() -> None:
    assert shape(lambda x: (x.transpose(0, 1).reshape(7, 12) * 2).view(7, 1, 12)) == (7, 12)
    assert shape(lambda x: x.view(3, 4, 7).transpose(0, 2).reshape(1, 7, 12)) == (7, 12)


def read(module: nn.Module) -> Graph:
    graph = cn.read(module.eval(), SEQUENCE)
    unused = sum(torch.Size(size).numel() for _, size in graph.unused)
    totals = account(graph).totals
    assert totals.parameters + unused == sum(p.numel() for p in module.parameters())
    assert 2 * totals.macs == flops(module, torch.empty(1, *SEQUENCE))
    return graph


def test_layers_of_ours_are_known_where_the_batch_is_second() -> None:
    layers = nn.Sequential(
        nn.Linear(12, 12), nn.LayerNorm(12), nn.GELU(), nn.Dropout(0.1), nn.Softmax(2), nn.Softmax(0)
    )
    graph = read(Run(lambda x: (y := x.transpose(0, 1)) + layers(y), layers=layers))
    softmaxes = Softmax(1), Softmax(0)
    assert [node.layer for node in graph][1:] == [
        FullyConnected(12),
        LayerNorm(),
        GELU(),
        Dropout(0.1),
        *softmaxes,
        Add(),
    ]
    assert {node.output.shape for node in graph} == {(7, 12)}


def test_attention_has_no_batch_in_its_shapes() -> None:
    attention = nn.MultiheadAttention(12, 3)

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x.transpose(0, 1)
        return y + attention(y, y, y)[0]

    graph = read(Run(forward, attention=attention))
    assert graph.outputs[0].shape == (7, 12)
    assert [node.layer for node in graph][-1] == Add()
    first = [node.output.shape for node in graph][:2]
    assert first == [(7, 12), (7, 36)]


def test_recurrent_layers_with_time_first() -> None:
    lstm, gru = nn.LSTM(12, 5), nn.GRU(5, 4, 2, bidirectional=True)

    def forward(x: torch.Tensor) -> Any:
        y, (state, cell) = lstm(x.transpose(0, 1))
        y, states = gru(y)
        return y, state, cell, states, states[-1]

    graph = cn.read(Run(forward, lstm=lstm, gru=gru), SEQUENCE)
    assert LSTM(5) in [node.layer for node in graph]
    assert [x.shape for x in graph.outputs] == [(7, 8), (1, 5), (1, 5), (4, 4), (4,)]


def test_the_batch_of_an_example_is_where_it_is_said_to_be() -> None:
    graph = cn.read(nn.TransformerEncoderLayer(12, 3, 20).eval(), torch.rand(7, 2, 12), batch=1)
    assert graph.inputs[0].shape == graph.outputs[0].shape == (7, 12)
    assert cn.read(nn.Conv2d(1, 2, 3), torch.rand(1, 8, 8), batch=None).inputs[0].shape == (1, 8, 8)
