"""Features for classes, positions of the last map, down-sampling stages: evidence by hand, on graphs and networks."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy import Chain, Network, Residual
from cnnatomy.analysis import account
from cnnatomy.critique import Purpose, Study
from cnnatomy.critique.causes import folded
from cnnatomy.critique.information import down_samplings, few_features, last_map_size, output_without_pixels
from cnnatomy.critique.rule import Rule
from cnnatomy.design import Graph, LinearHead, VectorHead
from cnnatomy.edits.change import Cost, changed
from cnnatomy.layers import (
    BatchNorm,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    MaxPool,
    Permute,
    ReLU,
    Reshape,
)
from cnnatomy.layers.layer import Layer
from findings import WELL_DESIGNED, after, found, only


def classifier(features: int, classes: int) -> Network:
    return Network(tail=Conv(features, 3, padding=1), body=ReLU(), head=LinearHead(classes), input=(3, 8, 8))


def test_a_classifier_wants_a_feature_for_each_class() -> None:
    assert found(few_features, classifier(10, 10)) == []
    near, far = only(few_features, classifier(4, 10)), only(few_features, classifier(4, 25))
    assert near.evidence == {"features": 4, "classes": 10}
    assert (near.severity, far.severity) == ("note", "warning")  # up to 6 classes for each feature
    assert not near.quiet
    assert only(few_features, classifier(5, 10)).quiet
    assert near.where == ("head.fc",)


def test_wider_features_cost_what_two_linear_layers_cost() -> None:
    finding = only(few_features, classifier(4, 10))
    assert finding.remedy is not None
    assert finding.remedy.after is not None
    assert finding.remedy.after.parameters == (4 * 27 + 4) + (4 * 64 + 64) + (64 * 10 + 10)
    after(finding, classifier(4, 10))


@pytest.mark.parametrize(
    ("name", "features", "severity"),
    [
        ("mobilenet-v1-0.25", 256, "note"),
        ("shiftnet-c", 256, "note"),
        ("squeezenet-1.0", 512, "note"),
        ("resnet-18", 512, "note"),
    ],
)
def test_networks_with_fewer_features_than_imagenet_has_classes(name: str, features: int, severity: str) -> None:
    finding = only(few_features, name)
    assert finding.evidence["features"] == features
    assert finding.severity == severity


def test_more_classes_can_be_asked_for_than_the_network_has() -> None:
    assert found(few_features, "resnet-50") == []
    assert only(few_features, "resnet-50", classes=21_841).evidence == {"features": 2048, "classes": 21_841}


def test_half_as_many_features_as_classes_are_enough_for_the_remedy() -> None:
    """Of 1,000 classes 500, in 64s 512; whoever has more than that already is told of a feature for each."""
    few, half = only(few_features, classifier(128, 1000)), only(few_features, classifier(512, 1000))
    assert (few.remedies[0].text, half.remedies[0].text) == (
        "widen to 512 features before head.fc",
        "widen to 1,024 features before head.fc",
    )


def test_an_embedding_may_have_few_features() -> None:
    """Directions of 8 normalised features are compared with those of 100 classes, without bias."""

    def head(*layers: Layer) -> Chain:
        return Chain(GlobalAvgPool(), Flatten(), FullyConnected(8, bias=False), *layers)

    def design(head: Chain) -> Network:
        return Network(Conv(64, 3, padding=1), ReLU(), head, input=(3, 8, 8))

    compared = only(few_features, design(head(BatchNorm(), FullyConnected(100, bias=False))))
    assert (compared.severity, compared.quiet) == ("note", True)
    for scores in (head(BatchNorm(), FullyConnected(100)), head(FullyConnected(100, bias=False))):
        assert only(few_features, design(scores)).severity == "warning"


def test_what_ends_in_normalised_features_is_no_classifier() -> None:
    graph = Graph.trace(Chain(Conv(4, 3), Conv(64, 1), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten()), (3, 8, 8))
    assert found(few_features, graph) == []


def test_a_map_of_3x3_leaves_9_positions_to_pool() -> None:
    finding = only(last_map_size, "resnet-50", (3, 96, 96))
    assert finding.text == "the last map is 3x3 of 96x96 input: 9 positions to pool; 6 to 8 a side are usual"
    assert (finding.severity, finding.quiet, finding.under) == ("note", False, ("I3",))
    assert not any("input" in remedy.text for remedy in finding.remedies)


@pytest.mark.parametrize(("name", "side", "quiet"), [("mobilenet-v1-1.0", 128, True), ("resnet-18", 96, False)])
def test_4_positions_a_side_are_said_where_they_are_asked_for(name: str, side: int, quiet: bool) -> None:
    for rule in (last_map_size, down_samplings):
        assert only(rule, name, (3, side, side)).quiet == quiet


def test_a_map_that_its_convolutions_eat_up_is_padded() -> None:
    """32 less 7 times 4 pixels are 4, without one stride; padded they are 32."""
    eaten = Network(Conv(8, 5), Chain(*[Chain(Conv(8, 5), ReLU()) for _ in range(6)]), LinearHead(5), input=(3, 32, 32))
    finding = only(last_map_size, eaten)
    graph = after(finding, eaten)
    assert next(node for node in graph.nodes if isinstance(node.layer, GlobalAvgPool)).inputs[0].shape == (8, 32, 32)


def test_one_position_is_too_few_as_well() -> None:
    assert only(last_map_size, "resnet-18", (3, 32, 32)).evidence["positions"] == 1


def test_a_map_of_25x25_has_room_for_one_more_down_sampling() -> None:
    finding = only(last_map_size, "resnet-50", (3, 800, 800))
    assert (finding.severity, finding.evidence["positions"]) == ("note", 625)
    assert finding.quiet
    assert "which leaves 12x12" in finding.remedy.text
    assert not only(last_map_size, "resnet-50", (3, 1024, 1024)).quiet


def test_the_middle_of_a_stage_of_residual_blocks_is_no_first_layer() -> None:
    blocks = [Residual(Chain(Conv(16, 3, padding=1), ReLU())) for _ in range(5)]
    design = Network(Conv(16, 3, padding=1), Chain(*blocks), LinearHead(5), input=(3, 64, 64))
    text = only(last_map_size, design).remedies[0].text
    assert "in the middle of the last stage, after body.residual2.add, which leaves 32x32" in text


@pytest.mark.parametrize("rule", [last_map_size, down_samplings])
@pytest.mark.parametrize("name", [*WELL_DESIGNED, "personal-notes-512x1024", "lenet-5", "alexnet", "vgg-16"])
def test_designs_at_their_own_resolution_have_positions_and_stages_as_usual(rule: Rule, name: str) -> None:
    assert found(rule, name) == []


def test_a_convolution_as_large_as_its_map_does_not_pool() -> None:
    head = Chain(Conv(64, 4), ReLU(), GlobalAvgPool(), Flatten(), FullyConnected(10))
    assert found(last_map_size, Network(Conv(8, 3, 2, 1), MaxPool(2), head, input=(3, 16, 16))) == []


@pytest.mark.parametrize(("side", "room"), [(28, 2), (32, 2), (64, 3), (96, 4), (224, 5), (299, 5), (384, 6)])
def test_5_stages_fit_224_pixels_and_2_fit_32(side: int, room: int) -> None:
    pools = Chain(*[Chain(Conv(8, 3, padding=1), MaxPool(3, 2, 1)) for _ in range(room + 1)])
    finding = only(down_samplings, Network(Chain(), pools, LinearHead(5), input=(3, side, side)))
    assert (finding.evidence["stages"], finding.evidence["room"]) == (room + 1, room)
    assert len(finding.where) == room + 1


def test_resnet_18_at_32_pixels_has_3_stages_too_many_and_they_are_in_the_tail() -> None:
    plain = cn.network("resnet-18").graph((3, 32, 32))
    finding = only(down_samplings, plain)
    assert (finding.evidence["stages"], finding.evidence["room"]) == (5, 2)
    narrow, middle, _ = finding.remedies
    assert "first 2 stages" in middle.text
    assert "divide all widths by 2" in middle.text
    assert "for 3.7 times the MACs" in middle.text
    assert narrow.change is not None
    graph = changed(plain, narrow.change)
    macs = cn.network("resnet-18").account((3, 32, 32)).totals.macs
    assert account(graph).totals.macs < macs  # 64 times fewer for each layer, at 64 times as many positions
    sizes = [x.shape[1:] for x in Study(account(graph), Purpose()).spine if len(x.shape) == 3]
    assert sizes[1] == (32, 32)
    assert sizes[-2] == (8, 8)


@pytest.mark.parametrize(
    "name", ["resnet-50", "mobilenet-v2", "densenet-121", "googlenet", "resnext-50-32x4d", "se-resnet-50"]
)
@pytest.mark.parametrize("side", [32, 64])
def test_an_imagenet_network_on_small_images_is_one_cause_with_a_remedy_that_is_not_dear(name: str, side: int) -> None:
    few, size = only(down_samplings, name, (3, side, side)), only(last_map_size, name, (3, side, side))
    (finding,) = folded([few, size], [True, True])
    assert (finding.rule.code, finding.severity, finding.consequences) == ("I3", "warning", (size,))
    before = Cost.of(cn.network(name).account((3, side, side)))
    narrow, *middle, kept = finding.remedies
    assert narrow.after is not None
    assert narrow.after.macs <= 1.5 * before.macs
    assert narrow.after.parameters < before.parameters
    assert all(one.after and one.after.macs <= 4 * before.macs for one in middle)
    assert "leave all widths as they are" in kept.text


@pytest.mark.parametrize(("side", "severity"), [(96, "note"), (64, "warning")])
def test_3_positions_a_side_are_a_note_and_2_a_warning(side: int, severity: str) -> None:
    for rule in (down_samplings, last_map_size):
        finding = only(rule, "mobilenet-v1-0.25", (3, side, side))
        assert (finding.severity, finding.quiet) == (severity, False)


def test_no_width_is_divided_below_16_and_whoever_has_the_time_keeps_all() -> None:
    """Without three strides 64 times the positions at 32x32, and so as many MACs for each layer of the old widths."""
    plain = cn.network("mobilenet-v2").graph((3, 32, 32))
    finding = only(down_samplings, plain)
    narrow = finding.remedies[-2]
    assert narrow.change is not None
    graph = changed(plain, narrow.change)
    assert min(node.layer.channels for node in graph.nodes if isinstance(node.layer, Conv)) == 16
    kept = finding.remedies[-1]
    assert kept.change is not None
    assert kept.is_dear(Cost.of(account(plain)))
    assert "for 40.3 times the MACs" in kept.text  # 297,740,288 / 7,392,128
    same = changed(plain, kept.change)
    assert [n.output.shape[0] for n in same.nodes] == [n.output.shape[0] for n in plain.nodes]


def test_a_thin_image_loses_strides_along_its_short_side_alone() -> None:
    """5 halvings of 32 rows and 256 columns leave 1x8; 2 halvings of the rows leave 8x8."""
    pools = Chain(*[Chain(Conv(32, 3, padding=1), ReLU(), MaxPool(3, 2, 1)) for _ in range(5)])
    thin = Network(Chain(), pools, LinearHead(5), input=(1, 32, 256))
    finding = only(down_samplings, thin)
    assert "3 stages along the short side" in finding.remedies[0].text
    graph = after(finding, thin)
    maps = [node.output.shape[1:] for node in graph.nodes if isinstance(node.layer, MaxPool)]
    assert maps == [(32, 128), (32, 64), (32, 32), (16, 16), (8, 8)]


def test_patches_of_4x4_pixels_become_patches_of_2x2_where_one_stage_is_too_many() -> None:
    steps = [Chain(Conv(width, 2, 2), ReLU()) for width in (64, 128, 256)]
    patches = Network(Chain(Conv(32, 4, 4), ReLU()), Chain(*steps), LinearHead(5), input=(3, 96, 96))
    graph = after(only(down_samplings, patches), patches)
    assert [n.output.shape[1:] for n in graph.nodes if isinstance(n.layer, Conv)] == [(n, n) for n in (48, 24, 12, 6)]


def test_networks_with_several_exits_have_coarse_maps_beside_finer_ones() -> None:
    assert all(only(rule, "msdnet-cifar").quiet for rule in (down_samplings, last_map_size))


def test_a_vectorised_head_shows_its_stages_too() -> None:
    finding = only(down_samplings, "vgg-16", (3, 32, 32))
    assert (finding.evidence["stages"], finding.evidence["room"]) == (5, 2)


def test_the_last_stride_of_mobilenet_v1_read_literally_is_one_too_many() -> None:
    finding = only(down_samplings, "mobilenet-v1-literal-stride")
    assert finding.remedy is not None
    assert finding.remedy.after == Cost.of(cn.network("mobilenet-v1-1.0").account())


def test_too_few_stages_matter_where_the_head_has_weights_for_each_position() -> None:
    few = Chain(Conv(8, 3, 2, 1), ReLU(), Conv(16, 3, 2, 1), ReLU())
    finding = only(down_samplings, Network(few, Chain(), VectorHead(10), input=(3, 224, 224)))
    assert (finding.severity, finding.evidence) == ("note", {"stages": 2, "room": 5, "input": 224, "last": 56})
    assert found(down_samplings, Network(few, Chain(), LinearHead(10), input=(3, 224, 224))) == []


# pixels


def test_a_classifier_of_images_is_no_segmentation():
    finding = only(output_without_pixels, "resnet-50", (3, 512, 1024), task="segmentation", classes=19)
    assert (finding.severity, finding.where) == ("warning", ("head.pool",))
    assert finding.evidence == {"output": 1000, "rows": 16, "columns": 32}
    assert "16x32 positions by a 1x1 convolution to 19 channels, and enlarge that 32 times" in finding.remedy.text
    assert only(output_without_pixels, "vgg-16", task="segmentation").where == ("head.flatten",)
    assert found(output_without_pixels, "resnet-50") == []


def test_a_sequence_of_patches_has_pixels():
    patches = Graph.trace(
        lambda x: FullyConnected(19)(Permute((1, 0))(Reshape((8, -1))(Conv(8, 4, 4)(x)))), (3, 16, 16)
    )
    assert found(output_without_pixels, patches, task="segmentation") == []
