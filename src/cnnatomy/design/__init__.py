"""Networks as values, and the graphs that they become."""

from cnnatomy.design.blocks import Block, Chain, Composition, Dense, Heads, Named, Parallel, Residual
from cnnatomy.design.gates import with_gates
from cnnatomy.design.graph import FeatureMap, Graph, Node, Scope
from cnnatomy.design.heads import (
    HEADS,
    CodeHead,
    ConvHead,
    KeypointHead,
    LinearHead,
    MapHead,
    PixelHead,
    VectorHead,
    WeightedHead,
    depth_head,
    detection_heads,
    motion_head,
    segmentation_head,
)
from cnnatomy.design.listed import ListedNetwork, ListedNode
from cnnatomy.design.network import Design, Network
from cnnatomy.design.parts import Deformable, NonLocal, Projection, SqueezeExcitation, Stem, TappedChain, ZeroShortcut

BLOCKS: tuple[type[Block], ...] = (
    *(Chain, TappedChain, Parallel, Dense, Residual, Heads),
    *(Projection, ZeroShortcut, SqueezeExcitation, NonLocal, Deformable, Stem),
    *HEADS,
)
"""The blocks of general use; each family of the catalogue adds its own."""

__all__ = [
    "BLOCKS",
    "HEADS",
    "Block",
    "Chain",
    "CodeHead",
    "Composition",
    "ConvHead",
    "Deformable",
    "Dense",
    "Design",
    "FeatureMap",
    "Graph",
    "Heads",
    "KeypointHead",
    "LinearHead",
    "ListedNetwork",
    "ListedNode",
    "MapHead",
    "Named",
    "Network",
    "Node",
    "NonLocal",
    "Parallel",
    "PixelHead",
    "Projection",
    "Residual",
    "Scope",
    "SqueezeExcitation",
    "Stem",
    "TappedChain",
    "VectorHead",
    "WeightedHead",
    "ZeroShortcut",
    "depth_head",
    "detection_heads",
    "motion_head",
    "segmentation_head",
    "with_gates",
]
