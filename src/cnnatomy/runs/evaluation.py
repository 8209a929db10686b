"""How good a trained network is: top-1, top-5, precision and recall by class, the confusion matrix, by torchmetrics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnatomy.runs import libraries
from cnnatomy.runs.classifier import Classifier

EVALUATION_BATCH = 256
"""Images at once."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured on so many `images`. Shares are 0 .. 1.

    `top_5` counts an image whose class is among the five likeliest (all of them where there are fewer classes).
    `precision[c]` is None where nothing was taken for class c, `recall[c]` where no image is of class c.
    `confusion[t][p]` counts the images of class t taken for class p.
    """

    classes: tuple[str, ...]
    images: int
    loss: float
    top_1: float
    top_5: float
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As `test` in summary.json."""
        return {
            "images": self.images,
            "loss": self.loss,
            "top_1": self.top_1,
            "top_5": self.top_5,
            "per_class": [
                {"class": name, "precision": precision, "recall": recall, "images": sum(row)}
                for name, precision, recall, row in zip(
                    self.classes, self.precision, self.recall, self.confusion, strict=True
                )
            ],
            "confusion_matrix": [list(row) for row in self.confusion],
            "seconds": self.seconds,
        }


def evaluate(classifier: Classifier, batches: Iterable[tuple[Tensor, Tensor]], classes: tuple[str, ...]) -> Evaluation:
    """Runs every batch of (images uint8, labels) through the classifier, on the device that it is on."""
    device = classifier.mean.device
    number = len(classes)
    torchmetrics, kinds = libraries.load("torchmetrics", "torchmetrics.classification")
    metrics = torchmetrics.MetricCollection(
        {
            "top_1": kinds.MulticlassAccuracy(number, average="micro"),
            "top_5": kinds.MulticlassAccuracy(number, average="micro", top_k=min(5, number)),
            "precision": kinds.MulticlassPrecision(number, average=None),
            "recall": kinds.MulticlassRecall(number, average=None),
            "confusion": kinds.MulticlassConfusionMatrix(number),
        },
        compute_groups=False,  # top_5 counts otherwise than the others, and must not be put together with them
    ).to(device)
    started, loss, count = time.perf_counter(), 0.0, 0
    training = classifier.training
    classifier.eval()
    with torch.inference_mode(), libraries.quiet():
        for images, labels in batches:
            logits = classifier.logits(images)
            labels = labels.to(device)
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
            metrics.update(logits, labels)
        result = metrics.compute()
    classifier.train(training)
    confusion = result["confusion"]
    taken, given = confusion.sum(0).tolist(), confusion.sum(1).tolist()
    return Evaluation(
        classes=classes,
        images=count,
        loss=loss / count,
        top_1=float(result["top_1"]),
        top_5=float(result["top_5"]),
        precision=_defined(result["precision"], taken),
        recall=_defined(result["recall"], given),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        seconds=time.perf_counter() - started,
    )


def _defined(shares: Tensor, counts: list[int]) -> tuple[float | None, ...]:
    """None instead of the 0 that torchmetrics gives for 0 / 0."""
    return tuple(share if count else None for share, count in zip(shares.tolist(), counts, strict=True))
