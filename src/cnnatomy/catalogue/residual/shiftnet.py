"""ShiftNet (Wu et al.: Shift: a zero FLOP, zero parameter alternative to spatial convolutions, 2017)."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.preact_resnet import preact_head
from cnnatomy.design import Block, Chain, FeatureMap, Network
from cnnatomy.design.parts import bn_relu_conv, gated
from cnnatomy.layers import Add, AvgPool, Concat, Conv, Layer, Shift
from cnnatomy.layers.layer import value

PAPER = "Wu et al. 2017, Shift: a zero FLOP, zero parameter alternative to spatial convolutions"


@value
class ConvShiftConv(Block):
    """CSC: BN-ReLU-1x1 to `expansion` times the channels, shift, BN-ReLU-1x1, added (figure 5 of the paper).

    With stride 2 the second 1x1 strides, and the branch makes only the channels that are new: the input, average
    pooled, is concatenated to it. Without `concatenate` it makes them all, and there is no shortcut.
    """

    channels: int
    expansion: int
    kernel: int = 3
    stride: int = 1
    concatenate: bool = True
    gate: Layer | Block | None = None

    stem = "csc"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        concatenate = self.stride > 1 and self.concatenate
        new = self.channels - x.channels if concatenate else self.channels
        y = bn_relu_conv(x, self.expansion * new, 1)
        y = Shift(self.kernel)(y)
        y = gated(bn_relu_conv(y, new, 1, self.stride), self.gate)
        if concatenate:
            return Concat()(y, AvgPool(3, self.stride, padding=1)(x))
        return Add()(y, x) if self.stride == 1 else y


class ShiftGroup(NamedTuple):
    """A group of table 4 of the paper: kernel, expansions of the first and the other modules, channels, modules."""

    kernel: int
    first: int
    others: int
    channels: int
    modules: int


TABLE = {
    "a": (
        ShiftGroup(5, 4, 4, 64, 5),
        ShiftGroup(5, 4, 3, 128, 6),
        ShiftGroup(3, 3, 2, 256, 7),
        ShiftGroup(3, 2, 1, 512, 3),
    ),
    "b": (
        ShiftGroup(5, 4, 4, 32, 5),
        ShiftGroup(5, 4, 3, 64, 6),
        ShiftGroup(3, 3, 2, 128, 7),
        ShiftGroup(3, 2, 1, 256, 3),
    ),
    "c": (
        ShiftGroup(3, 1, 1, 32, 1),
        ShiftGroup(3, 1, 1, 64, 4),
        ShiftGroup(3, 1, 1, 128, 4),
        ShiftGroup(3, 1, 1, 256, 3),
    ),
}


def shiftnet(groups: tuple[ShiftGroup, ...], concatenate: bool = True, classes: int = 1000) -> Network:
    """Table 4 of the paper. The first module of a group strides; the tail has half as many channels as group 1.

    The paper is silent on what a module of stride 2 does with its input. With concatenation the published counts of
    ShiftNet-A (4.1 M parameters, 1.4 G MACs) and B (1.1 M, 371 M MACs) come out, without it that of C (0.78 M).
    """

    def group(kernel: int, first: int, others: int, channels: int, modules: int) -> Chain:
        down = ConvShiftConv(channels, first, kernel, stride=2, concatenate=concatenate)
        return Chain(down, *[ConvShiftConv(channels, others, kernel)] * (modules - 1))

    return Network(
        tail=Conv(groups[0].channels // 2, 7, stride=2, padding=3, bias=False),
        body=Chain(**{f"group{number}": group(*row) for number, row in enumerate(groups, start=1)}),
        head=preact_head(classes),
    )


def _entry(version: str, concatenate: bool, summary: str) -> Entry:
    arguments = {"groups": TABLE[version], "concatenate": concatenate}
    return Entry(f"shiftnet-{version}", "residual", 2017, summary, PAPER, shiftnet, arguments)


BLOCKS = (ConvShiftConv,)
ENTRIES = (
    _entry("a", True, "1x1 convolutions and shifts, which have no parameters and no operations"),
    _entry("b", True, "half as many channels"),
    _entry("c", False, "shallower, expansion 1; stride-2 modules as the published size has them"),
)
