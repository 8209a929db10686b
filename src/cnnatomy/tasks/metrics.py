"""How good answers are, measured exactly over a whole split: values in, an `Evaluation` out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.errors import UserError
from cnnatomy.tasks.losses import IGNORED
from cnnatomy.tasks.task import Evaluation

BINS = 15
"""Of the largest probability, for the calibration error (Guo et al. 2017, section 2)."""
NORMAL_95 = 1.959963984540054
"""How many standard deviations either way hold 95 % of a normal distribution."""
TEMPERATURES = (0.05, 20.0)
"""The lowest and the highest that are tried."""
ROWS = 4096
"""Images that are taken to float64 at once: all of ImageNet's validation would be copied several times over."""


def classification(
    logits: Tensor, labels: Tensor, names: Sequence[str], seconds: float = 0.0, loss: float = math.nan
) -> Evaluation:
    """Of one label an image: `logits` are `(images, classes)`, `labels` `(images,)`.

    Shares are 0 .. 1. `top_5` counts an image whose class is among the five likeliest. Precision is None where nothing
    was taken for a class, recall where no image is of it, the areas where no image is of it, or all are; each is of
    this class against the rest. `interval` holds top-1 with 95 % (Wilson 1927).

    Raises:
        UserError: if there is no image, a logit is no finite number, or a label is none of the classes.
    """
    _check("logits", logits)
    images, classes = logits.shape
    labels = _labels(labels, classes, "an image")
    taken = logits.argmax(1)
    counts = torch.bincount(labels * classes + taken, minlength=classes * classes).view(classes, classes)
    right = int(counts.diagonal().sum())
    top_5 = logits.topk(min(5, classes), 1).indices.eq(labels[:, None]).any(1).sum()
    sureness = torch.cat([part.double().softmax(1).amax(1) for part in logits.split(ROWS)])
    odds, of_class = log_odds(logits), labels.numpy()
    areas = [roc_and_pr(odds[c].numpy(), of_class == c) for c in range(classes)]
    rows: list[dict[str, Any]] = []
    for c, name in enumerate(names):
        hits, said, there = int(counts[c, c]), int(counts[:, c].sum()), int(counts[c].sum())
        rows.append(
            {
                "class": name,
                **precision_recall_f1(hits, said, there),
                "roc_auc": areas[c][0],
                "pr_auc": areas[c][1],
                "images": there,
            }
        )
    low, high = wilson(right, images)
    figures = {
        "top_1": right / images,
        "top_5": int(top_5) / images,
        "f1": mean([row["f1"] for row in rows]),
        "roc_auc": mean([row["roc_auc"] for row in rows]),
        "pr_auc": mean([row["pr_auc"] for row in rows]),
        "calibration_error": calibration_error(sureness, taken == labels),
    }
    more = {"interval": [low, high], "confusion_matrix": counts.tolist()}
    return Evaluation(images, loss, seconds, figures, "class", tuple(rows), more)


