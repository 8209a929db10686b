"""Narrow places that all information passes, with channels counted by hand."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy import Chain, Network, Residual
from cnnatomy.catalogue.residual.mobilenet_v2 import InvertedResidual
from cnnatomy.critique.waists import narrow_waist
from cnnatomy.design import Block, LinearHead
from cnnatomy.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    LayerNorm,
    MaxPool,
    Permute,
    ReLU,
)
from cnnatomy.layers.layer import Layer
from findings import WELL_DESIGNED, after, chain_on, found, only


def network(*body: Layer | Block) -> Network:
    return Network(tail=Chain(), body=Chain(*body), head=LinearHead(5), input=(3, 16, 16))


def conv(channels: int, kernel: int = 3) -> Chain:
    return Chain(Conv(channels, kernel, padding=kernel // 2), ReLU())


def test_a_waist_is_told_with_what_lies_directly_beside_it() -> None:
    """64 before and after it at its resolution, and 256 after a stride."""
    late = Chain(Conv(256, 3, stride=2, padding=1), ReLU(), conv(256))
    design = Network(conv(64), Chain(conv(5), conv(64), conv(64), late), LinearHead(5), input=(3, 32, 32))
    finding = only(narrow_waist, design)
    assert finding.text.endswith("between 64 channels before and 64 after")


def test_the_squeeze_layers_of_squeezenet_are_bottlenecks() -> None:
    """Fire 3 squeezes 128x55x55 into 16x55x55; fires 3 and 4 widen it to 128 and 256."""
    finding = only(narrow_waist, "squeezenet-1.0")
    assert finding.where == tuple(f"body.fire{i}.conv1" for i in range(2, 10))
    assert finding.quiet
    assert (finding.evidence["narrowest"], finding.evidence["values"]) == (16, 16 * 55 * 55)
    assert finding.evidence["before"] == 128
    bypass, wider = finding.remedies  # the cheap one first
    assert bypass.text == "put a shortcut around each"
    assert wider.after is not None


@pytest.mark.parametrize("name", [*WELL_DESIGNED, "vgg-16", "alexnet", "googlenet", "resnet-18"])
def test_others_have_none(name: str) -> None:
    assert found(narrow_waist, name) == []


def test_a_shortcut_goes_around_a_squeeze_and_making_it_linear_does_not_open_it() -> None:
    def squeezed(squeeze: Chain) -> Chain:
        return Chain(squeeze, conv(16))

    plain = only(narrow_waist, network(conv(16), squeezed(conv(2, 1)), conv(16)))
    assert plain.evidence == {"narrowest": 2, "before": 16, "after": 16, "values": 512, "input": 768, "places": 1}
    around = Residual(squeezed(conv(2, 1)))
    assert found(narrow_waist, network(conv(16), around, conv(16))) == []
    linear = network(conv(16), squeezed(Chain(Conv(2, 1), BatchNorm())), conv(16))
    assert only(narrow_waist, linear).severity == "warning"


def test_a_waist_is_judged_against_its_neighbours_however_large_the_input() -> None:
    """4 channels between 64 and 128, more values than the image has; half of 64 are 32."""
    design = Network(Chain(), Chain(conv(64), conv(4, 1), conv(128)), LinearHead(10), input=(3, 32, 32))
    finding = only(narrow_waist, design)
    assert (finding.severity, finding.where, finding.quiet) == ("warning", ("body.chain2.conv",), False)
    assert (finding.evidence["before"], finding.evidence["after"]) == (64, 128)
    graph = after(finding, design)
    assert [node.layer.channels for node in graph.nodes if isinstance(node.layer, Conv)] == [64, 32, 128]
    assert "linear" not in " ".join(remedy.text for remedy in finding.remedies)


def test_a_waist_in_a_strided_layer_is_one_too() -> None:
    strided = Chain(Conv(4, 3, stride=2, padding=1), BatchNorm(), ReLU())
    assert only(narrow_waist, network(conv(64), strided, conv(128))).where == ("body.chain2.conv",)


def test_all_narrow_layers_in_a_row_are_opened() -> None:
    """12, 16 and 12 channels between 128 and 256 become 64."""
    design = Network(Chain(), Chain(*map(conv, (128, 12, 16, 12, 256))), LinearHead(10), input=(3, 16, 16))
    finding = only(narrow_waist, design)
    assert finding.where == ("body.chain2.conv", "body.chain3.conv", "body.chain4.conv")
    assert (finding.evidence["narrowest"], finding.evidence["before"], finding.evidence["after"]) == (12, 128, 256)
    graph = after(finding, design)
    assert [n.layer.channels for n in graph.nodes if isinstance(n.layer, Conv)][1:4] == [64, 64, 64]


def test_branches_side_by_side_are_no_wider_than_what_all_of_them_pass() -> None:
    """64 and 128 channels into an addition of 128: 128 lie before the waist of 8."""
    down = Residual(conv(128), shortcut=Conv(128, 1))
    finding = only(narrow_waist, network(conv(64), down, conv(8), conv(256)))
    assert (finding.evidence["before"], finding.evidence["after"]) == (128, 256)


@pytest.mark.parametrize("waist", [4, 12])
def test_inverted_residuals_are_judged_by_what_is_between_their_expansions(waist: int) -> None:
    """64, then 4 or 12, then 64 channels, between expansions to 256: half of 64 are 32."""
    blocks = [InvertedResidual(width, expansion=4) for width in (64, 64, waist, 64, 64)]
    design = Network(Conv(32, 3, 2, 1), Chain(*blocks), LinearHead(10), input=(3, 64, 64))
    finding = only(narrow_waist, design)
    assert (finding.severity, finding.quiet, finding.where) == ("warning", False, ("body.block3.conv3",))
    assert (finding.evidence["before"], finding.evidence["after"]) == (64, 64)
    graph = after(finding, design)
    assert next(n for n in graph.nodes if n.path == "body.block3.conv3").output.shape[0] == 32


@pytest.mark.parametrize("widths", [(64, 32, 64), (16, 24, 40), (64, 64, 64)])
def test_bottlenecks_between_expansions_are_none_by_themselves(widths: tuple[int, ...]) -> None:
    blocks = [InvertedResidual(width, expansion=6) for width in widths]
    assert found(narrow_waist, Network(Conv(32, 3, 2, 1), Chain(*blocks), LinearHead(10), input=(3, 64, 64))) == []


def test_a_waist_that_is_narrower_than_the_classes_too_is_one_finding() -> None:
    """4 features between 128 and 64, for 20 classes: opened to 32 they are enough."""
    head = Chain(GlobalAvgPool(), Flatten(), FullyConnected(4), ReLU(), FullyConnected(64), ReLU(), FullyConnected(20))
    finding = only(narrow_waist, Network(conv(128), Chain(), head, input=(3, 8, 8)))
    assert (finding.where, finding.evidence["before"], finding.evidence["after"]) == (("head.fc1",), 128, 64)
    assert finding.remedies[0].text == "widen head.fc1 to 32, half of what lies beside it"


def test_the_squeeze_to_half_between_dense_blocks_is_not_worth_opening() -> None:
    """Half of 332 channels is 166: 164 are as good."""
    assert found(narrow_waist, network(conv(332), conv(164, 1), conv(332))) == []
    assert found(narrow_waist, "msdnet-cifar") == []


def test_a_waist_of_less_than_a_quarter_is_said_where_it_is_asked_for() -> None:
    assert only(narrow_waist, network(conv(24), conv(8, 1), conv(24))).quiet
    assert not only(narrow_waist, network(conv(32), conv(8, 1), conv(32))).quiet
    assert found(narrow_waist, network(conv(16), conv(8, 1), conv(16))) == []


def test_what_gives_an_image_back_may_pass_through_little() -> None:
    layers = Conv(16, 3, padding=1), ReLU(), Conv(2, 3, padding=1), ReLU(), Conv(16, 3, padding=1), ReLU()
    assert found(narrow_waist, chain_on((3, 16, 16), *layers, Conv(3, 3, padding=1))) == []
    assert found(narrow_waist, chain_on((3, 16, 16), *layers, Conv(4, 3, padding=1)))


def test_channels_that_come_last_are_no_waist() -> None:
    turned = Permute((1, 2, 0)), LayerNorm(), Permute((2, 0, 1))
    layers = Conv(64, 4, 4), *turned, Conv(64, 3, padding=1), ReLU(), GlobalAvgPool()
    assert found(narrow_waist, chain_on((3, 32, 32), *layers)) == []


def test_fewer_values_than_classes_cannot_tell_them_apart() -> None:
    body = Chain(conv(8), MaxPool(4), conv(1, 1), AvgPool(4), conv(64, 1))
    finding = only(narrow_waist, Network(Chain(), body, LinearHead(50), input=(3, 16, 16)))
    assert finding.evidence == {"narrowest": 1, "classes": 50}
    assert finding.severity == "warning"


def test_resnet_50_has_none_at_any_size() -> None:
    for side in (64, 128, 224, 320):
        assert found(narrow_waist, cn.network("resnet-50").graph((3, side, side))) == []
