"""The recipes that come with cnnatomy are those of their papers, and say where each value is from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import cnnatomy
from cnnatomy.errors import UserError
from cnnatomy.training import RECIPES, Recipe
from cnnatomy.training.recipes import find, read
from cnnatomy.training.shipped import SHIPPED


def test_alexnets_recipe_has_exactly_the_values_of_its_paper() -> None:
    """Krizhevsky et al. 2012, sections 4 and 5; slide 002:264."""
    alexnet = RECIPES["alexnet"]
    assert (alexnet.optimizer, alexnet.momentum, alexnet.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (alexnet.batch_size, alexnet.dropout, alexnet.decays_decoupled) == (128, 0.5, False)
    assert (alexnet.learning_rate, alexnet.schedule, alexnet.cut) == (0.01, "plateau", 0.1)
    assert alexnet.flip == 0.5
    assert 0 < alexnet.shift < 16 / 224


def test_resnets_recipe_has_exactly_the_values_of_its_paper() -> None:
    """He et al. 2015, section 3.4; slide 002:680."""
    resnet = RECIPES["resnet"]
    assert (resnet.optimizer, resnet.momentum, resnet.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (resnet.learning_rate, resnet.schedule, resnet.cut) == (0.1, "plateau", 0.1)
    assert (resnet.batch_size, resnet.initialisation, resnet.dropout) == (256, "he", None)


def test_the_cuts_for_cifar_are_at_32_000_and_48_000_iterations_of_64_000() -> None:
    """He et al. 2015, section 4.2, of 45,000 images; to the nearest epoch."""
    cifar = RECIPES["resnet-cifar"]
    iterations = [epochs * 45_000 / cifar.batch_size for epochs in (*cifar.cut_at, cifar.epochs)]
    assert iterations == pytest.approx([32_000, 48_000, 64_000], abs=45_000 / 128)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_reads_back_equal_from_its_yaml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPES[name].as_yaml())
    assert read(file) == RECIPES[name]
    assert find(str(file)).recipe == RECIPES[name]


def test_every_source_is_that_of_a_field_and_every_network_is_of_the_catalogue() -> None:
    names = {field.name for field in fields(Recipe)}
    for shipped in SHIPPED.values():
        assert set(shipped.sources) <= names
        assert not shipped.network or cnnatomy.network(shipped.network).name == shipped.network


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean densenet"):
        find("densnet")
