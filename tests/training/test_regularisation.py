"""Dropout by recipe, and stochastic depth: which additions are residual, what is left out, and how often."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cnnatomy
from cnnatomy.design.blocks import Block
from cnnatomy.design.graph import FeatureMap, Graph
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, BatchNorm, Conv, Interpolate, MaxPool, ReLU
from cnnatomy.training.regularisation import residual_additions, set_dropout, stochastic_depth


def rates(module: nn.Module) -> list[float]:
    return [hook.rate for one in module.modules() for hook in one._forward_pre_hooks.values()]  # type: ignore[attr-defined]


def test_every_dropout_gets_the_rate() -> None:
    module = cnnatomy.network("alexnet-d2l", classes=3).build()
    set_dropout(module, 0.2)
    assert [layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.2]


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(UserError, match="the network has no dropout"):
        set_dropout(cnnatomy.network("resnet-20-cifar").build(), 0.2)


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("resnet-20-cifar", 9),
        ("resnet-18", 8),
        ("resnet-18-option-a", 8),
        ("resnet-50", 16),
        ("preact-resnet-18", 8),
        ("se-resnet-50", 16),
        ("mobilenet-v2", 10),
        ("dpn-92", 26),  # of 30: the four projections have a nonlinearity of their own
        ("inception-resnet-v2", 40),
        ("plain-20-cifar", 0),
        ("googlenet", 0),
        ("densenet-121", 0),
    ],
)
def test_a_network_has_so_many_residual_branches(name: str, branches: int) -> None:
    assert len(residual_additions(cnnatomy.network(name).graph())) == branches


def decoder(x: FeatureMap) -> FeatureMap:
    """A feature pyramid of two levels: what is added comes from the coarser one."""
    coarse = ReLU()(Conv(8, 3, stride=2, padding=1)(x))
    return Add()(Conv(4, 1)(x), Interpolate(2)(Conv(4, 1)(coarse)))


def two_alike(x: FeatureMap) -> FeatureMap:
    """Two convolutions side by side, either a shortcut as little as the other."""
    return Add()(ReLU()(Conv(4, 3, padding=1)(x)), ReLU()(Conv(4, 1)(x)))


def projected(x: FeatureMap) -> FeatureMap:
    """The shortcut is the second input."""
    branch = Conv(8, 3, padding=1)(ReLU()(Conv(8, 3, stride=2, padding=1)(x)))
    return Add()(branch, BatchNorm()(Conv(8, 1)(MaxPool(2)(x))))


def test_pyramids_and_branches_alike_are_not_residual() -> None:
    assert not residual_additions(Graph.trace(decoder, (4, 8, 8)))
    assert not residual_additions(Graph.trace(two_alike, (4, 8, 8)))
    (addition,) = residual_additions(Graph.trace(projected, (4, 8, 8)))
    assert addition.branches == (0,)


def test_the_rate_rises_linearly_to_the_last_branch() -> None:
    """Huang et al. 2016, equation 4."""
    network = cnnatomy.network("resnet-20-cifar")
    module = network.build()
    before = list(module.state_dict())
    handles = stochastic_depth(network.graph(), module, 0.45)
    assert rates(module) == pytest.approx([0.05 * number for number in range(1, 10)])
    assert list(module.state_dict()) == before
    for handle in handles:
        handle.remove()
    assert not rates(module)


class Small(Block):
    """One residual block that triples its input; no parameters."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return Add()(x, Add()(ReLU()(x), ReLU()(x)))


def test_a_branch_is_left_out_for_an_image_or_kept_so_that_the_mean_stays() -> None:
    graph = Graph.trace(Small(), (2, 4, 4))
    module = cnnatomy.design.build.build(graph)
    stochastic_depth(graph, module, 0.3)
    images = torch.rand(20_000, 2, 4, 4) + 0.1
    torch.manual_seed(0)
    ratio = module(images) / images
    of_images = ratio.flatten(1)
    torch.testing.assert_close(of_images.amin(1), of_images.amax(1))
    kept = of_images[:, 0] > 2
    torch.testing.assert_close(of_images[kept, 0], torch.full((int(kept.sum()),), 1 + 2 / 0.7))
    torch.testing.assert_close(of_images[~kept, 0], torch.ones(int((~kept).sum())))
    assert float(of_images.mean()) == pytest.approx(3, abs=0.03)


def test_the_same_seed_leaves_out_the_same_branches_and_evaluation_none() -> None:
    network = cnnatomy.network("preact-resnet-18", classes=4, input=(3, 64, 64))
    module = network.build()
    images = torch.randn(4, 3, 64, 64)
    expected = module.eval()(images)
    stochastic_depth(network.graph(), module, 0.5)
    assert torch.equal(module(images), expected)
    module.train()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(module(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_se_blocks_lose_their_gate_with_their_branch() -> None:
    network = cnnatomy.network("se-resnet-50", classes=4, input=(3, 64, 64))
    module = network.build()
    stochastic_depth(network.graph(), module, 0.5)
    module.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    assert len(rates(module)) == 16


def test_a_network_without_shortcuts_and_a_rate_of_1_are_refused() -> None:
    network = cnnatomy.network("plain-20-cifar")
    with pytest.raises(UserError, match="has no residual branch"):
        stochastic_depth(network.graph(), network.build(), 0.2)
    with pytest.raises(UserError, match="below 1"):
        set_dropout(cnnatomy.network("alexnet-d2l", classes=3).build(), 1.0)
