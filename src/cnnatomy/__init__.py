"""A workbench for people who design convolutional networks.

>>> import cnnatomy as cn
>>> net = cn.network("resnet-50")
>>> net.account((3, 224, 224)).totals.parameters
25557032
"""

from cnnatomy.catalogue import ENTRIES, network
from cnnatomy.errors import ShapeError, UserError
from cnnatomy.network import Block, Chain, Dense, FeatureMap, Heads, Named, Network, Parallel, Residual

__version__ = "0.1.0"

__all__ = [
    "ENTRIES",
    "Block",
    "Chain",
    "Dense",
    "FeatureMap",
    "Heads",
    "Named",
    "Network",
    "Parallel",
    "Residual",
    "ShapeError",
    "UserError",
    "network",
]
