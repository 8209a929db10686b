"""Cells are data: one block reads any table of pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.catalogue.searched.cells import CURRENT, OPERATIONS, PREVIOUS, Cell, Cells
from cnnatomy.layers import Add, Conv, ReLU
from cnnatomy.layers.layer import value
from helpers import built, trace


@pytest.mark.parametrize(
    ("name", "filters"), [("nasnet-a-mobile", 1056), ("nasnet-a-large", 4032), ("pnasnet-5-large", 4320)]
)
def test_the_last_feature_map_has_the_filters_of_the_name(name, filters):
    assert cn.network(name).account().features.channels == filters


@pytest.mark.parametrize(("name", "read"), [("nasnet-a-large", "normal5"), ("nasnet-a-mobile", "normal4")])
def test_the_large_nasnet_reads_around_its_reduction_cells(name, read):
    """After the first reduction: the large one reads the map two before the reduction, the mobile one the last."""
    _, body, _ = cn.network(name).graph().root.children
    (cells, _) = body.children
    by_name = {cell.name: cell for cell in cells.children}
    names = list(by_name)
    after = by_name[names[names.index("reduction1") + 1]]
    assert after.inputs[0] in by_name[read].outputs
    assert after.inputs[1] in by_name["reduction1"].outputs


@st.composite
def cells(draw):
    """A random cell that reads only what comes before."""
    pairs = tuple(
        (
            draw(st.sampled_from(OPERATIONS)),
            draw(st.integers(0, number + 1)),
            draw(st.sampled_from(OPERATIONS)),
            draw(st.integers(0, number + 1)),
        )
        for number in range(draw(st.integers(1, 4)))
    )
    output = draw(st.lists(st.integers(2, len(pairs) + 1), min_size=1, max_size=3, unique=True))
    return pairs, tuple(output)


@settings(max_examples=10)
@given(cells(), st.integers(2, 9), st.integers(8, 11), st.integers(8, 11))
def test_any_table_is_a_cell(table, filters, rows, columns):
    pairs, output = table
    stack = Cells(first=Cell(filters, pairs, output, stride=2), second=Cell(filters, pairs, output), around=("first",))
    graph = trace(stack, (3, rows, columns))
    module = built(stack, (3, rows, columns)).eval()
    with torch.no_grad():
        assert module(torch.randn(1, 3, rows, columns)).shape[1:] == graph.outputs[0].shape
    assert graph.outputs[0].shape == (filters * len(output), -(-rows // 2), -(-columns // 2))


def test_a_cell_reads_only_what_comes_before():
    with pytest.raises(cn.UserError, match="a pair reads 0, 1 or the number of a pair before it"):
        Cell(8, (("identity", PREVIOUS, "sep 3x3", 2),), (2,))
    with pytest.raises(cn.UserError, match=r"no operation 'sep 3x4'\. Did you mean sep 3x3"):
        built(Cells(Cell(8, (("sep 3x4", CURRENT, "identity", CURRENT),), (2,))), (8, 9, 9))


def test_a_block_may_read_one_map_twice():
    """The first cell of a network does: what it makes must not take the place of what it was given."""

    @value
    class Twice(cn.Block):
        def __call__(self, x, y):
            positive = ReLU()(x)
            return Add()(positive, y)

    @value
    class Outer(cn.Block):
        def __call__(self, x):
            x = Conv(1, 1)(x)
            return Twice()(x, x)

    module = next(built(Outer(), (1, 2, 2)).children())
    x = torch.randn(3, 1, 2, 2)
    with torch.no_grad():
        y = module.conv(x)
        torch.testing.assert_close(module(x), y.relu() + y)
