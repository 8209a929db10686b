"""SqueezeNet (Iandola et al.: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size, 2016)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.layers import Concat, Conv, Dropout, Flatten, GlobalAvgPool, MaxPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.network import Block, Chain, FeatureMap, Network

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


def squeezenet(padding: int = 0, classes: int = 1000) -> Network:
    """Version 1.0 (table 1 of the paper). The table's sizes need 227 pixels; pools round up, as in Caffe.

    `padding` of the last convolution is 0 in the paper and 1 in the released prototxt.
    """
    pool = MaxPool(3, 2, ceil=True)
    return Network(
        tail=Chain(conv1=Conv(96, 7, stride=2), relu1=ReLU(), pool1=pool),
        body=Chain(
            fire2=Fire(16, 64),
            fire3=Fire(16, 64),
            fire4=Fire(32, 128),
            pool4=pool,
            fire5=Fire(32, 128),
            fire6=Fire(48, 192),
            fire7=Fire(48, 192),
            fire8=Fire(64, 256),
            pool8=pool,
            fire9=Fire(64, 256),
        ),
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
)
