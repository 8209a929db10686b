"""Every figure against one that is not ours: scikit-learn, torchmetrics, counting by hand, or all pairs."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.errors import UserError
from cnnatomy.tasks import metrics
from cnnatomy.tasks.task import Evaluation
from cnnatomy.training import libraries


def classes(number: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(number))


def drawn(images: int, number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels of a network that is often right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(number, (images,), generator=generator)
    return torch.randn(images, number, generator=generator) + 2 * F.one_hot(labels, number), labels


def measured(logits: Tensor, labels: Tensor) -> Evaluation:
    return metrics.classification(logits, labels, classes(logits.shape[1]))


def column(evaluation: Evaluation, key: str) -> list[float | None]:
    return [row[key] for row in evaluation.rows]


# One label an image


def test_six_images_by_hand() -> None:
    """a a b b b c are taken for a b b b a b; nothing is taken for c."""
    labels, taken = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0, 1])
    result = measured(F.one_hot(taken, 3).float() * 9, labels)
    assert result.images == 6
    assert (result["top_1"], result["top_5"]) == (3 / 6, 1)  # there are only three classes
    assert column(result, "precision") == [1 / 2, 2 / 4, None]
    assert column(result, "recall") == [1 / 2, 2 / 3, 0]
    assert column(result, "f1") == [1 / 2, pytest.approx(4 / 7), 0]
    assert result["f1"] == pytest.approx((1 / 2 + 4 / 7 + 0) / 3)
    assert column(result, "images") == [2, 3, 1]
    assert result.more["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]


def test_the_record_keeps_its_keys() -> None:
    record = metrics.classification(torch.eye(3) * 5, torch.arange(3), classes(3), seconds=2.0, loss=0.5).as_dict()
    assert {"images", "loss", "top_1", "top_5", "per_class", "confusion_matrix", "seconds"} <= set(record)
    assert {"class": "class 1", "precision": 1.0, "recall": 1.0, "images": 1}.items() <= record["per_class"][1].items()
    assert (record["images"], record["loss"], record["seconds"]) == (3, 0.5, 2.0)


def test_shares_agree_with_scikit_learn() -> None:
    logits, labels = drawn(300, 8)
    result, taken, probabilities = measured(logits, labels), logits.argmax(1), logits.double().softmax(1).numpy()
    assert result["top_1"] == pytest.approx(sk.accuracy_score(labels, taken))
    assert result["top_5"] == pytest.approx(sk.top_k_accuracy_score(labels, logits, k=5))
    assert column(result, "precision") == pytest.approx(list(sk.precision_score(labels, taken, average=None)))
    assert column(result, "recall") == pytest.approx(list(sk.recall_score(labels, taken, average=None)))
    assert column(result, "f1") == pytest.approx(list(sk.f1_score(labels, taken, average=None)))
    assert result["f1"] == pytest.approx(sk.f1_score(labels, taken, average="macro"))
    assert np.array_equal(result.more["confusion_matrix"], sk.confusion_matrix(labels, taken))
    against = {"multi_class": "ovr", "average": "macro"}
    assert result["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, **against), abs=1e-12)
    areas = [sk.average_precision_score(labels.numpy() == c, probabilities[:, c]) for c in range(8)]
    assert column(result, "pr_auc") == pytest.approx(areas, abs=1e-12)
    assert result["pr_auc"] == pytest.approx(sum(areas) / 8)


def test_shares_agree_with_torchmetrics() -> None:
    logits, labels = drawn(300, 8, seed=1)
    (kinds,) = libraries.load("torchmetrics.functional.classification")
    result = measured(logits, labels)
    accuracy, error = kinds.multiclass_accuracy, kinds.multiclass_calibration_error
    assert result["top_1"] == pytest.approx(float(accuracy(logits, labels, 8, average="micro")))
    assert result["top_5"] == pytest.approx(float(accuracy(logits, labels, 8, average="micro", top_k=5)))
    of_double = float(error(logits.double().softmax(1), labels, 8, n_bins=15, norm="l1"))
    assert result["calibration_error"] == pytest.approx(of_double, abs=1e-6)  # theirs adds in float32


def test_top_5_of_logits_0_to_7_are_classes_3_to_7() -> None:
    result = measured(torch.arange(8.0).repeat(8, 1), torch.arange(8))
    assert (result["top_1"], result["top_5"]) == (1 / 8, 5 / 8)


def test_of_equal_logits_as_many_are_among_the_five_as_by_torchmetrics() -> None:
    logits, labels = torch.randint(3, (400, 9)).float(), torch.randint(9, (400,))
    (kinds,) = libraries.load("torchmetrics.functional.classification")
    theirs = kinds.multiclass_accuracy(logits, labels, 9, average="micro", top_k=5)
    assert measured(logits, labels)["top_5"] == pytest.approx(float(theirs))


def test_with_one_class_in_the_split_areas_are_not_defined() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    result = measured(logits, torch.tensor([0, 0]))
    assert column(result, "roc_auc") == column(result, "pr_auc") == [None, None, None]
    assert (result.figures["roc_auc"], result.figures["pr_auc"]) == (None, None)
    assert column(result, "recall") == [0.5, None, None]
    assert column(result, "f1") == [pytest.approx(2 / 3), None, 0]  # b neither is there nor is said
    assert result["f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_one_image_of_one_class() -> None:
    result = measured(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
    assert (result["top_1"], result["top_5"], result["calibration_error"]) == (1, 1, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused_with_their_number(value: float) -> None:
    logits, labels = drawn(10, 4)
    logits[2, :3] = value
    for measure in (measured, metrics.temperature):
        with pytest.raises(UserError, match="3 of 40 logits are not finite"):
            measure(logits, labels)


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(UserError, match="the label 4; there are 4 classes"):
        measured(torch.zeros(3, 4), torch.tensor([0, 4, 1]))
    with pytest.raises(UserError, match="the label -1; there are 4 classes"):
        measured(torch.zeros(3, 4), torch.tensor([0, -1, 1]))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="no image"):
        measured(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def test_labels_of_one_byte_count_classes_above_15() -> None:
    """16 * 16 is more than a byte holds."""
    result = measured(torch.eye(40) * 9, torch.arange(40, dtype=torch.uint8))
    assert result["top_1"] == 1
    assert result.more["confusion_matrix"] == torch.eye(40).int().tolist()


@pytest.mark.slow
def test_50_000_images_of_1000_classes_are_measured_in_15_seconds() -> None:
    logits, labels = drawn(50_000, 1000)
    started = time.process_time()
    result = measured(logits, labels)
    assert time.process_time() - started < 15
    probabilities = logits[:, 7].double().numpy() - logits.double().logsumexp(1).numpy()
    assert result.rows[7]["roc_auc"] == pytest.approx(sk.roc_auc_score(labels == 7, probabilities), abs=1e-12)


# Areas under curves


SCORES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(SCORES)
def test_the_roc_area_is_the_share_of_pairs_in_order_ties_half(drawn: list[tuple[int, bool]]) -> None:
    positives, others = [s for s, of_class in drawn if of_class], [s for s, of_class in drawn if not of_class]
    roc, _ = metrics.roc_and_pr(np.array([s for s, _ in drawn]), np.array([of_class for _, of_class in drawn]))
    if not positives or not others:
        assert roc is None
    else:
        pairs = [1.0 if p > o else 0.5 if p == o else 0.0 for p, o in itertools.product(positives, others)]
        assert roc == pytest.approx(sum(pairs) / len(pairs), abs=1e-15)


@given(SCORES)
def test_both_areas_agree_with_scikit_learn(drawn: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([float(s) for s, _ in drawn]), np.array([of_class for _, of_class in drawn])
    if positive.any() and not positive.all():
        theirs = (sk.roc_auc_score(positive, scores), sk.average_precision_score(positive, scores))
        assert metrics.roc_and_pr(scores, positive) == pytest.approx(theirs, abs=1e-12)


def test_the_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn(50, 6).double() * 3
    p = logits.softmax(1)
    assert torch.allclose(metrics.log_odds(logits).T, p.log() - (1 - p).log(), rtol=1e-9, atol=1e-9)


def test_images_whose_probabilities_round_to_1_are_still_told_apart() -> None:
    """Margins of 50 and of 40 are both probability 1 in float64; the first is of the class, the second is not."""
    logits = torch.tensor([[50.0, 0.0], [40.0, 0.0], [0.0, 50.0]])
    assert logits[:2].double().softmax(1)[:, 0].tolist() == [1, 1]
    assert measured(logits, torch.tensor([0, 1, 1])).rows[0]["roc_auc"] == 1
    several = metrics.several_labels(logits, torch.tensor([[1, 0], [0, 0], [0, 1]]), ("a", "b"))
    assert several.rows[0]["roc_auc"] == 1


# The interval


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3 (Wilson).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_newcombes_table(right: int, images: int, low: float, high: float) -> None:
    assert metrics.wilson(right, images) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_ends_where_the_normal_test_just_rejects(drawn: tuple[int, int]) -> None:
    """At both ends, (share - p)^2 = z^2 p (1 - p) / n, with z the normal quantile of 97.5 %."""
    from scipy.stats import norm

    right, images = drawn
    share, z2 = right / images, norm.ppf(0.975) ** 2
    ends = sorted(np.roots([1 + z2 / images, -2 * share - z2 / images, share**2]).real)
    assert metrics.wilson(right, images) == pytest.approx(ends, abs=1e-6)  # a root of nearly equal ones is inexact


# Calibration


def test_the_calibration_error_by_hand() -> None:
    """In (2/3, 11/15] one of two is right at 0.7; in (14/15, 1] two of two at 0.95."""
    sureness, right = torch.tensor([0.7, 0.7, 0.95, 0.95]).double(), torch.tensor([True, False, True, True])
    assert metrics.calibration_error(sureness, right) == pytest.approx(0.5 * 0.2 + 0.5 * 0.05)


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=50))
def test_a_bin_holds_its_upper_bound_and_not_its_lower(drawn: list[tuple[int, bool]]) -> None:
    """Probabilities in sixtieths: every fourth is a bound of a bin, and the integers say exactly in which bin it is."""
    gap = 0.0
    for m in range(1, 16):
        inside = [(k / 60, right) for k, right in drawn if 4 * (m - 1) < k <= 4 * m or (k == 0 and m == 1)]
        gap += abs(sum(right - sureness for sureness, right in inside))
    sureness = torch.tensor([k for k, _ in drawn], dtype=torch.float64) / 60
    right = torch.tensor([right for _, right in drawn])
    assert metrics.calibration_error(sureness, right) == pytest.approx(gap / len(drawn), abs=1e-12)


def calibrated(images: int = 40_000, number: int = 5) -> tuple[Tensor, Tensor]:
    """Labels drawn by the very probabilities that the logits say."""
    logits = torch.randn(images, number, dtype=torch.float64) * 2
    return logits, logits.softmax(1).multinomial(1).flatten()


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_logits_made_larger_than_calibrated_are_divided_by_as_much(factor: float) -> None:
    logits, labels = calibrated()
    assert metrics.temperature(factor * logits, labels) == pytest.approx(factor, rel=0.03)


def test_at_the_temperature_the_cross_entropy_has_no_slope() -> None:
    logits, labels = drawn(500, 10)
    t = torch.tensor(metrics.temperature(logits, labels), dtype=torch.float64, requires_grad=True)
    F.cross_entropy(logits.double() / t, labels).backward()
    assert t.grad is not None
    assert abs(float(t.grad)) < 1e-5


def test_the_temperature_stays_within_its_bounds() -> None:
    """All right by a little wants to be surer without end; all wrong, less sure without end."""
    logits, labels = torch.eye(4), torch.arange(4)
    assert metrics.temperature(logits, labels) == pytest.approx(0.05, rel=1e-3)
    assert metrics.temperature(logits, labels.flip(0)) == pytest.approx(20, rel=1e-3)


def test_where_no_temperature_is_better_it_is_1() -> None:
    """All right by so much that the cross entropy is 0 at every temperature tried; or logits that say nothing."""
    assert metrics.temperature(torch.eye(4) * 5000, torch.arange(4)) == 1
    assert metrics.temperature(torch.zeros(4, 4), torch.arange(4)) == 1


# Thresholds


@given(SCORES)
def test_no_threshold_has_a_higher_f1(drawn: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([s for s, _ in drawn]) / 8, np.array([of_class for _, of_class in drawn])
    threshold, f1 = metrics.f1_threshold(torch.tensor(scores), torch.tensor(positive))
    if not positive.any():
        assert (threshold, f1) == (0.5, 0)
        return
    assert f1 == pytest.approx(sk.f1_score(positive, scores >= threshold))
    assert f1 == pytest.approx(max(sk.f1_score(positive, scores >= t, zero_division=0.0) for t in set(scores)))


@given(SCORES, st.sampled_from([0.5, 0.75, 0.99, 1.0]))
def test_no_lower_sureness_is_right_as_often_as_wanted(drawn: list[tuple[int, bool]], wanted: float) -> None:
    sureness, right = np.array([s for s, _ in drawn]) / 8, np.array([is_right for _, is_right in drawn])
    reached = [t for t in set(sureness) if right[sureness >= t].mean() >= wanted]
    found = metrics.sure_threshold(torch.tensor(sureness), torch.tensor(right), wanted)
    if not reached:
        assert found is None
    else:
        assert found == (min(reached), pytest.approx((sureness >= min(reached)).mean()))


def test_99_of_100_right_are_99_percent() -> None:
    right = torch.ones(100, dtype=torch.bool)
    right[40] = False
    assert metrics.sure_threshold(torch.full((100,), 0.8), right, 0.99) == (pytest.approx(0.8), 1.0)


def test_scores_that_are_nan_are_refused_with_their_number() -> None:
    scores, yes = torch.tensor([0.5, math.nan, math.nan]), torch.tensor([True, False, True])
    for choose in (metrics.f1_threshold, metrics.sure_threshold, metrics.calibration_error):
        with pytest.raises(UserError, match="2 of 3"):
            choose(scores, yes)


# Several labels


def test_several_labels_agree_with_scikit_learn() -> None:
    logits, targets = torch.randn(200, 4), (torch.rand(200, 4) < 0.4).to(torch.uint8)
    thresholds = (0.5, 0.3, 0.9, 0.0)
    result = metrics.several_labels(logits, targets, ("a", "b", "c", "d"), thresholds)
    probabilities, wanted = logits.double().sigmoid().numpy(), targets.numpy()
    said = probabilities >= np.array(thresholds)
    assert result["subset_accuracy"] == pytest.approx(sk.accuracy_score(wanted, said))
    assert result["label_accuracy"] == pytest.approx(1 - sk.hamming_loss(wanted, said))
    assert column(result, "precision") == pytest.approx(list(sk.precision_score(wanted, said, average=None)))
    assert column(result, "recall") == pytest.approx(list(sk.recall_score(wanted, said, average=None)))
    assert column(result, "f1") == pytest.approx(list(sk.f1_score(wanted, said, average=None)))
    assert result["f1"] == pytest.approx(sk.f1_score(wanted, said, average="macro"))
    assert column(result, "roc_auc") == pytest.approx(list(sk.roc_auc_score(wanted, probabilities, average=None)))
    areas = list(sk.average_precision_score(wanted, probabilities, average=None))
    assert column(result, "pr_auc") == pytest.approx(areas)
    assert column(result, "images") == wanted.sum(0).tolist()


def test_a_label_of_no_image_that_is_never_said_has_no_figures() -> None:
    result = metrics.several_labels(torch.tensor([[5.0, -5.0]]), torch.tensor([[1, 0]]), ("there", "not there"))
    missing = result.rows[1]
    assert {missing[key] for key in ("precision", "recall", "f1", "roc_auc", "pr_auc")} == {None}
    assert (result["f1"], result["subset_accuracy"], result["label_accuracy"]) == (1, 1, 1)


def test_several_labels_of_nan_are_refused_with_their_number() -> None:
    with pytest.raises(UserError, match="2 of 2 logits are not finite"):
        metrics.several_labels(torch.full((1, 2), math.nan), torch.ones(1, 2), ("a", "b"))


# Numbers


def test_errors_of_numbers_agree_with_scikit_learn() -> None:
    targets = torch.randn(100, 3)
    outputs = targets + torch.randn(100, 3) / 3
    result = metrics.regression(outputs, targets, ("x", "y", "z"))
    each = {"multioutput": "raw_values"}
    exact = (targets.double(), outputs.double())
    assert column(result, "mean_absolute_error") == pytest.approx(list(sk.mean_absolute_error(*exact, **each)))
    errors = list(sk.root_mean_squared_error(*exact, **each))
    assert column(result, "root_mean_square_error") == pytest.approx(errors)
    assert column(result, "r_squared") == pytest.approx(list(sk.r2_score(*exact, **each)))
    assert result["r_squared"] == pytest.approx(sk.r2_score(*exact))


def test_differences_are_taken_in_float64() -> None:
    """2^24 and 1/4 are float32; their difference is not."""
    result = metrics.regression(torch.tensor([[2.0**24]]), torch.tensor([[0.25]]), ("x",))
    assert result["mean_absolute_error"] == 2.0**24 - 0.25


@given(st.floats(-1e6, 1e6), st.integers(1, 20))
@example(0.1, 3)
def test_r_squared_is_not_defined_for_targets_that_are_all_the_same(value: float, images: int) -> None:
    """The mean of three times 0.1 is not 0.1 in float64."""
    targets = torch.full((images, 1), value, dtype=torch.float64)
    assert metrics.regression(targets + 1, targets, ("x",)).rows[0]["r_squared"] is None


def test_a_target_of_nan_counts_for_nothing() -> None:
    outputs, targets = torch.tensor([[1.0, 1.0], [2.0, 5.0]]), torch.tensor([[3.0, math.nan], [math.nan, math.nan]])
    result = metrics.regression(outputs, targets, ("x", "y"))
    assert column(result, "images") == [1, 0]
    assert column(result, "mean_absolute_error") == [2, None]
    assert result["mean_absolute_error"] == 2


def test_an_output_of_nan_is_refused_with_its_number() -> None:
    with pytest.raises(UserError, match="1 of 2 outputs are not finite"):
        metrics.regression(torch.tensor([[1.0], [math.nan]]), torch.ones(2, 1), ("x",))


# A class for each pixel


def test_segmentation_by_hand() -> None:
    """Pixels a a b b are taken for a b b b; a fifth counts for nothing; class c neither is there nor is said."""
    target, predicted = torch.tensor([[0, 0, 1, 1, 255]]), torch.tensor([[0, 1, 1, 1, 2]])
    confusion = metrics.confusion_matrix(predicted, target, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    result = metrics.segmentation(confusion, ("a", "b", "c"), images=1)
    assert column(result, "iou") == [1 / 2, 2 / 3, None]
    assert result["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["pixel_accuracy"] == 3 / 4


def test_intersection_over_union_agrees_with_scikit_learn_over_several_batches() -> None:
    target, predicted = torch.randint(5, (6, 8, 8), dtype=torch.uint8), torch.randint(5, (6, 8, 8))
    batches = zip(predicted.split(2), target.split(2), strict=True)
    confusion = sum((metrics.confusion_matrix(p, t, 5) for p, t in batches), torch.zeros(5, 5, dtype=torch.int64))
    assert confusion.dtype == torch.int64
    assert np.array_equal(confusion, sk.confusion_matrix(target.flatten(), predicted.flatten()))
    result = metrics.segmentation(confusion, classes(5), images=6)
    shares = list(sk.jaccard_score(target.flatten(), predicted.flatten(), average=None))
    assert column(result, "iou") == pytest.approx(shares)
    assert result["pixel_accuracy"] == pytest.approx(sk.accuracy_score(target.flatten(), predicted.flatten()))


def test_where_every_pixel_is_ignored_nothing_is_defined() -> None:
    ignored = torch.full((1, 4), 255, dtype=torch.uint8)
    result = metrics.segmentation(metrics.confusion_matrix(torch.zeros(1, 4).long(), ignored, 2), ("a", "b"), 1)
    assert (result.figures["mean_iou"], result.figures["pixel_accuracy"]) == (None, None)


def test_a_pixel_whose_label_is_no_class_is_refused() -> None:
    with pytest.raises(UserError, match="a pixel has the label 7; there are 3 classes"):
        metrics.confusion_matrix(torch.zeros(1, 2).long(), torch.tensor([[0, 7]]), 3)
