"""A built network fed another size: it runs, or says which layer was built for what, and stands in nobody's way."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
from torch import nn

import cnnatomy as cn
from cnnatomy import Chain, Network, ShapeError, UserError
from cnnatomy.design import LinearHead, PixelHead, VectorHead, WeightedHead
from cnnatomy.layers import BatchNorm, Conv, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.layers.layer import Shape, dimensions
from kinds import DEPTH, QUICK, others_in_full

FEW = ("lenet-5", "alexnet", "vgg-11", "zfnet", "squeezenet-1.0", "resnet-18", "googlenet")
ASKED = {entry.name for entry in cn.ENTRIES if entry.family == "chain"} | {n for n in QUICK if DEPTH[n] <= 100} | {*FEW}
"""Those that vectorise are chains; of the others the quick ones."""
SMALL = Network(
    tail=Chain(conv=Conv(4, 3, padding=1), relu=ReLU()),
    body=Chain(conv=Conv(6, 3, padding=1), relu=ReLU(), pool=MaxPool(2)),
    head=Chain(flatten=Flatten(), fc=FullyConnected(5)),
    input=(3, 8, 8),
)


def misfit(network: Network, input: Shape) -> tuple[str, Shape, Shape] | None:
    """The first layer whose tensors depend on the size: its path, what it would get, and what it was built for."""
    for built, got in zip(network.graph(), network.graph(input), strict=True):
        before, after = ([x.shape for x in node.inputs] for node in (built, got))
        if built.layer.parameters(*before) != built.layer.parameters(*after):
            return built.path, after[0], before[0]
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", others_in_full(ASKED))
def test_another_size_runs_or_the_layer_that_was_built_for_one_is_named(name: str) -> None:
    network = cn.network(name)
    larger = (network.input[0], network.input[1] + 64, network.input[2] + 96)
    with torch.device("meta"):
        net, x = network.build(), torch.empty(2, *larger)
    try:
        found = misfit(network, larger)
    except ShapeError as refused:  # it cannot be described for that size either
        with pytest.raises(ShapeError, match="^" + re.escape(f"{refused}; it was built for ")):
            net(x)
        return
    if found is None:
        net(x)
        return
    path, got, built = found
    with pytest.raises(ShapeError) as error:
        net(x)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert f" got {dimensions(got)}, was built for {dimensions(built)}: build the network for this input" in message
    assert isinstance(error.value.__cause__, RuntimeError)
    assert "cannot be multiplied" in str(error.value.__cause__) or "reduction dim" in str(error.value.__cause__)


def test_networks_that_vectorise_are_built_for_one_size_and_those_that_average_are_not() -> None:
    def fixed(name: str) -> bool:
        network = cn.network(name)
        return misfit(network, (network.input[0], network.input[1] + 64, network.input[2] + 96)) is not None

    assert {name for name in FEW if fixed(name)} == {"lenet-5", "alexnet", "vgg-11", "zfnet"}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (WeightedHead(5), r"^head\.pixelscale: PixelScale\(\) got 6x6x7, was built for 6x4x4: build the network for"),
        (VectorHead(5), r"^head\.reshape: Reshape\(\(96,\)\) got 6x6x7, needs .*; it was built for 6x4x4$"),
        (PixelHead(5, "learned"), r"^head\.reshape: Reshape\(\(80,\)\) got 5x6x7, needs .*; it was built for 5x4x4$"),
        (
            SMALL.head,
            r"^head\.fc: FullyConnected\(5\) got 252, was built for 96: .*, or use a head that takes any size$",
        ),
    ],
    ids=["weighted", "vector", "learned", "flat"],
)
def test_a_head_for_one_size_says_so_in_copies_too(head: cn.Block, said: str) -> None:
    net = SMALL.replace(head=head).build()
    x = torch.randn(2, 3, 12, 15)
    for module in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert module(torch.randn(2, 3, 8, 8)).shape == (2, 5)
        with pytest.raises(ShapeError, match=said):
            module(x)
        with pytest.raises(ShapeError, match=said):  # and by parts
            module.head(module.body(module.tail(x)))


def test_the_wrong_number_of_channels_and_too_small_an_image_are_said() -> None:
    net = SMALL.replace(head=LinearHead(5)).build()
    assert net(torch.randn(2, 3, 11, 6)).shape == (2, 5)
    with pytest.raises(ShapeError, match=r"^tail\.conv: .* got 1x8x8, was built for 3x8x8: build .* this input$"):
        net(torch.randn(2, 1, 8, 8))
    with pytest.raises(ShapeError, match=r"^body\.pool: .* got 6x1x8, needs a map of at least 2 pixels: .* for 6x8x8$"):
        net(torch.randn(2, 3, 1, 8))


@pytest.mark.parametrize("size", [8, 12])
def test_an_error_of_a_hook_stays_what_it_is(size: int) -> None:
    def hook(*_: object) -> None:
        raise RuntimeError("the hook's own")

    net = SMALL.build()
    net.body.conv.register_forward_hook(hook)
    with pytest.raises(RuntimeError, match="the hook's own"):
        net(torch.randn(2, 3, size, size))


def test_an_error_of_a_part_that_was_replaced_stays_what_it_is() -> None:
    net = SMALL.build()
    net.head.fc = nn.Linear(7, 5)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        net(torch.randn(2, 3, 8, 8))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_a_traced_network_runs() -> None:
    net = SMALL.replace(head=LinearHead(5)).build().eval()
    x = torch.randn(2, 3, 8, 8)
    traced = torch.jit.trace(net, (x,))
    torch.testing.assert_close(traced(x), net(x))


@pytest.mark.slow
def test_torch_compile_breaks_the_graph_at_a_hook_and_compiles_the_rest() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    def hook(*_: object) -> None:
        torch._dynamo.graph_break()

    net = Network(Chain(conv=Conv(4, 3), bn=BatchNorm()), Chain(conv=Conv(6, 3), relu=ReLU()), LinearHead(5), (3, 9, 9))
    module, x = net.build().eval(), torch.randn(2, 3, 9, 9)
    module.body.conv.register_forward_hook(hook)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(module, backend=counter)(x), module(x))
    assert counter.op_count >= 5  # nothing is left to Python but the hook


@pytest.mark.slow
def test_a_compiled_network_takes_the_sizes_that_fit_and_refuses_others() -> None:
    torch.compiler.reset()
    compiled = torch.compile(SMALL.build().eval(), backend="eager", fullgraph=True)
    assert compiled(torch.randn(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises((UserError, RuntimeError)):
        compiled(torch.randn(2, 3, 12, 12))
