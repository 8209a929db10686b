"""What layers see: fields against objects and input, layers after the border, dropped rows, grids of dilation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy import Chain, Network, Residual, ShapeError
from cnnatomy.analysis import account
from cnnatomy.analysis.coverage import gaps
from cnnatomy.critique import Purpose, Study, critique
from cnnatomy.critique.gridding import gridding
from cnnatomy.critique.sight import small_receptive_field, undivided_sizes, unproductive_layers
from cnnatomy.design import Block, FeatureMap, Graph, LinearHead, MapHead
from cnnatomy.layers import BatchNorm, Concat, Conv, Flatten, FullyConnected, Interpolate, MaxPool, ReLU, Reshape
from findings import WELL_DESIGNED, after, found, only
from helpers import built


def test_vgg_16_sees_212_of_224_pixels_and_resnet_50_all() -> None:
    finding = only(small_receptive_field, "vgg-16")
    assert finding.text == "the last map sees 212x212 pixels; the input has 224x224"
    assert finding.severity == "note"
    assert found(small_receptive_field, "resnet-50") == []


def test_one_more_convolution_at_the_end_of_vgg_16_sees_64_pixels_more() -> None:
    finding = only(small_receptive_field, "vgg-16")
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    assert finding.remedy.after.parameters == 138_357_544 + 512 * 512 * 9 + 512
    study = Study(account(after(finding, "vgg-16")), Purpose())
    assert study.account.fields[study.last_map].size == (276, 276)


def test_before_a_classifier_of_pixels_come_the_convolutions_that_see_more() -> None:
    graph = after(only(small_receptive_field, "squeezenet-1.1"), "squeezenet-1.1")
    assert found(small_receptive_field, graph) == []
    assert sum(node.output.shape[0] == 1000 for node in graph.nodes if isinstance(node.layer, Conv)) == 1


def test_objects_are_what_must_be_seen_if_they_are_known() -> None:
    """ResNet-50 sees 427 pixels, at a position every 32."""
    side = (3, 640, 640)
    assert only(small_receptive_field, "resnet-50", side).severity == "note"
    assert found(small_receptive_field, "resnet-50", side, objects=(32, 400)) == []
    large = only(small_receptive_field, "resnet-50", side, objects=(32, 500))
    assert (large.severity, large.evidence) == ("warning", {"field": [427, 427], "wanted": [500, 500]})
    small = only(small_receptive_field, "resnet-50", side, objects=(24, 400))
    assert (small.severity, small.evidence) == ("note", {"stride": 32.0, "smallest": 24})
    assert small.remedy is not None
    assert small.remedy.text == "take the stride out of the last stage"


def test_a_map_of_pixels_wants_a_position_for_the_smallest_object() -> None:
    net = cn.network("resnet-50").replace(head=MapHead(21), input=(3, 512, 512))
    (finding,) = found(small_receptive_field, net, objects=(24, 400))
    assert finding.severity == "warning"


def test_gates_bring_the_whole_image() -> None:
    assert only(small_receptive_field, "vgg-11").where == ("body.block5.pool5",)
    assert found(small_receptive_field, "se-vgg-11") == []


def test_what_goes_on_as_a_sequence_is_not_judged_by_its_patches() -> None:
    design = Chain(Conv(8, 16, 16), Reshape((8, 196)), FullyConnected(8), Flatten(), FullyConnected(10))
    assert found(small_receptive_field, Graph.trace(design, (3, 224, 224))) == []


MARKED = {
    "vgg-16": ("conv3_3", "conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"),
    "resnet-18": (
        *("layer3.0.conv2", "layer3.1.conv1", "layer3.1.conv2"),
        *("layer4.0.conv1", "layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"),
    ),
    "resnet-50": (
        *("layer3.1.conv2", "layer3.2.conv2", "layer3.3.conv2", "layer3.4.conv2", "layer3.5.conv2"),
        *("layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"),
    ),
}
"""The spatial convolutions of torchvision's networks that rfa-toolbox 1.7.0 calls border layers at 32 pixels:
`obtain_border_layers(create_graph_from_pytorch_model(model), 32)`, by torchvision's names (conv3_3 is features.14).

