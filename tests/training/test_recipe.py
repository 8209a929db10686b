from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cnnatomy.errors import UserError
from cnnatomy.training import RECIPES, Recipe, initialise, recipe


def test_alexnets_recipe_is_that_of_its_paper() -> None:
    """Krizhevsky et al. 2012, section 5."""
    published = recipe("alexnet")
    assert (published.batch_size, published.momentum, published.weight_decay) == (128, 0.9, 0.0005)
    assert (published.learning_rate, published.cut) == (0.01, 0.1)


def test_resnets_recipe_is_that_of_its_paper() -> None:
    """He et al. 2015, section 3.4; slide 002:680 with another weight decay."""
    published = recipe("resnet")
    assert (published.batch_size, published.momentum, published.weight_decay) == (256, 0.9, 0.0001)
    assert (published.learning_rate, published.cut, published.initialisation) == (0.1, 0.1, "he")


def test_a_recipe_survives_being_written_down() -> None:
    for value in RECIPES.values():
        assert Recipe.from_dict(value.as_dict(), "it") == value


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"momentum": 1.5},
        {"epochs": 0},
        {"batch_size": 0},
        {"patience": -1},
        {"seed": -1},
        {"rotation": 200.0},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", " ")):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean alexnet"):
        recipe("alexnt")
    with pytest.raises(UserError, match="Did you mean xavier"):
        Recipe(initialisation="xavir")


@pytest.mark.parametrize(
    ("scheme", "layer", "variance"),
    [
        ("he", nn.Linear(400, 300), 2 / 400),
        ("calibrated", nn.Linear(400, 300), 1 / 400),
        ("xavier", nn.Linear(400, 300), 2 / 700),
        ("he", nn.Conv2d(32, 64, 5), 2 / (32 * 25)),
        ("he", nn.Conv2d(32, 64, 5, groups=4), 2 / (8 * 25)),
        ("xavier", nn.Conv2d(32, 64, 5), 2 / ((32 + 64) * 25)),
        ("he", nn.ConvTranspose2d(64, 32, 5), 2 / (64 * 25)),
    ],
)
def test_weights_have_the_variance_of_their_scheme(scheme: str, layer: nn.Module, variance: float) -> None:
    torch.manual_seed(0)
    initialise(layer, scheme, bias=0.01)
    assert isinstance(layer.weight, torch.Tensor)
    assert isinstance(layer.bias, torch.Tensor)
    assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.05)
    assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=3 * math.sqrt(variance / layer.weight.numel()))
    assert set(layer.bias.tolist()) == {torch.tensor(0.01).item()}


def test_calibrated_weights_keep_the_deviation_through_a_linear_network() -> None:
    """Slide 002:911."""
    torch.manual_seed(0)
    network = nn.Sequential(*[nn.Linear(512, 512) for _ in range(20)])
    initialise(network, "calibrated")
    assert float(network(torch.randn(256, 512)).detach().std()) == pytest.approx(1, rel=0.25)


@pytest.mark.slow
def test_he_weights_keep_the_second_moment_through_thirty_layers_of_relu_and_calibrated_ones_lose_it() -> None:
    """Slide 002:916; He et al. 2015, figure 3."""
    moments = {}
    for scheme in ("he", "calibrated"):
        torch.manual_seed(0)
        layers = [module for _ in range(30) for module in (nn.Linear(1024, 1024), nn.ReLU())]
        network = nn.Sequential(*layers)
        initialise(network, scheme)
        moments[scheme] = float(network[:-1](torch.randn(64, 1024)).detach().square().mean())
    assert 0.3 < moments["he"] / 2 < 3  # 2: before the last ReLU halves it
    assert moments["calibrated"] < 1e-6


def test_torchs_own_initialisation_and_other_layers_are_left_alone() -> None:
    layer, norm = nn.Linear(4, 4), nn.BatchNorm2d(4)
    before = layer.weight.detach().clone()
    initialise(layer, "torch")
    initialise(norm, "he")
    assert torch.equal(layer.weight, before)
    assert torch.equal(norm.weight, torch.ones(4))
