from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnatomy.tasks import boxes
from cnnatomy.tasks.boxes import BACKGROUND, IGNORED, Detections
from peers import torchvision

EXAMPLE = torch.tensor([[285.3538, 185.5758, 1193.5110, 851.4551], [285.1472, 188.7374, 1192.4984, 851.0669],
                        [279.2440, 197.9812, 1189.4746, 849.2019]])  # fmt: skip


def some_boxes(count: int, seed: int, side: float = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=generator) * side], 1)


def area_over_union(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / sum([(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)], -both)


def suppressed_one_by_one(found: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> set[int]:
    """The reference: from the highest score to the lowest, each against all that are kept."""
    kept: list[int] = []
    for place in sorted(range(len(scores)), key=lambda place: -float(scores[place])):
        others = [other for other in kept if labels[other] == labels[place]]
        if all(area_over_union(found[other].tolist(), found[place].tolist()) <= threshold for other in others):
            kept.append(place)
    return set(kept)


def test_two_squares_that_share_a_quarter_overlap_by_a_seventh() -> None:
    one, other = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3], [2, 0, 4, 2], [0, 0, 2, 2]])
    assert boxes.iou(one, other).tolist() == [[pytest.approx(1 / 7), 0, 1]]


def test_empty_boxes_overlap_by_nothing() -> None:
    assert boxes.iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_overlaps_are_those_of_a_plain_loop(seed: int) -> None:
    one, other = some_boxes(5, seed), some_boxes(7, seed + 1)
    expected = [[area_over_union(a, b) for b in other.tolist()] for a in one.tolist()]
    assert torch.allclose(boxes.iou(one, other), torch.tensor(expected), atol=1e-6)


@pytest.mark.peers
def test_overlaps_are_those_of_torchvision() -> None:
    one, other = some_boxes(50, 0), some_boxes(70, 1)
    assert torch.allclose(boxes.iou(one, other), torchvision().ops.box_iou(one, other))


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
@settings(max_examples=40)
def test_suppression_keeps_what_a_plain_loop_keeps(seed: int, count: int, threshold: float) -> None:
    found = torch.stack([some_boxes(count, seed), some_boxes(count, seed + 1)])
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 20, (2, count), generator=generator) / 20  # with equal ones
    labels = torch.randint(0, 3, (2, count), generator=generator)
    kept = boxes.nms(found, scores, labels, threshold)
    for image in range(2):
        expected = suppressed_one_by_one(found[image], scores[image], labels[image], threshold)
        assert set(kept[image].nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize(("threshold", "expected"), [(0.999, {0, 1, 2}), (0.8, {1}), (0.2, {1})])
def test_suppression_of_nearly_equal_boxes(threshold: float, expected: set[int]) -> None:
    """The example of torchvision's tests: three that overlap by .96 and more, of which the best is kept."""
    scores = torch.tensor([[0.6370, 0.7569, 0.3966]])
    kept = boxes.nms(EXAMPLE[None], scores, torch.zeros(1, 3), threshold)
    assert set(kept[0].nonzero()[:, 0].tolist()) == expected


def test_a_map_of_stride_8_has_anchors_around_the_centres_of_its_pixels() -> None:
    anchors = boxes.anchor_boxes((16, 24), (2, 3), scales=(1, 2), ratios=(1.0,))
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [0, 0, 8, 8]
    assert anchors[1].tolist() == [-4, -4, 12, 12]
    assert anchors[2].tolist() == [8, 0, 16, 8]
    assert anchors[-2].tolist() == [16, 8, 24, 16]


def test_retinanet_has_nine_anchors_a_pixel_of_areas_32_to_51_squared() -> None:
    scales = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))
    anchors = boxes.anchor_boxes((8, 8), (1, 1), scales, (0.5, 1.0, 2.0))
    sides = anchors[:, 2:] - anchors[:, :2]
    assert sides.prod(1).sqrt().tolist() == pytest.approx([32] * 3 + [40.3175] * 3 + [50.7968] * 3, rel=1e-4)
    assert (sides[:, 1] / sides[:, 0]).tolist() == pytest.approx([0.5, 1, 2] * 3)


