"""A changed graph written as a network again: it is the graph that was meant, layer by layer, and computes the same."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnatomy as cn
from _allocations import outputs_of
from cnnatomy.design import Chain, Dense, Heads, LinearHead, TappedChain
from cnnatomy.design.build import build
from cnnatomy.design.graph import FeatureMap, Graph, Node
from cnnatomy.edits.change import Change, changed, nodes_in
from cnnatomy.edits.redesign import alike, described, redesign
from cnnatomy.errors import ShapeError, UserError
from cnnatomy.layers import Add, BatchNorm, Concat, Conv, MaxPool, Multiply, ReLU, Sigmoid
from cnnatomy.readers.yaml import design
from kinds import each_kind

# What is neither a chain nor made of branches: a map in the middle of a branch that is concatenated too, or read by two
# cells, or the slices of a dual path.
TANGLED = {
    *("inception-v3", "inception-v3-aux", "inception-v2-table", "inception-v4", "dpn-92", "dpn-98", "dpn-131"),
    *("msdnet", "msdnet-cifar", "nasnet-a-mobile", "nasnet-a-large", "amoebanet-a-mobile", "amoebanet-a"),
    *("pnasnet-5-mobile", "pnasnet-5-large"),
}

NAMES = (
    *("alexnet", "vgg-16", "resnet-18", "resnet-50", "googlenet", "googlenet-aux", "mobilenet-v2", "squeezenet-1.0"),
    *("densenet-121", "se-resnet-50", "shufflenet-g3", "preact-resnet-50", "inception-v3"),
)


@pytest.mark.parametrize("name", ["resnet-50", "googlenet-aux", "dpn-92", "nasnet-a-mobile", "msdnet"])
def test_a_network_in_which_nothing_changes_is_the_same_value(name):
    network = cn.network(name)
    assert redesign(network, network.graph(), Change()) == network


@pytest.mark.slow
@each_kind
def test_a_network_can_be_taken_apart_wholly_and_is_the_same_graph(name):
    network = cn.network(name)
    graph = network.graph()
    assert described(graph) == network
    if name in TANGLED:
        with pytest.raises(UserError):
            described(graph, keep=False)
        return
    apart = described(graph, keep=False)
    assert design.read(design.write(apart)) == apart
    assert apart.account().totals == network.account().totals
    assert apart.account().receptive_field == network.account().receptive_field


def replacements(node: Node) -> list[tuple[Any, ...]]:
    """Chains that may stand in place of a node; not all of them fit everywhere."""
    layer = node.layer
    chains: list[tuple[Any, ...]] = [(), (layer, ReLU()), (BatchNorm(), layer)]
    if isinstance(layer, Conv):
        chains += [(layer.replace(bias=not layer.bias),), (Conv(8, 1), layer)]
    if isinstance(layer, MaxPool):
        chains += [(Conv(node.output.shape[0], 3, stride=2, padding=1),)]
    return chains


def computed(module: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """What a module makes of a tensor where all weights of one shape are alike, and no two numbers within them."""
    with torch.no_grad():
        for parameter in module.parameters():
            numbers = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
            parameter.copy_(torch.sin(numbers * 12.9898 + parameter.dim()) / max(1, parameter[0].numel()) ** 0.5)
        return outputs_of(module.double().eval()(x))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMES), count=st.integers(1, 4))
def test_a_random_change_is_written_as_the_graph_that_was_meant(data, name, count):
    network = cn.network(name)
    graph = network.graph()
    nodes = data.draw(st.lists(st.sampled_from(graph.nodes), min_size=count, max_size=count, unique=True))
    change = Change({node: data.draw(st.sampled_from(replacements(node))) for node in nodes})
    try:
        meant = changed(graph, change)
        made = redesign(network, graph, change)
    except ShapeError:
        return
    except UserError:
        assert name in TANGLED
        return
    assert design.read(design.write(made)) == made
    assert sorted(repr((n.layer, n.output.shape)) for n in made.graph()) == sorted(
        repr((n.layer, n.output.shape)) for n in meant
    )


@pytest.mark.parametrize(
    "name", ["lenet-5", "resnet-20-cifar", pytest.param("preact-resnet-110-cifar", marks=pytest.mark.slow)]
)
def test_a_change_computes_what_the_changed_graph_computes(name):
    network = cn.network(name)
    graph = network.graph()
    convolutions = [node for node in graph.nodes if isinstance(node.layer, Conv)]
    change = Change({node: (node.layer, ReLU()) for node in convolutions[::3]})
    made, meant = redesign(network, graph, change), changed(graph, change)
    assert made != network
    x = torch.randn(2, *network.input, dtype=torch.float64)
    for ours, theirs in zip(computed(made.build(), x), computed(build(meant), x), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_blocks_that_nothing_touches_stay_and_their_paths_too():
    network = cn.network("resnet-50")
    graph = network.graph()
    (node,) = [node for node in graph.nodes if node.path == "body.stage2.block2.conv2"]
    made = redesign(network, graph, Change({node: (node.layer, BatchNorm())}))
    assert (made.tail, made.head) == (network.tail, network.head)
    stages = {part.name: part.part for part in made.body.parts}
    before = {part.name: part.part for part in network.body.parts}
    assert [name for name in stages if stages[name] != before[name]] == ["stage2"]
    touched = "body.stage2.block2."
    paths = [node.path for node in made.graph() if not node.path.startswith(touched)]
    assert paths == [node.path for node in graph if not node.path.startswith(touched)]
    assert sum(node.path.startswith(touched) for node in made.graph()) == 11


def test_without_its_auxiliary_heads_googlenet_is_googlenet():
    network = cn.network("googlenet-aux")
    graph = network.graph()
    scopes = [child for part in graph.root.children for child in part.children if part.path == "head"]
    dropped = [node for scope in scopes if scope.name in network.head.auxiliary for node in nodes_in(scope)]
    made = redesign(network, graph, Change(dropped=frozenset(dropped)))
    assert made == cn.network("googlenet")


@pytest.mark.parametrize("chain", [(), (ReLU(), BatchNorm()), (BatchNorm(), ReLU(), ReLU())])
@pytest.mark.parametrize("part", ["tail", "body", "head"])
def test_a_part_of_one_layer_can_become_several_or_none(part, chain):
    network = cn.Network(tail=ReLU(), body=ReLU(), head=ReLU(), input=(3, 8, 8))
    graph = network.graph()
    (node,) = [node for node in graph.nodes if node.path == part]
    made = redesign(network, graph, Change({node: chain}))
    assert [node.layer for node in made.graph()] == [node.layer for node in changed(graph, Change({node: chain}))]


def test_dense_blocks_in_a_row_stay_two_when_they_are_taken_apart():
    dense = Dense(first=Conv(4, 1), second=ReLU())
    network = cn.Network(Conv(8, 3), Chain(dense, dense), LinearHead(3), (3, 8, 8))
    graph = network.graph()
    relus = [node for node in graph.nodes if node.path.endswith("second")]
    made = redesign(network, graph, Change({node: (node.layer, BatchNorm()) for node in relus}))
    assert [type(part) for part in made.body.parts] == [Dense, Dense]
    assert described(graph, keep=False).account().totals == network.account().totals


def three_heads() -> cn.Network:
    stages = {name: Chain(Conv(8, 3, stride=2, padding=1), ReLU()) for name in ("a", "b", "c")}
    heads = Heads(x=LinearHead(3), y=LinearHead(4), z=LinearHead(5), reads={"y": 1, "z": 2}, auxiliary=("y",))
    return cn.Network(Conv(8, 3), TappedChain(**stages, taps=("a", "b")), heads, (3, 32, 32))


def test_a_head_left_out_takes_its_tap_with_it():
    network = three_heads()
    graph = network.graph()
    dropped = frozenset(node for node in graph.nodes if node.path.startswith("head.y."))
    made = redesign(network, graph, Change(dropped=dropped))
    assert made.head == Heads(x=LinearHead(3), z=LinearHead(5), reads={"z": 1})
    assert made.body == network.body.replace(taps=("b",))
    assert [x.shape for x in made.graph().outputs] == [(3,), (5,)]


def test_heads_that_read_half_way_up_still_do_when_a_stage_changes():
    network = three_heads()
    graph = network.graph()
    (node,) = [node for node in graph.nodes if node.path == "body.a.conv"]
    made = redesign(network, graph, Change({node: (node.layer, BatchNorm())}))
    assert made.head == network.head
    assert made.body == network.body.replace(a=Chain(Conv(8, 3, stride=2, padding=1), BatchNorm(), ReLU()))


def test_a_graph_without_tail_body_and_head_is_refused():
    with pytest.raises(UserError, match="tail, body and head"):
        described(Graph.trace(lambda x: ReLU()(x), (3, 8, 8)))


LAYERS = (ReLU(), Sigmoid(), Conv(2, 1))
JOINS = (Add(), Multiply())


@st.composite
def small_graphs(draw):
    """A graph as the layers with the numbers of the maps that they read: 0 is the input."""
    nodes: list[tuple[Any, tuple[int, ...]]] = []
    for number in range(draw(st.integers(1, 6))):
        some = st.integers(0, number)
        if draw(st.booleans()):
            nodes.append((draw(st.sampled_from(JOINS)), (draw(some), draw(some))))
        else:
            nodes.append((draw(st.sampled_from(LAYERS)), (draw(some),)))
    return nodes


def traced(nodes, order) -> Graph:
    """The graph of these nodes, added in another order that respects the edges."""

    def describe(x: FeatureMap) -> FeatureMap:
        maps, left = {0: x}, list(order)
        while left:
            number = next(i for i in left if all(j in maps for j in nodes[i - 1][1]))
            layer, reads = nodes[number - 1]
            maps[number] = layer(*[maps[i] for i in reads])
            left.remove(number)
        return maps[len(nodes)]

    return Graph.trace(describe, (2, 4, 4))


def truth(graph: Graph) -> networkx.MultiDiGraph:
    found = networkx.MultiDiGraph()
    found.add_node(graph.inputs[0], label="input")
    for node in graph.nodes:
        found.add_node(node.output, label=repr((node.layer, node.output is graph.outputs[0])))
        found.add_edges_from((x, node.output) for x in node.inputs)
    return found


def isomorphic(one: Graph, other: Graph) -> bool:
    return networkx.is_isomorphic(truth(one), truth(other), node_match=lambda a, b: a == b)


@pytest.mark.slow
@settings(max_examples=300)
@given(small_graphs(), small_graphs())
def test_graphs_that_are_alike_are_isomorphic_as_networkx_says(one, other):
    first, second = traced(one, range(1, len(one) + 1)), traced(other, range(1, len(other) + 1))
    if alike(first, second):
        assert isomorphic(first, second)


@settings(max_examples=300)
@given(st.data(), small_graphs())
def test_the_order_of_independent_layers_does_not_matter(data, nodes):
    order = data.draw(st.permutations(range(1, len(nodes) + 1)))
    first, second = traced(nodes, range(1, len(nodes) + 1)), traced(nodes, order)
    assert isomorphic(first, second)
    known = {(layer, tuple(sorted(reads))) for layer, reads in nodes}
    twins = len(known) < len(nodes)  # which of two equal layers is which, only their order says
    assert alike(first, second) or twins


def test_the_sides_of_a_concatenation_are_not_alike():
    one = Graph.trace(lambda x: Concat()(ReLU()(x), x), (2, 4, 4))
    other = Graph.trace(lambda x: Concat()(x, ReLU()(x)), (2, 4, 4))
    assert not alike(one, other)
    assert alike(
        Graph.trace(lambda x: Add()(ReLU()(x), x), (2, 4, 4)), Graph.trace(lambda x: Add()(x, ReLU()(x)), (2, 4, 4))
    )
