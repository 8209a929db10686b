"""ResNet with pre-activation (He, Zhang, Ren, Sun: Identity mappings in deep residual networks, 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.resnet import stages
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Named, Network
from cnnatomy.design.parts import Stem, bn_relu_conv, gated
from cnnatomy.layers import Add, BatchNorm, Conv, Layer, ReLU
from cnnatomy.layers.layer import value

PAPER = "He et al. 2016, Identity mappings in deep residual networks"


def preact_shortcut(x: FeatureMap, activated: FeatureMap, channels: int, stride: int) -> FeatureMap:
    """The input itself; where the shape changes, a bare 1x1 convolution of the activated input (section 3.2)."""
    if x.channels == channels and stride == 1:
        return x
    projected: FeatureMap = Named("shortcut", Conv(channels, 1, stride, bias=False))(activated)
    return projected


@value
class PreActBasicBlock(Block):
    """BN-ReLU-3x3, BN-ReLU-3x3, added to the input: nothing lies on the way from block to block (figure 1b)."""

    width: int
    stride: int = 1
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        activated = ReLU()(BatchNorm()(x))
        y = Conv(self.width, 3, self.stride, 1, bias=False)(activated)
        y = bn_relu_conv(y, self.width, 3)
        return Add()(gated(y, self.gate), preact_shortcut(x, activated, self.width, self.stride))


@value
class PreActBottleneck(Block):
    """BN-ReLU-1x1, BN-ReLU-3x3, BN-ReLU-1x1, added to the input. The stride is in the first 1x1, or in the 3x3."""

    width: int
    stride: int = 1
    strided: Literal["1x1", "3x3"] = "1x1"
    gate: Layer | Block | None = None

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        first, second = (1, self.stride) if self.strided == "3x3" else (self.stride, 1)
        activated = ReLU()(BatchNorm()(x))
        y = Conv(self.width, 1, first, bias=False)(activated)
        y = bn_relu_conv(y, self.width, 3, second)
        y = bn_relu_conv(y, 4 * self.width, 1)
        return Add()(gated(y, self.gate), preact_shortcut(x, activated, 4 * self.width, self.stride))


def preact_head(classes: int) -> Chain:
    """The batch norm and ReLU that the last block still lacks, then the average and the classifier."""
    return Chain(bn=BatchNorm(), relu=ReLU(), classifier=LinearHead(classes))


def preact_resnet(block: type[Block], depths: Sequence[int], classes: int = 1000) -> Network:
    """ResNet's stages of pre-activated blocks. The tail has its own BN and ReLU, before the pool."""
    return Network(tail=Stem(64), body=stages(block, depths), head=preact_head(classes))


class PreActVariant(NamedTuple):
    """A depth, its block, and the number of blocks in each stage."""

    depth: int
    block: type[Block]
    depths: tuple[int, ...]


TABLE = (
    PreActVariant(18, PreActBasicBlock, (2, 2, 2, 2)),
    PreActVariant(34, PreActBasicBlock, (3, 4, 6, 3)),
    PreActVariant(50, PreActBottleneck, (3, 4, 6, 3)),
    PreActVariant(101, PreActBottleneck, (3, 4, 23, 3)),
    PreActVariant(152, PreActBottleneck, (3, 8, 36, 3)),
    PreActVariant(200, PreActBottleneck, (3, 24, 36, 3)),
)


def _entry(row: PreActVariant) -> Entry:
    name, summary = f"preact-resnet-{row.depth}", "BN and ReLU before each convolution, identity from block to block"
    arguments = {"block": row.block, "depths": row.depths}
    aliases = (f"resnet-{row.depth}-v2",)
    return Entry(name, "residual", 2016, summary, PAPER, preact_resnet, arguments, aliases=aliases)


BLOCKS = (PreActBasicBlock, PreActBottleneck)
ENTRIES = tuple(map(_entry, TABLE))
