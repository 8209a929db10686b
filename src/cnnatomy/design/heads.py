"""Heads: what makes a prediction from the last feature map of a body.

Any of them fits any body: `network.replace(head=PixelHead(10))`, or `network.with_heads(...)` for several at once, or
for a body that returns several maps. `VectorHead` and heads with a weight for each pixel are built for one input size.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from cnnatomy.design.blocks import Block, Chain, Heads
from cnnatomy.design.graph import FeatureMap
from cnnatomy.design.parts import conv_bn_relu
from cnnatomy.errors import UserError
from cnnatomy.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupMaximum,
    Interpolate,
    MajorityVote,
    PixelScale,
    RadialBasis,
    ReLU,
    Reshape,
    Tanh,
    TransposedConv,
)
from cnnatomy.layers.layer import elements, value


@value
class LinearHead(Block):
    """Global average pooling and a linear classifier: C * classes + classes parameters, any input size."""

    classes: int = 1000
    dropout: float = 0.0

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Flatten()(GlobalAvgPool()(x))
        if self.dropout:
            x = Dropout(self.dropout)(x)
        return FullyConnected(self.classes)(x)


@value
class VectorHead(Block):
    """Vectorise, `hidden` fully connected layers with ReLU and dropout, a linear classifier: for one input size.

    It can combine the features of all pixels in any way. `LinearHead` is a special case of one such layer: the weights
    are equal at all pixels, and divided by their number (lecture 000, "Vectorize").
    """

    classes: int = 1000
    hidden: tuple[int, ...] = ()
    dropout: float = 0.5

    stem = "head"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))

    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = Reshape((elements(x.shape),))(x)  # unlike Flatten, it refuses an input of another size
        for features in self.hidden:
            x = ReLU()(FullyConnected(features)(x))
            if self.dropout:
                x = Dropout(self.dropout)(x)
        return FullyConnected(self.classes)(x)


@value
class ConvHead(Block):
    """Dropout, 1x1 convolution to the classes, ReLU, global average pooling (Iandola et al. 2016, SqueezeNet)."""

    classes: int = 1000
    dropout: float = 0.5

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        if self.dropout:
            x = Dropout(self.dropout)(x)
        return Flatten()(GlobalAvgPool()(ReLU()(Conv(self.classes, 1)(x))))


Combine = Literal["mean", "majority", "weighted", "learned"]


@value
class PixelHead(Block):
    """Classifies every pixel of the last map by one linear classifier, then combines the pixels: the lecture's idea 1.

    `combine` is "mean" (which equals `LinearHead`), "majority" (the share of pixels that vote for a class), "weighted"
    (a mean with one learned weight for each pixel), or "learned" (fully connected: classes and places combine freely).
    With `localise` the head returns the class map (classes, rows, columns) as well, which can have labels of its own.
    """

    classes: int = 1000
    combine: Combine = "mean"
    localise: bool = False

    stem = "head"

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combine):
            raise UserError(f"{self!r}: combine must be one of {', '.join(get_args(Combine))}")

    def __call__(self, x: FeatureMap) -> Any:
        classified = Conv(self.classes, 1)(x)
        scores = self.combined(classified)
        return (scores, classified) if self.localise else scores

    def combined(self, x: FeatureMap) -> FeatureMap:
        """The class map as one score for each class."""
        if self.combine == "majority":
            return MajorityVote()(x)
        if self.combine == "learned":
            return FullyConnected(self.classes)(Reshape((elements(x.shape),))(x))
        return Flatten()(GlobalAvgPool()(PixelScale()(x) if self.combine == "weighted" else x))


@value
class WeightedHead(Block):
    """A learned weight for each pixel, then global average pooling and a linear classifier: the lecture's idea 2.

    The weights start at 1, where the head is a `LinearHead`.
    """

    classes: int = 1000

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return FullyConnected(self.classes)(Flatten()(GlobalAvgPool()(PixelScale()(x))))


@value
class CodeHead(Block):
    """Predicts a code of several bits (-1 or 1); the scores are minus its squared distances to the codes given.

    The largest score is the nearest code (LeNet-5; lecture 000, "Predicts code vs 1 hot"). Similar classes can have
    similar codes, and with `owners`, the class of each code, a class several codes: its score is that of the nearest.
    """

    codes: tuple[tuple[float, ...], ...]
    owners: tuple[int, ...] = ()

    stem = "head"

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", tuple(map(tuple, self.codes)))
        object.__setattr__(self, "owners", tuple(self.owners))
        if self.owners and len(self.owners) != len(self.codes):
            raise UserError(f"CodeHead: {len(self.codes)} codes need as many owners, got {len(self.owners)}")

    def __call__(self, x: FeatureMap) -> FeatureMap:
        distances = RadialBasis(self.codes)
        bits = Tanh()(FullyConnected(len(distances.codes[0]))(Flatten()(GlobalAvgPool()(x))))
        return GroupMaximum(self.owners)(distances(bits)) if self.owners else distances(bits)


@value
class MapHead(Block):
    """`channels` numbers for each pixel of the input: 1x1 convolution, enlarged `scale` times, bilinear.

    `scale` is the stride of the body, 32 for most here; `width` puts a 3x3 convolution of so many channels before.
    """

    channels: int
    scale: int = 32
    width: int = 0

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        if self.width:
            x = conv_bn_relu(x, self.width, 3)
        x = Conv(self.channels, 1)(x)
        return Interpolate(self.scale, "bilinear")(x) if self.scale > 1 else x


@value
class KeypointHead(Block):
    """A heat map for each keypoint: transposed convolutions that double the size, then 1x1 (Xiao et al. 2018).

    Three doublings take a body of stride 32 to a quarter of the input.
    """

    keypoints: int = 17
    doublings: int = 3
    width: int = 256

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for _ in range(self.doublings):
            x = ReLU()(BatchNorm()(TransposedConv(self.width, 4, 2, padding=1, bias=False)(x)))
        return Conv(self.keypoints, 1)(x)


def segmentation_head(classes: int = 21, scale: int = 32, width: int = 256) -> MapHead:
    """Class scores for each pixel of the input."""
    return MapHead(classes, scale, width)


def depth_head(scale: int = 32, width: int = 256) -> MapHead:
    """One number for each pixel of the input."""
    return MapHead(1, scale, width)


def motion_head(scale: int = 32, width: int = 256) -> MapHead:
    """Two numbers for each pixel of the input: how far it moves along rows and columns."""
    return MapHead(2, scale, width)


def detection_heads(classes: int = 80, anchors: int = 9, width: int = 256) -> Heads:
    """For each pixel of the last map and each anchor box: class scores, four box offsets, and objectness.

    Three maps of `anchors` * (classes, 4 and 1) channels (YOLO, Redmon et al. 2016), each with a 3x3 convolution of its
    own (RetinaNet, Lin et al. 2017).
    """

    def branch(numbers: int) -> Chain:
        return Chain(conv=Conv(width, 3, padding=1), relu=ReLU(), output=Conv(anchors * numbers, 1))

    return Heads(classes=branch(classes), boxes=branch(4), objectness=branch(1))


HEADS: tuple[type[Block], ...] = (
    *(LinearHead, VectorHead, ConvHead, PixelHead, WeightedHead, CodeHead),
    *(MapHead, KeypointHead),
)
"""The heads that are blocks; each works on the last feature map of any body."""
