"""AlexNet (Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012)."""

from __future__ import annotations

from collections.abc import Sequence

from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Chain, Network
from cnnatomy.layers import Conv, Dropout, Flatten, FullyConnected, LocalResponseNorm, MaxPool, ReLU

PAPER = "Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks"
ONE_TOWER = "Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks"


def head(classes: int, dropout: str = "after") -> Chain:
    """Three fully connected layers, dropout "after" or "before" the first two. ZFNet and VGG use the same."""
    fc6, fc7 = {"fc6": FullyConnected(4096), "relu6": ReLU()}, {"fc7": FullyConnected(4096), "relu7": ReLU()}
    drop6, drop7 = {"drop6": Dropout(0.5)}, {"drop7": Dropout(0.5)}
    hidden = fc6 | drop6 | fc7 | drop7 if dropout == "after" else drop6 | fc6 | drop7 | fc7
    return Chain(flatten=Flatten(), **hidden, fc8=FullyConnected(classes))


def alexnet(
    widths: Sequence[int] = (96, 256, 384, 384, 256),
    groups: int = 2,
    normalise: str = "before pooling",
    padding: int = 0,
    dropout: str = "after",
    classes: int = 1000,
) -> Network:
    """Five convolutions and three fully connected layers (figure 2 of the paper).

    `groups` is 2 in conv2, 4 and 5, which each see the maps of one of two GPUs alone. `normalise` puts the local
    response norm "before pooling" (the paper), "after pooling" (CaffeNet) or "never". The paper's text says 224 pixels;
    its 55 x 55 maps need 227 without padding (errata E04).
    """
    norm = LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0)
    pool = MaxPool(3, 2)

    def decimate(number: int) -> dict[str, MaxPool | LocalResponseNorm]:
        order: dict[str, dict[str, MaxPool | LocalResponseNorm]] = {
            "before pooling": {f"norm{number}": norm, f"pool{number}": pool},
            "after pooling": {f"pool{number}": pool, f"norm{number}": norm},
            "never": {f"pool{number}": pool},
        }
        return order[normalise]

    w1, w2, w3, w4, w5 = widths
    return Network(
        tail=Chain(conv1=Conv(w1, 11, stride=4, padding=padding), relu1=ReLU(), **decimate(1)),
        body=Chain(
            conv2=Conv(w2, 5, padding=2, groups=groups),
            relu2=ReLU(),
            **decimate(2),
            conv3=Conv(w3, 3, padding=1),
            relu3=ReLU(),
            conv4=Conv(w4, 3, padding=1, groups=groups),
            relu4=ReLU(),
            conv5=Conv(w5, 3, padding=1, groups=groups),
            relu5=ReLU(),
            pool5=pool,
        ),
        head=head(classes, dropout),
    )


_ONE_TOWER = {"widths": (64, 192, 384, 256, 256), "groups": 1, "normalise": "never", "padding": 2, "dropout": "before"}

BLOCKS = ()
ENTRIES = (
    Entry(
        "alexnet",
        "chain",
        2012,
        "as published: two groups, local response norm before pooling",
        PAPER,
        alexnet,
        input=(3, 227, 227),
        aliases=("alexnet-grouped",),
    ),
    Entry(
        "alexnet-ungrouped",
        "chain",
        2012,
        "without groups, as in the lectures' table",
        PAPER,
        alexnet,
        {"groups": 1},
        input=(3, 227, 227),
    ),
    Entry(
        "alexnet-torchvision",
        "chain",
        2014,
        "one tower, no normalisation: torchvision's",
        ONE_TOWER,
        alexnet,
        _ONE_TOWER,
        aliases=("alexnet-one-tower",),
    ),
    Entry(
        "alexnet-d2l",
        "chain",
        2012,
        "one tower, no normalisation, 224 pixels without padding: 54, 26, 12, 5 pixels",
        "Zhang et al., Dive into deep learning; after " + PAPER,
        alexnet,
        {"groups": 1, "normalise": "never"},
    ),
    Entry(
        "caffenet",
        "chain",
        2012,
        "AlexNet with pooling before the local response norm",
        "BVLC reference CaffeNet; after " + PAPER,
        alexnet,
        {"normalise": "after pooling"},
        input=(3, 227, 227),
    ),
)
