"""What is decided before the first step: a softmax at the end is left to the loss, which computes it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import cnnatomy as cn
from cnnatomy import Chain, Network
from cnnatomy.analysis import memory
from cnnatomy.data import Data, load
from cnnatomy.design import Heads
from cnnatomy.design.blocks import Block, Residual
from cnnatomy.design.graph import FeatureMap
from cnnatomy.design.heads import CodeHead, ConvHead, LinearHead, MapHead, PixelHead
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.errors import UserError
from cnnatomy.layers import (
    BatchNorm,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    LeakyReLU,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
)
from cnnatomy.layers.layer import Layer, value
from cnnatomy.tasks.ends import spoiled, without_activation
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Mask
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.objects import Objects
from cnnatomy.tasks.several import Localised, SeveralHeads
from cnnatomy.tasks.task import Task
from cnnatomy.training import Recipe, Trained, fit
from cnnatomy.training.preparing import plan

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
    "flattened after it": (network(Chain(GlobalAvgPool(), Conv(10, 1), Softmax(), Flatten())), "head.softmax"),
    "reshaped after it": (
        network(Chain(GlobalAvgPool(), Conv(10, 1), Chain(p=Softmax()), Reshape((10,)))),
        "head.chain.p",
    ),
    "bare": (network(Softmax()).replace(body=Chain(Flatten(), FullyConnected(10))), "head"),
}
LISTED = {
    f"listed {name}": (ListedNetwork.of(made.graph(SHAPE), "small"), path)
    for name, (made, path) in WITH_SOFTMAX.items()
}


@pytest.mark.parametrize(("made", "path"), [*WITH_SOFTMAX.values(), *LISTED.values()], ids=[*WITH_SOFTMAX, *LISTED])
def test_a_softmax_before_cross_entropy_is_left_out(made: Any, path: str) -> None:
    changed, removed = without_activation(made, SHAPE, TASK)
    assert removed == f"the softmax at the end ({path})"
    assert not any(isinstance(node.layer, Softmax) for node in changed.graph(SHAPE).nodes)
    assert len(changed.graph(SHAPE).nodes) == len(made.graph(SHAPE).nodes) - 1
    torch.testing.assert_close(scores(changed).softmax(1), scores(made))
    assert without_activation(changed, SHAPE, TASK) == (changed, "")


@pytest.mark.parametrize("name", ["chain", "named", "nested"])
def test_a_network_stays_one_of_tail_body_and_head(name: str) -> None:
    changed, _ = without_activation(WITH_SOFTMAX[name][0], SHAPE, TASK)
    assert isinstance(changed, Network)
    assert changed.name == "small"
    assert changed.tail == WITH_SOFTMAX[name][0].tail


def test_another_softmax_stays() -> None:
    """One that is not the end, or over other numbers; one that another layer reads, too; one that no loss computes."""
    inside = network(Chain(Flatten(), Softmax(), FullyConnected(10)))
    assert without_activation(inside, SHAPE, TASK) == (inside, "")
    plain = network(Chain(Flatten(), FullyConnected(10)))
    assert without_activation(plain, SHAPE, TASK) == (plain, "")
    of_five = network(Chain(Flatten(), FullyConnected(10), Reshape((2, 5)), Softmax(1), Flatten()))
    assert without_activation(of_five, SHAPE, TASK) == (of_five, "")
    halves = network(Chain(Flatten(), FullyConnected(10), Reshape((2, 5)), Softmax(0), Flatten()))
    assert without_activation(halves, SHAPE, TASK) == (halves, "")
    added = network(Chain(Flatten(), FullyConnected(10), Softmax(), Residual(Flatten())))
    assert without_activation(added, SHAPE, TASK) == (added, "")
    of_rows = network(Chain(MapHead(10, 1), Softmax(1)))
    assert without_activation(of_rows, SHAPE, Mask(TASK.names)) == (of_rows, "")
    for task in (Numbers(TASK.names), Labels(TASK.names)):
        assert without_activation(network(Scored()), SHAPE, task) == (network(Scored()), "")


def linear(*end: Layer) -> Chain:
    return Chain(GlobalAvgPool(), Flatten(), FullyConnected(10), *end)


SEVERAL = SeveralHeads(TASK.names, {"labels": Labels(TASK.names), "mask": Mask(TASK.names), "n": Numbers(TASK.names)})
ENDS: dict[str, tuple[Task, Any, Any, set[str]]] = {
    "labels": (Labels(TASK.names), linear(Sigmoid()), linear(), {"head.sigmoid"}),
    "mask": (Mask(TASK.names), Chain(MapHead(10, 1), Softmax()), Chain(MapHead(10, 1)), {"head.softmax"}),
    "exits": (
        TASK,
        Heads(a=linear(Softmax()), b=linear(Softmax(), Flatten())),
        Heads(a=linear(), b=linear(Flatten())),
        {"head.a.softmax", "head.b.softmax"},
    ),
    "auxiliary": (
        TASK,
        Heads(a=linear(Softmax()), b=linear(Softmax()), auxiliary=("b",)),
        Heads(a=linear(), b=linear(), auxiliary=("b",)),
        {"head.a.softmax", "head.b.softmax"},
    ),
    "localised": (
        Localised(TASK.names),
        Heads(label=linear(Softmax()), map=Chain(MapHead(10, 1), Softmax())),
        Heads(label=linear(), map=Chain(MapHead(10, 1))),
        {"head.label.softmax", "head.map.softmax"},
    ),
    "heads": (
        SEVERAL,
        Heads(labels=linear(Sigmoid()), mask=Chain(MapHead(10, 1), Softmax()), n=linear(Sigmoid())),
        Heads(labels=linear(), mask=Chain(MapHead(10, 1)), n=linear(Sigmoid())),
        {"head.labels.sigmoid", "head.mask.softmax"},
    ),
    "objects": (
        Objects(("a",), (8, 8)),
        Heads(classes=Chain(MapHead(9, 1), Sigmoid()), boxes=Chain(MapHead(36, 1), Sigmoid())),
        Heads(classes=Chain(MapHead(9, 1)), boxes=Chain(MapHead(36, 1), Sigmoid())),
        {"head.classes.sigmoid"},
    ),
}


@pytest.mark.parametrize(("task", "head", "left", "paths"), ENDS.values(), ids=ENDS)
def test_what_the_loss_of_a_task_computes_is_left_out_of_each_of_its_heads(
    task: Task, head: Any, left: Any, paths: set[str]
) -> None:
    changed, removed = without_activation(network(head), SHAPE, task)
    assert changed == network(left)
    assert set(re.findall(r"\((.*?)\)", removed)) == paths
    assert without_activation(changed, SHAPE, task) == (changed, "")
    assert spoiled(changed, SHAPE, task) == []


SPOILED: list[tuple[Task, Layer, str]] = [
    (TASK, Sigmoid(), "computes the softmax of scores of any size, and this layer keeps them above 0 and below 1"),
    (TASK, ReLU(), "keeps them above 0,"),
    (TASK, Tanh(), "keeps them above -1 and below 1"),
    (TASK, BatchNorm(), "normalises them"),
    (Labels(TASK.names), Softmax(), "computes the sigmoid of scores of any size, and this layer keeps them above 0"),
]


@pytest.mark.parametrize(("task", "end", "effect"), SPOILED, ids=[repr(end) for _, end, _ in SPOILED])
@pytest.mark.parametrize("after", [(), (Flatten(),)], ids=["at the end", "before flattening"])
def test_an_activation_that_the_loss_does_not_compute_stays_and_is_said(
    task: Task, end: Layer, effect: str, after: tuple[Layer, ...]
) -> None:
    made = network(linear(end, *after))
    assert without_activation(made, SHAPE, task) == (made, "")
    (line,) = spoiled(made, SHAPE, task)
    assert line.startswith(f"the network ends with {type(end).__name__} (head.")
    assert effect in line
    assert line.endswith("Remove it from the design")


def test_nothing_is_said_of_regression_of_published_heads_and_of_leaky_activations() -> None:
    assert spoiled(network(linear(ReLU())), SHAPE, Numbers(TASK.names)) == []
    assert spoiled(network(linear(LeakyReLU())), SHAPE, TASK) == []
    for head in (ConvHead(10), PixelHead(10, "majority"), CodeHead(((1.0, -1.0),) * 10)):
        assert spoiled(network(head), SHAPE, TASK) == []


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


def test_a_sigmoid_of_several_labels_is_said_and_left_out() -> None:
    made = Network(Conv(8, 3), Chain(ReLU()), Chain(LinearHead(10), Sigmoid()), (1, 32, 32), name="of labels")
    planned = plan(made, load("scenes:labels", (1, 32, 32)), Recipe(), torch.device("cpu"))
    assert planned.notes[0] == "left out, as the loss and `predict` compute it: the sigmoid at the end (head.sigmoid)"
    assert planned.run.network == made.replace(head=Chain(LinearHead(10)))


def test_what_the_loss_computes_is_refused_inside_a_block_of_several_heads() -> None:
    made = network(Heads(a=Scored(), b=Scored()))
    with pytest.raises(UserError, match=r"computes the softmax at the end \(head.a.softmax\) and .*b.*remove it"):
        without_activation(made, SHAPE, TASK)


def test_distance_is_for_scores_that_are_distances_to_codes(digits: Data) -> None:
    """Of any others it has no bound, and falls for ever."""
    codes = tuple(tuple(1.0 if n >> bit & 1 else -1.0 for bit in range(5)) for n in range(20))
    for head in (CodeHead(codes[:10]), CodeHead(codes, tuple(range(10)) * 2)):
        plan(network(head), digits, Recipe(loss="distance"), torch.device("cpu"))
    with pytest.raises(UserError, match=r"ends with FullyConnected \(head.fc\). Use cross-entropy, or .*CodeHead: "):
        plan(network(linear()), digits, Recipe(loss="distance"), torch.device("cpu"))


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
