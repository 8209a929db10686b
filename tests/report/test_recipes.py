"""What is said of recipes, and of what tells two of them apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cnnatomy.report.recipes import difference, every, one
from cnnatomy.training import RECIPES
from cnnatomy.training.recipes import read


def test_every_recipe_is_listed() -> None:
    assert all(f"\n{name} " in f"\n{every('table')}" for name in RECIPES)
    assert [record["name"] for record in json.loads(every("json"))] == list(RECIPES)


def test_a_recipe_is_shown_with_its_sources_and_what_is_no_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = one("alexnet", "table")
    assert "dropout: 0.5" in text
    assert "section 4.2: in the first two fully connected layers" in text
    assert "an ensemble of five networks" in text
    assert "ema" not in text


def test_a_recipe_as_json_has_every_field_and_as_yaml_is_a_file(tmp_path: Path) -> None:
    record = json.loads(one("inception-v3", "json"))
    assert record["recipe"] == RECIPES["inception-v3"].as_dict()
    assert {"field": "clip", "value": 2.0, "about": "largest norm of the gradient; 0: any", "source": "section 8"} in (
        record["fields"]
    )
    file = tmp_path / "mine.yaml"
    file.write_text(one("inception-v3", "yaml"))
    assert read(file) == RECIPES["inception-v3"]


def test_from_lenet_to_alexnet_every_change_is_shown() -> None:
    """Slide 003:150: dropout, ReLU, max pooling, augmentation, ensembling."""
    record = json.loads(difference("lenet-1998", "alexnet", "json"))
    designs = {line["field"]: (line["first"], line["second"]) for line in record["designs"]}
    assert designs["weight layers"] == ("5", "8")
    assert designs["nonlinearity"] == ("4 Tanh", "7 ReLU")
    assert designs["pooling"] == ("2 AvgPool", "3 MaxPool")
    assert designs["dropout"] == ("none", "2 Dropout(0.5)")
    assert designs["kernels"] == ("2 5x5", "11x11, 5x5, 3 3x3")
    assert designs["parameters"] == ("61,706", "60,965,224")
    changed = {line["field"]: (line["first"], line["second"]) for line in record["fields"]}
    assert changed["dropout"] == (None, 0.5)
    assert changed["flip"] == (0, 0.5)
    assert any("ensemble" in text for text in record["besides"][1])
    assert not any("ensemble" in text for text in record["besides"][0])
    assert "ensemble" in difference("lenet-1998", "alexnet", "table")


def test_only_what_differs_is_shown() -> None:
    assert "no field differs" in difference("default", "default", "table")
    record = yaml.safe_load(difference("densenet", "densenet-cifar", "yaml"))
    assert [line["field"] for line in record["fields"]] == ["cut_at", "epochs", "batch_size", "crop"]
    assert record["designs"] == []
