"""Layers that are there for training: normalisation by batch or group, and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.layer import TRAINING, Layer, Operations, Shape, elements, value
from cnnatomy.layers.memory import Extra, Memory, Saved, Scratch

if TYPE_CHECKING:
    import torch


@value
class BatchNorm(Layer):
    """Normalises each channel by the statistics of the batch, then scales it and adds a bias (Ioffe and Szegedy 2015).

    Parameters: scale and bias. Buffers: running mean and variance, used at inference, when all four fold into one
    multiplication and one addition for each element: that is what is counted. (torch also keeps one integer, the
    number of batches seen, which no count includes.)
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    kind = TRAINING
    stem = "bn"
    timed_as = "batch norm"

    def __post_init__(self) -> None:
        self._finite(0, epsilon=self.epsilon, momentum=self.momentum)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) not in (1, 3):
            self._refuse(inputs, "one feature map or vector")
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = inputs[0][:1]
        return {"weight": channels, "bias": channels} if self.affine else {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return {"running_mean": inputs[0][:1], "running_var": inputs[0][:1]}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n = elements(output)
        return Operations(0, n, n)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(inputs[0][0], 4, per_image=False),) * 2)  # mean and 1 / deviation of the batch

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        kind = nn.BatchNorm2d if len(inputs[0]) == 3 else nn.BatchNorm1d
        return kind(inputs[0][0], self.epsilon, self.momentum, self.affine)


@value
class GroupNorm(Layer):
    """Normalises each group of channels of each image by its own mean and variance (Wu and He 2018).

    One group is layer normalisation, as many groups as channels instance normalisation. Nothing folds: mean, squared
    deviation, quotient, scale and bias are counted, and for each group two quotients (mean and variance), the addition
    of epsilon and a square root.
    """

    groups: int
    epsilon: float = 1e-5

    kind = TRAINING
    stem = "norm"
    timed_as = "group norm"

    def __post_init__(self) -> None:
        self._count(groups=self.groups)
        self._finite(0, epsilon=self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or inputs[0][0] % self.groups:
            self._refuse(inputs, f"channels that divide into {self.groups} groups")
        if elements(inputs[0]) == self.groups:
            self._refuse(inputs, "at least two values in each group", "one value minus its mean is always 0")
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": inputs[0][:1], "bias": inputs[0][:1]}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n, groups = elements(output), self.groups
        return Operations(multiply=2 * n, add=4 * n + groups, divide=n + 2 * groups, exponential=groups)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(self.groups, 4),) * 2)  # mean and 1 / deviation of each group

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.GroupNorm(self.groups, inputs[0][0], self.epsilon)


@value
class LayerNorm(Layer):
    """Normalises the last `axes` axes of the shape, each with its own scale and bias (Ba et al. 2016).

    It is what transformers use: of (time, features) each step by itself. Counted as `GroupNorm` is.
    """

    axes: int = 1
    epsilon: float = 1e-5
    affine: bool = True
    bias: bool = True

    kind = TRAINING
    stem = "norm"

    def __post_init__(self) -> None:
        self._count(axes=self.axes)
        self._finite(0, epsilon=self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) < self.axes:
            self._refuse(inputs, f"one input of at least {self.axes} axes")
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        shape = inputs[0][-self.axes :]
        if not self.affine:
            return {}
        return {"weight": shape, "bias": shape} if self.bias else {"weight": shape}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        n, groups = elements(output), self._groups(output)
        scaled = n if self.affine else 0
        adds = 3 * n + (scaled if self.bias else 0) + groups
        return Operations(multiply=n + scaled, add=adds, divide=n + 2 * groups, exponential=groups)

    def _groups(self, shape: Shape) -> int:
        """How many parts are normalised, each by itself."""
        return elements(shape[: -self.axes])

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved((0,), own=(Extra(self._groups(inputs[0]), 4),) * 2)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.LayerNorm(inputs[0][-self.axes :], self.epsilon, self.affine, self.bias)


@value
class Dropout(Layer):
    """Sets each element to zero with probability `rate` in training, and scales the others so that the mean stays."""

    rate: float = 0.5

    kind = TRAINING
    memory = Memory(in_place=True)
    values = "kept"

    def is_view(self, training: bool) -> bool:
        return not training or self.rate == 0

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        # the mask: on a CPU in the type of the map, on a GPU a byte for each element
        return Saved(own=(Extra(elements(output), cuda_size=1),)) if self.rate else Saved()

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch()

    def __post_init__(self) -> None:
        if type(self.rate) not in (int, float) or not 0 <= self.rate < 1:
            raise UserError(f"{self!r}: the rate must be at least 0 and below 1")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1:
            self._refuse(inputs, "one input")
        return inputs[0]

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        return nn.Dropout(self.rate)


NORMALISATIONS = (BatchNorm, GroupNorm, LayerNorm)
"""Layers that normalise by the statistics of what they read, and learn a scale and a bias."""
