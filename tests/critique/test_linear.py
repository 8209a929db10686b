"""Rules about layers with nothing nonlinear between them: torch says what one layer can do instead of two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnatomy.analysis import account
from cnnatomy.critique import Finding, Purpose, Rule, Study
from cnnatomy.critique.linear import linear_pair, no_nonlinearity
from cnnatomy.design import Chain, LinearHead, Parallel, Residual
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    GELU,
    Add,
    AvgPool,
    BatchNorm,
    ChannelToSpace,
    Concat,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    GroupNorm,
    Interpolate,
    Layer,
    Multiply,
    ReLU,
    ReLU6,
    Sigmoid,
    TransposedConv,
)
from helpers import trace

FEW = settings(max_examples=60, deadline=None)


def findings(rule: Rule, graph: Graph) -> list[Finding]:
    return list(rule(Study(account(graph), Purpose())))


def one(rule: Rule, graph: Graph) -> Finding:
    (finding,) = findings(rule, graph)
    return finding


def test_two_fully_connected_layers_without_a_nonlinearity_are_one():
    graph = trace(lambda x: FullyConnected(10)(FullyConnected(400)(x)), (100,))
    finding = one(linear_pair, graph)
    assert finding.evidence == {"pairs": 1, "weights": 100 * 400 + 400 * 10, "macs": 100 * 400 + 400 * 10}
    assert finding.remedy.after.parameters == 100 * 10 + 10
    assert findings(linear_pair, trace(lambda x: FullyConnected(100)(FullyConnected(10)(x)), (100,))) == []


FACTORISATIONS = {
    "depthwise and 1x1": lambda x: Conv(64, 1)(DepthwiseConv(3)(x)),
    "1x1 and depthwise": lambda x: DepthwiseConv(3)(Conv(64, 1)(x)),
    "1x7 and 7x1": lambda x: Conv(32, (7, 1))(Conv(32, (1, 7))(x)),
    "3x3 and 3x3": lambda x: Conv(32, 3)(Conv(32, 3)(x)),
    "a linear bottleneck": lambda x: Conv(96, 1)(BatchNorm()(Conv(8, 1)(x))),
    "a nonlinearity between": lambda x: Conv(32, 1)(ReLU()(Conv(32, 1)(x))),
    "another reader": lambda x: (lambda y: Add()(Conv(32, 1)(y), y))(Conv(32, 1)(x)),
    "1x1 before a stride": lambda x: Conv(64, 3, 2)(Conv(4, 1)(x)),
}


@pytest.mark.parametrize("name", FACTORISATIONS)
def test_factorisations_are_meant(name):
    assert findings(linear_pair, trace(FACTORISATIONS[name], (32, 12, 12))) == []


@pytest.mark.slow
@FEW
@given(data=st.data())
def test_one_layer_computes_what_a_linear_pair_did(data):
    channels = st.sampled_from([4, 8, 12])
    kernel = st.sampled_from([1, 3])

    def convolution() -> Conv:
        k, groups = data.draw(kernel), data.draw(st.sampled_from([1, 2, 4]))
        d = data.draw(st.integers(1, 2))
        return Conv(data.draw(channels), k, data.draw(st.integers(1, 2)), dilation=d, groups=groups, bias=False)

    first, second = convolution(), convolution()
    graph = trace(lambda x: second(first(x)), (8, 23, 23))
    got = findings(linear_pair, graph)
    assume(got)
    change = got[0].remedy.change
    (one_layer,) = change.layers[graph.nodes[1]]
    pair, merged = build(graph).double(), build(changed(graph, change)).double()
    # the response to an impulse at each place of the window is the weight there
    k, d = one_layer.kernel, one_layer.dilation
    size = (k - 1) * d + 1
    weight = torch.autograd.functional.jacobian(pair, torch.zeros(1, 8, size, size, dtype=torch.double))[0, :, 0, 0, 0]
    read = weight[:, :, ::d, ::d]
    assert weight.abs().sum() == pytest.approx(read.abs().sum().item())  # there is nothing in the holes
    (parameter,) = merged.parameters()
    width = 8 // one_layer.groups
    for i, output in enumerate(read):
        group = i // (one_layer.channels // one_layer.groups)
        parameter.data[i] = output[group * width : (group + 1) * width]
    x = torch.randn(1, 8, 23, 23, dtype=torch.double)
    torch.testing.assert_close(merged(x), pair(x))


# a nonlinearity that is missing


def conv(channels: int, kernel: int = 3, stride: int = 1, **options) -> Conv:
    return Conv(channels, kernel, stride, padding=kernel // 2, **options)


BN, RELU = BatchNorm(), ReLU()
DEPTHWISE = DepthwiseConv(3, padding=1)


def body(*layers: Layer, nonlinearity: Layer = RELU) -> Chain:
    return Chain(conv(32), nonlinearity, *layers, nonlinearity, LinearHead(10))


MISSING = {
    "nothing between": body(conv(64), conv(64)),
    "batch norm between": body(conv(64, bias=False), BN, conv(64)),
    "group norm between": body(conv(64), GroupNorm(8), conv(64)),
    "dropout between": body(conv(64), BN, Dropout(0.1), conv(64)),
    "an average between": body(conv(64), AvgPool(2), conv(64)),
    "a stride": body(conv(64), BN, conv(128, stride=2)),
    "5x5": body(conv(32, 5), BN, conv(32, 5)),
    "1x1 and 3x3": body(conv(64, 1), conv(64)),
    "3x3 and a wider 1x1": body(conv(32), conv(128, 1)),
    "the first two layers": Chain(conv(32, 7, 2), BN, conv(64), BN, RELU, LinearHead(10)),
    "a residual branch": Chain(conv(32), RELU, Residual(conv(32), BN, conv(32), BN, after=RELU), LinearHead(10)),
    "after pre-activation": Chain(conv(32), Residual(BN, RELU, conv(32), conv(32)), BN, RELU, LinearHead(10)),
    "an inverted residual": Chain(
        conv(16), RELU, Residual(conv(96, 1), BN, DEPTHWISE, BN, conv(16, 1)), LinearHead(10)
    ),
    "separable convolutions": body(DEPTHWISE, conv(64, 1), BN, DEPTHWISE, conv(64, 1)),
    "branches that are concatenated": body(Parallel(conv(32), conv(32, 1), join=Concat()), conv(64)),
    "branches that read it": body(conv(64), Parallel(conv(32), conv(32, 1), join=Concat())),
    "a block with a projection": Chain(
        *(conv(32), BN, Residual(conv(64, 3, 2), RELU, conv(64), shortcut=conv(64, 1, 2), after=RELU)), LinearHead(10)
    ),
    "the classifier": Chain(conv(32), RELU, conv(64), BN, LinearHead(10)),
    "a vector": Chain(conv(32), RELU, conv(64, 3, 4), Flatten(), FullyConnected(100), RELU, FullyConnected(10)),
    "two fully connected layers": Chain(GlobalAvgPool(), Flatten(), FullyConnected(64), FullyConnected(10)),
    "enlarging": Chain(conv(32), RELU, TransposedConv(32, 4, 2, 1), BN, TransposedConv(16, 4, 2, 1), RELU, conv(5, 1)),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_nonlinearity_is_found_and_put_in(name):
    graph = trace(MISSING[name], (3, 32, 32))
    finding = one(no_nonlinearity, graph)
    assert finding.severity == "warning"
    assert finding.remedy.fix == "unsafe"
    assert findings(no_nonlinearity, changed(graph, finding.remedy.change)) == []


MEANT = {
    "depthwise and 1x1": body(DEPTHWISE, BN, conv(64, 1)),
    "1x1 and depthwise": body(conv(64, 1), BN, DEPTHWISE),
    "1x7 and 7x1": body(Conv(32, (1, 7), padding=(0, 3)), BN, Conv(32, (7, 1), padding=(3, 0))),
    "grouped convolutions": body(conv(32, groups=4), conv(32, 1)),
    "low rank": body(conv(16, 1), conv(64)),
    "linear bottlenecks": body(
        *(conv(96, 1), BN, RELU, DEPTHWISE, BN, RELU, conv(24, 1), BN),
        *(conv(144, 1), BN, RELU, DEPTHWISE, BN, RELU, conv(32, 1), BN, conv(96, 1)),
    ),
    "a bottleneck without expansion": Chain(
        conv(16), RELU, DEPTHWISE, RELU, conv(16, 1), BN, conv(72, 1), RELU, LinearHead(10)
    ),
    "a branch before an addition": Chain(
        conv(32), RELU, Residual(conv(32), BN, RELU, conv(32), BN), conv(64), RELU, LinearHead(10)
    ),
    "a gate": lambda x: Multiply()(conv(32)(x), Sigmoid()(conv(32)(x))),
    "a trunk before pre-activation": Chain(conv(32), Residual(BN, RELU, conv(32)), BN, RELU, LinearHead(10)),
    "a head that shuffles pixels": Chain(conv(32), RELU, conv(32 * 4), ChannelToSpace(2), conv(3)),
    "scores that are enlarged": Chain(conv(32), RELU, conv(19, 1), Interpolate(4)),
    "scores that are enlarged by weights": Chain(conv(32), RELU, conv(19, 1), TransposedConv(19, 4, 2, 1)),
    "a narrow projection before the classifier": Chain(conv(32), RELU, conv(16, 1), BN, LinearHead(10)),
    "a pyramid with two heads": lambda x: (lambda y: (ReLU()(conv(8)(y)), ReLU()(conv(9)(y))))(conv(32)(x)),
}


@pytest.mark.parametrize("name", MEANT)
def test_what_is_a_factorisation_or_meant_to_be_linear_is_no_objection(name):
    assert findings(no_nonlinearity, trace(MEANT[name], (3, 32, 32))) == []


@pytest.mark.parametrize("nonlinearity", [ReLU6(), GELU()])
def test_the_nonlinearity_that_is_put_in_is_the_networks_own_and_after_batch_norm(nonlinearity):
    graph = trace(body(conv(64), BN, conv(64), nonlinearity=nonlinearity), (3, 32, 32))
    finding = one(no_nonlinearity, graph)
    assert finding.evidence == {"pairs": [("chain.conv2", "chain.conv3")]}
    assert finding.remedy.text == f"put {type(nonlinearity).__name__} after chain.bn"
    layers = [node.layer for node in changed(graph, finding.remedy.change)]
    assert layers[2:6] == [conv(64), BN, nonlinearity, conv(64)]
    assert finding.remedy.after.macs == account(graph).totals.macs


def test_a_pair_that_one_layer_could_do_for_less_is_a_consequence_of_the_missing_nonlinearity():
    graph = trace(body(conv(64, 1), conv(64)), (3, 32, 32))
    assert one(linear_pair, graph).under == ("W10",)
    assert set(one(linear_pair, graph).where) == set(one(no_nonlinearity, graph).where)


def test_a_pair_is_not_made_one_where_another_layer_reads_what_is_between():
    graph = trace(body(conv(64), Parallel(conv(32), conv(32, 1), join=Concat())), (3, 32, 32))
    assert findings(linear_pair, graph) == []


def test_torch_computes_one_linear_map_with_the_pair_and_not_with_what_is_put_in():
    graph = trace(Chain(conv(4, bias=False), BN, conv(4, bias=False)), (3, 8, 8))
    finding = one(no_nonlinearity, graph)
    x, y = torch.randn(2, 1, 3, 8, 8, dtype=torch.double)

    def is_linear(graph: Graph) -> bool:
        module = build(graph).double().eval()
        return bool(torch.allclose(module(x + y), module(x) + module(y)))

    assert is_linear(graph)
    assert not is_linear(changed(graph, finding.remedy.change))
