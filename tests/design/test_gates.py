"""Squeeze and excitation, as a block and in any network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cnnatomy as cn
from cnnatomy.catalogue import find
from cnnatomy.design import LinearHead, SqueezeExcitation, with_gates
from cnnatomy.layers import Conv, ReLU
from helpers import built, run


def opened(module: nn.Module, weights: dict[str, torch.Tensor]) -> nn.Module:
    """The module with these weights, and gates that let everything pass: sigmoid(100) is 1 in double precision."""
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected
    assert missing
    for name in missing:
        part = module.get_submodule(name.rpartition(".")[0])
        part.weight.data.zero_()
        part.bias.data.fill_(100)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("lenet-5", 32),
        ("alexnet", 227),
        ("googlenet", 64),
        ("squeezenet-1.0", 64),
        ("mobilenet-v1-0.25", 64),
        ("densenet-121", 64),
        ("resnet-20-cifar", 32),
        ("plain-20-cifar", 32),
        ("preact-resnet-18", 64),
        ("mobilenet-v2-0.35", 64),
        ("shufflenet-g3", 64),
        ("shiftnet-c", 64),
    ],
)
def test_with_the_gates_at_1_a_network_is_unchanged(name: str, pixels: int) -> None:
    shape = (find(name).input[0], pixels, pixels)
    plain = cn.network(name, input=shape).build().double().eval()
    gated = opened(cn.network(f"se-{name}", input=shape).build().double().eval(), plain.state_dict())
    x = torch.randn(2, *shape, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(gated(x), plain(x), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_every_network_of_the_catalogue_can_have_gates() -> None:
    names = {entry.name for entry in cn.ENTRIES}
    for entry in cn.ENTRIES:
        plain = entry.network()
        if entry.name.startswith("se-") or f"se-{entry.name}" in names or plain.body == cn.Chain():
            continue  # has them already, is a published one, or has no body
        gated = cn.network(f"se-{entry.name}")
        assert (gated.tail, gated.head, gated.input) == (plain.tail, plain.head, plain.input)
        before, after = (net.account().totals.parameters for net in (plain, gated))
        assert after > before, entry.name


def test_squeeze_and_excitation_adds_2_530_992_parameters_to_resnet_50() -> None:
    plain, gated = (cn.network(name).account() for name in ("resnet-50-v1", "se-resnet-50"))
    assert gated.totals.parameters - plain.totals.parameters == 2_530_992
    squeezed = [row.output for row in gated if row.path.endswith("se.conv1")]
    assert [squeezed.count((size, 1, 1)) for size in (16, 32, 64, 128)] == [3, 4, 6, 3]


def test_the_gate_of_a_residual_block_is_the_last_thing_before_the_addition() -> None:
    graph = cn.network("se-resnet-18").graph()
    for node in graph:
        if type(node.layer).__name__ == "Add":
            assert node.inputs[0].node.path == node.path.replace("add", "se.multiply")


def test_gates_follow_the_blocks_of_a_body_without_residual_branches() -> None:
    body = cn.network("se-vgg-11").body
    assert [part.name for part in body.parts][:4] == ["block2", "block2_gate", "block3", "block3_gate"]


def test_compositions_of_your_own_have_gates_too() -> None:
    conv, head = Conv(8, 3, padding=1), LinearHead(10)
    network = cn.Network(conv, cn.Residual(conv, ReLU()), head, input=(3, 8, 8))
    gate = SqueezeExcitation(reduction=4)
    assert with_gates(network, gate).body == cn.Residual(conv, ReLU(), gate=gate)
    assert with_gates(network.replace(body=conv)).body == cn.Chain(conv, SqueezeExcitation())
    assert with_gates(network.replace(body=cn.Chain(conv, ReLU(), conv)), gate).body == cn.Chain(
        conv, ReLU(), gate, conv
    )


def test_a_gated_network_has_its_own_name() -> None:
    assert find("SE_VGG16").name == "se-vgg-16"
    assert cn.network("se-vgg-16").name == "se-vgg-16"
    with pytest.raises(cn.UserError, match="no network called 'se-nothing'"):
        find("se-nothing")


@pytest.mark.parametrize(("grid", "window"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_a_spatial_squeeze_gates_each_window_by_itself(grid: int, window: int) -> None:
    """And with a grid of 1 x 1 it is squeeze and excitation."""
    x = torch.randn(2, 32, 8, 8, dtype=torch.double)
    spatial = built(SqueezeExcitation(grid=grid), (32, 8, 8)).double()
    plain = built(SqueezeExcitation(), (32, window, window)).double()
    plain.load_state_dict(spatial.state_dict())
    got = spatial(x)
    for row in range(0, 8, window):
        for column in range(0, 8, window):
            here = (..., slice(row, row + window), slice(column, column + window))
            torch.testing.assert_close(got[here], plain(x[here]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pixels", [(7, 7), (5, 9), (13, 3)])
def test_a_spatial_squeeze_takes_maps_that_do_not_divide(pixels: tuple[int, int]) -> None:
    x = torch.randn(2, 16, *pixels)
    assert run(SqueezeExcitation(grid=4), x).shape == x.shape
