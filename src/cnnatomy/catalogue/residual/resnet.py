"""ResNet (He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network, Projection, ZeroShortcut
from cnnatomy.design.parts import Stem, conv_bn, conv_bn_relu, gated
from cnnatomy.layers import Add, Layer, ReLU
from cnnatomy.layers.layer import value

PAPER = "He et al. 2015, Deep residual learning for image recognition"

Option = Literal["A", "B", "C"]
"""Shortcuts (section 4.1): A zeros for new channels, B projections where the shape changes, C everywhere."""


def shortcut(x: FeatureMap, channels: int, stride: int, option: Option) -> FeatureMap:
    """The input of a residual block in the shape of its output."""
    if option != "C" and x.channels == channels and stride == 1:
        return x
    return ZeroShortcut(channels, stride)(x) if option == "A" else Projection(channels, stride)(x)


@value
class BasicBlock(Block):
    """3x3, 3x3, added to the input (figure 5 left of the paper)."""

    width: int
    stride: int = 1
    option: Option = "B"
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = conv_bn_relu(x, self.width, 3, self.stride)
        y = gated(conv_bn(y, self.width, 3), self.gate)
        return ReLU()(Add()(y, shortcut(x, self.width, self.stride, self.option)))


@value
class Bottleneck(Block):
    """1x1 reduce, 3x3, 1x1 expand, added to the input (figure 5 right of the paper).

    The stride is in the 3x3 convolution, as in torchvision, or with `strided="1x1"` in the first, as published.
    """

    width: int
    stride: int = 1
    option: Option = "B"
    strided: Literal["3x3", "1x1"] = "3x3"
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        first, second = (1, self.stride) if self.strided == "3x3" else (self.stride, 1)
        y = conv_bn_relu(x, self.width, 1, first)
        y = conv_bn_relu(y, self.width, 3, second)
        y = gated(conv_bn(y, 4 * self.width, 1), self.gate)
        return ReLU()(Add()(y, shortcut(x, 4 * self.width, self.stride, self.option)))


def stages(block: Callable[..., Block], depths: Sequence[int], width: int = 64, **options: Any) -> Chain:
    """Stages of `depths` blocks; the width doubles and the map halves at the start of every stage but the first."""

    def stage(number: int, depth: int) -> Chain:
        first = block(width << number, stride=1 if number == 0 else 2, **options)
        return Chain(first, *[block(width << number, **options)] * (depth - 1))

    return Chain(**{f"stage{i + 1}": stage(i, depth) for i, depth in enumerate(depths)})


def resnet(
    block: type[Block], depths: Sequence[int], ceil: bool = False, classes: int = 1000, **options: Any
) -> Network:
    """Table 1 of the paper; with `ceil` the tail is pooled as in Caffe."""
    return Network(tail=Stem(64, ceil), body=stages(block, depths, **options), head=LinearHead(classes))


class ResNetVariant(NamedTuple):
    """A column of table 1 of the paper."""

    depth: int
    block: type[Block]
    depths: tuple[int, ...]


TABLE = (
    ResNetVariant(18, BasicBlock, (2, 2, 2, 2)),
    ResNetVariant(34, BasicBlock, (3, 4, 6, 3)),
    ResNetVariant(50, Bottleneck, (3, 4, 6, 3)),
    ResNetVariant(101, Bottleneck, (3, 4, 23, 3)),
    ResNetVariant(152, Bottleneck, (3, 8, 36, 3)),
)


def _entries() -> Iterator[Entry]:
    for depth, block, depths in TABLE:
        name, arguments = f"resnet-{depth}", {"block": block, "depths": depths}
        if block is BasicBlock:
            summary = "projection shortcuts where the shape changes"
            yield Entry(name, "residual", 2015, summary, PAPER, resnet, arguments, aliases=(name + "-v1",))
            published = arguments
        else:
            summary = "stride in the 3x3 convolution, as in torchvision"
            yield Entry(name, "residual", 2015, summary, PAPER, resnet, arguments, aliases=(name + "-v1-5",))
            published = arguments | {"strided": "1x1"}
            summary = "as published: stride in the first 1x1 convolution"
            yield Entry(name + "-v1", "residual", 2015, summary, PAPER, resnet, published)
        for option, meaning in (("A", "zero-padded shortcuts"), ("C", "projection shortcuts everywhere")):
            summary = f"as published, option {option}: {meaning}"
            aliases = (f"{name}-opt{option.lower()}",)
            changed = published | {"option": option}
            yield Entry(
                f"{name}-option-{option.lower()}", "residual", 2015, summary, PAPER, resnet, changed, aliases=aliases
            )


BLOCKS = (BasicBlock, Bottleneck)
ENTRIES = tuple(_entries())
