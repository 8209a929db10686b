"""Widths at each resolution: they grow as the maps become smaller; MACs by hand."""

from __future__ import annotations

import pytest

from cnnatomy import Chain, Network, Residual
from cnnatomy.catalogue.residual.mobilenet_v2 import InvertedResidual
from cnnatomy.critique.budget import balance
from cnnatomy.critique.causes import folded
from cnnatomy.critique.rule import Rule
from cnnatomy.critique.widths import flat_width, shrinking_width
from cnnatomy.design import Block, LinearHead
from cnnatomy.edits.change import Cost
from cnnatomy.layers import AvgPool, BatchNorm, Conv, DepthwiseConv, Interpolate, MaxPool, ReLU
from cnnatomy.layers.layer import Layer
from findings import WELL_DESIGNED, after, found, only


def strided(*widths: int, side: int = 64) -> Network:
    """A convolution of stride 2 to each of these widths, the first at half of the side."""
    steps = [Chain(Conv(width, 3, 2, 1), BatchNorm(), ReLU()) for width in widths]
    return Network(steps[0], Chain(*steps[1:]), LinearHead(10), input=(3, side, side))


def residual(*widths: int) -> Network:
    """Blocks with a projection, each at half the side of the one before."""

    def block(width: int) -> Block:
        branch = Chain(Conv(width, 3, 2, 1), BatchNorm(), ReLU(), Conv(width, 3, padding=1), BatchNorm())
        return Residual(branch, shortcut=Chain(AvgPool(2), Conv(width, 1), BatchNorm()), after=ReLU())

    tail = Chain(Conv(widths[0], 3, padding=1), BatchNorm(), ReLU())
    return Network(tail, Chain(*map(block, widths[1:])), LinearHead(10), input=(3, 64, 64))


@pytest.mark.parametrize("rule", [flat_width, shrinking_width], ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    "name",
    [
        *(*WELL_DESIGNED, "vgg-16", "alexnet", "googlenet", "lenet-5", "squeezenet-1.0", "mobilenet-v1-0.25"),
        *("resnet-20-cifar", "densenet-264", "shufflenet-g3", "nasnet-a-mobile", "msdnet-cifar"),
    ],
)
def test_the_classics_grow_wider_as_their_maps_become_smaller(rule: Rule, name: str) -> None:
    assert found(rule, name) == []


@pytest.mark.parametrize("make", [strided, residual])
def test_one_width_through_all_strides_is_too_little(make) -> None:
    finding = only(flat_width, make(64, 64, 64, 64))
    assert (finding.severity, finding.evidence["halvings"]) == ("warning", 3)
    assert finding.evidence["widths"] == [64, 64, 64, 64]
    assert found(flat_width, make(64, 128, 256, 512)) == []


def test_the_width_that_doubles_costs_no_more_macs() -> None:
    """16, 32, 64 and 128 channels at 32, 16, 8 and 4 a side, or half or twice as many."""
    design = strided(64, 64, 64, 64)
    finding = only(flat_width, design)
    graph = after(finding, design)
    assert [node.layer.channels for node in graph.nodes if isinstance(node.layer, Conv)] == [16, 32, 64, 128]
    conv = 32**2 * 27 * 16 + 16**2 * 144 * 32 + 8**2 * 288 * 64 + 4**2 * 576 * 128
    assert finding.remedies[0].after.macs == conv + 128 * 10
    assert "16 at 32x32, 32 at 16x16, 64 at 8x8, 128 at 4x4" in finding.remedies[0].text
    assert all(remedy.after.macs <= design.account().totals.macs for remedy in finding.remedies)


def test_one_width_after_a_narrow_tail_is_as_flat() -> None:
    assert only(flat_width, strided(32, 64, 64, 64, 64)).severity == "warning"


