"""What layers see: fields against objects and input, and layers after the border."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy import Chain, Network
from cnnatomy.analysis import account
from cnnatomy.critique import Purpose, Study, critique
from cnnatomy.critique.dilation import gridding
from cnnatomy.critique.enlargement import enlarged_at_once
from cnnatomy.critique.shortcuts import no_shortcuts
from cnnatomy.critique.sight import small_receptive_field, unproductive_layers
from cnnatomy.critique.sizes import undivided_sizes
from cnnatomy.design import Graph, LinearHead, MapHead
from cnnatomy.layers import BatchNorm, Conv, DepthwiseConv, Flatten, FullyConnected, Interpolate, MaxPool, ReLU, Reshape
from cnnatomy.layers.layer import Layer
from findings import WELL_DESIGNED, after, found, only


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
    small = critique(cn.network("resnet-18", input=(3, 32, 32)))
    told = {cause.rule.code: [one.rule.code for one in cause.consequences] for cause in small}
    assert "S2" in told["I3"]
    told = {f.rule.code: [one.rule.code for one in f.consequences] for f in critique(cn.network("plain-56-cifar"))}
    assert "S2" in told["W15"]
    assert only(unproductive_layers, "plain-20-cifar").quiet
    assert not critique(cn.network("plain-20-cifar"), rules=[unproductive_layers])


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


def glimpse(*layers: Layer) -> Network:
    """A stem of stride 2 and 3x3 convolutions, 1x1 between and after them, as many as see 23 pixels."""
    body = (*conv(64, 1), *conv(64, 3), *conv(128, 3, 2), *conv(256, 3, 2), *conv(256, 1), *conv(256, 1))
    return Network(Chain(*conv(64, 3, 2)), Chain(*body, *layers), LinearHead(10), input=(3, 224, 224))


def conv(channels: int, kernel: int, stride: int = 1) -> tuple[Layer, ...]:
    return Conv(channels, kernel, stride, kernel // 2, bias=False), BatchNorm(), ReLU()


def test_less_than_half_of_the_input_is_a_warning_and_less_than_all_for_those_who_ask() -> None:
    """3, at a stride of 2 then 7, 11 at 4, 19 at 8."""
    finding = only(small_receptive_field, glimpse())
    assert (finding.severity, finding.quiet) == ("warning", False)
    assert finding.text == "the last map sees 19x19 pixels; the input has 224x224"
    asked = only(small_receptive_field, "vgg-11")
    assert (asked.severity, asked.quiet) == ("note", True)


def test_sampling_down_more_is_the_cheap_way_to_see_more() -> None:
    net = glimpse()
    finding = only(small_receptive_field, net)
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("sample down 2 more times, by 2x2 max pools after tail.relu and body.relu3")
    assert finding.remedy.after is not None
    assert finding.remedy.after.macs < net.account().totals.macs / 2
    seen = Study(account(after(finding, net)), Purpose()).account
    assert f"to see {seen.fields[Study(seen, Purpose()).last_map].size[0]}x" in finding.remedy.text


def test_3x3_in_place_of_1x1_comes_first() -> None:
    """3x3 at strides of 2, 4, 8 and 16 sees 31; the last 1x1, at 16, as a 3x3 32 more: a pixel less than half."""
    body = [layer for width in (64, 128, 256) for layer in (*conv(width, 3, 2), *conv(width, 1))]
    net = Network(Chain(*conv(32, 3, 2), *conv(32, 1)), Chain(*body), LinearHead(15), input=(3, 128, 128))
    finding = only(small_receptive_field, net)
    assert finding.text == "the last map sees 31x31 pixels; the input has 128x128"
    assert finding.remedies[0].text == "put 3x3 in place of the 1x1 of body.conv6, to see 63x63 pixels"
    seen = Study(account(after(finding, net)), Purpose()).account
    assert seen.fields[Study(seen, Purpose()).last_map].size == (63, 63)


def test_the_1x1_of_a_separable_convolution_stays_one() -> None:
    def separable(width: int) -> tuple[Layer, ...]:
        return DepthwiseConv(3, 2, 1, bias=False), BatchNorm(), ReLU(), *conv(width, 1)

    net = Network(Chain(*conv(32, 3, 2)), Chain(*separable(64), *separable(64)), LinearHead(15), input=(3, 128, 128))
    assert not any("in place of the 1x1" in way.text for way in only(small_receptive_field, net).remedies)


def test_what_works_on_textures_need_not_see_much() -> None:
    """SRCNN sees 13 pixels."""
    layers = (*conv(64, 9), *conv(32, 1), Conv(12, 5, padding=2), Interpolate(2))
    assert all(f.quiet for f in found(small_receptive_field, Graph.trace(Chain(*layers), (3, 64, 64))))


@pytest.mark.parametrize("name", WELL_DESIGNED)
def test_well_designed_networks_see_as_they_should(name: str) -> None:
    graph = cn.network(name).graph()
    rules = (small_receptive_field, unproductive_layers, undivided_sizes, gridding, enlarged_at_once, no_shortcuts)
    assert [finding for rule in rules for finding in found(rule, graph) if not finding.quiet] == []


def plain(*channels: int, side: int) -> Network:
    """3x3 convolutions without a stride: each sees 2 pixels more than the one before."""
    first, *rest = channels
    body = [layer for width in rest for layer in conv(width, 3)]
    return Network(Chain(*conv(first, 3)), Chain(*body), LinearHead(10), input=(3, side, side))


def test_a_classifier_that_never_samples_down_is_told_to_do_that_first() -> None:
    """3; at a stride of 2 then 4 and 8, at 4 then 10 and 18, at 8 then 22 and 38."""
    net = plain(32, 32, 64, 64, side=64)
    finding = only(small_receptive_field, net)
    assert finding.text == "the last map sees 9x9 pixels; the input has 64x64"
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("sample down 3 more times, by 2x2 max pools after tail.relu and body.relu1")
    assert "to see 38x38 pixels" in finding.remedy.text
    assert found(small_receptive_field, after(finding, net))[0].quiet
    assert not any("dilate" in remedy.text for remedy in finding.remedies)


@pytest.mark.parametrize(("side", "times"), [(224, "5 more times: each time"), (32, "2 more times: each time")])
def test_where_there_are_too_few_layers_each_pool_wants_a_convolution(side: int, times: str) -> None:
    """224 pixels have room for 5 halvings to 7, 32 for 2 to 8."""
    finding = only(small_receptive_field, plain(16, side=side))
    assert finding.remedy is not None
    assert finding.remedy.text == f"sample down {times} a 2x2 max pool, then a 3x3 convolution with twice the channels"
    assert all(remedy.after is None for remedy in finding.remedies)


def test_an_input_of_8_pixels_is_sampled_down_once_and_not_convolved_at_11_times_the_parameters() -> None:
    finding = only(small_receptive_field, plain(16, side=8))
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("sample down once more")
    assert [remedy.after for remedy in finding.remedies] == [None]


@pytest.mark.parametrize(("side", "warns"), [(14, False), (16, False), (18, True)])
def test_fields_are_odd_and_a_pixel_less_than_half_is_half(side: int, warns: bool) -> None:
    """Three 3x3 see 7 pixels."""
    assert only(small_receptive_field, plain(8, 8, 8, side=side)).quiet is not warns


def test_a_run_of_1x1_is_the_cause_where_3x3_in_its_place_would_see_half() -> None:
    """Of 64 pixels a 3x3 of stride 2 and three 1x1 see 3; as 3x3 the three would see 3 + 3 * 4 = 15, of 24 half."""
    body = (*conv(64, 1), *conv(64, 1), *conv(64, 1))
    for side, causes in ((24, ["W14"]), (64, ["S1"])):
        net = Network(Chain(*conv(64, 3, 2)), Chain(*body), LinearHead(10), input=(3, side, side))
        told = {f.rule.code: [one.rule.code for one in f.consequences] for f in critique(net)}
        assert [code for code in ("S1", "W14") if code in told] == causes
        assert set(told[causes[0]]) & {"S1", "W14"} == {"S1", "W14"} - set(causes)


def test_a_hundredth_of_the_network_is_told_with_no_cause() -> None:
    """9 x 1024 weights and 2 x 1024 of batch norm, of 4.2 million parameters."""
    assert only(unproductive_layers, "mobilenet-v1-1.0").under == ()
    assert only(unproductive_layers, "vgg-16", (3, 32, 32)).under == ("I3", "W15")
