"""Where parameters and arithmetic are spent: the head, parallel branches."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.critique import Purpose, Study
from cnnatomy.critique.branches import branches
from cnnatomy.critique.cost import unequal_branches, vectorised_head
from cnnatomy.critique.dropout import vector_head_without_dropout
from cnnatomy.critique.machine import weights_read_once
from cnnatomy.design import Graph
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Cost, changed
from cnnatomy.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    Foreign,
    FullyConnected,
    GlobalAvgPool,
    MaxPool,
    Permute,
    ReLU,
    Reshape,
    Sigmoid,
    Slice,
    TransposedConv,
)
from findings import chain_on, found
from peers import torchvision

MODERN = ("resnet-50", "preact-resnet-50", "mobilenet-v2", "densenet-121", "se-resnet-50", "resnext-50-32x4d")


def chain(*layers, shape=(3, 32, 32)) -> Graph:
    return chain_on(shape, *layers)


@pytest.mark.parametrize("name", MODERN)
@pytest.mark.parametrize("rule", [vectorised_head, unequal_branches], ids=lambda rule: rule.name)
def test_modern_networks_have_none_of_it(rule, name):
    assert found(rule, name) == []


# the head

FC6, FC7, FC8 = 9216 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 1000 + 1000


def test_almost_all_parameters_of_alexnet_are_in_its_vectorised_head():
    (finding,) = found(vectorised_head, "alexnet")
    assert finding.where == ("head.fc6", "head.fc7", "head.fc8")
    assert finding.evidence["parameters"] == FC6 + FC7 + FC8 == 58_631_144
    assert finding.evidence["features"] == 256 * 6 * 6
    assert "96%" in finding.text
    assert finding.severity == "warning"


def test_global_average_pooling_leaves_alexnet_the_head_that_it_needs():
    (finding,) = found(vectorised_head, "alexnet")
    body = 60_965_224 - 58_631_144
    head = (256 * 1024 + 1024) + (
        1024 * 1000 + 1000
    )  # a 1x1 convolution, so that there are as many features as classes
    assert finding.remedy.after.parameters == body + head
    assert finding.remedy.fix
    assert "54,534,144 parameters become 0; before it a 1x1 convolution to 1,024 channels" in finding.remedy.text
    assert f"the head has {head:,} of 58,631,144" in finding.remedy.text


@pytest.mark.parametrize("name", ["vgg-16", "vgg-19-bn", "lenet-5-1998", "zfnet", "alexnet-d2l"])
def test_the_graph_after_pooling_has_the_same_output_and_costs_what_was_announced(name):
    before = cn.network(name).account()
    (finding,) = vectorised_head(Study(before, Purpose()))
    after = changed(before.graph, finding.remedy.change)
    assert [x.shape for x in after.outputs] == [x.shape for x in before.graph.outputs]
    assert Cost.of(account(after)) == finding.remedy.after
    assert not found(vectorised_head, after)


def test_enough_channels_need_no_convolution_before_the_classifier():
    graph = chain(Conv(64, 16), Flatten(), FullyConnected(256), ReLU(), Dropout(0.5), FullyConnected(10))
    (finding,) = found(vectorised_head, graph)
    assert finding.remedy.after.parameters == (3 * 256 * 64 + 64) + (64 * 10 + 10)
    assert [node.layer for node in changed(graph, finding.remedy.change)] == [
        *(Conv(64, 16), GlobalAvgPool(), Flatten(), FullyConnected(10))
    ]


def test_what_is_averaged_must_have_seen_half_of_the_input():
    """A 3x3 sees 3 of 32 pixels; with three more, and pools after two of them, it is 5, 6, 10, 12 and 20."""
    graph = chain(Conv(16, 3, padding=1), Flatten(), FullyConnected(64), ReLU(), FullyConnected(10))
    (finding,) = found(vectorised_head, graph)
    after = changed(graph, finding.remedy.change)
    assert [node.layer.channels for node in after if isinstance(node.layer, Conv)] == [16, 32, 64, 128]
    seen = Study(account(after), Purpose())
    assert min(seen.account.fields[seen.last_map].size) >= 16


def test_a_head_on_the_pixels_themselves_wants_convolutions_first():
    (finding,) = found(vectorised_head, chain(Flatten(), FullyConnected(256), ReLU(), FullyConnected(10)))
    assert finding.remedy.change is None
    assert finding.remedy.text.startswith("convolve first")


def test_a_head_of_less_than_a_mebibyte_is_told_to_those_who_ask():
    assert [found(vectorised_head, name)[0].quiet for name in ("lenet-5", "alexnet")] == [True, False]


def test_a_convolution_as_large_as_the_map_is_a_vectorised_head_too():
    graph = chain(Conv(16, 17), Conv(512, 16), ReLU(), Conv(512, 1), ReLU(), Conv(10, 1), Flatten())
    (finding,) = found(vectorised_head, graph)
    assert finding.where == ("conv2", "conv3", "conv4")
    assert finding.evidence["first"] == 16 * 256 * 512 + 512
    assert [node.layer for node in changed(graph, finding.remedy.change)] == [
        *(Conv(16, 17), GlobalAvgPool(), Conv(10, 1), Flatten())
    ]


def test_a_head_with_less_than_half_of_the_parameters_is_left_alone():
    assert not found(vectorised_head, chain(Conv(64, 3), Conv(64, 3), MaxPool(7), Flatten(), FullyConnected(10)))


def test_a_sequence_of_pixels_is_no_vector():
    graph = chain(
        *(Conv(64, 8, stride=8), Reshape((64, 16)), Permute((1, 0)), FullyConnected(64), Slice(0, 1)),
        *(Flatten(), FullyConnected(10)),
    )
    assert not found(vectorised_head, graph)


def test_a_head_that_is_no_chain_is_advised_but_not_changed():
    def describe(x: FeatureMap) -> FeatureMap:
        x = Flatten()(x)
        return FullyConnected(10)(Add()(FullyConnected(50)(x), FullyConnected(50)(x)))

    (finding,) = found(vectorised_head, Graph.trace(describe, (3, 32, 32)))
    assert finding.remedy.change is None
    assert "global average pooling" in finding.remedy.text


@pytest.mark.peers
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "convnext_tiny", "shufflenet_v2_x1_0", "maxvit_t", "resnet50"])
def test_transformers_and_shuffles_written_as_reshapes_vectorise_nothing(name):
    with torch.device("meta"):
        module = torchvision().models.get_model(name, weights=None)
    graph = cn.read(module.eval(), (3, 224, 224))
    assert [finding for rule in (vectorised_head, unequal_branches) for finding in found(rule, graph)] == []


# branches


def test_the_3x3_branches_of_googlenet_cost_ten_times_the_others():
    (finding,) = found(unequal_branches, "googlenet")
    pixels = 28 * 28
    costs = [192 * 64, 192 * 96 + 9 * 96 * 128, 192 * 16 + 25 * 16 * 32, 192 * 32]
    assert finding.evidence["worst"] == "body.inception3a.concat"
    assert finding.evidence["macs"] == [pixels * cost for cost in costs]
    assert len(finding.where) == 9
    assert f"about {pixels * sum(costs) // 4:,} MACs each" in finding.remedy.text


def two_branches(left: int, right: int, join=Concat) -> Graph:
    def describe(x: FeatureMap) -> FeatureMap:
        a = Conv(16, left, padding=left // 2)(ReLU()(Conv(16, 1)(x)))
        b = Conv(16, right, padding=right // 2)(ReLU()(Conv(16, 1)(x)))
        return join()(a, b)

    return Graph.trace(describe, (16, 8, 8))


@pytest.mark.parametrize("join", [Add, Concat])
def test_equal_branches_are_fine_and_a_third_branch_may_be_smaller(join):
    assert not found(unequal_branches, two_branches(3, 3, join))
    assert not found(
        unequal_branches, two_branches(1, 7, join)
    )  # two branches keep half of the hardware busy, and more


def test_of_three_branches_one_that_costs_more_than_twice_the_others_keeps_them_waiting():
    def describe(x: FeatureMap) -> FeatureMap:
        return Concat()(Conv(8, 1)(x), Conv(8, 1)(x), Conv(8, 5, padding=2)(x))

    (finding,) = found(unequal_branches, Graph.trace(describe, (8, 4, 4)))
    assert finding.evidence["macs"] == [16 * 64, 16 * 64, 16 * 64 * 25]
    assert finding.evidence["busy"] == pytest.approx(27 / 75)


def test_shortcuts_gates_and_pools_are_no_branches():
    def describe(x: FeatureMap) -> FeatureMap:
        for _ in range(2):
            y = Conv(16, 3, padding=1)(ReLU()(Conv(16, 3, padding=1)(x)))
            y = BatchNorm()(y)
            x = Add()(y, BatchNorm()(Conv(16, 1)(x)))  # a projection
            x = Concat()(x, MaxPool(3, 1, padding=1)(x), Sigmoid()(x))
        return x

    assert not found(unequal_branches, Graph.trace(describe, (16, 8, 8)))


@st.composite
def joined(draw: st.DrawFn) -> tuple[Graph, Node]:
    """A random graph that ends in a join of two or more maps, perhaps with something after it."""

    def describe(x: FeatureMap) -> FeatureMap | list[FeatureMap]:
        maps = [x]
        for _ in range(draw(st.integers(2, 9))):
            read = draw(st.lists(st.sampled_from(maps[-5:]), min_size=1, max_size=2, unique=True))
            maps.append(Foreign("any", (1,))(*read))
        ends = draw(st.lists(st.sampled_from(maps), min_size=2, max_size=4, unique=True))
        end = Foreign("join", (1,))(*ends)
        others = draw(st.lists(st.sampled_from(maps[1:]), max_size=1))
        return [Foreign("after", (1,))(end), *others]

    graph = Graph.trace(describe, (1,))
    return graph, next(node for node in graph if node.layer == Foreign("join", (1,)))


def slowly(graph: Graph, join: Node) -> set[frozenset[Node]]:
    """The same by trying: nodes that only the join needs; those after the last of which not all hang together."""
    readers = {node: [n for n in graph if node.output in n.inputs] for node in graph}
    ends = [x for x in join.inputs if x.node and readers[x.node] == [join] and x not in graph.outputs]
    if len(ends) < 2:
        return set()
    alone: set[Node] = set()
    for node in reversed(graph.nodes):
        through = all(r in alone or (r is join and node.output in ends) for r in readers[node])
        if readers[node] and through and node.output not in graph.outputs:
            alone.add(node)
    best: set[frozenset[Node]] = set()
    for start in reversed(range(len(graph.nodes))):
        kept = [node for node in graph.nodes[start:] if node in alone]
        parts = [{node} for node in kept]
        for a, b in itertools.product(kept, kept):
            if a.output in b.inputs:
                first, second = (next(p for p in parts if n in p) for n in (a, b))
                if first is not second:
                    parts = [p for p in parts if p is not first and p is not second] + [first | second]
        if all(any(x.node in p for p in parts) for x in ends):
            if len(parts) == 1:
                break
            best = {frozenset(p) for p in parts}
    return best


@given(joined())
def test_branches_are_those_that_trying_finds(case):
    graph, join = case
    study = Study(account(graph), Purpose())
    position = {node: i for i, node in enumerate(graph.nodes)}
    assert {frozenset(branch) for branch in branches(study, join, position)} == slowly(graph, join)


def test_how_bad_a_vectorised_head_is_depends_on_what_it_weighs():
    """A head of n x 3136 weights on 64x7x7: of 64, 512, 1024 features 0.8, 6.1 and 12.3 MiB; a body of 150 k."""

    def net(features: int, body: int = 128) -> Graph:
        layers = Conv(body, 3, 2, 1), ReLU(), Conv(body, 3, 2, 1), ReLU(), Conv(64, 1), ReLU()
        return chain(*layers, Flatten(), FullyConnected(features), ReLU(), FullyConnected(10), shape=(1, 28, 28))

    findings = [found(vectorised_head, net(features))[0] for features in (64, 512, 1024)]
    assert [(f.severity, f.quiet) for f in findings] == [("warning", True), ("note", False), ("warning", False)]
    (nearly_all,) = found(vectorised_head, net(256, body=16))  # 3 MiB, and 3,568 parameters before them
    assert (nearly_all.severity, nearly_all.quiet) == ("note", False)


def test_a_small_map_may_be_pooled_to_2x2_or_3x3_instead():
    for side, left in ((4, 2), (5, 2), (7, 3), (8, 3)):
        graph = chain(
            Conv(64, 3, padding=1), Flatten(), FullyConnected(1024), ReLU(), FullyConnected(10), shape=(3, side, side)
        )
        (finding,) = found(vectorised_head, graph)
        pooled = finding.remedies[-1]
        assert pooled.text == f"pool to {left}x{left} before flatten, which keeps where things are"
        weights = (64 * left**2 * 1024 + 1024) + (1024 * 10 + 10)
        assert pooled.after.parameters == (3 * 9 * 64 + 64) + weights


def test_a_pool_that_makes_the_map_pools_more_and_none_comes_after_it():
    """VGG-16: 6x6 with a stride of 4 leaves 3x3 of pool5's 14x14, so that fc6 reads 9 x 512 features."""
    (finding,) = found(vectorised_head, "vgg-16")
    second = finding.remedies[1]
    assert second.text == "let body.block5.pool5 leave 3x3, which still says where things are"
    assert second.after.parameters == 138_357_544 - (49 - 9) * 512 * 4096


