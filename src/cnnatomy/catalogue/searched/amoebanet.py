"""AmoebaNet-A (Real, Aggarwal, Huang, Le: Regularized evolution for image classifier architecture search, 2018).

Cells, stem and the bottleneck of 1x7 7x1 are those of the code that the authors released. The paper prints 86.7 million
parameters and 23.1 billion MACs for the large network, which that code does not give: it has 1.7% fewer of both.
"""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.searched.cells import CURRENT, PREVIOUS, Found, network_of_cells
from cnnatomy.design import Network

PAPER = "Real et al. 2018, Regularized evolution for image classifier architecture search"

# figure 5 of the paper; the pairs in the order of the released code (github.com/tensorflow/tpu, model_specs.py)
AMOEBANET_A = Found(
    normal=(
        ("avg 3x3", CURRENT, "max 3x3", CURRENT),
        ("sep 3x3", PREVIOUS, "identity", PREVIOUS),
        ("identity", CURRENT, "avg 3x3", PREVIOUS),
        ("sep 3x3", CURRENT, "sep 5x5", 2),
        ("avg 3x3", 5, "sep 3x3", CURRENT),
    ),
    normal_output=(PREVIOUS, 3, 4, 6),
    reduction=(
        ("sep 3x3", PREVIOUS, "avg 3x3", CURRENT),
        ("max 3x3", CURRENT, "sep 7x7", 2),
        ("max 3x3", PREVIOUS, "max 3x3", CURRENT),
        ("sep 3x3", 4, "1x7 7x1", CURRENT),
        ("avg 3x3", PREVIOUS, "sep 7x7", CURRENT),
    ),
    reduction_output=(3, 4, 5, 6),
)


def amoebanet_a(repeats: int, filters: int, stem: int, classes: int = 1000) -> Network:
    """N normal cells a stack, of F, 2F and 4F filters, in the frame of NASNet."""
    return network_of_cells(stem, AMOEBANET_A.cells(repeats, filters), classes)


BLOCKS = ()
ENTRIES = (
    Entry(
        "amoebanet-a-mobile",
        "searched",
        2018,
        "N = 4, F = 50",
        PAPER,
        amoebanet_a,
        {"repeats": 4, "filters": 50, "stem": 32},
    ),
    Entry(
        "amoebanet-a",
        "searched",
        2018,
        "N = 6, F = 190",
        PAPER,
        amoebanet_a,
        {"repeats": 6, "filters": 190, "stem": 32},
        input=(3, 331, 331),
        aliases=("amoebanet-a-large", "amoebanet"),
    ),
)
