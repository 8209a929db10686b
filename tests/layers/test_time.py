"""Layers that combine steps in time, against loops over the steps and torch's cells."""

from __future__ import annotations

import pytest
import torch

from cnnatomy import ShapeError, UserError
from cnnatomy.layers import LSTM, RNN, DeepRNN, FullyConnected, Layer
from helpers import layer_module, learned, run

DOUBLE = torch.float64


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE)


def test_an_rnn_is_a_loop_over_the_steps() -> None:
    """h(t) = tanh(G h(t-1) + H x(t) + v)"""
    x, module = randn(2, 5, 3), layer_module(RNN(4), (5, 3))
    g, h = module.weight_hh_l0, module.weight_ih_l0
    v = module.bias_ih_l0 + module.bias_hh_l0
    state, states = torch.zeros(2, 4, dtype=DOUBLE), []
    for t in range(5):
        state = torch.tanh(state @ g.T + x[:, t] @ h.T + v)
        states.append(state)
    torch.testing.assert_close(module(x), torch.stack(states, 1))


def test_an_lstm_is_torchs_cell_step_by_step() -> None:
    x, module = randn(2, 5, 3), layer_module(LSTM(4), (5, 3))
    cell = torch.nn.LSTMCell(3, 4).double()
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in module.state_dict().items()})
    state, states = None, []
    for t in range(5):
        state = cell(x[:, t], state)
        states.append(state[0])
    torch.testing.assert_close(module(x), torch.stack(states, 1))


def test_an_lstm_is_its_gates() -> None:
    x, module = randn(1, 4, 3), layer_module(LSTM(2), (4, 3))
    hidden = cell = torch.zeros(1, 2, dtype=DOUBLE)
    for t in range(4):
        gates = x[:, t] @ module.weight_ih_l0.T + hidden @ module.weight_hh_l0.T
        i, f, g, o = (gates + module.bias_ih_l0 + module.bias_hh_l0).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
    torch.testing.assert_close(module(x)[:, -1], hidden)


def unrolled(x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
    """The lecture's two printed equations, written out for three steps without any loop."""

    def first(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        return torch.tanh(before @ w["G0"].T + now @ w["H0"].T + w["bias0"])

    def second(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        return torch.tanh(before @ w["G1"].T + now @ w["H1"].T + w["bias1"])

    start = torch.zeros(len(x), len(w["G0"]), dtype=x.dtype)
    a1 = first(start, x[:, 0])
    a2 = first(a1, x[:, 1])
    a3 = first(a2, x[:, 2])
    b1 = second(start, a1)
    b2 = second(b1, a2)
    b3 = second(b2, a3)
    return torch.stack([b1, b2, b3], 1)


def test_the_deep_rnn_is_the_lectures_equations_and_its_unrolled_graph() -> None:
    x, module = randn(2, 3, 4), layer_module(DeepRNN(5), (3, 4))
    torch.testing.assert_close(module(x), unrolled(x, dict(module.named_parameters())))


def test_the_unrolled_deep_rnn_has_the_same_gradients() -> None:
    """Copies in time share their weights: their gradients add up."""
    x, module = randn(2, 3, 4), layer_module(DeepRNN(5), (3, 4))
    module(x).square().sum().backward()
    copies = {name: weight.detach().clone().requires_grad_() for name, weight in module.named_parameters()}
    unrolled(x, copies).square().sum().backward()
    for name, weight in module.named_parameters():
        torch.testing.assert_close(weight.grad, copies[name].grad)


def test_the_deep_rnn_is_two_rnns_one_on_the_other() -> None:
    x, module = randn(2, 6, 4), layer_module(DeepRNN(5), (6, 4))
    w = dict(module.named_parameters())
    y = x
    for layer in "01":
        zero = torch.zeros(5, dtype=DOUBLE)
        weights = {"weight_hh_l0": w["G" + layer], "weight_ih_l0": w["H" + layer]}
        biases = {"bias_ih_l0": w["bias" + layer], "bias_hh_l0": zero}
        y = run(RNN(5), y, weights={f"rnn.{name}": value for name, value in (weights | biases).items()})
    torch.testing.assert_close(module(x), y)
    assert sum(map(torch.Tensor.numel, w.values())) == 5 * 5 + 5 * 4 + 5 + 5 * 5 + 5 * 5 + 5


@pytest.mark.parametrize("layer", [RNN(3), LSTM(3), DeepRNN(3)], ids=repr)
def test_gradients_are_those_of_finite_differences(layer: Layer) -> None:
    assert torch.autograd.gradcheck(layer_module(layer, (4, 2)), randn(2, 4, 2).requires_grad_())


@pytest.mark.parametrize("layer", [RNN(3), LSTM(3), DeepRNN(3)], ids=repr)
def test_no_step_reads_a_later_one(layer: Layer) -> None:
    x = randn(1, 6, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(layer_module(layer, (6, 2))(x)[0, 3].sum(), x)
    assert (gradient[0, :4].abs().sum(1) > 0).all()
    assert (gradient[0, 4:] == 0).all()


def test_a_fully_connected_layer_over_a_window_forgets_and_an_rnn_does_not() -> None:
    """FC ~ FIR: the response to an impulse ends with the window; RNN ~ IIR: it decays as a geometric series."""
    impulse = torch.zeros(1, 12, 1, dtype=DOUBLE)
    impulse[0, 2] = 1e-6  # so small that tanh is linear
    windows = torch.nn.functional.pad(impulse[..., 0], (3, 0)).unfold(1, 4, 1)  # steps t-3 to t
    finite = run(FullyConnected(1, bias=False), windows, weights={"fc.weight": torch.ones(1, 4)})[0, :, 0]
    assert (finite != 0).nonzero().flatten().tolist() == [2, 3, 4, 5]
    weights = {"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.5]], "bias_ih_l0": [0.0], "bias_hh_l0": [0.0]}
    infinite = run(RNN(1), impulse, weights={f"rnn.{name}": value for name, value in weights.items()})[0, :, 0]
    expected = torch.tensor([0.0, 0.0] + [1e-6 * 0.5**t for t in range(10)], dtype=DOUBLE)
    torch.testing.assert_close(infinite, expected, rtol=1e-9, atol=0)


def test_the_tensors_have_torchs_names() -> None:
    assert RNN(4).parameters((5, 3)) == learned(torch.nn.RNN(3, 4))
    assert LSTM(4).parameters((5, 3)) == learned(torch.nn.LSTM(3, 4))


@pytest.mark.parametrize("layer", [RNN(3), LSTM(3), DeepRNN(3)], ids=repr)
def test_a_shape_that_does_not_fit_is_one_message(layer: Layer) -> None:
    for shapes in (((64, 7, 7),), ((5,),), ((4, 3), (4, 3))):
        with pytest.raises(ShapeError) as caught:
            layer.output_shape(*shapes)
        assert str(caught.value).startswith(repr(layer))
        assert "one sequence (time, features)" in str(caught.value)
        assert "Reshape" in str(caught.value)


@pytest.mark.parametrize("kind", [RNN, LSTM, DeepRNN])
def test_a_wrong_argument_is_the_users_error(kind: type[RNN]) -> None:
    for wrong in (0, -1, 2.0, (3, 3)):
        with pytest.raises(UserError):
            kind(wrong)  # type: ignore[arg-type]