def precision_recall_f1(hits: int, said: int, there: int) -> dict[str, float | None]:
    """Of a class that was said so often, is there so often, and was said rightly so often; None where it is 0 / 0."""
    return {
        "precision": hits / said if said else None,
        "recall": hits / there if there else None,
        "f1": 2 * hits / (said + there) if said + there else None,
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Over what is defined."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def log_odds(logits: Tensor) -> Tensor:
    """log(p / (1 - p)) of the softmax of `(images, classes)`, as `(classes, images)` in float64.

    They are in the order of the probabilities, also of those that float64 rounds to 0 or 1 and so makes equal.
    """
    odds = torch.empty(logits.shape[::-1], dtype=torch.float64)
    for part, place in zip(logits.split(ROWS), odds.split(ROWS, 1), strict=True):
        logs = part.double().log_softmax(1)
        largest = logs.argmax(1, keepdim=True)
        # 1 - p is inexact where p is nearly 1, which only the largest can be: there it is the sum of all others.
        others = logs.scatter(1, largest, -math.inf).logsumexp(1, keepdim=True)
        of_largest = logs.gather(1, largest) - others
        place.copy_((logs - torch.log1p(-logs.exp())).scatter(1, largest, of_largest).T)
    return odds


def roc_and_pr(scores: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Area under the ROC curve, and average precision (as scikit-learn defines it); None without both kinds of image.

    The first is the share of pairs of a positive and another in which the positive has the higher score, ties half.
    The second is the mean, over the positives, of the precision at the score of each. Both come from one sort: for
    50,000 images of 1,000 classes scikit-learn's two functions need half a minute.
    """
    every, hits = np.sort(scores), np.sort(scores[positive])
    others = len(every) - len(hits)
    if not len(hits) or not others:
        return None, None
    below, hits_below = np.searchsorted(every, hits), np.searchsorted(hits, hits)
    not_above, hits_not_above = np.searchsorted(every, hits, "right"), np.searchsorted(hits, hits, "right")
    won_twice = int((below - hits_below + not_above - hits_not_above).sum())
    precision = (len(hits) - hits_below) / (len(every) - below)
    return won_twice / (2 * len(hits) * others), float(precision.mean())


def wilson(right: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927): where the normal test does not reject it."""
    share, z2 = right / images, NORMAL_95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = NORMAL_95 / (1 + z2 / images) * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(sureness: Tensor, right: Tensor) -> float:
    """The expected calibration error: how far sureness is from being right, in `BINS` equally wide bins.

    A bin holds its upper bound and not its lower one (Guo et al. 2017, equation 3).
    """
    exact = _check("probabilities", sureness).double()
    bins = torch.bucketize(exact, torch.arange(1, BINS, dtype=torch.float64) / BINS)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, right.double() - exact)
    return float(gaps.abs().sum() / len(exact))


def temperature(logits: Tensor, labels: Tensor) -> float:
    """What logits are divided by so that their cross entropy is lowest (Guo et al. 2017, section 4.2).

    It is within `TEMPERATURES`, and 1 where no other is better: where every image is right by far, say. The cross
    entropy is convex in 1 / T, and so has one minimum only.
    """
    from scipy.optimize import minimize_scalar

    _check("logits", logits)
    parts = list(zip(logits.split(ROWS), _labels(labels, logits.shape[1], "an image").split(ROWS), strict=True))

    def loss(log: float) -> float:
        sums = [F.cross_entropy(x.double() / math.exp(log), of_class, reduction="sum") for x, of_class in parts]
        return float(torch.stack(sums).sum()) / len(logits)

    bounds = tuple(map(math.log, TEMPERATURES))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def sure_threshold(sureness: Tensor, right: Tensor, wanted: float = 0.99) -> tuple[float, float] | None:
    """The lowest sureness from which on so large a share is right, and the share of images that are as sure; or None.

    Images as sure as one another are answered together.
    """
    order = _check("probabilities", sureness).argsort(descending=True)
    shares = right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    ordered = sureness[order]
    reached = ((shares >= wanted) & _last_of_equals(ordered)).nonzero()
    if not len(reached):
        return None
    place = int(reached[-1])
    return float(ordered[place]), (place + 1) / len(order)


def f1_threshold(scores: Tensor, positive: Tensor) -> tuple[float, float]:
    """The threshold at which "score >= threshold" has the highest F1, and that F1; 0.5 and 0 without a positive."""
    _check("scores", scores)
    if not positive.any():
        return 0.5, 0.0
    order = scores.argsort(descending=True)
    hits = positive[order].double().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(order) + 1) + positive.sum())
    ordered = scores[order]
    place = int(torch.where(_last_of_equals(ordered), f1, -1.0).argmax())
    return float(ordered[place]), float(f1[place])


def _last_of_equals(ordered: Tensor) -> Tensor:
    """Where a threshold may stand: after the last of scores that are the same."""
    return torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])


