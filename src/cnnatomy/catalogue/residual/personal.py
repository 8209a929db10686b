"""The network of the lecture's "Personal notes for vision optimized CNNs" (lecture 001): what to start a design from.

Tail, ResNeXt body and head as the notes say. Each level of down sampling doubles the channels in the same block that
halves the map, as ResNeXt does, rather than in a layer before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.residual.resnet import stages
from cnnatomy.catalogue.residual.resnext import GroupedBottleneck
from cnnatomy.design import Block, FeatureMap, LinearHead, Network
from cnnatomy.design.parts import Stem
from cnnatomy.errors import UserError
from cnnatomy.layers import Normalise
from cnnatomy.layers.layer import Shape, value

PAPER = "Lecture 001, Personal notes for vision optimized CNNs; blocks of Xie et al. 2016"

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training images, whose values go from 0 to 1, for red, green and blue; as torchvision gives them."""

TAIL_LEVELS = 2
SMALLEST = 6
"""The map before the global average should have 6 to 8 rows and columns, or more."""


def plan_levels(input: Shape) -> int:
    """How often to halve an image (channels, rows, columns) so that 6 to 8 rows and columns, or more, are left.

    5 for 224 x 224, which leaves 7 x 7.
    """
    return max(TAIL_LEVELS, (min(input[1:]) // SMALLEST).bit_length() - 1)


def plan_depths(levels: int) -> tuple[int, ...]:
    """Blocks at each level from 2: a few at the first and the last, many at the one before the last.

    The first have much compute and the last much memory; before the last both are in balance.
    """
    if levels <= TAIL_LEVELS + 1:
        return (3,) * (levels - TAIL_LEVELS + 1)
    return (3, *(4,) * (levels - TAIL_LEVELS - 2), 6, 3)


@value
class PersonalTail(Block):
    """Data normalisation, and the standard tail; the padding keeps the sizes whole fractions of the input's."""

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    stem = "tail"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return Stem(64)(Normalise(self.mean, self.std)(x))


def personal_notes(
    levels: int = 5, width: int = 256, groups: int = 32, depths: Sequence[int] | None = None, classes: int = 1000
) -> Network:
    """`levels` halvings in all, two of them in the tail; `width` channels at level 2, twice as many at each next.

    With 5 levels the body is that of ResNeXt-50 32x4d.

    Raises:
        UserError: if the levels are below 2, or the features at the end fewer than the classes.
    """
    if levels < TAIL_LEVELS:
        raise UserError(f"personal-notes: levels must be at least {TAIL_LEVELS}, those of the tail, got {levels}")
    depths = plan_depths(levels) if depths is None else tuple(depths)
    features = width << (len(depths) - 1)
    if features < classes:
        raise UserError(
            f"personal-notes: {features} features are too few for {classes} classes: use more levels or a larger width"
        )

    def block(channels: int, stride: int = 1) -> Block:
        return GroupedBottleneck(channels, groups, max(1, channels // (2 * groups)), stride)

    return Network(tail=PersonalTail(), body=stages(block, depths, width), head=LinearHead(classes))


BLOCKS = (PersonalTail,)
ENTRIES = (
    Entry(
        "personal-notes",
        "residual",
        2018,
        "normalisation in the network, tail, ResNeXt body of 5 levels, for pre-training",
        PAPER,
        personal_notes,
        aliases=("personal-notes-resnext50-224", "personal-notes-224"),
    ),
    Entry(
        "personal-notes-512x1024",
        "residual",
        2018,
        "the same at the size of the target images: 16x32 before the global average",
        PAPER,
        personal_notes,
        input=(3, 512, 1024),
    ),
)