It marks other nodes too, for the same two reasons (all that they read has seen 32 pixels; the kernel is no smaller than
the map): pools, batch norms, ReLUs and additions, which have no weights to spare, and 1x1 convolutions, which look for
no context. Those it can leave out itself (`filter_kernel_size_1`).
"""


def torchvision_path(path: str) -> str:
    """`body.stage3.block1.conv2` -> `layer3.0.conv2`; `body.block3.conv3_3` -> `conv3_3`."""
    _, stage, *rest = path.split(".")
    if not stage.startswith("stage"):
        return rest[-1]
    return f"layer{stage[5:]}.{int(rest[0].removeprefix('block')) - 1}.{rest[1]}"


@pytest.mark.parametrize("name", MARKED)
def test_unproductive_layers_are_those_that_rfa_toolbox_marks(name: str) -> None:
    finding = only(unproductive_layers, name, (3, 32, 32))
    assert tuple(map(torchvision_path, finding.where)) == MARKED[name]
    assert finding.severity == "warning"


def test_seven_layers_of_vgg_16_hold_this_much() -> None:
    finding = only(unproductive_layers, "vgg-16", (3, 32, 32))
    assert finding.evidence["border"] == 7
    assert finding.evidence["parameters"] == (256 * 256 + 256 * 512 + 5 * 512 * 512) * 9 + 256 + 6 * 512


def test_unproductive_layers_are_told_with_their_cause_alone() -> None:
    small, chain, alone = (
        only(unproductive_layers, name, shape)
        for name, shape in (("resnet-18", (3, 32, 32)), ("plain-56-cifar", None), ("plain-20-cifar", None))
    )
    assert [finding.quiet for finding in (small, chain, alone)] == [False, False, True]
    assert small.under == ("I3", "W15")
    assert [f.rule.code for f in critique(cn.network("plain-56-cifar")) if f.rule.code in ("S2", "W15")] == ["W15"]


def test_no_remedy_of_unproductive_layers_takes_strides_out() -> None:
    for name in ("resnet-18", "vgg-16", "plain-56-cifar"):
        for remedy in only(unproductive_layers, name, (3, 32, 32)).remedies:
            assert "stride out" not in remedy.text


def test_plain_networks_have_unproductive_layers_where_residual_ones_of_the_same_depth_have_none() -> None:
    """He et al. 2015, figure 6: 56 plain layers train to worse accuracy than 20."""
    shares = []
    for depth in (20, 32, 44, 56):
        assert found(unproductive_layers, f"resnet-{depth}-cifar") == []
        shares.append(only(unproductive_layers, f"plain-{depth}-cifar").evidence["border"] / (depth - 1))
    assert shares == sorted(shares)


def test_one_depthwise_layer_of_mobilenet_v1_is_worth_a_note() -> None:
    finding = only(unproductive_layers, "mobilenet-v1-1.0")
    assert (finding.where, finding.severity) == (("body.block13.conv1",), "note")
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    assert finding.remedy.after.parameters == 4_231_976 - 1024 * 9 - 2 * 1024
    after(finding, "mobilenet-v1-1.0")


def test_a_kernel_as_large_as_its_map_counts_only_if_it_reads_padding() -> None:
    def net(last: Conv) -> Network:
        return Network(Conv(8, 3, padding=1), Chain(MaxPool(2), MaxPool(2), last), LinearHead(3), input=(3, 16, 16))

    assert only(unproductive_layers, net(Conv(8, 5, padding=2))).evidence["covering"] == 1
    assert found(unproductive_layers, net(Conv(8, 3, padding=1))) == []
    assert found(unproductive_layers, net(Conv(8, 4))) == []


@given(st.integers(5, 40), st.integers(1, 5), st.integers(2, 4), st.integers(0, 2))
def test_rows_that_a_stride_drops_are_those_without_gradient(n: int, k: int, s: int, p: int) -> None:
    assume(k >= s)
    design = Chain(Conv(1, (k, 1), (s, 1), (p, 0), bias=False), Conv(2, 1), ReLU())
    try:
        graph = Graph.trace(design, (1, n, 2))
        module = built(design, (1, n, 2)).double()
    except ShapeError:
        assume(False)
    assume(graph.nodes[0].output.shape[1] > 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
    x = torch.ones(1, 1, n, 2, dtype=torch.float64, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    read = x.grad[0, 0, :, 0].nonzero().flatten()
    unread = n - 1 - int(read[-1])
    findings = [f for f in found(undivided_sizes, graph, task="classification") if "rows" in f.evidence]
    assert [finding.evidence["rows"] for finding in findings] == [unread] * (unread > 0)


def test_squeezenet_was_made_for_227_pixels_and_drops_a_row_of_224() -> None:
    assert found(undivided_sizes, "squeezenet-1.0") == []
    finding = only(undivided_sizes, "squeezenet-1.0-224")
    assert finding.text == "tail.conv1 leaves 1 row and 1 column of 224x224 unread"
    assert found(undivided_sizes, after(finding, "squeezenet-1.0-224")) == []


def test_a_stride_above_the_kernel_is_no_matter_of_sizes() -> None:
    assert found(undivided_sizes, "resnet-50-v1") == []


def segmentation(side: int) -> Network:
    return cn.network("resnet-18").replace(head=MapHead(21), input=(3, side, side))


def test_what_gives_a_map_wants_an_input_that_its_strides_divide() -> None:
    finding = only(undivided_sizes, segmentation(500))
    assert finding.severity == "warning"
    assert finding.evidence["stride"] == [32, 32]
    assert finding.remedy is not None
    assert finding.remedy.text == "use an input of 512x512"
    assert finding.remedy.after is not None
    assert finding.remedy.after.macs == segmentation(512).account().totals.macs
    assert found(undivided_sizes, segmentation(512)) == []


def test_maps_that_go_down_and_up_again_meet_only_for_multiples_of_the_stride() -> None:
    class UNet(Block):
        def __call__(self, x: FeatureMap) -> FeatureMap:
            fine = Conv(8, 3, padding=1)(x)
            coarse = Conv(16, 3, padding=1)(MaxPool(2)(MaxPool(2)(fine)))
            return Concat()(fine, Interpolate(4)(coarse))

    net = Network(Chain(), UNet(), Conv(3, 1), input=(3, 32, 32))
    finding = only(undivided_sizes, net)
    assert (finding.severity, finding.evidence) == ("note", {"multiple": 4})
    with pytest.raises(ShapeError):
        net.graph((3, 33, 33))


def dilated(*dilations: int) -> Graph:
    return Graph.trace(Chain(*[Conv(4, 3, padding=d, dilation=d) for d in dilations]), (3, 40, 40))


def test_three_convolutions_of_dilation_2_read_49_of_169_positions() -> None:
    finding = only(gridding, dilated(2, 2, 2))
    assert finding.text == "chain.conv3 reads 7x7 of 13x13 positions of what chain.conv1 reads: 71% of them are skipped"
    assert finding.evidence == {"read": [7, 7], "span": [13, 13], "unread": pytest.approx(1 - 49 / 169)}
    assert finding.where == ("chain.conv1", "chain.conv2", "chain.conv3")


@pytest.mark.parametrize("dilations", [(1, 2, 5), (1, 2), (2, 1), (1, 1, 1)])
def test_dilations_without_a_common_factor_read_every_position(dilations: tuple[int, ...]) -> None:
    assert found(gridding, dilated(*dilations)) == []


def test_hybrid_dilation_costs_the_same_and_leaves_no_hole() -> None:
    net = Network(Chain(), Chain(*[Conv(4, 3, padding=2, dilation=2) for _ in range(3)]), Conv(2, 1), input=(3, 40, 40))
    finding = only(gridding, net)
    graph = after(finding, net)
    assert gaps(graph) == []
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    assert finding.remedy.after.macs == net.account().totals.macs


def test_a_shortcut_does_not_fill_holes_and_a_convolution_without_dilation_does() -> None:
    def block(dilation: int) -> Residual:
        return Residual(Chain(Conv(3, 3, padding=dilation, dilation=dilation), BatchNorm()))

    assert len(found(gridding, Graph.trace(Chain(block(2), block(2), block(2)), (3, 40, 40)))) == 1
    assert found(gridding, Graph.trace(Chain(block(2), block(2), block(1)), (3, 40, 40))) == []


@pytest.mark.parametrize("name", WELL_DESIGNED)
def test_well_designed_networks_see_as_they_should(name: str) -> None:
    graph = cn.network(name).graph()
    rules = (small_receptive_field, unproductive_layers, undivided_sizes, gridding)
    assert [finding for rule in rules for finding in found(rule, graph) if not finding.quiet] == []