@pytest.mark.parametrize(
    ("widths", "severity"),
    [((64, 128, 256, 512, 512, 512, 512), None), ((32, 64, 128, 128, 128, 128), "note"), ((32, 64, 64), None)],
)
def test_one_width_at_the_end_is_usual(widths: tuple[int, ...], severity: str | None) -> None:
    assert [finding.severity for finding in found(flat_width, strided(*widths, side=256))] == [severity] * bool(
        severity
    )


def test_depthwise_layers_follow_the_width_of_what_they_read() -> None:
    steps = [Chain(DepthwiseConv(3, 2, 1), ReLU(), Conv(64, 1), ReLU()) for _ in range(3)]
    design = Network(Conv(64, 3, 2, 1), Chain(ReLU(), *steps), LinearHead(10), input=(3, 64, 64))
    finding = only(flat_width, design)
    assert "128 at 4x4" in finding.remedies[0].text
    assert after(finding, design).nodes[-1].inputs[0].shape == (128,)


def test_a_doubling_is_a_doubling_and_the_wide_one_is_dear() -> None:
    """96 channels at 4 sizes: a half, 48, doubles to 384; 12 would be too few, and 16 doubles to 128."""
    stages = [layer for _ in range(4) for layer in (Conv(96, 3, padding=1), ReLU(), Conv(96, 3, padding=1), MaxPool(2))]
    design = Network(Chain(), Chain(*stages[:-1]), LinearHead(10), input=(3, 32, 32))
    second, first = only(flat_width, design).remedies
    assert "48 at 32x32, 96 at 16x16, 192 at 8x8, 384 at 4x4" in first.text
    assert first.is_dear(Cost.of(design.account()))
    assert "16 at 32x32, 32 at 16x16, 64 at 8x8, 128 at 4x4" in second.text


def test_a_depthwise_layer_is_as_wide_as_what_it_reads_and_its_stage_is_not() -> None:
    steps = [Chain(DepthwiseConv(3, 2, 1), ReLU(), Conv(width, 1), ReLU()) for width in (128, 64, 32)]
    design = Network(Conv(256, 3, 2, 1), Chain(ReLU(), *steps), LinearHead(10), input=(3, 64, 64))
    finding = only(shrinking_width, design)
    assert "256 at 32x32, 128 at 16x16, 64 at 8x8, 32 at 4x4" in finding.text
    assert finding.evidence["shrinks"] == 8


def test_patches_of_one_resolution_have_one_width() -> None:
    blocks = Chain(*[Chain(Conv(64, 3, padding=1), ReLU()) for _ in range(4)])
    design = Network(Conv(64, 8, 8), Chain(ReLU(), blocks), LinearHead(10), input=(3, 224, 224))
    assert found(flat_width, design) == []


@pytest.mark.parametrize("make", [strided, residual])
def test_channels_that_become_fewer_throw_information_away(make) -> None:
    finding = only(shrinking_width, make(256, 128, 64))
    assert (finding.severity, finding.evidence["widths"], finding.evidence["shrinks"]) == ("warning", [256, 128, 64], 4)
    assert found(flat_width, make(256, 128, 64)) == []
    assert found(shrinking_width, make(64, 128, 256)) == []
    after(finding, make(256, 128, 64))


def test_the_same_widths_in_rising_order_are_cheaper() -> None:
    design = strided(256, 128, 64)
    graph = after(only(shrinking_width, design), design)
    assert [node.layer.channels for node in graph.nodes if isinstance(node.layer, Conv)] == [64, 128, 256]


HALVING, NOTHING = MaxPool(2), Chain()


def pooled(*widths: int, pool: Layer = HALVING, last: Chain = NOTHING) -> Network:
    """A convolution to each of these widths, a pool before each but the first."""
    steps = [Chain(pool, Conv(width, 3, padding=1), BatchNorm(), ReLU()) for width in widths[1:]]
    return Network(Conv(widths[0], 3, padding=1), Chain(ReLU(), *steps, last), LinearHead(10), input=(3, 64, 64))


