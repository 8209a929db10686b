"""ZFNet (Zeiler and Fergus: Visualizing and understanding convolutional networks, 2013)."""

from __future__ import annotations

from collections.abc import Sequence

from cnnatomy.catalogue.chain.alexnet import head
from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Chain, Network
from cnnatomy.layers import Conv, LocalResponseNorm, MaxPool, ReLU

PAPER = "Zeiler and Fergus 2013, Visualizing and understanding convolutional networks"


def zfnet(widths: Sequence[int] = (96, 256, 384, 384, 256), classes: int = 1000) -> Network:
    """AlexNet in one tower with a finer first layer: 7x7 with stride 2, and stride 2 in conv2 (figure 3 of the paper).

    The figure's 110, 55, 26 and 13 pixels need one pixel of padding in conv1, none in conv2, and pools that round up.
    Its contrast normalisation is a local response norm here, as in Caffe2's port of the network.
    """
    w1, w2, w3, w4, w5 = widths
    pool, norm = MaxPool(3, 2, ceil=True), LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0)
    return Network(
        tail=Chain(conv1=Conv(w1, 7, stride=2, padding=1), relu1=ReLU(), pool1=pool, norm1=norm),
        body=Chain(
            conv2=Conv(w2, 5, stride=2),
            relu2=ReLU(),
            pool2=pool,
            norm2=norm,
            conv3=Conv(w3, 3, padding=1),
            relu3=ReLU(),
            conv4=Conv(w4, 3, padding=1),
            relu4=ReLU(),
            conv5=Conv(w5, 3, padding=1),
            relu5=ReLU(),
            pool5=pool,
        ),
        head=head(classes),
    )


BLOCKS = ()
ENTRIES = (
    Entry("zfnet", "chain", 2013, "the figure's 384, 384, 256 channels in conv3 to 5", PAPER, zfnet),
    Entry(
        "zfnet-512",
        "chain",
        2013,
        "512, 1024, 512 channels in conv3 to 5: the wider network of table 2",
        PAPER,
        zfnet,
        {"widths": (96, 256, 512, 1024, 512)},
    ),
)
