"""Features for classes, positions of the last map, down-sampling stages: evidence by hand, on graphs and networks."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy import Chain, Network
from cnnatomy.analysis import account
from cnnatomy.critique import Purpose, Study
from cnnatomy.critique.information import down_samplings, few_features, last_map_size, output_without_pixels
from cnnatomy.critique.rule import Rule
from cnnatomy.design import Graph, LinearHead, VectorHead
from cnnatomy.edits.change import Cost
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
from findings import WELL_DESIGNED, after, found, only


def classifier(features: int, classes: int) -> Network:
    return Network(tail=Conv(features, 3, padding=1), body=ReLU(), head=LinearHead(classes), input=(3, 8, 8))


def test_a_classifier_wants_a_feature_for_each_class() -> None:
    assert found(few_features, classifier(10, 10)) == []
    near, far = only(few_features, classifier(4, 10)), only(few_features, classifier(3, 10))
    assert near.evidence == {"features": 4, "classes": 10}
    assert (near.severity, far.severity) == ("note", "warning")  # 4/10 is nearer to 1 than to 1/10; 3/10 is not
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
        ("mobilenet-v1-0.25", 256, "warning"),
        ("shiftnet-c", 256, "warning"),
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


def test_what_ends_in_normalised_features_is_no_classifier() -> None:
    graph = Graph.trace(Chain(Conv(4, 3), Conv(64, 1), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten()), (3, 8, 8))
    assert found(few_features, graph) == []


def test_a_map_of_3x3_leaves_9_positions_to_pool() -> None:
    finding = only(last_map_size, "resnet-50", (3, 96, 96))
    assert finding.text == "the last map is 3x3 of 96x96 input: 9 positions to pool; 6 to 8 a side are usual"
    assert finding.severity == "warning"
    assert finding.remedy is not None
    assert finding.remedy.after == Cost.of(cn.network("resnet-50").account((3, 224, 224)))


@pytest.mark.parametrize(("name", "side"), [("inception-v3", 139), ("mobilenet-v1-literal-stride", 224)])
def test_the_larger_input_leaves_7_a_side(name: str, side: int) -> None:
    graph = after(only(last_map_size, name, (3, side, side)), name, (3, side, side))
    pool = next(node for node in graph.nodes if isinstance(node.layer, GlobalAvgPool))
    assert pool.inputs[0].shape[1:] == (7, 7)


def test_one_position_is_too_few_as_well() -> None:
    assert only(last_map_size, "resnet-18", (3, 32, 32)).evidence["positions"] == 1


def test_a_map_of_25x25_has_room_for_one_more_down_sampling() -> None:
    finding = only(last_map_size, "resnet-50", (3, 800, 800))
    assert (finding.severity, finding.evidence["positions"]) == ("note", 625)
    graph = after(finding, "resnet-50", (3, 800, 800))
    pool = next(node for node in graph.nodes if isinstance(node.layer, GlobalAvgPool))
    assert pool.inputs[0].shape == (2048, 12, 12)


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
    finding = only(down_samplings, "resnet-18", (3, 32, 32))
    assert (finding.evidence["stages"], finding.evidence["room"]) == (5, 2)
    graph = after(finding, "resnet-18", (3, 32, 32))
    sizes = [x.shape[1:] for x in Study(account(graph), Purpose()).spine if len(x.shape) == 3]
    assert sizes[1] == (32, 32)
    assert sizes[-2] == (8, 8)


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
