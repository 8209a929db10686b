"""What `cnnatomy calibrate` times: layers of every class of kernels, over the sizes that networks have."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cnnatomy.layers import (
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    Concat,
    Conv,
    DepthwiseConv,
    Dropout,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Interpolate,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    ReLU,
    Scale,
    Sigmoid,
)
from cnnatomy.layers.layer import Layer, Shape, elements

CHANNELS = (16, 24, 32, 40, 64, 88, 96, 128, 144, 192, 256, 320, 384, 512, 728, 1024, 1536, 2048)
SIZES = (4, 7, 8, 10, 13, 14, 17, 19, 28, 35, 37, 56, 73, 112, 147, 224)
BATCHES = (1, 1, 1, 1, 4, 16)
MAX_MACS = 4e8
MAX_NUMBERS = 20_000_000
"""Of an input or output: 80 MB."""
MAX_WEIGHTS = 5_000_000
"""Of a convolution: 20 MB."""


class Trial(NamedTuple):
    """A layer to time, on inputs of these shapes."""

    layer: Layer
    inputs: tuple[Shape, ...]
    batch: int


def plan(seed: int = 0) -> list[Trial]:
    """Every trial, always the same ones: drawn at random over the sizes that networks have, in mixed order."""
    draw = random.Random(seed)
    trials = [trial for make, number in _CLASSES for trial in _take(make(draw), number)]
    draw.shuffle(trials)
    return trials


def _take(trials: Iterator[Trial], number: int) -> Iterator[Trial]:
    """The first so many that fit and are not too large."""
    while number:
        trial = next(trials)
        layer, inputs, batch = trial
        output = layer.output_shape(*inputs)
        largest = batch * max(elements(output), *map(elements, inputs))
        weights = sum(map(elements, layer.parameters(*inputs).values()))
        fits = largest <= MAX_NUMBERS and (weights <= MAX_WEIGHTS or isinstance(layer, FullyConnected))
        if fits and batch * layer.operations(inputs, output).mac <= MAX_MACS:
            number -= 1
            yield trial


def _map(draw: random.Random, channels: int = 0) -> Shape:
    """Large maps have few channels, small ones many, as in networks."""
    while True:
        size = draw.choice(SIZES)
        shape = (channels or draw.choice(CHANNELS), size, size)
        if channels or 2_000 <= elements(shape) <= 2_000_000:
            return shape


def _dense(draw: random.Random) -> Iterator[Trial]:
    kernels = (3, 3, 3, 3, 3, 5, 7, (1, 7), (7, 1), (1, 3))
    while True:
        kernel = draw.choice(kernels)
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        layer = Conv(draw.choice(CHANNELS), kernel, draw.choice((1, 1, 1, 2)), (rows // 2, columns // 2), bias=False)
        yield Trial(layer, (_map(draw),), draw.choice(BATCHES))


def _pointwise(draw: random.Random) -> Iterator[Trial]:
    while True:
        yield Trial(
            Conv(draw.choice(CHANNELS), 1, draw.choice((1, 1, 1, 1, 2)), bias=False),
            (_map(draw),),
            draw.choice(BATCHES),
        )


def _first(draw: random.Random) -> Iterator[Trial]:
    while True:
        kernel = draw.choice((3, 5, 7, 11))
        shape = (draw.choice((1, 3)), *(draw.choice((28, 32, 64, 112, 224)),) * 2)
        layer = Conv(draw.choice((6, 16, 32, 64, 96)), kernel, draw.choice((1, 2, 2, 4)), kernel // 2, bias=False)
        yield Trial(layer, (shape,), draw.choice(BATCHES))


def _grouped(draw: random.Random) -> Iterator[Trial]:
    while True:
        groups = draw.choice((2, 3, 4, 8, 16, 32, 64))
        width = draw.choice((2, 4, 8, 16, 32, 64, 128))
        shape = _map(draw, groups * width)
        kernel = draw.choice((1, 3, 3, 3, 5))
        out = draw.choice((groups * width, groups * width, groups * width * 2))
        if 64 <= shape[0] <= 2048 and 2_000 <= elements(shape) <= 2_000_000:
            layer = Conv(out, kernel, draw.choice((1, 1, 1, 2)), kernel // 2, groups=groups, bias=False)
            yield Trial(layer, (shape,), draw.choice(BATCHES))


def _grouped_pointwise(draw: random.Random) -> Iterator[Trial]:
    while True:
        groups, size = draw.choice((2, 3, 4, 8)), draw.choice((7, 14, 28, 56))
        inputs, outputs = (groups * draw.choice((8, 20, 30, 60, 80, 160)) for _ in range(2))
        yield Trial(Conv(outputs, 1, groups=groups, bias=False), ((inputs, size, size),), draw.choice(BATCHES))


def _depthwise(draw: random.Random) -> Iterator[Trial]:
    while True:
        kernel = draw.choice((3, 3, 3, 5, 7))
        yield Trial(
            DepthwiseConv(kernel, draw.choice((1, 1, 2)), kernel // 2, bias=False), (_map(draw),), draw.choice(BATCHES)
        )


def _linear(draw: random.Random) -> Iterator[Trial]:
    yield Trial(FullyConnected(4096), ((9216,),), 1)
    yield Trial(FullyConnected(4096), ((9216,),), 16)
    yield Trial(FullyConnected(4096), ((25088,),), 1)
    sizes = (64, 120, 256, 512, 1024, 2048, 4096, 9216)
    while True:
        features, inputs = draw.choice(sizes), draw.choice(sizes)
        if features * inputs <= 2**24:
            yield Trial(FullyConnected(features), ((inputs,),), draw.choice((1, 1, 4, 16)))


def _each(*layers: Layer, inputs: int = 1) -> Callable[[random.Random], Iterator[Trial]]:
    def trials(draw: random.Random) -> Iterator[Trial]:
        while True:
            yield Trial(draw.choice(layers), (_map(draw),) * inputs, draw.choice(BATCHES))

    return trials


def _joins(draw: random.Random) -> Iterator[Trial]:
    while True:
        first = _map(draw)
        others = [(draw.choice(CHANNELS), *first[1:]) for _ in range(draw.choice((1, 1, 3)))]
        yield Trial(Concat(), (first, *others), draw.choice(BATCHES))


def _gates(draw: random.Random) -> Iterator[Trial]:
    while True:
        shape = _map(draw)
        yield Trial(Multiply(), (shape, (shape[0], 1, 1)), draw.choice(BATCHES))


def _shuffles(draw: random.Random) -> Iterator[Trial]:
    while True:
        yield Trial(ChannelShuffle(8), (_map(draw),), draw.choice(BATCHES))


def _large(draw: random.Random) -> Iterator[Trial]:
    """Maps that no cache holds."""
    few, many, half = (16, 112, 112), (96, 112, 112), (64, 112, 112)
    yield Trial(Conv(96, 1, bias=False), (few,), 16)
    yield Trial(Conv(64, 3, padding=1, bias=False), ((3, 112, 112),), 16)
    yield Trial(DepthwiseConv(3, padding=1, bias=False), (many,), 16)
    yield Trial(DepthwiseConv(3, 2, 1, bias=False), (many,), 16)
    yield Trial(Conv(128, 3, padding=1, groups=32, bias=False), ((128, 56, 56),), 16)
    yield Trial(BatchNorm(), (many,), 16)
    yield Trial(BatchNorm(), (half,), 16)
    yield Trial(ReLU(), (many,), 16)
    yield Trial(ReLU(), (half,), 16)
    yield Trial(MaxPool(3, 2, 1), (half,), 16)
    yield Trial(MaxPool(2), (half,), 16)
    yield Trial(Multiply(), (half, (64, 1, 1)), 16)
    yield Trial(GlobalAvgPool(), ((2048, 7, 7),), 16)
    yield Trial(Concat(), (half, few), 16)
    yield Trial(Add(), (half, half), 16)


_POOLS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 2, 0)]
_CLASSES = (
    (_dense, 170),
    (_pointwise, 170),
    (_first, 24),
    (_grouped, 60),
    (_grouped_pointwise, 24),
    (_depthwise, 70),
    (_linear, 24),
    (_each(ReLU()), 24),
    (_each(BatchNorm()), 40),
    (_each(Add(), inputs=2), 24),
    (_joins, 24),
    (_each(*(MaxPool(*sizes) for sizes in _POOLS)), 24),
    (_each(*(AvgPool(*sizes) for sizes in _POOLS)), 16),
    (_each(GlobalAvgPool()), 16),
    (_each(Sigmoid()), 16),
    (_each(Scale()), 12),
    (_each(LocalResponseNorm()), 12),
    (_each(GroupNorm(8)), 12),
    (_each(Interpolate(2)), 10),
    (_gates, 12),
    (_shuffles, 12),
    (_each(Dropout()), 3),
    (_large, 15),
)
"""How many of each class."""
