"""The lectures' four ways to put blocks together, and what their names promise."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn import functional

import cnnatomy.layers
from cnnatomy import Block, Chain, Dense, FeatureMap, Named, Network, Parallel, Residual, ShapeError, UserError
from cnnatomy.design import BLOCKS, Heads, LinearHead, NonLocal, Projection, SqueezeExcitation, ZeroShortcut
from cnnatomy.design import graph as graph_module
from cnnatomy.layers import Add, BatchNorm, Concat, Conv, Flatten, FullyConnected, Layer, MaxPool, ReLU, split
from cnnatomy.layers.layer import value
from helpers import built, run, trace

NAMES = vars(cnnatomy.layers) | {block.__name__: block for block in BLOCKS} | {"Named": Named}
CONV = Conv(4, 3, padding=1)


def paths(describe: Layer | Block, shape: tuple[int, ...] = (4, 8, 8)) -> list[str]:
    return [node.path for node in trace(describe, shape)]


def test_a_chain_is_one_part_after_the_other() -> None:
    x, module = torch.randn(2, 4, 8, 8), built(Chain(CONV, ReLU(), MaxPool(2)), (4, 8, 8))
    conv = module.get_submodule("chain.conv")
    assert torch.equal(module(x), functional.max_pool2d(conv(x).relu(), 2))


def test_an_empty_chain_passes_its_input_on() -> None:
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(run(Chain(), x), x)
    assert torch.equal(run(Chain(Chain(), ReLU(), Chain()), x), x.relu())


def test_parallel_branches_read_the_same_input_and_are_concatenated() -> None:
    x, module = torch.randn(2, 4, 8, 8), built(Parallel(Conv(3, 1), Conv(5, 3, padding=1)), (4, 8, 8))
    one, three = (module.get_submodule(f"parallel.conv{i}") for i in (1, 2))
    assert torch.equal(module(x), torch.cat([one(x), three(x)], 1))


def test_parallel_branches_may_be_joined_in_another_way() -> None:
    x, module = torch.randn(2, 4, 8, 8), built(Parallel(CONV, CONV, Chain(), join=Add()), (4, 8, 8))
    one, two = (module.get_submodule(f"parallel.conv{i}") for i in (1, 2))
    assert torch.equal(module(x), one(x) + two(x) + x)


def test_a_dense_layer_reads_all_that_came_before() -> None:
    """x3 = [x, f1(x), f2([x, f1(x)])]"""
    x, module = torch.randn(2, 4, 8, 8), built(Dense(CONV, CONV), (4, 8, 8))
    f1, f2 = (module.get_submodule(f"dense.conv{i}") for i in (1, 2))
    x2 = torch.cat([x, f1(x)], 1)
    assert torch.equal(module(x), torch.cat([x2, f2(x2)], 1))


@pytest.mark.parametrize("layers", [0, 1, 2, 5, 12])
def test_the_channels_of_a_dense_block_grow_linearly(layers: int) -> None:
    growth = Conv(7, 3, padding=1)
    (output,) = trace(Dense(*[growth] * layers), (10, 6, 6)).outputs
    assert output.shape == (10 + 7 * layers, 6, 6)


def test_the_last_dense_layer_has_a_direct_way_to_every_earlier_one() -> None:
    graph = trace(Dense(CONV, CONV, CONV), (4, 8, 8))
    last = [node for node in graph if isinstance(node.layer, Conv)][-1]
    makers, waiting = set(), list(last.inputs)
    while waiting:  # through concatenations alone
        node = waiting.pop().node
        if node is not None and isinstance(node.layer, Concat):
            waiting += node.inputs
        makers.add(node and node.path)
    assert {"dense.conv1", "dense.conv2", None} <= makers


def test_a_residual_block_adds_its_parts_to_its_input() -> None:
    x, module = torch.randn(2, 4, 8, 8), built(Residual(CONV, ReLU(), CONV), (4, 8, 8))
    first, second = (module.get_submodule(f"residual.conv{i}") for i in (1, 2))
    assert torch.equal(module(x), x + second(first(x).relu()))


def test_a_residual_block_with_zero_weights_is_the_identity() -> None:
    x = torch.randn(2, 4, 8, 8)
    zero = {"residual.conv2.weight": torch.zeros(4, 4, 3, 3), "residual.conv2.bias": torch.zeros(4)}
    assert torch.equal(run(Residual(CONV, ReLU(), CONV), x, weights=zero), x)
    positive = x.abs()  # with a ReLU after the sum: where the input is not negative
    assert torch.equal(run(Residual(CONV, ReLU(), CONV, after=ReLU()), positive, weights=zero), positive)


def test_the_gradient_of_a_residual_block_is_the_identity_plus_that_of_its_parts() -> None:
    x, module = torch.randn(1, 4, 5, 5).requires_grad_(), built(Residual(CONV), (4, 5, 5))
    conv = module.get_submodule("residual.conv")
    upstream = torch.randn(1, 4, 5, 5)
    (gradient,) = torch.autograd.grad(module(x), x, upstream)
    (inner,) = torch.autograd.grad(conv(x), x, upstream)
    torch.testing.assert_close(gradient, upstream + inner)


def test_a_shortcut_makes_the_input_fit() -> None:
    strided = Conv(6, 3, stride=2, padding=1)
    x, module = torch.randn(2, 4, 8, 8), built(Residual(strided, shortcut=Projection(6, 2)), (4, 8, 8)).eval()
    conv, shortcut = module.get_submodule("residual.conv"), module.get_submodule("residual.shortcut")
    assert torch.equal(module(x), shortcut(x) + conv(x))
    with pytest.raises(ShapeError, match=r"residual\.add.*4x8x8 and 6x4x4"):
        trace(Residual(strided), (4, 8, 8))


def test_a_zero_shortcut_has_no_parameters() -> None:
    x = torch.randn(2, 4, 8, 8)
    y = run(ZeroShortcut(6, 2), x)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert (y[:, 4:] == 0).all()


def test_blocks_nest_in_one_another() -> None:
    x = torch.randn(2, 4, 8, 8)
    block = Residual(Dense(CONV, Parallel(Conv(2, 1), Chain(ReLU(), Conv(2, 1)))), Conv(4, 1), after=NonLocal())
    assert run(block, x).shape == x.shape
    assert "residual.dense.parallel.chain.conv" in paths(block)


def test_paths_number_what_is_alike_and_keep_the_names_that_were_given() -> None:
    block = Chain(Conv(4, 1), Conv(4, 1), ReLU(), last=Conv(4, 1))
    assert paths(block) == ["chain.conv1", "chain.conv2", "chain.relu", "chain.last"]
    assert paths(Chain(ReLU(), Named("relu", Conv(4, 1)))) == ["chain.relu_", "chain.relu"]
    assert paths(Chain(*[Chain(ReLU())] * 2)) == ["chain.chain1.relu", "chain.chain2.relu"]


def test_paths_are_the_same_every_time() -> None:
    block = Residual(Dense(CONV, CONV), Conv(4, 1), SqueezeExcitation(2))
    assert paths(block) == paths(copy.deepcopy(block)) == paths(eval(repr(block), NAMES))
    assert len(set(paths(block))) == len(paths(block))


@pytest.mark.parametrize(
    "block",
    [
        Chain(),
        Chain(CONV, ReLU()),
        Chain(CONV, relu=ReLU(), pool=MaxPool(2)),
        Chain(Named("first", CONV), ReLU()),
        Chain(Named("3x3", CONV), Named("class", ReLU())),
        Parallel(CONV, join=Add()),
        Parallel(Named("join", CONV)),
        Residual(CONV, shortcut=Projection(4), after=ReLU()),
        Residual(Named("after", CONV)),
        Dense(a=CONV, b=CONV),
        Heads(main=LinearHead(10), extra=LinearHead(3), reads={"extra": 1}, auxiliary=["extra"]),
        SqueezeExcitation(4),
        Named("it", CONV),
    ],
    ids=repr,
)
def test_a_composition_is_a_value(block: Chain) -> None:
    again = eval(repr(block), NAMES)
    assert again == block
    assert hash(again) == hash(block)
    assert repr(again) == repr(block)
    assert pickle.loads(pickle.dumps(block)) == block
    assert copy.deepcopy(block) == block
    assert block.replace() == block


def test_compositions_differ_by_kind_parts_names_and_options() -> None:
    variants = [Chain(CONV), Dense(CONV), Residual(CONV), Parallel(CONV), Parallel(CONV, join=Add()), Chain(a=CONV)]
    assert len({*variants, Chain(CONV)}) == len(variants)


def test_named_parts_can_be_replaced() -> None:
    block = Residual(CONV, relu=ReLU(), after=ReLU())
    assert block.replace(relu=BatchNorm()) == Residual(CONV, relu=BatchNorm(), after=ReLU())
    assert block.replace(after=None) == Residual(CONV, relu=ReLU())
    with pytest.raises(UserError, match=r"no part named 'rely'. Did you mean relu"):
        block.replace(rely=ReLU())


@value
class Twice(Block):
    """Two outputs."""

    def __call__(self, x: FeatureMap):
        return ReLU()(x), Conv(3, 1)(x)


@value
class Halves(Block):
    """Returns a list, as `split` does."""

    def __call__(self, x: FeatureMap):
        return split(x, 2)


@value
class Sum(Block):
    """Two inputs."""

    def __call__(self, x: FeatureMap, y: FeatureMap):
        return Add()(CONV(x), CONV(y))


def test_a_block_may_return_several_maps_and_the_next_reads_them() -> None:
    x, module = torch.randn(2, 8, 6, 6), built(Chain(Halves(), Sum()), (8, 6, 6))
    total = module.get_submodule("chain.sum")
    assert torch.equal(module(x), total.conv1(x[:, :4]) + total.conv2(x[:, 4:]))
    relu, conv = built(Twice(), (8, 6, 6))(x)
    assert torch.equal(relu, x.relu())
    assert conv.shape == (2, 3, 6, 6)


@value
class Returns(Block):
    """Returns whatever it is told."""

    what: object

    def __call__(self, x: FeatureMap):
        return self.what


@pytest.mark.parametrize("what", [None, 3, "map", (), (1, 2), CONV, {"a": 1}], ids=repr)
def test_a_block_must_return_feature_maps(what: object) -> None:
    with pytest.raises(UserError, match="must return feature maps"):
        trace(Returns(what), (4, 8, 8))


def test_a_block_must_not_return_a_map_of_another_network() -> None:
    (other,) = trace(ReLU(), (4, 8, 8)).outputs
    with pytest.raises(UserError, match="feature maps of the network"):
        trace(lambda x: Add()(x, other), (4, 8, 8))
    with pytest.raises(UserError, match="neither made nor was given"):
        built(Chain(Returns(other)), (4, 8, 8))


def test_a_block_must_be_given_the_maps_that_it_reads() -> None:
    def describe(x: FeatureMap) -> FeatureMap:
        @value
        class Sneaks(Block):
            def __call__(self, y: FeatureMap):
                return Add()(x, y)

        return Sneaks()(ReLU()(x))

    with pytest.raises(UserError, match=r"sneaks\.add reads a feature map that its block was not given"):
        built(describe, (4, 8, 8))


@value
class SameName(Block):
    """Uses a name twice."""

    def __call__(self, x: FeatureMap):
        return Named("a", ReLU())(Named("a", ReLU())(x))


@value
class Endless(Block):
    """Contains itself."""

    def __call__(self, x: FeatureMap):
        return Endless()(x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Named("a.b", CONV), "contains a dot"),
        (lambda: Named("", CONV), "has 1 to 200 characters"),
        (lambda: Named("a", "conv"), "not a layer or block"),
        (lambda: Named("a", Named("b", CONV)), "not a layer or block"),
        (lambda: Chain(Named("a", CONV), a=CONV), "same name"),
        (lambda: Chain("conv"), "'conv' is not a layer or block"),
        (lambda: Chain([CONV, CONV]), "not a layer or block"),
        (lambda: Chain(Conv), "not a layer or block"),
        (lambda: Chain(a=3), "not a layer or block"),
        (lambda: trace(Parallel(), (4, 8, 8)), "at least one part"),
        (lambda: trace(SameName(), (4, 8, 8)), "samename: two parts have the same name 'a'"),
        (lambda: trace(Endless(), (4, 8, 8)), "too deep"),
        (lambda: Chain(CONV)(torch.zeros(1, 4, 8, 8)), "Chain is a description"),
        (lambda: CONV(torch.zeros(1, 4, 8, 8)), "is a description"),
        (lambda: Chain(CONV)(), "Chain is a description"),
        (lambda: Named("a", CONV)(3), "is a description"),
        (lambda: trace(lambda x: Add()(x, 3), (4, 8, 8)), r"Add\(\) got 3, needs feature maps"),
        (lambda: trace(Sum(), (4, 8, 8)), r"Sum\(\) reads 2 feature maps, got 1"),
        (lambda: trace(Chain(Twice(), NonLocal()), (4, 8, 8)), "NonLocal.* reads 1 feature map, got 2"),
        (lambda: trace(CONV, (4, 0, 8)), "each from 1 to 1,000,000"),
        (lambda: trace(CONV, ()), "input shape"),
        (lambda: trace(CONV, (4, 8.0, 8)), "input shape"),
        (lambda: Chain(forward=CONV), "is one that torch modules keep for themselves, got 'forward'"),
        (lambda: Chain(train=CONV), "choose another"),
        (lambda: Heads(), "every head needs a name"),
        (lambda: Heads(CONV), "every head needs a name"),
        (lambda: Heads(a=CONV, reads={"b": 0}), "b"),
        (lambda: Heads(a=CONV, auxiliary=("b",)), "b"),
        (lambda: Heads(a=CONV, auxiliary=("a",)), "must not be auxiliary"),
        (lambda: Heads(a=CONV, auxiliary=CONV), "is an option"),
        (lambda: trace(Heads(a=CONV, reads={"a": 1}), (4, 8, 8)), "1 feature maps"),
        (lambda: trace(Heads(a=CONV, reads={"a": -1}), (4, 8, 8)), "1 feature maps"),
        (lambda: Network(CONV, CONV, "head"), "tail, body and head are layers or blocks"),
    ],
)
def test_a_wrong_design_is_the_users_error(wrong, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wrong()


def test_a_name_of_torch_that_a_part_may_have() -> None:
    """`plan`, `reads` and the like are free: what the built modules keep for themselves is private."""
    x = torch.randn(1, 4, 8, 8)
    block = Chain(plan=CONV, outputs=ReLU(), reads=CONV, children_=CONV)
    assert run(block, x).shape == x.shape


def test_a_shape_error_says_where() -> None:
    network = Network(Chain(conv=Conv(8, 3)), Chain(stage1=Chain(MaxPool(2), MaxPool(9))), LinearHead(10), (3, 12, 12))
    with pytest.raises(ShapeError, match=r"body\.stage1\.pool2: MaxPool\(9\) got 8x5x5, needs .* at least 9"):
        network.graph()
    with pytest.raises(ShapeError, match=r"^tail\.conv: Conv\(8, 3\) got 3x2x2"):
        network.graph((3, 2, 2))


def test_a_layer_that_is_refused_leaves_no_trace() -> None:
    def describe(x: FeatureMap) -> FeatureMap:
        with pytest.raises(ShapeError, match=r"^pool: MaxPool"):
            MaxPool(9)(x)
        return ReLU()(x)

    graph = graph_module.Graph.trace(describe, (3, 4, 4))
    assert list(graph.root.children) == graph.nodes
    assert [node.path for node in graph] == ["relu"]


def test_a_design_of_more_than_20000_layers_is_refused_before_it_fills_the_memory(monkeypatch) -> None:
    assert graph_module.MAX_LAYERS == 20_000
    monkeypatch.setattr(graph_module, "MAX_LAYERS", 1000)
    for part in (ReLU(), Chain()):  # blocks without layers count as well
        block = Chain(*[part] * 10)
        for _ in range(20):  # ten to the power of 21 of them
            block = Chain(*[block] * 10)
        with pytest.raises(UserError, match="more than 1,000 layers and blocks"):
            trace(block, (4, 8, 8))


def test_a_flat_design_of_many_layers_is_fine() -> None:
    graph = trace(Chain(*[ReLU()] * 3000), (4,))
    assert len(graph.nodes) == 3000
    assert graph.nodes[-1].path == "chain.relu3000"


def test_fully_connected_layers_tell_a_map_from_a_vector() -> None:
    with pytest.raises(ShapeError, match=r"Flatten\(\)"):
        trace(Chain(CONV, FullyConnected(10)), (4, 8, 8))
    assert trace(Chain(CONV, Flatten(), FullyConnected(10)), (4, 8, 8)).outputs[0].shape == (10,)
