"""What a down-sampling loses, with volumes counted by hand."""

from __future__ import annotations

import pytest

from cnnatomy import Chain, Network
from cnnatomy.critique.down_sampling import lossy_down_sampling
from cnnatomy.design import Block, LinearHead
from cnnatomy.layers import (
    Conv,
    MaxPool,
    ReLU,
)
from cnnatomy.layers.layer import Layer
from findings import after, found, only


def network(*body: Layer | Block) -> Network:
    return Network(tail=Chain(), body=Chain(*body), head=LinearHead(5), input=(3, 16, 16))


def conv(channels: int, kernel: int = 3) -> Chain:
    return Chain(Conv(channels, kernel, padding=kernel // 2), ReLU())


def test_channels_that_grow_after_the_pool_hold_no_more_than_it_let_through() -> None:
    """768 values come in; 8x16x16 are pooled to 8x8x8 = 512, from which 32x8x8 = 2,048 are made."""
    design = network(conv(8), MaxPool(2), conv(32), conv(32))
    finding = only(lossy_down_sampling, design)
    assert finding.where == ("body.pool",)
    assert finding.evidence == {"before": 768, "after": 512, "later": 2048}
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    grown = (27 * 16 + 16) + (9 * 16 * 32 + 32) + (9 * 32 * 32 + 32) + (32 * 5 + 5)
    assert finding.remedy.after.parameters == grown
    after(finding, design)


def test_a_volume_may_halve_and_no_more() -> None:
    """Of 768 values 4x8x8 = 256 are left: a third."""
    finding = only(lossy_down_sampling, network(conv(4), MaxPool(2), conv(4), conv(4)))
    assert finding.evidence == {"before": 768, "after": 256, "shrinks": 3.0, "usual": 2.0}
    assert finding.quiet  # neighbouring pixels of an image say nearly the same
    assert found(lossy_down_sampling, network(conv(6), MaxPool(2), conv(6))) == []  # 384


def test_a_pool_that_leaves_a_quarter_of_what_was_left_is_a_loss() -> None:
    """8x8x8 = 512 of 768 values are left, and then 8x4x4 = 128 of these; VGG grows right after its pools."""
    design = network(conv(8), MaxPool(2), conv(8), MaxPool(2), conv(16))
    assert all(finding.quiet for finding in found(lossy_down_sampling, design))
    design = network(conv(8), MaxPool(2), conv(8), MaxPool(2), conv(8), MaxPool(2), conv(16))
    finding = next(f for f in found(lossy_down_sampling, design) if not f.quiet)
    assert (finding.where, finding.evidence["shrinks"]) == (("body.pool2",), 4.0)


def lost(*widths: int, side: int = 16) -> list[bool]:
    """Whether what is found of stages of these widths, each halved by a stride, is told unasked."""
    body = Chain(*[Chain(Conv(width, 3, stride=2, padding=1), ReLU(), conv(width)) for width in widths[1:]])
    design = Network(conv(widths[0]), body, LinearHead(5), input=(3, side, side))
    return [not finding.quiet for finding in found(lossy_down_sampling, design)]


def test_a_loss_is_told_where_the_width_stays_and_twice_of_it_is_no_more_than_the_next_level_has() -> None:
    """8 channels stay 8 at 4x4; 12 of 8 have grown; before 16 there is room for 16, before 12 there is none."""
    assert lost(8, 8, 8, 16, 16) == [True]
    assert lost(8, 8, 12, 24, 24) == [False]
    assert lost(8, 8, 8, 12, 12) == [False]


def test_what_is_usual_is_a_half_for_each_halving() -> None:
    design = Network(Chain(), Chain(conv(8), MaxPool(4), conv(8), conv(8)), LinearHead(5), input=(3, 32, 32))
    (finding,) = [f for f in found(lossy_down_sampling, design) if "shrinks" in f.evidence]
    assert finding.text.endswith("1/6.0; 1/2 is usual for each halving of the sides")  # 3,072 to 8x8x8


def test_odd_sizes_do_not_count_as_loss() -> None:
    design = Network(Chain(), Chain(conv(6), MaxPool(2), conv(6)), LinearHead(5), input=(3, 15, 15))
    assert 3 * 15 * 15 / (6 * 7 * 7) > 2
    assert found(lossy_down_sampling, design) == []


def test_odd_sizes_that_are_rounded_up_lose_what_they_lose() -> None:
    """31x7x7 = 1,519 values come in, 48x4x4 = 768 are left: more than half."""
    design = Network(Chain(), Chain(conv(48), MaxPool(3, 2, 1), conv(48)), LinearHead(5), input=(31, 7, 7))
    assert found(lossy_down_sampling, design) == []


def test_the_pool_before_the_head_may_take_what_it_likes() -> None:
    assert found(lossy_down_sampling, network(conv(4), MaxPool(2))) == []


@pytest.mark.parametrize(
    "name", ["vgg-16", "resnet-18", "resnet-50", "preact-resnet-50", "se-resnet-50", "mobilenet-v2"]
)
def test_vgg_and_residual_networks_widen_when_they_down_sample(name: str) -> None:
    assert found(lossy_down_sampling, name) == []


def test_alexnet_pools_more_than_half_of_the_image_away() -> None:
    """3x227x227 = 154,587 values, 96x27x27 = 69,984 after the first pool, where 55 rows become 27."""
    finding = only(lossy_down_sampling, "alexnet")
    assert finding.where == ("tail.pool1",)
    assert (finding.evidence["before"], finding.evidence["after"]) == (154_587, 69_984)
    assert finding.evidence["shrinks"] == pytest.approx(154_587 / 69_984)
    assert finding.severity == "note"


def test_mobilenet_v1_strides_in_the_depthwise_layer_and_grows_in_the_pointwise_one() -> None:
    finding = only(lossy_down_sampling, "mobilenet-v1-1.0")
    assert finding.where == ("body.block4.conv1", "body.block6.conv1", "body.block12.conv1")


def test_densenet_compresses_before_it_pools() -> None:
    finding = only(lossy_down_sampling, "densenet-121")
    assert [path.partition(".pool")[0] for path in finding.where] == [f"body.transition{i}" for i in (1, 2, 3)]
