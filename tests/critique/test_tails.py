"""The tail: too timid, too fast, and what is neither; MACs by hand."""

from __future__ import annotations

import pytest

from cnnatomy import Chain, Network, Residual
from cnnatomy.critique.tails import tail
from cnnatomy.design import Graph, LinearHead
from cnnatomy.edits.change import changed
from cnnatomy.layers import AvgPool, Conv, Flatten, FullyConnected, GlobalAvgPool, MaxPool, ReLU
from findings import after, chain_on, found, only

MODERN = ("resnet-50", "preact-resnet-50", "mobilenet-v2", "densenet-121", "se-resnet-50", "resnext-50-32x4d")


def chain(*layers, shape) -> Graph:
    return chain_on(shape, *layers)


@pytest.mark.parametrize("name", MODERN)
def test_modern_networks_have_good_tails(name):
    assert found(tail, name) == []


def test_vgg_spends_its_macs_on_large_maps():
    (finding,) = found(tail, "vgg-16")
    first, second = 224**2 * (27 * 64 + 576 * 64), 112**2 * (576 * 128 + 1152 * 128)
    assert finding.evidence["macs"] == first + second == 4_710_924_288
    assert finding.evidence["share"] == pytest.approx(0.3045, abs=1e-4)
    assert finding.remedy.text == "give tail.conv1_1 a stride of 2 and leave out body.block2.pool2"
    after(finding, "vgg-16")
    assert (finding.severity, len(finding.where)) == ("warning", 4)


def test_what_saves_half_of_a_quarter_of_the_macs_of_vgg_19_is_worth_saying():
    """Its first four convolutions, on maps of a quarter of the pixels; pool2 is left out, so that the others stay."""
    (finding,) = found(tail, "vgg-19")
    first, second = 224**2 * (27 * 64 + 576 * 64), 112**2 * (576 * 128 + 1152 * 128)
    assert finding.remedy.text == "give tail.conv1_1 a stride of 2 and leave out body.block2.pool2"
    assert finding.remedy.after.macs == 19_632_062_464 - (first + second) * 3 // 4
    assert not finding.quiet


def test_squeezenet_1_1_improved_the_tail_of_squeezenet_1_0():
    assert only(tail, "squeezenet-1.0").quiet  # its 21% are at half of the size of the image
    assert not found(tail, "squeezenet-1.1")


def test_alexnet_reduces_by_8_with_one_layer_and_zfnet_does_not():
    (finding,) = found(tail, "alexnet")
    assert finding.where == ("tail.conv1", "tail.pool1")
    assert (finding.evidence["before"], finding.evidence["after"]) == ((3, 227, 227), (96, 27, 27))
    assert "1.4% of the pixels and 45% of the values" in finding.text
    assert finding.severity == "warning"
    assert not found(tail, "zfnet")


def test_patches_that_keep_all_values_are_no_hasty_tail():
    patches = chain(Conv(768, 16, stride=16), ReLU(), GlobalAvgPool(), shape=(3, 224, 224))
    assert not found(tail, patches)
    assert found(tail, chain(Conv(64, 16, stride=16), ReLU(), GlobalAvgPool(), shape=(3, 224, 224)))


def test_a_pool_of_8x8_in_the_body_is_hasty_and_a_global_one_is_not():
    layers = Conv(64, 3, padding=1), Conv(64, 3, padding=1)
    (finding,) = found(tail, chain(*layers, AvgPool(8), Conv(64, 1), shape=(3, 64, 64)))
    assert (finding.where, finding.severity) == (("pool",), "warning")
    assert (finding.evidence["before"], finding.evidence["after"]) == ((64, 64, 64), (64, 8, 8))
    assert not found(tail, chain(*layers, GlobalAvgPool(), Conv(64, 1), shape=(3, 64, 64)))
    assert not found(tail, chain(*layers, AvgPool(8), ReLU(), Flatten(), FullyConnected(5), shape=(3, 64, 64)))
    assert not found(tail, chain(*layers, AvgPool(2), Conv(64, 1), AvgPool(2), Conv(64, 1), shape=(3, 64, 64)))


@pytest.mark.parametrize("pool", [MaxPool(4), MaxPool(6), AvgPool(5), MaxPool(7, 4, 3)])
def test_a_pool_that_takes_a_map_of_the_body_by_4_a_side_is_hasty(pool):
    stages = Conv(32, 3, stride=2, padding=1), ReLU(), Conv(64, 3, padding=1), ReLU(), pool, Conv(256, 3, padding=1)
    finding = only(tail, chain(*stages, ReLU(), GlobalAvgPool(), shape=(3, 96, 96)))
    assert (finding.where, finding.severity) == (("pool1",), "warning")
    assert finding.evidence["before"] == (64, 48, 48)


def test_a_pool_of_3_or_one_for_the_head_or_one_that_leaves_a_quarter_is_not_hasty():
    start = Conv(32, 3, stride=2, padding=1), ReLU(), Conv(64, 3, padding=1), ReLU()
    assert not found(tail, chain(*start, MaxPool(3), Conv(64, 3), ReLU(), GlobalAvgPool(), shape=(3, 96, 96)))
    assert not found(tail, chain(*start, MaxPool(6), Flatten(), FullyConnected(9), shape=(3, 96, 96)))
    grown = Conv(512, 3, stride=4, padding=1), ReLU(), Conv(512, 3, padding=1), ReLU()  # 512 of 16 * 64
    assert not found(tail, chain(*start, *grown, GlobalAvgPool(), shape=(3, 96, 96)))


