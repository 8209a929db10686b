"""Layers that combine channels and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from cnnatomy.errors import UserError
from cnnatomy.layers.interval import Interval
from cnnatomy.layers.layer import (
    CHANNEL,
    CHANNEL_AND_SPACE,
    GLOBAL,
    Layer,
    Operations,
    Pair,
    Shape,
    Window,
    elements,
    pair,
    value,
)
from cnnatomy.layers.memory import INPUT, INPUTS, INTEGER, Extra, Memory, Saved, Scratch
from cnnatomy.layers.sliding import Padding, check_padding, pairs, positions, sides

if TYPE_CHECKING:
    import torch


@value
class Conv(Layer):
    """CNN style 2D convolution: (C, R, S) becomes (channels, R', S'); each output reads C / groups channels.

    `kernel`, `stride` and `dilation` are one number or (rows, columns). `padding` is one number, (rows, columns), (top,
    bottom, left, right), "same" (the output is the input's size divided by the stride, rounded up) or "valid" (none).
    Fr*Fc*Ni/groups*No weights and No biases (lecture 000, "CNN style 2D convolution").
    """

    channels: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: Padding = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True

    kind = CHANNEL_AND_SPACE
    memory = Memory(INPUT, autocast="low")
    timed_as = "convolution"

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        self._count(channels=self.channels, groups=self.groups)
        if type(self.padding) is not int or self.padding < 0:
            object.__setattr__(self, "padding", check_padding(self, self.padding))
        if self.channels % self.groups:
            raise UserError(f"{self!r}: {self.channels} channels do not divide into {self.groups} groups")
        if self.kernel == 1:
            object.__setattr__(self, "kind", CHANNEL)  # a 1x1 convolution mixes no pixels

    def _sides(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        return sides(self.padding, (rows, columns), *pairs(self.kernel, self.stride, self.dilation))

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, rows, columns = self._map(*inputs)
        if channels % self.groups:
            self._refuse(inputs, f"channels that divide into {self.groups} groups", "choose groups that divide them")
        kernel, stride, dilation = pair(self.kernel), pair(self.stride), pair(self.dilation)
        top, bottom, left, right = self._sides(rows, columns)
        out_rows = positions(rows, kernel[0], stride[0], top, bottom, dilation[0])
        out_columns = positions(columns, kernel[1], stride[1], left, right, dilation[1])
        if out_rows < 1 or out_columns < 1:
            reach = "x".join(str((k - 1) * d + 1) for k, d in zip(kernel, dilation, strict=True))
            self._refuse(inputs, f"at least {reach} pixels with padding", "enlarge the input or the padding")
        return (self.channels, out_rows, out_columns)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.channels, inputs[0][0] // self.groups, *pair(self.kernel))
        return {"weight": weight, "bias": (self.channels,)} if self.bias else {"weight": weight}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        rows, columns = pair(self.kernel)
        outputs = output[0] * output[1] * output[2]
        return Operations(outputs * (inputs[0][0] // self.groups) * rows * columns, 0, outputs if self.bias else 0)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        channels, rows, columns = inputs[0]
        top, bottom, left, right = self._sides(rows, columns)
        if top == bottom and left == right:
            return INPUT
        return Saved(own=(Extra(channels * (rows + top + bottom) * (columns + left + right)),))  # a padded copy

    def window(self, *inputs: Shape) -> Window | None:
        if self.kernel == self.stride == 1 and self.padding == 0:
            return None
        top, _, left, _ = self._sides(*inputs[0][1:])
        return Window(pair(self.kernel), pair(self.stride), (top, left), pair(self.dilation))

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        top, bottom, left, right = self._sides(*inputs[0][1:])
        if top != bottom or left != right:
            return super().module(*inputs)  # torch's module pads both sides alike
        sizes = (self.kernel, self.stride, (top, left), self.dilation)
        return nn.Conv2d(inputs[0][0], self.channels, *sizes, self.groups, self.bias)

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        (x,) = inputs
        top, bottom, left, right = self._sides(*x.shape[2:])
        padded = functional.pad(x, (left, right, top, bottom))
        stride, dilation = pair(self.stride), pair(self.dilation)
        weight, bias = tensors["weight"], tensors.get("bias")
        return functional.conv2d(padded, weight, bias, stride, 0, dilation, self.groups)


@value
class TransposedConv(Layer):
    """Transposed (fractionally strided) convolution, the gradient of a convolution: enlarges the map by `stride`.

    (C, R, S) becomes (channels, (R - 1)*stride - 2*padding + dilation*(kernel - 1) + 1 + output_padding, ...).
    MACs are counted where they happen, once for each *input* pixel and weight.
    """

    channels: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: int | Pair = 0
    output_padding: int | Pair = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True

    kind = CHANNEL_AND_SPACE
    stem = "deconv"
    memory = Memory(INPUT, autocast="low")

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        self._count(channels=self.channels, groups=self.groups)
        if self.channels % self.groups:
            raise UserError(f"{self!r}: {self.channels} channels do not divide into {self.groups} groups")
        self._not_negative(padding=self.padding, output_padding=self.output_padding)
        steps = zip(*pairs(self.output_padding, self.stride, self.dilation), strict=True)
        if any(more >= max(stride, dilation) for more, stride, dilation in steps):
            raise UserError(f"{self!r}: output_padding must be smaller than the stride or the dilation")

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *size = self._map(*inputs)
        if channels % self.groups:
            self._refuse(inputs, f"channels that divide into {self.groups} groups", "choose groups that divide them")
        sizes = pairs(self.kernel, self.stride, self.padding, self.output_padding, self.dilation)
        rows, columns = (
            (n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, k, s, p, more, d in zip(size, *sizes, strict=True)
        )
        if rows < 1 or columns < 1:
            self._refuse(inputs, "a larger map or a smaller padding")
        return (self.channels, rows, columns)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (inputs[0][0], self.channels // self.groups, *pair(self.kernel))
        return {"weight": weight, "bias": (self.channels,)} if self.bias else {"weight": weight}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        weights = (self.channels // self.groups) * elements(pair(self.kernel))
        return Operations(mac=elements(inputs[0]) * weights, add=elements(output) if self.bias else 0)

    def window(self, *inputs: Shape) -> Window | None:
        kernel, stride, padding, dilation = pairs(self.kernel, self.stride, self.padding, self.dilation)
        # along an axis of stride 1 this is an ordinary convolution with the kernel turned round
        rows, columns = (
            p if s > 1 else (k - 1) * d - p for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
        )
        return Window(kernel, padding=(rows, columns), dilation=dilation, upsample=stride)

    def module(self, *inputs: Shape) -> torch.nn.Module:
        from torch import nn

        sizes = (self.kernel, self.stride, self.padding, self.output_padding)
        return nn.ConvTranspose2d(inputs[0][0], self.channels, *sizes, self.groups, self.bias, self.dilation)


@value
class DeformableConv(Layer):
    """Deformable convolution v1 (Dai et al. 2017): the second input moves each sample of each window.

    Inputs: (C, R, S), and offsets (2 * kernel rows * kernel columns, R', S'), in pixels, (row, column) for each sample.
    Samples between pixels are bilinear and outside the map zero. The window is that of zero offsets.
    """

    channels: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: int | Pair = 0
    dilation: int | Pair = 1
    bias: bool = True

    kind = CHANNEL_AND_SPACE

    def __post_init__(self) -> None:
        self._count(channels=self.channels)
        self._positive(kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        self._not_negative(padding=self.padding)

    def _plain(self) -> Conv:
        """The convolution that this one is with zero offsets; counts and sizes are the same."""
        return Conv(self.channels, self.kernel, self.stride, self.padding, self.dilation, bias=self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2:
            self._refuse(inputs, "two inputs: a feature map and its offsets")
        output = self._as(self._plain(), inputs[0])
        offsets = (2 * elements(pair(self.kernel)), *output[1:])
        if inputs[1] != offsets:
            self._refuse(inputs, f"offsets of {'x'.join(map(str, offsets))}", "two for each sample of the kernel")
        return output

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return self._plain().parameters(inputs[0])

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        plain = self._plain().operations(inputs[:1], output)
        samples = inputs[0][0] * elements(pair(self.kernel)) * output[1] * output[2]
        return plain._replace(multiply=4 * samples, add=plain.add + 3 * samples)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        places = elements(pair(self.kernel)) * output[1] * output[2]
        return Saved((0,), own=(Extra(2 * places), Extra(inputs[0][0] * places)))  # where, and what is read there

    def window(self, *inputs: Shape) -> Window | None:
        return self._plain().window(inputs[0])

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        x, offsets = inputs
        (kernel_rows, kernel_columns), stride, padding = pairs(self.kernel, self.stride, self.padding)
        dilation = pair(self.dilation)
        images, channels, rows, columns = x.shape
        out_rows, out_columns = offsets.shape[2:]

        def base(count: int, kernel: int, axis: int) -> torch.Tensor:  # (kernel, count): where zero offsets sample
            taps = torch.arange(kernel, device=x.device, dtype=x.dtype) * dilation[axis]
            return taps[:, None] + torch.arange(count, device=x.device, dtype=x.dtype) * stride[axis] - padding[axis]

        moved = offsets.unflatten(1, (kernel_rows, kernel_columns, 2))
        r = moved[:, :, :, 0] + base(out_rows, kernel_rows, 0)[:, None, :, None]  # (images, kr, kc, R', S')
        c = moved[:, :, :, 1] + base(out_columns, kernel_columns, 1)[None, :, None, :]
        # grid_sample reads coordinates from -1 to 1, the outer edges of the first and last pixel
        grid = torch.stack(((2 * c + 1) / columns - 1, (2 * r + 1) / rows - 1), dim=-1)
        sampled = torch.nn.functional.grid_sample(x, grid.reshape(images, -1, out_columns, 2), align_corners=False)
        patches = sampled.reshape(images, channels, -1, out_rows * out_columns).flatten(1, 2)
        output: torch.Tensor = tensors["weight"].flatten(1) @ patches
        if self.bias:
            output = output + tensors["bias"][:, None]
        return output.reshape(images, self.channels, out_rows, out_columns)


@value
class PartialConv(Layer):
    """Convolution in which each output map reads only the input maps listed for it (LeCun et al. 1998, table I).

    `connections[i]` are the input channels of output channel i. Output maps with equally many inputs are one grouped
    convolution, so that only the connections that exist are computed.
    """

    connections: tuple[tuple[int, ...], ...]
    kernel: int | Pair

    kind = CHANNEL_AND_SPACE
    stem = "conv"

    def __post_init__(self) -> None:
        self._positive(kernel=self.kernel)
        object.__setattr__(self, "connections", tuple(tuple(inputs) for inputs in self.connections))
        if not self.connections or not all(self.connections) or min(map(min, self.connections)) < 0:
            raise UserError("PartialConv: every output channel needs at least one input channel, counted from 0")

    def output_shape(self, *inputs: Shape) -> Shape:
        channels = self._map(*inputs)[0]
        needed = 1 + max(map(max, self.connections))
        if channels < needed:
            self._refuse(inputs, f"at least {needed} channels", "the connection table names them")
        return self._as(Conv(len(self.connections), self.kernel), *inputs)

    def _by_fan_in(self) -> dict[int, list[int]]:
        """Number of inputs -> the output channels that have so many."""
        groups: dict[int, list[int]] = {}
        for channel, inputs in enumerate(self.connections):
            groups.setdefault(len(inputs), []).append(channel)
        return groups

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weights: dict[str, Shape] = {
            f"weight{fan_in}": (len(outputs), fan_in, *pair(self.kernel))
            for fan_in, outputs in self._by_fan_in().items()
        }
        return {**weights, "bias": (len(self.connections),)}

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        weights = sum(map(len, self.connections)) * elements(pair(self.kernel))
        return Operations(mac=weights * output[1] * output[2], add=elements(output))

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        pixels = inputs[0][1] * inputs[0][2]
        reads = [fan_in * len(outputs) for fan_in, outputs in self._by_fan_in().items()]
        numbers = [Extra(n, INTEGER, per_image=False) for n in (*reads, output[0])]
        return Saved(own=(*numbers, *(Extra(n * pixels) for n in reads)))  # each group's channels, gathered

    def scratch(self, inputs: Sequence[Shape], output: Shape) -> Scratch:
        return Scratch((max(self.saves(inputs, output).own),))  # one group after the other

    def window(self, *inputs: Shape) -> Window | None:
        return Window(pair(self.kernel))

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        import torch

        (x,) = inputs
        groups = self._by_fan_in()
        order = [channel for outputs in groups.values() for channel in outputs]
        parts = [
            torch.nn.functional.conv2d(
                x[:, [i for output in outputs for i in self.connections[output]]],
                tensors[f"weight{fan_in}"],
                groups=len(outputs),
            )
            for fan_in, outputs in groups.items()
        ]
        back = sorted(range(len(order)), key=order.__getitem__)
        output: torch.Tensor = torch.cat(parts, dim=1)[:, back] + tensors["bias"][:, None, None]
        return output


@value
class MatMul(Layer):
    """The matrix product of two inputs (m, k) and (k, n); either may be given transposed."""

    transpose_first: bool = False
    transpose_second: bool = False

    kind = CHANNEL_AND_SPACE
    memory = Memory(INPUTS, autocast="low")
    timed_as = "matrix by vector"

    def output_shape(self, *inputs: Shape) -> Shape:
        if [len(shape) for shape in inputs] != [2, 2]:
            self._refuse(inputs, "two matrices")
        (m, k), (k2, n) = (s[::-1] if t else s for s, t in zip(inputs, self._transposed(), strict=True))
        if k != k2:
            self._refuse(inputs, f"inner sizes that agree, not {k} and {k2}", "transpose one of them")
        return (m, n)

    def _transposed(self) -> tuple[bool, bool]:
        return self.transpose_first, self.transpose_second

    def interval(self, *inputs: Interval) -> Interval:
        low, high = inputs[0].times(inputs[1])  # one product; the sum of many can be any multiple
        return Interval(low if low >= 0 else -inf, high if high <= 0 else inf)

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        inner = inputs[0][0 if self.transpose_first else 1]
        return Operations(mac=elements(output) * inner)

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        first, second = (x.mT if t else x for x, t in zip(inputs, self._transposed(), strict=True))
        product: torch.Tensor = first @ second
        return product


@value
class MajorityVote(Layer):
    """Each pixel votes for its largest channel: (C, R, S) becomes (C,), the share of the votes that each channel got.

    Votes have no gradient; backwards the layer is the mean of softmax over the channels, the nearest that has one.
    """

    kind = CHANNEL_AND_SPACE
    stem = "vote"
    values = Interval(0.0, 1.0)

    def output_shape(self, *inputs: Shape) -> Shape:
        return self._map(*inputs)[:1]

    def operations(self, inputs: Sequence[Shape], output: Shape) -> Operations:
        channels, rows, columns = inputs[0]
        return Operations(compare=elements(inputs[0]), add=rows * columns, divide=channels)

    def saves(self, inputs: Sequence[Shape], output: Shape) -> Saved:
        return Saved(own=(Extra(elements(inputs[0])),))  # the softmax

    def window(self, *inputs: Shape) -> Window | None:
        return GLOBAL

    def compute(self, *inputs: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import one_hot

        (x,) = inputs
        votes = one_hot(x.argmax(1).flatten(1), x.shape[1]).to(x.dtype).mean(1)
        soft = x.softmax(1).flatten(2).mean(2)
        return votes + (soft - soft.detach())