@pytest.mark.parametrize("pool", [HALVING, AvgPool(2)], ids=repr)
def test_what_a_pool_passes_on_is_not_made_at_its_resolution(pool: Layer) -> None:
    finding = only(shrinking_width, pooled(128, 64, 32, pool=pool))
    assert (finding.evidence["widths"], finding.where) == ([128, 64, 32], ("body.chain1.conv", "body.chain2.conv"))
    assert found(shrinking_width, pooled(32, 64, 128, pool=pool)) == []


def test_a_width_that_falls_little_by_little_falls() -> None:
    """48 to 36 to 27 to 20: each 3/4 of the one before; 27 is less than 48 / 1.5."""
    assert only(shrinking_width, pooled(48, 36, 27, 20)).where == ("body.chain2.conv", "body.chain3.conv")


def test_what_a_last_1x1_convolution_widens_is_no_more_than_it_reads() -> None:
    widened = Chain(Conv(256, 1), BatchNorm(), ReLU())
    design = pooled(128, 64, 32, last=widened)
    finding = only(shrinking_width, design)
    assert finding.evidence["widths"] == [128, 64, 32]
    graph = after(finding, design)
    assert [node.layer.channels for node in graph.nodes if isinstance(node.layer, Conv)] == [32, 64, 128, 256]
    assert found(flat_width, pooled(32, 64, 128, last=widened)) == []


def test_inverted_residuals_carry_what_is_between_their_expansions() -> None:
    """Expansions of 4 times 96, 64 and 48 channels."""

    def falling(*widths: int) -> Network:
        blocks = [InvertedResidual(width, expansion=4, stride=2) for width in widths[1:]]
        return Network(Conv(widths[0], 3, 2, 1), Chain(ReLU(), *blocks), LinearHead(10), input=(3, 128, 128))

    assert only(shrinking_width, falling(96, 64, 48, 32)).evidence["widths"] == [96, 64, 48, 32]
    assert only(flat_width, falling(64, 64, 64, 64)).evidence["widths"] == [64] * 4
    assert found(shrinking_width, falling(16, 24, 40, 80)) == found(flat_width, falling(16, 24, 40, 80)) == []


def test_a_little_less_and_less_before_more_are_no_matter_for_it() -> None:
    assert found(shrinking_width, strided(64, 48, 48)) == []
    assert found(shrinking_width, strided(128, 64, 256)) == []


@pytest.mark.parametrize("rule", [flat_width, shrinking_width], ids=lambda rule: rule.name)
def test_what_narrows_at_one_resolution_or_enlarges_again_is_left_to_others(rule: Rule) -> None:
    fat = Chain(Conv(256, 3, padding=1), ReLU(), Conv(64, 3, padding=1), ReLU(), MaxPool(2))
    body = Chain(Conv(128, 3, 2, 1), ReLU(), Conv(256, 3, 2, 1), ReLU())
    assert found(rule, Network(fat, body, LinearHead(10), input=(3, 64, 64))) == []
    narrow = Chain(Conv(64, 3, 2, 1), ReLU(), Conv(32, 3, 2, 1), ReLU(), Conv(16, 3, 2, 1), ReLU())
    decoder = Chain(Interpolate(8), Conv(5, 1))
    assert found(rule, Network(Conv(64, 3, padding=1), narrow, decoder, input=(3, 64, 64))) == []


def test_arithmetic_at_the_beginning_is_told_with_a_width_that_falls() -> None:
    """(27 + 2,304) x 256 x 4,096 MACs at 64x64, 2,304 x 128 x 1,024 at 32x32: 88 % of all are at 64x64."""
    falling = pooled(256, 128, 64, 32)
    tail = Chain(Conv(256, 3, padding=1), ReLU(), falling.tail)
    graph = Network(tail, falling.body, falling.head, input=(3, 64, 64)).graph()
    (finding,) = folded([*found(shrinking_width, graph), *found(balance, graph)], [True, True])
    assert [one.rule for one in finding.consequences] == [balance]
