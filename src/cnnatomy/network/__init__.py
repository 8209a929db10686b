"""Networks as values, and the graphs that they become."""

from cnnatomy.network.block import Block, Chain, Composition, Dense, Named, Parallel, Residual
from cnnatomy.network.gates import with_gates
from cnnatomy.network.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.network.network import Heads, Network
from cnnatomy.network.parts import (
    Deformable,
    LinearHead,
    NonLocal,
    Projection,
    SqueezeExcitation,
    Stem,
    TappedChain,
    ZeroShortcut,
)

BLOCKS: tuple[type[Block], ...] = (
    *(Chain, TappedChain, Parallel, Dense, Residual, Heads),
    *(Projection, ZeroShortcut, SqueezeExcitation, NonLocal, Deformable, Stem, LinearHead),
)
"""The blocks of general use; each family of the catalogue adds its own."""

__all__ = [
    "BLOCKS",
    "Block",
    "Chain",
    "Composition",
    "Deformable",
    "Dense",
    "FeatureMap",
    "Graph",
    "Heads",
    "LinearHead",
    "Named",
    "Network",
    "Node",
    "NonLocal",
    "Parallel",
    "Projection",
    "Residual",
    "Scope",
    "SqueezeExcitation",
    "Stem",
    "TappedChain",
    "ZeroShortcut",
    "with_gates",
]
