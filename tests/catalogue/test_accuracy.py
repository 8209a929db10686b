"""Published accuracies belong to networks of the catalogue, and are what their source prints."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.catalogue.accuracy import _V1, ACCURACY
from peers import torchvision


def test_every_accuracy_is_that_of_a_network_of_the_catalogue():
    assert set(ACCURACY) <= {entry.name for entry in cn.ENTRIES}


@pytest.mark.parametrize("name", ACCURACY)
def test_an_accuracy_is_a_percentage_and_says_whose_it_is(name):
    top1, top5, source = ACCURACY[name]
    assert source
    assert top5 is not None
    assert 49 < (top1 or 50) < top5 < 100


def test_figures_from_errors_are_rounded_like_the_errors():
    assert ACCURACY["resnet-50-v1"][:2] == (75.3, 92.2)
    assert ACCURACY["dpn-92"][:2] == (79.27, 94.63)


@pytest.mark.peers
@pytest.mark.parametrize("name", _V1)
def test_torchvision_documents_what_is_said_to_be_its_own(name):
    weights = torchvision().models.get_model_weights(name).IMAGENET1K_V1
    assert weights.meta["_metrics"]["ImageNet-1K"] == {"acc@1": _V1[name].top1, "acc@5": _V1[name].top5}


@pytest.mark.peers
@pytest.mark.parametrize("name", [name for name in ACCURACY if ACCURACY[name] in _V1.values()])
def test_torchvision_has_trained_a_network_of_as_many_parameters(name):
    ours = next(other for other, accuracy in _V1.items() if accuracy == ACCURACY[name])
    weights = torchvision().models.get_model_weights(ours).IMAGENET1K_V1
    assert weights.meta["num_params"] == cn.network(name).account().totals.parameters