def test_fitted_anchors_are_of_the_objects_sizes() -> None:
    sides = torch.tensor([[4.0, 8.0]] * 10 + [[8.0, 16.0]] * 10 + [[16.0, 32.0]] * 10)
    scales, ratios = boxes.fitted_anchors(sides, stride=4, anchors=3)
    assert scales == pytest.approx([2**0.5, 2 * 2**0.5, 4 * 2**0.5], abs=1e-3)
    assert ratios == (2.0,)
    scales, ratios = boxes.fitted_anchors(torch.tensor([[4.0, 8], [8, 8], [16, 8]]), stride=8, anchors=9)
    assert ratios == (0.5, 1, 2)
    assert boxes.fitted_anchors(torch.zeros(0, 2), stride=8, anchors=2) == ((1, 1), (1,))


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_decoding_inverts_encoding(seed: int) -> None:
    found, anchors = some_boxes(20, seed), some_boxes(20, seed + 1)
    assert torch.allclose(boxes.decode(boxes.encode(found, anchors), anchors), found, atol=1e-3)


def test_a_box_twice_as_large_half_a_side_to_the_right() -> None:
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[0.0, -10, 20, 30]])
    assert boxes.encode(box, anchor)[0].tolist() == pytest.approx([0.5, 0, math.log(2), math.log(2)])


@pytest.mark.peers
def test_boxes_are_encoded_as_torchvision_does() -> None:
    coder = torchvision().models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    found, anchors = some_boxes(50, 0), some_boxes(50, 1)
    assert torch.allclose(boxes.encode(found, anchors), coder.encode_single(found, anchors), atol=1e-5)
    wild = torch.randn(50, 4) * 5
    assert torch.allclose(boxes.decode(wild, anchors), coder.decode_single(wild, anchors), rtol=1e-4, atol=1e-2)


def test_anchors_are_matched_from_a_half_on_and_are_background_below_two_fifths() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 3], [50, 50, 60, 60]])
    objects = torch.tensor([[[0.0, 0, 10, 10, 3], [-1, -1, -1, -1, -1]]])
    assert boxes.match(anchors, objects).tolist() == [[0, 0, IGNORED, BACKGROUND, BACKGROUND]]


def test_every_object_has_its_best_anchor() -> None:
    anchors = torch.tensor([[0.0, 0, 40, 40], [40, 0, 80, 40]])
    small = [10.0, 10, 14, 14, 2]  # a hundredth of the first anchor
    assert boxes.match(anchors, torch.tensor([[small]])).tolist() == [[0, BACKGROUND]]
    larger = [0.0, 0, 20, 20, 1]  # the same best anchor, and more of it
    assert boxes.match(anchors, torch.tensor([[small, larger]])).tolist() == [[1, BACKGROUND]]


def test_crowds_and_padding_are_matched_by_nothing() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    objects = torch.tensor([[[0.0, 0, 10, 10, -2], [-1, -1, -1, -1, -1]]])
    assert boxes.match(anchors, objects).tolist() == [[BACKGROUND]]


@pytest.mark.peers
def test_anchors_are_matched_as_torchvision_does() -> None:
    matcher = torchvision().models.detection._utils.Matcher(0.5, 0.4, allow_low_quality_matches=False)
    anchors = boxes.anchor_boxes((64, 64), (8, 8), (2, 3), (1, 2))
    objects = some_boxes(6, 3)
    ours = boxes.match(anchors, torch.cat([objects, torch.zeros(6, 1)], 1)[None])[0]
    theirs = matcher(boxes.iou(objects, anchors))
    best = boxes.iou(objects, anchors).argmax(1)
    others = torch.ones(len(anchors), dtype=torch.bool).index_fill(0, best, False)
    assert torch.equal(ours[others], theirs[others])
    assert set(ours[best].tolist()) <= set(range(6))


