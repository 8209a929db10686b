"""How weights begin: with variance 1/n, 2/n (He) or 2/(n_in + n_out) (Xavier), n being the inputs of a neuron."""

from __future__ import annotations

import math

import torch
from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@torch.no_grad()
def initialise(module: nn.Module, scheme: str = "he", bias: float = 0.0) -> None:
    """Draws the weights of convolutions and fully connected layers again, normally distributed; biases become `bias`.

    `scheme` is `he` (variance 2/n: He et al. 2015, "Delving deep into rectifiers", equation 10), `xavier`
    (2/(n_in + n_out): Glorot and Bengio 2010, equation 12), `calibrated` (1/n: LeCun et al. 1998, "Efficient
    BackProp", equation 16), or `torch`, which leaves everything as torch made it. Other layers keep what they have.
    """
    if scheme == "torch":
        return
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
            layer.weight.normal_(0.0, math.sqrt(_variance(layer, scheme)))
            if layer.bias is not None:
                layer.bias.fill_(bias)


def _variance(layer: nn.Module, scheme: str) -> float:
    inputs, outputs = _fans(layer)
    return {"he": 2 / inputs, "xavier": 2 / (inputs + outputs), "calibrated": 1 / inputs}[scheme]


def _fans(layer: nn.Module) -> tuple[int, int]:
    """How many values one output is a sum of, and how many outputs one input goes to (strides left aside)."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED))
    field = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * field, layer.out_channels // layer.groups * field
