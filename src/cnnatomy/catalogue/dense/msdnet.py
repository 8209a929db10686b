"""MSDNet (Huang, Chen, Li, Wu, van der Maaten, Weinberger: Multi-scale dense networks, 2017): exits all the way up.

Details that the paper leaves open are those of the authors' code (github.com/kalviny/MSDNet-PyTorch).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, Composition, FeatureMap, Heads, Network
from cnnatomy.design.blocks import composition
from cnnatomy.design.parts import conv_bn_relu, gated
from cnnatomy.layers import AvgPool, BatchNorm, Concat, Conv, Flatten, FullyConnected, Layer, MaxPool, ReLU
from cnnatomy.layers.layer import value

if TYPE_CHECKING:
    import torch

PAPER = "Huang et al. 2017, Multi-scale dense networks for resource efficient image classification"

Maps = tuple[FeatureMap, ...]
"""The same layer at several scales, finest first."""


@value
class MSDNetTail(Block):
    """The finest scale of the first layer: a 3x3 convolution for CIFAR, a 7x7 of stride 2 and a max pool for ImageNet.

    (The 7x7 convolution has a bias in the authors' code, although batch norm follows.)
    """

    channels: int
    kernel: int = 3

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        if self.kernel == 3:
            return conv_bn_relu(x, self.channels, 3)
        x = ReLU()(BatchNorm()(Conv(self.channels, self.kernel, 2, padding=self.kernel // 2)(x)))
        return MaxPool(3, 2, padding=1)(x)


@value
class Scales(Block):
    """The coarser scales of the first layer, each from the finer one by a 3x3 convolution of stride 2 (section 4.1)."""

    channels: tuple[int, ...]

    def __call__(self, x: FeatureMap) -> Maps:
        maps = [x]
        for channels in self.channels:
            maps.append(conv_bn_relu(maps[-1], channels, 3, stride=2))
        return tuple(maps)


def bottleneck(x: FeatureMap, channels: int, factor: int, stride: int = 1) -> FeatureMap:
    """1x1 to at most `factor` times the channels, then 3x3: h of figure 2, or with a stride h~."""
    x = conv_bn_relu(x, min(x.channels, factor * channels), 1)
    return conv_bn_relu(x, channels, 3, stride)


@value
class MultiScaleLayer(Block):
    """A dense layer at each scale, half of it made from the next finer scale (figure 2 of the paper).

    The `scales` coarsest of the scales are kept; scale i gains `growth * factors[i]` channels.
    """

    growth: int
    factors: tuple[int, ...]
    scales: int
    gate: Layer | Block | None = None

    stem = "layer"

    def __call__(self, *maps: FeatureMap) -> Maps:
        finer, here = (None, *maps)[-self.scales - 1 : -1], maps[-self.scales :]
        wider, factors = (0, *self.factors)[-self.scales - 1 : -1], self.factors[-self.scales :]
        grown = []
        for x, x_finer, factor, factor_finer in zip(here, finer, factors, wider, strict=True):
            channels = self.growth * factor
            if x_finer is None:
                new = [bottleneck(x, channels, factor)]
            else:
                new = [bottleneck(x_finer, channels // 2, factor_finer, stride=2), bottleneck(x, channels // 2, factor)]
            grown.append(gated(Concat()(x, *new), self.gate))
        return tuple(grown)


@value
class ScaleTransition(Block):
    """Halves the channels of every scale by 1x1 (network reduction, section 4.1), to multiples of its factor."""

    factors: tuple[int, ...]

    stem = "transition"

    def __call__(self, *maps: FeatureMap) -> Maps:
        factors = self.factors[-len(maps) :]
        return tuple(conv_bn_relu(x, x.channels // f // 2 * f, 1) for x, f in zip(maps, factors, strict=True))


@composition
class Exits(Composition):
    """A chain that returns the last map of every part: each of them can have a head, an early exit."""

    def __call__(self, *maps: FeatureMap) -> Maps:
        exits = []
        for part in self.parts:
            result: Any = part(*maps)
            maps = result if isinstance(result, tuple) else (result,)
            exits.append(maps[-1])
        return tuple(exits)


@value
class ExitHead(Block):
    """Two 3x3 convolutions of stride 2, average pool, linear; as wide as its input unless `width` says otherwise."""

    classes: int = 1000
    width: int | None = None

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        width = self.width or x.channels
        x = conv_bn_relu(conv_bn_relu(x, width, 3, stride=2), width, 3, stride=2)
        return FullyConnected(self.classes)(Flatten()(AvgPool(2)(x)))


def layers(depth: int, growth: int, factors: tuple[int, ...]) -> Iterator[list[Block]]:
    """Each layer, with a transition after those that drop a scale: equally many layers for every number of scales."""
    interval = -(-depth // len(factors))
    for number in range(depth):
        scales = len(factors) - number // interval
        layer: list[Block] = [MultiScaleLayer(growth, factors, scales)]
        dropped = number > 0 and number % interval == 0
        yield [*layer, ScaleTransition(factors)] if dropped else layer


def msdnet(
    steps: tuple[int, ...],
    growth: int,
    factors: tuple[int, ...],
    channels: int,
    kernel: int = 3,
    head_width: int | None = None,
    classes: int = 1000,
) -> Network:
    """An exit after each of `steps` layers; scale i starts with `channels * factors[i]` channels."""
    finest, *coarser = [channels * factor for factor in factors]
    made = layers(sum(steps), growth, factors)
    blocks: dict[str, Block] = {}
    for number, step in enumerate(steps, start=1):
        first = [Scales(tuple(coarser))] if number == 1 else []
        blocks[f"block{number}"] = Chain(*first, *[part for _ in range(step) for part in next(made)])
    exits = {f"exit{i}": ExitHead(classes, head_width) for i in range(1, len(steps) + 1)}
    return Network(
        tail=MSDNetTail(finest, kernel),
        body=Exits(**blocks),
        head=Heads(reads=tuple((name, i) for i, name in enumerate(exits)), **exits),
    )


def exit_early(module: torch.nn.Module, x: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Classifies each image at the first exit whose largest softmax output reaches `threshold`.

    `module` is a built network whose body is `Exits` with a head for each. Later blocks compute the images that are
    left, and no others. Returns (logits of each image, the exit that it took, from 0).
    """
    import torch

    def as_tuple(maps: Any) -> tuple[torch.Tensor, ...]:
        return maps if isinstance(maps, tuple) else (maps,)

    parts: Any = module
    maps, blocks = as_tuple(parts.tail(x)), list(parts.body.children())
    left = torch.arange(len(x), device=x.device)
    taken = torch.zeros_like(left)
    logits: torch.Tensor | None = None
    for number, (block, head) in enumerate(zip(blocks, parts.head.children(), strict=True)):
        maps = as_tuple(block(*maps))
        here = head(maps[-1]).flatten(1)
        logits = x.new_zeros(len(x), here.shape[1]) if logits is None else logits
        sure = here.softmax(1).amax(1) >= threshold
        if number == len(blocks) - 1:
            sure = torch.ones_like(sure)
        logits[left[sure]], taken[left[sure]] = here[sure], number
        left, maps = left[~sure], tuple(m[~sure] for m in maps)
        if not len(left):
            break
    assert logits is not None
    return logits, taken


BLOCKS = (MSDNetTail, Scales, MultiScaleLayer, ScaleTransition, Exits, ExitHead)
ENTRIES = (
    Entry(
        "msdnet",
        "dense",
        2017,
        "4 scales, growth 16, exits after 4, 8, 12, 16 and 20 layers, as released",
        PAPER,
        msdnet,
        {"steps": (4,) * 5, "growth": 16, "factors": (1, 2, 4, 4), "channels": 32, "kernel": 7},
        aliases=("msdnet-imagenet",),
    ),
    Entry(
        "msdnet-cifar",
        "dense",
        2017,
        "3 scales, growth 6, 11 exits after 4, 6, ... 24 layers",
        PAPER,
        msdnet,
        {"steps": (4, *(2,) * 10), "growth": 6, "factors": (1, 2, 4), "channels": 16, "head_width": 128},
        input=(3, 32, 32),
        classes=10,
    ),
)
