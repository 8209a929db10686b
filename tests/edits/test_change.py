"""A change of a graph: what it costs afterwards is what the changed graph costs, counted from nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.graph import Graph, Node
from cnnatomy.edits.change import Change, Cost, changed, cost_after, nodes_in
from cnnatomy.errors import ShapeError
from cnnatomy.layers import BatchNorm, Conv, MaxPool, ReLU

NAMES = (
    "alexnet",
    "vgg-16",
    "resnet-18",
    "googlenet",
    "mobilenet-v2",
    "squeezenet-1.0",
    "densenet-121",
    "googlenet-aux",
)


def replacements(node: Node) -> list[tuple[object, ...]]:
    """Chains that may stand in place of a node; not all of them fit everywhere."""
    layer = node.layer
    chains: list[tuple[object, ...]] = [(), (layer, ReLU()), (layer, BatchNorm(), ReLU())]
    if isinstance(layer, Conv):
        chains += [(layer.replace(bias=not layer.bias),), (layer.replace(stride=1),), (Conv(8, 1), layer)]
    if isinstance(layer, MaxPool):
        chains += [(Conv(node.output.shape[0], 3, stride=2, padding=1),)]
    return chains


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMES), count=st.integers(1, 3))
def test_the_cost_after_a_change_is_the_cost_of_the_changed_graph(data: st.DataObject, name: str, count: int) -> None:
    before = cn.network(name).account()
    nodes = data.draw(st.lists(st.sampled_from(before.graph.nodes), min_size=count, max_size=count, unique=True))
    change = Change({node: data.draw(st.sampled_from(replacements(node))) for node in nodes})  # type: ignore[misc]
    try:
        expected = Cost.of(account(changed(before.graph, change)))
    except ShapeError:
        with pytest.raises(ShapeError):
            cost_after(before, change)
        return
    assert cost_after(before, change) == expected


def test_another_input_is_a_change_too() -> None:
    before = cn.network("resnet-18").account()
    assert cost_after(before, Change(input=(3, 320, 320))) == Cost.of(cn.network("resnet-18").account((3, 320, 320)))


def test_a_change_that_moves_the_output_is_refused() -> None:
    before = cn.network("lenet-5").account()
    last = before.graph.outputs[0].node
    assert last is not None
    with pytest.raises(ShapeError, match="output"):
        cost_after(before, Change({last: (last.layer.replace(features=11),)}))


def test_dropped_nodes_leave_no_empty_scopes() -> None:
    before = cn.network("googlenet-aux").account()
    scopes = {child.path: child for child in before.graph.root.children if not isinstance(child, Node)}
    heads = {child.path: child for child in scopes["head"].children if not isinstance(child, Node)}
    auxiliary = [head for path, head in heads.items() if path != "head.main"]
    change = Change(dropped=frozenset(node for head in auxiliary for node in nodes_in(head)))
    after = changed(before.graph, change)
    assert [x.shape for x in after.outputs] == [(1000,)]
    assert cost_after(before, change) == Cost.of(account(after))
    assert account(after).totals.parameters == cn.network("googlenet").account().totals.parameters


def test_changing_nothing_gives_the_same_graph() -> None:
    for name in NAMES:
        before = cn.network(name).graph()
        after = changed(before, Change())
        assert [(n.path, n.layer, n.output.shape) for n in after] == [(n.path, n.layer, n.output.shape) for n in before]
        assert isinstance(after, Graph)