def test_detections_come_in_order_clipped_and_one_for_each_object() -> None:
    found = torch.tensor([[[-5.0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 90, 40], [40, 40, 50, 50]]])
    scores = torch.tensor([[[0.6, 0.5], [0.9, 0.1], [0.2, 0.7], [0.05, 0.02]]])
    detections = boxes.detect(found, scores, (64, 64), least_score=0.3, overlap=0.5)
    known = detections.classes[0] >= 0
    assert detections.scores[0][known].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert detections.classes[0].tolist()[:3] == [0, 1, 1]
    assert detections.boxes[0][known].tolist() == [[0, 0, 10, 11], [20, 20, 64, 40], [0, 0, 10, 10]]
    assert not detections.scores[0][~known].any()
    assert (detections.classes[0][~known] == -1).all()


def test_scores_that_are_no_numbers_detect_nothing() -> None:
    detections = boxes.detect(some_boxes(9, 0)[None], torch.full((1, 9, 2), math.nan), (64, 64), 0.1, 0.5)
    assert (detections.classes == -1).all()


OBJECTS = torch.tensor([[[0.0, 0, 10, 10, 0], [20, 20, 40, 40, 1]], [[5, 5, 25, 25, 0], [-1, -1, -1, -1, -1]]])


def saying(*images: list[tuple[list[float], float, int]]) -> Detections:
    most = max(map(len, images))
    padding: tuple[list[float], float, int] = ([0.0] * 4, 0.0, -1)
    parts = zip(*(zip(*(image + [padding] * (most - len(image))), strict=True) for image in images), strict=True)
    return Detections(*(torch.tensor(part) for part in parts))


def test_exact_detections_have_a_precision_of_1() -> None:
    every = saying([([0, 0, 10, 10], 0.9, 0), ([20, 20, 40, 40], 0.8, 1)], [([5, 5, 25, 25], 0.7, 0)])
    measured = boxes.average_precision([every], [OBJECTS], 3)
    assert (measured.ap, measured.ap_50, measured.ap_75) == pytest.approx((1, 1, 1))
    assert measured.by_class[2] == (None, None, None)  # no object of the class


def test_half_of_the_objects_and_a_mistake_above_them() -> None:
    """Class 0: the mistake comes first, so its precision is 1/2 up to a recall of 1/2 (51 of COCO's 101 places)."""
    half = saying([([50, 50, 60, 60], 0.9, 0), ([0, 0, 10, 10], 0.8, 0)], [])
    measured = boxes.average_precision([half], [OBJECTS], 2)
    assert measured.by_class[0] == pytest.approx((51 / 101 / 2,) * 3)
    assert measured.by_class[1] == (0, 0, 0)
    assert measured.ap == pytest.approx(51 / 101 / 4)


def test_a_box_that_overlaps_by_six_tenths_counts_at_a_half_alone() -> None:
    loose = saying([([0, 0, 10, 6.1], 0.9, 0)])
    measured = boxes.average_precision([loose], [OBJECTS[:1, :1]], 1)
    assert (measured.ap_50, measured.ap_75) == pytest.approx((1, 0))
    assert measured.ap == pytest.approx(3 / 10)  # at .5, .55 and .6


def test_batches_are_counted_on() -> None:
    first, second = saying([([0, 0, 10, 10], 0.9, 0), ([20, 20, 40, 40], 0.8, 1)]), saying([([5, 5, 25, 25], 0.7, 0)])
    measured = boxes.average_precision([first, second], [OBJECTS[:1], OBJECTS[1:]], 2)
    assert measured.ap == pytest.approx(1)


def test_what_is_found_in_a_crowd_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    objects = torch.tensor([[[0.0, 0, 10, 10, 0], [20, 20, 60, 60, -2]]])
    found = saying([([22, 22, 30, 30], 0.9, 0), ([40, 40, 50, 50], 0.85, 0), ([0, 0, 10, 10], 0.8, 0)])
    assert boxes.average_precision([found], [objects], 1).ap == pytest.approx(1)
    alone = torch.where(objects == -2, -1.0, objects)
    assert boxes.average_precision([found], [alone], 1).ap == pytest.approx(1 / 3)
    assert capsys.readouterr().out == ""


def test_nothing_detected_is_a_precision_of_0() -> None:
    nothing = Detections(torch.zeros(2, 1, 4), torch.zeros(2, 1), torch.full((2, 1), -1))
    assert boxes.average_precision([nothing], [OBJECTS], 2).ap == 0