def several_labels(
    logits: Tensor,
    targets: Tensor,
    names: Sequence[str],
    thresholds: Sequence[float] = (),
    seconds: float = 0.0,
    loss: float = math.nan,
) -> Evaluation:
    """Of several labels an image, each yes or no: logits and targets (0 or 1) are `(images, labels)`.

    `subset_accuracy` is the share of images with all labels right, `label_accuracy` of all labels.
    """
    probabilities, wanted = _check("logits", logits).double().sigmoid(), targets > 0
    said = probabilities >= torch.tensor(list(thresholds) or [0.5] * len(names), dtype=torch.float64)
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        roc, pr = roc_and_pr(logits[:, i].numpy(), wanted[:, i].numpy())  # a sigmoid would make large ones equal
        hits = int((said[:, i] & wanted[:, i]).sum())
        figures = precision_recall_f1(hits, int(said[:, i].sum()), int(wanted[:, i].sum()))
        rows.append({"label": name, **figures, "roc_auc": roc, "pr_auc": pr, "images": int(wanted[:, i].sum())})
    right = said == wanted
    whole: dict[str, float | None] = {
        "label_accuracy": float(right.double().mean()),
        "subset_accuracy": float(right.all(1).double().mean()),
    }
    whole |= {key: mean([row[key] for row in rows]) for key in ("f1", "roc_auc", "pr_auc")}
    return Evaluation(len(logits), loss, seconds, whole, "label", tuple(rows))


def regression(
    outputs: Tensor, targets: Tensor, names: Sequence[str], seconds: float = 0.0, loss: float = math.nan
) -> Evaluation:
    """Of numbers: outputs and targets are `(images, numbers)`; a target that is nan counts for nothing.

    R squared is None where the targets are all the same, everything where there are none.
    """
    exact, wanted = _check("outputs", outputs).double(), targets.double()
    rows = [{"number": name} | _errors(exact[:, i], wanted[:, i]) for i, name in enumerate(names)]
    figures = {key: mean([row[key] for row in rows]) for key in ("mean_absolute_error", "r_squared")}
    return Evaluation(len(outputs), loss, seconds, figures, "number", tuple(rows))


def _errors(outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Of one number."""
    known = ~targets.isnan()
    wanted, errors = targets[known], (outputs - targets)[known]
    if not len(wanted):
        return dict.fromkeys(("mean_absolute_error", "root_mean_square_error", "r_squared")) | {"images": 0}
    # Not by the sum below being 0: the mean of equal numbers may be rounded to another one.
    varies = bool((wanted != wanted[0]).any())
    around_mean = (wanted - wanted.mean()).square().sum()
    return {
        "mean_absolute_error": float(errors.abs().mean()),
        "root_mean_square_error": float(errors.square().mean().sqrt()),
        "r_squared": float(1 - errors.square().sum() / around_mean) if varies else None,
        "images": len(wanted),
    }


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """How many pixels of each class (rows) were taken for each class (columns), int64; `IGNORED` is left out."""
    known = target != IGNORED
    labels = _labels(target[known], classes, "a pixel")
    return torch.bincount(labels * classes + predicted[known], minlength=classes * classes).view(classes, classes)


def segmentation(
    confusion: Tensor, names: Sequence[str], images: int, seconds: float = 0.0, loss: float = math.nan
) -> Evaluation:
    """Of a class for each pixel: intersection over union is None for a class that neither is there nor was said."""
    rows: list[dict[str, Any]] = []
    for c, name in enumerate(names):
        hits, said, there = int(confusion[c, c]), int(confusion[:, c].sum()), int(confusion[c].sum())
        union = said + there - hits
        row = {"class": name, "iou": hits / union if union else None, "pixels": there}
        rows.append(row | precision_recall_f1(hits, said, there))
    total = int(confusion.sum())
    figures = {
        "mean_iou": mean([row["iou"] for row in rows]),
        "pixel_accuracy": int(confusion.diagonal().sum()) / total if total else None,
    }
    return Evaluation(images, loss, seconds, figures, "class", tuple(rows), {"confusion_matrix": confusion.tolist()})


def _check(what: str, values: Tensor) -> Tensor:
    """The same values; raises `UserError` if there are none, or one is no finite number."""
    if not len(values):
        raise UserError("there is no image to measure on: a split needs at least one")
    wrong = values.numel() - int(values.isfinite().sum())
    if wrong:
        raise UserError(
            f"{wrong:,} of {values.numel():,} {what} are not finite, so nothing can be measured: expected numbers;"
            " a network that gives nan or infinity has diverged"
        )
    return values


def _labels(labels: Tensor, classes: int, whose: str) -> Tensor:
    """As int64, with which counts can be made; raises `UserError` if one is no class."""
    labels = labels.long()
    if len(labels):
        for label in (int(labels.min()), int(labels.max())):
            if not 0 <= label < classes:
                raise UserError(f"{whose} has the label {label}; there are {classes} classes, counted from 0")
    return labels
