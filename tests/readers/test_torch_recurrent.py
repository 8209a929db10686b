"""Recurrent layers and cells of torch: every matrix once a step, and the other operations of each kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.layers import LSTM, RNN
from helpers import flops

SEQUENCE = (7, 5)
MODULES = {
    f"{kind.__name__} of {layers}, {directions} directions, {'biases' if bias else 'no biases'}": kind(
        5, 8, layers, bias=bias, batch_first=True, bidirectional=directions == 2
    )
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for layers in (1, 2, 3)
    for directions in (1, 2)
    for bias in (True, False)
}
MODULES |= {
    "projection": nn.LSTM(5, 8, proj_size=3, batch_first=True),
    "projection of one": nn.LSTM(5, 8, 2, proj_size=1, batch_first=True),
    "projections both ways": nn.LSTM(5, 8, 2, bidirectional=True, proj_size=3, batch_first=True),
    "projection without biases": nn.LSTM(5, 8, 2, bias=False, proj_size=3, batch_first=True),
    "ReLU": nn.RNN(5, 8, 2, nonlinearity="relu", batch_first=True),
    "hidden of one": nn.GRU(5, 1, 2, batch_first=True),
}


class First(nn.Module):
    """What a recurrent layer makes of a sequence, without its last state."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> Any:
        return self.part(x)[0]


@pytest.mark.parametrize("name", MODULES)
def test_macs_are_those_that_torch_counts(name: str) -> None:
    module = First(MODULES[name]).eval()
    totals = account(cn.read(module, SEQUENCE)).totals
    matrices = sum(p.numel() for p in module.parameters() if p.dim() == 2)
    assert 2 * totals.macs == flops(module, torch.rand(1, *SEQUENCE)) == 2 * 7 * matrices
    assert totals.parameters == sum(p.numel() for p in module.parameters())
    assert totals.not_counted == 0


def counts(module: nn.Module, shape: tuple[int, ...] = SEQUENCE) -> tuple[int, ...]:
    totals = account(cn.read(module.eval(), shape)).totals
    return totals.multiplies, totals.adds, totals.divides, totals.exponentials, totals.compares


@pytest.mark.parametrize(("kind", "layer"), [(nn.LSTM, LSTM(8)), (nn.RNN, RNN(8))])
def test_two_layers_do_what_two_of_our_layers_do(kind: Any, layer: Any) -> None:
    deep = kind(5, 8, 2, batch_first=True)
    ours = [layer.operations([shape], (7, 8)) for shape in ((7, 5), (7, 8))]
    both = [a + b for a, b in zip(*ours, strict=True)]
    assert counts(deep) == (both[1], both[2], both[4], both[5], both[3])
    reverse = kind(5, 8, bidirectional=True, batch_first=True)
    assert counts(reverse) == tuple(2 * n for n in counts(kind(5, 8, batch_first=True)))


def test_each_kind_has_operations_of_its_own() -> None:
    # 7 steps of 8 numbers; sums of halves and two biases for each gate, sigmoids 1 add, tanh 2
    assert counts(nn.RNN(5, 8, 2, batch_first=True)) == (0, 112 * (3 + 2), 112, 112, 0)
    assert counts(nn.RNN(5, 8, nonlinearity="relu", batch_first=True)) == (0, 56 * 3, 0, 0, 56)
    assert counts(nn.GRU(5, 8, batch_first=True)) == (56 * 3, 56 * (3 * 3 + 2 + 2 + 2), 56 * 3, 56 * 3, 0)
    assert counts(nn.GRU(5, 8, bias=False, batch_first=True)) == (56 * 3, 56 * (3 + 6), 56 * 3, 56 * 3, 0)
    assert counts(nn.LSTM(5, 8, 2, bias=False, batch_first=True)) == (112 * 3, 112 * (4 + 8), 112 * 5, 112 * 5, 0)


CELLS = {
    f"{kind.__name__}({hidden}), {'biases' if bias else 'no biases'}": kind(4, hidden, bias=bias)
    for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    for hidden in (1, 3)
    for bias in (True, False)
}
CELLS["ReLU"] = nn.RNNCell(4, 3, nonlinearity="relu")


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_does_one_step_of_its_layer(name: str) -> None:
    cell: Any = CELLS[name]
    layer: Any = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}[type(cell)]
    options = {"nonlinearity": cell.nonlinearity} if layer is nn.RNN else {}
    like = layer(4, cell.hidden_size, bias=cell.bias, batch_first=True, **options)
    totals = account(cn.read(cell.eval(), (4,))).totals
    assert totals.macs == sum(p.numel() for p in cell.parameters() if p.dim() == 2)
    assert counts(cell, (4,)) == counts(like, (1, 4))


class Packed(nn.Module):
    """Reads six of seven steps."""

    def __init__(self, part: nn.Module, in_order: bool) -> None:
        super().__init__()
        self.part, self.in_order = part, in_order

    def forward(self, x: torch.Tensor) -> Any:
        steps = pack_padded_sequence(x, torch.tensor([6]), batch_first=True, enforce_sorted=self.in_order)
        return pad_packed_sequence(self.part(steps)[0], batch_first=True)[0]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_have_as_many_steps_as_they_are_long(kind: Any, in_order: bool) -> None:
    module = Packed(kind(5, 8, 2, bidirectional=True), in_order).eval()
    for given in (SEQUENCE, torch.rand(1, *SEQUENCE)):
        graph = cn.read(module, given)
        totals = account(graph).totals
        assert totals.macs == 6 * sum(p.numel() for p in module.parameters() if p.dim() == 2)
        assert totals.not_counted == 0
        assert graph.outputs[0].shape == (6, 16)


@pytest.mark.parametrize("batch_first", [True, False])
def test_unpacked_sequences_have_their_batch_where_it_is_asked_for(batch_first: bool) -> None:
    class Unpacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 6, batch_first=batch_first)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            steps = pack_padded_sequence(x, lengths, batch_first=batch_first)
            return pad_packed_sequence(self.rnn(steps)[0], batch_first=batch_first)[0] * 2

    axis = 0 if batch_first else 1
    graph = cn.read(Unpacked(), torch.rand(5, 8).unsqueeze(axis), torch.tensor([3]), batch=axis)
    assert [x.shape for x in graph.outputs] == [(3, 6)]
    assert account(graph).totals.macs == 3 * 4 * 6 * (8 + 6)


class OfPacked(nn.Module):
    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.rnn, self.asks = nn.GRU(8, 6), asks

    def forward(self, steps: Any) -> Any:
        return steps if self.asks and steps.data.sum() > 1e9 else self.rnn(steps)[0]


@pytest.mark.parametrize("asks", [False, True], ids=["shapes", "values"])
def test_a_packed_sequence_is_an_input(asks: bool) -> None:
    steps = pack_sequence([torch.rand(2, 8), torch.rand(4, 8)], enforce_sorted=False)
    graph = cn.read(OfPacked(asks), steps)
    assert [x.shape for x in graph.inputs] == [(6, 8)]
    assert graph.outputs[0].shape == (6, 6)
    assert account(graph).totals.macs == 6 * 3 * 6 * (8 + 6)
