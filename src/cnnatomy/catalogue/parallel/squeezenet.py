"""SqueezeNet (Iandola et al.: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size, 2016)."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Block, Chain, FeatureMap, Network
from cnnatomy.layers import Concat, Conv, Dropout, Flatten, GlobalAvgPool, MaxPool, ReLU
from cnnatomy.layers.layer import value

PAPER = "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size"


@value
class Fire(Block):
    """Squeeze by 1x1 to few channels, then expand by 1x1 and 3x3 side by side (figure 1 of the paper)."""

    squeeze: int
    expand: int  # channels of each of the two

    def __call__(self, x: FeatureMap) -> FeatureMap:
        squeezed = ReLU()(Conv(self.squeeze, 1)(x))
        ones = ReLU()(Conv(self.expand, 1)(squeezed))
        threes = ReLU()(Conv(self.expand, 3, padding=1)(squeezed))
        return Concat()(ones, threes)


class Version(NamedTuple):
    """What the two versions differ in: the first convolution, and the fire modules that a max pool follows."""

    channels: int
    kernel: int
    pool_after: tuple[int, ...]


VERSIONS = {"1.0": Version(96, 7, (4, 8)), "1.1": Version(64, 3, (3, 5))}
FIRES = {
    2: Fire(16, 64),
    3: Fire(16, 64),
    4: Fire(32, 128),
    5: Fire(32, 128),
    6: Fire(48, 192),
    7: Fire(48, 192),
    8: Fire(64, 256),
    9: Fire(64, 256),
}
"""Table 1 of the paper."""


def squeezenet(version: str = "1.0", padding: int = 0, classes: int = 1000) -> Network:
    """Version 1.0 is table 1 of the paper, whose sizes need 227 pixels; 1.1 is the authors' own, later. Pools round up.

    `padding` of the last convolution is 0 in the paper and 1 in the released prototxt.
    """
    channels, kernel, pool_after = VERSIONS[version]
    pool = MaxPool(3, 2, ceil=True)
    body: dict[str, Fire | MaxPool] = {}
    for number, fire in FIRES.items():
        body[f"fire{number}"] = fire
        if number in pool_after:
            body[f"pool{number}"] = pool
    return Network(
        tail=Chain(conv1=Conv(channels, kernel, stride=2), relu1=ReLU(), pool1=pool),
        body=Chain(**body),
        head=Chain(
            drop9=Dropout(0.5),
            conv10=Conv(classes, 1, padding=padding),
            relu10=ReLU(),
            pool10=GlobalAvgPool(),
            flatten=Flatten(),
        ),
    )


BLOCKS = (Fire,)
ENTRIES = (
    Entry(
        "squeezenet-1.0",
        "parallel",
        2016,
        "fire modules, 50 times fewer parameters than AlexNet",
        PAPER,
        squeezenet,
        input=(3, 227, 227),
        aliases=("squeezenet",),
    ),
    Entry("squeezenet-1.0-224", "parallel", 2016, "at 224 pixels", PAPER, squeezenet),
    Entry(
        "squeezenet-1.0-conv10pad1",
        "parallel",
        2016,
        "as released: the last 1x1 convolution is padded",
        PAPER,
        squeezenet,
        {"padding": 1},
        input=(3, 227, 227),
    ),
    Entry(
        "squeezenet-1.1",
        "parallel",
        2016,
        "3x3 first convolution and earlier pools: the same size for 2.4 times fewer MACs",
        "https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1; after " + PAPER,
        squeezenet,
        {"version": "1.1"},
    ),
)
