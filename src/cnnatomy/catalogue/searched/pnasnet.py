"""PNASNet-5 (Liu, Zoph, Neumann, Shlens, Hua, Li, Fei-Fei, Yuille, Huang, Murphy: Progressive NAS, 2017)."""

from __future__ import annotations

from cnnatomy.catalogue.entry import Entry
from cnnatomy.catalogue.searched.cells import CURRENT, PREVIOUS, Cell, Cells, Pairs, network_of_cells
from cnnatomy.design import Network

PAPER = "Liu et al. 2017, Progressive neural architecture search"

# figure 1 left of the paper; the pairs in the order of the released code
PNASNET_5: Pairs = (
    ("sep 5x5", PREVIOUS, "max 3x3", PREVIOUS),
    ("sep 7x7", CURRENT, "max 3x3", CURRENT),
    ("sep 5x5", CURRENT, "sep 3x3", CURRENT),
    ("sep 3x3", 4, "max 3x3", CURRENT),
    ("sep 3x3", PREVIOUS, "identity", CURRENT),
)


def pnasnet_5(repeats: int, filters: int, stem: int, classes: int = 1000) -> Network:
    """Two cells of stride 2, then three stacks of N cells, of F, 2F and 4F filters (figure 1 right).

    There is no reduction cell: the first cell of the second and third stack has stride 2.
    """

    def cell(filters: int, stride: int = 1) -> Cell:
        return Cell(filters, PNASNET_5, (2, 3, 4, 5, 6), stride)

    cells = {"stem1": cell(filters // 4, stride=2), "stem2": cell(filters // 2, stride=2)}
    for number in range(3 * repeats):
        stack = number // repeats
        cells[f"cell{number + 1}"] = cell(filters << stack, 2 if stack and number % repeats == 0 else 1)
    return network_of_cells(stem, Cells(**cells), classes)


BLOCKS = ()
ENTRIES = (
    Entry(
        "pnasnet-5-mobile",
        "searched",
        2017,
        "N = 3, F = 54",
        PAPER,
        pnasnet_5,
        {"repeats": 3, "filters": 54, "stem": 32},
        aliases=("pnasnet-mobile",),
    ),
    Entry(
        "pnasnet-5-large",
        "searched",
        2017,
        "N = 4, F = 216",
        PAPER,
        pnasnet_5,
        {"repeats": 4, "filters": 216, "stem": 96},
        input=(3, 331, 331),
        aliases=("pnasnet-large",),
    ),
)
