"""Residual networks: blocks that are equal under tied weights, and block orders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cnnatomy as cn
from cnnatomy.catalogue.residual.cifar_resnet import ORDERS, OrderedBlock
from cnnatomy.catalogue.residual.dpn import DualPathBlock
from cnnatomy.catalogue.residual.dual_path_forms import DenseForm, DualPathForm, ResidualForm, SharedDenseForm
from cnnatomy.catalogue.residual.mobilenet_v2 import make_divisible
from cnnatomy.catalogue.residual.preact_resnet import PreActBasicBlock, PreActBottleneck
from cnnatomy.catalogue.residual.resnet import BasicBlock
from cnnatomy.catalogue.residual.resnet_densenet import resnet_densenet_serial
from cnnatomy.catalogue.residual.resnext import AggregatedBottleneck, ConcatenatedBottleneck, GroupedBottleneck
from cnnatomy.layers import ChannelShuffle, Shift
from helpers import built, trace


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 200])
def test_preactivation_keeps_the_depth(depth: int) -> None:
    assert cn.network(f"preact-resnet-{depth}").account().depth == depth


@pytest.mark.parametrize(("groups", "printed"), [(1, 143), (2, 140), (3, 137), (4, 133), (8, 137)])
def test_the_complexity_of_shufflenet_is_that_of_its_convolutions(groups: int, printed: int) -> None:
    account = cn.network(f"shufflenet-g{groups}").account()
    convolutions = account.totals.macs - account.part("head").macs
    assert convolutions // 1_000_000 in (printed, printed - 1)


def layers(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """All layers of a kind, in the order of execution."""
    return [part for part in module.modules() if isinstance(part, kind)]


def shake(module: nn.Module) -> nn.Module:
    """Double precision, evaluation, and batch norms that do something."""
    for norm in layers(module, nn.BatchNorm2d):
        for tensor, low in ((norm.weight, 0.5), (norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
            nn.init.uniform_(tensor, low, low + 1)
    return module.double().eval()


def tie(module: nn.Module, **pieces: torch.Tensor) -> None:
    """Sets tensors of a layer."""
    for name, tensor in pieces.items():
        getattr(module, name).data.copy_(tensor)


def tie_norm(to: nn.Module, source: nn.Module, which: slice = slice(None)) -> None:
    tie(to, **{name: getattr(source, name)[which] for name in ("weight", "bias", "running_mean", "running_var")})


def like(source: nn.Module, module: nn.Module) -> nn.Module:
    """The module with all tensors of the source, which has the same ones in the same order."""
    for to, tensor in zip(module.state_dict().values(), source.state_dict().values(), strict=True):
        to.copy_(tensor)
    return module.double().eval()


@pytest.mark.parametrize("stride", [1, 2])
def test_the_three_forms_of_resnext_are_equal(stride: int) -> None:
    """Figure 3 of the paper: (a) aggregated, (b) concatenated early, (c) grouped."""
    groups, width, shape = 4, 3, (16, 8, 8)
    arguments = {"channels": 16, "groups": groups, "width": width, "stride": stride}
    grouped = shake(built(GroupedBottleneck(**arguments), shape))
    concatenated = built(ConcatenatedBottleneck(**arguments), shape).double().eval()
    aggregated = built(AggregatedBottleneck(**arguments), shape).double().eval()
    first, second, third, *shortcut = layers(grouped, nn.Conv2d)
    norms = layers(grouped, nn.BatchNorm2d)
    for form, step in ((concatenated, 2), (aggregated, 3)):
        convs, bns = layers(form, nn.Conv2d), layers(form, nn.BatchNorm2d)
        for i in range(groups):
            mine = slice(i * width, (i + 1) * width)
            tie(convs[step * i], weight=first.weight[mine])
            tie(convs[step * i + 1], weight=second.weight[mine])
            tie_norm(bns[2 * i], norms[0], mine)
            tie_norm(bns[2 * i + 1], norms[1], mine)
            if form is aggregated:
                tie(convs[3 * i + 2], weight=third.weight[:, mine])
        tie_norm(bns[2 * groups], norms[2])
        if form is concatenated:
            tie(convs[2 * groups], weight=third.weight)
        if shortcut:
            tie(convs[-1], weight=shortcut[0].weight)
            tie_norm(bns[-1], norms[3])
    x = torch.randn(2, *shape, dtype=torch.double)
    torch.testing.assert_close(concatenated(x), grouped(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(aggregated(x), grouped(x), rtol=1e-12, atol=1e-12)


def test_a_dense_network_with_shared_connections_is_a_residual_network() -> None:
    """Figure 2 (c) and (a) of the paper on dual path networks."""
    residual = shake(built(ResidualForm(4, 6), (8, 7, 7)))
    shared = like(residual, built(SharedDenseForm(4, 6), (8, 7, 7)))
    x = torch.randn(2, 8, 7, 7, dtype=torch.double)
    torch.testing.assert_close(shared(x), residual(x), rtol=1e-12, atol=1e-12)


def test_the_dense_form_grows_and_the_residual_form_does_not() -> None:
    assert trace(DenseForm(3, 6, growth=5), (8, 7, 7)).outputs[0].shape == (8 + 3 * 5, 7, 7)
    assert trace(ResidualForm(3, 6), (8, 7, 7)).outputs[0].shape == (8, 7, 7)


def test_two_paths_and_one_path_that_is_split_are_equal() -> None:
    """Figure 2 (d) and (e) of the paper on dual path networks."""
    residual, growth, width, channels = 8, 3, 6, 8 + 5
    one = shake(built(DualPathBlock(residual, growth, width, groups=2), (channels, 7, 7)))
    two = built(DualPathForm(residual, growth, width, groups=2), (channels, 7, 7)).double().eval()
    (into, middle, out), norms = layers(one, nn.Conv2d), layers(one, nn.BatchNorm2d)
    convs, bns = layers(two, nn.Conv2d), layers(two, nn.BatchNorm2d)
    left, right = slice(0, residual), slice(residual, None)
    for number, part in enumerate((left, right)):
        tie(convs[number], weight=into.weight[:, part])
        tie_norm(bns[number], norms[0], part)
        tie(convs[3 + number], weight=out.weight[part])
        tie_norm(bns[3 + number], norms[2])
    tie(convs[2], weight=middle.weight)
    tie_norm(bns[2], norms[1])
    x = torch.randn(2, channels, 7, 7, dtype=torch.double)
    torch.testing.assert_close(two(x), one(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "block"),
    [("original", BasicBlock(8, option="A")), ("full-pre-activation", PreActBasicBlock(8))],
)
def test_two_of_the_block_orders_are_known_blocks(order: str, block: cn.Block) -> None:
    known = shake(built(block, (8, 6, 6)))
    ordered = like(known, built(OrderedBlock(8, order=ORDERS[order]), (8, 6, 6)))
    x = torch.randn(2, 8, 6, 6, dtype=torch.double)
    assert torch.equal(ordered(x), known(x))


@pytest.mark.parametrize("order", ORDERS)
def test_every_block_order_trains(order: str) -> None:
    module = built(OrderedBlock(8, stride=2, order=ORDERS[order]), (4, 8, 8)).train()
    module(torch.randn(4, 4, 8, 8)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_other_orders_are_refused_with_the_words_that_there_are() -> None:
    with pytest.raises(cn.UserError, match=r"conv, bn, relu and one \+"):
        OrderedBlock(8, order="conv bn relu conv bn relu")


@pytest.mark.parametrize("block", [PreActBasicBlock(8), PreActBottleneck(2)])
def test_nothing_lies_on_the_way_past_a_preactivated_block(block: cn.Block) -> None:
    module = built(block, (8, 6, 6))
    layers(module, nn.Conv2d)[-1].weight.data.zero_()
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(module(x), x)


def test_the_bottlenecks_of_mobilenet_v2_are_linear_and_added_only_to_their_like() -> None:
    graph = cn.network("mobilenet-v2").graph()
    blocks: dict[str, list[cn.Node]] = {}
    for node in graph:
        if ".block" in node.path:
            blocks.setdefault(node.path.rpartition(".")[0], []).append(node)
    assert len(blocks) == 17
    for nodes in blocks.values():
        kinds = [type(node.layer).__name__ for node in nodes]
        assert kinds[-2:] == ["BatchNorm", "Add"] or kinds[-1] == "BatchNorm"
        assert (kinds[-1] == "Add") == (nodes[0].inputs[0].shape == nodes[-1].output.shape)


@pytest.mark.parametrize(("channels", "rounded"), [(8.4, 8), (11.2, 16), (12, 16), (33.6, 32), (5.6, 8), (44.8, 48)])
def test_widths_are_multiples_of_8_and_at_most_a_tenth_narrower(channels: float, rounded: int) -> None:
    assert make_divisible(channels) == rounded


def test_groups_are_shuffled_and_shifts_are_free() -> None:
    assert not any(isinstance(row.node.layer, ChannelShuffle) for row in cn.network("shufflenet-g1").account())
    shifts = [row for row in cn.network("shiftnet-a").account() if isinstance(row.node.layer, Shift)]
    assert len(shifts) == 5 + 6 + 7 + 3
    assert all(row.parameters == 0 and not any(row.operations) for row in shifts)


@pytest.mark.parametrize("residual", [(0, 0, 0, 0), (2, 3, 5, 2), (1, 0, 4)])
def test_in_the_serial_network_only_dense_blocks_add_channels(residual: tuple[int, ...]) -> None:
    graph = resnet_densenet_serial(residual).graph((3, 64, 64))
    body = next(scope for scope in graph.root.children if scope.path == "body")
    assert len(body.children) == len(residual)
    for stage, repeat in zip(body.children, residual, strict=True):
        blocks = [part for part in stage.children if part.name.startswith("block")]
        dense = next(part for part in stage.children if part.name == "dense")
        assert len(blocks) == repeat
        assert all(block.outputs[0].shape == block.inputs[0].shape for block in blocks)
        assert dense.outputs[0].channels == 2 * stage.inputs[0].channels
        assert stage.outputs[0].channels == dense.outputs[0].channels
