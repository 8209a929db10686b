"""Every value lies within the predicted bounds, whatever the weights, and bounds are reached where they can be."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import cnnatomy as cn
from cnnatomy import Chain, Dense, Parallel, Residual, ShapeError
from cnnatomy.analysis.bounds import intervals
from cnnatomy.design import Block, SqueezeExcitation
from cnnatomy.design.build import build
from cnnatomy.layers import (
    ELU,
    GELU,
    SELU,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Constant,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Interpolate,
    Layer,
    LeakyReLU,
    LocalResponseNorm,
    LogSigmoid,
    Maximum,
    MaxPool,
    Mish,
    Multiply,
    Normalise,
    PadChannels,
    PReLU,
    ReLU,
    ReLU6,
    Shift,
    Sigmoid,
    Softmax,
    Softplus,
    Softsign,
    Swish,
    Tanh,
    ZeroPad,
)
from cnnatomy.layers.interval import ANY, Interval
from helpers import layer_module, trace

ACTIVATIONS = [
    *(
        ReLU(),
        ReLU6(),
        LeakyReLU(),
        LeakyReLU(0.0),
        LeakyReLU(-0.5),
        LeakyReLU(2.0),
        ELU(),
        ELU(0.5),
        ELU(-1.0),
        SELU(),
    ),
    *(Sigmoid(), Tanh(), Tanh(1.7159, 2 / 3), Tanh(-2.0, 0.3), Tanh(1.0, 0.0), Swish(), Swish(3.0), Swish(-0.7)),
    *(Swish(0.0), GELU(), GELU("tanh"), Hardsigmoid(), Hardswish(), Hardtanh(), Hardtanh(0.5, 4.0), Mish()),
    *(
        Softplus(),
        Softplus(2.5),
        Softplus(-1.0),
        LogSigmoid(),
        Softsign(),
        Constant(0.17),
        Constant(-2.0),
        Constant(0.0),
    ),
]
bounds = st.floats(-20, 20)
within = st.builds(lambda a, b: Interval(min(a, b), max(a, b)), bounds | st.just(-math.inf), bounds | st.just(math.inf))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
@settings(max_examples=20)
@given(within)
def test_the_bounds_of_a_function_are_reached_and_not_passed(layer: Layer, given: Interval) -> None:
    near = torch.linspace(max(given.low, -60), min(given.high, 60), 50_001, dtype=torch.float64)
    far = torch.tensor([sign * 10.0**n for sign in (1, -1) for n in range(2, 7)], dtype=torch.float64)
    x = torch.cat([near, far[(far >= given.low) & (far <= given.high)]])
    y = layer_module(layer, (len(x),))(x[None])
    low, high = layer.interval(given)
    assert low - 1e-9 <= y.min() <= y.max() <= high + 1e-9
    for found, bound in ((y.min().item(), low), (y.max().item(), high)):
        assert abs(found) > 1000 if math.isinf(bound) else found == pytest.approx(bound, abs=0.005)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 5)), min_size=1, max_size=3))
def test_bounds_of_arithmetic_are_those_of_all_combinations(ends: Any) -> None:
    inputs = [Interval(low, low + more) for low, more in ends]
    choices = list(itertools.product(*[range(int(x.low), int(x.high) + 1) for x in inputs]))
    assert Add().interval(*inputs) == (min(map(sum, choices)), max(map(sum, choices)))
    assert Maximum().interval(*inputs) == (min(map(max, choices)), max(map(max, choices)))
    assert Concat().interval(*inputs) == (min(map(min, choices)), max(map(max, choices)))
    if len(inputs) == 2:
        assert Multiply().interval(*inputs) == (min(map(math.prod, choices)), max(map(math.prod, choices)))


def test_a_product_with_a_map_of_zeros_is_zero_though_the_other_has_no_end() -> None:
    assert Multiply().interval(Interval(0, 0), ANY) == (0, 0)
    assert Multiply().interval(Interval(0, 1), ANY) == ANY
    assert Multiply().interval(Interval(0, math.inf), Interval(0, 1)) == (0, math.inf)


def test_data_normalised_inside_the_network_is_signed() -> None:
    layer = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of pixels from 0 to 1, torchvision's
    assert layer.interval(Interval(0, 1)) == pytest.approx((-0.485 / 0.229, (1 - 0.406) / 0.225))


def test_a_sign_is_one_of_three() -> None:
    assert [Interval(*ends).sign for ends in ((0, 3), (0, 0), (-2, 0), (-2, 1))] == [
        *("non-negative", "non-negative", "non-positive", "signed")
    ]


keeping = st.sampled_from(
    [
        *(ReLU(), ReLU6(), LeakyReLU(0.1), PReLU(), ELU(), SELU(), Sigmoid(), Tanh(), Swish(), GELU(), Hardswish()),
        *(Hardtanh(), Mish(), Softplus(), LogSigmoid(), Softsign(), Softmax(), Constant(0.5), Constant(-1.0)),
        *(BatchNorm(), Dropout(), LocalResponseNorm(3), LocalResponseNorm(3, k=0.5), Shift(), ZeroPad(1)),
        *(Conv(4, 3, padding=1), DepthwiseConv(3, padding=1), MaxPool(3, 1, 1), AvgPool(3, 1, 1), AvgPool(3, 1)),
        *(Interpolate(2), MaxPool(2), SqueezeExcitation(2), PadChannels(9)),
    ]
)
designs = st.recursive(
    keeping,
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from(
            [
                Chain(*parts),
                Parallel(*parts, Chain()),
                Dense(*parts),
                Residual(*parts),
                Parallel(*parts, join=Multiply()),
                Parallel(*parts, Chain(), join=Maximum()),
            ]
        )
    ),
    max_leaves=8,
)


def values(graph: Any, *inputs: torch.Tensor) -> dict[Any, torch.Tensor]:
    """What each node of a built graph puts out."""
    module = build(graph).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 2)
    found: dict[Any, torch.Tensor] = {}

    def watch(node: Any) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            found[node] = output

        return hook

    for node in graph.nodes:
        module.get_submodule(node.path).register_forward_hook(watch(node))
    with torch.no_grad():
        module(*inputs)
    return found


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(designs, min_size=1, max_size=3), within, st.integers(0, 1000))
def test_all_values_of_random_designs_lie_within_their_bounds(parts: Any, given: Interval, seed: int) -> None:
    torch.manual_seed(seed)
    try:
        graph = trace(Chain(*parts, GlobalAvgPool(), Flatten(), FullyConnected(3)), (4, 6, 6))
    except ShapeError:
        assume(False)
    low = given.low if math.isfinite(given.low) else min(-9.0, given.high - 9)
    high = given.high if math.isfinite(given.high) else low + 18
    x = low + (high - low) * torch.rand(2, 4, 6, 6, dtype=torch.float64)
    predicted = intervals(graph, given)
    for node, output in values(graph, x).items():
        bound = predicted[node.output]
        slack = 1e-9 * (1 + output.abs().max())
        assert bound.low - slack <= output.min() <= output.max() <= bound.high + slack, node


def at(name: str, path: str) -> Interval:
    """The bounds of what a node of a network puts out."""
    graph = cn.network(name).account().graph
    found = intervals(graph)
    return next(found[node.output] for node in graph.nodes if node.path == path)


def test_what_is_averaged_after_relu_is_non_negative_and_after_relu6_at_most_6() -> None:
    assert at("resnet-50", "body.stage1.block1.bn1") == ANY
    assert at("resnet-50", "head.pool") == (0, math.inf)
    assert at("mobilenet-v2", "head.pool") == (0, 6)


def test_the_gates_of_squeeze_and_excitation_are_between_0_and_1() -> None:
    graph = cn.network("se-resnet-50").account().graph
    found = intervals(graph)
    gates = [node for node in graph.nodes if isinstance(node.layer, Multiply)]
    assert gates
    assert {found[node.inputs[1]] for node in gates} == {Interval(0, 1)}


def test_relu_of_a_non_negative_map_changes_no_bound() -> None:
    block: Block = Chain(ReLU(), MaxPool(2), ReLU())
    graph = trace(block, (4, 8, 8))
    found = intervals(graph)
    assert [found[node.output] for node in graph.nodes] == [(0, math.inf)] * 3
