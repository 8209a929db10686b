"""Boxes: how much two overlap, anchors and what is predicted relative to them, and how good detections are.

Boxes are x1, y1, x2, y2 in pixels of the network's input, on the last axis.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POSITIVE, NEGATIVE = 0.5, 0.4
"""An anchor is an object's from this overlap on, and background below that (Lin et al. 2017, section 4); between the
two it counts for nothing."""
MAX_LOG_SIDE = math.log(1000 / 16)
"""A side is at most so many times that of its anchor, by its logarithm: no overflow at the beginning of training."""
BACKGROUND, IGNORED = -1, -2
"""What an anchor is matched with, if it is no object."""
MAX_DETECTIONS = 100
"""Of an image and class, that count for the average precision (COCO)."""


def areas(boxes: Tensor) -> Tensor:
    """`(..., n, 4)` -> `(..., n)`: pixels; 0 where a side is negative."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each two, `(..., n, 4)` and `(..., m, 4)` -> `(..., n, m)`; 0 where both are empty."""
    low = torch.maximum(one[..., :, None, :2], other[..., None, :, :2])
    high = torch.minimum(one[..., :, None, 2:], other[..., None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    union = areas(one)[..., :, None] + areas(other)[..., None, :] - both
    return torch.where(union > 0, both / union, 0.0)


def nms(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression in each image and class: `(n, k)` bool, which boxes are kept.

    From the highest score to the lowest (of equal ones the first first), a box is kept unless it overlaps one of its
    class that is kept already by more than `threshold`. Boxes are `(n, k, 4)`, scores and classes `(n, k)`.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    sorted_boxes = boxes.gather(1, order[:, :, None].expand_as(boxes))
    sorted_classes = classes.gather(1, order)
    same = sorted_classes[:, :, None] == sorted_classes[:, None, :]
    covers = ((iou(sorted_boxes, sorted_boxes) > threshold) & same).triu(1)
    kept = torch.ones_like(order, dtype=torch.bool)
    for position in range(order.shape[1]):  # each needs to know of all before it; all images at once
        kept &= ~(covers[:, position] & kept[:, position, None])
    return torch.zeros_like(kept).scatter(1, order, kept)


def anchor_boxes(
    size: tuple[int, int],
    grid: tuple[int, int],
    scales: Sequence[float],
    ratios: Sequence[float],
    device: torch.device | None = None,
) -> Tensor:
    """`(rows * columns * anchors, 4)`: boxes around the centre of each pixel of a map of `grid` rows and columns.

    The map's stride is that of an image of `size` (rows, columns). An anchor has the area (scale * stride)^2 and is
    `ratio` times as high as wide. Order: rows, columns, then scale by scale every ratio.
    """
    strides = [pixels / steps for pixels, steps in zip(size, grid, strict=True)]
    side = math.sqrt(strides[0] * strides[1])
    shapes = [(scale * side * ratio**0.5, scale * side / ratio**0.5) for scale in scales for ratio in ratios]
    half = torch.tensor(shapes, device=device).flip(1) / 2  # width, height
    y, x = ((torch.arange(steps, device=device) + 0.5) * stride for steps, stride in zip(grid, strides, strict=True))
    centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None]  # (rows, columns, 1, 2): x, y
    return torch.cat([centres - half, centres + half], -1).flatten(0, 2)


def fitted_anchors(sides: Tensor, stride: float, anchors: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scales and ratios of so many anchors that suit objects of these `sides`, `(objects, 2)`: width and height.

    Three ratios for a multiple of three from 9 on, else one; scales and ratios lie at quantiles of the objects', so
    that each stands for as many of them.
    """
    number = 3 if anchors >= 9 and anchors % 3 == 0 else 1
    width, height = sides.double().clamp(min=1).unbind(1)
    scales = _middles((width * height).sqrt() / stride, anchors // number)
    return scales, _middles(height / width, number)


def _middles(values: Tensor, parts: int) -> tuple[float, ...]:
    """The middle of each of so many equal parts of the values in their order; all 1 where there is no value."""
    values = values.sort().values if len(values) else torch.ones(1)
    places = [int((part + 0.5) / parts * len(values)) for part in range(parts)]
    return tuple(round(float(values[place]), 4) for place in places)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """What is predicted for a box: its centre relative to the anchor's, in sides of the anchor, and the logarithm of
    its sides in those of the anchor (Girshick et al. 2014, appendix C; Ren et al. 2015, equation 2)."""
    centres, sides = _centres(boxes)
    anchor_centres, anchor_sides = _centres(anchors)
    return torch.cat([(centres - anchor_centres) / anchor_sides, (sides / anchor_sides).log()], -1)


def decode(encoded: Tensor, anchors: Tensor) -> Tensor:
    """The inverse of `encode`; a side is at most 1000/16 times the anchor's."""
    anchor_centres, anchor_sides = _centres(anchors)
    centres = anchor_centres + encoded[..., :2] * anchor_sides
    half = encoded[..., 2:].clamp(max=MAX_LOG_SIDE).exp() * anchor_sides / 2
    return torch.cat([centres - half, centres + half], -1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, sides


def match(anchors: Tensor, objects: Tensor, positive: float = POSITIVE, negative: float = NEGATIVE) -> Tensor:
    """`(n, anchors)` int64: which of its image's objects each anchor is to find, `BACKGROUND`, or `IGNORED`.

    `objects` is `(n, most, 5)`: box and class, negative where there is no object to learn. An anchor is that of the
    object that it overlaps most, from `positive` on; the best anchor of an object is its own whatever the overlap, and
    of two objects with the same best anchor the one that overlaps it more has it.
    """
    known = objects[..., 4] >= 0
    overlaps = iou(anchors[None], objects[..., :4]).masked_fill(~known[:, None], 0.0)  # (n, anchors, most)
    most, found = overlaps.max(2)
    matched = torch.where(most >= positive, found, torch.where(most < negative, BACKGROUND, IGNORED))
    best = torch.zeros_like(overlaps).scatter(1, overlaps.argmax(1, keepdim=True), 1.0) * overlaps
    strongest, owner = best.max(2)
    return torch.where(strongest > 0, owner, matched)


class Detections(NamedTuple):
    """Boxes `(n, k, 4)`, scores and classes `(n, k)` of k detections an image at most, from the highest score to the
    lowest; where there are fewer, the score is 0 and the class -1."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def detect(
    boxes: Tensor, scores: Tensor, size: tuple[int, int], least_score: float, overlap: float, candidates: int = 300
) -> Detections:
    """Detections in images of `size` (rows, columns), of boxes `(n, anchors, 4)` and the score of each class for each,
    `(n, anchors, classes)`.

    The `candidates` of the highest scores above `least_score`, clipped to the image, without those that `nms` leaves
    out; `MAX_DETECTIONS` of them at most.
    """
    classes = scores.shape[2]
    flat = scores.flatten(1)
    best, places = flat.topk(min(candidates, flat.shape[1]))
    most = max(1, int((best > least_score).sum(1).max()))  # most images have far fewer, which `nms` goes through
    best, places = best[:, :most], places[:, :most]
    labels = (places % classes).masked_fill(~(best > least_score), -1)  # nan neither
    where = (places // classes)[:, :, None].expand(-1, -1, 4)
    rows, columns = size
    limits = torch.tensor([columns, rows, columns, rows], device=boxes.device, dtype=boxes.dtype)
    found = boxes.gather(1, where).clamp(min=0).minimum(limits)
    kept = nms(found, best, labels, overlap) & (labels >= 0)
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :MAX_DETECTIONS]  # they are in order of their scores
    kept = kept.gather(1, order)
    return Detections(
        boxes=found.gather(1, order[:, :, None].expand(-1, -1, 4)) * kept[:, :, None],
        scores=best.gather(1, order) * kept,
        classes=labels.gather(1, order).masked_fill(~kept, -1),
    )


@dataclass(frozen=True)
class Precision:
    """Average precision, 0 .. 1, as COCO has it: `ap` is the mean over overlaps of .5, .55 .. .95, and `ap_50` and
    `ap_75` are at one of them; `by_class` has the three of each class. None where there is no object to find."""

    ap: float | None
    ap_50: float | None
    ap_75: float | None
    by_class: tuple[tuple[float | None, float | None, float | None], ...]


def average_precision(detections: Sequence[Detections], objects: Sequence[Tensor], classes: int) -> Precision:
    """How good detections are, batch by batch, by pycocotools.

    `objects` are `(n, most, 5)`: class -1 is no object, and -2 - c a crowd of class c, in which any number of
    detections is no mistake (`data.coco`).
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = _truth(objects), _found(detections)
    images = [{"id": image} for image in range(sum(map(len, objects)))]
    categories = [{"id": label} for label in range(classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for annotations in (truth, found):
            one = COCO()
            one.dataset = {"images": images, "categories": categories, "annotations": annotations}
            one.createIndex()
            sets.append(one)
        evaluation = COCOeval(*sets, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (overlaps, recalls, classes); -1 where nothing is known
    figures = [_figures(precision[:, :, label]) for label in range(classes)]
    return Precision(*_figures(precision), by_class=tuple(figures))


def _figures(precision: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Means over all overlaps, over the first (.5) and over the sixth (.75)."""

    def mean(part: NDArray[np.float64]) -> float | None:
        known = part[part > -1]
        return float(known.mean()) if known.size else None

    return mean(precision), mean(precision[0]), mean(precision[5])


def _truth(batches: Sequence[Tensor]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    image = 0
    for batch in batches:
        for objects in batch.tolist():
            for x1, y1, x2, y2, label in objects:
                if label != BACKGROUND:
                    crowd = label < BACKGROUND
                    annotations.append(
                        _annotation(len(annotations), image, (x1, y1, x2, y2), int(-2 - label if crowd else label))
                        | {"iscrowd": int(crowd)}
                    )
            image += 1
    return annotations


def _found(batches: Sequence[Detections]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    image = 0
    for batch in batches:
        for boxes, scores, labels in zip(*(part.tolist() for part in batch), strict=True):
            for box, score, label in zip(boxes, scores, labels, strict=True):
                if label >= 0:
                    annotations.append(_annotation(len(annotations), image, box, label) | {"score": score})
            image += 1
    return annotations


def _annotation(number: int, image: int, box: Sequence[float], label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    # pycocotools takes number 0 for "not matched"
    return {"id": number + 1, "image_id": image, "category_id": label, "bbox": [x1, y1, width, height]} | {
        "area": width * height
    }
