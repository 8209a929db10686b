"""`Trained`, which every room takes and returns: kept in a folder, read back, derived from another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cnnatomy import Block, Chain, FeatureMap, Network
from cnnatomy.data import Data, load
from cnnatomy.design import LinearHead, ListedNetwork, VectorHead
from cnnatomy.design.parts import conv_bn, conv_bn_relu
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, Conv, Layer, MaxPool, ReLU
from cnnatomy.layers.layer import CHANNEL, Shape, value
from cnnatomy.runs import read_run
from cnnatomy.training import Recipe, Trained, fit

ONE_EPOCH = Recipe(learning_rate=0.05, epochs=1)


@value
class Mine(Block):
    """The first example of docs/designs.md: a block of one's own."""

    width: int

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = conv_bn(conv_bn_relu(x, self.width, 3), self.width, 3)
        return ReLU()(Add()(x, y))


def network(width: int = 8, head: Block | None = None) -> Network:
    return Network(
        tail=Chain(Conv(width, 3, padding=1), ReLU(), MaxPool(2)),
        body=Chain(stage1=Chain(Mine(width), Mine(width))),
        head=head or LinearHead(10),
        input=(1, 16, 16),
        name="mine",
    )


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture(scope="module")
def images(digits: Data) -> Tensor:
    return next(iter(digits.test.batches(32)))[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, digits: Data) -> Trained:
    """A network with a block of one's own after one epoch on the digits, at another size than its default."""
    return fit(network(head=VectorHead(10)), digits, ONE_EPOCH, tmp_path_factory.mktemp("runs") / "mine")


def test_a_network_with_a_block_of_ones_own_can_be_read_back(trained: Trained, images: Tensor) -> None:
    again = Trained.load(trained.name, "cpu")
    assert isinstance(again.run.network, ListedNetwork)
    assert torch.equal(again.probabilities(images), trained.probabilities(images))


def test_it_keeps_the_names_of_its_tensors(trained: Trained) -> None:
    built = network(head=VectorHead(10)).build((1, 8, 8))
    assert list(trained.network.state_dict()) == list(built.state_dict())


def test_it_goes_on_where_it_was(tmp_path: Path, digits: Data) -> None:
    more = dataclasses.replace(ONE_EPOCH, epochs=2)
    whole = fit(network(), digits, more, tmp_path / "whole")
    fit(network(), digits, more, tmp_path / "parts")
    (tmp_path / "parts" / "summary.json").unlink()
    again = fit(network(), digits, more, tmp_path / "parts", resume=True)
    assert again.outcome is not None
    assert whole.outcome is not None
    assert again.outcome.test.more["confusion_matrix"] == whole.outcome.test.more["confusion_matrix"]


def test_what_cannot_be_kept_is_refused_before_the_first_step(tmp_path: Path, digits: Data) -> None:
    @value
    class Own(Layer):
        kind = CHANNEL

        def output_shape(self, *inputs: Shape) -> Shape:
            return inputs[0]

    odd = network().replace(tail=Chain(Conv(8, 3, padding=1), Own()))
    with pytest.raises(UserError, match=r"mine cannot be kept in a run folder.*'Own'.*tail\.own.*none of our layers"):
        fit(odd, digits, ONE_EPOCH, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_on_begins_with_the_weights_of_its_parent_and_names_it(
    tmp_path: Path, digits: Data, trained: Trained
) -> None:
    still = dataclasses.replace(ONE_EPOCH, learning_rate=1e-12, weight_decay=0.0)
    on = fit(network(head=VectorHead(10)), digits, still, tmp_path / "on", start=trained)
    for name, tensor in on.network.named_parameters():
        assert torch.allclose(tensor, trained.network.get_parameter(name), atol=1e-6)
    record = json.loads((tmp_path / "on" / "run.json").read_text())
    assert (record["parent"], record["change"]) == (trained.name, "trained further")
    assert read_run(tmp_path / "on")[1] == on.run


def test_only_the_same_network_is_a_start(digits: Data, trained: Trained) -> None:
    with pytest.raises(UserError, match=r"mine holds weights of another network than mine: tail\.conv\.weight"):
        fit(network(width=9, head=VectorHead(10)), digits, ONE_EPOCH, start=trained)


def test_a_run_without_a_parent_says_nothing_of_one(trained: Trained) -> None:
    assert trained.path is not None
    assert not {"parent", "change"} & set(json.loads((trained.path / "run.json").read_text()))


def test_what_is_derived_names_its_parent_and_can_be_saved(tmp_path: Path, trained: Trained, images: Tensor) -> None:
    design = trained.run.network
    module = design.build(trained.run.shape)
    module.load_state_dict(trained.network.state_dict())
    child = trained.derived(design, module, "copied").save(tmp_path / "child")
    again = Trained.load(tmp_path / "child", "cpu")
    assert (again.run.parent, again.run.change) == (trained.name, "copied")
    assert again.run == child.run
    assert torch.equal(again.probabilities(images), trained.probabilities(images))
    with pytest.raises(UserError, match="exists already"):
        child.save(tmp_path / "child")


def test_weights_of_another_network_are_not_derived(trained: Trained) -> None:
    with pytest.raises(UserError, match=r"^the module holds weights of another network than other: tail\.conv\.weight"):
        trained.derived(network(width=9).replace(name="other"), trained.network, "widened")


def test_a_network_without_a_name_is_called_the_network(digits: Data, trained: Trained) -> None:
    with pytest.raises(UserError, match="weights of another network than the network: "):
        fit(network(width=9).replace(name=""), digits, ONE_EPOCH, start=trained)
