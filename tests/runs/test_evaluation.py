from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from cnnatomy.data import Normalisation
from cnnatomy.runs import evaluate
from cnnatomy.runs.model import Model
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.task import Evaluation


def measured(logits: Tensor, labels: Tensor, batch: int = 7) -> Evaluation:
    """Evaluates a network that returns these logits, one row an image."""

    class Table(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return logits[images.flatten().long()]

    model = Model(Table(), Normalisation((0.0,), (1 / 255,)))
    numbers = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    batches = zip(numbers.split(batch), labels.split(batch), strict=True)
    return evaluate(model, batches, Label(tuple(f"class {index}" for index in range(logits.shape[1]))))


def column(evaluation: Evaluation, name: str) -> list[float | None]:
    """A figure of every class."""
    return [row[name] for row in evaluation.rows]


def test_a_hand_example() -> None:
    """Six images of a, b, c: a a b b b c are taken for a b b b a b; nothing is taken for c."""
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    taken = torch.tensor([0, 1, 1, 1, 0, 1])
    result = measured(nn.functional.one_hot(taken, 3).float() * 9, labels)
    assert result.images == 6
    assert result["top_1"] == pytest.approx(3 / 6)
    assert column(result, "precision") == [pytest.approx(1 / 2), pytest.approx(2 / 4), None]
    assert column(result, "recall") == [pytest.approx(1 / 2), pytest.approx(2 / 3), pytest.approx(0)]
    assert result.more["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]
    assert result["top_5"] == 1  # there are only three classes


def test_top_5_by_hand() -> None:
    """With logits 0 .. 7 for eight classes, the five likeliest are classes 3 to 7."""
    labels = torch.arange(8)
    result = measured(torch.arange(8.0).repeat(8, 1), labels)
    assert result["top_1"] == pytest.approx(1 / 8)
    assert result["top_5"] == pytest.approx(5 / 8)


def test_everything_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 8, generator=generator), torch.randint(8, (200,), generator=generator)
    result = measured(logits, labels)
    taken = logits.argmax(1)
    assert result["top_1"] == pytest.approx(metrics.accuracy_score(labels, taken))
    assert result["top_5"] == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=5))
    assert result.loss == pytest.approx(metrics.log_loss(labels, logits.double().softmax(1)), rel=1e-5)
    assert np.array_equal(result.more["confusion_matrix"], metrics.confusion_matrix(labels, taken))
    assert column(result, "precision") == pytest.approx(metrics.precision_score(labels, taken, average=None))
    assert column(result, "recall") == pytest.approx(metrics.recall_score(labels, taken, average=None))


def test_as_dictionary_every_class_has_its_line() -> None:
    record = measured(torch.eye(3) * 5, torch.arange(3)).as_dict()
    said = {"class": "class 1", "precision": 1.0, "recall": 1.0, "f1": 1.0, "roc_auc": 1.0, "pr_auc": 1.0, "images": 1}
    assert record["per_class"][1] == said
    assert record["confusion_matrix"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
