"""NASNet-A (Zoph, Vasudevan, Shlens, Le: Learning transferable architectures for scalable image recognition, 2017)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.searched.cells import CURRENT, PREVIOUS, Found, network_of_cells
from cnnatomy.design import Network

PAPER = "Zoph et al. 2017, Learning transferable architectures for scalable image recognition"

# figure 4 of the paper; the pairs in the order of the released code
NASNET_A = Found(
    normal=(
        ("sep 5x5", CURRENT, "sep 3x3", PREVIOUS),
        ("sep 5x5", PREVIOUS, "sep 3x3", PREVIOUS),
        ("avg 3x3", CURRENT, "identity", PREVIOUS),
        ("avg 3x3", PREVIOUS, "avg 3x3", PREVIOUS),
        ("sep 3x3", CURRENT, "identity", CURRENT),
    ),
    normal_output=(PREVIOUS, 2, 3, 4, 5, 6),
    reduction=(
        ("sep 5x5", CURRENT, "sep 7x7", PREVIOUS),
        ("max 3x3", CURRENT, "sep 7x7", PREVIOUS),
        ("avg 3x3", CURRENT, "sep 5x5", PREVIOUS),
        ("identity", 3, "avg 3x3", 2),
        ("sep 3x3", 2, "max 3x3", CURRENT),
    ),
    reduction_output=(3, 4, 5, 6),
)


def nasnet_a(repeats: int, filters: int, stem: int, around: bool = False, classes: int = 1000) -> Network:
    """NASNet-A N @ P: N normal cells a stack, P = 24 * `filters` channels at the end.

    With `around`, as in the large network, the cell after a reduction reads around it.
    """
    return network_of_cells(stem, NASNET_A.cells(repeats, filters, ("reduction1", "reduction2") * around), classes)


BLOCKS = ()
ENTRIES = (
    Entry(
        "nasnet-a-mobile",
        "searched",
        2017,
        "4 @ 1056: stacks of 4 normal cells, 44 filters",
        PAPER,
        nasnet_a,
        {"repeats": 4, "filters": 44, "stem": 32},
        aliases=("nasnet-mobile", "nasnet-a-4@1056"),
    ),
    Entry(
        "nasnet-a-large",
        "searched",
        2017,
        "6 @ 4032: stacks of 6 normal cells, 168 filters; cells read around reductions",
        PAPER,
        nasnet_a,
        {"repeats": 6, "filters": 168, "stem": 96, "around": True},
        input=(3, 331, 331),
        aliases=("nasnet-large", "nasnet-a-6@4032"),
    ),
)
