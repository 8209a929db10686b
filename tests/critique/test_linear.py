"""Rules about layers with nothing nonlinear between them: torch says what one layer can do instead of two."""

from __future__ import annotations

import pytest
import torch

from cnnatomy.analysis import account
from cnnatomy.critique.linear import no_nonlinearity
from cnnatomy.design import Chain, Dense, FeatureMap, LinearHead, Parallel, Residual, SqueezeExcitation
from cnnatomy.design.build import build
from cnnatomy.design.graph import Graph
from cnnatomy.edits.change import changed
from cnnatomy.layers import (
    GELU,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
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
from findings import RELU, body, conv, found, only
from helpers import trace

BN = BatchNorm()
DEPTHWISE = DepthwiseConv(3, padding=1)
ROW, COLUMN = Conv(32, (1, 3), padding=(0, 1)), Conv(32, (3, 1), padding=(1, 0))


def _dense_of_all(x: FeatureMap) -> FeatureMap:
    """A dense block that concatenates all maps before at each layer, as torchvision's does."""
    maps = [x]
    for _ in range(2):
        maps.append(conv(16)(Concat()(*maps) if len(maps) > 1 else x))
    return Concat()(*maps)


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
    "grouped convolutions between": body(conv(64, 1), BN, conv(64, groups=16), BN, conv(128, 1)),
    "grouped convolutions without a shuffle": body(conv(64, groups=4), BN, conv(64, groups=2)),
    "separable convolutions of one width": body(*(DEPTHWISE, BN, conv(32, 1), BN) * 2),
    "a separable convolution and a 1x1": body(DEPTHWISE, BN, conv(32, 1), BN, conv(64, 1)),
    "separable convolutions through fewer channels": body(conv(8, 1), BN, DEPTHWISE, BN, conv(64, 1)),
    "1x3 and 3x1 twice": body(*(ROW, BN, COLUMN, BN) * 2),
    "dense branches": body(Dense(Chain(conv(16), BN), Chain(conv(16), BN))),
    "dense branches of all before": lambda x: LinearHead(10)(ReLU()(conv(64, 1)(_dense_of_all(ReLU()(conv(32)(x)))))),
    "a gate of the channels between": body(conv(64), BN, SqueezeExcitation(4), conv(64)),
    "branches that are concatenated": body(Parallel(conv(32), conv(32, 1), join=Concat()), conv(64)),
    "branches that read it": body(conv(64), Parallel(conv(32), conv(32, 1), join=Concat())),
    "a block with a projection": Chain(
        *(conv(32), BN, Residual(conv(64, 3, 2), RELU, conv(64), shortcut=conv(64, 1, 2), after=RELU)), LinearHead(10)
    ),
    "the classifier": Chain(conv(32), RELU, conv(64), BN, LinearHead(10)),
    "a reduction before a spatial kernel": body(conv(16, 1), conv(64)),
    "a reduction in bottlenecks": body(
        *(Residual(conv(8, 1), BN, conv(16), BN, RELU, conv(32, 1), BN, after=RELU),) * 4, nonlinearity=RELU
    ),
    "reductions in branches that are concatenated": body(
        *(Parallel(conv(24, 1), Chain(conv(8, 1), conv(24, 5)), join=Concat()), BN, RELU) * 4
    ),
    "low rank in branches that are concatenated": body(
        Parallel(Chain(conv(8), BN, conv(24, 1), BN, RELU), conv(24, 1), join=Concat())
    ),
    "a vector": Chain(conv(32), RELU, conv(64, 3, 4), Flatten(), FullyConnected(100), RELU, FullyConnected(10)),
    "two fully connected layers": Chain(GlobalAvgPool(), Flatten(), FullyConnected(64), FullyConnected(10)),
    "enlarging": Chain(conv(32), RELU, TransposedConv(32, 4, 2, 1), BN, TransposedConv(16, 4, 2, 1), RELU, conv(5, 1)),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_nonlinearity_is_found_and_put_in(name):
    graph = trace(MISSING[name], (3, 32, 32))
    finding = only(no_nonlinearity, graph)
    assert finding.severity == "warning"
    assert finding.remedy.fix == "unsafe"
    assert found(no_nonlinearity, changed(graph, finding.remedy.change)) == []


down = Chain(AvgPool(2), conv(16), RELU)

MEANT = {
    "depthwise and 1x1": body(DEPTHWISE, BN, conv(64, 1)),
    "1x1 and depthwise": body(conv(64, 1), BN, DEPTHWISE),
    "1x7 and 7x1": body(Conv(32, (1, 7), padding=(0, 3)), BN, Conv(32, (7, 1), padding=(3, 0))),
    "grouped convolutions with a shuffle": body(conv(32, groups=4), ChannelShuffle(4), conv(32, 1, groups=8)),
    "a dense block that is rectified": body(Dense(Chain(BN, RELU, conv(16)), Chain(BN, RELU, conv(16))), BN),
    "a skip of an encoder": lambda x: (lambda y: ReLU()(conv(8)(Concat()(y, TransposedConv(8, 2, 2)(down(y))))))(
        ReLU()(conv(8)(x))
    ),
    "a gate between, after a nonlinearity": body(conv(64), BN, RELU, SqueezeExcitation(4), conv(64)),
    "a bilinear enlargement": body(conv(32), TransposedConv(32, 4, 2, 1, groups=32)),
    "low rank throughout": body(*(conv(16, 1), conv(64), RELU) * 2, conv(24, 1), conv(64)),
    "low rank that begins with a spatial kernel": body(conv(16), BN, conv(64, 1)),
    "low rank of 1x1": body(conv(16, 1), conv(64, 1)),
    "fused inverted residuals": body(*(conv(96), BN, RELU, conv(24, 1), BN, conv(144), RELU, conv(36, 1)), conv(96)),
    "a fused inverted residual before a depthwise start": body(
        *(conv(96), BN, RELU, conv(24, 1), BN, DEPTHWISE, BN, conv(96, 1))
    ),
    "1x7 and 7x1 in branches that are concatenated": body(Parallel(Chain(ROW, COLUMN, RELU), conv(32, 1))),
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
    assert found(no_nonlinearity, trace(MEANT[name], (3, 32, 32))) == []


@pytest.mark.parametrize("nonlinearity", [ReLU6(), GELU()])
def test_the_nonlinearity_that_is_put_in_is_the_networks_own_and_after_batch_norm(nonlinearity):
    graph = trace(body(conv(64), BN, conv(64), nonlinearity=nonlinearity), (3, 32, 32))
    finding = only(no_nonlinearity, graph)
    assert finding.evidence == {"pairs": [("chain.conv2", "chain.conv3")]}
    assert finding.remedy.text == f"put {type(nonlinearity).__name__} after chain.bn"
    layers = [node.layer for node in changed(graph, finding.remedy.change)]
    assert layers[2:6] == [conv(64), BN, nonlinearity, conv(64)]
    assert finding.remedy.after.macs == account(graph).totals.macs


def test_an_inverted_residual_that_makes_more_channels_than_it_has_inside_follows_from_what_it_reads():
    def inverted(inside: int, channels: int) -> list[Layer]:
        return [conv(inside, 1), BN, RELU, DEPTHWISE, BN, RELU, conv(channels, 1), BN]

    waist = only(no_nonlinearity, trace(body(*inverted(64, 8), *inverted(32, 64), conv(96, 1)), (3, 32, 32)))
    assert waist.under == ("I5",)
    forgotten = only(no_nonlinearity, trace(body(*inverted(64, 8), *inverted(32, 64), conv(96)), (3, 32, 32)))
    assert forgotten.under == ("I5",)
    assert only(no_nonlinearity, trace(body(conv(64), conv(64)), (3, 32, 32))).under == ()


def test_torch_computes_one_linear_map_with_the_pair_and_not_with_what_is_put_in():
    graph = trace(Chain(conv(4, bias=False), BN, conv(4, bias=False)), (3, 8, 8))
    finding = only(no_nonlinearity, graph)
    x, y = torch.randn(2, 1, 3, 8, 8, dtype=torch.double)

    def is_linear(graph: Graph) -> bool:
        module = build(graph).double().eval()
        return bool(torch.allclose(module(x + y), module(x) + module(y)))

    assert is_linear(graph)
    assert not is_linear(changed(graph, finding.remedy.change))
