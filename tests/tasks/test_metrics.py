"""Figures against scikit-learn, scipy, torchmetrics and brute force."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

import peers
from cnnatomy.errors import UserError
from cnnatomy.tasks import metrics
from cnnatomy.tasks.losses import IGNORED

NAMES = tuple("abcdefgh")


def drawn(images: int = 400, classes: int = 8, seed: int = 0, strength: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits that often are right, rounded so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator) + strength * F.one_hot(labels, classes)
    return (logits * 2).round() / 2, labels


def test_areas_are_those_of_scikit_learn_for_each_class_against_the_rest() -> None:
    logits, labels = drawn()
    measured = metrics.classification(logits, labels, NAMES)
    probabilities = logits.double().softmax(1).numpy()
    for c, row in enumerate(measured.rows):
        wanted = labels.numpy() == c
        assert row["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(wanted, probabilities[:, c]), abs=1e-12)
        precision = sklearn.metrics.average_precision_score(wanted, probabilities[:, c])
        assert row["pr_auc"] == pytest.approx(precision, abs=1e-12)
    wanted = sklearn.metrics.roc_auc_score(labels.numpy(), probabilities, multi_class="ovr")
    assert measured["roc_auc"] == pytest.approx(wanted, abs=1e-12)
    wanted = sklearn.metrics.average_precision_score(F.one_hot(labels).numpy(), probabilities)
    assert measured["pr_auc"] == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_areas_of_scores_with_ties_are_those_of_scikit_learn(each: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([score / 5 for score, _ in each]), np.array([yes for _, yes in each])
    roc, pr = metrics.roc_and_pr(scores, positive)
    if positive.all() or not positive.any():
        assert roc is None
        assert pr is None
        return
    assert roc == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores), abs=1e-12)
    assert pr == pytest.approx(sklearn.metrics.average_precision_score(positive, scores), abs=1e-12)


def test_the_roc_area_is_the_share_of_pairs_in_the_right_order() -> None:
    scores, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert metrics.roc_and_pr(scores, positive)[0] == (1 + 0.5 + 1 + 1) / 4


def test_precision_recall_and_f1_are_those_of_scikit_learn() -> None:
    logits, labels = drawn(strength=1.0)
    measured = metrics.classification(logits, labels, NAMES)
    precision, recall, f1, images = sklearn.metrics.precision_recall_fscore_support(labels, logits.argmax(1))
    for c, row in enumerate(measured.rows):
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[c], recall[c], f1[c]))
        assert row["images"] == images[c]
    assert measured["f1"] == pytest.approx(sklearn.metrics.f1_score(labels, logits.argmax(1), average="macro"))
    assert measured["top_1"] == pytest.approx(sklearn.metrics.accuracy_score(labels, logits.argmax(1)))
    matrix = sklearn.metrics.confusion_matrix(labels, logits.argmax(1))
    assert measured.more["confusion_matrix"] == matrix.tolist()


def test_top_5_is_that_of_scikit_learn() -> None:
    logits = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 20
    wanted = sklearn.metrics.top_k_accuracy_score(labels, logits, k=5)
    assert metrics.classification(logits, labels, [str(c) for c in range(20)])["top_5"] == pytest.approx(wanted)


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.integers(0, 7)), min_size=1))
def test_of_classes_that_are_equally_likely_the_first_are_taken(each: list[tuple[list[int], int]]) -> None:
    """As argmax takes the first for top-1, so that top-5 is never lower."""
    logits, labels = torch.tensor([row for row, _ in each]).float(), torch.tensor([label for _, label in each])
    measured = metrics.classification(logits, labels, NAMES)
    ordered = [sorted(range(8), key=lambda c: -row[c]) for row, _ in each]
    for k, name in ((1, "top_1"), (5, "top_5")):
        right = sum(label in order[:k] for order, (_, label) in zip(ordered, each, strict=True))
        assert measured[name] == right / len(each)


def test_fewer_classes_than_five_are_all_among_the_likeliest() -> None:
    logits, labels = drawn(classes=3)
    assert metrics.classification(logits, labels, NAMES[:3])["top_5"] == 1


def test_a_class_that_is_absent_has_no_recall_and_no_areas() -> None:
    logits, labels = drawn(classes=3)
    labels[labels == 2] = 0
    row = metrics.classification(logits, labels, NAMES[:3]).rows[2]
    assert row["images"] == 0
    assert (row["recall"], row["roc_auc"], row["pr_auc"]) == (None, None, None)
    assert row["precision"] == 0
    assert row["f1"] == 0


def test_a_class_that_is_never_said_has_no_precision() -> None:
    logits, labels = drawn(classes=3)
    logits[:, 1] = -100
    row = metrics.classification(logits, labels, NAMES[:3]).rows[1]
    assert (row["precision"], row["recall"], row["f1"]) == (None, 0, 0)


def test_one_image_is_enough() -> None:
    measured = metrics.classification(torch.tensor([[2.0, 1.0]]), torch.tensor([0]), NAMES[:2])
    assert measured["top_1"] == 1
    assert measured.rows[1]["f1"] is None
    assert math.isnan(measured["roc_auc"])


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    peers.torchvision()  # which torchmetrics imports
    from torchmetrics.functional.classification import multiclass_calibration_error

    for seed in range(3):
        logits = torch.randn(500, 4, generator=torch.Generator().manual_seed(seed)).double() * 2
        labels = torch.arange(500) % 4
        wanted = multiclass_calibration_error(logits.softmax(1), labels, 4, n_bins=15, norm="l1")
        assert metrics.classification(logits, labels, NAMES[:4])["calibration_error"] == pytest.approx(float(wanted))


def test_who_is_always_sure_and_half_of_the_time_right_is_half_off() -> None:
    assert metrics.calibration_error(torch.ones(4), torch.tensor([True, False, True, False])) == 0.5
    assert metrics.calibration_error(torch.full((4,), 0.5), torch.tensor([True, False, True, False])) == 0


@pytest.mark.parametrize("known", [0.4, 1.0, 3.0])
def test_the_temperature_of_which_labels_were_drawn_is_found(known: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(30_000, 5, generator=generator)
    labels = torch.multinomial((logits / known).softmax(1), 1, generator=generator)[:, 0]
    assert metrics.temperature(logits, labels) == pytest.approx(known, rel=0.03)


def test_at_the_temperature_the_cross_entropy_has_no_slope() -> None:
    logits, labels = drawn()
    found = torch.tensor(metrics.temperature(logits, labels), dtype=torch.float64, requires_grad=True)
    F.cross_entropy(logits.double() / found, labels).backward()
    assert found.grad is not None
    assert abs(float(found.grad)) < 1e-5


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_scipy(counts: tuple[int, int]) -> None:
    right, images = counts
    wanted = binomtest(right, images).proportion_ci(method="wilson")
    assert metrics.wilson(right, images) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


SCORED = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40)
"""Scores in tenths, so that there are ties, and what is true of each."""


def tensors(each: list[tuple[int, bool]]) -> tuple[Tensor, Tensor]:
    scores = torch.tensor([score / 10 for score, _ in each], dtype=torch.float64)
    return scores, torch.tensor([yes for _, yes in each])


@settings(deadline=None)
@given(SCORED, st.sampled_from([0.5, 0.75, 0.9, 0.99, 1.0]))
def test_the_sure_threshold_is_the_lowest_of_all_that_do(each: list[tuple[int, bool]], wanted: float) -> None:
    scores, right = tensors(each)
    good = [t for t in sorted(set(scores.tolist())) if float(right[scores >= t].double().mean()) >= wanted]
    found = metrics.sure_threshold(scores, right, wanted)
    if not good:
        assert found is None
        return
    assert found is not None
    assert found[0] == good[0]
    assert found[1] == pytest.approx(float((scores >= good[0]).double().mean()))


@settings(deadline=None)
@given(SCORED)
def test_the_f1_threshold_is_the_best_of_all(each: list[tuple[int, bool]]) -> None:
    scores, positive = tensors(each)
    threshold, f1 = metrics.f1_threshold(scores, positive)
    if not positive.any():
        assert (threshold, f1) == (0.5, 0)
        return

    def at(threshold: float) -> float:
        return float(sklearn.metrics.f1_score(positive.numpy(), (scores >= threshold).numpy()))

    assert f1 == pytest.approx(max(at(t) for t in scores.tolist()))
    assert at(threshold) == pytest.approx(f1)


def test_several_labels_are_measured_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(300, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.9])).to(torch.uint8)
    logits = torch.randn(300, 4, generator=generator) + targets
    thresholds = (0.3, 0.5, 0.6, 0.7)
    for chosen in (thresholds, ()):
        measured = metrics.several_labels(logits, targets, NAMES[:4], chosen)
        said = (logits.double().sigmoid() >= torch.tensor(chosen or (0.5,) * 4, dtype=torch.float64)).numpy()
        wanted = targets.numpy()
        f1 = sklearn.metrics.f1_score(wanted, said, average=None)
        precision = sklearn.metrics.precision_score(wanted, said, average=None)
        assert [row["f1"] for row in measured.rows] == pytest.approx(f1.tolist())
        assert [row["precision"] for row in measured.rows] == pytest.approx(precision.tolist())
        assert measured["f1"] == pytest.approx(f1.mean())
        assert measured["subset_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(wanted, said))
        assert measured["label_accuracy"] == pytest.approx(1 - sklearn.metrics.hamming_loss(wanted, said))
        assert measured["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(wanted, logits, average="macro"))
        assert measured["pr_auc"] == pytest.approx(sklearn.metrics.average_precision_score(wanted, logits))


def test_numbers_are_measured_as_scikit_learn_does() -> None:
    outputs, targets = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0)).unbind()
    measured = metrics.regression(outputs, targets, NAMES[:3])
    r2 = sklearn.metrics.r2_score(targets, outputs, multioutput="raw_values")
    absolute = sklearn.metrics.mean_absolute_error(targets, outputs, multioutput="raw_values")
    squared = sklearn.metrics.root_mean_squared_error(targets, outputs, multioutput="raw_values")
    assert [row["r_squared"] for row in measured.rows] == pytest.approx(r2.tolist())
    assert [row["mean_absolute_error"] for row in measured.rows] == pytest.approx(absolute.tolist())
    assert [row["root_mean_square_error"] for row in measured.rows] == pytest.approx(squared.tolist())
    assert measured["r_squared"] == pytest.approx(r2.mean())


@pytest.mark.parametrize("images", [1, 3, 7, 1000])
def test_numbers_that_are_all_the_same_have_no_r_squared(images: int) -> None:
    outputs, targets = torch.zeros(images, 1), torch.full((images, 1), 0.1)
    assert metrics.regression(outputs, targets, NAMES[:1]).rows[0]["r_squared"] is None


def test_numbers_that_are_not_known_are_left_out() -> None:
    outputs, targets = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)).unbind()
    wanted = metrics.regression(outputs[:30], targets[:30], NAMES[:2])
    targets[30:, 0] = torch.nan
    assert metrics.regression(outputs, targets, NAMES[:2]).rows[0] == wanted.rows[0]
    targets[:] = torch.nan
    measured = metrics.regression(outputs, targets, NAMES[:2])
    assert set(measured.rows[0].values()) == {"a", None}
    assert measured.figures["mean_absolute_error"] is None


def test_intersection_over_union_is_that_of_each_class_counted_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(4, (5, 8, 9), generator=generator)
    target = torch.randint(3, (5, 8, 9), generator=generator)  # class 3 is said, and never there
    target[:, 0] = IGNORED
    matrix = metrics.confusion_matrix(predicted, target, 5)
    measured = metrics.segmentation(matrix, NAMES[:5], 5)
    known = target != IGNORED
    for c, row in enumerate(measured.rows):
        both = int(((predicted == c) & (target == c) & known).sum())
        either = int((((predicted == c) | (target == c)) & known).sum())
        assert row["iou"] == (both / either if either else None)
    assert measured.rows[3]["iou"] == 0
    assert measured.rows[4]["iou"] is None
    ious = sklearn.metrics.jaccard_score(target[known], predicted[known], average=None)
    assert measured["mean_iou"] == pytest.approx(ious.mean())
    assert measured["pixel_accuracy"] == pytest.approx(float((predicted == target)[known].float().mean()))


def test_a_mask_in_which_nothing_counts_has_no_figures() -> None:
    target = torch.full((1, 2, 2), IGNORED)
    measured = metrics.segmentation(metrics.confusion_matrix(torch.zeros_like(target), target, 2), NAMES[:2], 1)
    assert measured.figures == {"mean_iou": None, "pixel_accuracy": None}


def test_a_pixel_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(UserError, match="a pixel has the label 7; there are 3 classes"):
        metrics.confusion_matrix(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[7]]), 3)


@pytest.mark.slow
def test_a_thousand_classes_of_20_000_images_take_seconds() -> None:
    logits, labels = drawn(20_000, 1000)
    started = time.perf_counter()
    measured: Any = metrics.classification(logits, labels, [str(c) for c in range(1000)])
    assert time.perf_counter() - started < 20
    assert measured["roc_auc"] > 0.5
