"""ResNet for CIFAR-10: 3x32x32 in, three stages of 16, 32 and 64 channels (He et al. 2015, section 4.2; 2016).

Here are the plain networks that it is compared with, the block orders of the second paper, and its networks of 164 and
1001 layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual import preact_resnet, resnet
from cnnatomy.catalogue.residual.preact_resnet import PreActBottleneck, preact_head
from cnnatomy.catalogue.residual.resnet import BasicBlock, Option, shortcut, stages
from cnnatomy.design import Block, Chain, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import conv_bn_relu, gated
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, BatchNorm, Conv, Layer, ReLU
from cnnatomy.layers.layer import value

TAIL = Chain(conv=Conv(16, 3, padding=1, bias=False), bn=BatchNorm(), relu=ReLU())


@value
class PlainBlock(Block):
    """The basic block without its shortcut: 3x3, 3x3."""

    width: int
    stride: int = 1

    stem = "block"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return conv_bn_relu(conv_bn_relu(x, self.width, 3, self.stride), self.width, 3)


ORDERS = {
    "original": "conv bn relu conv bn + relu",
    "bn-after-addition": "conv bn relu conv + bn relu",
    "relu-before-addition": "conv bn relu conv bn relu +",
    "relu-only-pre-activation": "relu conv bn relu conv bn +",
    "full-pre-activation": "bn relu conv bn relu conv +",
}
"""Figure 4 (a) to (e) of the second paper."""


@value
class OrderedBlock(Block):
    """Two 3x3 convolutions, BN, ReLU and the addition (+) in any order; see `ORDERS`. The first convolution strides."""

    width: int
    stride: int = 1
    order: str = ORDERS["original"]
    option: Option = "A"
    gate: Layer | Block | None = None

    stem = "block"

    def __post_init__(self) -> None:
        words = self.order.split()
        if set(words) - {"conv", "bn", "relu", "+"} or words.count("+") != 1:
            raise UserError(f"an order is conv, bn, relu and one +, as in {ORDERS['original']!r}; got {self.order!r}")

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y, stride = x, self.stride
        for word in self.order.split():
            if word == "conv":
                y, stride = Conv(self.width, 3, stride, 1, bias=False)(y), 1
            elif word == "+":
                y = Add()(gated(y, self.gate), shortcut(x, self.width, self.stride, self.option))
            else:
                y = BatchNorm()(y) if word == "bn" else ReLU()(y)
        return y


def cifar_resnet(block: type[Block], depth: int, classes: int = 10, **options: Any) -> Network:
    """6n + 2 layers: n blocks of two convolutions in each of three stages."""
    body = stages(block, [(depth - 2) // 6] * 3, width=16, **options)
    return Network(tail=TAIL, body=body, head=LinearHead(classes), input=(3, 32, 32))


def ordered_resnet(order: str, depth: int = 110, classes: int = 10) -> Network:
    """The block orders that are compared in table 2; an order that ends in + lacks what the next block would do."""
    network = cifar_resnet(OrderedBlock, depth, classes, order=ORDERS[order])
    head = {"relu-only-pre-activation": Chain(relu=ReLU(), classifier=LinearHead(classes))}
    return network.replace(head={**head, "full-pre-activation": preact_head(classes)}.get(order, network.head))


def preact_cifar_resnet(depth: int, classes: int = 10) -> Network:
    """9n + 2 layers: n pre-activated bottlenecks in each of three stages, with the stride in the 3x3.

    The tail has a BN and ReLU of its own (32 parameters), as have the pre-activated networks for ImageNet; the authors'
    code for CIFAR has the convolution alone.
    """
    body = stages(PreActBottleneck, [(depth - 2) // 9] * 3, width=16, strided="3x3")
    return Network(tail=TAIL, body=body, head=preact_head(classes), input=(3, 32, 32))


def _entries() -> Iterator[Entry]:
    facts: dict[str, Any] = {"input": (3, 32, 32), "classes": 10}
    for depth in (20, 32, 44, 56, 110):
        summary = "for 32x32 pixels, zero-padded shortcuts (option A)"
        arguments: dict[str, Any] = {"block": BasicBlock, "depth": depth, "option": "A"}
        yield Entry(f"resnet-{depth}-cifar", "residual", 2015, summary, resnet.PAPER, cifar_resnet, arguments, **facts)
        summary, arguments = "the same without shortcuts", {"block": PlainBlock, "depth": depth}
        yield Entry(f"plain-{depth}-cifar", "chain", 2015, summary, resnet.PAPER, cifar_resnet, arguments, **facts)
    for order in list(ORDERS)[1:]:
        summary = f"block order: {ORDERS[order]}"
        name = "preact-resnet-110-cifar" if order == "full-pre-activation" else f"resnet-110-cifar-{order}"
        arguments = {"order": order}
        yield Entry(name, "residual", 2016, summary, preact_resnet.PAPER, ordered_resnet, arguments, **facts)
    for depth in (164, 1001):
        name, summary = f"preact-resnet-{depth}-cifar", "pre-activated bottlenecks for 32x32 pixels"
        arguments = {"depth": depth}
        yield Entry(name, "residual", 2016, summary, preact_resnet.PAPER, preact_cifar_resnet, arguments, **facts)


BLOCKS = (PlainBlock, OrderedBlock)
ENTRIES = tuple(_entries())