@pytest.mark.parametrize(("patch", "side", "hasty"), [(8, 64, True), (6, 48, True), (4, 32, False), (8, 96, False)])
def test_patches_of_more_than_4_that_leave_few_positions_are_hasty(patch, side, hasty):
    layers = Conv(192, patch, stride=patch), ReLU(), Conv(192, 3, padding=1), ReLU(), GlobalAvgPool(), Flatten()
    assert bool(found(tail, chain(*layers, FullyConnected(10), shape=(3, side, side)))) is hasty


def fat(first: int, second: int, side: int) -> Network:
    steps = []
    for width in (second, 2 * second, 4 * second, 8 * second):
        steps += [Conv(width, 3, stride=2, padding=1), ReLU(), *(Conv(width, 3, padding=1), ReLU()) * 3]
    return Network(
        Chain(Conv(first, 3, padding=1), ReLU(), MaxPool(2)), Chain(*steps), LinearHead(30), input=(3, side, side)
    )


def test_a_first_layer_three_times_as_wide_as_the_next_level_is_fat_whatever_its_macs():
    """192x224x224 values, a quarter of them pooled; 64 channels follow, of which the rest of the network is made."""
    plain = fat(192, 64, 224).graph()
    finding = next(f for f in found(tail, plain) if not f.quiet)
    assert (finding.where, finding.severity) == (("tail.conv",), "warning")
    assert finding.evidence == {"map": (192, 224, 224), "next": 64, "largest_after": 192 * 112 * 112}
    assert "from 192 to 64 channels" in finding.remedies[0].text
    assert "a stride of 2" in finding.remedies[0].text
    assert finding.remedies[0].change is not None
    graph = changed(plain, finding.remedies[0].change)
    assert graph.nodes[0].output.shape == (64, 112, 112)
    assert not [f for f in found(tail, graph) if not f.quiet]


def test_a_first_layer_as_wide_as_the_next_level_or_on_a_small_input_is_not_fat():
    for design in (fat(64, 64, 224), fat(192, 64, 96)):
        assert not [f for f in found(tail, design) if "largest_after" in f.evidence]


def test_a_pool_of_8x8_after_a_residual_block_is_hasty_too():
    block = Residual(Chain(Conv(64, 3, padding=1), ReLU(), Conv(64, 3, padding=1)), after=ReLU())
    body = Chain(block, MaxPool(8), Conv(128, 3, padding=1), ReLU())
    design = Network(Conv(64, 3, padding=1), body, LinearHead(10), input=(3, 64, 64))
    finding = only(tail, design)
    assert (finding.where, finding.severity) == (("body.pool",), "warning")
    graph = after(finding, design)
    assert [node.output.shape for node in graph.nodes if node.path.startswith("body.conv")][2] == (64, 8, 8)


def test_a_stride_of_8_in_the_first_layer_is_a_warning_and_three_of_2_cost_little():
    """27 x 16 MACs at 112x112, 144 x 32 at 56x56 and 288 x 64 at 28x28, in place of 147 x 64 at 28x28."""
    body = Chain(ReLU(), Conv(128, 3, 2, 1), ReLU(), Conv(256, 3, 2, 1), ReLU())
    design = Network(Conv(64, 7, 8, 3), body, LinearHead(10), input=(3, 224, 224))
    finding = only(tail, design)
    assert (finding.where, finding.severity) == (("tail",), "warning")
    more = 112**2 * 27 * 16 + 56**2 * 144 * 32 + 28**2 * 288 * 64 - 28**2 * 147 * 64
    assert finding.remedy.after.macs == design.account().totals.macs + more
    after(finding, design)


def test_a_fat_first_layer_is_better_strided_or_narrowed():
    fat = Chain(Conv(256, 3, padding=1), ReLU(), Conv(64, 3, padding=1), ReLU(), MaxPool(2))
    body = Chain(Conv(128, 3, 2, 1), ReLU(), Conv(256, 3, 2, 1), ReLU())
    design = Network(fat, body, LinearHead(10), input=(3, 224, 224))
    finding = only(tail, design)
    assert (finding.severity, finding.where) == ("warning", ("tail.conv1", "tail.conv2"))
    assert [one.text for one in finding.remedies] == [
        "give tail.conv1 a stride of 2 and leave out tail.pool",
        "narrow tail.conv1 from 256 to 64 channels",
    ]
    graph = after(finding, design)
    assert [node.output.shape[1:] for node in graph.nodes if node.path.startswith("body.conv")] == [(56, 56), (28, 28)]


def test_small_images_need_no_tail():
    assert not found(tail, "resnet-20-cifar")
    assert not found(tail, chain(Conv(64, 3, padding=1), Conv(64, 3, padding=1), GlobalAvgPool(), shape=(3, 64, 64)))


def test_where_pixels_are_the_output_half_of_the_macs_may_be_on_large_maps():
    def u_net(deep: int) -> Graph:
        return chain(
            *(Conv(32, 3, padding=1), AvgPool(4), Conv(deep, 3, padding=1), Conv(32, 3, padding=1)),
            shape=(32, 512, 512),
        )

    at_512, at_128 = 512**2 * 9 * 32 * 32, 128**2 * 2 * 9 * 32
    assert at_512 > 0.5 * (at_512 + at_128 * 128)
    assert found(tail, u_net(128), task="segmentation")
    assert at_512 < 0.5 * (at_512 + at_128 * 512)
    assert not found(tail, u_net(512), task="segmentation")
    assert found(tail, u_net(512), task="classification")
