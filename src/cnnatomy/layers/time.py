"""Layers that combine steps in time. A sequence is (time, features); each step reads the step before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import GLOBAL, TIME, Layer, Operations, Shape, Window, elements, value
from cnnatomy.layers.memory import INPUT, Extra, Saved

if TYPE_CHECKING:
    import torch


@value
class _Recurrent(Layer):
    """(time, features) becomes (time, hidden): the state after each step, starting from zeros."""

    hidden: int

    kind = TIME
    values = Interval(-1.0, 1.0)
    gates: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self._count(hidden=self.hidden)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) != 2:
            self._refuse(inputs, "one sequence (time, features)", "put Reshape((time, features)) before it")
        return (inputs[0][0], self.hidden)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        rows = self.gates * self.hidden
        weights: dict[str, Shape] = {"weight_ih_l0": (rows, inputs[0][1]), "weight_hh_l0": (rows, self.hidden)}
        return {**weights, "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}

    def _products(self, inputs: Sequence[Shape]) -> Operations:
        """The matrix products of all gates, and the sums of their two halves and two biases."""
        time, features = inputs[0]
        rows = self.gates * self.hidden * time
        return Operations(mac=rows * (features + self.hidden), add=3 * rows)

    def _read(self, inputs: Sequence[Shape]) -> Saved:
        """The input, which torch turns round to have time first: a copy, unless there is one step only."""
        return INPUT if inputs[0][0] == 1 else Saved(own=(Extra(elements(inputs[0])),))

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL


@value
class RNN(_Recurrent):
    """h(t) = tanh(G h(t-1) + H x(t) + v), with torch's two biases for v."""

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        products, states = self._products(inputs), output[0] * output[1]
        return products._replace(add=products.add + 2 * states, divide=states, exponential=states)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        read = self._read(inputs)
        return read._replace(own=(*read.own, *(Extra(self.hidden),) * (output[0] + 1)))  # every state, and the first

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from cnnatomy.layers import torch_modules

        return torch_modules.RNNModule(inputs[0][1], self.hidden, batch_first=True)


@value
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997): input, forget and output gates around a cell state."""

    gates = 4

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        products, states = self._products(inputs), output[0] * output[1]
        # three sigmoids (1 add) and two tanh (2 adds); cell = f * cell + i * g; state = o * tanh(cell)
        adds = products.add + (3 * 1 + 2 * 2 + 1) * states
        return products._replace(multiply=3 * states, add=adds, divide=5 * states, exponential=5 * states)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        # first and last state and cell, and the gates and cells of every step, whose layout is the library's own
        read, steps = self._read(inputs), Extra(5 * elements(output))
        return Saved(read.inputs, True, (*read.own, *(Extra(self.hidden),) * 4, steps))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from cnnatomy.layers import torch_modules

        return torch_modules.LSTMModule(inputs[0][1], self.hidden, batch_first=True)


@value
class DeepRNN(_Recurrent):
    """The lecture's RNN of two layers (lecture 000, "An example deep RNN"), with one bias v for each layer.

    x1(t) = tanh(G0 x1(t-1) + H0 x0(t) + v0);  x2(t) = tanh(G1 x2(t-1) + H1 x1(t) + v1)
    """

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        square, vector = (self.hidden, self.hidden), (self.hidden,)
        first: dict[str, Shape] = {"G0": square, "H0": (self.hidden, inputs[0][1]), "bias0": vector}
        return {**first, "G1": square, "H1": square, "bias1": vector}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        states = 2 * output[0] * output[1]
        macs = output[0] * self.hidden * (inputs[0][1] + 3 * self.hidden)
        # each state: the sum of two products, a bias, and a tanh
        return Operations(mac=macs, add=4 * states, divide=states, exponential=states)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        states = (Extra(self.hidden),) * (2 * output[0] + 2)
        return Saved((0,), own=(*states, Extra(elements(output))))  # and the first layer's states, stacked

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        x = inputs[0]
        for layer in "01":
            g, h, v = tensors["G" + layer], tensors["H" + layer], tensors["bias" + layer]
            state, states = x.new_zeros(x.shape[0], self.hidden), []
            for step in x.unbind(1):
                state = torch.tanh(state @ g.T + step @ h.T + v)
                states.append(state)
            x = torch.stack(states, dim=1)
        return x
