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


def classification(
    logits: Tensor, labels: Tensor, names: Sequence[str], seconds: float = 0.0, loss: float = math.nan
) -> Evaluation:
    """Of one label an image: `logits` are `(images, classes)`, `labels` `(images,)`.

    Shares are 0 .. 1. `top_5` counts an image whose class is among the five likeliest, of equals the first. Precision
    is None where nothing was taken for a class, recall where no image is of it, the areas where no image is of it, or
    all are; each is of this class against the rest. `interval` holds top-1 with 95 % (Wilson 1927).
    """
    images, classes = logits.shape
    taken = logits.argmax(1)
    counts = torch.bincount(labels * classes + taken, minlength=classes * classes).view(classes, classes)
    right = int(counts.diagonal().sum())
    probabilities = logits.double().softmax(1)
    sureness = probabilities.amax(1)
    areas = [roc_and_pr(probabilities[:, c].numpy(), (labels == c).numpy()) for c in range(classes)]
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
        "top_5": int((places(logits, labels) < 5).sum()) / images,
        "f1": mean([row["f1"] for row in rows]),
        "roc_auc": mean([row["roc_auc"] for row in rows]),
        "pr_auc": mean([row["pr_auc"] for row in rows]),
        "calibration_error": calibration_error(sureness, taken == labels),
    }
    more = {"interval": [low, high], "confusion_matrix": counts.tolist()}
    return Evaluation(images, loss, seconds, figures, "class", tuple(rows), more)


def places(logits: Tensor, labels: Tensor) -> Tensor:
    """The place of each image's class, from 0 for the likeliest, `(images,)`; of equals the first, as argmax does."""
    own = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & before)).sum(1)


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


def roc_and_pr(scores: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Area under the ROC curve, and average precision (as scikit-learn defines it); None without both kinds of image.

    The first is the share of pairs of a positive and another in which the positive has the higher score, ties half. The
    second is the mean over the positives of the precision among all that have its score or a higher one.
    """
    if positive.all() or not positive.any():
        return None, None
    ordered, found = np.sort(scores), np.sort(scores[positive])  # of a thousand classes a sort each is most of the time
    images, hits = len(ordered), len(found)
    lower, upto = (ordered.searchsorted(found, side) for side in ("left", "right"))
    lower_hits, upto_hits = (found.searchsorted(found, side) for side in ("left", "right"))
    others, equals = lower - lower_hits, upto - lower - (upto_hits - lower_hits)
    roc = (others + equals / 2).sum() / (hits * (images - hits))
    return float(roc), float(((hits - lower_hits) / (images - lower)).mean())


def wilson(right: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927): where the normal test does not reject it."""
    share, z2 = right / images, NORMAL_95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = NORMAL_95 / (1 + z2 / images) * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(sureness: Tensor, right: Tensor) -> float:
    """The expected calibration error: how far sureness is from being right, in `BINS` equally wide bins."""
    bins = (sureness * BINS).ceil().clamp(1, BINS).long() - 1
    counts = torch.bincount(bins, minlength=BINS)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, right.double() - sureness.double()).abs()
    return float(gaps.sum() / counts.sum())


def temperature(logits: Tensor, labels: Tensor) -> float:
    """What logits are divided by so that their cross entropy is lowest (Guo et al. 2017, section 4.2)."""
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log: float) -> float:
        return float(F.cross_entropy(exact / math.exp(log), labels))

    bounds = tuple(map(math.log, TEMPERATURES))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def sure_threshold(sureness: Tensor, right: Tensor, wanted: float = 0.99) -> tuple[float, float] | None:
    """The lowest sureness from which on so large a share is right, and the share of images that are as sure; or None.

    Images as sure as one another are answered together.
    """
    order = sureness.argsort(descending=True)
    shares = right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    ordered = sureness[order]
    last_of_equals = torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])
    reached = ((shares >= wanted) & last_of_equals).nonzero()
    if not len(reached):
        return None
    place = int(reached[-1])
    return float(ordered[place]), (place + 1) / len(order)


def f1_threshold(scores: Tensor, positive: Tensor) -> tuple[float, float]:
    """The threshold at which "score >= threshold" has the highest F1, and that F1; 0.5 and 0 without a positive."""
    if not positive.any():
        return 0.5, 0.0
    order = scores.argsort(descending=True)
    hits = positive[order].double().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(order) + 1) + positive.sum())
    ordered = scores[order]
    last_of_equals = torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])
    place = int(torch.where(last_of_equals, f1, -1.0).argmax())
    return float(ordered[place]), float(f1[place])


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
    probabilities, wanted = logits.double().sigmoid(), targets > 0
    said = probabilities >= torch.tensor(list(thresholds) or [0.5] * len(names), dtype=torch.float64)
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        roc, pr = roc_and_pr(probabilities[:, i].numpy(), wanted[:, i].numpy())
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
    """Of numbers: outputs and targets are `(images, numbers)`; what is nan in a target is left out.

    R squared is None where the targets are all the same.
    """
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        known = ~targets[:, i].isnan()
        wanted = targets[known, i].double()
        errors = outputs[known, i].double() - wanted
        row: dict[str, Any] = {"number": name, "mean_absolute_error": None, "root_mean_square_error": None}
        row["r_squared"] = None
        if len(wanted):
            row["mean_absolute_error"] = float(errors.abs().mean())
            row["root_mean_square_error"] = float(errors.square().mean().sqrt())
        if len(wanted) and wanted.min() < wanted.max():
            row["r_squared"] = 1 - float(errors.square().sum() / (wanted - wanted.mean()).square().sum())
        rows.append(row)
    figures = {key: mean([row[key] for row in rows]) for key in ("mean_absolute_error", "r_squared")}
    return Evaluation(len(outputs), loss, seconds, figures, "number", tuple(rows))


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """How many pixels of each class (rows) were taken for each class (columns), int64; `IGNORED` is left out."""
    known = target != IGNORED
    labels = target[known].long()
    if len(labels) and int(labels.max()) >= classes:
        raise UserError(f"a pixel has the label {int(labels.max())}; there are {classes} classes, counted from 0")
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
