"""Torch modules for layer kinds that torch has none for. The only file of this package that imports torch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from cnnatomy.layers.layer import Layer, Shape


class Computed(nn.Module):
    """Runs `layer.compute`; the parameters and buffers that the layer describes are this module's own."""

    def __init__(self, layer: Layer, inputs: Sequence[Shape]) -> None:
        super().__init__()
        self.layer = layer
        for name, shape in layer.parameters(*inputs).items():
            self.register_parameter(name, nn.Parameter(layer.initial(name, shape)))
        for name, shape in layer.buffers(*inputs).items():
            self.register_buffer(name, layer.initial(name, shape))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.layer.compute(*inputs, **self._parameters, **self._buffers)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return repr(self.layer)


class RNNModule(nn.RNN):
    """torch's RNNModule, returning the output sequence alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        output: torch.Tensor = super().forward(x)[0]
        return output


class LSTMModule(nn.LSTM):
    """torch's LSTMModule, returning the output sequence alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        output: torch.Tensor = super().forward(x)[0]
        return output


class EachModule(nn.Sequential):
    """Runs one module on each of n things alike: (batch, n, ...) as a batch of batch * n."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self[0](*[x.flatten(0, 1) for x in inputs])
        things: torch.Tensor = output.unflatten(0, inputs[0].shape[:2])
        return things
