"""What is decided before the first step: a softmax at the end is left to the loss, which computes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import cnnatomy as cn
from cnnatomy import Chain, Network
from cnnatomy.analysis import memory
from cnnatomy.data import Data, load
from cnnatomy.design import Heads
from cnnatomy.design.blocks import Block
from cnnatomy.design.graph import FeatureMap
from cnnatomy.design.heads import LinearHead, MapHead
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, Flatten, FullyConnected, GlobalAvgPool, ReLU, Sigmoid, Softmax
from cnnatomy.layers.layer import Layer, value
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Mask
from cnnatomy.training import Recipe, Trained, fit
from cnnatomy.training.preparing import plan, without_softmax

SHAPE = (1, 8, 8)
TASK = Label(tuple("0123456789"))


@value
class Scored(Block):
    """A head of one's own that ends with a softmax."""

    stem = "head"

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return Softmax()(FullyConnected(10)(Flatten()(GlobalAvgPool()(x))))


def network(head: Any) -> Network:
    return Network(
        tail=Conv(4, 3, padding=1), body=Chain(ReLU(), Conv(8, 3, 2), ReLU()), head=head, input=SHAPE, name="small"
    )


def scores(network: Any) -> torch.Tensor:
    torch.manual_seed(0)
    module = network.build(SHAPE).eval()
    with torch.inference_mode():
        result: torch.Tensor = module(torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1)))
    return result


WITH_SOFTMAX = {
    "chain": (network(Chain(GlobalAvgPool(), Flatten(), FullyConnected(10), Softmax())), "head.softmax"),
    "named": (network(Chain(f=Flatten(), out=FullyConnected(10), chances=Softmax())), "head.chances"),
    "nested": (
        network(Chain(Flatten(), last=Chain(out=FullyConnected(10), inner=Chain(Softmax())))),
        "head.last.inner.softmax",
    ),
    "own block": (network(Scored()), "head.softmax"),
}
LISTED = {
    f"listed {name}": (ListedNetwork.of(made.graph(SHAPE), "small"), path)
    for name, (made, path) in WITH_SOFTMAX.items()
}


@pytest.mark.parametrize(("made", "path"), [*WITH_SOFTMAX.values(), *LISTED.values()], ids=[*WITH_SOFTMAX, *LISTED])
def test_a_softmax_before_cross_entropy_is_left_out(made: Any, path: str) -> None:
    changed, removed = without_softmax(made, SHAPE, TASK)
    assert removed == path
    assert not any(isinstance(node.layer, Softmax) for node in changed.graph(SHAPE).nodes)
    assert len(changed.graph(SHAPE).nodes) == len(made.graph(SHAPE).nodes) - 1
    torch.testing.assert_close(scores(changed).softmax(1), scores(made))
    assert without_softmax(changed, SHAPE, TASK) == (changed, "")


@pytest.mark.parametrize("name", ["chain", "named", "nested"])
def test_a_network_stays_one_of_tail_body_and_head(name: str) -> None:
    changed, _ = without_softmax(WITH_SOFTMAX[name][0], SHAPE, TASK)
    assert isinstance(changed, Network)
    assert changed.name == "small"
    assert changed.tail == WITH_SOFTMAX[name][0].tail


def test_another_softmax_stays() -> None:
    """One over other numbers, one that is not the end, and one that no loss computes."""
    inside = network(Chain(Flatten(), Softmax(), FullyConnected(10)))
    assert without_softmax(inside, SHAPE, TASK) == (inside, "")
    plain = network(Chain(Flatten(), FullyConnected(10)))
    assert without_softmax(plain, SHAPE, TASK) == (plain, "")
    several = network(Heads(a=Chain(Flatten(), FullyConnected(10), Softmax()), b=Chain(Flatten(), FullyConnected(10))))
    assert without_softmax(several, SHAPE, TASK) == (several, "")
    of_pixels = network(Chain(MapHead(10, 1), Softmax()))
    assert without_softmax(of_pixels, SHAPE, Mask(TASK.names)) == (of_pixels, "")


@pytest.fixture(scope="module")
def digits() -> Data:
    data = load("digits", SHAPE)
    return dataclasses.replace(data, train=dataclasses.replace(data.train, indices=data.train.indices[:100]))


@pytest.mark.parametrize(("made", "path"), [*WITH_SOFTMAX.values()], ids=[*WITH_SOFTMAX])
def test_it_is_said_and_the_run_is_of_the_network_without_it(
    made: Any, path: str, digits: Data, tmp_path: Path
) -> None:
    planned = plan(made, digits, Recipe(), torch.device("cpu"))
    (note,) = [note for note in planned.notes if "softmax" in note]
    assert f"({path})" in note
    trained = fit(made, digits, Recipe(epochs=1), tmp_path / "run")
    assert trained.run.network == planned.run.network
    read = Trained.load(tmp_path / "run")
    images = digits.test.store.images[:4]
    torch.testing.assert_close(read.probabilities(images), trained.probabilities(images))
    torch.testing.assert_close(read.probabilities(images).sum(1), torch.ones(4))


@pytest.mark.parametrize(
    ("kind", "head", "end"),
    [("mask", MapHead(11, 4), Softmax()), ("labels", LinearHead(10), Sigmoid())],
)
def test_what_the_loss_computes_is_refused_at_the_end_of_a_head(kind: str, head: Block, end: Layer) -> None:
    network = Network(
        tail=Chain(conv=Conv(8, 3, padding=1), relu=ReLU()),
        body=Chain(down=Conv(8, 3, stride=4, padding=1)),
        head=Chain(head=head, end=end),
        input=(1, 32, 32),
    )
    with pytest.raises(UserError, match=rf"{type(end).__name__.lower()} \(head.end\), which the loss of {kind} comp"):
        plan(network, load(f"scenes:{kind}", (1, 32, 32)), Recipe(), torch.device("cpu"))


def test_fewer_images_are_validated_at_once_where_memory_asks_for_it() -> None:
    """Validation of 256 images holds more at once than a step of few."""
    data = load("digits", (1, 32, 32))
    network = cn.network("lenet-5", classes=10)
    whole = plan(network, data, Recipe(batch_size=4), torch.device("cpu"))
    graph, kept = network.graph(), 2 * 61_706 * 4  # gradients and momentum
    assert whole.evaluated == 256
    assert whole.predicted == memory.inference(graph, memory.Setting(256)).total + kept
    less = plan(network, data, Recipe(batch_size=4), torch.device("cpu"), limit=whole.predicted // 2)
    assert 1 < less.evaluated < 256
    assert less.predicted <= whole.predicted // 2
    one, other = (fit(network, data, Recipe(epochs=0.2), memory=limit) for limit in (None, whole.predicted // 2))
    assert one.outcome is not None
    assert other.outcome is not None
    assert other.outcome.best.val_loss == pytest.approx(one.outcome.best.val_loss, rel=1e-4)
