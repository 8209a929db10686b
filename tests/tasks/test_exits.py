"""Early exits: what each says, what it costs, and when an image leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from torch import nn

from cnnatomy import Chain, Network
from cnnatomy.catalogue.dense.msdnet import Exits as ExitChain
from cnnatomy.catalogue.dense.msdnet import msdnet
from cnnatomy.data import Data, load
from cnnatomy.design import Heads
from cnnatomy.design.blocks import Parallel
from cnnatomy.design.heads import LinearHead
from cnnatomy.design.parts import TappedChain
from cnnatomy.errors import UserError
from cnnatomy.layers import Conv, GlobalAvgPool, ReLU
from cnnatomy.tasks.kinds import macs_by_exit
from cnnatomy.tasks.several import EarlyExits
from cnnatomy.training import Recipe, Trained, fit

RECIPE = Recipe(optimizer="adam", learning_rate=0.01, epochs=6, batch_size=64, patience=0)


def network(classes: int = 10) -> Network:
    """A multi-scale dense network of two scales, with three exits."""
    made = msdnet((1, 1, 1), growth=4, factors=(1, 2), channels=8, head_width=16, classes=classes)
    return made.replace(input=(1, 16, 16), name="exits")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 16, 16))


@pytest.fixture(scope="module")
def folder(digits: Data, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    place = tmp_path_factory.mktemp("exits") / "run"
    fit(network(), digits, RECIPE, place)
    return place


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    return Trained.load(folder)


def summary(folder: Path) -> Any:
    return json.loads((folder / "summary.json").read_text())


def counted(module: nn.Module, image: torch.Tensor) -> list[int]:
    """MACs of the convolutions and fully connected layers of tail, each block and each exit, as torch runs them."""
    macs: dict[str, int] = {}

    def hook(name: str) -> Any:
        def count(layer: Any, _inputs: Any, output: torch.Tensor) -> None:
            macs[name] = output[0].numel() * layer.weight[0].numel()

        return count

    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(hook(name))
    module.eval()(image)
    spent = sum(number for name, number in macs.items() if name.startswith("tail"))
    costs = []
    for i in (1, 2, 3):
        spent += sum(number for name, number in macs.items() if name.startswith((f"body.block{i}.", f"head.exit{i}.")))
        costs.append(spent)
    return costs


def test_the_macs_of_each_exit_are_those_counted_by_hand() -> None:
    graph = network().graph()
    found = macs_by_exit(graph)
    assert list(found) == counted(network().build(), torch.zeros(1, 1, 16, 16))
    assert found[-1] == network().account().totals.macs


@pytest.mark.slow
def test_heads_that_all_say_the_label_are_exits(trained: Trained) -> None:
    task = trained.run.task
    assert isinstance(task, EarlyExits)
    assert task.macs == macs_by_exit(network().graph())


@pytest.mark.slow
def test_each_exit_learns(folder: Path) -> None:
    test = summary(folder)["test"]
    assert [row["exit"] for row in test["per_exit"]] == [1, 2, 3]
    assert all(row["accuracy"] > 0.6 for row in test["per_exit"])
    assert test["accuracy"] == test["per_exit"][-1]["accuracy"]


@pytest.mark.slow
def test_the_answers_at_the_threshold_are_measured_as_those_of_one_label(
    folder: Path, trained: Trained, digits: Data
) -> None:
    """Recomputed from what the network says of every test image, exit by exit."""
    labels = digits.test.targets
    assert isinstance(labels, torch.Tensor)
    wanted = labels[digits.test.indices].tolist()
    images = torch.stack([digits.test.store.images[i] for i in digits.test.indices])
    said = [int(answer.record["class"]) for answer in trained.answers(images)]
    test = summary(folder)["test"]
    assert test["accuracy_at_threshold"] == pytest.approx(accuracy_score(wanted, said))
    assert test["f1"] == pytest.approx(f1_score(wanted, said, average="macro"))
    assert test["confusion_matrix"] == confusion_matrix(wanted, said).tolist()
    low, high = test["interval"]
    assert low < test["accuracy_at_threshold"] < high


@pytest.mark.slow
def test_a_lower_threshold_takes_fewer_macs(folder: Path, trained: Trained) -> None:
    test = summary(folder)["test"]
    task = trained.run.task
    assert isinstance(task, EarlyExits)
    costs = [row["mean_macs"] for row in test["thresholds"]]
    assert costs == sorted(costs)
    assert task.macs[0] <= costs[0] < task.macs[-1]
    for row in test["thresholds"]:
        taken = row["images_by_exit"]
        assert sum(taken) == test["images"]
        assert row["mean_macs"] == pytest.approx(sum(n * m for n, m in zip(taken, task.macs, strict=True)) / sum(taken))


@pytest.mark.slow
def test_easy_images_leave_earlier(trained: Trained, digits: Data) -> None:
    """Of clean digits more are sure at the first exit than of the same digits in noise."""
    images = torch.stack([digits.test.store.images[i] for i in digits.test.indices[:100]])
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0))
    hard = (images * 0.3 + noise * 0.7).to(torch.uint8)

    def mean_macs(images: torch.Tensor) -> float:
        return sum(int(answer.record["macs"]) for answer in trained.answers(images)) / len(images)

    assert mean_macs(images) < mean_macs(hard)


@pytest.mark.slow
def test_answers_are_those_of_the_exit_that_was_taken(trained: Trained, digits: Data, tmp_path: Path) -> None:
    images = digits.test.store.images[digits.test.indices[:30]]
    with torch.inference_mode():
        everything = torch.stack(list(trained.model(images).values())).softmax(2)
    task = trained.run.task
    assert isinstance(task, EarlyExits)
    for i, answer in enumerate(trained.answers(images)):
        sure = [k for k in range(3) if k == 2 or everything[k, i].max() >= task.threshold]
        assert answer.record["exit"] == sure[0] + 1
        assert answer.record["macs"] == task.macs[sure[0]]
        likeliest = answer.record["predictions"][0]
        assert likeliest["class"] == task.names[int(everything[sure[0], i].argmax())]
        assert likeliest["probability"] == pytest.approx(float(everything[sure[0], i].max()), rel=1e-4)
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "image.png")
    (said,) = trained.predict([tmp_path / "image.png"])
    assert said.answer is not None
    assert "exit" in json.loads(json.dumps(said.answer.record, allow_nan=False))


def tapped(**exits: Any) -> Network:
    body = Chain(a=Chain(Conv(4, 3, 2, 1), ReLU()), b=Chain(Conv(8, 3, 2, 1), ReLU()))
    return Network(
        tail=Conv(4, 3, padding=1),
        body=ExitChain(*body.parts),
        head=Heads(reads=tuple((name, i) for i, name in enumerate(exits)), **exits),
        input=(1, 16, 16),
    )


@pytest.mark.slow
def test_exits_may_give_scores_with_rows_and_columns(digits: Data) -> None:
    head = Chain(Conv(10, 1), GlobalAvgPool())
    trained = fit(tapped(one=head, two=head), digits, dataclasses.replace(RECIPE, epochs=1))
    assert isinstance(trained.run.task, EarlyExits)
    assert len(trained.answers(digits.test.store.images[:5])) == 5


def test_heads_that_read_one_block_are_no_exits(digits: Data) -> None:
    """Nothing could be saved: and an early exit needs a block of its own."""
    wrong = Network(
        tail=Conv(4, 3, padding=1),
        body=Chain(Conv(4, 3, 2, 1), ReLU()),
        head=Heads(one=LinearHead(10), two=LinearHead(10)),
        input=(1, 16, 16),
    )
    assert macs_by_exit(wrong.graph()) == ()
    with pytest.raises(UserError, match=r"2 outputs, one \(10\), two \(10\); one label needs one main head"):
        fit(wrong, digits, RECIPE)


def test_heads_that_read_the_blocks_in_another_order_are_no_exits() -> None:
    right = tapped(one=LinearHead(10), two=LinearHead(10))
    assert len(macs_by_exit(right.graph())) == 2
    swapped = right.replace(head=Heads(reads=(("one", 1), ("two", 0)), one=LinearHead(10), two=LinearHead(10)))
    assert macs_by_exit(swapped.graph()) == ()
    beside = right.replace(
        body=TappedChain(x=Parallel(Conv(4, 1), Conv(4, 1)), y=ReLU(), taps=("x",)),
        head=Heads(reads=(("one", 0), ("two", 1)), one=LinearHead(10), two=LinearHead(10)),
    )
    assert macs_by_exit(beside.graph()) == ()


def test_an_exit_of_another_size_is_refused(digits: Data) -> None:
    with pytest.raises(UserError, match="2 outputs"):
        fit(tapped(one=LinearHead(10), two=LinearHead(9)), digits, RECIPE)