def test_an_autoencoder_is_no_classifier_with_a_heavy_head():
    graph = chain(
        *(Conv(32, 3, 2, 1), ReLU(), Flatten(), FullyConnected(32), ReLU(), FullyConnected(32 * 196), ReLU()),
        *(Reshape((32, 14, 14)), TransposedConv(1, 2, 2), Sigmoid()),
        shape=(1, 28, 28),
    )
    assert not found(vectorised_head, graph)
    assert not found(vector_head_without_dropout, graph)
    assert found(weights_read_once, graph)[0].quiet


def test_a_convolution_that_happens_to_cover_its_map_is_no_head():
    """A 2x2 map that a stride of 2 makes one pixel, as ConvNeXt on 32 pixels; a 5x5 that vectorises has no average."""
    down = Conv(64, 3, padding=1), ReLU(), MaxPool(16), Conv(2048, 2, 2)
    blocks = DepthwiseConv(7, padding=3), Conv(2048, 1), ReLU()
    head = GlobalAvgPool(), Flatten(), FullyConnected(10)
    assert not found(vectorised_head, chain(*down, *blocks, *head))
    assert not found(vectorised_head, chain(*down, ReLU(), *head))
    assert found(vectorised_head, chain(*down, ReLU(), Flatten(), FullyConnected(10)))
