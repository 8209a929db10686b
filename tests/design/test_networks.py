"""A network is a value; built, it is an ordinary torch module of tail, body and head. For the whole catalogue."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import pickle
from collections import Counter

import pytest
import torch
from torch import nn

import cnnatomy as cn
import cnnatomy.layers
from cnnatomy import Block, Chain, FeatureMap, Heads, Named, Network, Residual, ShapeError, UserError
from cnnatomy.catalogue import BLOCKS as FAMILY_BLOCKS
from cnnatomy.design import BLOCKS, Deformable, LinearHead, NonLocal, SqueezeExcitation
from cnnatomy.layers import BatchNorm, Conv, Dropout, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.layers.layer import Shape, value
from helpers import shapes_by_path
from kinds import NAMES, others_in_full

CLASSES = vars(cnnatomy.layers) | {block.__name__: block for block in (*BLOCKS, *FAMILY_BLOCKS)}
CLASSES |= {"Named": Named, "Network": Network}


@functools.cache
def small(name: str) -> Shape:
    """The smallest square input that a network takes: torch is then quick, and every layer still runs."""
    network = cn.network(name)
    for size in range(8, 400, 4):
        try:
            network.graph(shape := (network.input[0], size, size))
        except ShapeError:
            continue
        return shape
    raise AssertionError(f"{name} takes no input")


@value
class TwoScales(Block):
    """A body that hands out two maps, for two heads."""

    def __call__(self, x: FeatureMap):
        fine = Residual(Conv(8, 3, padding=1), BatchNorm(), ReLU())(x)
        return Chain(MaxPool(2), Conv(12, 3, padding=1), ReLU())(fine), fine


SEVERAL = Network(
    Chain(conv=Conv(8, 3, padding=1), relu=ReLU()),
    TwoScales(),
    Heads(
        classes=LinearHead(10),
        mask=Conv(2, 1),
        early=LinearHead(10),
        reads={"mask": 1, "early": 1},
        auxiliary=["early"],
    ),
    input=(3, 12, 14),
)
IRREGULAR = Network(
    tail=Conv(8, 3, padding=1),
    body=Chain(Residual(Deformable(8), NonLocal(), SqueezeExcitation(4)), Chain(), Dropout(0.2)),
    head=Chain(flatten=Flatten(), fc=FullyConnected(5)),
    input=(3, 7, 6),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_a_value(name: str) -> None:
    network = cn.network(name)
    again = eval(repr(network), CLASSES)
    assert again == network
    assert hash(again) == hash(network)
    assert repr(again) == repr(network)
    assert again.graph().nodes[-1].path == network.graph().nodes[-1].path
    assert pickle.loads(pickle.dumps(network)) == network == copy.deepcopy(network)
    assert network.replace(input=(3, 97, 97)) != network
    assert network.replace(name="another name") == network
    assert network.replace(head=LinearHead(7)).body == network.body


def test_networks_of_different_names_are_different_values() -> None:
    networks = {name: cn.network(name) for name in NAMES}
    for one, other in itertools.combinations(networks, 2):
        assert networks[one] != networks[other], f"{one} and {other} are one design under two names"


# Bodies that return one map and several, heads of one output and several, and each way to compose blocks.
COMPOSED = ("lenet-5", "vgg-11-bn", "googlenet", "inception-v3-aux", "densenet-121", "msdnet", "resnet-18-option-a")
COMPOSED += ("dpn-92", "shufflenet-g1", "se-resnet-50", "nasnet-a-mobile")


@pytest.mark.slow
@pytest.mark.parametrize("name", others_in_full(COMPOSED))
def test_head_of_body_of_tail_is_the_network_bit_for_bit(name: str) -> None:
    input = small(name)
    net, x = cn.network(name).build(input).eval(), torch.randn(2, *input)
    with torch.no_grad():
        y = net(x)
        features = net.body(net.tail(x))
        parts = net.head(*features) if isinstance(features, tuple) else net.head(features)
    by_head, expected = (z if isinstance(z, dict) else {"head": z} for z in (parts, y))  # MSDNet has several heads
    assert by_head.keys() == expected.keys()
    assert all(torch.equal(by_head[head], expected[head]) for head in expected)
    assert all(z.isfinite().all() for z in expected.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lenet-5", "lenet-5-1998", "squeezenet-1.0", "googlenet-aux", "densenet-121", "resnet-18-option-a"]
)
def test_a_built_network_is_copied_pickled_saved_and_loaded_like_any_module(name: str) -> None:
    input = small(name)
    net, x = cn.network(name).build(input).eval(), torch.randn(1, *input)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    again = cn.network(name).build(input).eval()
    again.load_state_dict(torch.load(file))
    with torch.no_grad():
        y = net(x)
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), again):
            assert torch.equal(other(x), y)


@pytest.mark.parametrize("network", [SEVERAL, IRREGULAR], ids=["several heads", "irregular"])
def test_a_design_of_ones_own_keeps_the_same_promises(network: Network) -> None:
    net, x = network.build(), torch.randn(2, *network.input)
    predicted = {node.path: node.output.shape for node in network.graph()}
    seen = shapes_by_path(net, x)
    assert {path: seen[path] for path in predicted} == predicted
    net.eval()
    with torch.no_grad():
        y, features = net(x), net.body(net.tail(x))
        parts = net.head(*features) if isinstance(features, tuple) else net.head(features)
        for other in (parts, copy.deepcopy(net)(x), pickle.loads(pickle.dumps(net))(x)):
            torch.testing.assert_close(other, y, rtol=0, atol=0)


def test_a_network_may_have_no_tail() -> None:
    network = Network(Chain(), Conv(4, 3), LinearHead(2), (3, 8, 8))
    net, x = network.build(), torch.randn(1, 3, 8, 8)
    assert torch.equal(net.tail(x), x)
    assert net(x).shape == (1, 2)


def test_hooks_see_every_layer_by_its_path() -> None:
    net = cn.network("lenet-5").build()
    seen = shapes_by_path(net, torch.randn(1, 1, 32, 32))
    assert seen["tail.c1"] == (6, 28, 28)
    assert seen["body.c3"] == (16, 10, 10)
    assert seen["head.f6"] == (84,)


def test_gradients_reach_every_parameter() -> None:
    net = cn.network("squeezenet-1.0").build(small("squeezenet-1.0"))
    net(torch.randn(2, *small("squeezenet-1.0"))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_module_attached_to_a_network_does_not_run_in_it() -> None:
    net, x = cn.network("lenet-5").build().eval(), torch.randn(1, 1, 32, 32)
    y = net(x)
    net.loss = nn.CrossEntropyLoss()
    assert torch.equal(net(x), y)


def test_parts_of_a_built_network_can_be_replaced() -> None:
    net, x = cn.network("lenet-5").build().eval(), torch.randn(1, 1, 32, 32)
    net.head = nn.Sequential(nn.Flatten(), nn.Linear(400, 3))
    assert net(x).shape == (1, 3)


def test_maps_are_released_after_their_last_reader() -> None:
    """A chain holds two maps at a time, not all of them."""
    alive: Counter[int] = Counter()
    most = 0

    class Watched(torch.Tensor):
        def __del__(self) -> None:
            alive["maps"] -= 1

    def hook(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal most
        watched = output.detach().as_subclass(Watched)
        alive["maps"] += 1
        most = max(most, alive["maps"])
        return watched

    net = Network(Chain(), Chain(*[Chain(*[ReLU()] * 5)] * 4), Chain(), (2, 4, 4)).build()
    for part in net.modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(hook)
    with torch.no_grad():
        net(torch.randn(1, 2, 4, 4))
    assert most <= 3


def test_several_heads_share_one_run_of_the_encoder() -> None:
    net, x = SEVERAL.build().train(), torch.randn(2, *SEVERAL.input)
    runs: Counter[str] = Counter()
    net.tail.conv.register_forward_hook(lambda *_: runs.update(["tail"]))
    y = net(x)
    assert runs["tail"] == 1
    assert {name: tuple(out.shape) for name, out in y.items()} == {
        "classes": (2, 10),
        "mask": (2, 2, 12, 14),
        "early": (2, 10),
    }
    assert list(SEVERAL.heads) == ["classes", "mask", "early"]
    assert list(cn.network("lenet-5").heads) == ["head"]


def test_auxiliary_heads_exist_in_training_alone() -> None:
    net, x = SEVERAL.build(), torch.randn(2, *SEVERAL.input)
    assert set(net.train()(x)) == {"classes", "mask", "early"}
    assert set(net.eval()(x)) == {"classes", "mask"}
    input = (3, 80, 80)
    googlenet, x = cn.network("googlenet-aux", classes=7).build(input), torch.randn(2, *input)
    with torch.no_grad():
        assert set(googlenet.train()(x)) == {"main", "auxiliary4a", "auxiliary4d"}
        assert googlenet.eval()(x).shape == (2, 7)


def test_googlenet_in_evaluation_is_the_same_with_and_without_auxiliary_heads() -> None:
    input = (3, 80, 80)
    without, with_heads = cn.network("googlenet").build(input).eval(), cn.network("googlenet-aux").build(input).eval()
    weights = {name.replace("head.", "head.main."): weight for name, weight in without.state_dict().items()}
    missing, unexpected = with_heads.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith("head.auxiliary") for name in missing)
    x = torch.randn(1, *input)
    with torch.no_grad():
        assert torch.equal(with_heads(x), without(x))


def test_heads_are_put_on_a_network_by_name() -> None:
    network = cn.network("resnet-18").with_heads(classes=LinearHead(10), pose=LinearHead(6))
    assert network.body == cn.network("resnet-18").body
    assert [node.path for node in network.graph() if isinstance(node.layer, FullyConnected)] == [
        "head.classes.fc",
        "head.pose.fc",
    ]
    account = network.account((3, 64, 64)).totals.parameters
    assert account == cn.network("resnet-18", classes=16).account((3, 64, 64)).totals.parameters


def test_an_average_head_takes_any_size_and_a_flat_one_says_what_it_needs() -> None:
    net = cn.network("resnet-18").build((3, 64, 64)).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, 96, 160)).shape == (1, 1000)
    with pytest.raises(ShapeError, match="tail"):
        cn.network("vgg-16").graph((3, 1, 1))


@pytest.mark.parametrize("wrong", [(3,), (3, 32), (0, 32, 32), (3, 32, -1), (3, 32.0, 32)])
def test_a_wrong_input_shape_is_the_users_error(wrong: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        cn.network("resnet-18").graph(wrong)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="resnet-50"):
        cn.network("resnet-5O")


COMPILED = ("lenet-5-1998", "squeezenet-1.0", "googlenet-aux", "resnet-18-option-a")
OURS = {"several heads": SEVERAL, "irregular": IRREGULAR}


def example(name: str) -> tuple[nn.Module, torch.Tensor]:
    network = OURS.get(name) or cn.network(name)
    input = network.input if name in OURS else small(name)
    return network.build(input).eval(), torch.randn(2, *input)


@pytest.mark.slow
@pytest.mark.parametrize("name", others_in_full([*OURS, "googlenet-aux"], [*OURS, *COMPILED]))
def test_torch_compile_takes_the_whole_network_as_one_graph(name: str) -> None:
    net, x = example(name)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OURS, *COMPILED])
def test_torch_export_takes_the_whole_network(name: str) -> None:
    net, x = example(name)
    exported = torch.export.export(net, (x,))
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), net(x))
    assert set(exported.state_dict) == set(net.state_dict())
