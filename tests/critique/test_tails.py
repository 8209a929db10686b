"""The tail: too timid, too fast, and what is neither; MACs by hand."""

from __future__ import annotations

import pytest

from cnnatomy import Chain, Network, Residual
from cnnatomy.critique.tails import tail
from cnnatomy.design import Graph, LinearHead
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
    assert not found(tail, chain(*layers, AvgPool(2), Conv(64, 1), AvgPool(4), Conv(64, 1), shape=(3, 64, 64)))


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
