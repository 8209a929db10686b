"""What is chosen on validation, and used afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import cnnatomy as cn
from cnnatomy.data import load
from cnnatomy.errors import UserError
from cnnatomy.runs import Trained
from cnnatomy.training import Recipe, fit


@pytest.mark.slow
def test_temperature_and_threshold_of_validation_are_kept_and_used(tmp_path: Path) -> None:
    data = load("digits", (1, 32, 32))
    trained = fit(cn.network("lenet-5", classes=10), data, Recipe(epochs=3, learning_rate=0.05), tmp_path / "run")
    again = Trained.load(tmp_path / "run", "cpu")
    assert again.choices == trained.choices
    calibrated, threshold = again.as_chosen()
    assert 0 < threshold <= 1
    images, labels = next(iter(data.val.batches(len(data.val))))
    said = calibrated.answers(images)
    sure = [answer.record["predictions"][0]["probability"] >= threshold - 1e-6 for answer in said]
    assert isinstance(labels, torch.Tensor)
    right = [answer.record["class"] == data.classes[label] for answer, label in zip(said, labels.tolist(), strict=True)]
    answered = [good for good, is_sure in zip(right, sure, strict=True) if is_sure]
    assert sum(answered) / len(answered) >= 0.99
    plain = again.answers(images)
    ratio = calibrated.run.task.temperature  # type: ignore[attr-defined]
    logits, _ = again.model.heads(again.model(images))
    assert plain[0].record["predictions"][0]["probability"] == pytest.approx(
        float(logits[0].softmax(0).max()), rel=1e-5
    )
    expected = float((logits[0] / ratio).softmax(0).max())
    assert said[0].record["predictions"][0]["probability"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_each_of_several_labels_has_the_threshold_of_validation(tmp_path: Path) -> None:
    data = load("scenes:labels", (1, 32, 32))
    network = cn.network("lenet-5", classes=10)
    trained = fit(network, data, Recipe(epochs=1), tmp_path / "run")
    again = Trained.load(tmp_path / "run", "cpu")
    result, _ = again.evaluate()
    assert trained.outcome is not None
    assert result.figures == trained.outcome.test.figures
    chosen, _ = again.as_chosen()
    assert chosen.run.task.thresholds == tuple(again.choices["thresholds"])  # type: ignore[attr-defined, arg-type]


def test_where_nothing_was_chosen_that_is_said(tmp_path: Path) -> None:
    data = load("scenes:numbers", (1, 32, 32))
    trained = fit(cn.network("lenet-5", classes=2), data, Recipe(epochs=0.1))
    with pytest.raises(UserError, match="no threshold was chosen on validation"):
        trained.as_chosen()
